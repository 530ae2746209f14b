"""Measures extremes, means and powers of single channels on calibration data, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.arrays import Arrays
from edgecomp.graph.border import loosen
from edgecomp.graph.query import shape_of
from edgecomp.graph.session import Session
from edgecomp.graph.values import add_constant
from edgecomp.model import CompressedModel
from edgecomp.system.memory import freed_at_once

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of one tensor, channel by channel.

    Attributes:
        low: The smallest value of each channel, shape (channels,).
        high: The largest value of each channel.
        mean: The mean of each channel.
        power: The mean square of each channel.
    """

    low: FloatArray
    high: FloatArray
    mean: FloatArray
    power: FloatArray

    @property
    def largest(self) -> FloatArray:
        """The largest magnitude of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


_REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceMean", "ReduceSumSquare")


@freed_at_once()
def measure_channels(
    model: CompressedModel, axes: Mapping[str, int], batches: Iterable[Arrays]
) -> dict[str, ChannelStatistics]:
    """Runs a float graph on every batch and gathers the statistics of channels.

    Args:
        model: In float; not changed.
        axes: Tensor name -> the dimension of its channels.
        batches: Input arrays in the graph's order; read once and not kept.

    Returns:
        By tensor name; without tensors it is empty, and no batch is read.
    """
    if not axes:
        return {}
    instrumented = model.graph.clone()
    for value, axis in _values(instrumented.graph, axes):
        _instrument(instrumented.graph, value, axis)
    loosen(instrumented, model.dynamic)
    session = Session(instrumented, streaming=True)
    seen: list[FloatArray] = []
    total = 0
    for arrays in session.run_all(batches):
        total += 1
        found = [np.asarray(array, np.float64) for array in arrays]
        seen = [_merged(index, *pair) for index, pair in enumerate(zip(seen, found, strict=True))] if seen else found
    assert seen, "a workbench without calibration data says so itself"
    result = {}
    for index, name in enumerate(axes):
        low, high, mean, squares, size = seen[5 * index : 5 * index + 5]
        count = size / total / len(low)  # elements of a channel in an average batch
        result[name] = ChannelStatistics(low, high, mean / total, squares / total / count)
    return result


def _values(graph: ir.Graph, axes: Mapping[str, int]) -> list[tuple[ir.Value, int]]:
    values = {value.name: value for value in (*graph.inputs, *(each for node in graph for each in node.outputs))}
    found = [(values[name], axis) for name, axis in axes.items()]
    graph.outputs.clear()
    return found


def _instrument(graph: ir.Graph, value: ir.Value, axis: int) -> None:
    """Adds the four reductions of a tensor as outputs, followed by its number of elements."""
    rank = len(shape_of(value))
    others = [dimension for dimension in range(rank) if dimension != axis % rank]
    axes = add_constant(graph, f"{value.name}/edgecomp_axes", np.array(others, np.int64))
    nodes = [ir.node(op_type, [value, axes], {"keepdims": 0}) for op_type in _REDUCTIONS]
    for node in (*nodes, ir.node("Size", [value])):
        dtype = ir.DataType.INT64 if node.op_type == "Size" else ir.DataType.FLOAT
        node.outputs[0].name, node.outputs[0].type = f"{value.name}/{node.op_type}", ir.TensorType(dtype)
        graph.append(node)
        graph.outputs.append(node.outputs[0])


def _merged(index: int, before: FloatArray, now: FloatArray) -> FloatArray:
    join = (np.minimum, np.maximum, np.add, np.add, np.add)[index % 5]
    return np.asarray(join(before, now), np.float64)
