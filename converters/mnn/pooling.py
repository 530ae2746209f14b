"""Rules for pooling.

MNN's int8 kernel for MaxPool is wrong on x86, where tensors are stored with 128 added: it compares them as signed
numbers. Its int8 maximum of two tensors is wrong as well. MNN cannot be told to pool in float behind an int8 operator,
so the pooling becomes a float maximum of shifted slices of a float copy, which is exact everywhere. GlobalMaxPool
becomes a reduction, in float too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.converters.mnn.rewriting import Rewriting, sizes_of


def lower_max_pool(rewriting: Rewriting, node: ir.Node) -> None:
    """MaxPool: the maximum over each window's extent along one axis after the other."""
    if not _lower_max_pool(rewriting, node):
        rewriting.compute_in_float(node)


def repair_pool(rewriting: Rewriting, node: ir.Node) -> None:
    """MaxPool and AveragePool, in float too: without strides MNN divides by zero, and it ignores dilations."""
    kernel = node.attributes.get_ints("kernel_shape") or ()
    if "strides" not in node.attributes:
        node.attributes["strides"] = ir.AttrInt64s("strides", [1] * len(kernel))
    if all(size == 1 for size in node.attributes.get_ints("dilations") or ()):
        return
    if node.op_type != "MaxPool" or not _lower_max_pool(rewriting, node):
        cure = "give the model fixed sizes and the pool no padding, or leave MNN out with --formats"
        rewriting.refuse(node, "MNN ignores the dilations of a pool", cure)


def lower_global_max_pool(rewriting: Rewriting, node: ir.Node) -> None:
    """GlobalMaxPool: a reduction over all but the first two axes."""
    data, output = node.inputs[0], node.outputs[0]
    if data is None or data.shape is None:
        rewriting.compute_in_float(node)
        return
    axes, name = list(range(2, len(data.shape))), f"{output.name}/max"
    if rewriting.model.graph.opset_imports.get("", 0) >= 18:
        given = rewriting.constant(f"{name}/axes", np.array(axes, np.int64))
        value = rewriting.node("ReduceMax", [data, given], name, rewriting.of(output))
    else:
        value = rewriting.node("ReduceMax", [data], name, rewriting.of(output), axes=axes)
    rewriting.replace(node, value)


def _lower_max_pool(rewriting: Rewriting, node: ir.Node) -> bool:
    """Replaces a MaxPool by maxima of slices; False where that is not possible."""
    data, output, attributes = node.inputs[0], node.outputs[0], node.attributes
    sizes, result = sizes_of(data), sizes_of(output)
    if data is None or sizes is None or result is None or -1 in (*sizes[2:], *result[2:]) or len(node.outputs) > 1:
        return False
    axes = range(len(sizes) - 2)
    kernel = attributes.get_ints("kernel_shape") or ()
    ones, zeros = [1] * len(kernel), [0] * 2 * len(kernel)
    strides = attributes.get_ints("strides") or ones
    dilations = attributes.get_ints("dilations") or ones
    before = (attributes.get_ints("pads") or zeros)[: len(kernel)]
    spans = [(kernel[axis] - 1) * dilations[axis] + 1 for axis in axes]
    covered = [(result[2 + axis] - 1) * strides[axis] + spans[axis] for axis in axes]
    after = [max(0, covered[axis] - sizes[2 + axis] - before[axis]) for axis in axes]
    for axis in axes:
        # A window that reaches over the edge holds the edge's own row: repeating it changes no maximum.
        # Dilated windows may step over that row, and windows in the padding alone have none.
        padded = max(before[axis], after[axis])
        if padded >= kernel[axis] or (dilations[axis] != 1 and padded):
            return False
    value = rewriting.float_copy(data, f"{output.name}/real") if output.name in rewriting.quantization else data
    for axis in axes:
        name = f"{output.name}/{axis}"
        value = _extend(rewriting, value, name, 2 + axis, sizes[2 + axis], (before[axis], after[axis]))
        reach = (result[2 + axis] - 1) * strides[axis] + 1
        slices = [
            rewriting.slice(value, f"{name}/{offset}", 2 + axis, start, start + reach, strides[axis])
            for offset, start in enumerate(range(0, spans[axis], dilations[axis]))
        ]
        value = _maximum(rewriting, slices, f"{name}/max")
    rewriting.replace(node, value)
    return True


def _extend(rewriting: Rewriting, value: ir.Value, name: str, axis: int, size: int, pads: tuple[int, int]) -> ir.Value:
    """Repeats the first and the last slice along an axis."""
    before, after = pads
    if not before and not after:
        return value
    first = rewriting.slice(value, f"{name}/first", axis, 0, 1) if before else value
    last = rewriting.slice(value, f"{name}/last", axis, size - 1, size) if after else value
    parts = [first] * before + [value] + [last] * after
    return rewriting.node("Concat", parts, f"{name}/extended", rewriting.quantization.get(value.name or ""), axis=axis)


def _maximum(rewriting: Rewriting, values: Sequence[ir.Value], name: str) -> ir.Value:
    result = values[0]
    for index, value in enumerate(values[1:]):
        result = rewriting.node("Max", [result, value], f"{name}/{index}", None)
    return result
