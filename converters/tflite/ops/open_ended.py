"""Operators whose result size depends on input values: refused, with a way out."""

from __future__ import annotations

from functools import partial

from edgecomp.converters.tflite.lowering import Unsuited
from edgecomp.converters.tflite.operation import LoweringFunction, Operation

_CUT = "cut the model in front of it, and do this last step in the app"
_MASK = "keep all elements, and a mask, instead of those that are not zero"


def refuse(operation: Operation, cure: str) -> None:
    """Refuses the operator: no memory can be planned for its result, nor for anything computed from it."""
    raise Unsuited("how many elements it gives depends on the numbers that it reads", cure)


LOWERINGS: dict[str, LoweringFunction] = {
    "Compress": partial(refuse, cure=_MASK),
    "NonMaxSuppression": partial(refuse, cure=_CUT),
    "NonZero": partial(refuse, cure=_MASK),
    "Unique": partial(refuse, cure=_CUT),
}
