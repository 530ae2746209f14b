"""What TFLite cannot express is refused before anything is written, by `check` and by `convert` alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from net import Net

from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import UnsupportedOperatorError
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel


def _refused(net: Net, path: Path) -> list[str]:
    """The operators that `check` names; `convert` has to name the first of them."""
    model, converter = simplify(CompressedModel(net.model())), load_converter("tflite")
    problems = converter.check(model, ConversionOptions())
    with pytest.raises(UnsupportedOperatorError) as caught:
        converter.convert(model, path / "model.tflite", ConversionOptions())
    assert caught.value.actual == problems[0].reason
    assert caught.value.cure == problems[0].cure
    assert not list(path.iterdir())
    return [problem.op_type for problem in problems]


def test_as_many_boxes_as_the_numbers_say(tmp_path: Path) -> None:
    net = Net()
    boxes, scores = net.input(1, 20, 4), net.input(1, 2, 20)
    found = net.node("NonMaxSuppression", net.node("Relu", boxes), scores, np.array([5]), np.float32([0.5]))
    rows = net.node("Squeeze", net.node("Slice", found, [2], [3], [1]), [1])
    best = net.node("Gather", boxes, rows, axis=1)
    best.type = ir.TensorType(ir.DataType.FLOAT)
    net.output(best)
    # What follows reads something of unknown size, and is not to blame for it.
    assert _refused(net, tmp_path) == ["NonMaxSuppression"]


def test_updates_that_may_meet(tmp_path: Path) -> None:
    net = Net()
    where = net.input(3, 2, dtype="int64", high=5)
    net.output(net.node("ScatterElements", net.input(3, 5), where, net.input(3, 2), axis=1, reduction="mul"))
    assert _refused(net, tmp_path) == ["ScatterElements"]


def test_numbers_beyond_the_type_that_a_kernel_takes(tmp_path: Path) -> None:
    net = Net()
    net.output(net.node("Div", net.input(3, dtype="int64", high=9), net.constant(np.array([1 << 40, 2, 3]))))
    assert _refused(net, tmp_path) == ["Div"]


def test_a_type_that_there_is_not(tmp_path: Path) -> None:
    net = Net()
    net.output(net.node("Cast", net.node("Cast", net.input(3), to=16), to=1))
    assert _refused(net, tmp_path)[0] == "Cast"
