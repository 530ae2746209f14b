"""Rewrites what ONNX can say in several ways into the one way that the quantizer and the converters know.

Rules, cited by number where they are applied:

1. A Gemm has a constant matrix, a constant bias of shape (N,) or none, alpha = beta = 1 and an untransposed input.
   Another one becomes MatMul, Mul and Add.
2. No MatMul has a vector as operand: a Reshape makes it a matrix.
3. Division by a constant is multiplication by its reciprocal, which differs in the last bit at most.
4. Subtraction of a constant is addition of its negative, which differs in nothing.
5. Einsum is transposes, reshapes and matrix products, which are quantized and have kernels of their own.
6. The bounds of a Clip are constants. Computed ones become a Max and a Min.
7. A Compress with a constant condition is a Gather, whose shape everybody can tell.
8. A linear layer on more than two dimensions, MatMul and Add, is a Gemm on rows between two Reshapes: in integers, an
   Add of its own would round once more.
9. No Concat reads a part without elements, and no Split gives out one that nobody reads.
10. A GatherElements from a single row is a Gather, which every runtime has.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.decompositions.einsum import einsum
from edgecomp.graph.decompositions.pieces import OLDEST_OPSET, Pieces, Undecomposable
from edgecomp.graph.query import constant, input_of, is_float, only_consumer, shape_of
from edgecomp.graph.values import add_constant, take_place


def canonicalize(model: ir.Model, quantized: Container[str] = ()) -> None:
    """Applies every rule to every node of a graph with known shapes, in place.

    Args:
        model: Changed in place.
        quantized: Tensors with parameters. Rules 3, 4 and 8 leave a constant among them alone: its negative would need
            other parameters.
    """
    for graph in (model.graph, *model.graph.subgraphs()):
        _canonicalize(graph, quantized, model.opset_imports.get("", 1))


def _canonicalize(graph: ir.Graph, quantized: Container[str], opset: int) -> None:
    for node in tuple(graph):
        if node.op_type == "Einsum":
            _einsum(Pieces(node, opset))
        rewrite = _REWRITES.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
        if node.op_type in {"Add", "Div", "Sub"} and node.inputs[1] is not None and node.inputs[1].name in quantized:
            continue
        if rewrite is not None and all(_is_static(value) for value in node.inputs if value is not None):
            rewrite(_Site(graph, node))


def _is_static(value: ir.Value) -> bool:
    return value.shape is not None and all(isinstance(size, int) for size in value.shape)


class _Site:
    """A node and the place where its replacements go: in front of it."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self.graph, self.node = graph, node
        self._added = 0

    def value(self, index: int) -> ir.Value:
        value = self.node.inputs[index]
        assert value is not None  # these inputs are mandatory in ONNX
        return value

    def add(
        self,
        op_type: str,
        *inputs: ir.Value,
        shape: Sequence[int] | ir.Shape,
        like: ir.Node | None = None,
        **attributes: Any,
    ) -> ir.Value:
        """A new node's output, with the type of the original one's.

        Args:
            op_type: The operator of the node.
            inputs: The inputs of the node.
            shape: The shape of the output.
            like: The node whose name and metadata it takes; by default a name of its own and the original's metadata.
            attributes: The attributes of the node.
        """
        node = ir.node(op_type, list(inputs), attributes, name=like.name if like else self._name(op_type.lower()))
        node.metadata_props.update((like or self.node).metadata_props)
        result = node.outputs[0]
        result.name, result.shape, result.type = node.name, ir.Shape(shape), self.node.outputs[0].type
        self.graph.insert_before(self.node, node)
        return result

    def constant(self, array: Array) -> ir.Value:
        return add_constant(self.graph, self._name("constant"), array)

    def replace_by(self, value: ir.Value) -> None:
        """Gives the readers of the original node `value` instead, under the old name."""
        take_place(value, self.node.outputs[0])
        self.graph.remove(self.node, safe=True)

    def _name(self, suffix: str) -> str:
        while True:
            self._added += 1
            name = f"{self.node.name or self.node.outputs[0].name}/{suffix}_{self._added}"
            if name not in self.graph.initializers:
                return name


