"""Rules for pooling.

MNN's int8 kernel for MaxPool is wrong on x86, where tensors are stored with 128 added: it compares them as signed
numbers. Its int8 maximum of two tensors is wrong as well. MNN cannot be told to pool in float behind an int8 operator,
so the pooling becomes a float maximum of shifted slices, which is exact everywhere. GlobalMaxPool becomes a
reduction, in float too.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.converters.mnn.rewriting import Rewriting, sizes_of


def lower_max_pool(rewriting: Rewriting, node: ir.Node) -> None:
    """MaxPool: the maximum over the rows of each window, then over its columns."""
    data, output = node.inputs[0], node.outputs[0]
    sizes, result = sizes_of(data), sizes_of(output)
    attributes = node.attributes
    if data is None or sizes is None or result is None or len(sizes) != 4 or -1 in (*sizes[2:], *result[2:]):
        return
    if attributes.get_string("auto_pad", "NOTSET") != "NOTSET" or len(node.outputs) > 1:
        return
    kernel = attributes.get_ints("kernel_shape") or ()
    strides = attributes.get_ints("strides") or (1, 1)
    pads = attributes.get_ints("pads") or (0, 0, 0, 0)
    dilations = attributes.get_ints("dilations") or (1, 1)
    value = data
    for axis in (0, 1):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        covered = (result[2 + axis] - 1) * strides[axis] + span
        after = max(0, covered - sizes[2 + axis] - pads[axis])
        # A window that reaches over the edge holds the edge's own row: repeating it changes no maximum.
        # Dilated windows may step over that row, and windows in the padding alone have none.
        if (dilations[axis] != 1 and (pads[axis] or after)) or max(pads[axis], after) >= kernel[axis]:
            return
        value = _extend(rewriting, value, f"{output.name}/{axis}", 2 + axis, sizes[2 + axis], pads[axis], after)
        count, stride = result[2 + axis], strides[axis]
        slices = [
            _slice(
                rewriting,
                value,
                f"{output.name}/{axis}/{offset}",
                2 + axis,
                start,
                start + (count - 1) * stride + 1,
                stride,
            )
            for offset, start in enumerate(range(0, span, dilations[axis]))
        ]
        value = _maximum(rewriting, slices, f"{output.name}/{axis}/max")
    rewriting.replace(node, value)


def repair_pool(rewriting: Rewriting, node: ir.Node) -> None:
    """MaxPool and AveragePool, in float too: without strides MNN divides by zero, and it ignores dilations."""
    kernel = node.attributes.get_ints("kernel_shape") or ()
    if "strides" not in node.attributes:
        node.attributes["strides"] = ir.AttrInt64s("strides", [1] * len(kernel))
    if node.op_type == "MaxPool" and any(size != 1 for size in node.attributes.get_ints("dilations") or ()):
        lower_max_pool(rewriting, node)


def lower_global_max_pool(rewriting: Rewriting, node: ir.Node) -> None:
    """GlobalMaxPool: a reduction over height and width."""
    axes = rewriting.constant(f"{node.outputs[0].name}/axes", np.array([2, 3], np.int64))
    version = rewriting.model.graph.opset_imports.get("", 0)
    if version >= 18:
        inputs: list[ir.Value | None] = [node.inputs[0], axes]
        value = rewriting.node("ReduceMax", inputs, f"{node.outputs[0].name}/max", rewriting.of(node.outputs[0]))
    else:
        value = rewriting.node(
            "ReduceMax", [node.inputs[0]], f"{node.outputs[0].name}/max", rewriting.of(node.outputs[0]), axes=[2, 3]
        )
    rewriting.replace(node, value)


def _extend(
    rewriting: Rewriting, value: ir.Value, name: str, axis: int, size: int, before: int, after: int
) -> ir.Value:
    """Repeats the first and the last slice along an axis."""
    if not before and not after:
        return value
    first = _slice(rewriting, value, f"{name}/first", axis, 0, 1) if before else value
    last = _slice(rewriting, value, f"{name}/last", axis, size - 1, size) if after else value
    parts = [first] * before + [value] + [last] * after
    return rewriting.node("Concat", parts, f"{name}/extended", rewriting.quantization.get(value.name or ""), axis=axis)


def _slice(
    rewriting: Rewriting, value: ir.Value, name: str, axis: int, start: int, end: int, step: int = 1
) -> ir.Value:
    numbers = [
        rewriting.constant(f"{name}/{what}", np.array([number], np.int64))
        for what, number in (("start", start), ("end", end), ("axis", axis), ("step", step))
    ]
    return rewriting.node("Slice", [value, *numbers], name, rewriting.quantization.get(value.name or ""))


def _maximum(rewriting: Rewriting, values: list[ir.Value], name: str) -> ir.Value:
    result = values[0]
    for index, value in enumerate(values[1:]):
        result = rewriting.node("Max", [result, value], f"{name}/{index}", None)
    return result
