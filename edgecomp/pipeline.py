"""The main job: a source in, a folder of verified artifacts out. What happens in between is `job.Job`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from edgecomp.converter import available_formats, load_converter
from edgecomp.forecast import Forecast
from edgecomp.frontends import Source
from edgecomp.frontends.constants import Constants
from edgecomp.job import Job, Quantized, Result
from edgecomp.loading import Brought, Data, load
from edgecomp.options import Options, resolve, tolerance_of
from edgecomp.precision import Precision, Support, check_support
from edgecomp.progress import Progress, silent
from edgecomp.recipe import Recipe
from edgecomp.shapes import Shapes
from edgecomp.system.folder import check_free
from edgecomp.target import TargetProfile
from edgecomp.verification.metrics import Metrics
from edgecomp.verification.tolerance import Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["Quantized", "Result", "compress", "forecast", "precision_tables", "quantize"]


def compress(
    source: str | Path | torch.nn.Module | Source,
    target: str | Path | TargetProfile | None,
    output: str | Path,
    *,
    recipe: Recipe | str | Path | None = None,
    example_inputs: Any = None,
    shapes: Shapes | None = None,
    constants: Constants | None = None,
    calibration: Data | None = None,
    evaluation: Data | None = None,
    training: Data | None = None,
    preprocess: str | None = None,
    metric: str | Metrics | None = None,
    tolerance: Tolerance | None = None,
    progress: Progress = silent,
    **options: Unpack[Options],
) -> Result:
    """Compresses a model for a target, converts it, proves that the artifacts agree, and writes one folder.

    Args:
        source: A task file, `module:function`, `.pt2`, `.onnx`, a torch module, or what `load_source` gave.
        target: The name of a target profile, or the path of a TOML file; None for the recipe's.
        output: The folder to make; it must not exist.
        recipe: What to do, or the file that says it; by default what the target's profile says.
        example_inputs: For a torch module: a tuple of tensors.
        shapes: Input name -> shape, for dynamic inputs of an `.onnx` or `.pt2` file.
        constants: Input name -> numbers, for inputs of an `.onnx` file that are to be constants.
        calibration: Calibration items: an `.npz`, a folder of arrays or pictures, `file.py:function`, or a function
            that opens them; by default the task's `calibration_data()`.
        evaluation: `(inputs, labels)` items: a folder with one sub-folder of pictures for each class, an `.npz` with an
            array `labels`, `file.py:function`, or a function that opens them; by default the task's
            `evaluation_data()`.
        training: `(inputs, labels)` items for the steps that train, likewise; by default the task's `train_data()`.
        preprocess: How pictures become inputs, "resize=256,crop=224,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"; by
            default the task's `preprocessing()`.
        metric: What to measure on the evaluation data: "accuracy", or several names with commas, or `Metrics` with
            functions among them (see `edgecomp.verification.metrics`); by default the task's, and accuracy for pictures
            in classes.
        tolerance: What artifacts are held to; by default what the recipe promises, and no less than always.
        progress: Called as the work goes on.
        **options: What to change of the recipe, as on the command line: `precision="fp16"`, `effort="best"`,
            `min_agreement=0.99` ... (see `edgecomp.options.Options`).

    Returns:
        The result, after the folder was written.

    Raises:
        InputError: The source, the data, the target or the output cannot be used; nothing was written.
        ConversionError: A converter failed; nothing was written.
        VerificationError: An artifact is out of tolerance; the folder was written as `OUTPUT.rejected` instead.
    """
    output = Path(output)
    check_free(output)
    profile, chosen = _resolve(target, recipe, options)
    loaded = load(
        source,
        seed=chosen.seed,
        shapes=shapes,
        constants=constants,
        example_inputs=example_inputs,
        calibration=calibration,
        evaluation=evaluation,
        training=training,
        preprocess=preprocess,
        metric=metric,
        progress=progress,
    )
    tolerance = tolerance or tolerance_of(chosen, options.get("min_agreement"))
    return Job(loaded, profile, chosen, output, tolerance, progress).run()


def forecast(
    source: str | Path | torch.nn.Module | Source,
    target: str | Path | TargetProfile,
    *,
    recipe: Recipe | None = None,
    progress: Progress = silent,
    **brought: Unpack[Brought],
) -> Forecast:
    """Tells what `compress` would make of every node in every format; writes nothing. The arguments are the same.

    Which nodes run in integers depends on no number, so that the example inputs do where there are no calibration data.

    Raises:
        InputError: The source, the data or the target cannot be used.
    """
    return _job_without_output(source, target, recipe, progress, brought).forecast()


def quantize(
    source: str | Path | torch.nn.Module | Source,
    target: str | Path | TargetProfile,
    *,
    recipe: Recipe | None = None,
    progress: Progress = silent,
    **brought: Unpack[Brought],
) -> Quantized:
    """Goes as far as `compress` goes before it converts; writes nothing. The arguments are the same.

    Raises:
        InputError: The source, the data or the target cannot be used.
    """
    return _job_without_output(source, target, recipe, progress, brought).quantized()


def _job_without_output(
    source: str | Path | torch.nn.Module | Source,
    target: str | Path | TargetProfile,
    recipe: Recipe | None,
    progress: Progress,
    brought: Brought,
) -> Job:
    profile, chosen = _resolve(target, recipe, {})
    loaded = load(source, seed=chosen.seed, progress=progress, **brought)
    return Job(loaded, profile, chosen, Path(), Tolerance(), progress)


def _resolve(
    target: str | Path | TargetProfile | None, recipe: Recipe | str | Path | None, options: Options
) -> tuple[TargetProfile, Recipe]:
    profile, chosen = resolve(target, recipe, **options)
    check_support(chosen.precision, precision_tables(), chosen.formats, "the recipe")
    return profile, chosen


def precision_tables() -> dict[str, Mapping[Precision, Support]]:
    """Format -> what it does with every precision."""
    return {name: load_converter(name).precisions for name in available_formats()}
