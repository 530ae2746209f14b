"""Labelled samples in batches of any size, in an order given by a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from edgecomp.arrays import Array
from edgecomp.data import EvaluationData

#: Inputs and labels of some samples, in the form that the module and the loss take.
Batch = tuple[tuple[torch.Tensor, ...], torch.Tensor]

#: Indices of samples.
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingData:
    """A subset of a data set.

    Attributes:
        samples: The whole data set, checked and stored.
        chosen: The indices of the subset, int64.
    """

    samples: EvaluationData
    chosen: Places

    @classmethod
    def all_of(cls, samples: EvaluationData) -> TrainingData:
        """Returns all samples."""
        return cls(samples, np.arange(samples.samples))

    def __len__(self) -> int:
        return len(self.chosen)

    def split(self, share: float, seed: int) -> tuple[TrainingData, TrainingData]:
        """Splits the samples at random into a share and the rest, at least one sample each."""
        order = np.random.default_rng(seed).permutation(self.chosen)
        count = min(max(1, round(share * len(order))), len(order) - 1)
        return TrainingData(self.samples, np.sort(order[:count])), TrainingData(self.samples, np.sort(order[count:]))

    def steps(self, size: int) -> int:
        """Returns the number of batches of `size` in an epoch."""
        return len(self._batches(self.chosen, size, rest=False))

    def shuffled(self, size: int, seed: int) -> Iterator[Batch]:
        """Yields every sample once, in random order, without an incomplete last batch.

        BatchNorm cannot use a batch of one sample, so a batch is smaller than `size` only if the whole data set is. If
        samples have several sizes, each batch has samples of one size, and none is left out.
        """
        order = np.random.default_rng(seed).permutation(self.chosen)
        return map(self._batch, self._batches(order, size, rest=False))

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yields every sample once, grouped by size; the last batch of a size may be smaller."""
        return map(self._batch, self.places(size))

    def places(self, size: int) -> list[Places]:
        """Returns the indices of the samples in each batch of `in_order`."""
        return self._batches(self.chosen, size, rest=True)

    def largest(self, size: int) -> Batch:
        """Returns a batch with as many samples of one size as possible, at most `size`."""
        return self._batch(max(self.places(size), key=len))

    def _batches(self, order: Places, size: int, *, rest: bool) -> list[Places]:
        """Cuts an order of samples into batches of one size each; with `rest`, keeps incomplete ones."""
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
        """Returns 1 if the first dimension of items does not count samples."""
        return size if self.samples.batched else 1

    def _batch(self, places: Places) -> Batch:
        inputs, labels = self.samples.take(places)
        return tuple(_tensor(array) for array in inputs), _tensor(labels)


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
