"""Loops over the rows of tensors, such as the steps of a sequence, as nested loops.

A runtime copies the inputs and collected outputs of a loop on every turn, so a single loop over all rows takes
quadratic time. An outer loop whose turns are loops over blocks of rows copies little, and unrolling several rows in the
innermost turn saves most of the fixed cost of a turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Pieces

#: The largest number of rows to unroll in the innermost turn.
_MOST_ROWS = 8
#: Runtimes pack the constants again for each unrolled row; more bytes than this would not fit into the caches.
_MOST_BYTES = 1 << 20
#: Copying rows of this many bytes on every turn has no noticeable cost.
_FEW_BYTES = 1 << 18

State = Sequence[ir.Value]
#: Builds one row: from the pieces, the row of each tensor and the state, returns the new state and a value to collect.
Row = Callable[[Pieces, Sequence[ir.Value], State], tuple[State, ir.Value]]


def blocks_of(rows: int, row_bytes: int, constants: int) -> tuple[int, ...]:
    """Returns the number of rows per turn of each loop, outermost first; the last one is unrolled.

    Args:
        rows: The number of rows.
        row_bytes: The bytes of one row.
        constants: Bytes of the constants that a row is multiplied with.
    """
    written_out = max(1, min(_MOST_ROWS, _MOST_BYTES // max(constants, 1)))
    if rows * row_bytes <= max(constants, _FEW_BYTES):
        return (written_out,)
    return (round(math.sqrt(rows / written_out)) * written_out, written_out)


def walk(
    pieces: Pieces, tensors: Sequence[ir.Value], initial: State, row: Row, blocks: Sequence[int]
) -> tuple[State, ir.Value]:
    """Loops over the first dimension of tensors.

    Args:
        pieces: Collects the new nodes.
        tensors: Tensors with the same number of rows.
        initial: The state before the first row.
        row: See `Row`.
        blocks: See `blocks_of`; if empty, all rows are unrolled.

    Returns:
        The state after the last row, and the collected values, stacked.
    """
    count = pieces.shape(tensors[0])[0]
    if not blocks:
        return _written_out(pieces, tensors, initial, row)
    size, *smaller = blocks
    turns = count // size
    if turns <= 1:
        return walk(pieces, tensors, initial, row, smaller)
    looped = turns * size
    grouped = [_grouped(pieces, _rows(pieces, tensor, 0, looped), turns, size) for tensor in tensors]

    def turn(inner: Pieces, index: ir.Value, carried: list[ir.Value]) -> tuple[State, State]:
        mine = [inner("Gather", group, index, axis=0) for group in grouped]
        following, collected = walk(inner, mine, carried, row, smaller)
        return following, [collected]

    *state, stacked = pieces.loop(turns, initial, turn)
    stacked = pieces.reshape(stacked, (looped, *pieces.shape(stacked)[2:]))
    if looped == count:
        return state, stacked
    rest = [_rows(pieces, tensor, looped, count) for tensor in tensors]
    last, behind = walk(pieces, rest, state, row, smaller)
    return last, pieces("Concat", stacked, behind, axis=0)


def _written_out(pieces: Pieces, tensors: Sequence[ir.Value], initial: State, row: Row) -> tuple[State, ir.Value]:
    state, collected = initial, []
    first = np.array([0], np.int64)
    for slices in zip(*(_each(pieces, tensor) for tensor in tensors), strict=True):
        state, piece = row(pieces, slices, state)
        collected.append(pieces("Unsqueeze", piece, first))
    return state, collected[0] if len(collected) == 1 else pieces("Concat", *collected, axis=0)


def _each(pieces: Pieces, tensor: ir.Value) -> list[ir.Value]:
    """Returns the rows of a tensor, without the row dimension."""
    count, *rest = pieces.shape(tensor)
    ones = np.ones(count, np.int64)
    rows = pieces.many("Split", tensor, ones, outputs=count, axis=0) if count > 1 else (tensor,)
    return [pieces.reshape(row, rest) for row in rows]


def _rows(pieces: Pieces, tensor: ir.Value, start: int, end: int) -> ir.Value:
    whole = (start, end) == (0, pieces.shape(tensor)[0])
    return tensor if whole else pieces.slice(tensor, 0, start, end)


def _grouped(pieces: Pieces, tensor: ir.Value, turns: int, size: int) -> ir.Value:
    return pieces.reshape(tensor, (turns, size, *pieces.shape(tensor)[1:]))
