"""What is only joined for the outputs is joined in float, so that scores beside boxes in pixels survive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from edgecomp.converter import ConversionOptions, available_formats, load_converter
from edgecomp.frontends import load_source
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization.joins import keep_joins_in_float
from edgecomp.quantization.scheme import PRECISION_KEY
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import quantize_static


class Detector(nn.Module):
    """Boxes in pixels and scores from 0 to 1 in one output."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes, self.scores = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([300 * self.boxes(x), self.scores(x).clamp(0, 1)], 1).flatten(2)


@pytest.fixture(scope="module")
def batches() -> list[tuple[np.ndarray]]:
    return [(np.random.default_rng(seed).random((1, 3, 8, 8), np.float32),) for seed in range(4)]


@pytest.fixture(scope="module")
def detector() -> CompressedModel:
    torch.manual_seed(0)
    return simplify(CompressedModel(load_source(Detector().eval(), example_inputs=(torch.rand(1, 3, 8, 8),)).graph))


def test_scores_beside_boxes_survive(detector: CompressedModel, batches: list[tuple[np.ndarray]]) -> None:
    real = Simulation(detector).run(batches[0])[0]
    found = Simulation(quantize_static(detector, batches)).run(batches[0])[0]
    assert np.abs(real - found)[:, 4:].max() < 0.02


@pytest.mark.parametrize("name", available_formats())
def test_they_survive_in_every_format(
    name: str, detector: CompressedModel, batches: list[tuple[np.ndarray]], tmp_path: Path
) -> None:
    model = quantize_static(detector, batches)
    expected = Simulation(model).run(batches[0])[0]
    converter = load_converter(name)
    file = converter.convert(
        model, tmp_path / f"model{converter.suffixes[0]}", ConversionOptions(io_layout="nchw")
    ).path
    found = converter.open(file).run(batches[0])[0]
    assert np.abs(expected - found)[:, 4:].max() < 0.005


@pytest.mark.parametrize(
    ("nodes", "joined"),
    [
        ([("Relu", "x", "a"), ("Concat", "a x", "b"), ("Transpose", "b", "y")], ["b"]),
        ([("Relu", "x", "a"), ("Concat", "a x", "b"), ("Concat", "b x", "y")], ["b", "y"]),
        ([("Relu", "x", "a"), ("Concat", "a x", "b"), ("Relu", "b", "y")], []),
        ([("Sigmoid", "x", "a"), ("Sigmoid", "x", "b"), ("Concat", "a b", "y")], []),
        ([("Sigmoid", "x", "a"), ("Relu", "x", "b"), ("Concat", "a b", "y")], ["y"]),
    ],
)
def test_what_computes_with_a_join_decides(nodes: list[tuple[str, str, str]], joined: list[str]) -> None:
    x, y, *inside = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None]) for name in "xyab")
    made = [
        helper.make_node(kind, inputs.split(), [output], output, **({"axis": 1} if kind == "Concat" else {}))
        for kind, inputs, output in nodes
    ]
    graph = ir.from_proto(helper.make_model(helper.make_graph(made, "g", [x], [y], value_info=inside))).graph
    assert keep_joins_in_float(graph) == len(joined)
    assert [node.name for node in graph if PRECISION_KEY in node.metadata_props] == joined
