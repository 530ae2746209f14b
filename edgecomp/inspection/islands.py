"""Finds float islands in an artifact's graph, whoever wrote it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from edgecomp.inspection.contents import FLOAT_PRECISIONS, INTEGER_PRECISIONS, Contents

#: Operators that convert between integers and real numbers; they border an island but are not part of it.
SHORES = frozenset({"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear", "FloatToInt8", "Int8ToFloat"})


@dataclass(frozen=True)
class Island:
    """Connected operators that compute in float.

    Attributes:
        nodes: Names, in the order of execution.
        op_types: The operators of the nodes.
        positions: The positions of the nodes in `Contents.nodes`.
    """

    nodes: tuple[str, ...]
    op_types: tuple[str, ...]
    positions: tuple[int, ...]


def find_islands(contents: Contents) -> tuple[Island, ...]:
    """Returns the float islands of a graph with integer operators, in the order of execution; else nothing.

    Nodes that only handle shapes or indices compute in neither, and belong to no island.
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
