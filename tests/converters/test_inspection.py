"""Every format tells the same about the same model, and what it tells about memory is what the runtime does."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from net import Net
from running import Reference, refer

from edgecomp.converter import ConversionOptions, available_formats, load_converter
from edgecomp.drawing.picture import picture
from edgecomp.inspection import Contents, Inspection, Node, Tensor
from edgecomp.inspection.memory import plan_memory

#: Conv 3 -> 8 over 6 x 8, a depthwise one, a sum with the input, a sigmoid that goes with it, and a matrix.
_MACS = 48 * (8 * 3 * 9 + 8 * 9 + 8 * 8) + 8 * 5


def network(net: Net) -> None:
    image = net.input(1, 3, 6, 8)
    first = net.node("Conv", image, net.weight(8, 3, 3, 3), pads=[1, 1, 1, 1])
    deep = net.node("Conv", first, net.weight(8, 1, 3, 3), pads=[1, 1, 1, 1], group=8)
    deep = net.node("Conv", net.node("Relu", deep), net.weight(8, 8, 1, 1))
    both = net.node("Add", first, deep)
    pooled = net.node("Flatten", net.node("GlobalAveragePool", net.node("Elu", both)))
    net.output(net.node("MatMul", pooled, net.weight(8, 5)))


@pytest.fixture(scope="module")
def reference() -> Reference:
    net = Net()
    network(net)
    return refer(net.model(), net.feeds)


@pytest.fixture(scope="module")
def inspections(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Inspection]:
    folder, found = tmp_path_factory.mktemp("inspected"), {}
    for name in available_formats():
        converter = load_converter(name)
        for precision, model in (("float", reference.float_model), ("int8", reference.int8_model)):
            path = folder / f"{precision}{converter.suffixes[0]}"
            converter.convert(model, path, ConversionOptions())
            found[name, precision] = converter.inspect(path)
    return found


@pytest.mark.parametrize("format_name", available_formats())
@pytest.mark.parametrize("precision", ["float", "int8"])
def test_every_format_counts_the_same_multiplications(
    format_name: str, precision: str, inspections: dict[tuple[str, str], Inspection]
) -> None:
    macs = inspections[format_name, precision].macs
    pool = 48 * 8 if (format_name, precision) == ("mnn", "int8") else 0  # as a depthwise convolution
    assert (macs.total, macs.unknown) == (_MACS + pool, 0)


@pytest.mark.parametrize("format_name", available_formats())
def test_the_island_is_found_in_the_file_itself(
    format_name: str, inspections: dict[tuple[str, str], Inspection]
) -> None:
    assert inspections[format_name, "float"].islands == ()
    islands = inspections[format_name, "int8"].islands
    assert any("elu" in kind.lower() or kind == "UnaryOp" for island in islands for kind in island.op_types)


@pytest.mark.parametrize("format_name", available_formats())
def test_weights_are_a_quarter_in_int8(format_name: str, inspections: dict[tuple[str, str], Inspection]) -> None:
    numbers = 8 * 3 * 9 + 8 * 9 + 8 * 8 + 8 * 5
    assert inspections[format_name, "float"].weights["float32"] >= 4 * numbers
    assert inspections[format_name, "int8"].weights["int8"] >= numbers
    if format_name != "mnn":  # which writes a pool as a convolution, and a header in front of all weights
        assert inspections[format_name, "int8"].weights["int8"] < 2 * numbers


def test_a_tflite_signature_has_the_names_of_the_source(inspections: dict[tuple[str, str], Inspection]) -> None:
    (signature,) = inspections["tflite", "int8"].signatures
    assert signature.inputs == tuple(item.name for item in inspections["tflite", "int8"].inputs) == ("in0",)
    assert signature.outputs == tuple(item.name for item in inspections["tflite", "int8"].outputs)


def without_scratch(net: Net) -> None:
    """Operators whose LiteRT kernels need no memory of their own and do not work in place."""
    value = net.node("Conv", net.input(1, 3, 9, 9), net.weight(16, 3, 1, 1))
    small = net.node("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
    wide = net.node("Pad", net.node("Conv", small, net.weight(24, 16, 1, 1)), [0, 0, 1, 1, 0, 0, 1, 1])
    both = net.node("Concat", wide, net.node("Pad", small, [0, 0, 1, 1, 0, 0, 1, 1]), axis=1)
    net.output(net.node("Conv", both, net.weight(4, 40, 1, 1)), small)


@pytest.mark.parametrize("precision", ["float", "int8"])
def test_the_arena_is_as_large_as_what_litert_takes(precision: str, tmp_path: Path) -> None:
    net = Net()
    without_scratch(net)
    reference = refer(net.model(), net.feeds)
    path = tmp_path / "model.tflite"
    model = reference.float_model if precision == "float" else reference.int8_model
    load_converter("tflite").convert(model, path, ConversionOptions())
    inspection = load_converter("tflite").inspect(path)
    assert inspection.memory.live < inspection.memory.arena == _taken(path, inspection)


def _taken(path: Path, inspection: Inspection) -> int:
    """From the lowest to the highest address that LiteRT's own planner gave to an activation."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, num_threads=1
    )
    interpreter.allocate_tensors()
    starts, ends = [], []
    for index in range(len(inspection.contents.tensors)):
        if index not in inspection.contents.fixed:
            array = interpreter.tensor(index)()
            starts.append(array.__array_interface__["data"][0])
            ends.append(starts[-1] + array.nbytes)
    return max(ends) - min(starts)


