"""Units: positions along tensor dimensions that have to be removed together.

Every position along every dimension of a stored tensor starts as a unit of its own. The rules of the operations (see
`rules`) join units that have to go together, and fix those that have to stay. A tensor's *labels* are one array of
units for each of its dimensions: position i along dimension d belongs to unit `labels[d][i]`. `FIXED` marks positions
that cannot be removed, such as pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Units = npt.NDArray[np.int64]

#: One array of units for each dimension.
Labels = tuple[Units, ...]

FIXED = 0


def fixed(size: int) -> Units:
    """Returns labels for positions that stay."""
    return np.zeros(size, np.int64)


class UnitTable:
    """Collects all units, the joins between them, and why some are fixed."""

    def __init__(self) -> None:
        self._count = 1
        self._joined: list[tuple[Units, Units]] = []
        self._reasons: list[tuple[Units, str]] = []

    def fresh(self, shape: Sequence[int]) -> Labels:
        """Returns labels for a stored tensor: a new unit for every position, none for dimensions of size 1."""
        labels = []
        for size in shape:
            labels.append(np.arange(self._count, self._count + size) if size > 1 else fixed(size))
            self._count += size if size > 1 else 0
        return tuple(labels)

    def join(self, first: Units, second: Units, where: str) -> None:
        """Joins positions one by one; a unit that is joined with a fixed position is fixed.

        Args:
            first: Units.
            second: As many units; they broadcast.
            where: The reason that is recorded for units fixed in this way.
        """
        first, second = np.broadcast_arrays(first, second)
        both = (first != FIXED) & (second != FIXED)
        self._joined.append((first[both].ravel(), second[both].ravel()))
        for units, other in ((first, second), (second, first)):
            self.fix(units[(other == FIXED) & (units != FIXED)], where)

    def fix(self, units: Units, reason: str) -> None:
        """Fixes these units."""
        units = units[units != FIXED]
        if units.size:
            self._reasons.append((units.ravel(), reason))

    def resolve(self) -> tuple[Units, dict[int, str]]:
        """Determines which units belong together.

        Returns:
            For every unit the smallest unit that it is joined with, or `FIXED`; and for every fixed unit the first
            reason.
        """
        root = self._components()
        reasons: dict[int, str] = {}
        for units, reason in self._reasons:
            for unit in np.unique(root[units]).tolist():
                reasons.setdefault(unit, reason)
        settled = root.copy()
        settled[np.isin(root, np.array(list(reasons), np.int64))] = FIXED
        return settled, {
            int(unit): reasons[int(root[unit])] for unit in np.flatnonzero((settled == FIXED) & (root > 0))
        }

    def _components(self) -> Units:
        """Returns the smallest unit of every connected component, by spreading labels along edges until they settle."""
        root = np.arange(self._count)
        if not self._joined:
            return root
        first, second = (np.concatenate(side) for side in zip(*self._joined, strict=True))
        while True:
            smallest = np.minimum(root[first], root[second])
            before = root.copy()
            np.minimum.at(root, root[first], smallest)
            np.minimum.at(root, root[second], smallest)
            root = root[root]
            if np.array_equal(root, before):
                return root
