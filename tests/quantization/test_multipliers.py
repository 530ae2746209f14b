"""Scales are such that every kernel can multiply with their ratio; networks far from the limits keep theirs."""

from pathlib import Path

import numpy as np
import pytest
from graphs import batches, model_of, node, weights

import edgecomp
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import ConversionError
from edgecomp.model import CompressedModel
from edgecomp.quantization import multipliers, static
from edgecomp.quantization.groups import group_activations
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import quantize_static


def outweighed(factor: float) -> CompressedModel:
    """A channel many times as large as the others, which the layer behind makes up for; a Gelu is in between."""
    spread = np.array([factor, 1, 1], np.float32)[:, None, None, None]
    wide, narrow = weights(3, 3, 1, 1), weights(3, 3, 1, 1, seed=1)
    return model_of(
        node("Conv", "x w", "a"), node("Gelu", "a", "b"), node("Conv", "b v", "y"),
        w=wide * spread, v=narrow / spread.swapaxes(0, 1),
    )  # fmt: skip


def largest_ratio(model: CompressedModel) -> float:
    table = model.quantization
    return max(
        float(table[source].scale) * float(table[weight].scale.max()) / float(table[target].scale)
        for source, weight, target in (("x", "w", "a"), ("b", "v", "y"))
    )


@pytest.mark.parametrize("name", ["tflite", "onnxruntime", "mnn"])
def test_every_runtime_takes_what_one_channel_outweighs(name: str, tmp_path: Path) -> None:
    model = quantize_static(outweighed(1e6), batches(), threads=1)
    assert multipliers.LARGEST * 0.9 < largest_ratio(model) < 256
    converter = load_converter(name)
    path = tmp_path / f"model{converter.suffixes[0]}"
    converter.convert(model, path, ConversionOptions())
    (found,) = edgecomp.load(path).predict(batches()[0]).values()
    (expected,) = Simulation(model, threads=1).run(batches()[0])
    np.testing.assert_allclose(found, expected, atol=float(model.quantization["y"].scale) * 1.01)


def test_ordinary_networks_keep_their_scales() -> None:
    model = outweighed(3.0)
    table = quantize_static(model, batches(), threads=1).quantization
    groups = group_activations(model.graph.clone().graph)
    before = dict(table)
    assert multipliers.raise_output_scales(model.graph.graph, groups, table) == 0
    assert table == before


def test_a_whole_file_that_litert_refuses_is_not_called_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "raise_output_scales", lambda *_: 0)
    model = quantize_static(outweighed(1e6), batches(), threads=1)
    path = tmp_path / "model.tflite"
    load_converter("tflite").convert(model, path, ConversionOptions())
    with pytest.raises(ConversionError) as raised:
        edgecomp.load(path)
    assert raised.value.expected == "a model that LiteRT runs"
    assert "XNNPACK" in raised.value.actual
    assert "--shape" in raised.value.cure
    assert "--keep-float if it computes in integers" in raised.value.cure


def depthwise() -> CompressedModel:
    """Two values a channel for each step of the output, or a hundred."""
    spread = np.geomspace(0.02, 1, 64).astype(np.float32)[:, None, None, None]
    return model_of(
        node("Conv", "x w b", "y", group=64, pads=[1, 1, 1, 1]),
        w=weights(64, 1, 3, 3) * spread, b=weights(64, seed=1), shape=(1, 64, 5, 5),
    )  # fmt: skip


def test_zero_points_are_a_whole_odd_number_of_steps_of_a_depthwise_accumulator() -> None:
    table = quantize_static(depthwise(), batches(4, (1, 64, 5, 5)), threads=1).quantization
    source, weight, target = table["x"], table["w"], table["y"]
    ratio = source.scale.astype(np.float64) * weight.scale / target.scale
    whole = abs(int(target.zero_point)) / ratio
    concerned = whole > 32
    assert concerned.sum() > 40
    rest = whole[concerned] - np.floor(whole[concerned])
    assert (rest > 0).all()
    assert (rest < 0.002 + 1e-6 * whole[concerned]).all()
    assert (np.floor(whole[concerned]) % 2 == 1).all()
    largest = np.abs(weights(64, 1, 3, 3) * np.geomspace(0.02, 1, 64)[:, None, None, None]).max(axis=(1, 2, 3)) / 127
    assert (weight.scale >= largest * 0.9999).all()
    assert (weight.scale <= largest * 1.07).all()


def test_mnn_rounds_depthwise_convolutions_as_the_simulation_does(tmp_path: Path) -> None:
    data = batches(24, (1, 64, 5, 5))
    model = quantize_static(depthwise(), data, threads=1)
    path = tmp_path / "model.mnn"
    load_converter("mnn").convert(model, path, ConversionOptions())
    artifact, simulation = edgecomp.load(path), Simulation(model, threads=1)
    for batch in data:
        (found,) = artifact.predict(batch).values()
        np.testing.assert_array_equal(found, simulation.run(batch)[0])
