"""The main job: a source in, a folder of verified artifacts out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgecomp import manifest
from edgecomp.artifact import load, to_stored
from edgecomp.converter import Array, Conversion, ConversionOptions, load_converter
from edgecomp.data import CalibrationData, collect_calibration, collect_evaluation
from edgecomp.errors import DataError, VerificationError
from edgecomp.folder import atomic_folder, check_free
from edgecomp.frontends import Source, load_source
from edgecomp.graph.absorb import absorb_quantization
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import quantize_static
from edgecomp.recipe import Recipe, default_recipe
from edgecomp.target import TargetProfile, load_target
from edgecomp.verification import Arrays, Samples, Tolerance, Verification, verify

if TYPE_CHECKING:
    import torch

#: Called with what is being done, and how much of how much is done.
Progress = Callable[[str, int, int], None]


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


def compress(
    source: str | Path | torch.nn.Module | Source,
    target: str | Path | TargetProfile,
    output: str | Path,
    *,
    recipe: Recipe | None = None,
    example_inputs: Any = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    calibration: Callable[[], Any] | None = None,
    evaluation: Callable[[], Any] | None = None,
    tolerance: Tolerance | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Result:
    """Compresses a model for a target, converts it, proves that the artifacts agree, and writes one folder.

    Args:
        source: A task file, `module:function`, `.pt2`, `.onnx`, a torch module, or what `load_source` gave.
        target: The name of a target profile, or the path of a TOML file.
        output: The folder to make; it must not exist.
        recipe: What to do; by default what the target's profile says.
        example_inputs: For a torch module: a tuple of tensors.
        shapes: Input name -> shape, for dynamic inputs of an `.onnx` or `.pt2` file.
        calibration: Opens calibration items; by default the task's `calibration_data()`.
        evaluation: Opens `(inputs, labels)` items; by default the task's `evaluation_data()`.
        tolerance: What artifacts are held to.
        progress: Called as the work goes on.

    Returns:
        The result, after the folder was written.

    Raises:
        InputError: The source, the data, the target or the output cannot be used; nothing was written.
        ConversionError: A converter failed; nothing was written.
        VerificationError: An artifact is out of tolerance; the folder was written as `OUTPUT.rejected` instead.
    """
    output = Path(output)
    check_free(output)
    profile = target if isinstance(target, TargetProfile) else load_target(target)
    recipe = recipe or default_recipe(profile)
    np.random.seed(recipe.seed)  # noqa: NPY002 (task files use numpy's global generator)
    progress("load", 0, 1)
    loaded = source if isinstance(source, Source) else load_source(source, shapes=shapes, example_inputs=example_inputs)
    progress("load", 1, 1)
    if calibration is not None:
        loaded = replace(loaded, calibration_data=calibration)
    if evaluation is not None:
        loaded = replace(loaded, evaluation_data=evaluation)
    return _Job(loaded, profile, recipe, output, tolerance or Tolerance(), progress).run()


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
        self._source = source
        self._target = target
        self._recipe = recipe
        self._output = output
        self._tolerance = tolerance
        self._progress = progress
        self._data: dict[str, Any] = {}

    def run(self) -> Result:
        """All of it."""
        float_model = self._simplified()
        calibration = self._calibration()
        samples = self._samples(calibration)
        model = self._quantized(float_model, calibration)
        with atomic_folder(self._output) as staging:
            conversions = self._convert(model, staging.path)
            verification = self._verify(model, [conversion.path for conversion in conversions.values()], samples)
            entries = tuple(self._entry(name, conversion) for name, conversion in conversions.items())
            content = manifest.build(
                source=self._source.name,
                target=self._target.name,
                precision=self._recipe.precision,
                artifacts=entries,
                verification=verification,
                provenance=model.provenance,
                notes=self._source.notes,
                data=self._data,
            )
            manifest.write(staging.path, content)
            (staging.path / "recipe.toml").write_text(self._recipe.to_toml(), encoding="utf-8")
            write_golden(staging.path, next(iter(samples))[0], self._source, model, [c.path for c in conversions.values()])
            if verification.violations:
                staging.reject()
        if verification.violations:
            raise self._rejection(verification, staging.target)
        files = {name: staging.target / conversion.path.name for name, conversion in conversions.items()}
        size = len(ir.to_proto(float_model.graph).SerializeToString())
        return Result(staging.target, content, model, verification, files, size)

    def _simplified(self) -> CompressedModel:
        self._progress("simplify", 0, 1)
        raw = CompressedModel(self._source.graph, provenance=(self._source.step,))
        model = simplify(absorb_quantization(raw))
        self._progress("simplify", 1, 1)
        return model

    def _calibration(self) -> CalibrationData | None:
        if self._source.calibration_data is None:
            return None
        limit = self._recipe.data.calibration_samples
        items = self._source.calibration_data()
        data = collect_calibration(items, self._source.input_specs, subject="the calibration data", limit=limit)
        self._data["calibration"] = {"samples": data.samples, "sha256": data.digest}
        return data

    def _samples(self, calibration: CalibrationData | None) -> Samples:
        """What artifacts are compared on: labelled data, else the calibration data, else the example."""
        if self._source.evaluation_data is not None:
            limit = self._recipe.data.evaluation_samples
            items = self._source.evaluation_data()
            data = collect_evaluation(items, self._source.input_specs, subject="the evaluation data", limit=limit)
            self._data["evaluation"] = {"samples": data.samples, "sha256": data.digest}
            return data
        return Unlabelled(calibration if calibration is not None else [self._source.inputs])

    def _quantized(self, model: CompressedModel, calibration: CalibrationData | None) -> CompressedModel:
        # A source that came with its own integers keeps them.
        if model.quantization or not self._recipe.steps:
            return model
        if calibration is None:
            raise DataError(
                f"{self._source.name}: the calibration data",
                expected="typical inputs, 100 or more, to measure the ranges of activations on",
                actual="none: the source has no calibration_data()",
                cure="add calibration_data() to the task, give --calibration, or ask for --precision fp32",
            )
        for settings in self._recipe.steps:
            total = len(calibration)
            counted = _counted(calibration, lambda done: self._progress("calibrate", done, total))
            model = quantize_static(model, counted, settings)
        return model

    def _convert(self, model: CompressedModel, folder: Path) -> dict[str, Conversion]:
        options = conversion_options(self._recipe, self._target)
        conversions = {}
        for done, name in enumerate(self._recipe.formats):
            self._progress("convert", done, len(self._recipe.formats))
            converter = load_converter(name)
            conversions[name] = converter.convert(model, folder / f"model{converter.suffixes[0]}", options)
        self._progress("convert", len(conversions), len(conversions))
        return conversions

    def _verify(self, model: CompressedModel, artifacts: Sequence[Path], samples: Samples) -> Verification:
        self._progress("verify", 0, 1)
        with _one_torch_thread():
            return verify(
                artifacts,
                self._source.reference,
                Simulation(model, threads=1).run if model.quantization else None,
                samples,
                outputs=[value.name or "" for value in model.graph.graph.outputs],
                steps=output_steps(model),
                metric=self._source.metric,
                tolerance=self._tolerance,
                progress=lambda done, total: self._progress("verify", done, total),
            )

    def _entry(self, name: str, conversion: Conversion) -> manifest.ArtifactEntry:
        artifact = load(conversion.path)
        return manifest.ArtifactEntry(
            format=name,
            file=conversion.path.name,
            sha256=manifest.sha256(conversion.path),
            size=conversion.path.stat().st_size,
            runtime=load_converter(name).runtime,
            inputs=artifact.inputs,
            outputs=artifact.outputs,
            islands=conversion.islands,
        )

    def _rejection(self, verification: Verification, kept: Path) -> VerificationError:
        first, *others = verification.violations
        more = f" (and {len(others)} more)" if others else ""
        return VerificationError(
            f"{self._source.name} for {self._target.name}",
            expected="artifacts that agree with the original and with the simulation",
            actual=f"{first}{more}",
            cure=f"look at {kept}/{manifest.FILE}; try more calibration data, another estimator, or --precision fp32",
        )


class Unlabelled:
    """Batches of inputs as verification wants them, without labels."""

    def __init__(self, batches: CalibrationData | list[Arrays]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Arrays, None]]:
        return ((batch, None) for batch in self._batches)


def output_steps(model: CompressedModel) -> dict[str, float]:
    """The quantization step of each quantized output."""
    names = [value.name or "" for value in model.graph.graph.outputs]
    return {name: float(model.quantization[name].scale) for name in names if name in model.quantization}


def write_golden(
    folder: Path, inputs: Arrays, source: Source, model: CompressedModel, artifacts: Sequence[Path]
) -> None:
    """Writes `golden.npz`: one sample, for devices to prove that they compute the same.

    It holds `inputs/NAME` and `outputs/NAME` of the original, and for each artifact, exactly as that file stores them,
    `FILE/inputs/INDEX` and `FILE/outputs/INDEX`.
    """
    graph = model.graph.graph
    arrays: dict[str, Array] = {f"inputs/{v.name}": array for v, array in zip(graph.inputs, inputs, strict=True)}
    expected = source.reference(inputs)
    arrays |= {f"outputs/{v.name}": array for v, array in zip(graph.outputs, expected, strict=True)}
    for path in artifacts:
        artifact = load(path)
        given = {value.name: array for value, array in zip(graph.inputs, inputs, strict=True)}
        results = artifact.predict(given)
        for part, specs, values in (("inputs", artifact.inputs, given), ("outputs", artifact.outputs, results)):
            for index, spec in enumerate(specs):
                arrays[f"{path.name}/{part}/{index}"] = to_stored(values[spec.name], spec)
    np.savez(folder / "golden.npz", **arrays)  # type: ignore[arg-type]


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Keeps torch, when it is loaded, from competing with the artifacts that run at the same time."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _counted(batches: Iterable[Arrays], tick: Callable[[int], None]) -> Iterator[Arrays]:
    for count, batch in enumerate(batches, start=1):
        yield batch
        tick(count)
