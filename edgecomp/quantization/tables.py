"""Tables of rows, such as the vectors of words: stored in integers, looked up as integers, scaled row by row.

1. A constant of which every reader looks up rows (Gather along dimension 0) is a table. Where it is not part of an
   integer graph, it is stored in int8 wherever other weights are: in a model of words it is most of the file.
2. A row is symmetric, in [-127, 127], and has a scale of its own: rare words have small vectors.
3. Integers are looked up, and only the rows that were found become real numbers: a whole table unpacked would take its
   float32 size in memory, and time in every inference of runtimes that keep no unpacked copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Pieces
from edgecomp.graph.query import is_constant, is_float, required_constant
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.parameters import QuantizationParameters

#: Numbers. A smaller table may be anything, and gains next to nothing.
_SMALLEST = 1024


def is_table(value: ir.Value) -> bool:
    """Whether rule 1 calls a value a table that may be stored in integers."""
    if not is_float(value) or not is_constant(value) or value.is_graph_output():
        return False
    rows = required_constant(value)
    return rows.ndim > 1 and rows.size >= _SMALLEST and _is_looked_up(value, by_row=True)


def _is_looked_up(value: ir.Value, *, by_row: bool) -> bool:
    """Whether every reader gathers of a value, along dimension 0 if `by_row`."""
    readers = [use.node for use in value.uses()]
    return bool(readers) and all(
        node.op_type == "Gather"
        and node.inputs[0] is value
        and (not by_row or node.attributes.get_int("axis", 0) == 0)
        and not scheme.stays_in_float(node)
        for node in readers
    )


def row_parameters(rows: npt.NDArray[np.float32]) -> QuantizationParameters:
    """Rule 2."""
    scale = np.abs(rows).max(axis=tuple(range(1, rows.ndim)), initial=0).astype(np.float32) / np.float32(127)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return QuantizationParameters(scale, np.zeros_like(scale, np.int32), "int8", axis=0)


def look_up_integers(model: CompressedModel) -> CompressedModel:
    """Rule 3: the model with integers in its tables, and with a Cast and a Mul behind each Gather that reads them.

    Args:
        model: Quantized; its table may list tables, with one scale each or one for each row.

    Returns:
        The model, whose quantization table lists them no more; the same where there are none.
    """
    if not any(True for _ in _lookups(model)):
        return model
    graph, table = model.graph.clone(), dict(model.quantization)
    stored: dict[str, _Stored] = {}
    for node in list(_lookups(replace(model, graph=graph))):
        pieces, value = Pieces(node, graph.opset_imports.get("", 1)), node.inputs[0]
        name = value.name or ""  # type: ignore[union-attr]
        if name not in stored:
            stored[name] = _Stored.of(required_constant(value), table[name], pieces)
        pieces.replace([stored[name].rows(pieces)])
    for name in stored:
        del graph.graph.initializers[name], table[name]
    return replace(model, graph=graph, quantization=table)


def _lookups(model: CompressedModel) -> Iterator[ir.Node]:
    """The nodes that give rows of a table of which the quantization table speaks, as real numbers."""
    for node in model.graph.graph:
        value = node.inputs[0] if node.op_type == "Gather" else None
        parameters = None if value is None else model.quantization.get(value.name or "")
        if value is None or parameters is None or not is_constant(value) or parameters.axis not in {None, 0}:
            continue
        if scheme.runs_in_integers(node, model.quantization):
            continue
        if _is_looked_up(value, by_row=parameters.per_channel):
            yield node


@dataclass(frozen=True)
class _Stored:
    """The constants that take a table's place.

    Attributes:
        integers: Shaped like it.
        scale: One number, or one for each row, shape (rows, 1, ...).
        zero_point: As real numbers, shaped like `scale`; None when all are 0.
    """

    integers: ir.Value
    scale: ir.Value
    zero_point: ir.Value | None

    @classmethod
    def of(cls, rows: npt.NDArray[np.float32], parameters: QuantizationParameters, pieces: Pieces) -> _Stored:
        """Rounds a table."""
        shape = (-1, *[1] * (rows.ndim - 1)) if parameters.per_channel else ()

        def constant(array: npt.NDArray[Any]) -> ir.Value:
            value = pieces.value(array)
            assert value is not None
            return value

        return cls(
            constant(parameters.quantize(rows)),
            constant(parameters.scale.reshape(shape)),
            constant(parameters.zero_point.astype(np.float32).reshape(shape)) if parameters.zero_point.any() else None,
        )

    def rows(self, pieces: Pieces) -> ir.Value:
        """What the indices of a Gather find, as real numbers."""
        where, axis = pieces.input(1), pieces.integer("axis", 0)

        def found(value: ir.Value) -> ir.Value:
            return pieces("Gather", value, where, axis=axis) if pieces.rank(value) else value

        real = pieces("Cast", found(self.integers), to=int(ir.DataType.FLOAT))
        if self.zero_point is not None:
            real = pieces("Sub", real, found(self.zero_point))
        return pieces("Mul", real, found(self.scale))
