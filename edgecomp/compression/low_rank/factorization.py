"""Which layers are factorized, and how: only where that costs less on the target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from edgecomp.compression.data import example_inputs
from edgecomp.compression.low_rank.ranks import Floats, by_energy, by_vbmf
from edgecomp.compression.low_rank.schemes import SCHEMES, Ranks, Rule, SchemeName, Work, original, spectrum
from edgecomp.compression.low_rank.settings import KernelScheme, LowRank
from edgecomp.compression.low_rank.sites import Site, find_sites, measure_covariances
from edgecomp.compression.protection import protector
from edgecomp.compression.replacement import replace_modules
from edgecomp.compression.size import macs
from edgecomp.errors import InputError
from edgecomp.step import Changed
from edgecomp.workbench import Workbench

#: What convolutions may become, by setting.
_KERNELS: dict[KernelScheme, tuple[SchemeName, ...]] = {
    "auto": ("tucker", "spatial"),
    "tucker": ("tucker",),
    "spatial": ("spatial",),
    "cp": ("cp",),
    "none": (),
}

#: Halvings of the interval of energies in the search for a budget.
_HALVINGS = 30


@dataclass(frozen=True)
class Choice:
    """What becomes of a layer.

    Attributes:
        site: The layer.
        scheme: How it is factorized.
        ranks: With which ranks.
        saved: Multiplications that this saves.
    """

    site: Site
    scheme: SchemeName
    ranks: Ranks
    saved: int


def factorize(module: torch.nn.Module, bench: Workbench, settings: LowRank) -> Changed:
    """Factorizes the layers of a module, in place.

    Args:
        module: What is factorized.
        bench: The example inputs, the target, and calibration data when errors are to count by their inputs.
        settings: See `LowRank`.

    Returns:
        The module, and as facts the scheme and the ranks of every layer that was factorized.

    Raises:
        InputError: The budget cannot be met, or a protected layer does not exist.
    """
    subject = f"{bench.source.name}: the step {settings.kind}"
    inputs = example_inputs(bench)
    protected = protector(module, settings.protected, subject)
    sites = [site for site in find_sites(module, inputs) if not protected(site.path)]
    if settings.data_aware and settings.matrices and bench.calibration is not None:
        batches = (tuple(map(torch.from_numpy, batch)) for batch in bench.calibration_batches("measure inputs"))
        measure_covariances(module, sites, batches)
    multiple = bench.target.cpu.simd_channels if settings.multiple == "target" else settings.multiple
    names: tuple[SchemeName, ...] = (*(("svd",) if settings.matrices else ()), *_KERNELS[settings.kernels])
    candidates = []
    for done, site in enumerate(sites):
        bench.progress("singular values", done, len(sites))
        candidates += [candidate_of(site, name, multiple) for name in names if SCHEMES[name].suits(site)]
    bench.progress("singular values", len(sites), len(sites))
    whole = macs(module, bench.source.inputs)
    choices = _choose(candidates, whole, settings, subject)
    replace_modules(module, {each.site.layer: SCHEMES[each.scheme].build(each.site, each.ranks) for each in choices})
    facts = {choice.site.path: {"scheme": choice.scheme, "ranks": list(choice.ranks)} for choice in choices}
    return Changed(module, {"factorized": facts, "kept": round(1 - sum(each.saved for each in choices) / whole, 4)})


@dataclass(frozen=True)
class Candidate:
    """One way to factorize one layer.

    Attributes:
        site: The layer.
        name: Of the scheme.
        multiple: Of its ranks.
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
        return Choice(self.site, self.name, ranks, before.macs() - _total(after))


def candidate_of(site: Site, name: SchemeName, multiple: int) -> Candidate:
    """A way to factorize a layer, with its singular values, which take most of the time."""
    return Candidate(site, name, multiple, tuple(map(spectrum, SCHEMES[name].spectra(site))))


def _rank(values: Floats, rows: int, columns: int, rule: Rule, multiple: int) -> int:
    """The rank by a rule: at least one, in multiples that kernels like, at most all."""
    wanted = max(rule(values, rows, columns), 1)
    return min(math.ceil(wanted / multiple) * multiple, len(values))


def _total(works: Sequence[Work], multiple: int = 1) -> int:
    return sum(work.macs(multiple) for work in works)


def _choose(candidates: Sequence[Candidate], whole: int, settings: LowRank, subject: str) -> list[Choice]:
    """What becomes of the layers, by the settings' rule for ranks.

    Raises:
        InputError: Even with the smallest ranks the cost is above the budget.
    """
    if settings.ranks == "vbmf":
        return _best(candidates, by_vbmf)
    if settings.ranks == "energy":
        return _best(candidates, _with_energy(settings.energy))
    low, high = 0.0, 1.0
    best = _best(candidates, _with_energy(low))
    smallest = whole - sum(choice.saved for choice in best)
    if smallest > settings.keep * whole:
        raise InputError(
            subject,
            expected=f"at most {settings.keep * whole:.0f} multiplications, {settings.keep:.1%} of {whole}",
            actual=f"the smallest is {smallest}, {smallest / whole:.1%}",
            cure=f"set keep to {smallest / whole + 0.0005:.3f} or more, or allow more layers",
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        choices = _best(candidates, _with_energy(middle))
        if whole - sum(choice.saved for choice in choices) <= settings.keep * whole:
            low, best = middle, choices
        else:
            high = middle
    return best


def _best(candidates: Sequence[Candidate], rule: Rule) -> list[Choice]:
    """For every layer the way that saves most."""
    best: dict[str, Choice] = {}
    for candidate in candidates:
        choice = candidate.choice(rule)
        if choice is not None and choice.saved > getattr(best.get(choice.site.path), "saved", 0):
            best[choice.site.path] = choice
    return list(best.values())


def _with_energy(share: float) -> Callable[[Floats, int, int], int]:
    return lambda values, rows, columns: by_energy(values, share)
