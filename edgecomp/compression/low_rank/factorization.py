"""Low-rank factorization: replaces layers by thinner ones, only where that costs less on the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from edgecomp.compression.data import example_inputs
from edgecomp.compression.likeness import likeness_of
from edgecomp.compression.low_rank.allocation import (
    Candidate,
    Choice,
    Options,
    candidate_of,
    harm,
    least_harmful,
    most_saving,
    options_of,
    with_energy,
)
from edgecomp.compression.low_rank.ranks import by_vbmf
from edgecomp.compression.low_rank.schemes import SCHEMES, SchemeName
from edgecomp.compression.low_rank.settings import KernelScheme, LowRank
from edgecomp.compression.low_rank.sites import find_sites, measure_inputs
from edgecomp.compression.protection import protector
from edgecomp.compression.replacement import replace_modules
from edgecomp.compression.size import macs
from edgecomp.errors import InputError
from edgecomp.step import Changed
from edgecomp.workbench import Workbench

#: The schemes for convolutions, by setting.
_KERNELS: dict[KernelScheme, tuple[SchemeName, ...]] = {
    "auto": ("tucker", "spatial"),
    "tucker": ("tucker",),
    "spatial": ("spatial",),
    "cp": ("cp",),
    "none": (),
}


def factorize(module: torch.nn.Module, bench: Workbench, settings: LowRank) -> Changed:
    """Factorizes the layers of a module, in place.

    module: The module to factorize.
    bench: Provides example inputs, the target, and the calibration data by which errors are weighted.
        settings: See `LowRank`.

    The module, and as facts the scheme and ranks of every factorized layer.
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
        measure_inputs(module, sites, batches)
    multiple = bench.target.cpu.simd_channels if settings.multiple == "target" else settings.multiple
    names: tuple[SchemeName, ...] = (*(("svd",) if settings.matrices else ()), *_KERNELS[settings.kernels])
    candidates = []
    for done, site in enumerate(sites):
        bench.progress("singular values", done, len(sites))
        candidates += [candidate_of(site, name, multiple) for name in names if SCHEMES[name].suits(site)]
    bench.progress("singular values", len(sites), len(sites))
    whole = macs(module, bench.source.inputs)
    choices = _choose(candidates, whole, settings, _damage(module, bench, settings), subject)
    replace_modules(module, {each.site.layer: each.build() for each in choices})
    facts = {choice.site.path: {"scheme": choice.scheme, "ranks": list(choice.ranks)} for choice in choices}
    return Changed(module, {"factorized": facts, "kept": round(1 - sum(each.saved for each in choices) / whole, 4)})


#: Returns the cost of losing each layer's output energy.
Damage = Callable[[Options], Mapping[str, float]]


def _damage(module: torch.nn.Module, bench: Workbench, settings: LowRank) -> Damage:
    if bench.calibration is None or not settings.samples:
        return lambda options: dict.fromkeys(options, 1.0)
    return lambda options: harm(module, options, likeness_of(bench, settings.samples), bench.progress)


def _choose(
    candidates: Sequence[Candidate], whole: int, settings: LowRank, damage: Damage, subject: str
) -> list[Choice]:
    """Decides how each layer is factorized, by the settings' rule for ranks.

    Raises:
        InputError: Even with the smallest ranks the cost is above the budget.
    """
    if settings.ranks != "budget":
        return most_saving(candidates, by_vbmf if settings.ranks == "vbmf" else with_energy(settings.energy))
    options = options_of(candidates)
    budget = settings.keep * whole
    smallest = whole - sum(max(choice.saved for choice in choices) for choices in options.values())
    if smallest > budget:
        raise InputError(
            subject,
            expected=f"at most {budget:.0f} multiplications, {settings.keep:.1%} of {whole}",
            actual=f"the smallest is {smallest}, {smallest / whole:.1%}",
            cure=f"set keep to {smallest / whole + 0.0005:.3f} or more, or allow more layers",
        )
    return least_harmful(options, damage(options), whole - budget)
