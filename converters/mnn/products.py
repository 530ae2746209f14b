"""Rules for products with a constant weight: MNN's int8 knows convolutions with one group, or depthwise."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgecomp.converters.mnn.rewriting import Rewriting, sizes_of
from edgecomp.graph.query import clip_bounds, constant
from edgecomp.quantization.scheme import fused_activation


def lower_matrix_product(rewriting: Rewriting, node: ir.Node) -> None:
    """Gemm or MatMul: a 1x1 convolution over rows that are a batch.

    MNN does the same to a product with a constant, but keeps the shapes computed at run time.
    """
    data, weight, output = node.inputs[0], node.inputs[1], node.outputs[0]
    matrix, sizes = constant(weight), sizes_of(output)
    plain = all(node.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    if data is None or matrix is None or matrix.ndim != 2 or sizes is None or not plain:
        return
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if len(node.inputs) > 2 and node.inputs[2] is not None and bias is None:
        return
    rewriting.drop_activation(node)
    parameters = rewriting.of(weight)
    integers = parameters.quantize(matrix)
    kernel = integers if node.attributes.get_int("transB", 0) else integers.T
    scale = np.broadcast_to(parameters.scale, kernel.shape[:1]).astype(np.float32)
    name = output.name or ""
    rows = rewriting.reshape(data, (-1, kernel.shape[1], 1, 1), f"{name}/rows")
    product = rewriting.convolve(
        rows,
        (np.ascontiguousarray(kernel)[:, :, None, None].astype(np.int8), scale),
        None if bias is None else np.broadcast_to(bias.reshape(-1), len(kernel)).astype(np.float32),
        f"{name}/product",
        rewriting.of(output),
    )
    rewriting.replace(node, rewriting.reshape(product, sizes, f"{name}/result"))


def lower_convolution(rewriting: Rewriting, node: ir.Node) -> None:
    """A Conv with groups that is not depthwise: one convolution per group, side by side.

    MNN does the same, but under names from which the scales of a group cannot be told.
    """
    activation = fused_activation(node)
    if activation is not None and clip_bounds(activation) not in {(0.0, math.inf), (0.0, 6.0)}:
        # MNN fuses ReLU and ReLU6 only.
        rewriting.drop_activation(node)
    groups = node.attributes.get_int("group", 1) or 1
    data, weight, output = node.inputs[0], node.inputs[1], node.outputs[0]
    kernel, parameters = constant(weight), rewriting.of(weight)
    if groups == 1 or data is None or kernel is None or kernel.ndim != 4:
        return
    if kernel.shape[1] == 1 and kernel.shape[0] == groups:
        return
    rewriting.drop_activation(node)
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    integers, name = parameters.quantize(kernel).astype(np.int8), output.name or ""
    scale = np.broadcast_to(parameters.scale, kernel.shape[:1]).astype(np.float32)
    wide, deep = kernel.shape[1], kernel.shape[0] // groups
    attributes = {
        key: attribute.value for key, attribute in node.attributes.items() if key not in {"group", "kernel_shape"}
    }
    parts: list[ir.Value] = []
    for group in range(groups):
        bounds = [
            rewriting.constant(f"{name}/{group}/{what}", np.array([at], np.int64))
            for what, at in (("start", group * wide), ("end", (group + 1) * wide), ("axis", 1))
        ]
        part = rewriting.node("Slice", [data, *bounds], f"{name}/{group}/input", rewriting.of(data))
        rows = slice(group * deep, (group + 1) * deep)
        parts.append(
            rewriting.convolve(
                part,
                (integers[rows], scale[rows]),
                None if bias is None else bias[rows],
                f"{name}/{group}",
                rewriting.of(output),
                **attributes,
            )
        )
    rewriting.replace(node, rewriting.node("Concat", parts, f"{name}/result", rewriting.of(output), axis=1))
