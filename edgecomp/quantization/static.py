"""Static int8 and int16x8: parameters for every activation, weight and bias from calibration data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.arrays import Arrays
from edgecomp.graph.query import input_of, is_constant, required_constant
from edgecomp.graph.values import add_constant
from edgecomp.model import CompressedModel, Step
from edgecomp.precision import Precision
from edgecomp.quantization import scheme
from edgecomp.quantization.attention import keep_attention_in_float
from edgecomp.quantization.bias_correction import correct_biases, correctable_inputs
from edgecomp.quantization.calibration import Collected, collect, largest_of
from edgecomp.quantization.choice import closest
from edgecomp.quantization.estimators import ESTIMATORS, EstimatorChoice, EstimatorName
from edgecomp.quantization.groups import Group, group_activations
from edgecomp.quantization.joins import keep_joins_in_float
from edgecomp.quantization.multipliers import raise_output_scales, raise_to_whole_zero_point, raise_weight_scale
from edgecomp.quantization.parameters import IntegerType, QuantizationParameters
from edgecomp.quantization.relative import keep_ratios
from edgecomp.quantization.weight_ranges import WEIGHT_RANGES, WeightRange
from edgecomp.quantization.weights import weights_of_float_layers
from edgecomp.step import Stage
from edgecomp.system.memory import freed_at_once

if TYPE_CHECKING:
    from edgecomp.workbench import Workbench

#: A bias beyond this many steps leaves the accumulator no room.
_LARGEST_BIAS: dict[IntegerType, float] = {"int32": 2.0**29, "int64": 2.0**37}

#: What biases are stored as, by the type of the activations.
_BIAS: dict[IntegerType, IntegerType] = {"int8": "int32", "int16": "int64"}

#: What "measured" tries; the first is kept unless another is clearly better.
TRIED: tuple[EstimatorName, ...] = ("mse", "minmax", "percentile")

#: How many calibration batches it tries them on.
CHOSEN_ON = 16

#: In dB. They are few, and the ranges are made for them: less than that is chance.
CLEAR_GAIN = 1.5


@dataclass(frozen=True)
class StaticQuantization:
    """Settings of static int8 quantization.

    Attributes:
        estimator: How activation ranges follow from the statistics (see `estimators`); "measured" tries `TRIED`, and
            takes the one whose simulation is clearly closest to the float model (see `choice`).
        per_channel: Whether weights have a scale per output channel.
        weight_range: What of the weights integers have to hold (see `weight_ranges`).
        samples: Elements of each tensor and batch that go into its histogram.
        correct_bias: Whether biases make up for what rounding the weights does on average (see `bias_correction`).
    """

    kind: ClassVar[str] = "static-int8"
    stage: ClassVar[Stage] = "precision"
    precision: ClassVar[Precision] = "int8"
    activations: ClassVar[IntegerType] = "int8"
    estimator: EstimatorChoice = "mse"
    per_channel: bool = True
    weight_range: WeightRange = "largest"
    samples: int = 2048
    correct_bias: bool = True

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Quantizes with the ranges of the calibration data."""
        largest = None if model.dynamic is None else largest_of(bench.calibration_data)
        return quantize_static(model, bench.calibration_batches(), self, largest=largest)


@dataclass(frozen=True)
class StaticQuantization16(StaticQuantization):
    """Settings of static int16x8: int8 weights and int16 activations, symmetric as TFLite's kernels demand."""

    kind: ClassVar[str] = "static-int16x8"
    precision: ClassVar[Precision] = "int16x8"
    activations: ClassVar[IntegerType] = "int16"


