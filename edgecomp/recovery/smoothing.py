"""Smoothing: prevents a few very large channels from setting the step of a whole tensor.

In Transformers, some channels of normalized tensors, and of what layers add to the residual stream, are tens or
hundreds of times as large as the rest, while per-tensor activations have one step for all channels. Smoothing acts at
the border to operators that stay in float anyway, so that the network computes the same:

1. Before linear layers that read a normalization: channel c of the input is divided by s_c, and row c of the weights
   multiplied by s_c (Xiao et al., 2023, SmoothQuant). The division is merged into the normalization's scale if nothing
   else reads it, else it is a product in float. s_c = a_c^alpha / w_c^(1 - alpha), from the largest input and weight of
   the channel. alpha is the value with the least predicted noise; without a gain nothing is changed.
2. After a linear layer whose result, perhaps plus a bias, is only read by something in float, such as a residual
   stream: column c of the weights is divided by s_c, and the reader gets the result times s_c, so that every channel
   uses the full range of integers.
3. A Gelu between two linear layers is computed in float if some of its channels are very large. Its input then is a
   case of rule 2, and its output one of rule 1. This costs time, hence `float_gain`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Arrays
from edgecomp.graph.query import constant, is_constant, only_consumer, required_constant
from edgecomp.graph.weights import has_weight, register, scale_inputs, scale_outputs
from edgecomp.model import CompressedModel, Step
from edgecomp.quantization import scheme
from edgecomp.quantization.attention import NORMALIZATIONS, keep_attention_in_float
from edgecomp.recovery.balance import balance, channel_widths, evening_gain
from edgecomp.recovery.channels import ChannelStatistics, FloatArray, measure_channels
from edgecomp.step import Stage, check_setting

if TYPE_CHECKING:
    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class Smoothing:
    """Settings of smoothing.

    Attributes:
        least_gain: The predicted reduction of noise, in dB, below which a tensor is left alone.
        float_gain: The gain, in dB, at the input of a Gelu above which it is computed in float.
    """

    kind: ClassVar[str] = "smooth"
    stage: ClassVar[Stage] = "graph"
    least_gain: float = 1.0
    float_gain: float = 10.0

    def __post_init__(self) -> None:
        for name in ("least_gain", "float_gain"):
            check_setting(getattr(self, name) >= 0, self, name, "decibels, 0 or more")

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Smooths by the statistics of the calibration data."""
        return smooth(model, bench.calibration_batches("smooth"), self)


@dataclass(frozen=True)
class _Fan:
    """A node in float, and the linear layers that read it (rule 1).

    Attributes:
        maker: The node.
        value: The tensor that the layers read: its result, possibly reshaped to rows.
        readers: The layers.
    """

    maker: ir.Node
    value: ir.Value
    readers: tuple[ir.Node, ...]


@dataclass(frozen=True)
class _Branch:
    """A linear layer whose result, perhaps plus a bias, is only read by a node in float (rule 2).

    Attributes:
        linear: The layer.
        bias: The Add after it, if it has no bias of its own.
        end: The tensor that is read.
    """

    linear: ir.Node
    bias: ir.Node | None
    end: ir.Value

    @property
    def reader(self) -> ir.Node:
        """The node that reads the end."""
        (use,) = self.end.uses()
        return use.node


def smooth(model: CompressedModel, batches: Iterable[Arrays], settings: Smoothing | None = None) -> CompressedModel:
    """Evens out channels before and after linear layers.

    Args:
        model: A simplified float model.
        batches: Calibration inputs in the graph's order and shapes.
        settings: See `Smoothing`.

    Returns:
        A model that computes the same.
    """
    settings = settings or Smoothing()
    graph = model.graph.clone()
    fans, branches = list(_fans(graph.graph)), list(_branches(graph.graph))
    values = dict.fromkeys([*(fan.value for fan in fans), *(branch.end for branch in branches)])
    seen = measure_channels(model, {value.name or "": -1 for value in values}, batches)
    kept = [branch.reader for branch in branches if _is_uneven_gelu(branch, fans, seen, settings)]
    for node in kept:
        node.metadata_props[scheme.PRECISION_KEY] = "float32"  # rule 3
    in_float = _names_in_float(graph)
    inputs = [fan for fan in fans if _is_in_float(fan.maker, in_float)]
    outputs = [branch for branch in branches if _is_in_float(branch.reader, in_float)]
    smoothed = sum(_smooth_fan(graph.graph, fan, seen, settings) for fan in inputs)
    restored = sum(_smooth_branch(graph.graph, branch, seen, settings) for branch in outputs)
    step = Step(settings.kind, asdict(settings), {"inputs": smoothed, "outputs": restored, "kept_in_float": len(kept)})
    return model.after(step, graph=graph)


def _is_linear(node: ir.Node) -> bool:
    return node.op_type in {"Gemm", "MatMul"} and has_weight(node) and required_constant(node.inputs[1]).ndim == 2


def _fans(graph: ir.Graph) -> Iterator[_Fan]:
    for node in graph:
        value = node.outputs[0]
        if node.op_type == "Gelu" or (node.op_type in NORMALIZATIONS and _is_over_last_dimension(node)):
            for read in (value, *filter(None, (_as_rows(use.node) for use in value.uses()))):
                readers = tuple(use.node for use in read.uses() if use.idx == 0 and _is_linear(use.node))
                if readers:
                    yield _Fan(node, read, readers)


