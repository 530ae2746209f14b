"""Keeps exporters quiet while they work, and nothing else."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Collects the warnings of a block and drops what it prints, from Python or from native code.

    The user's own warnings do not get lost: the module has run once before any exporter runs it, and they were shown
    then. Native code writes to the file descriptors 1 and 2 directly, and would spoil the one JSON document that
    `--json` promises on stdout.

    Yields:
        The list that the block's warnings are added to.
    """
    with (
        warnings.catch_warnings(record=True) as recorded,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        _closed(1),
        _closed(2),
    ):
        warnings.simplefilter("always")
        yield recorded


@contextlib.contextmanager
def _closed(descriptor: int) -> Iterator[None]:
    """Sends a file descriptor to the null device."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()  # what was printed before belongs to the user
    try:
        saved = os.dup(descriptor)
    except OSError:  # a program without that descriptor prints nothing to it
        yield
        return
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
        yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)
