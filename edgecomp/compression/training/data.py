"""Labelled samples in batches of any size, in an order that follows from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from edgecomp.arrays import Array
from edgecomp.data import EvaluationData

#: Inputs and labels of some samples, as the module and the loss take them.
Batch = tuple[tuple[torch.Tensor, ...], torch.Tensor]

#: Numbers of samples.
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingData:
    """Some of the samples of a data set.

    Attributes:
        samples: All of them, checked and stored.
        chosen: The places of those that belong to it, int64.
    """

    samples: EvaluationData
    chosen: Places

    @classmethod
    def all_of(cls, samples: EvaluationData) -> TrainingData:
        """Every sample."""
        return cls(samples, np.arange(samples.samples))

    def __len__(self) -> int:
        return len(self.chosen)

    def split(self, share: float, seed: int) -> tuple[TrainingData, TrainingData]:
        """A random share of the samples, one at least, and the rest, one at least."""
        order = np.random.default_rng(seed).permutation(self.chosen)
        count = min(max(1, round(share * len(order))), len(order) - 1)
        return TrainingData(self.samples, np.sort(order[:count])), TrainingData(self.samples, np.sort(order[count:]))

    def steps(self, size: int) -> int:
        """How many batches of `size` an epoch has."""
        return len(self._batches(self.chosen, size, rest=False))

    def shuffled(self, size: int, seed: int) -> Iterator[Batch]:
        """Every sample once, in random order, but for those at the end that do not fill a batch.

        A batch of one sample is no use to BatchNorm: only the whole of a small data set may be less than `size`. Where
        samples are of several sizes, a batch is of one of them, and none is left out.
        """
        order = np.random.default_rng(seed).permutation(self.chosen)
        return map(self._batch, self._batches(order, size, rest=False))

    def in_order(self, size: int) -> Iterator[Batch]:
        """Every sample once, those of one size after each other; the last batch of a size may be smaller."""
        return map(self._batch, self.places(size))

    def places(self, size: int) -> list[Places]:
        """Which samples each batch of `in_order` has."""
        return self._batches(self.chosen, size, rest=True)

    def largest(self, size: int) -> Batch:
        """A batch of as many samples of one size as there are, at most `size`."""
        return self._batch(max(self.places(size), key=len))

    def _batches(self, order: Places, size: int, *, rest: bool) -> list[Places]:
        """Cuts an order of samples into batches of one size each; `rest`: and keeps what does not fill one."""
        size = self._size(size)
        groups = self.samples.groups[order]
        sorts = [order[groups == group] for group in dict.fromkeys(groups.tolist())]
        if len(sorts) == 1 and not rest:
            return [order[start : start + size] for start in range(0, max(1, len(order) - size + 1), size)]
        batches = [each[start : start + size] for each in sorts for start in range(0, len(each), size)]
        if rest:
            return batches
        position = {int(place): index for index, place in enumerate(order)}
        return sorted(batches, key=lambda batch: position[int(batch[0])])

    def _size(self, size: int) -> int:
        """Items whose first dimension does not count samples come one at a time."""
        return size if self.samples.batched else 1

    def _batch(self, places: Places) -> Batch:
        inputs, labels = self.samples.take(places)
        return tuple(_tensor(array) for array in inputs), _tensor(labels)


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
