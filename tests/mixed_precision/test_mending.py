"""What `diagnose` names, a float island mends; and every runtime computes islands as the simulation says."""

from pathlib import Path

import numpy as np
import pytest
from broken_nets import BROKEN, Broken

from edgecomp.artifact import from_stored, to_stored
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.diagnosis.errors import OutputError
from edgecomp.diagnosis.report import diagnose_model
from edgecomp.mixed_precision.islands import keep_in_float
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import quantize_static

#: Not mended by islands: data unlike those for calibration.
ELSEWHERE = {"cut-off"}


def rounded(broken: Broken, layers: list[str]) -> CompressedModel:
    model = broken.make()
    graph = model.graph.clone()
    keep_in_float(graph.graph, layers)
    return quantize_static(CompressedModel(graph), broken.calibration(), broken.settings, threads=1)


def exactness(broken: Broken, quantized: CompressedModel) -> float:
    original, simulation, error = Simulation(broken.make(), threads=1), Simulation(quantized, threads=1), OutputError()
    for batch in broken.calibration():
        error.add(original.run(batch), simulation.run(batch))
    return error.sqnr


def named(broken: Broken) -> list[str]:
    model = broken.make()
    quantized = rounded(broken, [])
    diagnosis = diagnose_model(quantized, model, broken.calibration()[:6], source="", target="", threads=1)
    return [layer.name for layer in diagnosis.harmful]


@pytest.mark.parametrize("name", sorted(set(BROKEN) - ELSEWHERE))
def test_the_named_layers_in_float_mend_the_net(name: str) -> None:
    broken = BROKEN[name]
    before, after = exactness(broken, rounded(broken, [])), exactness(broken, rounded(broken, named(broken)))
    assert before < 24
    assert after > 30
    assert after > before + 10


@pytest.mark.parametrize("format_name", ["tflite", "onnxruntime", "mnn"])
@pytest.mark.parametrize("name", ["swish-tail", "unlike-scales", "fixed-scale"])
def test_islands_compute_what_the_simulation_says(name: str, format_name: str, tmp_path: Path) -> None:
    broken = BROKEN[name]
    quantized = rounded(broken, named(broken)[:1])
    converter = load_converter(format_name)
    path = tmp_path / f"model{converter.suffixes[0]}"
    conversion = converter.convert(quantized, path, ConversionOptions())
    assert format_name == "mnn" or conversion.islands  # MNN tells of those that were to be integers
    predictor, simulation, error = converter.open(path, 1), Simulation(quantized, threads=1), OutputError()
    for batch in broken.calibration():
        stored = [to_stored(array, spec) for array, spec in zip(batch, predictor.inputs, strict=True)]
        found = [from_stored(a, spec) for a, spec in zip(predictor.run(stored), predictor.outputs, strict=True)]
        error.add(simulation.run(batch), found)
    assert error.sqnr > 35
    assert np.isfinite(error.ratio)
