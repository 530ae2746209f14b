"""Memory-mapped files, and returning unused memory to the system."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
from pathlib import Path


def mapped(path: Path) -> mmap.mmap:
    """Maps a file's bytes, which are loaded when they are accessed; the file must not shrink meanwhile.

    Raises:
        OSError: It cannot be read.
        ValueError: It is empty.
    """
    with path.open("rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def forget(content: object) -> None:
    """Drops the loaded pages of a mapped file from memory; they are read again when accessed."""
    if isinstance(content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # Windows has none
        content.madvise(mmap.MADV_DONTNEED)


def give_back() -> None:
    """Returns unused memory to the system.

    The nodes and values of a graph refer to each other, so its weights wait for the garbage collector; and the C
    library keeps freed memory (glibc does, unless it is at the end of the heap). This takes some ten milliseconds, so
    it is for moments when much has become free and much is about to be needed, by this process or by others.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other C libraries
        ctypes.CDLL(None).malloc_trim(0)
