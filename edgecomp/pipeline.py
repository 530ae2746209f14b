"""The main job: a source in, a folder of verified artifacts out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from edgecomp import manifest
from edgecomp.acceptance import check_float, check_operators, check_own_integers, check_sizes
from edgecomp.arrays import Arrays
from edgecomp.converter import Conversion, ConversionOptions, available_formats, load_converter
from edgecomp.data import CalibrationData, EvaluationData, collect_calibration, collect_evaluation
from edgecomp.diagnosis.advice import advice, mended_by, rejection, remarks
from edgecomp.diagnosis.doubts import doubts
from edgecomp.errors import UnsupportedOperatorError
from edgecomp.forecast import Forecast, forecast_format
from edgecomp.frontends import Source
from edgecomp.frontends.constants import Constants
from edgecomp.loading import Brought, Data, load
from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.model import CompressedModel
from edgecomp.options import Options, resolve, tolerance_of
from edgecomp.precision import Precision, Support, check_support
from edgecomp.preparation import float_size, prepare
from edgecomp.processing import describe_processing
from edgecomp.progress import Progress, silent
from edgecomp.quantization.static import StaticQuantization
from edgecomp.quantization.synthetic import synthetic_inputs
from edgecomp.recipe import Recipe
from edgecomp.restriction import written_for_multiples
from edgecomp.shapes import Shapes
from edgecomp.stand_ins import stand_ins
from edgecomp.system.folder import atomic_folder, check_free
from edgecomp.target import TargetProfile
from edgecomp.verification import golden
from edgecomp.verification.complete import output_steps, verify_completely
from edgecomp.verification.result import Verification
from edgecomp.verification.samples import Batches, Metric, Samples, Unlabelled
from edgecomp.verification.tolerance import Tolerance
from edgecomp.workbench import Workbench, no_training_data

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Result:
    """What `compress` made.

    Attributes:
        folder: The result folder.
        manifest: Its manifest, as plain data.
        model: The compressed model.
        verification: The agreement matrix.
        artifacts: Format -> file.
        source_size: Bytes of the float model as ONNX, to compare sizes with.
    """

    folder: Path
    manifest: Mapping[str, Any]
    model: CompressedModel
    verification: Verification
    artifacts: Mapping[str, Path]
    source_size: int


@dataclass(frozen=True)
class Quantized:
    """A model as `compress` would convert it.

    Attributes:
        source: Short name of the source.
        model: Rounded as the recipe says.
        unrounded: The same before that.
        batches: What it was calibrated with, or what stands in for that.
        metric: The task's metric.
        samples: What artifacts would be compared on.
        notes: What was assumed, as whole sentences.
        options: How it would be converted.
    """

    source: str
    model: CompressedModel
    unrounded: CompressedModel
    batches: Batches
    metric: Metric | None
    samples: Samples
    notes: tuple[str, ...]
    options: ConversionOptions


@dataclass(frozen=True)
class _Attempt:
    """A model with its artifacts, in tolerance or not."""

    model: CompressedModel
    conversions: Mapping[str, Conversion]
    verification: Verification


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
        evaluation: `(inputs, labels)` items: `file.py:function`, or a function that opens them; by default the task's
            `evaluation_data()`.
        training: `(inputs, labels)` items for the steps that train, likewise; by default the task's `train_data()`.
        preprocess: How pictures become inputs, "resize=256,crop=224,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"; by
            default the task's `preprocessing()`.
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
        progress=progress,
    )
    tolerance = tolerance or tolerance_of(chosen, options.get("min_agreement"))
    return _Job(loaded, profile, chosen, output, tolerance, progress).run()


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
) -> _Job:
    profile, chosen = _resolve(target, recipe, {})
    loaded = load(source, seed=chosen.seed, progress=progress, **brought)
    return _Job(loaded, profile, chosen, Path(), Tolerance(), progress)


def _resolve(
    target: str | Path | TargetProfile | None, recipe: Recipe | str | Path | None, options: Options
) -> tuple[TargetProfile, Recipe]:
    profile, chosen = resolve(target, recipe, **options)
    check_support(chosen.precision, precision_tables(), chosen.formats, "the recipe")
    return profile, chosen


def conversion_options(recipe: Recipe, profile: TargetProfile) -> ConversionOptions:
    """What a recipe and a target mean for converters."""
    layout = recipe.export.io_layout
    return ConversionOptions(
        io_dtype=recipe.export.io_dtype,
        io_layout=None if layout == "auto" else layout,
        # ONNX Runtime's x86 kernels are made for unsigned activations, ARM's take either.
        activations="uint8" if profile.cpu.architecture == "x86_64" else "int8",
    )


class _Job:
    """One run of `compress`, step by step."""

    def __init__(
        self,
        source: Source,
        target: TargetProfile,
        recipe: Recipe,
        output: Path,
        tolerance: Tolerance,
        progress: Progress,
    ) -> None:
        if recipe.training_steps and source.train_data is None:
            raise no_training_data(source.name, ", ".join(dict.fromkeys(recipe.training_steps)))
        self._source = self._brought = source
        self._target = target
        self._recipe = recipe
        self._output = output
        self._tolerance = tolerance
        self._progress = progress
        self._data: dict[str, Any] = {}
        self._notes = list(source.notes)
        self._unrounded: CompressedModel | None = None

    def run(self) -> Result:
        """All of it."""
        calibration, evaluation = self._calibration(), self._evaluation()
        bench = self._bench(calibration, evaluation)
        self._compress_module(bench)
        float_model = self._simplified(calibration, evaluation)
        processing = describe_processing(self._source, float_model.graph)
        options = replace(conversion_options(self._recipe, self._target), processing=processing)
        if self._recipe.graph_steps:  # long work; without it, converters will say the same at once
            check_operators(self._source.name, float_model, self._recipe.formats, options)
        samples = evaluation or Unlabelled(calibration if calibration is not None else self._stand_ins())
        known, data = len(self._notes), (calibration, evaluation)
        with atomic_folder(self._output) as staging:
            made = self._attempt(float_model, bench, staging.path, options, samples, data)
            if (cure := self._cure(made)) is not None:
                missed = made.verification.violations[0]
                self._notes[known:] = [f"Layers to keep in float were searched, since with integers alone {missed}."]
                self._recipe = self._recipe.with_mixed_precision(cure)
                made = self._attempt(float_model, bench, staging.path, options, samples, data)
            model, verification, conversions = made.model, made.verification, made.conversions
            content = manifest.build(
                source=self._source.name,
                target=self._target.name,
                precision=model.precision,
                conversions=conversions,
                verification=verification,
                provenance=model.provenance,
                notes=list(dict.fromkeys(self._notes)),
                data=self._data,
                processing=processing,
            )
            manifest.write(staging.path, content)
            (staging.path / "recipe.toml").write_text(self._recipe.to_toml(), encoding="utf-8")
            golden.write(staging.path, verification, output_steps(model))
            if verification.violations:
                staging.reject()
        if verification.violations:
            hint = advice(model, self._unrounded or float_model, tuple(islice(calibration or (), 4)), verification)
            raise rejection(
                f"{self._source.name} for {self._target.name}",
                verification,
                staging.target / manifest.FILE,
                hint,
                precision=model.precision,
                formats={conversion.path.name: name for name, conversion in conversions.items()},
            )
        if bench.checkpoints is not None:
            shutil.rmtree(bench.checkpoints, ignore_errors=True)
        files = {name: staging.target / conversion.path.name for name, conversion in conversions.items()}
        return Result(staging.target, content, model, verification, files, float_size(float_model))

    def _attempt(
        self,
        float_model: CompressedModel,
        bench: Workbench,
        folder: Path,
        options: ConversionOptions,
        samples: Samples,
        data: tuple[CalibrationData | None, EvaluationData | None],
    ) -> _Attempt:
        """Rounds, converts and verifies."""
        model = self._quantized(float_model, bench)
        self._notes.extend((*doubts(model, self._unrounded, *data), *remarks(model)))
        conversions = self._convert(model, folder, options)
        paths = [conversion.path for conversion in conversions.values()]
        found = self._verify(float_model, model, paths, samples)
        if found.restrictions:
            conversions |= written_for_multiples(conversions, model, found.restrictions, options)
            found = self._verify(float_model, model, paths, samples)
        self._notes.extend(note for conversion in conversions.values() for note in conversion.notes)
        return _Attempt(model, conversions, found)

    def _cure(self, made: _Attempt) -> MixedPrecision | None:
        """What may mend artifacts that integers alone brought out of tolerance, where nobody chose that already."""
        steps = self._recipe.graph_steps
        chosen = any(isinstance(step, MixedPrecision) and step.strict for step in steps)
        static = self._unrounded is not None and any(isinstance(step, StaticQuantization) for step in steps)
        if chosen or not static or self._recipe.training_steps:
            return None
        return mended_by(made.verification)

    def forecast(self) -> Forecast:
        """What would become of every node, up to the quantization and no further."""
        calibration = self._calibration()
        self._compress_module(self._bench(calibration))
        float_model = self._simplified(calibration)
        if calibration is None and self._recipe.graph_steps and not float_model.quantization:
            self._notes.append("There are no calibration data: the example inputs stand in for them.")
        model = self._quantized(float_model, self._bench(calibration if calibration is not None else self._stand_ins()))
        options = conversion_options(self._recipe, self._target)
        formats = []
        for done, name in enumerate(self._recipe.formats):
            self._progress("check", done, len(self._recipe.formats))
            formats.append(forecast_format(name, model, options))
        self._progress("check", len(formats), len(formats))
        return Forecast(self._source.name, model.precision, tuple(formats), tuple(self._notes))

    def quantized(self) -> Quantized:
        """The model, before and after it was rounded."""
        calibration, evaluation = self._calibration(), self._evaluation()
        bench = self._bench(calibration, evaluation)
        self._compress_module(bench)
        float_model = self._simplified(calibration, evaluation)
        model = self._quantized(float_model, bench)
        batches = calibration if calibration is not None else self._stand_ins()
        samples = evaluation or Unlabelled(batches)
        processing = describe_processing(self._source, float_model.graph)
        return Quantized(
            source=self._source.name,
            model=model,
            unrounded=self._unrounded or float_model,
            batches=batches,
            metric=self._source.metric,
            samples=samples,
            notes=tuple(self._notes),
            options=replace(conversion_options(self._recipe, self._target), processing=processing),
        )

    def _compress_module(self, bench: Workbench) -> None:
        """What comes before there is a graph."""
        if self._recipe.module_steps:
            from edgecomp.compression.run import compress_module

            self._source = compress_module(self._source, self._recipe.module_steps, bench)

    def _bench(
        self, calibration: CalibrationData | list[Arrays] | None, evaluation: EvaluationData | None = None
    ) -> Workbench:
        keeps = self._recipe.training_steps and self._output.name
        return Workbench(
            self._brought,
            self._target,
            seed=self._recipe.seed,
            calibration=calibration,
            progress=self._progress,
            evaluation=evaluation,
            training_samples=self._recipe.data.training_samples,
            checkpoints=self._output.with_name(f"{self._output.name}.training") if keeps else None,
            following=tuple(step for step in self._recipe.graph_steps if step.stage in {"precision", "refinement"}),
            formats=tuple(self._recipe.formats),
            options=conversion_options(self._recipe, self._target),
        )

    def _simplified(self, *data: CalibrationData | EvaluationData | None) -> CompressedModel:
        self._progress("simplify", 0, 1)
        model = prepare(self._source)
        self._notes.extend(model.provenance[-1].facts.get("notes", ()))
        if self._source.dynamic is not None:
            for each in (each for each in data if each is not None):
                check_sizes(self._source.name, each, model.dynamic, self._source.dynamic.example)
        self._progress("simplify", 1, 1)
        return model

    def _calibration(self) -> CalibrationData | None:
        made_up, opener = self._recipe.data.data_free, self._source.calibration_data
        if opener is None and not made_up:
            return None
        items = synthetic_inputs(self._source, self._recipe.seed) if made_up or opener is None else opener()
        limit = self._recipe.data.calibration_samples
        data = collect_calibration(items, self._source.input_specs, subject="the calibration data", limit=limit)
        self._data["calibration"] = {**data.facts, "synthetic": made_up}
        if made_up:
            self._notes.append(
                f"Ranges rest on {data.samples} made-up inputs, noise of mean 0 and variance 1, and on no real data: "
                "measure what that costs with evaluation data, or with `edgecomp verify --data`."
            )
        return data

    def _evaluation(self) -> EvaluationData | None:
        """Labelled data to compare artifacts on; without, the calibration data and the example have to do."""
        if self._source.evaluation_data is None:
            return None
        limit = self._recipe.data.evaluation_samples
        items = self._source.evaluation_data()
        data = collect_evaluation(items, self._source.input_specs, subject="the evaluation data", limit=limit)
        self._data["evaluation"] = data.facts
        return data

    def _stand_ins(self) -> list[Arrays]:
        batches, note = stand_ins(self._source, self._recipe.seed)
        self._notes.extend(note)
        return batches

    def _quantized(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        if model.quantization:
            check_own_integers(self._source.name, self._recipe.precision, model.precision)
            if self._recipe.graph_steps:
                self._notes.append("The model came quantized and keeps its integers: the recipe's steps had no effect.")
            return model
        if self._recipe.graph_steps:
            check_float(self._source.name, self._recipe.precision, model)
        for step in self._recipe.graph_steps:
            self._unrounded = model if step.stage == "precision" else self._unrounded
            model = step.apply(model, bench)
            self._recipe = self._recipe.settled(step, model.provenance[-1])
        return model

    def _convert(self, model: CompressedModel, folder: Path, options: ConversionOptions) -> dict[str, Conversion]:
        conversions = {}
        for done, name in enumerate(self._recipe.formats):
            self._progress("convert", done, len(self._recipe.formats))
            converter = load_converter(name)
            try:
                conversions[name] = converter.convert(model, folder / f"model{converter.suffixes[0]}", options)
            except UnsupportedOperatorError:
                check_operators(self._source.name, model, self._recipe.formats, options)  # names all that there is
                raise
        self._progress("convert", len(conversions), len(conversions))
        return conversions

    def _verify(
        self, float_model: CompressedModel, model: CompressedModel, artifacts: Sequence[Path], samples: Samples
    ) -> Verification:
        tolerance = self._tolerance.promised(model.precision)
        trained = [step.kind for step in self._recipe.graph_steps if step.kind in self._recipe.training_steps]
        if trained:
            tolerance = tolerance.of_the_simulation()
            self._notes.append(
                f"{trained[0]} trained the model after it was rounded: artifacts are held to the simulation, "
                "and the metric says how good it is."
            )
        self._progress("verify", 0, 1)
        found = verify_completely(
            self._source,
            float_model,
            model,
            artifacts,
            samples,
            tolerance=tolerance,
            seen=(self._data.get("evaluation") or self._data.get("calibration") or {}).get("sizes", {}),
            progress=lambda done, total: self._progress("verify", done, total),
        )
        if found.unfit and model.dynamic is not None:
            sizes = ", ".join(f"{name}={size}" for name, size in model.dynamic.example.items())
            self._notes.append(f"The data were cut or repeated to {sizes} for {', '.join(found.unfit)}.")
        return found


def precision_tables() -> dict[str, Mapping[Precision, Support]]:
    """Format -> what it does with every precision."""
    return {name: load_converter(name).precisions for name in available_formats()}
