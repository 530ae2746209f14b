"""The ONNX Runtime converters report what ONNX Runtime really does."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from all_cases import CASES
from net import Net
from running import Reference, refer, run_artifact

from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import SourceError
from edgecomp.graph.query import required_constant
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import quantize_static

#: What ONNX Runtime makes of an operator before it looks for kernels.
_DECOMPOSED = {
    "GroupNormalization": {"Add", "Concat", "Div", "Mul", "ReduceMean", "Reshape", "Shape", "Sqrt", "Sub"},
    "HardSwish": {"HardSigmoid", "Mul"},
    "Mish": {"Mul", "Softplus", "Tanh"},
}
#: What moves no real numbers on: what reads them and gives none is no island, as nothing is quantized behind it.
_NO_ISLANDS = {
    *("QuantizeLinear", "DequantizeLinear", "Cast"),
    *("ArgMax", "ArgMin", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "IsInf", "IsNaN"),
    *("ConvInteger", "MatMulInteger"),
}


@functools.cache
def _reference(name: str) -> Reference:
    net = Net(opset=CASES[name].opset)
    CASES[name].build(net)
    return refer(net.model(), net.feeds)


def _float_operators(path: Path, optimized: Path) -> set[str]:
    """The operators that ONNX Runtime, left alone with a file, computes in float on ARM."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(optimized)
    options.log_severity_level = 3
    # As on ARM; on x86, ONNX Runtime would go over to uint8 instead.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    graph = onnx.load(optimized).graph
    real = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    real |= {value.name for value in graph.input if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    found = set()
    for node in graph.node:
        if node.op_type not in _NO_ISLANDS and real.intersection(node.input):
            found.add(node.op_type)
            real.update(node.output)
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_islands_are_what_onnx_runtime_computes_in_float(case: str, tmp_path: Path) -> None:
    converter = load_converter("onnxruntime")
    if not _reference(case).int8_model.quantization:
        return  # it only moves data, and stays in float altogether
    conversion = converter.convert(_reference(case).int8_model, tmp_path / "model.onnx", ConversionOptions())
    reported: set[str] = set()
    for island in conversion.islands:
        reported |= _DECOMPOSED.get(island.op_type, {island.op_type})
    assert reported == _float_operators(conversion.path, tmp_path / "optimized.onnx")
    counted = {entry.op_type for entry in converter.inspect(conversion.path).operators if entry.precision == "float32"}
    # Computes in float too, but counts as what it gives.
    islands = {island.op_type for island in conversion.islands} - {"DynamicQuantizeLinear"}
    assert counted - {"Cast"} == islands


@pytest.mark.parametrize("format_name", ["onnxruntime", "ort"])
@pytest.mark.parametrize("activations", ["int8", "uint8"])
def test_activations_as_uint8_are_the_same_numbers(format_name: str, activations: str, tmp_path: Path) -> None:
    reference = _reference("residual")
    converter = load_converter(format_name)
    path = tmp_path / f"model{converter.suffixes[0]}"
    converter.convert(reference.int8_model, path, ConversionOptions(activations=activations))  # type: ignore[arg-type]
    (output,) = run_artifact(converter.open(path), reference.inputs)
    assert np.abs(output - reference.simulated[0]).max() <= reference.steps[0] * 1.01


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("onnxruntime", "tflite"):
        converter = load_converter(name)
        contents = []
        for _ in range(2):
            path = tmp_path / f"model{converter.suffixes[0]}"
            converter.convert(_reference("residual").int8_model, path, ConversionOptions())
            contents.append(path.read_bytes())
        assert contents[0] == contents[1], name


def test_an_ort_file_holds_fused_integer_operators_and_says_what_it_takes(tmp_path: Path) -> None:
    converter = load_converter("ort")
    path = tmp_path / "model.ort"
    converter.convert(_reference("residual").int8_model, path, ConversionOptions(io_dtype="int8"))
    found = converter.inspect(path)
    assert {(entry.op_type, entry.precision) for entry in found.operators} == {
        ("QLinearConv", "int8"),
        ("QLinearAdd", "int8"),
    }
    (only,) = found.inputs
    assert (only.name, only.dtype, only.source_dtype) == ("in0", "int8", "float32")
    assert only.scale == pytest.approx(float(_reference("residual").int8_model.quantization["in0"].scale))
    assert found.metadata["edgecomp"]
    assert found.weight_bytes > 0


@pytest.mark.parametrize("format_name", ["onnxruntime", "ort"])
def test_a_file_of_another_format_is_refused(format_name: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"not a model")
    for work in (load_converter(format_name).open, load_converter(format_name).inspect):
        with pytest.raises(SourceError, match="a model that ONNX Runtime can load"):
            work(path)


def test_operators_that_share_a_weight_share_its_integers(tmp_path: Path) -> None:
    """Steps of an unrolled recurrent layer: stored once, and opened although ONNX Runtime stumbles over that."""
    net, steps, width = Net(), 3, 64
    value, weight = net.input(1, width), net.weight(width, width)
    for _ in range(steps):
        value = net.node("Tanh", net.node("MatMul", value, weight))
    net.output(value)
    random = np.random.default_rng(0)
    batches = [tuple(feed.draw(random) for feed in net.feeds) for _ in range(4)]
    model = quantize_static(simplify(CompressedModel(net.model())), batches, threads=1)
    converter = load_converter("onnxruntime")
    path = tmp_path / "model.onnx"
    converter.convert(model, path, ConversionOptions())
    assert sum(len(tensor.raw_data) == width * width for tensor in onnx.load(path).graph.initializer) == 1
    (given,) = run_artifact(converter.open(path), batches[0])
    np.testing.assert_allclose(given, Simulation(model, threads=1).run(batches[0])[0], atol=2.001 / 128)


def test_constants_that_nothing_reads_are_not_stored(tmp_path: Path) -> None:
    net = Net()
    net.output(net.node("MatMul", net.input(2, 8), net.weight(8, 8)))
    model = simplify(CompressedModel(net.model()))
    left_over = ir.Value(name="left_over", const_value=ir.tensor(np.ones(1000, np.float32)))
    model.graph.graph.register_initializer(left_over)
    load_converter("onnxruntime").convert(model, tmp_path / "model.onnx", ConversionOptions())
    assert {tensor.name for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer}.isdisjoint({"left_over"})


@pytest.mark.parametrize("alike", [True, False])
def test_equal_weights_are_stored_once(alike: bool, tmp_path: Path) -> None:
    """A layer that is used twice comes with a copy for each use."""
    net = Net()
    first = net.weight(32, 32)
    numbers = np.array(required_constant(first))
    numbers[-1, -1] += 0.0 if alike else 1.0
    value = net.node("MatMul", net.node("Relu", net.node("MatMul", net.input(2, 32), first)), net.constant(numbers))
    net.output(value)
    model = simplify(CompressedModel(net.model()))
    load_converter("onnxruntime").convert(model, tmp_path / "model.onnx", ConversionOptions())
    stored = onnx.load(tmp_path / "model.onnx").graph.initializer
    assert sum(len(tensor.raw_data) == numbers.nbytes for tensor in stored) == (1 if alike else 2)
    batch = tuple(feed.draw(np.random.default_rng(0)) for feed in net.feeds)
    (given,) = run_artifact(load_converter("onnxruntime").open(tmp_path / "model.onnx"), batch)
    np.testing.assert_allclose(given, Simulation(model, threads=1).run(batch)[0], rtol=1e-5, atol=1e-5)
