"""Lays graphs of one model at several sizes over each other: one graph that is equal to each at its size.

The graphs must be alike, node by node, but for whole-number constants of at most one dimension. These are explained by
the sizes of tensors (see `sizes`) and become computed: a Reshape copies a size (0) or leaves one to the runtime (-1)
where that says it; elsewhere nodes compute the numbers from the shapes of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.freedom import NotGeneralError
from edgecomp.graph.query import constant, describe, shape_of
from edgecomp.graph.size_nodes import SizeNodes
from edgecomp.graph.sizes import Expression, Numbers, explain, is_short, is_whole

Place = tuple[ir.Value, int]


def merge(graphs: Sequence[ir.Graph]) -> dict[str, tuple[Numbers, ...]]:
    """Turns the first of several static graphs, in place, into one that is equal to each at its size.

    Returns:
        Output name -> the numbers of each of its dimensions.

    Raises:
        NotGeneralError: They are not alike, or a constant is not explained.
    """
    return _Merge(graphs).run()


@dataclass
class _Merge:
    """See `merge`."""

    graphs: Sequence[ir.Graph]

    def __post_init__(self) -> None:
        self._inputs: dict[Place, Numbers] = {}
        self._far: dict[Numbers, Place] = {}
        self._sizes: dict[ir.Value, tuple[Numbers, ...]] = {}
        self._nodes = SizeNodes(self.graphs[0])

    def run(self) -> dict[str, tuple[Numbers, ...]]:
        """Does it."""
        for values in zip(*(graph.inputs for graph in self.graphs), strict=True):
            self._learn(values)
        self._inputs = {place: numbers for numbers, place in self._far.items()}
        lists = [list(graph) for graph in self.graphs]
        if len({len(nodes) for nodes in lists}) > 1:
            raise NotGeneralError("the simplified graph has other nodes at another size")
        for nodes in zip(*lists, strict=True):
            self._check(nodes)
            for index in range(len(nodes[0].inputs)):
                self._merge_input(nodes, index)
            for values in zip(*(node.outputs for node in nodes), strict=True):
                self._learn(values)
        found = {}
        for values in zip(*(graph.outputs for graph in self.graphs), strict=True):
            if values[0] not in self._sizes:
                raise NotGeneralError(f"the shape of output {values[0].name!r} is unknown")
            found[str(values[0].name)] = self._sizes[values[0]]
        return found

    def _learn(self, values: Sequence[ir.Value]) -> None:
        """Notes the sizes of a value, for what comes behind it."""
        if any(value.shape is None or not value.shape.is_static() for value in values):
            return
        if len({len(shape_of(value)) for value in values}) > 1:
            raise NotGeneralError(f"{values[0].name!r} has another rank at another size")
        self._sizes[values[0]] = tuple(zip(*(shape_of(value) for value in values), strict=True))
        for axis, numbers in enumerate(self._sizes[values[0]]):
            if len(set(numbers)) > 1:
                self._far.setdefault(numbers, (values[0], axis))

    def _check(self, nodes: Sequence[ir.Node]) -> None:
        first = nodes[0]
        for other in nodes[1:]:
            alike = (
                (other.op_type, other.domain, len(other.inputs), len(other.outputs))
                == (first.op_type, first.domain, len(first.inputs), len(first.outputs))
            ) and [value.name for value in other.outputs] == [value.name for value in first.outputs]
            if not alike:
                raise NotGeneralError(f"at another size {describe(first)} is {describe(other)}")
            if not _same_attributes(first, other):
                raise NotGeneralError(f"the attributes of {describe(first)} depend on the size")

    def _merge_input(self, nodes: Sequence[ir.Node], index: int) -> None:
        values = [node.inputs[index] for node in nodes]
        arrays = [constant(value) for value in values]
        node = nodes[0]
        if all(array is None for array in arrays):
            if len({None if value is None else value.name for value in values}) > 1:
                raise NotGeneralError(f"{describe(node)} reads other tensors at another size")
            return
        constants = [array for array in arrays if array is not None]
        first = constants[0]
        if len(constants) == len(arrays) and all(_equal(first, array) for array in constants[1:]):
            return
        if len(constants) < len(arrays) or first.ndim > 1 or not is_short(constants) or not is_whole(constants):
            raise NotGeneralError(f"a constant of {describe(node)} depends on the size")
        numbers = [tuple(int(array.reshape(-1)[place]) for array in constants) for place in range(first.size)]
        node.replace_input_with(index, self._computed(node, index, first, numbers))

    def _computed(self, node: ir.Node, index: int, like: Array, numbers: Sequence[Numbers]) -> ir.Value:
        """The value for the whole numbers that `node` reads at `index`."""
        near = {
            (value, axis): each
            for value in node.inputs
            if value in self._sizes
            for axis, each in enumerate(self._sizes[value])
        }
        parts = [explain(each, near, self._inputs, self._far) for each in numbers]
        if node.op_type == "Reshape" and index == 1 and not node.attributes.get_int("allowzero", 0):
            parts = _shorten(parts, numbers, self._sizes.get(node.inputs[0]))  # type: ignore[arg-type]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            raise NotGeneralError(f"{describe(node)} has a constant whose dependence on the size is not understood")
        return self._nodes.read_by(node, known, like)


def _same_attributes(first: ir.Node, second: ir.Node) -> bool:
    if set(first.attributes) != set(second.attributes):
        return False
    pairs = [(attribute, second.attributes[name]) for name, attribute in first.attributes.items()]
    return all(ir.to_proto(left) == ir.to_proto(right) for left, right in pairs)


def _equal(first: Array, second: Array) -> bool:
    same = first is second or (first.shape == second.shape and first.dtype == second.dtype)
    return same and (first is second or first.tobytes() == second.tobytes())


def _shorten(
    parts: Sequence[Expression[Place] | None], numbers: Sequence[Numbers], source: Sequence[Numbers] | None
) -> list[Expression[Place] | None]:
    """The target of a Reshape, with zeros and -1 for the sizes that change."""
    copied, left_over = Expression[Place]((), 0, 0), Expression[Place]((), 0, -1)
    result = list(parts)
    for index, each in enumerate(numbers):
        if len(set(each)) > 1 and source is not None and source[index : index + 1] == (each,):
            result[index] = copied
    changing = [index for index, part in enumerate(result) if part is None or part.places]
    free = all(-1 not in each for each in numbers)
    if changing and free:
        result[next((index for index in changing if result[index] is None), changing[-1])] = left_over
    return result
