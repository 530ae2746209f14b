"""Structured pruning: what is removed is gone from the file and from the clock."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgecomp.compression.data import example_inputs
from edgecomp.compression.protection import protector
from edgecomp.compression.pruning import costs, selection
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
        module: What is pruned.
        bench: The example inputs, the target, and the data that the criterion needs.
        settings: See `ChannelPruning`.

    Returns:
        The module, and as facts what of every group of channels is left, and why other layers were left alone.

    Raises:
        InputError: The budget cannot be met, a protected layer does not exist, or nothing can be removed.
        DataError: The criterion needs data that the task does not have.
    """
    subject = f"{bench.source.name}: the step {settings.kind}"
    bench.progress("find channels", 0, 1)
    separate_attention(module)
    pin = _pin(protector(module, settings.protected, subject))
    coupling = prunable(module, example_inputs(bench), pin, subject)
    bench.progress("find channels", 1, 1)
    scores = judge(evidence_of(module, coupling, bench, settings.criterion, settings.batches), settings.criterion)
    multiple = bench.target.cpu.simd_channels if settings.multiple == "target" else settings.multiple
    removed = choose(coupling, scores, settings, selection.Limits(multiple, settings.most), subject)
    cut(module, coupling, removed)
    return Changed(
        module,
        {
            "kept": {
                name: round(cost(coupling, removed) / cost(coupling, coupling.nothing()), 4)
                for name, cost in COSTS.items()
            },
            "channels": selection.widths(coupling, removed),
            "left_alone": dict(coupling.fixed),
        },
    )


def choose(
    coupling: Coupling, scores: Floats, settings: ChannelPruning, limits: selection.Limits, subject: str
) -> Removed:
    """What goes, so that the budget is met.

    Raises:
        InputError: Even with everything removed that may go, the cost is higher.
    """
    select = {"global": selection.ranked, "layer": selection.uniform}[settings.scope]

    def at(strength: float) -> Removed:
        return select(coupling, scores, strength, limits)

    if settings.of == "channels":
        return at(1 - settings.keep)
    measure = COSTS[settings.of]
    whole = measure(coupling, coupling.nothing())
    removed, cost = selection.within_budget(at, lambda each: measure(coupling, each), settings.keep * whole)
    if cost > settings.keep * whole:
        raise InputError(
            subject,
            expected=f"at most {settings.keep * whole:.0f} {settings.of}, {settings.keep:.1%} of {whole}",
            actual=f"the smallest is {cost}, {cost / whole:.1%}: {_obstacles(coupling, limits)}",
            cure=f"set keep to {cost / whole + 0.0005:.3f} or more, allow more with most or a smaller multiple, "
            "or protect fewer layers",
        )
    return removed


def _pin(protected: Callable[[str], bool]) -> Pin:
    """Keeps the outputs of protected layers."""
    return lambda member: "protected" if member.axis == 0 and protected(member.tensor.rpartition(".")[0]) else None


#: What a budget is in.
COSTS: dict[str, Callable[[Coupling, Removed], int]] = {"macs": costs.macs, "parameters": costs.parameters}


def _obstacles(coupling: Coupling, limits: selection.Limits) -> str:
    """What keeps a network from getting smaller."""
    if not coupling.groups:
        return "no channel can be removed; " + "; ".join(f"{path}: {why}" for path, why in coupling.fixed.items())
    return (
        f"{len(coupling.groups)} groups of channels in multiples of {limits.multiple}, "
        f"at most {limits.most:.0%} of each removed, and {len(coupling.fixed)} layers that stay"
    )
