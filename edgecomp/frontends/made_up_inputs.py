"""Inputs for an `.onnx` file that brings none, and that no data came with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Array, Arrays
from edgecomp.graph.query import input_of

#: What a report says about them.
NOTE = "The file brings no example inputs: seeded random numbers from 0 to 1 stand in for them."
_NOTE_ON_ROWS = (
    "The file brings no example inputs: seeded random numbers from 0 to 1 stand in for them, "
    "and for {} random rows of the table behind it."
)

#: Operators that pass on what an input says.
_PASSING = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def made_up_inputs(
    graph: ir.Graph, dtypes: Sequence[np.dtype[Any]], shapes: Sequence[tuple[int, ...]]
) -> tuple[list[Arrays], str]:
    """Seeded inputs: from 0 to 1 like pictures, where logarithms and roots are defined; rows of tables, or 0 and 1.

    Args:
        graph: As its exporter wrote it.
        dtypes: One for each input.
        shapes: One for each input.

    Returns:
        Inputs to try in turn, since integers may be places in something that has but one, and a mask of which little is
        left may leave no number; and what a report should say about them.
    """
    rows = [
        table_rows(value) if dtype.kind in "iu" else None for value, dtype in zip(graph.inputs, dtypes, strict=True)
    ]

    def draw(integers: int, lowest: int = 0, tables: bool = False) -> Arrays:
        random = np.random.default_rng(0)

        def one(dtype: np.dtype[Any], shape: tuple[int, ...], count: int | None) -> Array:
            if dtype.kind == "f":
                return random.random(shape).astype(dtype)
            known = tables and count is not None
            return random.integers(0 if known else lowest, count if known else integers, shape).astype(dtype)

        return tuple(map(one, dtypes, shapes, rows))

    if all(dtype.kind == "f" for dtype in dtypes):
        return [draw(2)], NOTE
    candidates = [draw(2), draw(1), draw(2, 1)]
    readers = [repr(value.name) for value, count in zip(graph.inputs, rows, strict=True) if count is not None]
    if not readers:
        return candidates, NOTE
    return [draw(2, tables=True), draw(2, 1, tables=True), *candidates], _NOTE_ON_ROWS.format(" and ".join(readers))


def table_rows(value: ir.Value) -> int | None:
    """How many rows the smallest table has whose rows an input names; None if it names none."""
    return min(_row_counts(value), default=None)


def _row_counts(value: ir.Value) -> Iterator[int]:
    for node, index in value.uses():
        if node.op_type in _PASSING and index == 0:
            yield from _row_counts(node.outputs[0])
        elif node.op_type == "Gather" and index == 1 and node.attributes.get_int("axis", 0) == 0:
            table = _stored(node.inputs[0])
            if table is not None and len(table.shape) > 1:
                yield table.shape.numpy()[0]


def _stored(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The constant that a value is, or that a DequantizeLinear makes it from."""
    maker = value.producer() if value is not None else None
    if maker is not None and maker.op_type == "DequantizeLinear":
        return _stored(input_of(maker, 0))
    if maker is not None and maker.op_type == "Constant":
        return maker.attributes.get_tensor("value") if "value" in maker.attributes else None
    return value.const_value if value is not None else None
