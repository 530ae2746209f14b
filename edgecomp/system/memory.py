"""Memory-mapped files, and returning unused memory to the system."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

#: `mallopt`'s names for two of glibc's settings, and what glibc itself sets them to, at most, as it goes along.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_USUAL = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}

#: Bytes from which on an array gets memory of its own from the system.
_LARGE = 256 << 10


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


@contextlib.contextmanager
def freed_at_once() -> Iterator[None]:
    """Inside the block, the memory of a large array goes back to the system as soon as the array is freed.

    As soon as one large array has been freed, glibc takes the next ones from its heap, which has holes when weights and
    sessions come and go, and cannot give them back. For graphs that run one after another; training, which asks for the
    same sizes in every step, is slower inside.
    """
    _set_allocator({_MMAP_THRESHOLD: _LARGE})
    try:
        yield
    finally:
        _set_allocator(_USUAL)


def _set_allocator(settings: Mapping[int, int]) -> None:
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other C libraries
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in settings.items():
            mallopt(name, value)
