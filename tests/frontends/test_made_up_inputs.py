"""What an `.onnx` file runs on that brings no example inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgecomp.errors import SourceError
from edgecomp.frontends import load_source


def save(path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, str], **weights: np.ndarray) -> Path:
    border = [
        helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), (1, 64)) for name, kind in inputs.items()
    ]
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "net", border, [result], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


TABLE = np.ones((50, 4), np.float32)
SCALE = {"scale": np.float32(0.1), "zero": np.uint8(3)}


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ([helper.make_node("Gather", ["table", "ids"], ["y"])], {"table": TABLE}),
        (
            [
                helper.make_node("Cast", ["ids"], ["whole"], to=onnx.TensorProto.INT32),
                helper.make_node("Gather", ["real", "whole"], ["y"]),
            ],
            {"table": TABLE.astype(np.uint8), **SCALE},
        ),
        (
            [helper.make_node("Gather", ["table", "ids"], ["a"]), helper.make_node("Gather", ["large", "ids"], ["b"])],
            {"table": TABLE, "large": np.ones((90, 4), np.float32)},
        ),
    ],
    ids=["table", "integers", "two tables"],
)
def test_numbers_of_words_are_rows_of_their_table(nodes, weights, tmp_path: Path) -> None:
    if "scale" in weights:
        nodes = [helper.make_node("DequantizeLinear", ["table", "scale", "zero"], ["real"]), *nodes]
    if "large" in weights:
        nodes = [*nodes, helper.make_node("Add", ["a", "b"], ["y"])]
    source = load_source(save(tmp_path / "net.onnx", nodes, {"ids": "INT64"}, **weights))
    (ids,) = source.inputs
    assert 30 < ids.max() < 50
    assert "random rows of the table behind it" in source.notes[0]
    assert "'ids'" in source.notes[0]


def test_a_mask_that_leaves_no_number_is_all_ones(tmp_path: Path) -> None:
    nodes = [helper.make_node("Where", ["mask", "x", "nothing"], ["y"])]
    path = save(tmp_path / "net.onnx", nodes, {"x": "FLOAT", "mask": "BOOL"}, nothing=np.float32(np.nan))
    assert load_source(path).inputs[1].all()


def test_a_nan_in_a_weight_is_still_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = save(tmp_path / "net.onnx", nodes, {"x": "FLOAT"}, w=np.full((64, 1), np.nan, np.float32))
    with pytest.raises(SourceError, match="NaN"):
        load_source(path)
