"""Float islands, as they lie in the file itself: who wrote it, and what it was meant to be, does not matter."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from edgecomp.inspection.contents import FLOAT_PRECISIONS, INTEGER_PRECISIONS, Contents

#: Operators that turn integers into real numbers or back: the shores of an island, and no part of it.
SHORES = frozenset({"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear", "FloatToInt8", "Int8ToFloat"})


@dataclass(frozen=True)
class Island:
    """Operators next to each other that compute in float.

    Attributes:
        nodes: Names, in the order of execution.
        op_types: The operators of the nodes.
        positions: The positions of the nodes in `Contents.nodes`.
    """

    nodes: tuple[str, ...]
    op_types: tuple[str, ...]
    positions: tuple[int, ...]


def find_islands(contents: Contents) -> tuple[Island, ...]:
    """The float islands of a graph that has integer operators, in the order of execution; else none.

    A node that only handles shapes or indices computes in neither, and belongs to no island.
    """
    if not any(node.precision in INTEGER_PRECISIONS and node.op_type not in SHORES for node in contents.nodes):
        return ()
    leader: dict[int, int] = {}

    def find(position: int) -> int:
        while leader[position] != position:
            leader[position] = leader[leader[position]]
            position = leader[position]
        return position

    maker: dict[int, int] = {}
    for position, node in contents.computing():
        if node.precision not in FLOAT_PRECISIONS or node.op_type in SHORES:
            continue
        leader[position] = position
        for index in contents.activations(node):
            if index in maker:
                leader[find(maker[index])] = find(position)
        maker.update(dict.fromkeys(node.outputs, position))
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for position in leader:
        groups[find(position)].append(position)
    nodes = contents.nodes
    return tuple(
        Island(tuple(nodes[p].name for p in group), tuple(nodes[p].op_type for p in group), tuple(group))
        for group in sorted(groups.values())
    )
