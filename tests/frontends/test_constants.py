"""Inputs that become constants, and the branches that they switch off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecomp.errors import InputError, SourceError
from edgecomp.frontends import load_source
from edgecomp.frontends.constants import parse_constants
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel


def branch(name: str, kernel: int) -> onnx.GraphProto:
    """A convolution whose kernel fits the rate; at the other rate's length it does not fit."""
    weight = numpy_helper.from_array(np.ones((1, 1, kernel), np.float32), f"{name}_w")
    node = helper.make_node("Conv", ["x", f"{name}_w"], [f"{name}_y"])
    return helper.make_graph(
        [node], name, [], [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)], [weight]
    )


@pytest.fixture
def two_rates(tmp_path: Path) -> Path:
    """A model that branches on its sampling rate, as models of speech do."""
    graph = helper.make_graph(
        [
            helper.make_node("Equal", ["sr", "high"], ["is_high"]),
            helper.make_node("If", ["is_high"], ["y"], then_branch=branch("then", 8), else_branch=branch("else", 4)),
        ],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, "time"]),
            helper.make_tensor_value_info("sr", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.int64(16000), "high")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.save(model, tmp_path / "vad.onnx")
    return tmp_path / "vad.onnx"


@pytest.mark.parametrize(("rate", "kernel"), [(16000, 8), (8000, 4)])
def test_the_branch_that_is_not_taken_is_gone(two_rates: Path, rate: int, kernel: int) -> None:
    source = load_source(two_rates, shapes={"x": (1, 1, 10)}, constants={"sr": (rate,)})
    assert [value.name for value in source.graph.graph.inputs] == ["x"]
    assert source.step.settings["constants"] == {"sr": [rate]}
    graph = simplify(CompressedModel(source.graph)).graph.graph
    assert [node.op_type for node in graph] == ["Conv"]
    (result,) = source.reference(source.inputs)
    assert result.shape == (1, 1, 11 - kernel)


@pytest.mark.parametrize(
    ("constants", "actual"),
    [({"rate": (1.0,)}, "no input of that name"), ({"sr": (1.0, 2.0)}, "1,2"), ({"sr": (0.5,)}, "0.5")],
)
def test_constants_that_do_not_fit_are_refused(
    two_rates: Path, constants: dict[str, tuple[float, ...]], actual: str
) -> None:
    with pytest.raises(SourceError) as caught:
        load_source(two_rates, shapes={"x": (1, 1, 10)}, constants=constants)
    assert caught.value.actual == actual


def test_only_an_onnx_file_has_inputs_to_fix(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"constants only with an \.onnx file"):
        load_source(tmp_path / "task.py", constants={"sr": (1.0,)})


def test_options_are_read() -> None:
    assert parse_constants(["sr=16000", "sizes=1,2.5"]) == {"sr": (16000.0,), "sizes": (1.0, 2.5)}


@pytest.mark.parametrize("option", ["sr", "=3", "sr=fast", "sr="])
def test_options_of_another_form_are_refused(option: str) -> None:
    with pytest.raises(InputError, match="sr=16000"):
        parse_constants([option])
