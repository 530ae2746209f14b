"""Every precision in every format: the numbers that the simulation predicts, in the operators that the tables say."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from net import Net, merged
from running import run_artifact

from edgecomp.arrays import Array
from edgecomp.converter import Conversion, ConversionOptions, available_formats, load_converter
from edgecomp.converters.mnn.net import convolution, read_net
from edgecomp.errors import InputError
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.precision import NAMES, PRECISIONS, Precision, check_support
from edgecomp.quantization.half import as_half, is_half, round_to_half
from edgecomp.quantization.packing import pack_int4, unpack_int4
from edgecomp.quantization.scheme import PRECISION_KEY
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import StaticQuantization, StaticQuantization16, quantize_static
from edgecomp.quantization.weights import DynamicInt8, WeightInt4, WeightInt8, quantize_weights

FORMATS = available_formats()
OPTIONS = ConversionOptions()


def cnn(net: Net) -> None:
    """Convolutions of every kind, and a head on what Flatten makes of an image: TFLite stores it in another order."""
    image = net.image(1, 4, 8, 8)
    wide = net.node("Relu", net.node("Conv", image, net.weight(32, 4, 3, 3), net.weight(32), pads=[1] * 4))
    deep = net.node("Conv", wide, net.weight(32, 1, 3, 3), group=32, pads=[1] * 4, strides=[2, 2])
    gated = net.node("Mul", deep, net.node("Sigmoid", deep))
    large = net.node("ConvTranspose", gated, net.weight(32, 8, 2, 2), strides=[2, 2])
    pooled = net.node("MaxPool", large, kernel_shape=[2, 2], strides=[2, 2])
    net.output(net.node("Gemm", net.node("Flatten", pooled), net.weight(10, 128), net.weight(10), transB=1))


def mlp(net: Net) -> None:
    """Products with a bias, one of them with a depth that no block divides, and with rows of unlike sizes."""
    rows = net.node("Mul", net.input(3, 64), np.array([[0.5], [1.0], [2.0]], np.float32))
    hidden = net.node("Tanh", net.node("Add", net.node("MatMul", rows, net.weight(64, 40)), net.weight(40)))
    net.output(net.node("Softmax", net.node("Gemm", hidden, net.weight(40, 5), net.weight(5)), axis=-1))


def attention(net: Net) -> None:
    """One masked head over tokens, with a normalization."""
    tokens = net.input(1, 6, 32)
    mean = net.node("ReduceMean", tokens, [-1])
    centered = net.node("Sub", tokens, mean)
    spread = net.node("ReduceMean", net.node("Mul", centered, centered), [-1])
    deviation = net.node("Sqrt", net.node("Add", spread, np.array(1e-5, np.float32)))
    normal = net.node("Div", centered, deviation)
    query, key, value = (net.node("MatMul", normal, net.weight(32, 32)) for _ in range(3))
    scores = net.node("MatMul", query, net.node("Transpose", key, perm=[0, 2, 1]))
    mask = np.triu(np.full((1, 6, 6), -20, np.float32), 1)
    weights = net.node("Softmax", net.node("Add", net.node("Mul", scores, np.array(0.2, np.float32)), mask), axis=-1)
    net.output(net.node("MatMul", net.node("MatMul", weights, value), net.weight(32, 16)))


GRAPHS = (cnn, mlp, attention)

Batches = list[tuple[Array, ...]]

MAKE: dict[Precision, Callable[[CompressedModel, Batches], CompressedModel]] = {
    "fp32": lambda model, data: model,
    "fp16": lambda model, data: round_to_half(model),
    "int8": lambda model, data: quantize_static(model, data, StaticQuantization("minmax"), threads=1),
    "int16x8": lambda model, data: quantize_static(model, data, StaticQuantization16("minmax"), threads=1),
    "dynamic-int8": lambda model, data: quantize_weights(model, DynamicInt8()),
    "weight-int8": lambda model, data: quantize_weights(model, WeightInt8()),
    "weight-int4": lambda model, data: quantize_weights(model, WeightInt4()),
}


@functools.cache
def _source() -> tuple[CompressedModel, Batches]:
    nets = [Net(prefix=f"{build.__name__}/") for build in GRAPHS]
    for net, build in zip(nets, GRAPHS, strict=True):
        build(net)
    rng = np.random.default_rng(3)
    feeds = [feed for net in nets for feed in net.feeds]
    return simplify(CompressedModel(merged(nets))), [tuple(feed.draw(rng) for feed in feeds) for _ in range(3)]


@functools.cache
def _model(precision: Precision) -> CompressedModel:
    return MAKE[precision](*_source())


@functools.cache
def _simulated(precision: Precision) -> list[Array]:
    return Simulation(_model(precision), threads=1).run(_source()[1][0])


def _convert(format_name: str, model: CompressedModel, folder: Path) -> Conversion:
    converter = load_converter(format_name)
    return converter.convert(model, folder / f"model{converter.suffixes[0]}", OPTIONS)


def _sqnr(output: Array, expected: Array) -> float:
    noise = float(np.square(output.astype(np.float64) - expected).sum())
    return 200.0 if noise == 0 else 10 * np.log10(float(np.square(expected.astype(np.float64)).sum()) / noise)


def _supported(format_name: str) -> list[Precision]:
    table = load_converter(format_name).precisions
    return [name for name in NAMES if table[name].execution != "refused"]


PAIRS = [(name, precision) for name in FORMATS for precision in _supported(name)]

#: What must be among the operators of an artifact, and what must not, each with the precision that it counts at.
OPERATORS: dict[tuple[str, Precision], tuple[set[tuple[str, str]], set[tuple[str, str]]]] = {
    ("tflite", "fp16"): ({("DEQUANTIZE", "float32"), ("CONV_2D", "float32")}, set()),
    ("tflite", "int16x8"): (
        {(name, "int16x8") for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")},
        {(name, "float32") for name in ("CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")},
    ),
    ("tflite", "dynamic-int8"): (
        {(name, "dynamic-int8") for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")},
        {("FULLY_CONNECTED", "float32"), ("CONV_2D", "float32"), ("DEQUANTIZE", "float32")},
    ),
    ("tflite", "weight-int8"): (
        {("DEQUANTIZE", "float32"), ("CONV_2D", "float32"), ("FULLY_CONNECTED", "float32")},
        {("FULLY_CONNECTED", "dynamic-int8")},
    ),
    ("tflite", "weight-int4"): (
        {("FULLY_CONNECTED", "dynamic-int4"), ("CONV_2D", "float32"), ("GATHER", "float32")},
        {("FULLY_CONNECTED", "float32")},
    ),
    ("onnxruntime", "fp16"): ({("Conv", "float16"), ("MatMul", "float16"), ("Gemm", "float16")}, {("Conv", "float32")}),
    ("onnxruntime", "int16x8"): ({("Conv", "float32")}, set()),
    ("onnxruntime", "dynamic-int8"): (
        {("MatMulInteger", "dynamic-int8"), ("Conv", "float32")},
        {("Gemm", "float32"), ("ConvInteger", "int32")},
    ),
    ("onnxruntime", "weight-int8"): ({("Conv", "float32"), ("MatMul", "float32")}, {("DequantizeLinear", "int8")}),
    ("onnxruntime", "weight-int4"): ({("MatMulNBits", "weight-int4"), ("Conv", "float32")}, {("Gemm", "float32")}),
    ("ort", "dynamic-int8"): ({("DynamicQuantizeMatMul", "dynamic-int8")}, {("Gemm", "float32")}),
    ("ort", "weight-int4"): ({("MatMulNBits", "weight-int4")}, {("Gemm", "float32")}),
}


@pytest.mark.parametrize(("format_name", "precision"), PAIRS)
def test_an_artifact_computes_what_the_simulation_predicts(
    format_name: str, precision: Precision, tmp_path: Path
) -> None:
    conversion = _convert(format_name, _model(precision), tmp_path)
    converter = load_converter(format_name)
    outputs = run_artifact(converter.open(conversion.path), _source()[1][0])
    for output, expected in zip(outputs, _simulated(precision), strict=True):
        assert _sqnr(output, expected) >= PRECISIONS[precision].simulation_sqnr
    inspection = converter.inspect(conversion.path)
    assert inspection.precision == precision
    found = {(entry.op_type, entry.precision) for entry in inspection.operators}
    there, not_there = OPERATORS.get((format_name, precision), (set(), set()))
    assert there <= found
    assert not not_there & found


@pytest.mark.parametrize("precision", NAMES)
def test_a_precision_keeps_the_answers(precision: Precision) -> None:
    floor = {"weight-int4": 12.0, "fp16": 50.0, "int16x8": 25.0}.get(precision, 20.0)
    for output, expected in zip(_simulated(precision), _simulated("fp32"), strict=True):
        assert np.isfinite(output).all()
        assert _sqnr(output, expected) >= floor


#: Where activations are rounded at run time, the numbers are further from the simulation than float kernels ever are.
_ROUNDS = {("tflite", "dynamic-int8"), ("onnxruntime", "dynamic-int8"), ("tflite", "weight-int4")}


@pytest.mark.parametrize("format_name", ["tflite", "onnxruntime", "mnn"])
@pytest.mark.parametrize("precision", ["dynamic-int8", "weight-int8", "weight-int4"])
def test_activations_are_rounded_where_the_table_says_so(
    format_name: str, precision: Precision, tmp_path: Path
) -> None:
    conversion = _convert(format_name, _model(precision), tmp_path)
    outputs = run_artifact(load_converter(format_name).open(conversion.path), _source()[1][0])
    # The last output is the attention's: products only.
    distance = _sqnr(outputs[-1], _simulated(precision)[-1])
    assert distance < 60 if (format_name, precision) in _ROUNDS else distance > 90


def test_what_onnx_runtime_runs(tmp_path: Path) -> None:
    """Weights are unpacked at loading, not on every run, and integer products are fused."""
    left: dict[Precision, set[str]] = {}
    for precision in ("dynamic-int8", "weight-int8", "weight-int4", "fp16"):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.log_severity_level = 3
        path = str(_convert("onnxruntime", _model(precision), tmp_path).path)
        onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        left[precision] = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert "DynamicQuantizeMatMul" in left["dynamic-int8"]
    assert "MatMulNBits" in left["weight-int4"]
    for operators in left.values():
        assert not {"DequantizeLinear", "ConvInteger"} & operators
    for precision in ("weight-int8", "weight-int4"):
        assert "Cast" not in left[precision]


def _expected_integers(precision: Precision) -> dict[str, Array]:
    """Weight name -> its integers, for the products of the MLP."""
    model = _model(precision)
    names = [name for name in model.quantization if name.startswith("mlp/")]
    weights = model.graph.graph.initializers
    found = {}
    for name in names:
        array = weights[name].const_value.numpy()  # type: ignore[union-attr]
        parameters = model.quantization[name]
        integers = parameters.quantize(array)
        found[name] = integers if parameters.axis == 0 else integers.T
    assert len(found) == 2
    return found


@pytest.mark.parametrize("precision", ["dynamic-int8", "weight-int8", "weight-int4"])
def test_every_format_holds_the_same_integers(precision: Precision, tmp_path: Path) -> None:
    expected = _expected_integers(precision)
    model = _model(precision)
    tflite = _tflite_integers(_convert("tflite", model, tmp_path).path)
    mnn = _mnn_integers(_convert("mnn", model, tmp_path).path)
    graph = onnx.load(_convert("onnxruntime", model, tmp_path).path).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for name, integers in expected.items():
        np.testing.assert_array_equal(tflite[name], integers.reshape(-1))
        assert any(np.array_equal(found, integers) for found in mnn if found.size == integers.size), name
        if precision == "weight-int4":
            packed = stored[f"{name}/int4"]
            unpacked = unpack_int4(packed.reshape(-1) ^ 0x88, packed.size * 2).reshape(len(integers), -1)
            np.testing.assert_array_equal(unpacked[:, : integers.shape[1]], integers)
        else:
            dynamic = precision == "dynamic-int8"
            held = stored[f"{name}/uint8"].astype(np.int16) - 128 if dynamic else stored[f"{name}/int8"]
            assert np.array_equal(held, integers) or np.array_equal(held, integers.T)


def _tflite_integers(path: Path) -> dict[str, Array]:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    found = {}
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is None:
            continue
        if tensor.type == schema.TensorType.INT4:
            found[tensor.name.decode()] = unpack_int4(np.asarray(data), int(np.prod(tensor.shape)))
        elif tensor.type == schema.TensorType.INT8:
            found[tensor.name.decode()] = np.asarray(data).view(np.int8)
    return found


def _mnn_integers(path: Path) -> list[Array]:
    """What the convolutions of a file hold: a table of values, and an index into it for each weight."""
    found = []
    for op in read_net(path).ops:
        if op.type != "Convolution":
            continue
        buffer = convolution(op).stored.view(np.uint8)
        rank = int(buffer[0])
        dims = buffer[1 : 1 + 2 * rank].view(np.uint16)
        start = 1 + 2 * rank
        count = int(buffer[start]) or 256
        values = buffer[start + 1 : start + 1 + count].view(np.int8)
        bits = np.unpackbits(buffer[start + 1 + count :]).reshape(-1, int(np.log2(count)))
        indices = (bits @ (1 << np.arange(bits.shape[1])[::-1])).astype(int)
        integers = values[indices[: int(np.prod(dims.astype(int)))]]
        channels = len(convolution(op).bias)
        found.append(integers.reshape(channels, -1))
    return found


@pytest.mark.parametrize(("format_name", "precision"), [pair for pair in PAIRS if pair[1] != "fp32"])
def test_a_node_marked_float32_keeps_its_weights(format_name: str, precision: Precision, tmp_path: Path) -> None:
    net = Net()
    rows = net.input(2, 32)
    kept = net.node("Tanh", net.node("Gemm", rows, net.weight(24, 32), net.weight(24), transB=1))
    net.output(net.node("Gemm", kept, net.weight(32, 24), transB=1))
    model = simplify(CompressedModel(net.model()))
    first = next(node for node in model.graph.graph if node.op_type == "Gemm")
    first.metadata_props[PRECISION_KEY] = "float32"
    weight = first.inputs[1].const_value.numpy()  # type: ignore[union-attr]
    rng = np.random.default_rng(0)
    data = [tuple(feed.draw(rng) for feed in net.feeds)]
    made = MAKE[precision](model, data)
    problems = load_converter(format_name).check(made, OPTIONS)
    if (format_name, precision) == ("mnn", "fp16"):
        assert "stay in float32" in problems[0].reason
        return
    assert not problems
    path = _convert(format_name, made, tmp_path).path
    content = path.read_bytes()
    assert weight.tobytes() in content or weight.T.tobytes() in content
    outputs = run_artifact(load_converter(format_name).open(path), data[0])
    simulated = Simulation(made, threads=1).run(data[0])
    assert _sqnr(outputs[0], simulated[0]) >= PRECISIONS[precision].simulation_sqnr


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_refusal_says_what_would_do(format_name: str) -> None:
    tables = {name: load_converter(name).precisions for name in FORMATS}
    for precision in NAMES:
        assert set(tables[format_name]) == set(NAMES)
        if precision in _supported(format_name):
            check_support(precision, tables, [format_name], "x")
            continue
        with pytest.raises(InputError) as caught:
            check_support(precision, tables, [format_name, "onnxruntime"], "x")
        assert tables[format_name][precision].how in caught.value.actual
        assert "--formats onnxruntime" in caught.value.cure
        assert "--precision with one of fp32" in caught.value.cure


@pytest.mark.parametrize("format_name", ["tflite", "onnxruntime", "mnn"])
def test_a_mask_beyond_float16_and_an_epsilon_below_give_numbers(format_name: str, tmp_path: Path) -> None:
    net = Net()
    data = net.input(1, 6, 6)
    scores = net.node("Add", data, np.triu(np.full((6, 6), -3.4e38, np.float32), 1))
    zero = net.node("Relu", net.node("Neg", net.node("Abs", data)))
    ratio = net.node("Div", zero, net.node("Add", zero, np.array(1e-12, np.float32)))
    net.output(net.node("Softmax", scores, axis=-1), ratio)
    model = round_to_half(simplify(CompressedModel(net.model())))
    inputs = [feed.draw(np.random.default_rng(0)) for feed in net.feeds]
    outputs = run_artifact(load_converter(format_name).open(_convert(format_name, model, tmp_path).path), inputs)
    for output, expected in zip(outputs, Simulation(model, threads=1).run(inputs), strict=True):
        assert np.isfinite(output).all()
        assert _sqnr(output, expected) > 40


def test_float16_saturates_at_both_ends() -> None:
    array = np.array([1e-12, -1e-12, 0.0, 1e6, -3.4e38, np.inf, -np.inf, 0.1], np.float32)
    half = as_half(array)
    assert half[0] > 0 > half[1]
    assert half[2] == 0
    assert half[3] == -half[4] == 65504
    assert half[5] == np.inf and half[6] == -np.inf  # noqa: PT018
    assert not is_half(array)
    assert is_half(half.astype(np.float32))


@pytest.mark.parametrize("count", [0, 1, 7, 8])
def test_int4_packs_and_unpacks(count: int) -> None:
    integers = np.random.default_rng(0).integers(-8, 8, count).astype(np.int8)
    packed = pack_int4(integers)
    assert packed.shape == ((count + 1) // 2,)
    np.testing.assert_array_equal(unpack_int4(packed, count), integers)
