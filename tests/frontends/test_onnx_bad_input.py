"""Models that are wrong, or at the edge of what is right: a clear error, or artifacts that compute the right thing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecomp import load
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import InputError, SourceError
from edgecomp.frontends import load_source
from edgecomp.preparation import prepare

Run = Callable[..., Any]


def tensor(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    *nodes: onnx.NodeProto,
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    weights: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes or [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        inputs or [tensor("x", 2, 3)],
        outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def node(op_type: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def recursive() -> onnx.ModelProto:
    made = model(node("F", "x", "y", domain="local"), domains=("local",))
    body = [node("F", "a", "b", domain="local")]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    made.functions.append(helper.make_function("local", "F", ["a"], ["b"], body, imports))
    return made


REFUSED: dict[str, tuple[onnx.ModelProto, str]] = {
    "cycle": (model(node("Add", "x b", "a"), node("Neg", "a", "b"), node("Relu", "b", "y")), "b"),
    "missing initializer": (model(node("MatMul", "x w", "y")), "w"),
    "type clash": (model(node("Add", "x i", "y"), weights={"i": np.zeros(3, np.int64)}), "int64"),
    "wrong shapes": (model(node("MatMul", "x w", "y"), weights={"w": np.zeros((5, 2), np.float32)}), "imension"),
    "opset 1": (model(opset=1), "opset 1"),
    "opset from the future": (model(opset=999), "opset 999"),
    "empty input": (model(inputs=[tensor("x", 0, 3)]), "0x3"),
    "huge input": (model(inputs=[tensor("x", 2**31, 2**31)]), "2147483648x2147483648"),
    "strings": (
        model(
            node("Identity", "x", "y"),
            inputs=[tensor("x", 2, kind=TensorProto.STRING)],
            outputs=[tensor("y", 2, kind=8)],
        ),
        "STRING",
    ),
    "two outputs of a name": (model(outputs=[tensor("y", 2, 3), tensor("y", 2, 3)]), "'y'"),
    "two nodes write one name": (model(node("Relu", "x", "y"), node("Neg", "x", "y")), "y"),
    "unknown operator": (model(node("Nothing", "x", "y")), "Nothing"),
    "a function that calls itself": (recursive(), "local"),
    "a type that there is not": (model(inputs=[tensor("x", 2, kind=TensorProto.FLOAT)]), "777"),
}
REFUSED["a type that there is not"][0].graph.input[0].type.tensor_type.elem_type = 777


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_with_exit_code_2(name: str, tmp_path: Path, edgecomp: Run) -> None:
    made, reason = REFUSED[name]
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    result = edgecomp("convert", path, "-o", tmp_path / "out", "--to", "onnxruntime")
    assert result.exit_code == 2, result.output
    for part in (str(path), "expected:", "actual:", "cure:", reason):
        assert part.lower() in result.stderr.replace("\n", "").lower()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["Magic", "Loop"])  # the second is no loop, in spite of its name
def test_a_custom_operator_is_named(name: str, tmp_path: Path, edgecomp: Run) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(model(node(name, "x", "y", domain="acme"), domains=("acme",)).SerializeToString())
    result = edgecomp("convert", path, "-o", tmp_path / "out", "--to", "tflite")
    assert result.exit_code == 2, result.output
    assert name in result.stderr


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    content = model(inputs=[tensor("xname", 2, 3)], outputs=[tensor("y", 2, 3)]).SerializeToString()
    path.write_bytes(content.replace(b"xname", b"\xff\xfename"[:5]))
    with pytest.raises(InputError) as caught:
        load_source(path)
    str(caught.value).encode()


RIGHT: dict[str, onnx.ModelProto] = {
    "a scalar": model(node("Exp", "x", "y"), inputs=[tensor("x")]),
    "one element in eight dimensions": model(node("Exp", "x", "y"), inputs=[tensor("x", *[1] * 8)]),
    "eight dimensions": model(node("Neg", "x", "y"), inputs=[tensor("x", 1, 2, 1, 2, 1, 2, 1, 2)]),
    "an end beyond int32": model(
        node("Slice", "x s e", "y"), weights={"s": np.array([0, 1]), "e": np.array([2**62, 2**63 - 1])}
    ),
    "names of other scripts": model(node("Relu", "\u5165\u529b", "y"), inputs=[tensor("\u5165\u529b", 2, 3)]),
    "one name for a node and a tensor": model(helper.make_node("Relu", ["x"], ["y"], name="x")),
    "nodes without names, or with the same": model(
        helper.make_node("Neg", ["x"], ["a"], name="n"), helper.make_node("Relu", ["a"], ["y"], name="n")
    ),
    "an output that is an input": model(node("Relu", "x", "y"), outputs=[tensor("y", 2, 3), tensor("x", 2, 3)]),
}


@pytest.mark.parametrize("format_name", ["tflite", "onnxruntime"])
@pytest.mark.parametrize("name", RIGHT)
def test_what_is_odd_is_right(name: str, format_name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(RIGHT[name].SerializeToString())
    source = load_source(path)
    converter = load_converter(format_name)
    artifact = tmp_path / f"model{converter.suffixes[0]}"
    prepared = prepare(source)
    converter.convert(prepared, artifact, ConversionOptions())
    results = list(load(artifact).predict(list(source.inputs)).values())
    for wanted, result in zip(source.reference(source.inputs), results, strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-5)


def test_indices_beyond_int32_are_not_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    made = model(node("Gather", "x i", "y"), weights={"i": np.array([2**32 + 1])})
    path.write_bytes(made.SerializeToString())
    with pytest.raises(InputError):
        load_source(path)


def test_three_gigabytes_of_external_data_are_refused_at_once(tmp_path: Path, edgecomp: Run) -> None:
    made = model(node("MatMul", "x w", "y"), inputs=[tensor("x", 1, 3)])
    weight = made.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[3, 2**28])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="w.bin")
    with (tmp_path / "w.bin").open("wb") as stream:
        stream.truncate(3 * 2**30)  # a hole: it takes no room
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    result = edgecomp("convert", path, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "3.00 GB" in result.stderr


def test_an_output_without_elements_is_refused_by_tflite(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    made = model(node("Slice", "x s e", "y"), weights={"s": np.array([9]), "e": np.array([9])})
    path.write_bytes(made.SerializeToString())
    with pytest.raises(InputError, match="without elements"):
        load_converter("tflite").convert(prepare(load_source(path)), tmp_path / "model.tflite", ConversionOptions())
    assert not (tmp_path / "model.tflite").exists()


def test_a_loop_that_would_not_come_back_is_refused_before_it_runs(tmp_path: Path) -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[3] x) => (float[3] y) <int64 turns = {4611686018427387904}, bool yes = {1}> {
            y = Loop (turns, yes, x) <
                body = turn (int64 i, bool go, float[3] a) => (bool on, float[3] b) { on = Identity (go) b = Neg (a) }
            >
        }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "endless.onnx")
    with pytest.raises(SourceError, match="Loop") as caught:
        load_source(tmp_path / "endless.onnx")
    assert caught.value.actual == "4,611,686,018,427,387,904 turns"
