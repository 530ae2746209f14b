"""The later costs of the layout of a value: the backward half of the layout assignment.

Choosing the layouts of a whole graph so that the fewest elements move is a shortest-path problem on a chain, and is
solved as such. This pass walks the graph from its outputs and gives each value a table: layout -> elements that have to
move later. Lowerings then walk forward, and where they have a choice they take the layout with the smallest sum of
present and later moves. On chains and trees this is optimal. Where branches meet again, the rest of the graph is
counted once for each branch. Tables are short, so the whole pass takes linear time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import onnx_ir as ir

from edgecomp.converters.tflite.layout import Layout, channels_last, identity, moves_memory, reshaped, transposed
from edgecomp.graph.query import is_constant

#: The largest number of layouts to consider for a value.
_MOST = 4

#: Operators that require images.
_IMAGES = frozenset(
    [
        "AveragePool",
        "ConvTranspose",
        "DepthToSpace",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "MaxPool",
        "Resize",
        "SpaceToDepth",
    ]
)

#: Operators that work in any layout and keep it: all inputs of the output's rank share it.
_ANY = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "Cast",
        "Ceil",
        "Clip",
        "Concat",
        "Div",
        "Elu",
        "Equal",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "Greater",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LayerNormalization",
        "LeakyRelu",
        "Less",
        "Log",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "PRelu",
        "Pad",
        "Pow",
        "Reciprocal",
        "Relu",
        "Round",
        "Sigmoid",
        "Sin",
        "Slice",
        "Softplus",
        "Split",
        "Sqrt",
        "Sub",
        "Sum",
        "Tanh",
        "Tile",
        "Where",
    ]
)

#: Operators that require the source's order.
_PLAIN = frozenset(["GRU", "LSTM", "RNN"])

#: Operators that require one dimension to be last, with the others in any order.
_LAST = {"Softmax": -1, "LogSoftmax": -1}


@dataclass(frozen=True)
class _Reader:
    """The layouts that one use of a value requires.

    Attributes:
        forward: Maps a layout of the input to that of the reader's output; None if memory has to move first.
        backward: The inverse mapping.
        output: The reader's output; None at the end of the walk, where `forward` only tells whether memory can stay.
        demands: Whether it has a requirement of its own; other readers pass on those of their output.
    """

    forward: Callable[[Layout], Layout | None]
    backward: Callable[[Layout], Layout | None]
    output: ir.Value | None = None
    demands: bool = True


class Outlook:
    """The cost of layouts, counted over everything that depends on a value.

    Args:
        graph: Its nodes are in topological order.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._tables: dict[ir.Value, dict[Layout, int]] = {}
        for value in graph.outputs:
            shape = _shape(value)
            if shape is not None and len(shape) > 1:
                # Images may leave in any layout, everything else in the source's order (see `convert`).
                rank = len(shape)
                self._tables[value] = {identity(rank): 0} | ({channels_last(rank): 0} if rank == 4 else {})
        for node in reversed(graph):
            for index, source in enumerate(node.inputs):
                if source is not None and not is_constant(source):
                    self._add(source, node, index)

    def cost(self, value: ir.Value, layout: Layout) -> int:
        """Returns how many elements move after `value` if it has this layout; 0 if unknown."""
        table, shape = self._tables.get(value), _shape(value)
        if not table or shape is None:
            return 0
        size = math.prod(shape)
        return min(cost + size * moves_memory(shape, layout, known) for known, cost in table.items())

    def wanted(self, value: ir.Value) -> Iterable[Layout]:
        """Returns the layouts to consider."""
        return self._tables.get(value, {}).keys()

    def _add(self, value: ir.Value, node: ir.Node, index: int) -> None:
        reader, shape = _reader(node, index, value), _shape(value)
        if reader is None or shape is None:
            return
        known = self._tables.get(value, {})
        behind = tuple(self.wanted(reader.output)) if reader.output is not None else ()
        if not behind and reader.demands:
            behind = (identity(len(shape)),)
        found = [back for back in map(reader.backward, behind) if back is not None]
        if not found and not known:
            return

        def read(layout: Layout) -> int:
            outgoing = reader.forward(layout)
            behind = self._tables.get(reader.output, {}) if reader.output is not None else {}
            if outgoing is None:
                return math.prod(shape) + min(behind.values(), default=0)
            return self.cost(reader.output, outgoing) if reader.output is not None else 0

        costs = {layout: self.cost(value, layout) + read(layout) for layout in dict.fromkeys((*known, *found))}
        self._tables[value] = dict(sorted(costs.items(), key=lambda item: item[1])[:_MOST])


