"""The front door of `edgecomp diagnose`: from a source to a diagnosis."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from edgecomp import manifest
from edgecomp.diagnosis.artifacts import artifacts_of
from edgecomp.diagnosis.layers import layers_of
from edgecomp.diagnosis.report import Diagnosis, diagnose_model
from edgecomp.errors import InputError
from edgecomp.loading import Brought
from edgecomp.pipeline import quantize
from edgecomp.precision import NAMES
from edgecomp.progress import Progress, silent
from edgecomp.recipe import Recipe, load_recipe
from edgecomp.target import TargetProfile, load_target

if TYPE_CHECKING:
    import torch

    from edgecomp.frontends import Source

#: Precisions that do not round layers.
_UNROUNDED = frozenset({"fp32", "fp16"})


def diagnose(
    source: str | Path | torch.nn.Module | Source,
    target: str | Path | TargetProfile,
    *,
    recipe: Recipe | None = None,
    samples: int = 16,
    result: Path | None = None,
    progress: Progress = silent,
    **brought: Unpack[Brought],
) -> Diagnosis:
    """Finds which layers of the model that `compress` would make cause the error of its outputs, and why.

    It writes nothing.

    Args:
        source: See `compress`.
        target: See `compress`.
        recipe: See `compress`.
        samples: The number of batches of the calibration data to measure layers on.
        result: The result of `compress` for this source and recipe, to include its artifacts.
        progress: Called as the work goes on.
        **brought: The other arguments of `compress` about the source and its data.

    Raises:
        InputError: The source, the data, the target or the result cannot be used, or the recipe's precision does not
            round layers.
    """
    profile = load_target(target)
    made = quantize(source, profile, recipe=recipe, progress=progress, **brought)
    if not layers_of(made.model):
        raise InputError(
            f"{made.source}: precision {made.model.precision}",
            expected=f"a precision that rounds layers: {', '.join(name for name in NAMES if name not in _UNROUNDED)}",
            actual="no layer in integers",
            cure="leave out --precision, or give --precision int8",
        )
    artifacts = () if result is None else tuple(artifacts_of(result, made))
    diagnosis = diagnose_model(
        made.model,
        made.unrounded,
        tuple(islice(made.batches, samples)),
        source=made.source,
        target=profile.name,
        notes=made.notes,
        progress=progress,
    )
    return replace(diagnosis, artifacts=artifacts)


def target_and_recipe(folder: Path) -> tuple[TargetProfile, Recipe]:
    """Returns the target and the recipe of a result.

    Raises:
        InputError: The folder is not a result.
    """
    content = manifest.read(folder)
    return load_target(content["target"]), load_recipe(folder / "recipe.toml")
