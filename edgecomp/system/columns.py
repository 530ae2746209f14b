"""Arrays of any shapes one behind the other in a file, each as `numpy.save` writes it, to be read in that order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edgecomp.arrays import Array


def read_column(file: str | Path) -> Iterator[Array]:
    """The arrays of a file, one in memory at a time."""
    with open(file, "rb") as stream:
        end = stream.seek(0, 2)
        stream.seek(0)
        while stream.tell() < end:
            yield np.lib.format.read_array(stream, allow_pickle=False)


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
