"""Rows in an order that scores give them are compared with the rows that they stand for.

1. Scores are found among the outputs: they descend. Sorting never makes two lists of numbers more unlike, so that the
   largest difference between the sorted scores of two models tells how uncertain a score is.
2. A row may stand in another place, if its score differs from that place's score by no more than twice that.
3. A row whose score is that close to the last one's may be missing, since others were as good: there, the scores are
   compared and nothing else.
4. Scores are uncertain by at most `_UNCERTAIN` of their size. Everything else is compared as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgecomp.arrays import Array
from edgecomp.graph.rankings import Ranking

#: In relation to the largest score, or to 1 if that is larger, as it is where scores are probabilities.
_UNCERTAIN = 0.1

_Rows = npt.NDArray[np.float64]


def in_order_of(
    reference: Mapping[str, Array], candidate: Mapping[str, Array], rankings: Sequence[Ranking]
) -> dict[str, Array]:
    """One batch of a candidate's outputs with their rows in the places that the reference has them in.

    Args:
        reference: Output -> array.
        candidate: Likewise, of the same shapes.
        rankings: Which outputs have rows.

    Returns:
        The candidate's outputs; those without rows, and those that agree, are the arrays that were given.
    """
    found = dict(candidate)
    for ranking in rankings:
        names = [name for name in ranking.axes if name in reference]
        if not names or all(np.array_equal(reference[name], candidate[name]) for name in names):
            continue
        if any(reference[name].shape != candidate[name].shape for name in names):
            continue
        found |= _aligned(
            *({name: _by_row(given[name], ranking.axes[name]) for name in names} for given in (reference, candidate)),
            shapes={name: reference[name].shape for name in names},
        )
    return found


def _by_row(array: Array, axis: int) -> Array:
    """Shape (batch, rows, columns)."""
    return array.reshape(*(array.shape[:2] if axis else (1, len(array))), -1)


def _aligned(
    reference: Mapping[str, Array], candidate: Mapping[str, Array], *, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Array]:
    found = {name: array.copy() for name, array in candidate.items()}
    borders = np.cumsum([array.shape[2] for array in found.values()])[:-1]
    for sample in range(min(map(len, found.values()))):
        x, y = (
            np.concatenate([given[name][sample].astype(np.float64) for name in found], axis=1)
            for given in (reference, candidate)
        )
        for array, rows in zip(found.values(), np.split(_rows(x, y), borders, axis=1), strict=True):
            array[sample] = rows
    return {name: array.reshape(shapes[name]) for name, array in found.items()}


def _rows(x: _Rows, y: _Rows) -> _Rows:
    """The candidate's rows in the reference's places, and by rule 3 the reference's own with the candidate's scores."""
    scores = _scores(x)
    if scores is None:
        return y
    right, given = x[:, scores], y[np.argsort(-y[:, scores], kind="stable"), scores]
    limit = _UNCERTAIN * max(1.0, float(np.abs(right).max()))
    uncertain = 2 * min(float(np.abs(right - given).max()), limit)
    distance = _distances(x, y)
    distance[np.abs(right[:, None] - y[None, :, scores]) > uncertain] = np.inf
    rows = y[_matched(distance)]
    missing = right - right[-1] <= uncertain
    rows[missing] = x[missing]
    rows[missing, scores] = given[missing]
    return rows


def _scores(x: _Rows) -> int | None:
    """The column that descends; of several, the one with the most numbers. All may be equal where nothing was found."""
    descending = np.flatnonzero((np.diff(x, axis=0) <= 0).all(axis=0))
    distinct = [len(np.unique(x[:, column])) for column in descending]
    return int(descending[np.argmax(distinct)]) if distinct else None


def _distances(x: _Rows, y: _Rows) -> _Rows:
    """How far each row of the candidate is from each of the reference, in the column where they differ most."""
    x, y = np.nan_to_num(x), np.nan_to_num(y)
    farthest = np.zeros((len(x), len(y)))
    for right, given in zip(x.T, y.T, strict=True):
        span = float(np.ptp(right)) or max(1.0, float(np.abs(right).max()))
        np.maximum(farthest, np.abs(right[:, None] - given[None, :]) / span, out=farthest)
    return farthest


def _matched(distance: _Rows) -> npt.NDArray[np.intp]:
    """Pairs off rows, the closest first; where nothing may stand for a row, its own place does."""
    own = np.arange(len(distance))
    settled = (distance.diagonal() <= distance.min(axis=1)) & (distance.diagonal() <= distance.min(axis=0))
    places = own.copy()
    rows, columns = list(own[~settled]), list(own[~settled])
    left = distance[np.ix_(rows, columns)]
    while rows:
        row, column = np.unravel_index(np.argmin(left), left.shape)
        if not np.isfinite(left[row, column]):
            break
        places[rows.pop(row)] = columns.pop(column)
        left = np.delete(np.delete(left, row, axis=0), column, axis=1)
    places[rows] = columns
    return places
