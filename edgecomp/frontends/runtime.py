"""Runs a raw graph in ONNX Runtime and measures how far two answers lie apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecomp.arrays import Array
from edgecomp.graph.qlinear import QLINEAR
from edgecomp.graph.rankings import rankings
from edgecomp.verification.ranking import in_order_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgecomp.graph.session import Session


#: How far an exported graph may lie from its module, as a share of the output's range. Float32 kernels that sum in
#: another order differ by 1e-7 to 1e-5 over a deep network, and one int8 step is 4e-3 of the range: 1e-4 lies
#: well above the noise, and 40 times below the first difference that quantization could show.
TOLERANCE = 1e-4

#: The same for a graph that rounds numbers as it runs: another order of additions moves one across the border of a step
#: now and then.
ROUNDED_TOLERANCE = 0.05
_ROUNDING = frozenset({"DynamicQuantizeLinear", "QuantizeLinear"}) | QLINEAR.keys()


def open_session(model: ir.Model, *, lasting: bool = True) -> Session:
    """A session that computes exactly what the graph says.

    Args:
        model: See `Session`.
        lasting: Whether it will run many times. For one run, it takes longer to make a graph faster than to run it.
    """
    from edgecomp.graph.session import Session

    # Without VNNI, x86 kernels of a QDQ model add pairs of products in saturating 16-bit: no reference for anything.
    exact = {"session.x64quantprecision": "1"}
    try:
        return Session(model, config=exact, lasting=lasting, optimize=lasting)
    # ONNX Runtime's exceptions have no common base below Exception.
    except Exception:
        # What makes them exact fails where two weights share a zero point. Without it, all computes in float.
        if not lasting or not rounds(model):
            raise
        return Session(model, config=exact, lasting=lasting, optimize=False)


def rounds(model: ir.Model) -> bool:
    """Whether a graph rounds numbers to integers as it runs."""
    return any(node.op_type in _ROUNDING for node in model.graph.all_nodes())


def tolerance(dtype: np.dtype[Any]) -> float:
    """The allowed `difference`: half-precision modules are as noisy as their own rounding."""
    if dtype.kind == "f":
        return max(TOLERANCE, 16 * float(np.finfo(dtype).eps))
    return 0.0 if dtype.kind in "biu" else TOLERANCE


def difference(expected: Array, actual: Array) -> float:
    """The largest difference of two arrays as a share of the first one's range, which includes zero.

    Infinite when the shapes differ, or when one has a NaN or an infinity that the other has not. Integers and
    booleans give 0 when equal, else 1 or more.
    """
    if expected.shape != actual.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    if expected.dtype.kind not in "fc":
        return float(np.count_nonzero(expected != actual))
    left, right = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(left)
    if not np.array_equal(left[~finite], right[~finite], equal_nan=True) or not np.isfinite(right[finite]).all():
        return float("inf")
    if not finite.any():
        return 0.0
    left, right = left[finite], right[finite]
    span = max(left.max(), 0.0) - min(left.min(), 0.0)
    # Kernels may take numbers below the smallest normal one for 0.
    return float(np.abs(left - right).max() / (span if span >= np.finfo(np.float32).tiny else 1.0))


def differences(graph: ir.Graph, expected: Sequence[Array], actual: Sequence[Array]) -> Iterator[tuple[str, float]]:
    """The name of each output of a graph and the `difference` of two models there, rows of one score in any order."""
    names = [value.name or "" for value in graph.outputs]
    left, right = (dict(zip(names, arrays, strict=True)) for arrays in (expected, actual))
    ordered = in_order_of(left, right, rankings(graph))
    return ((name, difference(left[name], ordered[name])) for name in names)


def first_deviation(
    model: ir.Model, examples: Sequence[Array], expected: Sequence[Array], allowed: float | None = None
) -> tuple[str, float] | None:
    """Runs a rewritten graph once and looks for an output that the original does not give.

    Args:
        model: The rewritten graph.
        examples: One array for each input.
        expected: What the original gives for them.
        allowed: The largest `difference`; None for the `tolerance` of each output's dtype.

    Returns:
        The name of the first such output and its `difference`; None when there is none.
    """
    actual = open_session(model, lasting=False).run(examples)
    for (name, distance), left in zip(differences(model.graph, expected, actual), expected, strict=True):
        if distance > (tolerance(left.dtype) if allowed is None else allowed):
            return name, distance
    return None
