"""Bundles: models that an app developer drops into an app and can trust.

A bundle is a folder in the form of its platform (a Gradle module, a Swift package, an npm package, C files, ...) with
the models, their labels, golden vectors, code that loads and runs them, a self-test, and `bundle.json`, which lists
every file with its SHA-256 and can be signed. Adding a platform means adding one folder to `platforms/`.

    platform.py   the contract of a platform
    contents.py   the content of a bundle on any platform: models, processing, labels, `bundle.json`
    golden.py     a sample with its outputs, so that a device can check itself
    build.py      writes all of that; rendering.py fills in templates, names.py and words.py make valid names
    signing.py    Ed25519 key pairs and signatures
    checking.py   `edgecomp verify` for a bundle
"""