def _gemm(site: _Site) -> None:
    """Rule 1."""
    node, attributes = site.node, site.node.attributes
    if not all(is_float(value) for value in node.inputs if value is not None):
        return
    alpha, beta = (np.float32(attributes.get_float(name, 1.0)) for name in ("alpha", "beta"))
    weight, bias = constant(site.value(1)), input_of(node, 2)
    columns = shape_of(node.outputs[0])[1]
    offset = constant(bias)
    row = offset is not None and offset.size in {1, columns} and (offset.ndim == 0 or offset.shape[-1] == offset.size)
    if weight is None or bool(attributes.get_int("transA", 0)) or not (bias is None or row):
        _decompose_gemm(site, float(alpha), float(beta))
        return
    if alpha != 1:
        node.replace_input_with(1, site.constant(weight * alpha))
    if offset is not None and (beta != 1 or offset.shape != (columns,)):
        node.replace_input_with(2, site.constant(np.broadcast_to(offset.reshape(-1) * beta, (columns,)).copy()))
    for name in ("alpha", "beta"):
        attributes.pop(name, None)


def _decompose_gemm(site: _Site, alpha: float, beta: float) -> None:
    shape = shape_of(site.node.outputs[0])

    def scaled(value: ir.Value, factor: float) -> ir.Value:
        if factor == 1:
            return value
        return site.add("Mul", value, site.constant(np.array(factor, np.float32)), shape=shape_of(value))

    operands = []
    for index, flag in enumerate(("transA", "transB")):
        value, array = site.value(index), constant(site.value(index))
        if site.node.attributes.get_int(flag, 0) and array is not None:
            value = site.constant(np.ascontiguousarray(array.T))
        elif site.node.attributes.get_int(flag, 0):
            value = site.add("Transpose", value, shape=shape_of(value)[::-1], perm=[1, 0])
        operands.append(value)
    result = scaled(site.add("MatMul", *operands, shape=shape), alpha)
    bias = input_of(site.node, 2)
    if bias is not None:
        offset = constant(bias)
        addend = scaled(bias, beta) if offset is None else site.constant(offset * np.float32(beta))
        result = site.add("Add", result, addend, shape=shape)
    site.replace_by(result)


def _matmul(site: _Site) -> None:
    """Rule 2."""
    left, right = (shape_of(site.value(index)) for index in (0, 1))
    if (len(left) > 1 and len(right) > 1) or not left or not right:
        return
    operands = []
    for index, (shape, wide) in enumerate(((left, (1, *left)), (right, (*right, 1)))):
        value, array = site.value(index), constant(site.value(index))
        if len(shape) == 1 and array is not None:
            value = site.constant(array.reshape(wide))
        elif len(shape) == 1:
            value = site.add("Reshape", value, site.constant(np.array(wide, np.int64)), shape=wide)
        operands.append(value)
    shape = shape_of(site.node.outputs[0])
    full = (
        *(
            shape
            if len(left) > 1
            else (*shape[: len(shape) - (len(right) > 1)], 1, *shape[len(shape) - (len(right) > 1) :])
        ),
    )
    full = (*full, 1) if len(right) == 1 else full
    product = site.add("MatMul", *operands, shape=full)
    site.replace_by(site.add("Reshape", product, site.constant(np.array(shape, np.int64)), shape=shape))


def _add(site: _Site) -> None:
    """Rule 8."""
    product, bias = site.value(0), constant(site.value(1))
    matmul, shape = product.producer(), shape_of(site.node.outputs[0])
    if matmul is None or matmul.op_type != "MatMul" or bias is None or shape_of(product) != shape:
        return
    if product.is_graph_output() or only_consumer(product) is not site.node:
        return
    data, matrix = matmul.inputs[:2]
    weight = constant(matrix)
    if data is None or matrix is None or weight is None or weight.ndim != 2 or len(shape) < 3:
        return
    depth, width = weight.shape
    if bias.size not in {1, width} or (bias.ndim and bias.shape[-1] != bias.size):
        return
    offset = site.constant(np.broadcast_to(bias.reshape(-1), (width,)).copy())
    rows = _reshaped(site, data, (math.prod(shape[:-1]), depth))
    result = site.add("Gemm", rows, matrix, offset, shape=(math.prod(shape[:-1]), width), like=matmul)
    site.replace_by(_reshaped(site, result, shape))


def _reshaped(site: _Site, value: ir.Value, shape: Sequence[int]) -> ir.Value:
    return site.add("Reshape", value, site.constant(np.array(shape, np.int64)), shape=shape)


def _einsum(pieces: Pieces) -> None:
    """Rule 5."""
    if pieces.opset >= OLDEST_OPSET:
        with contextlib.suppress(Undecomposable):
            pieces.replace(einsum(pieces))


