"""Structured pruning: removed channels are gone from the file and from the clock."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from edgecomp.compression.data import example_inputs
from edgecomp.compression.protection import protector
from edgecomp.compression.pruning import costs, reconstruction, selection, sensitivity
from edgecomp.compression.pruning.attention import separate_attention
from edgecomp.compression.pruning.channels import ChannelPruning
from edgecomp.compression.pruning.coupling import Coupling, Removed
from edgecomp.compression.pruning.criteria import judge
from edgecomp.compression.pruning.data import evidence_of
from edgecomp.compression.pruning.evidence import Floats
from edgecomp.compression.pruning.proof import Pin, prunable
from edgecomp.compression.pruning.surgery import cut
from edgecomp.errors import InputError
from edgecomp.step import Changed
from edgecomp.workbench import Workbench


def prune_channels(module: torch.nn.Module, bench: Workbench, settings: ChannelPruning) -> Changed:
    """Removes the least valuable channels of a module, in place.

    Args:
        module: The module to prune.
        bench: Provides example inputs, the target, and the data that the criterion needs.
        settings: See `ChannelPruning`.

    Returns:
        The module, and as facts what is left of every group of channels, and why other layers were left alone.

    Raises:
        InputError: The budget cannot be met, a protected layer does not exist, or nothing can be removed.
        DataError: The criterion needs data that the task does not have.
    """
    subject = f"{bench.source.name}: the step {settings.kind}"
    coupling, scores = examine(module, bench, settings, subject)
    at_once = bench.target.cpu.simd_channels
    limits = selection.Limits(at_once if settings.multiple == "target" else settings.multiple, settings.most)
    facts: dict[str, Any] = {}
    if settings.scope == "sensitivity":
        shares = (*(share for share in _SHARES if share < settings.most), settings.most)
        quality = sensitivity.quality_of(bench, settings.samples)
        curves = sensitivity.measure(module, coupling, scores, shares, quality, bench.progress)
        select = partial(sensitivity.equally_harmful, coupling, scores, curves)
        facts["sensitivity"] = {group.name: curve.as_dict() for group, curve in curves.items()}
    else:
        select = partial(_SCOPES[settings.scope], coupling, scores)
    removed = choose(coupling, lambda strength: select(strength, limits), settings, limits, at_once, subject)
    if settings.scope == "global" and settings.of in COSTS:
        measure = partial(_cost_at, COSTS[settings.of], coupling, at_once)
        budget = settings.keep * measure(coupling.nothing())
        removed = selection.filled(coupling, scores, removed, limits, measure, budget)
    if settings.reconstruct:
        inputs = (tuple(map(torch.from_numpy, batch)) for batch in bench.calibration_batches("measure inputs"))
        seen = reconstruction.measure(module, reconstruction.losing(module, coupling, removed), inputs)
        reconstruction.fit(module, coupling, removed, seen)
        facts["reconstructed"] = list(seen)
    cut(module, coupling, removed)
    facts["kept"] = {
        name: round(cost(coupling, removed, at_once) / cost(coupling, coupling.nothing(), at_once), 4)
        for name, cost in COSTS.items()
    }
    facts |= {"channels": selection.widths(coupling, removed), "left_alone": dict(coupling.fixed)}
    return Changed(module, facts)


def examine(
    module: torch.nn.Module, bench: Workbench, settings: ChannelPruning, subject: str
) -> tuple[Coupling, Floats]:
    """Finds the removable units of a module, and scores them.

    Args:
        module: Its attention layers are replaced in place by equivalent ones whose heads can be removed.
        bench: See `prune_channels`.
        settings: Criterion and protected layers.
        subject: For error messages.
    """
    bench.progress("find channels", 0, 1)
    separate_attention(module)
    pin = _pin(protector(module, settings.protected, subject))
    coupling = prunable(module, example_inputs(bench), pin, subject)
    bench.progress("find channels", 1, 1)
    return coupling, judge(
        evidence_of(module, coupling, bench, settings.criterion, settings.batches), settings.criterion
    )


def choose(
    coupling: Coupling,
    select: Callable[[float], Removed],
    settings: ChannelPruning,
    limits: selection.Limits,
    at_once: int,
    subject: str,
) -> Removed:
    """Selects the units to remove so that the budget is met.

    Args:
        coupling: The module's coupled units.
        select: Strength in [0, 1] -> removed units.
        settings: The budget.
        limits: For the error message.
        at_once: How many channels the target's kernels compute at once.
        subject: For the error message.

    Raises:
        InputError: The cost exceeds the budget even if everything is removed that may be.
    """
    if settings.of == "channels":
        return select(1 - settings.keep)
    measure = COSTS[settings.of]
    whole = measure(coupling, coupling.nothing(), at_once)
    budget = settings.keep * whole
    removed, cost = selection.within_budget(select, lambda each: measure(coupling, each, at_once), budget)
    if cost > budget:
        raise InputError(
            subject,
            expected=f"at most {budget:.0f} {settings.of}, {settings.keep:.1%} of {whole}",
            actual=f"the smallest is {cost}, {cost / whole:.1%}: {_obstacles(coupling, limits)}",
            cure=f"set keep to {cost / whole + 0.0005:.3f} or more, allow more with most or a smaller multiple, "
            "or protect fewer layers",
        )
    return removed


def _pin(protected: Callable[[str], bool]) -> Pin:
    """Returns the rule that keeps the output channels of protected layers."""
    return lambda member: "protected" if member.axis == 0 and protected(member.tensor.rpartition(".")[0]) else None


def _cost_at(cost: Callable[[Coupling, Removed, int], int], coupling: Coupling, at_once: int, removed: Removed) -> int:
    return cost(coupling, removed, at_once)


#: Units of a budget: each returns the cost of what is left, on kernels that compute a number of channels at once.
COSTS: dict[str, Callable[[Coupling, Removed, int], int]] = {
    "macs": lambda coupling, removed, at_once: costs.macs(coupling, removed),
    "parameters": lambda coupling, removed, at_once: costs.parameters(coupling, removed),
    "bytes": lambda coupling, removed, at_once: costs.stored_bytes(coupling, removed),
    "latency": costs.tiled_macs,
}

_SCOPES = {"global": selection.ranked, "layer": selection.uniform}

#: Shares of a layer that sensitivity is measured for.
_SHARES = (0.25, 0.5, 0.75)


def _obstacles(coupling: Coupling, limits: selection.Limits) -> str:
    """Says what keeps a network from getting smaller."""
    if not coupling.groups:
        return "no channel can be removed; " + "; ".join(f"{path}: {why}" for path, why in coupling.fixed.items())
    return (
        f"{len(coupling.groups)} groups of channels in multiples of {limits.multiple}, "
        f"at most {limits.most:.0%} of each removed, and {len(coupling.fixed)} layers that stay"
    )
