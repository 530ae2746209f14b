"""Outputs whose last dimension counts places, such as moments of a recording, and not the classes of an answer.

The largest number along classes is the answer of a classifier. Along places it is one where something was looked for,
such as the start of an answer in a text, and means nothing where each place has a number of its own, such as the pitch
of a voice at each moment. A softmax along the dimension says that it is looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING

from edgecomp.graph.query import input_of, is_constant, normalized_axes, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir

#: A dimension of a value.
_Dimension = tuple["ir.Value", int]
#: Where a dimension of a node's output comes from: dimensions of its inputs, or whether it counts places.
_Origin = bool | list[_Dimension]


def place_outputs(graph: ir.Graph) -> frozenset[str]:
    """The names of the outputs whose last dimension is certain to count places."""
    found = (value for value in graph.outputs if value.shape is not None and len(value.shape) > 1)
    return frozenset(value.name or "" for value in found if _counts_places(value, len(shape_of(value)) - 1))


def _counts_places(value: ir.Value, axis: int) -> bool:
    waiting, seen = [(value, axis)], set()
    while waiting:
        dimension = waiting.pop()
        if dimension in seen:
            continue
        seen.add(dimension)
        origin = _origin(*dimension)
        if origin is True:
            return True
        waiting.extend(origin or [])
    return False


def _origin(value: ir.Value, axis: int) -> _Origin:
    node = value.producer()
    values = () if node is None else (*node.inputs, value)
    if node is None or not all(each is None or (each.shape is not None and each.shape.is_static()) for each in values):
        return False
    return _RULES.get(node.op_type, _elementwise)(node, axis)


def _elementwise(node: ir.Node, axis: int) -> _Origin:
    """Dimensions meet from the last one on; one of size 1 is spread."""
    behind, size = len(shape_of(node.outputs[0])) - axis, shape_of(node.outputs[0])[axis]
    shapes = ((value, shape_of(value)) for value in node.inputs if value is not None and not is_constant(value))
    return [(value, len(shape) - behind) for value, shape in shapes if behind <= len(shape) and shape[-behind] == size]


def _first(node: ir.Node, axis: int) -> _Origin:
    return [(value, axis) for value in node.inputs[:1] if value is not None]


def _spatial(node: ir.Node, axis: int) -> _Origin:
    return axis > 1


def _pooled(node: ir.Node, axis: int) -> _Origin:
    return True if axis > 1 else _first(node, axis)


def _softmax(node: ir.Node, axis: int) -> _Origin:
    rank = len(shape_of(node.outputs[0]))
    return False if node.attributes.get_int("axis", -1) % rank == axis else _first(node, axis)


def _product(node: ir.Node, axis: int) -> _Origin:
    """Rows come from the first factor, columns from the second."""
    rank = len(shape_of(node.outputs[0]))
    factor = input_of(node, 1 if axis == rank - 1 else 0)
    if factor is None or is_constant(factor) or node.op_type == "Gemm":
        return False
    place = len(shape_of(factor)) - (rank - axis)
    return [(factor, place)] if place >= 0 else False


def _recurrent(node: ir.Node, axis: int) -> _Origin:
    """(steps, directions, batch, hidden)."""
    return axis == 0


def _transposed(node: ir.Node, axis: int) -> _Origin:
    backwards = range(len(shape_of(node.outputs[0])))[::-1]
    return _first(node, tuple(node.attributes.get_ints("perm", ()) or backwards)[axis])


def _reshaped(node: ir.Node, axis: int) -> _Origin:
    """A dimension that has as many elements in front of it, and the same size, as it had before."""
    before, after = (shape_of(value) for value in (node.inputs[0], node.outputs[0]) if value is not None)
    wanted = after[axis], prod(after[:axis])
    same = [place for place, size in enumerate(before) if (size, prod(before[:place])) == wanted]
    return _first(node, same[0]) if same else False


def _reduced(node: ir.Node, axis: int) -> _Origin:
    source = node.inputs[0]
    assert source is not None
    kept = _kept(node, len(shape_of(source)))
    return _first(node, axis if node.attributes.get_int("keepdims", 1) else kept[axis])


def _kept(node: ir.Node, rank: int) -> list[int]:
    """The dimensions that a reduction leaves."""
    one = node.attributes.get_int("axis", None)
    gone = normalized_axes(node, rank) if one is None else (one % rank,)
    return [axis for axis in range(rank) if axis not in gone]


def _gathered(node: ir.Node, axis: int) -> _Origin:
    data, indices = node.inputs[:2]
    assert data is not None
    assert indices is not None
    chosen = node.attributes.get_int("axis", 0) % len(shape_of(data))
    rank = len(shape_of(indices))
    if chosen <= axis < chosen + rank:
        return [(indices, axis - chosen)]
    return [(data, axis if axis < chosen else axis - rank + 1)]


def _unknown(node: ir.Node, axis: int) -> _Origin:
    return False


#: A rule, and its operators; those that are not here work element by element.
_RULES: Mapping[str, Callable[[ir.Node, int], _Origin]] = {
    name: rule
    for rule, names in (
        (_spatial, "Conv ConvTranspose Resize"),
        (_pooled, "AveragePool GlobalAveragePool GlobalMaxPool LpPool MaxPool"),
        (_softmax, "Hardmax LogSoftmax Softmax"),
        (_product, "Gemm MatMul"),
        (_recurrent, "GRU LSTM RNN"),
        (_transposed, "Transpose"),
        (_reshaped, "Flatten Reshape Squeeze Unsqueeze"),
        (_reduced, "ArgMax ArgMin ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum"),
        (_gathered, "Gather"),
        (_first, "BatchNormalization CumSum GatherElements LayerNormalization Pad RMSNormalization Slice Split TopK"),
        (_unknown, "Attention ConstantOfShape DFT Einsum Expand If Loop Range Scan Tile"),
    )
    for name in names.split()
}
