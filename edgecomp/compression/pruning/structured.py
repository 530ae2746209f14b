"""Structured pruning: what is removed is gone from the file and from the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import torch

from edgecomp.compression.pruning import costs, selection
from edgecomp.compression.pruning.attention import separate_attention
from edgecomp.compression.pruning.channels import ChannelPruning
from edgecomp.compression.pruning.coupling import Coupling, Member, Removed
from edgecomp.compression.pruning.criteria import judge
from edgecomp.compression.pruning.data import evidence_of, example_inputs
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
    coupling = prunable(module, example_inputs(bench), protection(module, settings.protected, subject), subject)
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


def protection(module: torch.nn.Module, patterns: Sequence[str], subject: str) -> Pin:
    """Keeps the outputs of layers.

    Args:
        module: Has the layers.
        patterns: Their paths, with * and ?.
        subject: For the error.

    Raises:
        InputError: There is no such layer.
    """
    layers = {path.rpartition(".")[0] for path, _ in module.named_parameters()}
    for pattern in patterns:
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            raise InputError(
                f"{subject}: protected = {pattern!r}",
                expected="the path of a layer with weights, with * and ?",
                actual=f"no such layer among {', '.join(sorted(layers)[:8])}{', ...' if len(layers) > 8 else ''}",
                cure="correct it",
            )

    def pinned(member: Member) -> str | None:
        layer = member.tensor.rpartition(".")[0]
        return "protected" if member.axis == 0 and any(fnmatchcase(layer, each) for each in patterns) else None

    return pinned


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