def _as_rows(node: ir.Node | None) -> ir.Value | None:
    """Returns the result of a Reshape that keeps the last dimension, as is common around linear layers."""
    if node is None or node.op_type != "Reshape" or node.inputs[0] is None:
        return None
    before, after = node.inputs[0].shape, node.outputs[0].shape
    return node.outputs[0] if before is not None and after is not None and before[-1] == after[-1] else None


def _is_over_last_dimension(node: ir.Node) -> bool:
    value = node.outputs[0]
    return value.shape is not None and node.attributes.get_int("axis", -1) in {-1, len(value.shape) - 1}


def _branches(graph: ir.Graph) -> Iterator[_Branch]:
    in_float = _names_in_float(graph)
    for node in graph:
        if not _is_linear(node) or node.name in in_float:
            continue
        end = node.outputs[0]
        reader = only_consumer(end)
        bias = reader if reader is not None and reader.op_type == "Add" and is_constant(reader.inputs[1]) else None
        if bias is not None:
            end = bias.outputs[0]
            reader = only_consumer(end)
        if (shaped := _as_rows(reader)) is not None:
            end, reader = shaped, only_consumer(shaped)
        if reader is not None and (reader.op_type == "Gelu" or _is_in_float(reader, in_float)):
            yield _Branch(node, bias, end)


def _names_in_float(graph: ir.Graph | ir.Model) -> frozenset[str | None]:
    """Returns the nodes that quantization will keep in float by the rules for Transformers."""
    marked = graph.clone()
    inner = marked.graph if isinstance(marked, ir.Model) else marked
    keep_attention_in_float(inner)
    return frozenset(node.name for node in inner if scheme.stays_in_float(node))


def _is_in_float(node: ir.Node | None, names: frozenset[str | None]) -> bool:
    return node is not None and (node.name in names or node.op_type not in scheme.OPERATORS)


def _is_uneven_gelu(
    branch: _Branch, fans: list[_Fan], seen: Mapping[str, ChannelStatistics], settings: Smoothing
) -> bool:
    if branch.reader.op_type != "Gelu" or not any(fan.maker is branch.reader for fan in fans):
        return False
    return evening_gain(seen[branch.end.name or ""]) >= settings.float_gain


def _smooth_fan(graph: ir.Graph, fan: _Fan, seen: Mapping[str, ChannelStatistics], settings: Smoothing) -> bool:
    """Applies rule 1."""
    statistics = seen[fan.value.name or ""]
    best = balance(statistics, fan.readers)
    if best.gain < settings.least_gain:
        return False
    factors = best.factors
    divided = _divided(graph, fan, 1 / factors)
    for node in fan.readers:
        scale_inputs(graph, node, factors)
        node.replace_input_with(0, divided)
    return True


def _divided(graph: ir.Graph, fan: _Fan, factor: FloatArray) -> ir.Value:
    """Multiplies the values by `factor`: in the normalization itself if it has no other reader."""
    node, value = fan.maker, fan.value
    read = tuple(value.uses()) if value is node.outputs[0] else (*value.uses(), *node.outputs[0].uses())
    own = len(fan.readers) + (value is not node.outputs[0])
    shared = len(read) > own or value.is_graph_output() or node.outputs[0].is_graph_output()
    if shared or node.op_type not in NORMALIZATIONS:
        return _product(graph, value, factor, f"{value.name}/smoothed")
    for index in range(1, len(node.inputs)):
        given = constant(node.inputs[index])
        if given is not None:
            node.replace_input_with(index, register(graph, f"{value.name}/smoothed_{index}", given * factor))
    return value


def _smooth_branch(
    graph: ir.Graph, branch: _Branch, seen: Mapping[str, ChannelStatistics], settings: Smoothing
) -> bool:
    """Applies rule 2."""
    statistics = seen[branch.end.name or ""]
    if evening_gain(statistics) < settings.least_gain:
        return False
    width = channel_widths(statistics.low, statistics.high)
    factors = np.maximum(width / width.max(), 1e-4)  # a channel that is always 0 keeps finite weights
    (use,) = branch.end.uses()
    behind = _product(graph, branch.end, factors, f"{branch.end.name}/restored")
    use.node.replace_input_with(use.idx, behind)
    scale_outputs(graph, branch.linear, 1 / factors, np.zeros(1))
    bias = branch.bias
    if bias is not None:
        array = required_constant(bias.inputs[1])
        bias.replace_input_with(1, register(graph, f"{branch.end.name}/smoothed", array / factors))
    return True


def _product(graph: ir.Graph, value: ir.Value, factor: FloatArray, name: str) -> ir.Value:
    """A product in float, whatever the precision of the rest."""
    node = ir.node("Mul", [value, register(graph, f"{name}_by", factor)], name=name)
    node.metadata_props[scheme.PRECISION_KEY] = "float32"
    result = node.outputs[0]
    result.name, result.shape, result.type = name, value.shape, value.type
    producer = value.producer()
    assert producer is not None
    graph.insert_after(producer, node)
    return result
