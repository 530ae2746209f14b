"""Writes operators that compute whole numbers from the sizes of tensors, in any format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import Generic, Literal, TypeVar

from edgecomp.graph.sizes import Expression

#: A tensor of the format.
Tensor = TypeVar("Tensor", bound=Hashable)
Arithmetic = Literal["Mul", "Add", "Div"]


class SizeVectors(ABC, Generic[Tensor]):
    """Computed vectors of sizes; what several readers need is computed once.

    A format says how it has constants, sizes, arithmetic and concatenation, all on vectors of one whole-number type.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Tensor] = {}

    def vector(self, parts: Sequence[Expression[tuple[Tensor, int]]]) -> Tensor:
        """The vector of the numbers that `parts` stand for."""
        key = tuple(parts)
        if key not in self._known:
            pieces: list[Tensor] = []
            for kind, group in groupby(parts, key=_kind):
                pieces.extend(self._pieces(kind, list(group)))
            self._known[key] = pieces[0] if len(pieces) == 1 else self.join(pieces, len(parts))
        return self._known[key]

    def _pieces(self, kind: object, parts: Sequence[Expression[tuple[Tensor, int]]]) -> list[Tensor]:
        if kind == "constant":
            return [self.constant([part.addend for part in parts])]
        if kind == "computed":
            return [self._computed(part) for part in parts]
        return [self.sizes(parts[0].places[0][0], [part.places[0][1] for part in parts])]

    def _computed(self, part: Expression[tuple[Tensor, int]]) -> Tensor:
        if part not in self._known:
            result, *others = (self.sizes(tensor, [axis]) for tensor, axis in part.places)
            for other in others:
                result = self.combine("Mul", result, other)
            result = self._with_number("Mul", result, part.factor, 1)
            if part.plus is not None:
                tensor, axis = part.plus
                result = self.combine("Add", result, self.sizes(tensor, [axis]))
            result = self._with_number("Add", result, part.addend, 0)
            self._known[part] = self._with_number("Div", result, part.divisor, 1)
        return self._known[part]

    def _with_number(self, name: Arithmetic, left: Tensor, number: int, neutral: int) -> Tensor:
        return left if number == neutral else self.combine(name, left, self.constant([number]))

    @abstractmethod
    def constant(self, numbers: Sequence[int]) -> Tensor:
        """A constant vector."""

    @abstractmethod
    def sizes(self, tensor: Tensor, axes: Sequence[int]) -> Tensor:
        """A vector of some of a tensor's sizes."""

    @abstractmethod
    def combine(self, name: Arithmetic, left: Tensor, right: Tensor) -> Tensor:
        """The product, sum or quotient, rounded down, of two vectors of one number."""

    @abstractmethod
    def join(self, pieces: Sequence[Tensor], length: int) -> Tensor:
        """One vector of several, `length` numbers in all."""


def _kind(part: Expression[tuple[Tensor, int]]) -> Hashable:
    """What parts are written together: constants, sizes of one tensor."""
    if not part.places:
        return "constant"
    plain = len(part.places) == 1 and part == Expression(part.places)
    return part.places[0][0] if plain else "computed"
