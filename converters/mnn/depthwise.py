"""Rules for operators that are a depthwise convolution in disguise.

MNN folds the output's zero point into the int32 bias. So the integers of these weights are 127 rather than 1: the unit
of the sum is then so much finer than the output's step that nothing is lost by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.converters.mnn.rewriting import Rewriting, sizes_of
from edgecomp.graph.query import normalized_axes
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import is_redundant_clip

_ONE = 127


def lower_mean(rewriting: Rewriting, node: ir.Node) -> None:
    """GlobalAveragePool, or ReduceMean over all that it does: one window."""
    data, sizes = node.inputs[0], sizes_of(node.inputs[0])
    # A window is as large as the data: there is none for all sizes.
    if sizes is None or len(sizes) < 3 or -1 in sizes[1:] or not rewriting.is_settled(data, *range(1, len(sizes))):
        rewriting.compute_in_float(node)
        return
    if node.op_type == "ReduceMean" and normalized_axes(node, len(sizes)) != tuple(range(2, len(sizes))):
        return
    kernel = sizes[2:] if len(sizes) == 4 else (math.prod(sizes[2:]), 1)
    _replace(rewriting, node, data, np.full(sizes[1], 1 / math.prod(kernel)), kernel=kernel)


def lower_average_pool(rewriting: Rewriting, node: ir.Node) -> None:
    """AveragePool: MNN's int8 kernel rounds down, which a convolution does not.

    Where the padding does not count, the sums at the border are scaled up by a constant.
    """
    sizes, result = sizes_of(node.inputs[0]), sizes_of(node.outputs[0])
    attributes = node.attributes
    if sizes is None or result is None or len(sizes) != 4 or attributes.get_int("ceil_mode", 0) != 0:
        return
    if -1 in (*sizes[1:], *result[1:]) or attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return
    kernel = list(attributes.get_ints("kernel_shape") or ())
    strides = list(attributes.get_ints("strides") or (1, 1))
    pads = list(attributes.get_ints("pads") or (0, 0, 0, 0))
    if list(attributes.get_ints("dilations") or (1, 1)) != [1, 1]:
        return
    area = kernel[0] * kernel[1]
    border = None
    if any(pads) and not attributes.get_int("count_include_pad", 0):
        if not rewriting.is_settled(node.inputs[0], 2, 3):
            rewriting.compute_in_float(node)
            return
        counts = [
            _counts(sizes[2 + axis], result[2 + axis], kernel[axis], strides[axis], pads[axis]) for axis in (0, 1)
        ]
        border = area / (counts[0][:, None] * counts[1][None, :])
        unit = math.lcm(*(int(count) // math.gcd(int(count), area) for count in np.unique(area / border)))
        if np.max(border) * unit > _ONE:
            return
        step = QuantizationParameters(np.array(1 / unit, np.float32), np.array(0, np.int32))
    output = node.outputs[0]
    scale = np.full(sizes[1], 1 / area)
    if border is None:
        _replace(rewriting, node, node.inputs[0], scale, kernel=kernel, strides=strides, pads=pads)
        return
    sums = _convolve(
        rewriting, node.inputs[0], scale, f"{output.name}/sums", rewriting.of(output), kernel, strides, pads
    )
    mask = rewriting.constant(f"{output.name}/border", border[None, None].astype(np.float32))
    rewriting.quantization[mask.name or ""] = step
    rewriting.replace(node, rewriting.node("Mul", [sums, mask], f"{output.name}/result", rewriting.of(output)))


def _counts(size: int, result: int, kernel: int, stride: int, pad: int) -> npt.NDArray[np.int64]:
    """How many elements of each window lie inside."""
    starts = np.arange(result) * stride - pad
    return np.minimum(starts + kernel, size) - np.maximum(starts, 0)


def lower_in_place(rewriting: Rewriting, node: ir.Node) -> None:
    """Identity, Relu or Clip between unlike parameters: a window of one element."""
    data, output = node.inputs[0], node.outputs[0]
    same = rewriting.of(data) == rewriting.of(output)
    sizes = sizes_of(data)
    if (same and node.op_type == "Identity") or sizes is None or len(sizes) < 2 or sizes[1] == -1:
        return
    if not rewriting.is_settled(data, 1):
        rewriting.compute_in_float(node)
        return
    if node.op_type == "Identity" or is_redundant_clip(node, rewriting.of(output)):
        _replace(rewriting, node, data, np.ones(sizes[1]))
        return
    # The activation stays, behind the convolution that MNN fuses it into.
    moved = _convolve(rewriting, data, np.ones(sizes[1]), f"{output.name}/moved", rewriting.of(output))
    rewriting.insert(node, moved)
    node.replace_input_with(0, moved)


def lower_arithmetic(rewriting: Rewriting, node: ir.Node) -> None:
    """Add, Sub or Mul.

    One number per channel, which MNN would fold into a convolution in front of it, becomes a convolution of its own.
    Channels are the second of four dimensions, or the last of any other number of them. Anything else is brought to
    the output's shape.
    """
    rewriting.drop_activation(node)
    if not _lower_channel_arithmetic(rewriting, node):
        _broadcast(rewriting, node)


def _lower_channel_arithmetic(rewriting: Rewriting, node: ir.Node) -> bool:
    left, right = node.inputs[:2]
    first, second = rewriting.real(left), rewriting.real(right)
    data, array = (left, second) if first is None else (right, first)
    sizes = sizes_of(data)
    if array is None or data is None or sizes is None or len(sizes) < 2 or sizes_of(node.outputs[0]) != sizes:
        return False
    rank = len(sizes)
    axis = 1 if rank == 4 else rank - 1
    shape = (1,) * (rank - array.ndim) + array.shape
    channels = sizes[axis]
    if (
        channels == -1
        or not rewriting.is_settled(data, axis)
        or shape not in {(1,) * rank, (*(1,) * axis, channels, *(1,) * (rank - 1 - axis))}
    ):
        return False
    numbers = np.broadcast_to(array.reshape(-1), channels).astype(np.float32)
    factors: npt.NDArray[np.float64] = np.ones(channels)
    bias: npt.NDArray[np.float32] | None = numbers
    match node.op_type:
        case "Mul":
            factors, bias = numbers.astype(np.float64), None
        case "Sub" if first is None:
            bias = -numbers
        case "Sub":
            factors = -factors
    image = None if rank == 4 else (-1, channels, 1, 1)
    _replace(rewriting, node, data, factors, image=image, bias=bias)
    return True


def _broadcast(rewriting: Rewriting, node: ir.Node) -> None:
    """Gives both operands the shape of the result: MNN broadcasts in a loop that computes in float."""
    result = node.outputs[0].shape
    shapes = [None if value is None else value.shape for value in node.inputs[:2]]
    if any(shape is None or None in map(_symbol, shape) for shape in (result, *shapes)) or result is None:
        rewriting.compute_in_float(node)
        return
    # A size that is not known is the operand's own, which an Expand to 1 keeps.
    target = [size if isinstance(size, int) else 1 for size in result]
    unknown = [(position, size) for position, size in enumerate(result, -len(result)) if not isinstance(size, int)]
    for index, shape in enumerate(shapes):
        assert shape is not None
        if shape == result:
            continue
        if any(len(shape) < -position or shape[position] != size for position, size in unknown):
            rewriting.compute_in_float(node)
            return
        value, name = node.inputs[index], f"{node.outputs[0].name}/operand{index}"
        sizes = rewriting.constant(f"{name}/sizes", np.asarray(target, np.int64))
        expanded = rewriting.node("Expand", [value, sizes], name, rewriting.of(value))
        rewriting.insert(node, expanded)
        node.replace_input_with(index, expanded)


def _symbol(size: int | ir.SymbolicDim) -> int | str | None:
    return size if isinstance(size, int) else size.value


def _replace(
    rewriting: Rewriting,
    node: ir.Node,
    data: ir.Value | None,
    factors: npt.NDArray[np.float64],
    *,
    image: tuple[int, int, int, int] | None = None,
    bias: npt.NDArray[np.float32] | None = None,
    kernel: Sequence[int] = (1, 1),
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
) -> None:
    """Replaces a node with a depthwise convolution between the reshapes that it needs."""
    output, sizes = node.outputs[0], sizes_of(data)
    assert data is not None
    assert sizes is not None
    name, result = output.name or "", sizes_of(output)
    if len(sizes) != 4:
        rest = -1 if -1 in sizes[2:] else math.prod(sizes[2:])
        data = rewriting.reshape(data, image or (*sizes[:2], rest, 1), f"{name}/image")
    window = _convolve(rewriting, data, factors, f"{name}/window", rewriting.of(output), kernel, strides, pads, bias)
    if result is not None and len(result) != 4:
        window = rewriting.reshape(window, result, f"{name}/result")
    rewriting.replace(node, window)


def _convolve(
    rewriting: Rewriting,
    data: ir.Value | None,
    factors: npt.NDArray[np.float64],
    output: str,
    parameters: QuantizationParameters,
    kernel: Sequence[int] = (1, 1),
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    bias: npt.NDArray[np.float32] | None = None,
) -> ir.Value:
    """A depthwise convolution that multiplies each channel's window sum by its factor."""
    assert data is not None
    integers = np.broadcast_to(np.sign(factors)[:, None, None, None] * _ONE, (len(factors), 1, *kernel)).astype(np.int8)
    scale = np.where(factors == 0, 1.0, np.abs(factors) / _ONE).astype(np.float32)
    shape = {"group": len(factors), "strides": list(strides), "pads": list(pads)}
    return rewriting.convolve(data, (integers, scale), bias, output, parameters, **shape)