def test_an_arena_has_the_gaps_that_its_order_leaves() -> None:
    def tensor(size: int) -> Tensor:
        return Tensor("t", "int8", (size,))

    # 100 and 10 live together, then 10 and 100: no two of the large ones fit into each other's place.
    tensors = (tensor(100), tensor(10), tensor(100), tensor(10))
    nodes = tuple(Node("ADD", f"n{i}", "int8", (i,), (i + 1,)) for i in range(3))
    memory = plan_memory(Contents(tensors, nodes, (0,), (3,)))
    assert memory.live == 100 + 10 + 100
    assert memory.live_at == "n1"
    assert memory.arena == 128 + 128 + 10


def test_what_a_loop_holds_is_counted_and_no_more(tmp_path: Path) -> None:
    helper = onnx.helper
    scalar = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])
    branch = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "branch", [], [scalar])
    inputs = [
        helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n"]),
    ]
    output = helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["n"])
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)], "g", inputs, [output]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "if.onnx")
    inspection = load_converter("onnxruntime").inspect(tmp_path / "if.onnx")
    assert {(entry.op_type, entry.count) for entry in inspection.operators} == {("If", 1), ("Neg", 2)}
    assert inspection.inputs[1].shape == (None,)
    assert inspection.memory.dynamic


def test_an_operator_of_an_unknown_domain_can_be_looked_at(reference: Reference, tmp_path: Path) -> None:
    node = onnx.helper.make_node("Strange", ["x"], ["y"], domain="made.up")
    info = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", info[:1], info[1:])
    imports = [onnx.helper.make_opsetid("made.up", 1), onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports), tmp_path / "strange.onnx")
    inspection = load_converter("onnxruntime").inspect(tmp_path / "strange.onnx")
    assert [entry.op_type for entry in inspection.operators] == ["Strange"]


def test_plain_data_holds_everything(inspections: dict[tuple[str, str], Inspection]) -> None:
    for inspection in inspections.values():
        document = json.loads(json.dumps(inspection.as_dict(), allow_nan=False))
        assert document["macs"]["total"] >= _MACS
        assert len(document["graph"]["nodes"]) == len(inspection.contents.nodes)
        assert document["memory"]["live"] > 0


def test_a_cycle_ends_no_loop() -> None:
    tensors = tuple(Tensor(name, "float32", (2,)) for name in "abc")
    nodes = (Node("ADD", "n", "float32", (0, 2), (1,)), Node("ADD", "m", "float32", (1,), (2,)))
    contents = Contents(tensors, nodes, (0,), (2,))
    inspection = Inspection("tflite", 1, (), (), contents)
    assert inspection.memory.live > 0
    assert picture(inspection, "cycle").count('class="box node"') == 2
