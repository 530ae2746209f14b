"""Small networks from torch through every format: they agree, and in TFLite memory moves only where it has to."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import NETWORKS, Network
from running import run_artifact, run_graph

from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.frontends import load_source
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization.qdq import to_qdq
from edgecomp.quantization.static import StaticQuantization, quantize_static

FORMATS = ("tflite", "onnxruntime", "mnn")


@cache
def exported(network: Network) -> CompressedModel:
    torch.manual_seed(0)
    source = load_source(network.make().eval(), example_inputs=(torch.rand(network.shape),))
    return simplify(CompressedModel(source.graph))


@cache
def quantized(network: Network) -> CompressedModel:
    batches = [(data(network, seed),) for seed in range(1, 9)]
    return quantize_static(exported(network), batches, StaticQuantization("minmax"), threads=1)


def data(network: Network, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(network.shape).astype(np.float32)


def outputs(model: CompressedModel, network: Network, format_name: str, folder: Path) -> list[np.ndarray]:
    """What an artifact gives."""
    converter = load_converter(format_name)
    path = folder / f"model{converter.suffixes[0]}"
    converter.convert(model, path, ConversionOptions())
    return run_artifact(converter.open(path, 1), [data(network)])


def by_name(network: Network) -> str:
    return network.name


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("network", NETWORKS, ids=by_name)
def test_float_artifacts_agree(network: Network, format_name: str, tmp_path: Path) -> None:
    expected = run_graph(exported(network).graph, [data(network)])
    for wanted, given in zip(expected, outputs(exported(network), network, format_name, tmp_path), strict=True):
        assert np.abs(wanted - given).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("network", NETWORKS, ids=by_name)
def test_integer_artifacts_follow_the_simulation(network: Network, format_name: str, tmp_path: Path) -> None:
    model = quantized(network)
    simulated = run_graph(to_qdq(model), [data(network)])
    given = outputs(model, network, format_name, tmp_path)
    for value, wanted, result in zip(model.graph.graph.outputs, simulated, given, strict=True):
        parameters = model.quantization.get(value.name or "")
        step = float(parameters.scale) if parameters is not None else float(np.abs(wanted).max()) / 255
        assert np.abs(wanted - result).max() <= network.steps * step * 1.001


@pytest.mark.parametrize("precision", ["float", "int8"])
@pytest.mark.parametrize("network", NETWORKS, ids=by_name)
def test_memory_moves_only_where_the_algorithm_says_so(network: Network, precision: str, tmp_path: Path) -> None:
    model = exported(network) if precision == "float" else quantized(network)
    converter = load_converter("tflite")
    converter.convert(model, tmp_path / "model.tflite", ConversionOptions())
    operators = converter.inspect(tmp_path / "model.tflite").operators
    assert sum(entry.count for entry in operators if entry.op_type == "TRANSPOSE") == network.transposes
