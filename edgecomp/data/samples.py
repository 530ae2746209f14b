"""Stored samples in batches that fit a graph."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecomp.arrays import Array, Arrays
from edgecomp.data.inputs import InputSpec
from edgecomp.data.spool import Records, Spool


class _Samples:
    """Samples in a file, each a record of one array per input and, in evaluation, one of labels."""

    def __init__(self, spool: Spool, inputs: Sequence[InputSpec], digest: str, batch: int | None) -> None:
        self._spool, self._inputs, self._batch = spool, inputs, batch
        self._pass = spool.batches([self._batches_of(len(group)) for group in spool.groups])
        #: The number of samples (of whole items when axis 0 does not count samples).
        self.samples = spool.samples
        #: SHA-256 over names, dtypes, shapes and values of all samples in order, however they were batched.
        self.digest = digest

    def __len__(self) -> int:
        """The number of batches."""
        return len(self._pass)

    @property
    def batched(self) -> bool:
        """Whether axis 0 counts samples, so that batches may have any size."""
        return self._batch is not None

    @property
    def sizes(self) -> list[dict[str, int]]:
        """The sizes of the dynamic dimensions that occur, each together with the others that it occurs with."""
        # A record has one sample, without the batch in front; an item that is one sample is there as it is.
        names = [spec.names[1:] if self.batched else spec.names for spec in self._inputs]
        front = [(name, self._batch or 1) for spec in self._inputs for name in spec.names[:1] if self.batched]
        found = []
        for group in self._spool.groups:
            pairs = zip(chain(*names), chain(*group.sizes[: len(names)]), strict=False)
            found.append({name: size for name, size in (*front, *pairs) if name is not None})
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """The facts for the manifest: "sizes" has the smallest and the largest of each dynamic dimension."""
        found = self.sizes
        ends = {name: [function(sizes[name] for sizes in found) for function in (min, max)] for name in found[0]}
        return {"samples": self.samples, "sha256": self.digest, **({"sizes": ends} if ends else {})}

    @property
    def places(self) -> list[Sequence[int]]:
        """For each batch the indices of its samples in the order they were given; padding copies have none."""
        size = self._batch or 1
        groups = self._spool.groups
        return [groups[index].places[number * size : (number + 1) * size] for index, number in self._pass]

    def _batches_of(self, samples: int) -> int:
        """How many batches samples of one size make."""
        raise NotImplementedError

    def _columns(self, records: Records) -> Arrays:
        """The model's inputs, in order, writable and contiguous."""
        names = [name for name in records.dtype.names or () if name != "labels"]
        columns = (records[name] for name in names)
        return tuple(np.array(column if self._batch else column[0]) for column in columns)


class CalibrationData(_Samples):
    """Samples without labels, in batches that fit the graph; iterate over it as often as you like.

    Attributes:
        samples: How many samples there are.
        digest: SHA-256 of the samples.
    """

    def __iter__(self) -> Iterator[Arrays]:
        size = self._batch or 1
        for index, number in self._pass:
            records = self._spool.read(self._spool.groups[index], slice(number * size, (number + 1) * size))
            if len(records) < size:
                records = np.resize(records, size)
            yield self._columns(records)

    def _batches_of(self, samples: int) -> int:
        return max(1, samples // (self._batch or 1))


class EvaluationData(_Samples):
    """Samples with labels, in batches that fit the graph; iterate over it as often as you like.

    An item is `(inputs, labels)`. The last batch of a size may be filled up with copies: only the first `len(labels)`
    outputs count.

    Attributes:
        samples: How many samples there are.
        digest: SHA-256 of the samples and labels.
    """

    def __iter__(self) -> Iterator[tuple[Arrays, Array]]:
        size = self._batch or 1
        for index, number in self._pass:
            records = self._spool.read(self._spool.groups[index], slice(number * size, (number + 1) * size))
            labels = np.array(records["labels"] if self._batch else records["labels"][0])
            missing = size - len(records)
            if missing:
                records = np.concatenate([records, np.repeat(records[-1:], missing)])
            yield self._columns(records), labels

    @cached_property
    def groups(self) -> npt.NDArray[np.int64]:
        """For each sample, in the order they were given, the index of the group that it can share batches with."""
        found = np.zeros(self.samples, np.int64)
        for number, group in enumerate(self._spool.groups):
            found[np.asarray(group.places)] = number
        return found

    def take(self, places: npt.NDArray[np.int64]) -> tuple[Arrays, Array]:
        """Chosen samples in one batch, or one chosen item when axis 0 does not count samples.

        Args:
            places: Which samples, counted from 0 as they were given; all of one of `groups`.

        Returns:
            The inputs, and as many labels.
        """
        group = next(group for group in self._spool.groups if _position(group.places, int(places[0])) is not None)
        chosen = [_position(group.places, int(place)) for place in places]
        assert None not in chosen, "samples of several sizes are no batch"
        records = self._spool.read(group, [index for index in chosen if index is not None])
        return self._columns(records), np.array(records["labels"] if self._batch else records["labels"][0])

    def _batches_of(self, samples: int) -> int:
        return -(-samples // (self._batch or 1))


def _position(places: Sequence[int], place: int) -> int | None:
    """Returns the position of a number in an ascending list, or None."""
    index = bisect_left(places, place)
    return index if index < len(places) and places[index] == place else None
