"""Over-the-air updates: releases of a bundle on any static web server, and how a device gets the newest one.

A site is a folder: `index.json`, `files/SHA256` with the files that loaders read of every release, and
`deltas/OLD-NEW`. The index and the server are not trusted: a device only takes files whose hashes a signed
`bundle.json` contains.

    site.py      publishes releases into a folder
    delta.py     computes and applies deltas between releases of a file
    update.py    brings the newest release to this machine, verified
    download.py  downloads that resume where they stopped
"""
