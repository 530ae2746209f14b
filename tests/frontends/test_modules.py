"""Every tensor can be followed back to the torch module that it came from, in the graph and in every artifact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgecomp.converter import ConversionOptions, available_formats, load_converter
from edgecomp.errors import UnsupportedOperatorError
from edgecomp.frontends import load_source
from edgecomp.graph.modules import module_of
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.system.quiet import quiet


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.feed = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.feed(self.norm(x))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(4, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU())
        self.blocks = nn.ModuleList([Block(), Block()])
        self.memory = nn.GRU(8, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        x = self.stem(sound).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.memory(x)[0][:, -1])


_OWNERS = ("stem.0", "blocks.0.attention", "blocks.1.norm", "blocks.1.feed.2", "memory", "head")


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture(scope="module")
def model(network: Network) -> CompressedModel:
    source = load_source(network, example_inputs=(torch.rand(1, 4, 12),))
    return simplify(CompressedModel(source.graph))


def test_every_node_of_the_simplified_graph_knows_its_module(network: Network, model: CompressedModel) -> None:
    known = {name for name, _ in network.named_modules()}
    found = {module_of(node) for node in model.graph.graph}
    assert found <= known
    assert found >= set(_OWNERS)
    assert not [node.name for node in model.graph.graph if str(node.name).startswith("node_")]


@pytest.mark.parametrize("format_name", available_formats())
def test_the_operators_of_an_artifact_name_their_modules(
    format_name: str, model: CompressedModel, network: Network, tmp_path: Path
) -> None:
    converter = load_converter(format_name)
    path = tmp_path / f"model{converter.suffixes[0]}"
    converter.convert(model, path, ConversionOptions())
    inspection = converter.inspect(path)
    assert [item.name for item in inspection.inputs] == ["sound"]
    assert [item.name for item in inspection.outputs] == ["output"]
    heavy = {inspection.contents.nodes[position].module for position in inspection.macs.by_node}
    assert heavy <= {name for name, _ in network.named_modules()}
    assert heavy >= {"stem.0", "blocks.1.feed.2", "head"}


@pytest.mark.parametrize("dynamo", [False, True])
def test_a_file_that_torch_exported_tells_its_modules(dynamo: bool, network: Network, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    example = (torch.rand(1, 4, 12),)
    with quiet():
        torch.onnx.export(network, example, path, dynamo=dynamo, input_names=["sound"], opset_version=20, verbose=False)
    graph = load_source(path).graph.graph
    found = {module_of(node) for node in graph if node.op_type in {"Conv", "Gemm", "GRU", "LayerNormalization"}}
    assert {"memory", "head"} <= found
    # A convolution and its normalization are one node, and the exporters differ in which of the two they name.
    assert found & {"stem.0", "stem.1"}


def test_an_error_names_the_module(tmp_path: Path) -> None:
    class Determinant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.det(x)

    network = nn.Sequential(nn.Linear(3, 3), nn.Sequential(Determinant()))
    model = simplify(CompressedModel(load_source(network, example_inputs=(torch.rand(1, 3, 3),)).graph))
    with pytest.raises(UnsupportedOperatorError, match=r"module 1\.0"):
        load_converter("tflite").convert(model, tmp_path / "model.tflite", ConversionOptions())
