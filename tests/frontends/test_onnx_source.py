"""ONNX files: good ones, dynamic ones, damaged ones and hostile ones."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecomp.data import collect_calibration
from edgecomp.errors import DataError, SourceError
from edgecomp.frontends import external_data, load_source, onnx_file, onnx_parsing
from edgecomp.loading import load

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4) / 10


def save(path, *, nodes=None, inputs=None, outputs=None, weights=None, opset=20, domains=(), functions=()):
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"], name="mul")],
        "g",
        inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {"w": WEIGHT}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def floats(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.onnx"


def refused(path, **arguments):
    with pytest.raises(SourceError) as caught:
        load_source(path, **arguments)
    assert caught.value.exit_code == 2
    assert str(path) in caught.value.subject
    return caught.value


def test_weights_of_a_branch_that_is_never_taken(path):
    """ONNX Runtime drops them with their branch."""
    outputs = [floats("z", 2, 200)]
    branches = {
        name: helper.make_graph([helper.make_node("MatMul", ["x", weight], ["z"])], name, [], outputs)
        for name, weight in (("then_branch", "w"), ("else_branch", "other"))
    }
    weights = {"yes": np.array(True), "w": np.ones((3, 200), np.float32), "other": np.zeros((3, 200), np.float32)}
    nodes = [helper.make_node("If", ["yes"], ["y"], **branches)]
    source = load_source(save(path, nodes=nodes, weights=weights, outputs=[floats("y", 2, 200)]))
    np.testing.assert_array_equal(source.reference([np.ones((2, 3), np.float32)])[0], np.full((2, 200), 3))


def test_an_opset_that_only_functions_import(path):
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    function = helper.make_function("local", "Product", ["a", "b"], ["c"], body, [helper.make_opsetid("", 17)])
    call = helper.make_node("Product", ["x", "w"], ["y"], domain="local")
    model = onnx.load(save(path, nodes=[call], domains=["local"], functions=[function]))
    del model.opset_import[0]
    onnx.save(model, path)
    source = load_source(path)
    assert source.graph.opset_imports[""] == onnx_file.OPSET
    assert [node.op_type for node in source.graph.graph] == ["MatMul"]


def test_static_model(path):
    source = load_source(save(path))
    assert source.name == "net"
    assert [(s.name, s.dtype, s.shape) for s in source.input_specs] == [("x", "float32", (2, 3))]
    assert tuple(source.graph.graph.outputs[0].shape) == (2, 4)
    np.testing.assert_allclose(source.reference(source.inputs)[0], source.inputs[0] @ WEIGHT, rtol=1e-6)
    assert all("edgecomp.module" not in node.metadata_props for node in source.graph.graph)
    np.testing.assert_array_equal(source.inputs[0], load_source(path).inputs[0])
    assert "seeded random numbers" in source.notes[0]


def test_a_dynamic_batch_stays_dynamic(path):
    source = load_source(save(path, inputs=[floats("x", "batch", 3)], outputs=[floats("y", "batch", 4)]))
    assert source.input_specs[0].shape == (1, 3)
    assert source.dynamic.inputs == {"x": ("batch", 3)}
    assert source.dynamic.example == {"batch": 1}
    assert source.notes[0] == "The dynamic dimension 'batch' has the example size 1."


def test_a_symbol_has_one_value_everywhere(path):
    save(
        path,
        nodes=[helper.make_node("Add", ["a", "b"], ["y"])],
        inputs=[floats("a", "batch", "seq"), floats("b", "batch", "seq")],
    )
    source = load_source(path, shapes={"a": (4, 7)})
    assert [spec.shape for spec in source.input_specs] == [(4, 7), (4, 7)]
    error = refused(path, shapes={"a": (4, 7), "b": (4, 8)})
    assert error.subject.endswith("--shape b")
    assert (error.expected, error.actual) == ("a shape that fits 4x7", "4x8")


def test_free_sizes_may_share_a_name(path):
    save(path, nodes=[helper.make_node("Relu", ["x"], ["y"])], inputs=[floats("x", -1, 3, "?", "?")])
    assert load_source(path, shapes={"x": (1, 3, 4, 8)}).input_specs[0].shape == (1, 3, 4, 8)


def test_other_dynamic_dimensions_need_a_shape(path):
    error = refused(save(path, inputs=[floats("x", "batch", "width")]))
    assert error.subject.endswith("input 'x'")
    assert error.actual == "shape batchxwidth"
    assert error.cure == ("give --shape x=1xSIZE with numbers for SIZE, or --shape x=1x?:SIZE to keep them dynamic")
    assert load_source(path, shapes={"x": (1, 3)}).input_specs[0].shape == (1, 3)
    error = refused(save(path, inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]))
    assert error.actual == "no shape"
    assert "--shape x=" in error.cure


def test_shapes_that_do_not_fit(path):
    save(path, inputs=[floats("x", "batch", 3)])
    assert "no input is called 'image'" in refused(path, shapes={"image": (1, 3)}).actual
    assert refused(path, shapes={"x": (1, 5)}).expected == "a shape that fits 1x3"
    assert refused(path, shapes={"x": (1, 3, 1)}).actual == "1x3x1"
    assert refused(path, shapes={"x": (0, 3)}).expected == "a shape of positive sizes"


def test_a_shape_that_the_graph_cannot_run_with(path):
    error = refused(save(path, inputs=[floats("x", "batch", "width")]), shapes={"x": (1, 5)})
    assert "ONNX Runtime can load" in error.expected or "a model that runs" in error.expected


def test_old_opsets_are_raised(path):
    save(path, nodes=[helper.make_node("ReduceMean", ["x"], ["y"], axes=[1])], opset=13)
    source = load_source(path)
    assert source.graph.opset_imports[""] == 20
    assert source.step.facts["opset"] == 13
    assert not any("opset" in note for note in source.notes)  # nothing that a user could do anything about
    np.testing.assert_allclose(source.reference(source.inputs)[0], source.inputs[0].mean(1, keepdims=True), rtol=1e-6)


def test_the_oldest_files_with_weights_among_their_inputs(path):
    model = onnx.load(save(path, inputs=[floats("x", 2, 3), floats("w", 3, 4)], opset=8))
    model.ir_version = 3
    onnx.save(model, path)
    source = load_source(path)
    assert (source.graph.opset_imports[""], source.step.facts["opset"]) == (20, 8)
    np.testing.assert_allclose(source.reference(source.inputs)[0], source.inputs[0] @ WEIGHT, rtol=1e-6)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(("operator", "opset"), [("Upsample", 9), ("Resize", 10)])
def test_sizes_changed_before_there_were_coordinates_to_choose(path, operator, opset, mode):
    node = helper.make_node(operator, ["x", "scales"], ["y"], mode=mode)
    scales = np.array([1, 1, 1.5, 3], np.float32)
    source = load_source(
        save(path, nodes=[node], inputs=[floats("x", 1, 2, 4, 4)], weights={"scales": scales}, opset=opset)
    )
    (resize,) = (node for node in source.graph.graph if node.op_type == "Resize")
    assert resize.attributes.get_string("coordinate_transformation_mode") == "asymmetric"
    assert (source.graph.opset_imports[""], source.step.facts["opset"]) == (20, opset)


def test_a_raised_graph_that_differs_is_not_taken(path, monkeypatch):
    save(path, opset=13)
    monkeypatch.setattr(onnx_file.runtime, "difference", lambda left, right: 0.5)
    source = load_source(path)
    assert source.graph.opset_imports[""] == 13
    assert "The graph stays at opset 13: the raised graph differs by 0.5 of an output's range." in source.notes
    assert "opset 11; the raised graph differs" in refused(save(path, opset=11)).actual


@pytest.mark.parametrize("opset", [5, 999])
def test_opsets_out_of_range(path, opset):
    error = refused(save(path, opset=opset))
    assert "an ONNX opset from 7 to" in error.expected
    assert error.actual == f"opset {opset}"
    assert "opset_version=20" in error.cure


def test_a_newer_opset_is_lowered_as_far_as_the_operators_stay_what_they_are(path):
    newest = onnx.defs.onnx_opset_version()
    source = load_source(save(path, opset=newest))
    assert source.graph.opset_imports[""] == 20
    assert source.step.facts["opset"] == newest
    # Opset 21 gave it a block size.
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    back = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])
    weights = {"s": np.float32(0.1), "z": np.int8(3)}
    source = load_source(save(path, nodes=[node, back], weights=weights, opset=23))
    assert source.graph.opset_imports[""] > 20


def test_example_inputs(path):
    save(path, inputs=[floats("x", "batch", 3)])
    x = np.full((5, 3), 7, np.float32)
    source = load_source(path, example_inputs=(x,))
    np.testing.assert_array_equal(source.inputs[0], x)
    assert [spec.shape for spec in source.input_specs] == [(5, 3)]
    assert not any("stand in" in note for note in source.notes)


@pytest.mark.parametrize(
    ("examples", "expected", "actual"),
    [
        ((), "1 arrays, for x", "0"),
        ((np.zeros((2, 3)),), "float32 of shape 2x3", "float64 of shape 2x3"),
        ((np.zeros((2, 4), np.float32),), "float32 of shape 2x3", "float32 of shape 2x4"),
    ],
)
def test_example_inputs_that_do_not_fit(path, examples, expected, actual):
    save(path)
    with pytest.raises(SourceError) as caught:
        load_source(path, example_inputs=examples)
    assert (caught.value.expected, caught.value.actual) == (expected, actual)


def lookup(path):
    """Rows of a table by number: of integers, most are no row."""
    save(
        path,
        nodes=[helper.make_node("Gather", ["table", "i"], ["y"])],
        inputs=[helper.make_tensor_value_info("i", TensorProto.INT64, [1, 3])],
        outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights={"table": np.ones((1, 4), np.float32)},
    )
    return path


def test_integers_that_may_be_places_fit_into_what_has_one_place(path):
    (indices,) = load_source(lookup(path)).inputs
    assert not indices.any()


def test_the_first_of_the_data_is_the_example(path):
    given = [np.array([[0, -1, 0]]), np.array([[0, 0, -1]])]
    source = load(lookup(path), calibration=lambda: given)
    np.testing.assert_array_equal(source.inputs[0], given[0])
    assert not [note for note in source.notes if "stand in" in note]


@pytest.mark.parametrize("given", [[], [np.zeros((1, 4), np.int64)], [np.zeros((1, 3), np.float32)]])
def test_data_that_do_not_fit_are_no_example_and_are_complained_about_when_they_are_read(path, given):
    source = load(lookup(path), calibration=lambda: given)
    assert [note for note in source.notes if "stand in" in note]
    with pytest.raises(DataError):
        collect_calibration(source.calibration_data(), source.input_specs, subject="data")


def test_weights_may_be_inputs_too(path):
    source = load_source(save(path, inputs=[floats("x", 2, 3), floats("w", 3, 4)]))
    assert [spec.name for spec in source.input_specs] == ["x"]


def test_quantized_graph_stays_as_it_is(path):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    source = load_source(save(path, nodes=nodes, weights={"s": np.float32(0.1), "z": np.int8(3)}))
    assert [node.op_type for node in source.graph.graph] == ["QuantizeLinear", "DequantizeLinear"]


def test_functions_are_inlined(path):
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    nodes = [helper.make_node("Twice", ["x"], ["y"], domain="local")]
    source = load_source(save(path, nodes=nodes, domains=["local"], functions=[twice]))
    assert [node.op_type for node in source.graph.graph] == ["Add"]


def test_custom_operators_are_left_for_the_converters(path):
    source = load_source(save(path, nodes=[helper.make_node("Magic", ["x"], ["y"], domain="acme")], domains=["acme"]))
    assert [node.domain for node in source.graph.graph] == ["acme"]
    assert any("ONNX Runtime cannot run the original" in note for note in source.notes)
    with pytest.raises(SourceError, match="ONNX Runtime can load"):
        source.reference(source.inputs)


def test_checker_gives_its_reason(path):
    error = refused(save(path, nodes=[helper.make_node("MatMul", ["x", "nowhere"], ["y"])]))
    assert error.expected == "a model that keeps the ONNX specification"
    assert "nowhere" in error.actual
    assert "NoSuchOperator" in refused(save(path, nodes=[helper.make_node("NoSuchOperator", ["x"], ["y"])])).actual


def test_inputs_that_are_no_numbers(path):
    value = helper.make_tensor_value_info("x", TensorProto.STRING, [2])
    output = helper.make_tensor_value_info("y", TensorProto.STRING, [2])
    error = refused(save(path, nodes=[helper.make_node("Identity", ["x"], ["y"])], inputs=[value], outputs=[output]))
    assert error.expected == "a tensor of numbers"


def test_integer_and_boolean_inputs(path):
    nodes = [helper.make_node("Where", ["c", "i", "i"], ["y"])]
    inputs = [
        helper.make_tensor_value_info("c", TensorProto.BOOL, [4]),
        helper.make_tensor_value_info("i", TensorProto.INT64, [4]),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.INT64, [4])
    source = load_source(save(path, nodes=nodes, inputs=inputs, outputs=[output]))
    assert [spec.dtype for spec in source.input_specs] == ["bool", "int64"]


def test_damaged_files(path):
    content = save(path).read_bytes()
    for data, reason in ((b"", "an empty file"), (b"\xff" * 64, "do not parse"), (content[:-20], ""), (b"hi", "")):
        path.write_bytes(data)
        error = refused(path)
        assert error.expected == "an ONNX model"
        assert reason in error.actual
        assert "damaged" in error.cure


def test_tensor_that_is_shorter_than_its_shape(path):
    model = onnx.load_model_from_string(save(path).read_bytes())
    model.graph.initializer[0].raw_data = b"\0" * 8
    path.write_bytes(model.SerializeToString())
    error = refused(path)
    assert error.subject.endswith("tensor 'w'")
    assert error.expected == "data for the shape [3, 4]"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_weight_is_named(path, bad):
    weight = WEIGHT.copy()
    weight[1, 2] = bad
    error = refused(save(path, weights={"w": weight}))
    assert error.subject.endswith("tensor 'w'")
    assert error.actual == "1 of 12 are NaN or infinite"


def test_a_mask_may_hold_infinity(path):
    nodes = [helper.make_node("Add", ["x", "m"], ["s"]), helper.make_node("Softmax", ["s"], ["y"])]
    load_source(save(path, nodes=nodes, weights={"m": np.array([0, -np.inf, 0], np.float32)}))


def test_outputs_that_are_not_finite(path):
    nodes = [helper.make_node("Sub", ["x", "two"], ["d"]), helper.make_node("Log", ["d"], ["y"])]
    error = refused(save(path, nodes=nodes, weights={"two": np.float32(2)}))
    assert error.subject.endswith("output 'y'")
    assert "random inputs from 0 to 1" in error.cure
    assert "--constant NAME=NUMBER" in error.cure


def external(path, location, **entries):
    model = onnx.load_model_from_string(save(path).read_bytes())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_in_the_own_folder(path):
    folder = path.parent / "weights"
    folder.mkdir()
    (folder / "w.bin").write_bytes(b"\0" * 16 + WEIGHT.tobytes())
    source = load_source(external(path, "weights/w.bin", offset=16, length=48))
    np.testing.assert_array_equal(source.graph.graph.initializers["w"].const_value.numpy(), WEIGHT)
    before = source.step.facts["file_sha256"]
    (folder / "w.bin").write_bytes(b"\0" * 16 + (WEIGHT + 1).tobytes())
    assert load_source(path).step.facts["file_sha256"] != before


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../secret.bin", "a/../../secret.bin", "C:\\secret", "..\\secret.bin", "link.bin", "", "folder/x"],
)
def test_hostile_external_data(location, tmp_path):
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_bytes(WEIGHT.tobytes())
    (tmp_path / "model").mkdir()
    os.symlink(tmp_path / "secret.bin", tmp_path / "model" / "link.bin")
    os.symlink(tmp_path / "elsewhere", tmp_path / "model" / "folder")
    error = refused(external(tmp_path / "model" / "net.onnx", location))
    assert error.subject.endswith("tensor 'w'")
    assert error.expected == "external data in a regular file inside the model's own folder"
    assert "do not use models from people you do not trust" in error.cure


def test_missing_or_short_external_data(path):
    assert "no file" in refused(external(path, "w.bin")).actual
    (path.parent / "w.bin").write_bytes(b"\0" * 8)
    for entries in ({"length": 48}, {"offset": 4, "length": 8}, {"offset": -4}, {"length": "many"}):
        error = refused(external(path, "w.bin", **entries))
        assert error.expected == "data within the 8 bytes of w.bin"


def test_too_large(path, monkeypatch):
    save(path)
    monkeypatch.setattr(onnx_parsing, "LIMIT", 100)
    error = refused(path)
    assert error.expected == "a model below 2 GB with its external data"
    assert error.actual.endswith(" GB")


def test_too_large_with_external_data(path, monkeypatch):
    (path.parent / "w.bin").write_bytes(WEIGHT.tobytes())
    external(path, "w.bin")
    monkeypatch.setattr(external_data, "LIMIT", path.stat().st_size + 10)
    assert refused(path).expected == "a model below 2 GB with its external data"


def test_the_original_is_not_run_on_the_examples_again(path, monkeypatch):
    source = load_source(save(path))
    expected = source.reference(source.inputs)[0]
    np.testing.assert_array_equal(expected, source.inputs[0] @ WEIGHT)
    expected[:] = 0  # what the caller does with its answer is its own business
    assert source.reference(source.inputs)[0].any()
    opened = []
    monkeypatch.setattr(onnx_file.runtime, "open_session", lambda model, **_: opened.append(model))
    source.reference(source.inputs)
    assert not opened
    with pytest.raises(AttributeError):
        source.reference((source.inputs[0] + 1,))
    assert opened
