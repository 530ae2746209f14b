"""Over the air: releases of a bundle on any static web server, and how a device comes by the newest.

A site is a folder: `index.json`, `files/SHA256` with what loaders read of every release, and `deltas/OLD-NEW`. The
index and the server are not trusted: a device takes only what a signed `bundle.json` names by its hash.
"""
