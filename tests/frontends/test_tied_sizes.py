"""Dimensions that have two names in a file and are one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import edgecomp
from edgecomp.frontends import load_source
from edgecomp.shapes import Symbol


def save(path: Path, operator: str, **attributes: int) -> Path:
    border = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("left", ["unk_1", 3]), ("right", ["unk_2", 3]), ("y", None))
    ]
    nodes = [helper.make_node(operator, ["left", "right"], ["y"], "join", **attributes)]
    graph = helper.make_graph(nodes, "net", border[:2], border[2:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.mark.parametrize("size", [1, 4])
def test_what_runs_only_with_equal_sizes_has_one_dimension(size: int, tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", "Concat", axis=1)
    shapes = {name: (Symbol(None, size), 3) for name in ("left", "right")}
    source = load_source(path, shapes=shapes)
    assert source.dynamic.inputs == {"left": ("unk_1", 3), "right": ("unk_1", 3)}
    assert source.dynamic.example == {"unk_1": size}
    assert "Its dimensions 'unk_2' and 'unk_1' are one: it runs only if they are equal." in source.notes
    result = edgecomp.compress(path, "raspberry-pi-4b", tmp_path / "out", precision="fp32", shapes=shapes)
    wider = np.arange(42, dtype=np.float32).reshape(2, 7, 3)
    for artifact in result.artifacts.values():
        (given,) = edgecomp.load(artifact).predict(tuple(wider)).values()
        np.testing.assert_array_equal(given, np.concatenate(wider, 1), err_msg=str(artifact))


def test_what_runs_with_other_sizes_keeps_both_dimensions(tmp_path: Path) -> None:
    source = load_source(save(tmp_path / "net.onnx", "Concat", axis=0))
    assert source.dynamic.example == {"unk_1": 1, "unk_2": 1}
    assert not any("are one" in note for note in source.notes)


def test_what_runs_at_no_other_size_keeps_its_names(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", "Concat", axis=1)
    model = onnx.load(path)
    model.graph.output[0].name = "z"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([6], np.int64), "six"))
    model.graph.node.append(helper.make_node("Reshape", ["y", "six"], ["z"], "flat"))
    onnx.save(model, path)
    assert load_source(path).dynamic.example == {"unk_1": 1, "unk_2": 1}
