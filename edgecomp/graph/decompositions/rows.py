"""Walks over the rows of tensors, such as the steps of a sequence, as loops of loops.

A runtime copies what a loop reads and collects on every turn, so that a loop over all rows takes time that grows with
their square. Turns that are loops over a block of rows copy little; turns of several rows that are written out save
most of what a turn costs by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Pieces

#: Rows that the innermost turn may make.
_MOST_ROWS = 8
#: Runtimes pack the constants of each row that is written out anew; beyond this many bytes they would leave the caches.
_MOST_BYTES = 1 << 20
#: Copying rows of this many bytes on every turn costs nothing to speak of.
_FEW_BYTES = 1 << 18

State = Sequence[ir.Value]
#: Makes one row: from the pieces, the row of each tensor and the state, it gives the new state and what is collected.
Row = Callable[[Pieces, Sequence[ir.Value], State], tuple[State, ir.Value]]


def blocks_of(rows: int, row_bytes: int, constants: int) -> tuple[int, ...]:
    """How many rows a turn takes, of the outermost loop first; the rows of the last block are written out.

    Args:
        rows: How many there are.
        row_bytes: The bytes of one row.
        constants: Bytes of the constants that a row multiplies with.
    """
    written_out = max(1, min(_MOST_ROWS, _MOST_BYTES // max(constants, 1)))
    if rows * row_bytes <= max(constants, _FEW_BYTES):
        return (written_out,)
    return (round(math.sqrt(rows / written_out)) * written_out, written_out)


def walk(
    pieces: Pieces, tensors: Sequence[ir.Value], initial: State, row: Row, blocks: Sequence[int]
) -> tuple[State, ir.Value]:
    """Walks over the first dimension of some tensors.

    Args:
        pieces: Where the pieces go.
        tensors: With as many rows each.
        initial: The state before the first row.
        row: See `Row`.
        blocks: See `blocks_of`; without any, all rows are written out.

    Returns:
        The state behind the last row, and what was collected, stacked.
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
    """The rows of a tensor, without the dimension of the rows."""
    count, *rest = pieces.shape(tensor)
    ones = np.ones(count, np.int64)
    rows = pieces.many("Split", tensor, ones, outputs=count, axis=0) if count > 1 else (tensor,)
    return [pieces.reshape(row, rest) for row in rows]


def _rows(pieces: Pieces, tensor: ir.Value, start: int, end: int) -> ir.Value:
    whole = (start, end) == (0, pieces.shape(tensor)[0])
    return tensor if whole else pieces.slice(tensor, 0, start, end)


def _grouped(pieces: Pieces, tensor: ir.Value, turns: int, size: int) -> ir.Value:
    return pieces.reshape(tensor, (turns, size, *pieces.shape(tensor)[1:]))
