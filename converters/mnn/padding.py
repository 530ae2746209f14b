"""Rules for padding: MNN reads pads that are written down, and gets those that are to be worked out wrong."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.converters.mnn.rewriting import Rewriting, sizes_of
from edgecomp.graph.query import constant, pads_of

_CURE = "export the model with fixed sizes, or leave MNN out with --formats"


def write_pads(rewriting: Rewriting, node: ir.Node) -> None:
    """Conv, ConvTranspose, AveragePool or MaxPool: explicit pads in the place of `auto_pad` and `output_shape`."""
    attributes = node.attributes
    mode = attributes.get_string("auto_pad", "NOTSET")
    if mode == "NOTSET" and "output_shape" not in attributes:
        return
    kernel = attributes.get_ints("kernel_shape") or _kernel_shape(node)
    dimensions = range(len(kernel))
    if mode == "VALID" and "output_shape" not in attributes:
        pads = [0] * 2 * len(kernel)
    else:
        source, result = sizes_of(node.inputs[0]), sizes_of(node.outputs[0])
        if source is None or result is None or -1 in (*source[2:], *result[2:]):
            rewriting.refuse(node, f"MNN misreads auto_pad={mode} and output_shape, and the sizes are not fixed", _CURE)
            return
        strides = attributes.get_ints("strides") or [1] * len(kernel)
        dilations = attributes.get_ints("dilations") or [1] * len(kernel)
        spans = [(kernel[axis] - 1) * dilations[axis] + 1 for axis in dimensions]
        if node.op_type == "ConvTranspose":
            extra = list(attributes.get_ints("output_padding") or [0] * len(kernel))
            totals = [
                (source[2 + axis] - 1) * strides[axis] + spans[axis] + extra[axis] - result[2 + axis]
                for axis in dimensions
            ]
            extra = [more + max(0, -total) for more, total in zip(extra, totals, strict=True)]
            attributes["output_padding"] = ir.AttrInt64s("output_padding", extra)
        else:
            totals = [(result[2 + axis] - 1) * strides[axis] + spans[axis] - source[2 + axis] for axis in dimensions]
        totals = [max(0, total) for total in totals]
        less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
        pads = [*less, *more] if mode == "SAME_UPPER" else [*more, *less]
    for name in ("auto_pad", "output_shape"):
        attributes.pop(name, None)
    attributes["pads"] = ir.AttrInt64s("pads", pads)


def _kernel_shape(node: ir.Node) -> tuple[int, ...]:
    weight = constant(node.inputs[1])
    return () if weight is None else weight.shape[2:]


def repair_pad(rewriting: Rewriting, node: ir.Node) -> None:
    """Pad: MNN's importer does not read `axes`, and does not know the mode `wrap`."""
    wraps, selects = node.attributes.get_string("mode", "constant") == "wrap", len(node.inputs) > 3
    if not wraps and not selects:
        return
    sizes = sizes_of(node.inputs[0])
    pads = None if sizes is None else pads_of(node)
    if sizes is None or pads is None:
        rewriting.refuse(node, "MNN does not read the axes of a Pad, and its sizes are not fixed", _CURE)
    elif wraps:
        _wrap(rewriting, node, sizes, pads)
    else:
        name = f"{node.outputs[0].name}/pads"
        node.replace_input_with(1, rewriting.constant(name, np.asarray(pads, np.int64)))
        node.resize_inputs(3)


def _wrap(rewriting: Rewriting, node: ir.Node, sizes: list[int], pads: tuple[int, ...]) -> None:
    """The end of each axis, the axis, and its beginning."""
    value, name = node.inputs[0], node.outputs[0].name or ""
    parameters = rewriting.quantization.get(name)
    assert value is not None
    for axis, size in enumerate(sizes):
        before, after = pads[axis], pads[axis + len(sizes)]
        if not before and not after:
            continue
        if not 0 <= before <= size or not 0 <= after <= size:
            rewriting.refuse(node, "MNN has no Pad that wraps around more than once, or cuts and wraps", _CURE)
            return
        parts = [value]
        if before:
            parts.insert(0, rewriting.slice(value, f"{name}/{axis}/before", axis, size - before, size))
        if after:
            parts.append(rewriting.slice(value, f"{name}/{axis}/after", axis, 0, after))
        value = rewriting.node("Concat", parts, f"{name}/{axis}", parameters, axis=axis)
    if value is not node.inputs[0]:
        rewriting.replace(node, value)
