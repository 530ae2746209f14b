"""Models as other tools write them, for tests of what reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from edgecomp.model import CompressedModel

SHAPE = (1, 3, 12, 12)


class Reader(CalibrationDataReader):
    def __init__(self, batches: Sequence[dict[str, np.ndarray]]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def net(*, curved: bool = True, opset: int = 17) -> onnx.ModelProto:
    """Conv+Relu, depthwise Conv+Clip, residual Add, MaxPool, Concat, average pooling, Reshape, Gemm.

    Args:
        curved: Whether a Sigmoid and a Softmax are in it, whose parameters the scheme fixes.
        opset: Of the graph.
    """
    rng = np.random.default_rng(0)
    constants: list[TensorProto] = []

    def weight(name: str, *shape: int) -> str:
        array = rng.normal(0, 1 / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 1), shape)
        constants.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def number(name: str, value: object, dtype: type) -> str:
        constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    node = helper.make_node
    bounds = [number("low", 0, np.float32), number("high", 1.5, np.float32)]
    nodes = [
        node("Conv", ["x", weight("w1", 8, 3, 3, 3), weight("b1", 8)], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("Conv", ["r1", weight("w2", 8, 1, 3, 3), weight("b2", 8)], ["c2"], "conv2", pads=[1, 1, 1, 1], group=8),
        node("Clip", ["c2", *bounds], ["r2"], "clip"),
        node("Conv", ["r2", weight("w3", 8, 8, 1, 1)], ["c3"], "conv3"),
        node("Add", ["c3", "r1"], ["a"], "add"),
        node("MaxPool", ["a"], ["m"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["m", weight("w4", 4, 8, 3, 3), weight("b4", 4)], ["c4"], "conv4", pads=[1, 1, 1, 1]),
        node("Sigmoid" if curved else "Relu", ["c4"], ["s4"], "gate"),
        node("Concat", ["m", "s4"], ["k"], "concat", axis=1),
        node("GlobalAveragePool", ["k"], ["g"], "gap"),
        node("Reshape", ["g", number("flat", [1, 12], np.int64)], ["f"], "flatten"),
        node("Gemm", ["f", weight("w5", 10, 12), weight("b5", 10)], ["logits"], "head", transB=1),
        node("Softmax", ["logits"], ["y"], "softmax", axis=1) if curved else node("Relu", ["logits"], ["y"], "relu5"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 10]) for name in ("y", "logits")],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def inputs(count: int, seed: int = 1) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(0, 1, SHAPE).astype(np.float32)} for _ in range(count)]


def quantized_by_onnxruntime(
    *,
    activations: QuantType = QuantType.QInt8,
    weights: QuantType = QuantType.QInt8,
    curved: bool = True,
    per_channel: bool = True,
    form: QuantFormat = QuantFormat.QDQ,
    options: dict[str, object] | None = None,
    operators: list[str] | None = None,
) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        onnx.save(net(curved=curved), path / "float.onnx")
        quantize_static(
            path / "float.onnx",
            path / "quantized.onnx",
            Reader(inputs(8, seed=2)),
            quant_format=form,
            per_channel=per_channel,
            activation_type=activations,
            weight_type=weights,
            op_types_to_quantize=operators,
            extra_options=options or {},
        )
        return onnx.load(path / "quantized.onnx")


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray], optimize: bool = False) -> dict[str, np.ndarray]:
    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 3
    if not optimize:
        session_options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def rounded_everywhere(model: CompressedModel) -> onnx.ModelProto:
    """The graph with every tensor of the table rounded to its parameters, with no exception and no cleverness."""
    copy = model.graph.clone()
    graph = copy.graph
    produced = [value for node in graph for value in node.outputs]
    for value in (*graph.inputs, *produced):
        entry = model.quantization.get(value.name or "")
        if entry is None:
            continue
        numbers = []
        for part, array in (("scale", entry.scale), ("zero", entry.zero_point.astype(entry.dtype))):
            number = ir.Value(name=f"{value.name}/{part}", const_value=ir.tensor(array))
            graph.register_initializer(number)
            numbers.append(number)
        quantize = ir.node("QuantizeLinear", [value, *numbers])
        dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], *numbers])
        result = dequantize.outputs[0]
        producer = value.producer()
        if producer is None:
            outputs = [index for index, each in enumerate(graph.outputs) if each is value]
            assert not outputs
        value.replace_all_uses_with(result, replace_graph_outputs=True)
        quantize.replace_input_with(0, value)
        if producer is None:
            graph.insert_before(graph[0], [quantize, dequantize])
        else:
            graph.insert_after(producer, [quantize, dequantize])
            result.name, value.name = value.name, f"{value.name}/exact"
        result.type, result.shape = value.type, value.shape
    for name, value in graph.initializers.items():
        if name in model.quantization:
            entry = model.quantization[name]
            value.const_value = ir.tensor(entry.dequantize(entry.quantize(value.const_value.numpy())), name=name)
    return ir.to_proto(copy)
