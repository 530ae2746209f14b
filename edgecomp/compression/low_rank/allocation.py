"""Which layers are factorized with which ranks: by a rule for each, or all together so that a budget does least harm.

1. Each layer has options: schemes and ranks, each with the multiplications that it saves and the share of the layer's
   output energy that it loses, which its singular values say.
2. What a loss in a layer does to the network's outputs is measured once for each layer, with noise, and taken to be
   proportional to the loss, and to add up over layers.
3. With a price on multiplications every layer takes the option that is best for itself. The lowest price that meets the
   budget is the solution of the whole (Everett, 1963).
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

#: Shares of the energy that options keep: from nearly nothing to nearly everything.
_ENERGIES = tuple(1 - np.geomspace(0.9, 1e-4, 48))

#: The share of the energy at which a layer's harm is measured: small enough for what follows to be proportional, and
#: large enough to see.
_PROBE = 0.05

#: What a probe costs at least: no layer is free, however little the samples say.
_LEAST_HARM = 1e-6

#: Halvings of the interval of prices.
_HALVINGS = 60


@dataclass(frozen=True)
class Choice:
    """What becomes of a layer.

    Attributes:
        site: The layer.
        scheme: How it is factorized.
        ranks: With which ranks.
        saved: Multiplications that this saves.
        loss: The share of its outputs' energy that is lost.
    """

    site: Site
    scheme: SchemeName
    ranks: Ranks
    saved: int
    loss: float

    def build(self) -> torch.nn.Sequential:
        """The layers that the layer becomes."""
        return SCHEMES[self.scheme].build(self.site, self.ranks)


#: Path of a layer -> what it may become; every layer has one option at least.
Options = Mapping[str, Sequence[Choice]]


@dataclass(frozen=True)
class Candidate:
    """One way to factorize one layer.

    Attributes:
        site: The layer.
        name: The name of the scheme.
        multiple: What its ranks are multiples of.
        spectra: Singular values that decide on its ranks, and the shapes of their matrices.
    """

    site: Site
    name: SchemeName
    multiple: int
    spectra: tuple[tuple[Floats, int, int], ...]

    def choice(self, rule: Rule) -> Choice | None:
        """The layer factorized with the ranks of a rule; None when that costs as much or more on the target."""
        ranks = tuple(_rank(values, rows, columns, rule, self.multiple) for values, rows, columns in self.spectra)
        before, after = original(self.site), SCHEMES[self.name].work(self.site, ranks)
        if _total(after, self.multiple) >= before.macs(self.multiple):
            return None
        losses = (lost_energy(values, rank) for (values, _, _), rank in zip(self.spectra, ranks, strict=True))
        return Choice(self.site, self.name, ranks, before.macs() - _total(after), min(sum(losses), 1.0))


def candidate_of(site: Site, name: SchemeName, multiple: int) -> Candidate:
    """A way to factorize a layer, with its singular values, which take most of the time."""
    return Candidate(site, name, multiple, tuple(map(spectrum, SCHEMES[name].spectra(site))))


def with_energy(share: float) -> Rule:
    """The ranks that keep a share of the squared singular values."""
    return lambda values, rows, columns: by_energy(values, share)


def most_saving(candidates: Sequence[Candidate], rule: Rule) -> list[Choice]:
    """For every layer the way that saves most, with the ranks of a rule."""
    best: dict[str, Choice] = {}
    for candidate in candidates:
        choice = candidate.choice(rule)
        if choice is not None and choice.saved > getattr(best.get(choice.site.path), "saved", 0):
            best[choice.site.path] = choice
    return list(best.values())


def options_of(candidates: Sequence[Candidate]) -> Options:
    """Everything that layers may become, for those that may become something."""
    found: dict[str, dict[tuple[SchemeName, Ranks], Choice]] = {}
    for candidate in candidates:
        for share in _ENERGIES:
            choice = candidate.choice(with_energy(share))
            if choice is not None and choice.saved > 0:
                found.setdefault(choice.site.path, {})[choice.scheme, choice.ranks] = choice
    return {path: list(choices.values()) for path, choices in found.items()}


def harm(module: torch.nn.Module, options: Options, quality: Quality, progress: Progress = silent) -> dict[str, float]:
    """What a loss of all of a layer's energy would cost, extrapolated from a little noise on its outputs.

    Noise, and not a factorized layer: that would keep exactly the directions of the samples that it is measured on.

    Args:
        module: Has the layers; it is as it was in the end.
        options: What layers may become.
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
    """A hook that adds noise with a share of the energy of a layer's outputs, their mean excepted."""

    def add(layer: torch.nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(output.shape, generator=generator).to(output)
        return output + noise * math.sqrt(_PROBE) * output.std(correction=0)

    return add


def least_harmful(options: Options, harm: Mapping[str, float], goal: float) -> list[Choice]:
    """The choices that save so many multiplications and do least harm.

    Args:
        options: What layers may become.
        harm: What the loss of all of a layer's energy costs.
        goal: Multiplications to be saved; at most what the options can save.
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
    """The rank by a rule: at least one, in multiples that kernels like, at most all."""
    wanted = max(rule(values, rows, columns), 1)
    return min(math.ceil(wanted / multiple) * multiple, len(values))


def _total(works: Sequence[Work], multiple: int = 1) -> int:
    return sum(work.macs(multiple) for work in works)
