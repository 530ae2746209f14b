"""Samples of any sizes in an unnamed file, in batches of samples with equal sizes.

Samples of one size form a group. The batches of a group are spread evenly over a pass. Groups are ordered by size, and
each has its own offset (multiples of the golden ratio, whose fractions are never close together). So the first batches
of a pass are representative of all, and the order does not depend on which size came first. Samples that all have the
same size keep the order in which they were given.
"""

from __future__ import annotations

import math
import tempfile
import weakref
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edgecomp.errors import OutputError

Records = npt.NDArray[np.void]

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


@dataclass
class Group:
    """Samples of one size.

    Attributes:
        record: What one sample is: a field for each of its arrays.
        offsets: Where each begins in the file, in bytes.
        places: The number of each, counted over all samples as they were given.
    """

    record: np.dtype[Any]
    offsets: array[int] = field(default_factory=lambda: array("q"))
    places: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each of a sample's arrays."""
        return tuple(self.record[name].shape for name in self.record.names or ())


class Spool:
    """A file that is closed and removed with the last object that refers to it, even if the program is killed.

    Attributes:
        groups: By size, once `sort` was called.
        samples: How many there are.
    """

    def __init__(self) -> None:
        file = tempfile.TemporaryFile(prefix="edgecomp-")  # noqa: SIM115, the finalizer closes it
        self._file: IO[bytes] = file
        weakref.finalize(self, file.close)
        self._end = 0
        self._by_record: dict[np.dtype[Any], Group] = {}
        self.groups: list[Group] = []
        self.samples = 0

    def append(self, records: Records) -> None:
        """Adds samples of one size.

        Raises:
            OutputError: The temporary folder is full.
        """
        group = self._by_record.setdefault(records.dtype, Group(records.dtype))
        try:
            self._file.write(records.tobytes())
        except OSError as error:
            raise OutputError(
                f"the temporary folder {tempfile.gettempdir()}",
                expected="room for the calibration or evaluation data",
                actual=str(error.strerror),
                cure="set TMPDIR to a folder on a larger disk, or give fewer samples",
            ) from error
        size = records.dtype.itemsize
        group.offsets.extend(range(self._end, self._end + size * len(records), size) if size else [0] * len(records))
        group.places.extend(range(self.samples, self.samples + len(records)))
        self._end += records.nbytes
        self.samples += len(records)

    def sort(self) -> None:
        """Puts the groups in the order of their sizes, when all samples are there."""
        self.groups = sorted(self._by_record.values(), key=lambda group: group.sizes)

    def read(self, group: Group, chosen: slice | Sequence[int]) -> Records:
        """Some samples of a group, as a structured array that may be written to."""
        offsets = group.offsets[chosen] if isinstance(chosen, slice) else [group.offsets[index] for index in chosen]
        size = group.record.itemsize
        parts = []
        for start, count in _runs(offsets, size):
            self._file.seek(start)
            parts.append(self._file.read(count * size))
        return np.frombuffer(bytearray(b"".join(parts)), group.record, count=len(offsets))

    def batches(self, counts: Sequence[int]) -> list[tuple[int, int]]:
        """The order of a pass.

        Args:
            counts: How many batches each group has.

        Returns:
            For each batch the index of its group, and its number within it.
        """
        keyed = [
            ((number + index * _GOLDEN_RATIO % 1) / count, index, number)
            for index, count in enumerate(counts)
            for number in range(count)
        ]
        return [(index, number) for _, index, number in sorted(keyed)]


def _runs(offsets: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """Start and number of records that lie one behind the other."""
    start, count = 0, 0
    for offset in offsets:
        if count and offset == start + count * size:
            count += 1
            continue
        if count:
            yield start, count
        start, count = offset, 1
    if count:
        yield start, count
