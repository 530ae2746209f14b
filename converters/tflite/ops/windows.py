"""Sliding windows over the spatial dimensions of an NHWC tensor, shared by convolutions and pools.

1-D operators run as 2-D ones with a height of 1, because TFLite has no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.layout import Layout, channels_last, stored_shape
from edgecomp.converters.tflite.lowering import Unsuited
from edgecomp.converters.tflite.operation import Operation
from edgecomp.graph.query import any_size, shape_of


@dataclass(frozen=True)
class Window:
    """A 2-D sliding window.

    Attributes:
        kernel: Height and width.
        strides: Steps in height and width.
        dilations: Distances between the window's elements.
        begins: Padding at the start: top, left.
        ends: Padding at the end: bottom, right.
        is_same: Whether the padding is TFLite's SAME, for every size of a dynamic input: split evenly, with an odd
            element at the end.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    begins: tuple[int, int]
    ends: tuple[int, int]
    is_same: bool = False

    def extents(self) -> tuple[int, int]:
        """Returns the extent of the dilated kernel."""
        height, width = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))
        return height, width

    def is_padded(self) -> bool:
        """Tells whether there is any padding."""
        return self.is_same or any((*self.begins, *self.ends))


def window_of(node: ir.Node, kernel: Sequence[int]) -> Window:
    """Returns the window of a 1-D or 2-D convolution or pool.

    Windows that `ceil_mode` adds are visible in the output's shape; they become padding at the end.

    Raises:
        Unsuited: There are more than two spatial dimensions, or none.
    """
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None
    spatial, outputs = shape_of(source)[2:], shape_of(result)[2:]
    rank = len(spatial)
    if rank not in {1, 2}:
        raise Unsuited(f"TFLite has it in 1 and 2 spatial dimensions, and this one has {rank}")
    ones = [1] * rank
    strides = list(node.attributes.get_ints("strides", ones) or ones)
    dilations = list(node.attributes.get_ints("dilations", ones) or ones)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    begins, ends = _pads(node, spatial, extents, strides, outputs)
    same = _is_same(node, spatial, extents, strides, (begins, ends))
    if rank == 1:
        kernel, strides, dilations = [1, *kernel], [1, *strides], [1, *dilations]
        begins, ends = [0, *begins], [0, *ends]
    sizes, steps, holes, front, behind = (
        (int(numbers[0]), int(numbers[1])) for numbers in (kernel, strides, dilations, begins, ends)
    )
    return Window(sizes, steps, holes, front, behind, same)


