"""Models that others trained and exported, by PyTorch, Paddle and TensorFlow: to every format, and they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from zoo import MODELS, Model, located

from edgecomp.arrays import Array
from edgecomp.artifact import from_stored, to_stored
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.frontends import load_source
from edgecomp.graph.absorb import absorb_quantization
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import StaticQuantization, quantize_static

pytestmark = pytest.mark.models

FORMATS = ("tflite", "onnxruntime", "mnn")
CALIBRATION, CHECKED = range(4, 16), range(4)


@dataclass(frozen=True)
class Prepared:
    """A model in both precisions, and what it gives for `CHECKED` inputs."""

    samples: Sequence[tuple[Array, ...]]
    original: Sequence[Sequence[Array]]
    simulated: Sequence[Sequence[Array]]
    models: dict[str, CompressedModel]


@cache
def prepared(model: Model) -> Prepared:
    constants = {name: (number,) for name, number in model.constants.items()}
    source = load_source(located(model.package, model.path), shapes=dict(model.shapes), constants=constants)
    specs = {spec.name: spec.shape for spec in source.input_specs}
    types = [spec.dtype for spec in source.input_specs]

    def draw(seed: int) -> tuple[Array, ...]:
        return tuple(array.astype(dtype) for array, dtype in zip(model.draw(seed, specs), types, strict=True))

    simple = simplify(absorb_quantization(CompressedModel(source.graph)))
    batches = (draw(seed) for seed in CALIBRATION)
    integers = simple if simple.quantization else quantize_static(simple, batches, StaticQuantization(), threads=1)
    samples = [draw(seed) for seed in CHECKED]
    simulation = Simulation(integers, threads=1)
    return Prepared(
        samples,
        [source.reference(sample) for sample in samples],
        [simulation.run(sample) for sample in samples],
        {"int8": integers} if simple.quantization else {"float": simple, "int8": integers},
    )


def outputs(
    model: CompressedModel, format_name: str, samples: Sequence[tuple[Array, ...]], path: Path
) -> list[list[Array]]:
    converter = load_converter(format_name)
    path = path / f"model{converter.suffixes[0]}"
    converter.convert(model, path, ConversionOptions())
    predictor = converter.open(path, 1)
    results = []
    for sample in samples:
        stored = [to_stored(array, spec) for array, spec in zip(sample, predictor.inputs, strict=True)]
        given = zip(predictor.run(stored), predictor.outputs, strict=True)
        results.append([from_stored(array, spec) for array, spec in given])
    return results


CASES = [
    pytest.param(model, precision, format_name, id=f"{model.name}-{precision}-{format_name}")
    for model in MODELS
    for precision in ("float", "int8")
    for format_name in FORMATS
    if not (precision == "float" and model.path.endswith("int8.onnx"))
]


@pytest.mark.parametrize(("model", "precision", "format_name"), CASES)
def test_artifacts_agree(model: Model, precision: str, format_name: str, tmp_path: Path) -> None:
    ready = prepared(model)
    compressed = ready.models[precision]
    given = outputs(compressed, format_name, ready.samples, tmp_path)
    expected = ready.original if precision == "float" else ready.simulated
    for index, value in enumerate(compressed.graph.graph.outputs):
        wanted, actual = (np.stack([sample[index] for sample in results]) for results in (expected, given))
        away = float(np.abs(wanted.astype(np.float64) - actual).max())
        if precision == "float":
            assert away / np.abs(wanted).max() <= model.accuracy.get(format_name, 1e-4)
            continue
        if model.deep:
            noise = float(((wanted.astype(np.float64) - actual) ** 2).sum())
            power = float((wanted.astype(np.float64) ** 2).sum())
            sqnr = 10 * np.log10(power / max(noise, 1e-12))
            assert sqnr >= model.sqnr.get(format_name, 20.0), f"{sqnr:.1f} dB"
            continue
        parameters = compressed.quantization.get(value.name or "")
        step = float(parameters.scale) if parameters is not None else float(np.abs(wanted).max()) / 255
        assert away <= 2.001 * step, f"{away / step:.2f} steps"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_memory_moves_only_where_the_algorithm_says_so(model: Model, tmp_path: Path) -> None:
    converter = load_converter("tflite")
    for precision, compressed in prepared(model).models.items():
        path = tmp_path / f"{precision}.tflite"
        converter.convert(compressed, path, ConversionOptions())
        moves = sum(entry.count for entry in converter.inspect(path).operators if entry.op_type == "TRANSPOSE")
        assert moves <= model.transposes, precision