@freed_at_once()
def quantize_static(
    model: CompressedModel,
    batches: Iterable[Arrays],
    settings: StaticQuantization | None = None,
    *,
    threads: int = 0,
    largest: Arrays | None = None,
) -> CompressedModel:
    """Quantizes a float model in the portable scheme.

    Args:
        model: A simplified float model.
        batches: Calibration inputs in the graph's order, of any sizes that it takes; read once. None is kept, but for
            the first `CHOSEN_ON` when estimators are measured.
        settings: See `StaticQuantization`.
        threads: How many threads compute; 0 for one a core.
        largest: The largest of the batches, where they are of several sizes (see `calibration.collect`).

    Returns:
        The model with a quantization table. Its graph may have an Identity where parameters change (see
        `group_activations`) and copies of biases that several nodes shared.

    Raises:
        DataError: The data are empty or make the model overflow.
    """
    settings = settings or StaticQuantization()
    graph = model.graph.clone()
    kept = keep_attention_in_float(graph.graph) + keep_ratios(graph.graph) + keep_joins_in_float(graph.graph)
    groups = group_activations(graph.graph, settings.activations)
    measured = [name for group in groups if group.fixed is None for name in dict.fromkeys(group.measured)]
    correctable = correctable_inputs(graph.graph) if settings.correct_bias else []
    seen = Collected({}, {})
    first: list[Arrays] = []
    if settings.estimator == "measured":
        batches = _keeping(batches, first)
    # A graph that computes nothing in integers (it only moves data, say) has nothing to measure.
    if measured:
        seen = collect(
            graph,
            measured,
            batches,
            samples=settings.samples,
            channel_means=correctable,
            threads=threads,
            dynamic=model.dynamic,
            largest=largest,
        )
    tried = _tried(settings.estimator, first)
    candidates = {name: _with_ranges(model, graph, groups, seen, name, settings) for name in tried}
    chosen, judged = _clearly_closest(model, candidates, first, threads)
    facts = {"tensors": len(chosen.quantization), **chosen.provenance[-1].facts, "kept_in_float": kept, **judged}
    step = Step("quantize", {"method": f"static-{settings.precision}", **asdict(settings)}, facts)
    return model.after(step, graph=chosen.graph, quantization=chosen.quantization, precision=settings.precision)


def _keeping(batches: Iterable[Arrays], kept: list[Arrays]) -> Iterator[Arrays]:
    """The batches, of which the first go into a list too."""
    for batch in batches:
        if len(kept) < CHOSEN_ON:
            kept.append(batch)
        yield batch


def _tried(estimator: EstimatorChoice, batches: Sequence[object]) -> Sequence[EstimatorName]:
    """The estimators to choose from; without batches to measure them on, there is no choice."""
    if estimator != "measured":
        return (estimator,)
    return TRIED if batches else TRIED[:1]


def _clearly_closest(
    model: CompressedModel,
    candidates: Mapping[EstimatorName, CompressedModel],
    batches: Sequence[Arrays],
    threads: int,
) -> tuple[CompressedModel, dict[str, Any]]:
    """The first candidate, unless another one is clearly closer to the float model; and what was measured."""
    names = list(candidates)
    if len(names) == 1:
        return candidates[names[0]], {}
    best, sqnr = closest(model, list(candidates.values()), batches, threads=threads)
    chosen = names[best if sqnr[best] >= sqnr[0] + CLEAR_GAIN else 0]
    return candidates[chosen], {"estimator": chosen, "sqnr": dict(zip(names, sqnr, strict=True))}


def _with_ranges(
    model: CompressedModel,
    graph: ir.Model,
    groups: list[Group],
    seen: Collected,
    estimator: EstimatorName,
    settings: StaticQuantization,
) -> CompressedModel:
    """The model with one estimator's ranges and everything that follows from them."""
    graph = graph.clone()
    table: dict[str, QuantizationParameters] = {}
    for group in groups:
        parameters = group.fixed
        if parameters is None:
            # Steps of int16 are so fine that nothing is gained by clipping for them.
            estimate = ESTIMATORS[estimator if group.dtype == settings.activations else "minmax"]
            ranges = [estimate(seen.statistics[name]) for name in dict.fromkeys(group.measured)]
            low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
            parameters = scheme.activation_parameters(low, high, group.dtype)
        table |= dict.fromkeys(group.members, parameters)
    raise_output_scales(graph.graph, groups, table)
    quantize_constants(graph.graph, table, per_channel=settings.per_channel, weight_range=settings.weight_range)
    table |= weights_of_float_layers(graph.graph, table)
    corrected = correct_biases(graph.graph, table, seen.channel_means)
    step = Step(estimator, facts={"biases_corrected": corrected})
    return model.after(step, graph=graph, quantization=table, precision=settings.precision)


