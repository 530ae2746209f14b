"""LayerNormalization, which exporters spell out in eight or nine operators (Ba et al., 2016).

(x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias, with the means over the last dimensions. Found from its
middle: a value minus its own mean. In int8 the parts would lose the small variances, as one operator it is computed in
float.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgecomp.graph.query import constant, is_float, normalized_axes, only_consumer
from edgecomp.graph.values import take_place
from edgecomp.graph.weights import register

#: The first opset with a LayerNormalization.
_OPSET = 17


def fuse_layer_norms(model: ir.Model) -> bool:
    """Replaces every spelled-out LayerNormalization, in place; returns whether there was one."""
    graph, changed = model.graph, False
    if graph.opset_imports.get("", 0) < _OPSET:
        return False
    for node in graph:
        if node.op_type == "Sub" and node.domain == "" and is_float(node.outputs[0]):
            changed |= _fuse(graph, node)
    return changed


def _fuse(graph: ir.Graph, centering: ir.Node) -> bool:
    x, mean = centering.inputs
    axes = _mean_axes(mean, x)
    if x is None or axes is None or x.shape is None or not x.shape.is_static():
        return False
    rank = len(x.shape)
    last = _normalized(centering.outputs[0], axes)
    if last is None or axes != tuple(range(axes[0], rank)):
        return False
    normalized, epsilon = last
    shape = tuple(int(size) for size in x.shape.numpy())[axes[0] :]
    end, scale, bias = normalized, np.ones(shape), np.zeros(shape)
    for op_type in ("Mul", "Add"):
        operand = _operand(end, op_type, shape)
        if operand is None:
            break
        follower, array = operand
        end = follower.outputs[0]
        scale, bias = (array, bias) if op_type == "Mul" else (scale, array)
    name = end.name or "layer_norm"
    inputs = [x, *(register(graph, f"{name}/{kind}", array) for kind, array in (("scale", scale), ("bias", bias)))]
    fused = ir.node("LayerNormalization", inputs, {"axis": axes[0] - rank, "epsilon": epsilon}, name=name)
    producer = end.producer()
    assert producer is not None
    fused.metadata_props.update(producer.metadata_props)
    result = fused.outputs[0]
    result.shape, result.type = end.shape, end.type
    graph.insert_before(producer, fused)
    take_place(result, end)
    return True


def _mean_axes(mean: ir.Value | None, x: ir.Value | None) -> tuple[int, ...] | None:
    """The dimensions that `mean` is the mean of `x` over, kept with size 1."""
    node = mean.producer() if mean is not None else None
    if node is None or node.op_type != "ReduceMean" or not node.attributes.get_int("keepdims", 1):
        return None
    if (x is not None and node.inputs[0] is not x) or node.inputs[0] is None or node.inputs[0].shape is None:
        return None
    return normalized_axes(node, len(node.inputs[0].shape)) or None


def _normalized(centered: ir.Value, axes: tuple[int, ...]) -> tuple[ir.Value, float] | None:
    """The quotient of a centered value and its deviation, and the epsilon in it."""
    for square in _readers(centered):
        if not _is_square(square):
            continue
        variance = only_consumer(square.outputs[0])
        if variance is None or _mean_axes(variance.outputs[0], square.outputs[0]) != axes:
            continue
        steadied = only_consumer(variance.outputs[0])
        epsilon = _scalar(steadied, "Add")
        root = only_consumer(steadied.outputs[0]) if steadied is not None and epsilon is not None else None
        if epsilon is None or root is None or root.op_type != "Sqrt":
            continue
        divisor = only_consumer(root.outputs[0])
        if divisor is not None and divisor.op_type == "Div" and list(divisor.inputs) == [centered, root.outputs[0]]:
            return divisor.outputs[0], epsilon
        product = only_consumer(divisor.outputs[0]) if divisor is not None and divisor.op_type == "Reciprocal" else None
        if product is not None and product.op_type == "Mul" and centered in product.inputs:
            return product.outputs[0], epsilon
    return None


def _is_square(node: ir.Node) -> bool:
    if node.op_type == "Mul":
        return node.inputs[0] is node.inputs[1]
    return _scalar(node, "Pow") == 2


def _readers(value: ir.Value) -> Iterator[ir.Node]:
    yield from dict.fromkeys(use.node for use in value.uses())


def _scalar(node: ir.Node | None, op_type: str) -> float | None:
    """The constant second operand of a node of that type, where it is one number."""
    array = constant(node.inputs[1]) if node is not None and node.op_type == op_type else None
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def _operand(value: ir.Value, op_type: str, shape: tuple[int, ...]) -> tuple[ir.Node, np.ndarray] | None:
    """The Mul or Add that alone reads `value`, and its constant, broadcast to the normalized dimensions."""
    node = only_consumer(value)
    array = constant(node.inputs[1]) if node is not None and node.op_type == op_type else None
    if node is None or array is None or node.outputs[0].shape != value.shape:
        return None
    array = array.reshape(array.shape[max(0, array.ndim - len(shape)) :]) if _leads_with_ones(array, shape) else array
    if array.ndim > len(shape):
        return None
    return node, np.broadcast_to(array, shape)


def _leads_with_ones(array: np.ndarray, shape: tuple[int, ...]) -> bool:
    return all(size == 1 for size in array.shape[: max(0, array.ndim - len(shape))])
