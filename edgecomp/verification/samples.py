"""What models are verified on: batches of inputs, with or without labels, and outputs in the order of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from edgecomp.arrays import Array, Arrays

Run = Callable[[Arrays], Sequence[Array]]
#: One array over all samples, or one for each where they are of several sizes.
Whole = Array | list[Array]
Metric = Callable[[Sequence[Whole], Whole], float]


class Batches(Protocol):
    """Batches of inputs, which know how many they are."""

    def __len__(self) -> int:
        """The number of batches."""
        ...

    def __iter__(self) -> Iterator[Arrays]:
        """The batches in order."""
        ...


class Samples(Protocol):
    """Batches of inputs with their labels, which know how many they are."""

    def __len__(self) -> int:
        """The number of batches."""
        ...

    def __iter__(self) -> Iterator[tuple[Arrays, Array | None]]:
        """The batches in order."""
        ...

    @property
    def places(self) -> Sequence[Sequence[int]] | None:
        """For each batch the numbers of its samples, counted as they were given; None for the order they come in."""
        ...


class Unlabelled:
    """Batches of inputs as samples, without labels.

    Args:
        groups: Collections of batches that can be read again, one after another.
    """

    def __init__(self, *groups: Batches) -> None:
        self._groups = groups

    def __len__(self) -> int:
        return sum(len(group) for group in self._groups)

    def __iter__(self) -> Iterator[tuple[Arrays, None]]:
        return ((batch, None) for group in self._groups for batch in group)

    @property
    def places(self) -> None:
        """They come in the order in which they are."""
        return None


def as_given(parts: Sequence[Array], places: Sequence[Sequence[int]] | None) -> Whole:
    """What a model gave for all samples, or their labels, in the order in which the data have them.

    Args:
        parts: Batch by batch, without what batches were filled up with.
        places: For each batch the numbers of its samples; None for the order that they are in.

    Returns:
        One array, (samples, ...); where samples are of several sizes, a list of one array for each, without the batch.
    """
    if places is None:
        return np.concatenate(parts)
    by_sample = all(part.ndim and len(part) == len(each) for part, each in zip(parts, places, strict=True))
    numbers = [number for each in places for number in (each if by_sample else each[:1])]
    order = np.argsort(numbers, kind="stable")
    if len({part.shape[1:] if by_sample else part.shape for part in parts}) == 1:
        return np.concatenate(parts)[order] if by_sample else np.concatenate([parts[index] for index in order])
    units = [row for part in parts for row in part] if by_sample else list(parts)
    return [units[index] for index in order]
