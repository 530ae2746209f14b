"""Explains numbers that change with the size of a dynamic dimension by the sizes of tensors.

A graph is prepared at several sizes, as if each were the only one. What comes out differently, a target shape or a
slice bound, is a function of sizes, and is found among a few forms, in this order:

1. a size of a tensor at hand, as it is;
2. a multiple of one, plus a constant;
3. a multiple of the product of two;
4. the sum of two, plus a small constant: a cache of keys and what comes behind it;
5. one divided by a small number, plus a constant, rounded down.

The sizes are chosen so that no other function of these forms gives the same numbers by chance; that the result is right
at yet another size is verified on the artifacts themselves.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, combinations_with_replacement
from typing import Generic, TypeVar

import numpy as np

from edgecomp.arrays import Array
from edgecomp.shapes import evenness

#: One number for each of the sizes that a graph was prepared at.
Numbers = tuple[int, ...]
Place = TypeVar("Place", bound=Hashable)

#: How many steps from its example size a dimension goes, in a pattern of its own for each: no line leads from one to
#: another, so that the size of one dimension is never taken for that of another.
_STEPS = ((1, 2, 4), (2, 5, 3), (4, 1, 2), (3, 1, 5), (5, 2, 1))
_DIVISORS = (2, 4, 8, 16, 32)
#: What may be added to the sum of two sizes: with any number, the sizes of two dimensions give that of a third.
_SMALL = 2
#: Longer constants are data, not shapes.
_LONGEST = 64


def bindings(example: Mapping[str, int], direction: int = 1) -> list[dict[str, int]]:
    """Sizes of the dynamic dimensions to prepare a graph at.

    They are as divisible by powers of two as the example sizes are, and never 1, which broadcasts.

    Args:
        example: Name -> example size.
        direction: 1 for larger sizes than the example's, -1 for smaller ones.

    Returns:
        Three bindings; none when a size would not be positive.
    """
    found: list[dict[str, int]] = [{} for _ in range(len(_STEPS[0]))]
    for index, (name, size) in enumerate(example.items()):
        step = 2 if size == 1 else evenness(size)
        for binding, steps in zip(found, _STEPS[index % len(_STEPS)], strict=True):
            binding[name] = size + direction * steps * step
    return found if all(size > 1 for binding in found for size in binding.values()) else []


def unseen(example: Mapping[str, int], bindings: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """A size of each dynamic dimension that none of the bindings has, within their range, and as even."""
    found = {}
    for name, size in example.items():
        sizes = sorted(binding[name] for binding in bindings)
        step = evenness(size)
        between = range(2 if size == 1 else sizes[0] + step, sizes[-1], step)
        found[name] = next((each for each in between if each not in sizes), sizes[0])
    return found


@dataclass(frozen=True)
class Expression(Generic[Place]):
    """(factor * the product of the sizes at `places` + the size at `plus`, if it is given, + addend) // divisor.

    A constant when there are no places.
    """

    places: tuple[Place, ...]
    factor: int = 1
    addend: int = 0
    divisor: int = 1
    plus: Place | None = None

    def at(self, sizes: Mapping[Place, int]) -> int:
        """Its value where the places have `sizes`."""
        value = self.factor
        for place in self.places:
            value *= sizes[place]
        value += 0 if self.plus is None else sizes[self.plus]
        return (value + self.addend) // self.divisor


def explain(
    numbers: Numbers, near: Mapping[Place, Numbers], inputs: Mapping[Place, Numbers], far: Mapping[Numbers, Place]
) -> Expression[Place] | None:
    """The simplest function of sizes that gives `numbers`.

    Args:
        numbers: What there is to explain, one for each preparation.
        near: Sizes of the tensors that the operator at hand reads, by place.
        inputs: Sizes of the graph's inputs, by place.
        far: The place of every other size that is known before this operator.

    Returns:
        The expression, or None when there is no such function.
    """
    if len(set(numbers)) == 1:
        return Expression((), factor=0, addend=numbers[0])
    known = {**_changing(near), **_changing(inputs)}
    for place, sizes in known.items():
        if sizes == numbers:
            return Expression((place,))
    if numbers in far:
        return Expression((far[numbers],))
    pairs = known.items()
    forms = (_affine(numbers, pairs), _product(numbers, known), _sum(numbers, pairs), _quotient(numbers, pairs))
    return next((expression for found in forms for expression in found), None)


def _changing(sizes: Mapping[Place, Numbers]) -> dict[Place, Numbers]:
    return {place: numbers for place, numbers in sizes.items() if len(set(numbers)) > 1}


def _affine(numbers: Numbers, known: Iterable[tuple[Place, Numbers]]) -> Iterator[Expression[Place]]:
    for place, sizes in known:
        line = _line(numbers, sizes)
        if line is not None:
            yield Expression((place,), *line)


def _line(numbers: Numbers, sizes: Sequence[int]) -> tuple[int, int] | None:
    """Factor and addend of the line through all points, when they are whole numbers."""
    if sizes[0] == sizes[1]:
        return None
    factor = Fraction(numbers[1] - numbers[0], sizes[1] - sizes[0])
    addend = numbers[0] - factor * sizes[0]
    whole = factor.denominator == 1 and factor != 0
    fits = all(factor * size + addend == number for size, number in zip(sizes, numbers, strict=True))
    return (int(factor), int(addend)) if whole and fits else None


def _product(numbers: Numbers, known: Mapping[Place, Numbers]) -> Iterator[Expression[Place]]:
    for pair in combinations_with_replacement(known, 2):
        line = _line(numbers, [first * second for first, second in zip(*(known[place] for place in pair), strict=True)])
        if line is not None and line[1] == 0:
            yield Expression(pair, line[0])


def _sum(numbers: Numbers, known: Iterable[tuple[Place, Numbers]]) -> Iterator[Expression[Place]]:
    for (place, sizes), (other, more) in combinations(known, 2):
        rest = {number - size - another for number, size, another in zip(numbers, sizes, more, strict=True)}
        if len(rest) == 1 and abs(min(rest)) <= _SMALL:
            yield Expression((place,), addend=rest.pop(), plus=other)


def _quotient(numbers: Numbers, known: Iterable[tuple[Place, Numbers]]) -> Iterator[Expression[Place]]:
    for place, sizes in known:
        for divisor in _DIVISORS:
            for addend in range(-divisor, divisor + 1):
                if all((size + addend) // divisor == number for size, number in zip(sizes, numbers, strict=True)):
                    yield Expression((place,), 1, addend, divisor)


def is_short(arrays: Sequence[Array]) -> bool:
    """Whether the forms of one constant at several sizes are of one shape, and few enough numbers to be explained."""
    return arrays[0].size <= _LONGEST and all(array.shape == arrays[0].shape for array in arrays)


def is_whole(arrays: Sequence[Array]) -> bool:
    """Whether arrays hold whole numbers, in whatever type."""
    if arrays[0].dtype.kind == "f":
        return all(bool((np.abs(array) < 1 << 24).all() and (array == np.rint(array)).all()) for array in arrays)
    return arrays[0].dtype.kind == "i"
