"""Models that compute in half or double precision become float32 models before anything else looks at them."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgecomp.arrays import Array, Arrays
from edgecomp.frontends import runtime
from edgecomp.graph.single_precision import HALVES, computes_in, to_single

_DOUBLES = frozenset({ir.DataType.DOUBLE})


def in_single_precision(model: ir.Model, examples: Arrays) -> tuple[ir.Model, list[str]]:
    """The model in float32, where it computes in half precision, or in double precision that ONNX Runtime cannot run.

    Args:
        model: With the shapes that it will have.
        examples: One array for each input.

    Returns:
        A new model, which is what artifacts are compared with, and what the user should know; or `model` itself.
    """
    expected = None
    if computes_in(model, HALVES):
        dtypes, expected = HALVES, _run(model, examples)
        name = "float16" if computes_in(model, {ir.DataType.FLOAT16}) else "bfloat16"
    elif computes_in(model, _DOUBLES) and _run(model, examples) is None:
        dtypes, name = _DOUBLES, "float64"
    else:
        return model, []
    single = model.clone()
    to_single(single, dtypes)
    actual = None if expected is None else _run(single, examples)
    if expected is None or actual is None:
        moved = "ONNX Runtime cannot run it like that"
    else:
        distance = max(runtime.difference(left, right) for left, right in zip(expected, actual, strict=True))
        moved = f"that moves its outputs by up to {distance:.1g} of their range" if distance else "that changes nothing"
    return single, [f"The model computes in {name}; {moved}. It was taken to float32, and is compared in float32."]


def _run(model: ir.Model, examples: Arrays) -> Sequence[Array] | None:
    """What ONNX Runtime gives, if it can run the model."""
    try:
        return runtime.open_session(model, lasting=False).run(examples)
    # ONNX Runtime's exceptions have no common base below Exception; whether it is the user's fault shows later.
    except Exception:
        return None
