"""Weights alone in integers: nothing is measured, and activations stay real numbers.

1. int8 weights are symmetric, per output channel, in [-127, 127]: rule 1 of the portable scheme.
2. int4 weights are symmetric, in [-7, 7], with a scale for each run of `block` numbers along the dimension that is
   summed over; per output channel where runs do not come out even. A scale is a float16, which is how TFLite stores it.
3. Only matrices become int4. Convolutions have too few weights a channel for it to pay, and no runtime but MNN could
   compute with them.
4. Recurrent layers have int8 weights wherever others have integers, in static int8 too, and real numbers for their
   state. So have tables of rows that real numbers are looked up in (see `tables`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.graph.query import is_float, required_constant
from edgecomp.model import CompressedModel, Step
from edgecomp.precision import Precision
from edgecomp.quantization import scheme
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.tables import is_table, row_parameters
from edgecomp.step import Stage

if TYPE_CHECKING:
    from edgecomp.workbench import Workbench

#: The largest integer of a symmetric weight of each type.
_LARGEST: dict[Literal["int4", "int8"], int] = {"int4": 7, "int8": 127}


class WeightQuantization:
    """Settings of a precision of weights alone."""

    kind: ClassVar[str]
    stage: ClassVar[Stage] = "precision"
    precision: ClassVar[Precision]

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Chooses integers; looks at no data."""
        return quantize_weights(model, self)


@dataclass(frozen=True)
class WeightInt8(WeightQuantization):
    """Settings of weight-only int8: float arithmetic on integers that were scaled back; there are none."""

    kind: ClassVar[str] = "weight-int8"
    precision: ClassVar[Precision] = "weight-int8"


@dataclass(frozen=True)
class DynamicInt8(WeightQuantization):
    """Settings of dynamic-range int8: the same weights, multiplied with activations quantized at run time."""

    kind: ClassVar[str] = "dynamic-int8"
    precision: ClassVar[Precision] = "dynamic-int8"


@dataclass(frozen=True)
class WeightInt4(WeightQuantization):
    """Settings of weight-only int4.

    Attributes:
        block: How many weights share a scale; TFLite takes multiples of 32, ONNX Runtime powers of two.
    """

    kind: ClassVar[str] = "weight-int4"
    precision: ClassVar[Precision] = "weight-int4"
    block: Literal[32, 64, 128, 256] = 32


def quantize_weights(model: CompressedModel, settings: WeightQuantization) -> CompressedModel:
    """Chooses integers for constant weights of convolutions, matrix products, recurrent layers, and for tables of rows.

    Args:
        model: A simplified float model.
        settings: Which precision, and its details.

    Returns:
        The model with a table of weights. One that something else reads too, or two nodes along different dimensions,
        stays as it is.
    """
    table = dict(_chosen(model.graph.graph, settings))
    facts = {"tensors": len(table), "int4": sum(entry.dtype == "int4" for entry in table.values())}
    step = Step("quantize", {"method": settings.precision, **vars(settings)}, facts)
    return model.after(step, quantization=table, precision=settings.precision)


def weights_of_float_layers(
    graph: ir.Graph, table: Mapping[str, QuantizationParameters]
) -> dict[str, QuantizationParameters]:
    """The parameters of weights of what computes in float though the rest is in integers (rule 4).

    Args:
        graph: The float graph.
        table: Of the rest.
    """
    names = {value.name for node in graph if node.op_type in scheme.RECURRENT for value in node.inputs[1:3] if value}
    names |= {name for name, value in graph.initializers.items() if name not in table and is_table(value)}
    return {name: entry for name, entry in _chosen(graph, WeightInt8()) if name in names}


def _chosen(graph: ir.Graph, settings: WeightQuantization) -> Iterator[tuple[str, QuantizationParameters]]:
    """The name of every weight that becomes integers, and its parameters."""
    for weight, nodes in _weights(graph):
        if is_table(weight):
            yield weight.name or "", row_parameters(required_constant(weight))
        elif all(scheme.is_weight_of(node, weight) for node in nodes):
            chosen = {_parameters(node, weight, settings) for node in nodes}
            if len(chosen) == 1:
                yield weight.name or "", chosen.pop()


def _weights(graph: ir.Graph) -> Iterator[tuple[ir.Value, list[ir.Node]]]:
    """Every float initializer with more than one dimension, and the nodes that read it."""
    for value in graph.initializers.values():
        if is_float(value) and value.shape is not None and len(value.shape) > 1:
            nodes = [use.node for use in value.uses()]
            if nodes and not value.is_graph_output():
                yield value, nodes


def _parameters(node: ir.Node, weight: ir.Value, settings: WeightQuantization) -> QuantizationParameters:
    array, axis = required_constant(weight), scheme.weight_axis(node)
    if isinstance(settings, WeightInt4) and scheme.is_plain_product(node) and axis is not None:
        return matrix_parameters(array, axis, settings.block)
    others = tuple(dimension for dimension in range(array.ndim) if dimension != axis)
    return _symmetric(np.abs(array).max(axis=None if axis is None else others, initial=0), "int8", axis)


def matrix_parameters(matrix: npt.NDArray[np.float32], axis: int, block: int) -> QuantizationParameters:
    """The int4 parameters of a matrix (rule 2).

    Args:
        matrix: Two dimensions, of which `axis` counts the output channels.
        axis: 0 or 1.
        block: How many neighbours share a scale.
    """
    rows = np.abs(matrix if axis == 0 else matrix.T)
    if rows.shape[1] % block:
        return _symmetric(rows.max(axis=1, initial=0), "int4", axis)
    return _symmetric(rows.reshape(len(rows), -1, block).max(axis=2, initial=0), "int4", axis, block)


def _symmetric(
    largest: npt.NDArray[np.float32], dtype: Literal["int4", "int8"], axis: int | None, block: int | None = None
) -> QuantizationParameters:
    scale = np.asarray(largest / np.float32(_LARGEST[dtype]), np.float32)
    if dtype == "int4":
        # Rounded up, so that the largest weight keeps its place; zeros need a scale too, and float16 has a smallest.
        half = scale.astype(np.float16)
        half = np.where(half < scale, np.nextafter(half, np.float16(np.inf)), half)
        scale = np.clip(half, np.finfo(np.float16).smallest_normal, np.finfo(np.float16).max).astype(np.float32)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return QuantizationParameters(scale, np.zeros_like(scale, np.int32), dtype, axis, block)
