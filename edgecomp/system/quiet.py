"""Keeps the output of native code and exporters apart from edgecomp's own.

Native code writes to the file descriptors 1 and 2 directly, bypassing Python's `sys.stdout`, while stdout may carry the
one JSON document that `--json` promises.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import os
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def redirected(descriptor: int, target: int | None = None) -> Iterator[None]:
    """Redirects what a block writes to a file descriptor.

    Args:
        descriptor: 1 for stdout, 2 for stderr.
        target: Another descriptor; None for the null device.
    """
    _flush()  # earlier output is not redirected
    try:
        saved = os.dup(descriptor)
    except OSError:  # without that descriptor, nothing can be written to it
        yield
        return
    opened = os.open(os.devnull, os.O_WRONLY) if target is None else target
    os.dup2(opened, descriptor)
    if target is None:
        os.close(opened)
    try:
        yield
    finally:
        _flush()
        os.dup2(saved, descriptor)
        os.close(saved)


def _flush() -> None:
    """Flushes the buffers of Python and of C, which would otherwise appear later, in the wrong place."""
    for stream in (sys.stdout, sys.__stdout__, sys.__stderr__):
        if stream is not None and not stream.closed:
            stream.flush()
    _libc().fflush(None)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Drops what native code prints."""
    with redirected(1), redirected(2):
        yield


@contextlib.contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Collects the warnings of a block and drops what it prints, from Python or from native code.

    The user's own warnings do not get lost: the module has run once before any exporter runs it, and they were shown
    then.

    Yields:
        The list that the block's warnings are added to.
    """
    with (
        warnings.catch_warnings(record=True) as recorded,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        silenced(),
    ):
        warnings.simplefilter("always")
        yield recorded
