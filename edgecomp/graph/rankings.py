"""Outputs whose rows are the best of many: what a TopK in the graph has put into an order.

A detector that does without suppression ends in one, and so do the best classes with their scores. Which of two nearly
equal scores comes first hangs on the last bit of either, and the rows of all outputs with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Ranking:
    """Outputs whose rows belong together.

    Attributes:
        axes: Output -> the dimension that counts the rows: 1, behind the batch, or 0.
    """

    axes: Mapping[str, int]


def rankings(graph: ir.Graph) -> tuple[Ranking, ...]:
    """The rankings among a graph's outputs, one for each number of rows."""
    reached: dict[int, set[ir.Value]] = {}
    for node in graph:
        if node.op_type == "TopK" and (count := _rows(node)) is not None:
            reached[count] = reached.get(count, set()) | _behind(node)
    found = (_ranking(graph, count, values) for count, values in reached.items())
    return tuple(ranking for ranking in found if ranking.axes)


def _rows(node: ir.Node) -> int | None:
    """How many rows a TopK chooses, if that is known and there is an order among them."""
    shape = node.outputs[0].shape
    axis = node.attributes.get_int("axis", -1)
    size = None if shape is None else shape[axis]
    return size if isinstance(size, int) and size > 1 else None


def _behind(node: ir.Node) -> set[ir.Value]:
    waiting, seen = list(node.outputs), set()
    while waiting:
        value = waiting.pop()
        if value not in seen:
            seen.add(value)
            waiting.extend(result for use in value.uses() for result in use.node.outputs)
    return seen


def _ranking(graph: ir.Graph, count: int, values: set[ir.Value]) -> Ranking:
    axes = {}
    for value in graph.outputs:
        shape = list(value.shape or ())
        if value in values and count in shape[:2]:
            axes[value.name or ""] = 1 if shape[1:2] == [count] else 0
    return Ranking(axes)
