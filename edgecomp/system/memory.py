"""Memory that need not be taken, and memory that nobody uses any more."""

from __future__ import annotations

import contextlib
import ctypes
import gc
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


def forget(content: object) -> None:
    """Takes what has been looked at of a mapped file out of memory; it is read anew when it is looked at again."""
    if isinstance(content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # Windows has none
        content.madvise(mmap.MADV_DONTNEED)


def give_back() -> None:
    """Returns to the system what nobody uses any more.

    A graph's nodes and values refer to each other, so that its weights wait for the garbage collector; and the C
    library keeps what is freed (glibc does, where it is not at the heap's end). Takes some ten milliseconds: for times
    at which much has become free and much is about to be needed, by this process or by others.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other C libraries
        ctypes.CDLL(None).malloc_trim(0)
