"""Decides which layers are factorized with which ranks: by a rule for each, or together within a budget.

1. Each layer has options: schemes and ranks. Each option saves multiplications and loses a share of the layer's output
   energy, which follows from its singular values.
2. The effect of such a loss on the network's outputs is measured once for each layer, with noise. It is assumed to be
   proportional to the loss, and to add up over layers.
3. Given a price on multiplications, every layer takes the option that is best for itself. The lowest price that meets
   the budget solves the whole problem (Everett, 1963).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgecomp.compression.likeness import Quality
from edgecomp.compression.low_rank.ranks import Floats, by_energy, lost_energy
from edgecomp.compression.low_rank.schemes import SCHEMES, Ranks, Rule, SchemeName, Work, original, spectrum
from edgecomp.compression.low_rank.sites import Site
from edgecomp.progress import Progress, silent

#: Shares of the energy that options keep, from nearly nothing to nearly everything.
_ENERGIES = tuple(1 - np.geomspace(0.9, 1e-4, 48))

#: The share of the energy at which a layer's harm is measured: small enough for the effect to be proportional, and
#: large enough to see it.
_PROBE = 0.05

#: The smallest harm of a probe: no layer is free, even if the samples do not show an effect.
_LEAST_HARM = 1e-6

#: How often the interval of prices is halved.
_HALVINGS = 60


@dataclass(frozen=True)
class Choice:
    """The chosen factorization of a layer.

    Attributes:
        site: The layer.
        scheme: How it is factorized.
        ranks: The ranks.
        saved: Multiplications that this saves.
        loss: The share of its output energy that is lost.
    """

    site: Site
    scheme: SchemeName
    ranks: Ranks
    saved: int
    loss: float

    def build(self) -> torch.nn.Sequential:
        """Builds the layers that replace the layer."""
        return SCHEMES[self.scheme].build(self.site, self.ranks)


#: Path of a layer -> its options; every layer has at least one.
Options = Mapping[str, Sequence[Choice]]


@dataclass(frozen=True)
class Candidate:
    """One way to factorize one layer.

    Attributes:
        site: The layer.
        name: The name of the scheme.
        multiple: Its ranks are multiples of this.
        spectra: The singular values that decide its ranks, with the shapes of their matrices.
    """

    site: Site
    name: SchemeName
    multiple: int
    spectra: tuple[tuple[Floats, int, int], ...]

    def choice(self, rule: Rule) -> Choice | None:
        """Applies a rule for ranks; None if the result costs as much or more on the target."""
        ranks = tuple(_rank(values, rows, columns, rule, self.multiple) for values, rows, columns in self.spectra)
        before, after = original(self.site), SCHEMES[self.name].work(self.site, ranks)
        if _total(after, self.multiple) >= before.macs(self.multiple):
            return None
        losses = (lost_energy(values, rank) for (values, _, _), rank in zip(self.spectra, ranks, strict=True))
        return Choice(self.site, self.name, ranks, before.macs() - _total(after), min(sum(losses), 1.0))


def candidate_of(site: Site, name: SchemeName, multiple: int) -> Candidate:
    """Computes the singular values of a layer for a scheme; this takes most of the time."""
    return Candidate(site, name, multiple, tuple(map(spectrum, SCHEMES[name].spectra(site))))


def with_energy(share: float) -> Rule:
    """Returns the rule that keeps a share of the squared singular values."""
    return lambda values, rows, columns: by_energy(values, share)


def most_saving(candidates: Sequence[Candidate], rule: Rule) -> list[Choice]:
    """Finds, for every layer, the scheme that saves most with the ranks of a rule."""
    best: dict[str, Choice] = {}
    for candidate in candidates:
        choice = candidate.choice(rule)
        if choice is not None and choice.saved > getattr(best.get(choice.site.path), "saved", 0):
            best[choice.site.path] = choice
    return list(best.values())


def options_of(candidates: Sequence[Candidate]) -> Options:
    """Lists all options of every layer that has some."""
    found: dict[str, dict[tuple[SchemeName, Ranks], Choice]] = {}
    for candidate in candidates:
        for share in _ENERGIES:
            choice = candidate.choice(with_energy(share))
            if choice is not None and choice.saved > 0:
                found.setdefault(choice.site.path, {})[choice.scheme, choice.ranks] = choice
    return {path: list(choices.values()) for path, choices in found.items()}


def harm(module: torch.nn.Module, options: Options, quality: Quality, progress: Progress = silent) -> dict[str, float]:
    """Estimates what losing all of a layer's output energy costs, extrapolated from a little noise on its outputs.

    It uses noise, not a factorized layer: a factorization keeps exactly the directions of the samples that it is
    measured on.

    Args:
        module: The module with the layers; left as it was.
        options: The options of each layer.
        quality: Measures a module.
        progress: Called after each measurement.

    Returns:
        Path of a layer -> loss of quality.
    """
    whole = quality(module)
    found = {}
    for done, (path, choices) in enumerate(options.items()):
        progress("damage", done, len(options))
        handle = choices[0].site.layer.register_forward_hook(_noise(torch.Generator().manual_seed(0)))
        found[path] = max(whole - quality(module), _LEAST_HARM) / _PROBE
        handle.remove()
    progress("damage", len(options), len(options))
    return found


def _noise(generator: torch.Generator) -> Any:
    """Returns a hook that adds noise with a share of the variance of a layer's outputs."""

    def add(layer: torch.nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(output.shape, generator=generator).to(output)
        return output + noise * math.sqrt(_PROBE) * output.std(correction=0)

    return add


def least_harmful(options: Options, harm: Mapping[str, float], goal: float) -> list[Choice]:
    """Selects the options that save enough multiplications with the least harm.

    Args:
        options: The options of each layer.
        harm: The cost of losing all of a layer's energy.
        goal: Multiplications to save; at most what the options can save.
    """

    def at(price: float) -> list[Choice]:
        best = (
            min(choices, key=lambda choice: (harm[path] * choice.loss - price * choice.saved, -choice.saved))
            for path, choices in options.items()
        )
        return [choice for choice in best if harm[choice.site.path] * choice.loss <= price * choice.saved]

    low, high = 0.0, 1.0
    while sum(choice.saved for choice in at(high)) < goal:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if sum(choice.saved for choice in at(middle)) >= goal else (middle, high)
    return at(high)


def _rank(values: Floats, rows: int, columns: int, rule: Rule, multiple: int) -> int:
    """Applies a rule: at least one, a multiple that suits the kernels, and at most full rank."""
    wanted = max(rule(values, rows, columns), 1)
    return min(math.ceil(wanted / multiple) * multiple, len(values))


def _total(works: Sequence[Work], multiple: int = 1) -> int:
    return sum(work.macs(multiple) for work in works)
