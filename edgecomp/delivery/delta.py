"""Computes small deltas that turn one release of a file into the next.

The algorithm is that of bsdiff (C. Percival, "Naive differences of executable code", 2003): similar regions are stored
as differences of bytes, which are mostly zero. Retrained weights change by a step or two nearly everywhere, so a
compressor that looks for equal strings finds few of them; benchmarks/updates.py compares both. The three parts are
deflated, because every platform can inflate.

    magic, 8 bytes | size of the new file, uint64 | sizes of the first two parts in this file, 2 x uint64
    triples of int64: number of bytes to add to old ones, of new bytes to copy, of old bytes to skip
    differences | new bytes

All numbers are little-endian.
"""

from __future__ import annotations

import bz2
import struct
import zlib

import numpy as np
import numpy.typing as npt

from edgecomp.errors import MissingToolchainError

_MAGIC = b"EDELTA1\n"
_HEADER = struct.Struct("<8s3Q")


class DeltaError(ValueError):
    """A delta is damaged, or for another file."""


def make_delta(old: bytes, new: bytes) -> bytes:
    """Computes the delta from which `apply_delta` makes `new`, given `old`.

    Raises:
        MissingToolchainError: bsdiff4 is not installed.
    """
    try:
        import bsdiff4
    except ImportError:
        raise MissingToolchainError(
            "bsdiff4",
            expected="the package that finds what two files have in common",
            actual="not installed",
            cure="run `pip install 'edgecomp[publish]'`, or publish with --deltas 0",
        ) from None
    parts = [zlib.compress(part, 9) for part in _parts(bsdiff4.diff(old, new))]
    return _HEADER.pack(_MAGIC, len(new), len(parts[0]), len(parts[1])) + b"".join(parts)


def _parts(patch: bytes) -> tuple[bytes, bytes, bytes]:
    """Splits a BSDIFF40 patch, whose integers are sign and magnitude, into instructions, differences and new bytes."""
    lengths = _plain(patch[8:32])
    first, second = 32 + lengths[0], 32 + lengths[0] + lengths[1]
    control, differences, extra = map(bz2.decompress, (patch[32:first], patch[first:second], patch[second:]))
    return _plain(control).tobytes(), differences, extra


def _plain(integers: bytes) -> npt.NDArray[np.int64]:
    found = np.frombuffer(integers, "<u8")
    magnitude = (found & np.uint64((1 << 63) - 1)).astype("<i8")
    return np.where(found >> np.uint64(63), -magnitude, magnitude)


def apply_delta(old: bytes, delta: bytes, size: int) -> bytes:
    """Computes the new file.

    Args:
        old: The file that the delta was made from.
        delta: The result of `make_delta`, from a server that is not trusted.
        size: The size that the new file must have; it bounds the memory that is used.

    Raises:
        DeltaError: It is not a delta, damaged, or for another file.
    """
    try:
        magic, promised, *lengths = _HEADER.unpack_from(delta)
    except struct.error:
        raise DeltaError("it is shorter than a header") from None
    if magic != _MAGIC or promised != size:
        raise DeltaError(f"no delta for a file of {size} bytes")
    first, second = (_HEADER.size + end for end in (lengths[0], lengths[0] + lengths[1]))
    control = _inflate(delta[_HEADER.size : first], 24 * (size + 1))
    differences, extra = _inflate(delta[first:second], size), _inflate(delta[second:], size)
    if len(control) % 24:
        raise DeltaError("its instructions are cut off")
    return _compose(old, np.frombuffer(control, "<i8").reshape(-1, 3).tolist(), differences, extra, size)


def _compose(old: bytes, control: list[list[int]], differences: bytes, extra: bytes, size: int) -> bytes:
    base, changes = np.frombuffer(old, np.uint8), np.frombuffer(differences, np.uint8)
    made = np.empty(size, np.uint8)
    written = read = changed = taken = 0
    for add, take, skip in control:
        # bsdiff may read beyond either end of the old file; such bytes count as zero.
        low, high = max(0, -read), min(add, len(base) - read)
        if add < 0 or take < 0 or written + add + take > size or changed + add > len(changes):
            raise DeltaError("its instructions lead out of the files")
        made[written : written + add] = changes[changed : changed + add]
        if low < high:
            made[written + low : written + high] += base[read + low : read + high]
        written, changed, read = written + add, changed + add, read + add + skip
        if taken + take > len(extra):
            raise DeltaError("its instructions lead out of the files")
        made[written : written + take] = np.frombuffer(extra, np.uint8, take, taken)
        written, taken = written + take, taken + take
    if written != size:
        raise DeltaError(f"it makes {written} bytes, not {size}")
    return made.tobytes()


def _inflate(part: bytes, limit: int) -> bytes:
    """Inflates at most `limit` bytes, because a small input can inflate to a huge one."""
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(part, limit + 1)
    except zlib.error as error:
        raise DeltaError(str(error)) from None
    if len(found) > limit or not stream.eof:
        raise DeltaError("a part of it is cut off, or larger than the file")
    return found
