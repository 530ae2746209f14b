"""Has a simulation add up whole numbers, as every runtime does.

A float32 sum of products of real numbers is off in its last digits, so that one result in some ten thousand is rounded
the other way, which a deep network may magnify. Sums of integers are exact in float32 as long as they stay below 2^24;
then comes the one multiplication by `input scale * weight scale / output scale` that ONNX Runtime and XNNPACK make.
"""

from __future__ import annotations

from typing import TypeGuard

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.query import is_constant, only_consumer, required_constant
from edgecomp.graph.values import add_constant
from edgecomp.quantization.scheme import WEIGHTED

#: What would undo it: it multiplies weights, which then are no integers.
UNDOING = ("ConvMulFusion", "MatMulScaleFusion")


def add_up_integers(graph: ir.Graph) -> None:
    """Rewrites each convolution and matrix product between 8-bit tensors of a QDQ graph, in place."""
    for node in tuple(graph):
        if node.op_type in WEIGHTED:
            _rewrite(graph, node)


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    """Its inputs without their scales, and a multiplication before the output is rounded."""
    rounding = only_consumer(node.outputs[0])
    givers = [giver for value in node.inputs if value is not None and _is_dequantization(giver := value.producer())]
    if rounding is None or rounding.op_type != "QuantizeLinear" or len(givers) < len(list(filter(None, node.inputs))):
        return
    data, weight, *bias = (required_constant(giver.inputs[1]) for giver in givers)
    factor = _by_channel(node, weight, data * weight)
    if factor is None or any(not np.allclose(scale, data * weight, rtol=1e-6, atol=0) for scale in bias):
        return
    for index, giver in enumerate(givers):
        scale = required_constant(giver.inputs[1])
        unscaled = ir.node(
            "DequantizeLinear", [giver.inputs[0], _constant(graph, np.ones_like(scale)), giver.inputs[2]]
        )
        unscaled.attributes.update(giver.attributes)
        value, real = unscaled.outputs[0], giver.outputs[0]
        value.name, value.shape, value.type = f"{node.name}/integers_{index}", real.shape, real.type
        graph.insert_before(node, unscaled)
        node.replace_input_with(index, value)
        if not giver.outputs[0].uses():  # ONNX Runtime would compute it all the same
            graph.remove(giver, safe=True)
    step = required_constant(rounding.inputs[1])
    scaled = ir.node("Mul", [node.outputs[0], _constant(graph, factor / step)])
    scaled.outputs[0].name, scaled.outputs[0].type = f"{node.name}/in_steps", node.outputs[0].type
    graph.insert_after(node, scaled)
    rounding.replace_input_with(0, scaled.outputs[0])
    rounding.replace_input_with(1, _constant(graph, np.ones_like(step)))


def _is_dequantization(giver: ir.Node | None) -> TypeGuard[ir.Node]:
    """Of 8-bit integers, or of a bias; the sums of wider ones are not exact either."""
    if giver is None or giver.op_type != "DequantizeLinear":
        return False
    stored = giver.inputs[0]
    dtype = None if stored is None else stored.dtype
    return dtype in {ir.DataType.INT8, ir.DataType.UINT8} or (dtype == ir.DataType.INT32 and is_constant(stored))


def _by_channel(
    node: ir.Node, weight: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32] | None:
    """A scale, in a shape that goes with the node's output; None where it has no such."""
    kernel = None if node.inputs[1] is None else node.inputs[1].shape
    plain = node.attributes.get_float("alpha", 1.0) == node.attributes.get_float("beta", 1.0) == 1.0
    if not plain or kernel is None:
        return None
    if weight.size == 1:
        return scale.reshape(())
    if node.op_type == "Conv" or (node.op_type == "ConvTranspose" and node.attributes.get_int("group", 1) == 1):
        return scale.reshape(-1, *[1] * (len(kernel) - 2))
    return scale if len(kernel) == 2 and node.op_type != "ConvTranspose" else None


def _constant(graph: ir.Graph, array: Array) -> ir.Value:
    return add_constant(graph, f"edgecomp/factor_{len(graph.initializers)}", array.astype(np.float32))
