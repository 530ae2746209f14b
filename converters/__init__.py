"""Converters: one file or folder per format, found by its name (see `edgecomp.converter`)."""
