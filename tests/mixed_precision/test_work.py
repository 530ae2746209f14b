"""How many batches each layer is measured on."""

from __future__ import annotations

from itertools import pairwise

import onnx_ir as ir
import pytest

from edgecomp.mixed_precision import search
from edgecomp.model import CompressedModel


@pytest.mark.parametrize(("pixels", "batches"), [(32, 16), (2000, 8), (100_000, 1)])
def test_large_networks_are_measured_on_fewer_batches(
    pixels: int, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two layers of 8 * 8 * 9 multiplications for each pixel."""
    monkeypatch.setattr(search, "_WORK", 8.5 * 2 * (2 * 2000 * 8 * 8 * 9))
    floats = ir.TensorType(ir.DataType.FLOAT)
    values = [ir.Value(name=name, type=floats, shape=ir.Shape([1, 8, 1, pixels])) for name in "xyz"]
    weight = ir.Value(name="w", type=floats, shape=ir.Shape([8, 8, 1, 9]))
    nodes = [
        ir.Node("", "Conv", [source, weight], ir.convenience.convert_attributes({"pads": [0, 4, 0, 4]}), outputs=[made])
        for source, made in pairwise(values)
    ]
    graph = ir.Graph(values[:1], values[2:], nodes=nodes, opset_imports={"": 20}, name="net")
    monkeypatch.setattr(search, "layers_of", lambda model: list(model.graph.graph))
    assert search._affordable_batches(CompressedModel(ir.Model(graph, ir_version=8))) == batches
