"""Stores arrays of any shapes in a file, each in the format of `numpy.save`, and reads them in order.

Most arrays have the shape of the previous one, so equal headers are parsed only once: parsing takes longer than reading
a small array.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgecomp.arrays import Array

#: Bytes in front of a header's text in version 1 of the format, which numpy writes whenever it can.
_FRONT = 10
_MAGIC = b"\x93NUMPY\x01\x00"


def read_column(file: str | Path) -> Iterator[Array]:
    """Yields the arrays of a file, with one in memory at a time; each is writable."""
    with open(file, "rb") as stream:
        while front := stream.read(_FRONT):
            if front.startswith(_MAGIC):
                yield _read(stream, *_parsed(front + stream.read(int.from_bytes(front[8:], "little"))))
            else:
                stream.seek(-len(front), io.SEEK_CUR)
                yield np.lib.format.read_array(stream, allow_pickle=False)


@lru_cache(maxsize=64)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    return np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))


def _read(stream: IO[bytes], shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]) -> Array:
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which would have to be unpickled")
    count = int(np.prod(shape, dtype=np.int64))
    flat = np.frombuffer(bytearray(stream.read(count * dtype.itemsize)), dtype, count)
    return flat.reshape(shape, order="F" if fortran else "C")


def write_columns(files: Sequence[str | Path], rows: Iterable[Sequence[Array]]) -> None:
    """Writes a file for each column of a table.

    Args:
        files: One for each column.
        rows: One array for each column; read once, kept nowhere.
    """
    with ExitStack() as stack:
        streams = [stack.enter_context(open(file, "wb")) for file in files]
        for row in rows:
            for stream, array in zip(streams, row, strict=True):
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