def quantize_constants(
    graph: ir.Graph,
    table: dict[str, QuantizationParameters],
    *,
    per_channel: bool,
    weight_range: WeightRange = "largest",
) -> None:
    """Adds the parameters of weights, biases and constant operands to a table that has those of the activations.

    Args:
        graph: Changed in place where several nodes share a constant that needs parameters of its own for each.
        table: Extended in place.
        per_channel: Whether weights have a scale per output channel.
        weight_range: What of them integers have to hold.
    """
    for node in tuple(scheme.quantizable_nodes(graph)):
        if not all(is_constant(value) or value.name in table for value in (*scheme.data_inputs(node), *node.outputs)):
            continue
        if scheme.has_constant_weight(node):
            _quantize_weighted(graph, node, table, scheme.weight_axis(node) if per_channel else None, weight_range)
        else:
            for index, value in enumerate(node.inputs):
                if is_constant(value) and value in scheme.data_inputs(node):
                    _quantize_operand(graph, node, index, table)


def _quantize_operand(graph: ir.Graph, node: ir.Node, index: int, table: dict[str, QuantizationParameters]) -> None:
    """A constant that meets an activation: quantized as one."""
    operand = _own(graph, node, index, table)
    if scheme.OPERATORS[node.op_type].output == "input":
        table[operand.name or ""] = table[node.outputs[0].name or ""]  # rule 5
        return
    array = required_constant(operand)
    dtype = table[node.outputs[0].name or ""].dtype
    table[operand.name or ""] = scheme.activation_parameters(float(array.min()), float(array.max()), dtype)


def _quantize_weighted(
    graph: ir.Graph,
    node: ir.Node,
    table: dict[str, QuantizationParameters],
    axis: int | None,
    weight_range: WeightRange,
) -> None:
    """Weights with a scale for each slice along `axis`, or one."""
    weight = _own(graph, node, 1, table)
    if input_of(node, 2) is not None:
        _own(graph, node, 2, table)
    array = required_constant(weight)
    rows = array.reshape(1, -1) if axis is None else np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    limits = WEIGHT_RANGES[weight_range](rows, 127)
    set_weight_scale(node, table, (limits[0] if axis is None else limits) / 127, axis)


def set_weight_scale(
    node: ir.Node, table: dict[str, QuantizationParameters], scale: npt.NDArray[np.float64], axis: int | None
) -> None:
    """Rules 1 and 3, with scales raised where a kernel's fixed-point arithmetic could not hold them.

    Args:
        node: Has a weight, and perhaps a bias, of its own.
        table: Has the parameters of its input and output; gets those of weight and bias.
        scale: The scale of the weight, for each slice along `axis`, or one.
        axis: The dimension of the output channels, or None.
    """
    weight, bias = node.inputs[1], input_of(node, 2)
    source, target = _parameters(node.inputs[0], table), _parameters(node.outputs[0], table)
    assert weight is not None
    scale = raise_weight_scale(scale, float(source.scale), float(target.scale))
    if bias is not None:
        bias_size = np.abs(required_constant(bias)).astype(np.float64)
        bias_size = bias_size if axis is not None and bias_size.shape == scale.shape else bias_size.max()
        scale = np.maximum(scale, bias_size / (float(source.scale) * _LARGEST_BIAS[_BIAS[source.dtype]]))
    if scheme.is_depthwise(node):
        scale = raise_to_whole_zero_point(scale, source, target)
    rounded = scale.astype(np.float32)
    table[weight.name or ""] = QuantizationParameters(rounded, np.zeros_like(rounded, np.int32), "int8", axis)
    if bias is not None:
        bias_axis = None if axis is None or rounded.ndim == 0 else 0
        product = np.asarray(source.scale * rounded)
        zeros, dtype = np.zeros_like(product, np.int32), _BIAS[source.dtype]
        table[bias.name or ""] = QuantizationParameters(product, zeros, dtype, bias_axis)


def _parameters(value: ir.Value | None, table: Mapping[str, QuantizationParameters]) -> QuantizationParameters:
    assert value is not None
    assert value.name is not None
    return table[value.name]


def _own(graph: ir.Graph, node: ir.Node, index: int, table: Mapping[str, QuantizationParameters]) -> ir.Value:
    """The constant at an input, copied first when another node's use of it already has parameters."""
    value = node.inputs[index]
    assert value is not None
    assert value.name is not None
    if value.name not in table:
        return value
    copy = add_constant(graph, f"{value.name}/of/{node.name}/{index}", required_constant(value))
    node.replace_input_with(index, copy)
    return copy
