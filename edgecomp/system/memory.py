"""Memory that need not be taken, and memory that nobody uses any more."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from pathlib import Path


def mapped(path: Path) -> mmap.mmap:
    """A file's bytes, which stay in the file until they are looked at; it must not get shorter meanwhile.

    Raises:
        OSError: It cannot be read.
        ValueError: It is empty.
    """
    with path.open("rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def give_back() -> None:
    """Returns what has been freed to the system, where the C library keeps it (glibc: what is not at the heap's end).

    Worth a few milliseconds where other processes are about to start, after work on large models.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other C libraries
        ctypes.CDLL(None).malloc_trim(0)
