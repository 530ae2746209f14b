"""Unrolls loops with a known number of turns, and computes both branches of an If."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable
from edgecomp.graph.query import turns_of


def loop(pieces: Pieces) -> Sequence[ir.Value | None]:
    """Replaces a Loop that only its limit ends by copies of its body."""
    body = pieces.node.attributes["body"].as_graph()
    count = turns_of(pieces.node)
    if count is None:
        raise Undecomposable("its number of turns is computed")
    size = sum(1 for _ in body.all_nodes())
    if count * size > pieces.most_nodes:
        raise Undecomposable(f"{count} turns of {size} nodes would be more than {pieces.most_nodes} nodes")
    carried = [pieces.input(index) for index in range(2, len(pieces.node.inputs))]
    collected: list[list[ir.Value]] = [[] for _ in body.outputs[len(carried) + 1 :]]
    for turn in range(count):
        index = pieces.value(np.array(turn, np.int64))
        running = pieces.value(np.array(True))
        _, *results = pieces.paste(body, [index, running, *carried], f"turn_{turn}")
        carried, slices = results[: len(carried)], results[len(carried) :]
        for stack, piece in zip(collected, slices, strict=True):
            stack.append(pieces("Unsqueeze", piece, np.array([0], np.int64)))
    if collected and not count:
        raise Undecomposable("it has no turn, and collects slices")
    return [*carried, *(pieces("Concat", *stack, axis=0) for stack in collected)]


def scan(pieces: Pieces) -> Sequence[ir.Value | None]:
    """Replaces a Scan by a Loop whose body gathers the slices."""
    node = pieces.node
    body = node.attributes["body"].as_graph()
    scanned = pieces.integer("num_scan_inputs", 1)
    states = [pieces.input(index) for index in range(len(node.inputs) - scanned)]
    sources = [pieces.input(index) for index in range(len(states), len(node.inputs))]

    def each(name: str, count: int) -> list[int]:
        return list(node.attributes.get_ints(name, []) or [0] * count)

    outputs = len(body.outputs) - len(states)
    axes, directions = each("scan_input_axes", scanned), each("scan_input_directions", scanned)
    ends, orders = each("scan_output_axes", outputs), each("scan_output_directions", outputs)
    count = pieces.shape(sources[0])[axes[0]]

    def turn(inner: Pieces, index: ir.Value, carried: list[ir.Value]) -> tuple[list[ir.Value], list[ir.Value]]:
        backwards = inner("Sub", count - 1, index) if any(directions) else index
        slices = [
            inner("Gather", source, backwards if direction else index, axis=axis)
            for source, axis, direction in zip(sources, axes, directions, strict=True)
        ]
        results = inner.paste(body, [*carried, *slices], "step")
        return results[: len(states)], results[len(states) :]

    results = list(pieces.loop(count, states, turn))
    for place in range(outputs):
        stacked = results[len(states) + place]
        if orders[place]:
            stacked = pieces.slice(stacked, 0, -1, np.iinfo(np.int64).min, -1)
        rank = len(pieces.shape(stacked))
        order = list(range(1, rank))
        order.insert(ends[place] % rank, 0)
        results[len(states) + place] = pieces.transpose(stacked, order)
    return results


def branches(pieces: Pieces) -> Sequence[ir.Value | None]:
    """Replaces an If by both of its branches and a Where that selects the results."""
    bodies = [pieces.node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    size = sum(1 for body in bodies for _ in body.all_nodes())
    if size > pieces.most_nodes:
        raise Undecomposable(f"its branches have {size} nodes, more than {pieces.most_nodes}")
    results = [pieces.paste(body, [], name) for body, name in zip(bodies, ("then", "else"), strict=True)]
    for yes, no in zip(*results, strict=True):
        if pieces.shape(yes) != pieces.shape(no):
            raise Undecomposable("its branches give different shapes")
    return [pieces("Where", pieces.input(0), yes, no) for yes, no in zip(*results, strict=True)]


DECOMPOSITIONS: dict[str, Decomposition] = {"If": branches, "Loop": loop, "Scan": scan}