def _pads(
    node: ir.Node, spatial: Sequence[int], extents: Sequence[int], strides: Sequence[int], outputs: Sequence[int]
) -> tuple[list[int], list[int]]:
    rank = len(spatial)
    needed = [max((o - 1) * s + e - i, 0) for o, s, e, i in zip(outputs, strides, extents, spatial, strict=True)]
    match node.attributes.get_string("auto_pad", "NOTSET"):
        case "SAME_UPPER":
            begins = [total // 2 for total in needed]
        case "SAME_LOWER":
            begins = [total - total // 2 for total in needed]
        case "VALID":
            begins = [0] * rank
        case _:
            pads = list(node.attributes.get_ints("pads", [0] * 2 * rank) or [0] * 2 * rank)
            more = [stride - 1 if node.attributes.get_int("ceil_mode", 0) else 0 for stride in strides]
            # At another size, a window may read padding that no window reads at this one.
            for axis in range(rank):
                if axis + 2 in any_size(node):
                    needed[axis] = pads[axis] + pads[axis + rank] + more[axis]
            begins = pads[:rank]
    # Padding at the end beyond `needed` is never read.
    return begins, [max(total - begin, 0) for total, begin in zip(needed, begins, strict=True)]


def _is_same(
    node: ir.Node,
    spatial: Sequence[int],
    extents: Sequence[int],
    strides: Sequence[int],
    pads: tuple[Sequence[int], Sequence[int]],
) -> bool:
    """Computes `Window.is_same`; False without padding, for which TFLite's VALID is equivalent."""
    if node.attributes.get_string("auto_pad", "NOTSET") == "SAME_UPPER":
        # Another size of a dynamic input may need padding even if this one does not.
        return any(map(any, pads)) or any(axis + 2 in any_size(node) for axis in range(len(spatial)))
    for axis, (size, extent, stride, *given) in enumerate(zip(spatial, extents, strides, *pads, strict=True)):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        if given != [total // 2, total - total // 2] or (stride > 1 and axis + 2 in any_size(node)):
            return False
    return any(map(any, pads))


def image(operation: Operation, index: int = 0, layout: Layout | None = None) -> Tensor:
    """Returns an input as NHWC, or in a given channels-last layout; 1-D inputs get a height of 1."""
    shape = operation.shape(index)
    tensor = operation.input(index, layout or channels_last(len(shape)))
    if len(shape) == 3:
        batch, channels, length = shape
        return operation.lowering.reshape(tensor, (batch, 1, length, channels), f"{tensor.name}/image")
    return tensor


def emit_image(
    operation: Operation,
    name: str,
    inputs: Sequence[Tensor | None],
    options: object,
    layout: Layout | None = None,
) -> None:
    """Emits an operator whose result is the node's output, as NHWC or in the given layout of its input."""
    shape = shape_of(operation.result)
    if len(shape) == 4:
        operation.emit(name, inputs, [operation.output(layout or channels_last(4))], options)
        return
    batch, channels, length = shape
    parameters = operation.parameters(operation.result)
    dtype = "float32" if parameters is None else parameters.dtype
    made = operation.builder.tensor(f"{operation.node.name}/image", (batch, 1, length, channels), dtype, parameters)
    operation.emit(name, inputs, [made], options)
    give_image(operation, made)


def give_image(operation: Operation, made: Tensor, index: int = 0) -> None:
    """Sets an output of the node to an NHWC tensor, which has a height of 1 if there is one spatial dimension."""
    value = operation.result if index == 0 else operation.node.outputs[index]
    layout = channels_last(len(shape_of(value)))
    shaped = operation.lowering.reshape(made, stored_shape(shape_of(value), layout), value.name or "")
    operation.lowering.place(value, shaped, layout, operation.form)


def padded(operation: Operation, tensor: Tensor, window: Window, fill: float | int = 0) -> tuple[Tensor, int]:
    """Returns the input, padded explicitly unless SAME or VALID is enough, and the schema's Padding code.

    Args:
        operation: The node.
        tensor: Its input as NHWC.
        window: The window with its padding.
        fill: The stored value to pad with; 0 pads with the real number 0.
    """
    if not window.is_padded():
        return tensor, int(schema.Padding.VALID)
    if window.is_same:
        return tensor, int(schema.Padding.SAME)
    return explicitly_padded(operation, tensor, window, fill), int(schema.Padding.VALID)


def explicitly_padded(operation: Operation, tensor: Tensor, window: Window, fill: float | int = 0) -> Tensor:
    """Returns the input with the window's padding around it; see `padded`."""
    pads = [(0, 0), *zip(window.begins, window.ends, strict=True), (0, 0)]
    shape = [size + sum(pad) for size, pad in zip(tensor.shape, pads, strict=True)]
    result = operation.temporary(tensor, shape, "padded")
    paddings = operation.builder.constant("paddings", np.array(pads, np.int32))
    if fill == 0:
        # PAD fills integers with the zero point.
        operation.emit("PAD", [tensor, paddings], [result], schema.PadOptionsT())
        return result
    constant = operation.builder.constant("pad_value", np.array([fill], tensor.dtype), tensor.quantization)
    operation.emit("PADV2", [tensor, paddings, constant], [result], schema.PadV2OptionsT())
    return result


def lowest(tensor: Tensor) -> float | int:
    """Returns the smallest value that a tensor can store."""
    kind = np.dtype(tensor.dtype).kind
    return float(np.finfo(tensor.dtype).min) if kind == "f" else int(np.iinfo(tensor.dtype).min)


def pool_options(window: Window, padding: int) -> schema.Pool2DOptionsT:
    """Returns the schema's options of a pool; `padding` is the schema's Padding code."""
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = window.strides
    options.filterHeight, options.filterWidth = window.kernel
    return options
