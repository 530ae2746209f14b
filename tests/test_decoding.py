"""Every kind of type hint, read from plain data, and what is said of data that do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest

from edgecomp.decoding import COUNT, TEXT, TRUTH, Grammar, Leaf, MismatchError

GRAMMAR = Grammar({str: TEXT, bool: TRUTH, int: COUNT, float: Leaf("a number", lambda value: type(value) is float)})


@dataclass(frozen=True)
class Wheel:
    size: float
    spokes: int = 32


@dataclass(frozen=True)
class Bicycle:
    kind: ClassVar[str] = "bicycle"
    wheels: tuple[Wheel, ...]
    colour: Literal["red", "green", 1] = "red"
    gears: frozenset[int] = frozenset()
    parts: Mapping[str, bool] | None = None


PLAIN: dict[str, Any] = {
    "wheels": [{"size": 28}, {"size": 26.5, "spokes": 36}],
    "colour": "green",
    "gears": [3, 7, 3],
    "parts": {"bell": True},
}


def test_every_hint_is_followed() -> None:
    made = GRAMMAR.table(Bicycle, PLAIN)
    assert made == Bicycle((Wheel(28.0), Wheel(26.5, 36)), "green", frozenset({3, 7}), {"bell": True})
    assert type(made.wheels[0].size) is float  # a whole number is a fine float


@pytest.mark.parametrize(
    ("change", "expected", "actual", "cure"),
    [
        ({"wheels": 2}, "wheels: a list", "2", None),
        ({"wheels": [{}]}, "a key wheels[0].size", "it is missing", "add it"),
        ({"wheels": [7]}, "a table [wheels[0]]", "7", None),
        ({"wheels": [{"size": True}]}, "wheels[0].size: a number", "True", None),
        (
            {"wheels": [{"size": 1, "spoke": 3}]},
            "the keys wheels[0].size, wheels[0].spokes", "unknown key wheels[0].spoke", "write wheels[0].spokes",
        ),
        ({"kind": "boat"}, "the keys wheels, colour, gears, parts", "unknown key kind", None),
        ({"colour": "gren"}, "colour: one of red, green, 1", "'gren'", "write green"),
        ({"colour": True}, "colour: one of red, green, 1", "True", None),
        ({"gears": [0]}, "gears[0]: a whole number above 0", "0", None),
        ({"parts": {"bell": 1}}, "parts.bell: true or false", "1", None),
        ({"parts": []}, "a table [parts]", "[]", None),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_path(
    change: dict[str, Any], expected: str, actual: str, cure: str | None
) -> None:
    with pytest.raises(MismatchError) as caught:
        GRAMMAR.table(Bicycle, PLAIN | change)
    assert (caught.value.expected, caught.value.actual, caught.value.cure) == (expected, actual, cure)
