"""Computes the memory that the activations of a graph need."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass

from edgecomp.inspection.contents import Contents

#: LiteRT's alignment of tensors, in bytes.
ALIGNMENT = 64

#: Operators whose output is the memory of their first input with another shape.
_VIEWS = frozenset(
    ["RESHAPE", "SQUEEZE", "EXPAND_DIMS", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "ExpandDims"]
)


@dataclass(frozen=True)
class Memory:
    """Bytes of activations, including inputs and outputs, with dynamic dimensions as 1.

    Attributes:
        live: The largest sum that is in use at once: a lower bound for every planner, unless it works in place.
        live_at: The node that is computed at that time.
        arena: The arena of LiteRT's own planner. It places the largest tensors first, each into the smallest gap that
            is free while the tensor lives. What kernels need besides, and which of them work in place, is not in the
            file. XNNPACK and the other runtimes have their own planners.
        unknown: The number of activations of unknown size, which are left out.
        dynamic: Whether some dimension is dynamic.
    """

    live: int
    live_at: str
    arena: int
    unknown: int
    dynamic: bool


@dataclass(frozen=True)
class _Span:
    """A piece of memory, with the first and last node that use it."""

    size: int
    first: int
    last: int


def plan_memory(contents: Contents) -> Memory:
    """Finds when each activation is in use, and packs them."""
    alias, first, last = _lives(contents)
    sizes: dict[int, int] = {}
    unknown = 0
    for index in first:
        size = contents.tensors[index].nbytes
        if size is None:
            unknown += 1
        else:
            sizes[index] = size
    spans = [_Span(size, first[index], last[index]) for index, size in sizes.items()]
    live, position = _most_alive(spans)
    names = [node.name for node in contents.nodes]
    tensors = (contents.tensors[index] for index in (*first, *alias))
    dynamic = any(None in tensor.shape for tensor in tensors if tensor.shape is not None)
    return Memory(live, names[position] if position < len(names) else "", _arena(spans), unknown, dynamic)


def _lives(contents: Contents) -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
    """Returns which activations share memory, and when each of the others is first written and last read."""
    end = len(contents.nodes)
    alias: dict[int, int] = {}
    first = dict.fromkeys(contents.inputs, 0)
    last = dict.fromkeys(contents.inputs, end)
    for position, node in contents.computing():
        activations = contents.activations(node)
        for index in activations:
            last[alias.get(index, index)] = max(position, last.get(alias.get(index, index), 0))
        if node.op_type in _VIEWS and activations and activations[0] == node.inputs[0]:
            alias.update(dict.fromkeys(node.outputs, alias.get(activations[0], activations[0])))
            continue
        for index in node.outputs:
            first.setdefault(index, position)
            last[index] = max(position, last.get(index, 0))
    for index in contents.outputs:
        if index not in contents.fixed:
            last[alias.get(index, index)] = end
    return alias, first, last


def _most_alive(spans: Iterable[_Span]) -> tuple[int, int]:
    """Returns the largest sum of sizes in use at any time, and the first such time."""
    changes: dict[int, int] = {}
    for span in spans:
        changes[span.first] = changes.get(span.first, 0) + span.size
        changes[span.last + 1] = changes.get(span.last + 1, 0) - span.size
    alive, most, at = 0, 0, 0
    for position in sorted(changes):
        alive += changes[position]
        if alive > most:
            most, at = alive, position
    return most, at


def _arena(spans: list[_Span]) -> int:
    """Returns the size of an arena with all spans, packed like LiteRT's ArenaPlanner."""
    end = max((span.last for span in spans), default=0)
    whole = [span for span in spans if (span.first, span.last) == (0, end)]
    rest = [span for span in spans if (span.first, span.last) != (0, end)]
    placed: list[tuple[int, int, int, int]] = []  # start, behind, first, last
    top = 0
    for span in [*sorted(whole, key=_by_size), *sorted(rest, key=_by_size)]:
        start = _smallest_gap(span, placed)
        insort(placed, (start, start + span.size, span.first, span.last))
        top = max(top, start + span.size)
    return top


def _by_size(span: _Span) -> tuple[int, int]:
    return -span.size, span.first


def _smallest_gap(span: _Span, placed: list[tuple[int, int, int, int]]) -> int:
    """Returns the smallest gap for a span between those that are in use at the same time."""
    best, best_gap, free = -1, -1, 0
    for start, behind, first, last in placed:
        if last < span.first or first > span.last:
            continue
        gap = start - free
        if gap >= span.size and (best < 0 or gap < best_gap):
            best, best_gap = free, gap
        free = max(free, -(-behind // ALIGNMENT) * ALIGNMENT)
    return free if best < 0 else best
