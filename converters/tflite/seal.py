"""A checksum inside the file, by which a whole file of our own is told from a damaged or a foreign one.

LiteRT does not check what it loads: an index or an offset that points nowhere crashes the process. A sealed file is
loaded at once; any other is tried in a process of its own first.
"""

from __future__ import annotations

import hashlib
from mmap import mmap

#: The metadata entry that holds the checksum.
SEAL_KEY = "edgecomp.sha256"

#: Stands where the checksum will be while it is computed.
_BLANK = hashlib.sha256(b"edgecomp: the seal of a TFLite file").digest()


def blank() -> bytes:
    """The content of the entry before the file is sealed."""
    return _BLANK


def seal(content: bytearray) -> None:
    """Puts a file's checksum into its blank entry, in place: a file may be large."""
    start = content.index(_BLANK)
    content[start : start + len(_BLANK)] = hashlib.sha256(content).digest()


def is_intact(content: bytes | mmap, checksum: bytes) -> bool:
    """Whether a sealed file is as it was written.

    Args:
        content: The file.
        checksum: What its metadata entry holds.
    """
    return len(checksum) == len(_BLANK) and seal_of(content, checksum) == checksum


def seal_of(content: bytes | mmap, checksum: bytes) -> bytes:
    """The checksum that a file with `checksum` in its entry ought to have."""
    start, view = content.find(checksum), memoryview(content)  # a file may be large: no copy of it
    digest = hashlib.sha256(view[:start])
    digest.update(_BLANK)
    digest.update(view[start + len(checksum) :])
    return digest.digest()
