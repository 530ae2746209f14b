"""Islands of int16 activations: exact where int8 is coarse, the same in every format that has them, nowhere else."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
from graphs import batches, model_of, node, weights

import edgecomp
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import InputError
from edgecomp.frontends import Source
from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import quantize_static
from edgecomp.target import load_target
from edgecomp.verification.comparison import decibels
from edgecomp.workbench import Workbench


def coarse() -> CompressedModel:
    """One channel is large, and the layer behind does not read it: int8 is too coarse for the others."""
    wide, narrow = weights(3, 3, 1, 1), weights(3, 3, 1, 1, seed=1)
    wide[0] *= 100
    narrow[:, 0] = 0
    return model_of(
        node("Conv", "x w", "a"), node("Relu", "a", "b"), node("Conv", "b v", "c"), node("Relu", "c", "d"),
        node("Conv", "d u", "y"), w=wide, v=narrow, u=weights(3, 3, 1, 1, seed=2),
    )  # fmt: skip


def bench_for(*formats: str) -> Workbench:
    return Workbench(cast("Source", None), load_target("raspberry-pi-4b"), formats=formats)


def with_islands(*layers: str) -> CompressedModel:
    marked = MixedPrecision(layers=layers, island="int16x8").apply(coarse(), bench_for("tflite"))
    return quantize_static(marked, batches(), threads=1)


def sqnr(model: CompressedModel) -> float:
    run, exact = Simulation(model, threads=1).run, Simulation(coarse(), threads=1).run
    real, found = (np.stack([each(batch)[0] for batch in batches()]) for each in (exact, run))
    return decibels(float((real**2).sum()), float(((real - found) ** 2).sum()))


def test_an_island_is_exact_where_int8_is_coarse() -> None:
    plain, mended = with_islands(), with_islands("Conv_a")
    assert sqnr(mended) > sqnr(plain) + 10
    stored = {name: parameters.dtype for name, parameters in mended.quantization.items()}
    assert {name for name, dtype in stored.items() if dtype == "int16"} == {"x/as_int16x8", "a", "b", "c", "d"}
    assert (stored["x"], stored["d/as_int8"], stored["y"], stored["w"]) == ("int8", "int8", "int8", "int8")


def test_without_a_layer_nothing_changes() -> None:
    plain, other = quantize_static(coarse(), batches(), threads=1), with_islands()
    assert other.quantization == plain.quantization
    assert [each.name for each in other.graph.graph] == [each.name for each in plain.graph.graph]


@pytest.mark.parametrize("name", ["tflite", "onnxruntime"])
@pytest.mark.parametrize("layer", ["Conv_a", "Conv_y"])
def test_artifacts_compute_what_the_simulation_says(layer: str, name: str, tmp_path: Path) -> None:
    model = with_islands(layer)
    converter = load_converter(name)
    path = tmp_path / f"model{converter.suffixes[0]}"
    written = converter.convert(model, path, ConversionOptions())
    (found,) = edgecomp.load(path).predict(batches()[0]).values()
    (expected,) = Simulation(model, threads=1).run(batches()[0])
    np.testing.assert_allclose(found, expected, atol=float(model.quantization["y"].scale) * 1.01)
    reasons = {island.reason for island in written.islands}
    assert reasons == (set() if name == "tflite" else {"ONNX Runtime has no kernels of int16 activations"})


def test_a_format_without_int16_is_refused() -> None:
    with pytest.raises(InputError) as raised:
        MixedPrecision(layers=("Conv_a",), island="int16x8").apply(coarse(), bench_for("mnn", "tflite"))
    assert raised.value.actual == "mnn"
    assert raised.value.cure == "add --formats tflite"


def test_settings_that_say_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="one of float32, int16x8"):
        MixedPrecision(island="int4")  # type: ignore[arg-type]


def test_the_command_line_wants_to_know_of_which_layers(edgecomp: object, tmp_path: Path) -> None:
    result = edgecomp("compress", tmp_path / "net.onnx", "--target", "raspberry-pi-4b", "--island", "int16x8")  # type: ignore[operator]
    assert result.exit_code == 2
    assert "--keep-float" in result.stderr
