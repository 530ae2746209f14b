"""How free each dynamic dimension stays: of any size, of sizes that are multiples of a number, or fixed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from edgecomp.shapes import InputShapes

Result = TypeVar("Result")


class NotGeneralError(Exception):
    """The graph cannot be had for every size; the message says why."""


class Freedom(IntEnum):
    """What sizes a dimension may have."""

    ANY = 0
    MULTIPLES = 1
    FIXED = 2


@dataclass(frozen=True)
class Choice(Generic[Result]):
    """What came of an attempt with as much freedom as it goes with.

    Attributes:
        result: What the attempt gave; None when it goes with no dynamic dimension.
        shapes: The dimensions that are dynamic in it.
        reasons: Each dimension that is not as free as it was -> why.
    """

    result: Result | None
    shapes: InputShapes
    reasons: Mapping[str, str]

    def notes(self, subject: str, cure: str, example: Mapping[str, int]) -> tuple[str, ...]:
        """A sentence for each dimension that is not as free as it was.

        Args:
            subject: What takes it no other way, as a sentence begins: "The .mnn file".
            cure: What to do about it, with the comma in front.
            example: The sizes that dimensions are fixed at.
        """
        multiples = self.shapes.multiples
        return tuple(
            f"{subject} takes the dimension {name!r} in multiples of {multiples[name]} only{cure}: {reason}."
            if name in multiples
            else f"{subject} fixes the dimension {name!r} at {example[name]}{cure}: {reason}."
            for name, reason in self.reasons.items()
        )


def choose(
    attempt: Callable[[InputShapes], Result], shapes: InputShapes, restrictable: Collection[str] = ()
) -> Choice[Result]:
    """Tries something with as much freedom as it goes with.

    Args:
        attempt: Raises NotGeneralError when it does not go.
        shapes: With all the dynamic dimensions.
        restrictable: Those that may be multiples only, which is better than being fixed.
    """
    return _Search(attempt, shapes, frozenset(restrictable)).run()


class _Search(Generic[Result]):
    """See `choose`."""

    def __init__(
        self, attempt: Callable[[InputShapes], Result], shapes: InputShapes, restrictable: frozenset[str]
    ) -> None:
        self._attempt, self._shapes, self._restrictable = attempt, shapes, restrictable
        self._levels = dict.fromkeys(shapes.example, Freedom.ANY)
        self._reasons: dict[str, str] = {}
        self._failure = ""

    def run(self) -> Choice[Result]:
        """All dimensions together, then each by itself, then those together that went."""
        result = self._tried(self._levels)
        if result is None and len(self._levels) > 1:
            for name in self._levels:
                self._levels[name] = self._alone(name)
            result = self._tried(self._levels)
        # Dimensions that are fine one by one may not be so together: then one after the other gives way.
        for name in reversed(self._levels):
            while result is None and self._levels[name] is not Freedom.FIXED:
                self._restrict(self._levels, name)
                result = self._tried(self._levels)
        return Choice(result, self._with(self._levels), self._reasons)

    def _alone(self, name: str) -> Freedom:
        levels = {**dict.fromkeys(self._levels, Freedom.FIXED), name: Freedom.ANY}
        while levels[name] is not Freedom.FIXED and self._tried(levels) is None:
            self._restrict(levels, name)
        return levels[name]

    def _restrict(self, levels: dict[str, Freedom], name: str) -> None:
        free = levels[name] is Freedom.ANY and name in self._restrictable
        levels[name] = Freedom.MULTIPLES if free else Freedom.FIXED
        self._reasons[name] = self._failure

    def _tried(self, levels: Mapping[str, Freedom]) -> Result | None:
        shapes = self._with(levels)
        if not shapes.is_dynamic:
            return None
        try:
            return self._attempt(shapes)
        except NotGeneralError as error:
            self._failure = str(error)
            return None

    def _with(self, levels: Mapping[str, Freedom]) -> InputShapes:
        named = {level: [name for name in levels if levels[name] is level] for level in Freedom}
        return self._shapes.with_multiples(named[Freedom.MULTIPLES]).with_fixed(named[Freedom.FIXED])