def _reader(node: ir.Node, index: int, value: ir.Value) -> _Reader | None:
    """Returns what a use requires; None if it takes any layout and does not determine its output's."""
    shape, result = _shape(value), _shape(node.outputs[0])
    if shape is None or result is None or len(shape) < 2 or node.domain not in {"", "com.microsoft"}:
        return None
    rank, output = len(shape), node.outputs[0]
    if node.op_type == "Conv" and is_pointwise(node):
        return _with_last(rank, 1, output)
    if node.op_type in _IMAGES or node.op_type == "Conv":
        return _exactly(rank, channels_last(rank)) if index == 0 else None
    if node.op_type in _PLAIN:
        return _exactly(rank, identity(rank)) if index == 0 else None
    if node.op_type in {"Gemm", "MatMul"}:
        return _matrix(node, index, rank)
    if node.op_type in _LAST:
        axis = (node.attributes.get_int("axis", _LAST[node.op_type]) or 0) % rank
        return _with_last(rank, axis, output)
    if node.op_type == "Transpose":
        permutation = node.attributes.get_ints("perm", None) or tuple(reversed(range(rank)))
        inverse = tuple(permutation.index(dimension) for dimension in range(rank))
        return _Reader(lambda x: transposed(x, permutation), lambda x: transposed(x, inverse), output, demands=False)
    if node.op_type in {"Flatten", "Reshape", "Squeeze", "Unsqueeze"} and index == 0:
        return _Reader(
            lambda x: reshaped(shape, result, x), lambda x: reshaped(result, shape, x), output, demands=False
        )
    if node.op_type in _ANY and rank == len(result):
        return _Reader(lambda x: x, lambda x: x, output, demands=False)
    return None


def is_pointwise(node: ir.Node) -> bool:
    """Tells whether a convolution has a 1x1 window, so that the order of pixels does not matter."""
    weight = _shape(node.inputs[1])
    return (
        weight is not None
        and len(weight) == 4
        and set(weight[2:]) == {1}
        and (node.attributes.get_int("group", 1) or 1) == 1
        and set(node.attributes.get_ints("strides", ()) or ()) <= {1}
        and not any(node.attributes.get_ints("pads", ()) or ())
    )


def _exactly(rank: int, *layouts: Layout) -> _Reader:
    """Returns a reader for which memory stays only in these layouts."""
    return _Reader(lambda x: x if x in layouts else None, lambda x: layouts[0])


def _with_last(rank: int, axis: int, output: ir.Value) -> _Reader:
    """Returns a reader for which memory stays if `axis` is last; the result has the input's layout."""
    return _Reader(
        lambda x: x if x[-1] == axis else None,
        lambda x: (*(dimension for dimension in x if dimension != axis), axis),
        output,
    )


def _matrix(node: ir.Node, index: int, rank: int) -> _Reader | None:
    """Returns the reader of a product: a constant matrix needs the last dimension last, others the source's order."""
    if index == 0 and is_constant(node.inputs[1]):
        return _with_last(rank, rank - 1, node.outputs[0])
    straight = identity(rank)
    flipped = (*straight[:-2], straight[-1], straight[-2])
    return _exactly(rank, straight, flipped) if index == 1 else _exactly(rank, straight)


def _shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """Returns the shape, if all of it is known."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(int(size) for size in value.shape.numpy())
