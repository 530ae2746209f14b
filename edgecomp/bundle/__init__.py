"""Bundles: what an app developer drops into an app and trusts.

A bundle is a folder in the form of its platform (a Gradle module, a Swift package, an npm package, C files, ...) with
the models, their labels, golden vectors, code that loads and runs them, a self-test, and `bundle.json`, which names
every file with its SHA-256 and can be signed. Adding a platform is adding one folder to `platforms/`.
"""
