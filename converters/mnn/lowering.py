"""Rewrites a graph into one that MNN computes the same way, before MNN's importer sees it.

Two things are done to a quantized model, on a copy:

1. Weights and biases are put on their integer grids, so that rounding them again gives exactly the same integers.
2. Operators that MNN has no int8 kernel for, or one with other parameters than the portable scheme's, become a
   convolution, which MNN computes exactly as the scheme says: a matrix product is a 1x1 convolution, a mean over the
   image is a depthwise convolution whose integers are all 1, and so is a change of parameters in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.graph.query import constant, normalized_axes
from edgecomp.model import CompressedModel
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.scheme import WEIGHTED, fused_activation, runs_in_integers

Parameters = dict[str, QuantizationParameters]


@dataclass
class Lowered:
    """A graph for MNN's importer and the parameters of its tensors, under its names."""

    model: ir.Model
    quantization: Parameters = field(default_factory=dict)

    def node(
        self, op_type: str, inputs: Sequence[ir.Value | None], output: str | ir.Value, **attributes: object
    ) -> ir.Value:
        """Makes a node, not yet in the graph, and returns its output; `output` is a name or a value to take over."""
        made = ir.node(op_type, inputs, attributes=attributes or None)  # type: ignore[arg-type]
        value = made.outputs[0]
        value.name = output if isinstance(output, str) else output.name
        made.name = value.name
        value.dtype = ir.DataType.FLOAT
        return value

    def initializer(self, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
        """A new constant of the graph."""
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self.model.graph.register_initializer(value)
        return value


def lower(model: CompressedModel) -> Lowered:
    """A copy of the model's graph that MNN's importer takes without loss.

    Args:
        model: Float or quantized; it is not changed.
    """
    lowered = Lowered(model.graph.clone(), dict(model.quantization))
    if model.quantization:
        for node in list(lowered.model.graph):
            if runs_in_integers(node, model.quantization):
                _put_constants_on_grid(lowered, node)
                rule = _RULES.get(node.op_type)
                if rule is not None:
                    rule(lowered, node)
    return lowered


def _put_constants_on_grid(lowered: Lowered, node: ir.Node) -> None:
    if node.op_type not in WEIGHTED:
        return
    for value in node.inputs[1:]:
        array, parameters = constant(value), lowered.quantization.get(value.name or "") if value is not None else None
        if value is None or array is None or parameters is None:
            continue
        value.const_value = ir.tensor(parameters.dequantize(parameters.quantize(array)), name=value.name)


def _replace(lowered: Lowered, node: ir.Node, *values: ir.Value) -> None:
    """Puts the makers of `values` in the place of `node`; the last value takes over its output."""
    old, new = node.outputs[0], values[-1]
    new.shape, new.type = old.shape, old.type
    graph = lowered.model.graph
    makers = [value.producer() for value in values]
    graph.insert_before(node, [maker for maker in makers if maker is not None])
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _sizes(value: ir.Value) -> list[int] | None:
    """The sizes of a value with -1 for the one that is unknown; None when more are."""
    if value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else -1 for size in value.shape]
    return sizes if sizes.count(-1) <= 1 else None


def _reshape(lowered: Lowered, value: ir.Value, sizes: Sequence[int], output: str | ir.Value) -> ir.Value:
    name = output if isinstance(output, str) else output.name
    shape = lowered.initializer(f"{name}/shape", np.asarray(sizes, np.int64))
    return lowered.node("Reshape", [value, shape], output)


