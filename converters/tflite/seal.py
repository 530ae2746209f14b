"""A checksum in the file that distinguishes an intact file of edgecomp from a damaged one or one of another tool.

LiteRT does not check what it loads: an invalid index or offset crashes the process. A sealed file is loaded directly;
any other is tried in a separate process first.
"""

from __future__ import annotations

import hashlib
from mmap import mmap

#: The metadata entry that holds the checksum.
SEAL_KEY = "edgecomp.sha256"

#: The placeholder for the checksum while it is computed.
_BLANK = hashlib.sha256(b"edgecomp: the seal of a TFLite file").digest()


def blank() -> bytes:
    """Returns the content of the entry before the file is sealed."""
    return _BLANK


def seal(content: bytearray) -> None:
    """Writes a file's checksum into its blank entry, in place because files may be large."""
    start = content.index(_BLANK)
    content[start : start + len(_BLANK)] = hashlib.sha256(content).digest()


def is_intact(content: bytes | mmap, checksum: bytes) -> bool:
    """Tells whether a sealed file is unchanged.

    Args:
        content: The file.
        checksum: The content of its metadata entry.
    """
    return len(checksum) == len(_BLANK) and seal_of(content, checksum) == checksum


def seal_of(content: bytes | mmap, checksum: bytes) -> bytes:
    """Returns the checksum that a file with `checksum` in its entry should have."""
    start, view = content.find(checksum), memoryview(content)  # files may be large: no copy
    digest = hashlib.sha256(view[:start])
    digest.update(_BLANK)
    digest.update(view[start + len(checksum) :])
    return digest.digest()
