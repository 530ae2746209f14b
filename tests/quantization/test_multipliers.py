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
    assert "--keep-float" in raised.value.cure
