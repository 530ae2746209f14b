"""What models are verified on: batches of inputs, with or without labels, and outputs in the order of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from edgecomp.arrays import Array, Arrays

Run = Callable[[Arrays], Sequence[Array]]
#: One array over all samples, or one for each where they are of several sizes.
Whole = Array | list[Array]

#: So many batches are looked at together, if they are not large.
_TOGETHER, _LARGE = 256, 1_000_000


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
        """For each batch the numbers of its samples, counted as they were given; None for the order they come in.

        Numbers below 0, or missing ones, stand for samples that are no part of the data.
        """
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
    def places(self) -> Sequence[Sequence[int]] | None:
        """The order that the only group has, if it has one."""
        return getattr(self._groups[0], "places", None) if len(self._groups) == 1 else None


def joined(batches: Iterable[tuple[Array, Array]]) -> Iterator[tuple[Array, Array]]:
    """The same samples in fewer batches: one call of numpy for many costs hardly more than for one.

    Args:
        batches: Two arrays each, such as outputs and labels. They are joined along the axis in front where both have
            as many rows, and the sizes behind are alike.
    """
    waiting: list[tuple[Array, Array]] = []
    for batch in batches:
        if waiting and (len(waiting) == _TOGETHER or not _are_alike(waiting[0], batch)):
            yield _joined(waiting)
            waiting = []
        waiting.append(batch)
    if waiting:
        yield _joined(waiting)


def _are_alike(first: tuple[Array, Array], second: tuple[Array, Array]) -> bool:
    if first[0].size * _TOGETHER > _LARGE or not all(array.ndim for array in (*first, *second)):
        return False
    counted = len(first[0]) == len(first[1]) and len(second[0]) == len(second[1])
    return counted and all(one.shape[1:] == two.shape[1:] for one, two in zip(first, second, strict=True))


def _joined(batches: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    if len(batches) == 1:
        return batches[0]
    first, second = zip(*batches, strict=True)
    return np.concatenate(first), np.concatenate(second)


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
