"""Labelled samples in batches of any size, in an order that follows from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgecomp.data import EvaluationData

#: Inputs and labels of some samples, as the module and the loss take them.
Batch = tuple[tuple[torch.Tensor, ...], torch.Tensor]


@dataclass(frozen=True)
class TrainingData:
    """Some of the samples of a data set.

    Attributes:
        samples: All of them, checked and stored.
        chosen: The places of those that belong to it, int64.
    """

    samples: EvaluationData
    chosen: npt.NDArray[np.int64]

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
        return max(1, len(self) // self._size(size))

    def shuffled(self, size: int, seed: int) -> Iterator[Batch]:
        """Every sample once, in random order, but for those at the end that do not fill a batch.

        A batch of one sample is no use to BatchNorm: only the whole of a small data set may be less than `size`.
        """
        order = np.random.default_rng(seed).permutation(self.chosen)
        size = self._size(size)
        for start in range(0, max(1, len(order) - size + 1), size):
            yield self._batch(order[start : start + size])

    def in_order(self, size: int) -> Iterator[Batch]:
        """Every sample once; the last batch may be smaller."""
        size = self._size(size)
        for start in range(0, len(self), size):
            yield self._batch(self.chosen[start : start + size])

    def _size(self, size: int) -> int:
        """Items whose first dimension does not count samples come one at a time."""
        return size if self.samples.batched else 1

    def _batch(self, places: npt.NDArray[np.int64]) -> Batch:
        inputs, labels = self.samples.take(places)
        return tuple(_tensor(array) for array in inputs), _tensor(labels)


def _tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
