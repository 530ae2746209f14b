"""One run of the main job, step by step: data, module, graph, rounding, artifacts, proof, folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from edgecomp import manifest
from edgecomp.acceptance import check_float, check_operators, check_own_integers, check_sizes
from edgecomp.arrays import Arrays
from edgecomp.converter import Conversion, ConversionOptions, load_converter
from edgecomp.data import CalibrationData, EvaluationData, collect_calibration, collect_evaluation
from edgecomp.diagnosis.advice import advice, lost_answers, mended_by, rejection, remarks
from edgecomp.diagnosis.doubts import doubts
from edgecomp.errors import UnsupportedOperatorError, VerificationError
from edgecomp.forecast import Forecast, forecast_format
from edgecomp.frontends import Source
from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.model import CompressedModel
from edgecomp.preparation import float_size, prepare
from edgecomp.processing import Processing, describe_processing
from edgecomp.progress import Progress
from edgecomp.quantization.static import StaticQuantization
from edgecomp.quantization.synthetic import synthetic_inputs
from edgecomp.recipe import Recipe
from edgecomp.restriction import written_for_fewer_sizes
from edgecomp.stand_ins import stand_ins
from edgecomp.system.folder import atomic_folder
from edgecomp.target import TargetProfile
from edgecomp.verification import golden
from edgecomp.verification.complete import output_steps, verify_completely
from edgecomp.verification.metrics import Metrics
from edgecomp.verification.result import Restriction, Verification
from edgecomp.verification.samples import Batches, Samples, Unlabelled
from edgecomp.verification.tolerance import Tolerance
from edgecomp.workbench import Workbench, no_training_data


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
        metrics: The task's metrics.
        samples: What artifacts would be compared on.
        notes: What was assumed, as whole sentences.
        options: How it would be converted.
    """

    source: str
    model: CompressedModel
    unrounded: CompressedModel
    batches: Batches
    metrics: Metrics | None
    samples: Samples
    notes: tuple[str, ...]
    options: ConversionOptions


@dataclass(frozen=True)
class _Start:
    """What there is before the model is rounded."""

    calibration: CalibrationData | None
    evaluation: EvaluationData | None
    bench: Workbench
    float_model: CompressedModel


@dataclass(frozen=True)
class _Attempt:
    """A model with its artifacts, in tolerance or not."""

    model: CompressedModel
    conversions: Mapping[str, Conversion]
    verification: Verification


def conversion_options(recipe: Recipe, profile: TargetProfile) -> ConversionOptions:
    """What a recipe and a target mean for converters."""
    layout = recipe.export.io_layout
    return ConversionOptions(
        io_dtype=recipe.export.io_dtype,
        io_layout=None if layout == "auto" else layout,
        # ONNX Runtime's x86 kernels are made for unsigned activations, ARM's take either.
        activations="uint8" if profile.cpu.architecture == "x86_64" else "int8",
    )


