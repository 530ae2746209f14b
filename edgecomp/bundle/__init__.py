"""Bundles: what an app developer drops into an app and trusts.

A bundle is a folder in the form of its platform (a Gradle module, a Swift package, an npm package, C files, ...) with
the models, their labels, golden vectors, code that loads and runs them, a self-test, and `bundle.json`, which names
every file with its SHA-256 and can be signed. Adding a platform is adding one folder to `platforms/`.

    platform.py   the contract that a platform fulfils
    contents.py   what a bundle holds, whatever the platform: models, processing, labels, `bundle.json`
    golden.py     a sample with its outputs, for the device to check itself
    build.py      writes all of that; rendering.py the files from templates, names.py and words.py the names in them
    signing.py    Ed25519 key pairs and signatures
    checking.py   `edgecomp verify` for a bundle
"""
