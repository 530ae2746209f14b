"""Over the air: releases of a bundle on any static web server, and how a device comes by the newest.

A site is a folder: `index.json`, `files/SHA256` with what loaders read of every release, and `deltas/OLD-NEW`. The
index and the server are not trusted: a device takes only what a signed `bundle.json` names by its hash.

    site.py      publishes releases into a folder
    delta.py     what turns one release of a file into the next
    update.py    brings the newest release to this machine, verified
    download.py  downloads that continue where they stopped
"""