def _div(site: _Site) -> None:
    """Rule 3."""
    divisor = constant(site.value(1))
    if divisor is None or not is_float(site.value(0)) or constant(site.value(0)) is not None:
        return
    with np.errstate(divide="ignore", over="ignore"):
        reciprocal = (1 / divisor.astype(np.float64)).astype(np.float32)
    if np.isfinite(reciprocal).all():
        _replace_operand(site, "Mul", reciprocal)


def _sub(site: _Site) -> None:
    """Rule 4."""
    subtrahend = constant(site.value(1))
    if subtrahend is not None and is_float(site.value(0)) and constant(site.value(0)) is None:
        _replace_operand(site, "Add", -subtrahend)


def _replace_operand(site: _Site, op_type: str, operand: Array) -> None:
    shape = shape_of(site.node.outputs[0])
    site.replace_by(site.add(op_type, site.value(0), site.constant(operand), shape=shape))


def _clip(site: _Site) -> None:
    """Rule 6."""
    bounds = [input_of(site.node, index) for index in (1, 2)]
    if all(bound is None or constant(bound) is not None for bound in bounds):
        return
    result, shape = site.value(0), shape_of(site.value(0))
    for op_type, bound in zip(("Max", "Min"), bounds, strict=True):
        if bound is not None:
            result = site.add(op_type, result, bound, shape=shape)
    site.replace_by(result)


def _compress(site: _Site) -> None:
    """Rule 7."""
    condition = constant(site.value(1))
    if condition is None:
        return
    source, chosen = site.value(0), np.flatnonzero(condition)
    axis = site.node.attributes.get_int("axis", None)
    if axis is None:
        axis, size = 0, int(np.prod(shape_of(source)))
        source = site.add("Reshape", source, site.constant(np.array([size], np.int64)), shape=(size,))
    shape = list(shape_of(source))
    axis %= len(shape)
    shape[axis] = len(chosen)
    site.replace_by(site.add("Gather", source, site.constant(chosen), shape=tuple(shape), axis=axis))


def _concat(site: _Site) -> None:
    """Rule 9."""
    parts = [value for value in site.node.inputs if value is not None]
    kept = [value for value in parts if not _is_empty(value)]
    if not kept or len(kept) == len(parts):
        return
    shape = site.node.outputs[0].shape
    assert shape is not None
    if len(kept) == 1:
        site.replace_by(site.add("Identity", kept[0], shape=shape))
    else:
        axis = site.node.attributes["axis"].as_int()
        site.replace_by(site.add("Concat", *kept, shape=shape, axis=axis))


def _split(site: _Site) -> None:
    """Rule 9."""
    data, outputs = site.value(0), site.node.outputs
    left_out = {value for value in outputs if _is_empty(value) and not _is_used(value)}
    if not left_out or any(value.shape is None for value in outputs):
        return
    axis = (site.node.attributes.get_int("axis", 0) or 0) % len(shape_of(data))
    start = 0
    for value in list(outputs):
        shape = shape_of(value)
        end = start + shape[axis]
        if value not in left_out:
            numbers = (site.constant(np.array([number], np.int64)) for number in (start, end, axis))
            part = site.add("Slice", data, *numbers, shape=shape)
            part.type = value.type
            take_place(part, value)
        start = end
    site.graph.remove(site.node, safe=True)


def _is_used(value: ir.Value) -> bool:
    """Whether a node reads a value, or the graph gives it out."""
    return bool(tuple(value.uses())) or value.is_graph_output()


def _is_empty(value: ir.Value) -> bool:
    return value.shape is not None and any(size == 0 for size in value.shape)


def _gather_elements(site: _Site) -> None:
    """Rule 10."""
    table, places = site.value(0), site.value(1)
    shape = shape_of(table)
    size = shape[site.node.attributes.get_int("axis", 0) % len(shape)]
    if math.prod(shape) != size:
        return
    row = site.add("Reshape", table, site.constant(np.array([size], np.int64)), shape=(size,))
    site.replace_by(site.add("Gather", row, places, shape=shape_of(places), axis=0))


_REWRITES: dict[str, Callable[[_Site], None]] = {
    "Add": _add,
    "Clip": _clip,
    "Compress": _compress,
    "Concat": _concat,
    "Div": _div,
    "GatherElements": _gather_elements,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Split": _split,
    "Sub": _sub,
}