class Job:
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
        """All of it: the folder is written, or nothing is left behind."""
        start = self._prepare()
        options = self._options(start.float_model)
        if self._recipe.graph_steps:  # long work; without it, converters will say the same at once
            check_operators(self._source.name, start.float_model, self._recipe.formats, options)
        samples = start.evaluation or Unlabelled(self._batches(start.calibration))
        known = len(self._notes)
        with atomic_folder(self._output) as staging:
            made = self._attempt(start, staging.path, options, samples)
            if (cure := self._cure(made)) is not None:
                missed = made.verification.violations[0]
                self._notes[known:] = [f"Layers to keep in float were searched, since with integers alone {missed}."]
                self._recipe = self._recipe.with_mixed_precision(cure)
                made = self._attempt(start, staging.path, options, samples)
            content = self._write(staging.path, made, options)
            if made.verification.violations:
                staging.reject()
        if made.verification.violations:
            raise self._rejection(start, made, staging.target / manifest.FILE)
        if start.bench.checkpoints is not None:
            shutil.rmtree(start.bench.checkpoints, ignore_errors=True)
        files = {name: staging.target / conversion.path.name for name, conversion in made.conversions.items()}
        return Result(staging.target, content, made.model, made.verification, files, float_size(start.float_model))

    def forecast(self) -> Forecast:
        """What would become of every node, up to the quantization and no further."""
        calibration = self._calibration()
        self._compress_module(self._bench(calibration))
        float_model = self._simplified(calibration)
        if calibration is None and self._recipe.graph_steps and not float_model.quantization:
            self._notes.append("There are no calibration data: the example inputs stand in for them.")
        model = self._quantized(float_model, self._bench(self._batches(calibration)))
        options = conversion_options(self._recipe, self._target)
        formats = []
        for done, name in enumerate(self._recipe.formats):
            self._progress("check", done, len(self._recipe.formats))
            formats.append(forecast_format(name, model, options))
        self._progress("check", len(formats), len(formats))
        return Forecast(self._source.name, model.precision, tuple(formats), tuple(self._notes))

    def quantized(self) -> Quantized:
        """The model, before and after it was rounded."""
        start = self._prepare()
        model = self._quantized(start.float_model, start.bench)
        batches = self._batches(start.calibration)
        return Quantized(
            source=self._source.name,
            model=model,
            unrounded=self._unrounded or start.float_model,
            batches=batches,
            metrics=self._source.metrics,
            samples=start.evaluation or Unlabelled(batches),
            notes=tuple(self._notes),
            options=self._options(start.float_model),
        )

    def _prepare(self) -> _Start:
        """Draws the data, compresses the module, and simplifies its graph."""
        calibration, evaluation = self._calibration(), self._evaluation()
        bench = self._bench(calibration, evaluation)
        self._compress_module(bench)
        return _Start(calibration, evaluation, bench, self._simplified(calibration, evaluation))

    def _attempt(self, start: _Start, folder: Path, options: ConversionOptions, samples: Samples) -> _Attempt:
        """Rounds, converts and verifies."""
        float_model = start.float_model
        model = self._quantized(float_model, start.bench)
        self._notes.extend((*doubts(model, self._unrounded, start.calibration, start.evaluation), *remarks(model)))
        conversions = self._convert(model, folder, options)
        paths = [conversion.path for conversion in conversions.values()]
        found = self._verify(float_model, model, paths, samples)
        restrictions: dict[str, Restriction] = {}
        while found.restrictions:  # each time for fewer sizes
            for file, new in found.restrictions.items():
                restrictions[file] = restrictions[file].joined(new) if file in restrictions else new
            concerned = {file: restrictions[file] for file in found.restrictions}
            conversions |= written_for_fewer_sizes(conversions, model, concerned, options)
            found = self._verify(float_model, model, paths, samples)
        self._notes.extend(note for conversion in conversions.values() for note in conversion.notes)
        self._notes.extend(lost_answers(found, model.precision))
        return _Attempt(model, conversions, found)

    def _cure(self, made: _Attempt) -> MixedPrecision | None:
        """What may help artifacts that integers alone brought out of tolerance, where nobody chose that already."""
        steps = self._recipe.graph_steps
        chosen = any(isinstance(step, MixedPrecision) and step.strict for step in steps)
        static = self._unrounded is not None and any(isinstance(step, StaticQuantization) for step in steps)
        if chosen or not static or self._recipe.training_steps:
            return None
        return mended_by(made.verification)

    def _write(self, folder: Path, made: _Attempt, options: ConversionOptions) -> Mapping[str, Any]:
        """What lies beside the artifacts; gives the manifest."""
        content = manifest.build(
            source=self._source.name,
            target=self._target.name,
            precision=made.model.precision,
            conversions=made.conversions,
            verification=made.verification,
            provenance=made.model.provenance,
            notes=list(dict.fromkeys(self._notes)),
            data=self._data,
            processing=options.processing or Processing(),
        )
        manifest.write(folder, content)
        (folder / "recipe.toml").write_text(self._recipe.to_toml(), encoding="utf-8")
        golden.write(folder, made.verification, output_steps(made.model))
        return content

    def _rejection(self, start: _Start, made: _Attempt, file: Path) -> VerificationError:
        """What to say of artifacts that are out of tolerance, and what may help."""
        batches = tuple(islice(start.calibration or (), 4))
        hint = advice(made.model, self._unrounded or start.float_model, batches, made.verification)
        return rejection(
            f"{self._source.name} for {self._target.name}",
            made.verification,
            file,
            hint,
            precision=made.model.precision,
            formats={conversion.path.name: name for name, conversion in made.conversions.items()},
        )

    def _options(self, float_model: CompressedModel) -> ConversionOptions:
        """How to convert, with the steps around the model."""
        processing = describe_processing(self._source, float_model.graph)
        return replace(conversion_options(self._recipe, self._target), processing=processing)

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

    def _batches(self, calibration: CalibrationData | None) -> CalibrationData | list[Arrays]:
        """The calibration data, or what stands in for them."""
        if calibration is not None:
            return calibration
        batches, notes = stand_ins(self._source, self._recipe.seed)
        self._notes.extend(notes)
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
