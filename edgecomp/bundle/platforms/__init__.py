"""One folder per platform: `PLATFORM` in its `__init__.py`, and `templates/` with the files of a bundle."""