def _lower_product(lowered: Lowered, node: ir.Node) -> None:
    """Gemm or MatMul with a constant matrix: a 1x1 convolution over rows that are a batch."""
    data, weight = node.inputs[0], node.inputs[1]
    matrix = constant(weight)
    assert data is not None and weight is not None
    output = node.outputs[0]
    rows, result = _sizes(data), _sizes(output)
    plain = all(node.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    if matrix is None or matrix.ndim != 2 or rows is None or result is None or not plain:
        return
    transposed = bool(node.attributes.get_int("transB", 0))
    kernel = matrix if transposed else matrix.T
    parameters = lowered.quantization[weight.name or ""]
    scale = np.broadcast_to(parameters.scale, kernel.shape[:1])
    name = output.name or ""
    kernel_value = lowered.initializer(f"{name}/kernel", np.ascontiguousarray(kernel)[:, :, None, None])
    lowered.quantization[f"{name}/kernel"] = QuantizationParameters(scale, np.zeros(len(scale), np.int32), axis=0)
    inputs: list[ir.Value | None] = [_reshape(lowered, data, (-1, kernel.shape[1], 1, 1), f"{name}/rows"), kernel_value]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None:
        values = constant(bias)
        if values is None:
            return
        inputs.append(lowered.initializer(f"{name}/bias", np.broadcast_to(values.reshape(-1), len(kernel)).copy()))
    product = lowered.node("Conv", inputs, f"{name}/product", kernel_shape=[1, 1])
    lowered.quantization[f"{name}/rows"] = lowered.quantization[data.name or ""]
    lowered.quantization[f"{name}/product"] = lowered.quantization[name]
    values_ = [inputs[0], product]
    activation = fused_activation(node)
    if activation is not None:
        # The activation moves in front of the reshape, where MNN fuses it into the convolution.
        clipped = lowered.node(activation.op_type, [product, *activation.inputs[1:]], f"{name}/clipped")
        for key, attribute in activation.attributes.items():
            clipped.producer().attributes[key] = attribute  # type: ignore[union-attr]
        lowered.quantization[f"{name}/clipped"] = lowered.quantization[activation.outputs[0].name or ""]
        values_.append(clipped)
    last = _reshape(lowered, values_[-1], result, output)  # type: ignore[arg-type]
    _replace(lowered, node, *values_, last)  # type: ignore[arg-type]


def _lower_mean(lowered: Lowered, node: ir.Node) -> None:
    """A mean over height and width: a depthwise convolution with one window, whose integers are all 1."""
    data, output = node.inputs[0], node.outputs[0]
    sizes, result = _sizes(data), _sizes(output)  # type: ignore[arg-type]
    if data is None or sizes is None or result is None or len(sizes) != 4 or -1 in sizes[1:]:
        return
    if node.op_type == "ReduceMean" and normalized_axes(node, 4) != (2, 3):
        return
    channels, height, width = sizes[1:]
    _lower_to_depthwise(lowered, node, (channels, height, width), 1.0 / (height * width), sizes, result)


def _lower_in_place(lowered: Lowered, node: ir.Node) -> None:
    """A change of parameters, with a clip or without: a depthwise convolution with the single integer 1."""
    data, output = node.inputs[0], node.outputs[0]
    sizes = _sizes(data)  # type: ignore[arg-type]
    if data is None or sizes is None or len(sizes) < 2 or sizes[1] == -1:
        return
    if node.op_type != "Identity" and lowered.quantization[data.name or ""] == lowered.quantization[output.name or ""]:
        return
    flat = [*sizes[:2], -1 if -1 in sizes[2:] else int(np.prod(sizes[2:])), 1] if len(sizes) != 4 else sizes
    _lower_to_depthwise(lowered, node, (sizes[1], 1, 1), 1.0, flat, sizes)


def _lower_to_depthwise(
    lowered: Lowered,
    node: ir.Node,
    kernel: tuple[int, int, int],
    scale: float,
    image: Sequence[int],
    result: Sequence[int],
) -> None:
    """Replaces a node with [reshape to `image`], a depthwise convolution with all integers 1, [reshape to `result`]."""
    data, output = node.inputs[0], node.outputs[0]
    assert data is not None
    name, channels = output.name or "", kernel[0]
    step = np.full(channels, scale, np.float32)
    weight = lowered.initializer(f"{name}/kernel", np.full((channels, 1, *kernel[1:]), np.float32(scale)))
    lowered.quantization[f"{name}/kernel"] = QuantizationParameters(step, np.zeros(channels, np.int32), axis=0)
    made: list[ir.Value] = []
    if len(_sizes(data) or ()) != 4:
        data = _reshape(lowered, data, image, f"{name}/image")
        lowered.quantization[f"{name}/image"] = lowered.quantization[node.inputs[0].name or ""]  # type: ignore[union-attr]
        made.append(data)
    reshaped = len(result) != 4
    target: str | ir.Value = f"{name}/window" if reshaped else output
    convolved = lowered.node("Conv", [data, weight], target, group=channels, kernel_shape=list(kernel[1:]))
    made.append(convolved)
    if reshaped:
        lowered.quantization[f"{name}/window"] = lowered.quantization[name]
        made.append(_reshape(lowered, convolved, result, output))
    _replace(lowered, node, *made)


_RULES: Mapping[str, Callable[[Lowered, ir.Node], None]] = {
    "Gemm": _lower_product,
    "MatMul": _lower_product,
    "GlobalAveragePool": _lower_mean,
    "ReduceMean": _lower_mean,
    "Identity": _lower_in_place,
    "Relu": _lower_in_place,
    "Clip": _lower_in_place,
}
