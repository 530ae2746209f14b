"""Selects channels to remove: the least valuable ones, in multiples that suit the kernels, until a budget is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgecomp.compression.pruning.coupling import Coupling, Group, Removed
from edgecomp.compression.pruning.evidence import Floats
from edgecomp.compression.pruning.units import Units

#: How often the interval of strengths is halved: more than enough to tell any two channels apart.
_HALVINGS = 40


@dataclass(frozen=True)
class Limits:
    """The units that every group has to keep.

    Attributes:
        multiple: Channels are kept in multiples of this, in groups that have that many.
        most: The largest share of a group that may be removed.
    """

    multiple: int = 1
    most: float = 0.9

    def step(self, group: Group) -> int:
        """Returns how many units make up one multiple."""
        return self.multiple // math.gcd(self.multiple, group.width)

    def kept(self, group: Group, wanted: float) -> int:
        """Rounds the wanted number of units up to a multiple, within the limits; never zero."""
        size = len(group.units)
        step = min(self.step(group), size)
        least = max(math.ceil(size * (1 - self.most) - 1e-9), 1)
        return min(step * math.ceil(max(wanted, least) / step - 1e-9), size)


def remove_shares(coupling: Coupling, scores: Floats, shares: Mapping[Group, float], limits: Limits) -> Removed:
    """Removes the least valuable units of every group.

    Args:
        coupling: The groups.
        scores: By unit.
        shares: Group -> the share of its units to remove.
        limits: What every group has to keep.
    """
    removed = coupling.nothing()
    for group in coupling.groups:
        size = len(group.units)
        count = size - limits.kept(group, size * (1 - shares.get(group, 0.0)))
        removed[_worst_first(group, scores)[:count]] = True
    return removed


def uniform(coupling: Coupling, scores: Floats, strength: float, limits: Limits) -> Removed:
    """Removes the same share of every group."""
    return remove_shares(coupling, scores, dict.fromkeys(coupling.groups, strength), limits)


def ranked(coupling: Coupling, scores: Floats, strength: float, limits: Limits) -> Removed:
    """Removes the least valuable share of all units, across groups."""
    if not coupling.groups:
        return coupling.nothing()
    everything = np.sort(np.concatenate([scores[group.units] for group in coupling.groups]))
    count = round(strength * len(everything))
    threshold = everything[count] if count < len(everything) else np.inf
    shares = {group: float((scores[group.units] < threshold).mean()) for group in coupling.groups}
    return remove_shares(coupling, scores, shares, limits)


def within_budget(
    choose: Callable[[float], Removed], cost: Callable[[Removed], float], budget: float
) -> tuple[Removed, float]:
    """Finds the weakest pruning that meets a budget.

    Args:
        choose: Strength in [0, 1] -> removed units; a higher strength removes more.
        cost: Returns the cost of a selection.
        budget: The highest cost.

    Returns:
        The selection and its cost, which exceeds the budget only if that of the strongest selection does.
    """
    low, high = 0.0, 1.0
    best = choose(high)
    if cost(best) > budget:
        return best, cost(best)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        removed = choose(middle)
        if cost(removed) <= budget:
            high, best = middle, removed
        else:
            low = middle
    return best, cost(best)


def filled(
    coupling: Coupling,
    scores: Floats,
    removed: Removed,
    limits: Limits,
    cost: Callable[[Removed], float],
    budget: float,
) -> Removed:
    """Restores units while the budget allows it: one strength for all layers rarely uses it up, above all in multiples.

    Args:
        coupling: The groups.
        scores: By unit; the most valuable multiples are restored first.
        removed: A selection within the budget.
        limits: The multiple.
        cost: Returns the cost of a selection.
        budget: The highest cost.

    Returns:
        The units that are still removed.
    """
    removed = removed.copy()
    open_groups = {group for group in coupling.groups if removed[group.units].any()}
    while open_groups:
        nearest = {group: _next_back(group, scores, removed, limits) for group in open_groups}
        group = max(nearest, key=lambda each: (float(scores[nearest[each]].mean()), each.name))
        trial = removed.copy()
        trial[nearest[group]] = False
        if cost(trial) <= budget:
            removed = trial
        # What does not fit now never will.
        if cost(trial) > budget or not removed[group.units].any():
            open_groups.remove(group)
    return removed


def _next_back(group: Group, scores: Floats, removed: Removed, limits: Limits) -> Units:
    """Returns a group's most valuable removed units, as many as make up its next multiple."""
    order = _worst_first(group, scores)
    lost = order[removed[order]]
    left = len(order) - len(lost)
    return lost[len(lost) - (limits.kept(group, left + 1) - left) :]


def widths(coupling: Coupling, removed: Removed) -> dict[str, list[int]]:
    """Returns the channels of each group before and after, for the provenance."""
    return {
        group.name: [len(group.units) * group.width, int((~removed[group.units]).sum()) * group.width]
        for group in coupling.groups
    }


def _worst_first(group: Group, scores: Floats) -> Units:
    return group.units[np.argsort(scores[group.units], kind="stable")]
