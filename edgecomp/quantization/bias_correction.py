"""Bias correction: rounding weights shifts the mean of each output channel, and the bias can take the shift back.

For an output channel, E[W_q x] - E[W x] = (W_q - W) E[x]: the rounding error of its weights times the mean of its input
channels, which calibration measures on the way (Nagel et al., 2019, section 4.2, with measured means instead of derived
ones). The zeros of padding count as ordinary positions, which is off by little at the border.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.arrays import Arrays
from edgecomp.graph.query import input_of, is_constant, required_constant, shape_of
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.calibration import FloatArray, collect
from edgecomp.quantization.parameters import QuantizationParameters

#: Operators whose input has its channels in dimension 1 and whose weight begins with the output channel.
_CORRECTABLE = frozenset({"Conv", "Gemm"})


def correctable_inputs(graph: ir.Graph) -> list[str]:
    """The inputs whose channel means `correct_biases` wants."""
    inputs = (node.inputs[0] for node in scheme.quantizable_nodes(graph) if _is_correctable(node))
    return list(dict.fromkeys(value.name or "" for value in inputs if value is not None))


def correct_biases(
    graph: ir.Graph, table: Mapping[str, QuantizationParameters], channel_means: Mapping[str, FloatArray]
) -> int:
    """Changes the bias of every quantized Conv and Gemm whose input's channel means are known.

    Args:
        graph: Changed in place.
        table: Complete: with the parameters of weights and biases.
        channel_means: Tensor name -> mean of each channel.

    Returns:
        How many biases were corrected.
    """
    corrected = 0
    for node in graph:
        if not (_is_correctable(node) and scheme.runs_in_integers(node, table)):
            continue
        source, weight, bias = node.inputs[:3]
        assert source is not None and weight is not None and bias is not None  # noqa: PT018 (for the type checker)
        means = channel_means.get(source.name or "")
        if means is None:
            continue
        real, parameters = required_constant(weight), table[weight.name or ""]
        rounding = parameters.dequantize(parameters.quantize(real)).astype(np.float64) - real
        if node.op_type == "Gemm" and not node.attributes.get_int("transB", 0):
            rounding = rounding.T
        shift = _mean_shift(rounding, means, node.attributes.get_int("group", 1) or 1)
        better = (required_constant(bias) - shift).astype(np.float32)
        bias.const_value = ir.tensor(better, name=bias.name)
        corrected += 1
    return corrected


def without_correction(model: CompressedModel, batches: Iterable[Arrays]) -> CompressedModel:
    """A model with the biases from before they made up for rounding, for what rounds its weights otherwise.

    Args:
        model: Quantized.
        batches: Calibration inputs in the graph's order.
    """
    graph = model.graph.clone()
    if any(step.facts.get("biases_corrected") for step in model.provenance):
        inputs = correctable_inputs(graph.graph)
        means = collect(graph, inputs, batches, channel_means=inputs, dynamic=model.dynamic).channel_means
        correct_biases(graph.graph, model.quantization, {name: -mean for name, mean in means.items()})
    return replace(model, graph=graph)


def _mean_shift(rounding: npt.NDArray[np.float64], means: FloatArray, group: int) -> npt.NDArray[np.float64]:
    """(W_q - W) E[x] for each output channel.

    Args:
        rounding: W_q - W, shape (out, in / group, ...).
        means: E[x], shape (in,).
        group: How many groups the channels fall into.
    """
    taps = rounding.reshape(*rounding.shape[:2], -1).sum(axis=2)
    by_group = means.reshape(group, -1).repeat(len(taps) // group, axis=0)
    return np.asarray((taps * by_group).sum(axis=1), np.float64)


def _is_correctable(node: ir.Node) -> bool:
    bias = input_of(node, 2)
    if node.op_type not in _CORRECTABLE or not scheme.is_quantizable(node) or not is_constant(bias):
        return False
    assert bias is not None
    # A bias that several nodes share gets a copy for each only later; one of another shape would have to be broadcast.
    return len(tuple(bias.uses())) == 1 and len(shape_of(bias)) == 1
