"""Which channels go: the least valuable ones, in multiples that kernels like, until a budget is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgecomp.compression.pruning.coupling import Coupling, Group, Removed
from edgecomp.compression.pruning.evidence import Floats
from edgecomp.compression.pruning.units import Units

#: Halvings of the interval of strengths: more than enough to tell any two channels apart.
_HALVINGS = 40


@dataclass(frozen=True)
class Limits:
    """What must be left of every group.

    Attributes:
        multiple: Channels are left in multiples of this, where a group has that many.
        most: The largest share of a group that may go.
    """

    multiple: int = 1
    most: float = 0.9

    def step(self, group: Group) -> int:
        """How many units make a multiple."""
        return self.multiple // math.gcd(self.multiple, group.width)

    def kept(self, group: Group, wanted: float) -> int:
        """How many units of a group are left when so many are wanted: at least one multiple, and never none."""
        size = len(group.units)
        step = min(self.step(group), size)
        least = max(math.ceil(size * (1 - self.most) - 1e-9), 1)
        return min(step * math.ceil(max(wanted, least) / step - 1e-9), size)


def remove_shares(coupling: Coupling, scores: Floats, shares: Mapping[Group, float], limits: Limits) -> Removed:
    """Removes the least valuable units of every group.

    Args:
        coupling: The groups.
        scores: By unit.
        shares: Group -> which share of its units should go.
        limits: What is left in any case.
    """
    removed = coupling.nothing()
    for group in coupling.groups:
        size = len(group.units)
        count = size - limits.kept(group, size * (1 - shares.get(group, 0.0)))
        removed[_worst_first(group, scores)[:count]] = True
    return removed


def uniform(coupling: Coupling, scores: Floats, strength: float, limits: Limits) -> Removed:
    """The same share of every group."""
    return remove_shares(coupling, scores, dict.fromkeys(coupling.groups, strength), limits)


def ranked(coupling: Coupling, scores: Floats, strength: float, limits: Limits) -> Removed:
    """The least valuable share of all units, whatever group they are in."""
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
    """The weakest pruning that meets a budget.

    Args:
        choose: Strength in [0, 1] -> what goes; more with more strength.
        cost: Gives the cost of a choice.
        budget: The highest cost.

    Returns:
        The choice and its cost; above the budget only when even the strongest choice is.
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
    """Gives back what a budget has left: one strength for all layers seldom meets it, in multiples least of all.

    Args:
        coupling: The groups.
        scores: By unit; the most valuable multiples come back first.
        removed: Within the budget.
        limits: Have the multiple.
        cost: Gives the cost of a choice.
        budget: The highest cost.

    Returns:
        What goes.
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
    """The most valuable units that a group has lost, as many as make up its next multiple."""
    order = _worst_first(group, scores)
    lost = order[removed[order]]
    left = len(order) - len(lost)
    return lost[len(lost) - (limits.kept(group, left + 1) - left) :]


def widths(coupling: Coupling, removed: Removed) -> dict[str, list[int]]:
    """Group -> channels before and after, for the provenance."""
    return {
        group.name: [len(group.units) * group.width, int((~removed[group.units]).sum()) * group.width]
        for group in coupling.groups
    }


def _worst_first(group: Group, scores: Floats) -> Units:
    return group.units[np.argsort(scores[group.units], kind="stable")]
