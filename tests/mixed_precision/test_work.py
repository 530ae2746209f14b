"""How long a search may take, in multiplications: batches for each layer, and choices that are tried."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import onnx_ir as ir
import pytest
import test_mixed_precision as nets

import edgecomp
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


@pytest.mark.parametrize(("brief", "choices", "layers"), [(False, 6, 2), (True, 3, 3)])
def test_a_brief_search_of_a_large_network_ends_early_and_says_so(
    brief: bool, choices: int, layers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if brief:
        monkeypatch.setattr(search, "_WORK", 1.0)
        monkeypatch.setattr(search, "_FEWEST", 3)
    (tmp_path / "task.py").write_text(nets.TASK)
    recipe = nets.asking(min_sqnr=56.0, max_float=1.0, brief=brief)
    result = edgecomp.compress(tmp_path / "task.py", nets.TARGET, tmp_path / "out", recipe=recipe)
    (facts,) = (step["facts"] for step in result.manifest["provenance"] if step["name"] == "mixed-precision")
    assert len(facts["frontier"]) == choices
    assert facts["chosen"].startswith(f"{layers} layers in float")
    notes = [note for note in result.manifest["notes"] if note.startswith("The search for layers in float ended")]
    expected = (
        "The search for layers in float ended after 3 choices, since the network is large: fewer layers may do. "
        "--min-agreement or --min-sqnr searches to the end."
    )
    assert notes == [expected] * brief
