"""Small ONNX graphs for the tests of the MNN converter, written node by node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper, numpy_helper

from edgecomp.model import CompressedModel

IMAGE = (1, 3, 16, 16)


class Builder:
    """Writes a small ONNX graph, node by node."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, op_type: str, *inputs: str, count: int = 1, **attributes: Any) -> Any:
        names = [f"{op_type.lower()}{len(self.nodes)}_{index}" for index in range(count)]
        self.nodes.append(helper.make_node(op_type, inputs, names, f"node_{names[0]}", **attributes))
        return names[0] if count == 1 else names

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), f"constant{len(self.constants)}"))
        return self.constants[-1].name

    def integers(self, *numbers: int) -> str:
        return self.constant(numbers, np.int64)

    def noise(self, *shape: int) -> str:
        return self.constant(self.random.normal(size=shape) / np.sqrt(max(1, np.prod(shape[1:]))))

    def conv(self, data: str, inside: int, outside: int, kernel: int = 3, group: int = 1, **attributes: Any) -> str:
        weight = self.noise(outside, inside // group, kernel, kernel)
        attributes = {"pads": [kernel // 2] * 4, "kernel_shape": [kernel] * 2, "group": group, **attributes}
        return self("Conv", data, weight, self.noise(outside), **attributes)

    def finish(
        self, outputs: list[str], shape: tuple[Any, ...] = IMAGE, dtype: int = onnx.TensorProto.FLOAT
    ) -> CompressedModel:
        inputs = [helper.make_tensor_value_info("x", dtype, shape)]
        results = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", inputs, results, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        return CompressedModel(ir.from_proto(onnx.shape_inference.infer_shapes(model, data_prop=True)))


Body = Callable[[Builder], list[str]]


def model_of(body: Body, shape: tuple[int, ...] = IMAGE) -> CompressedModel:
    builder = Builder()
    return builder.finish(body(builder), shape)


def data(count: int = 32, shape: tuple[int, ...] = IMAGE) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(1)
    return [random.normal(size=shape).astype(np.float32) for _ in range(count)]


def judge(model: ir.Model, *inputs: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    feeds = {item.name: array for item, array in zip(session.get_inputs(), inputs, strict=True)}
    return list(session.run(None, feeds))


def squeeze_and_excite(b: Builder) -> list[str]:
    data = b("Relu", b.conv("x", 3, 8))
    gate = b("Sigmoid", b.conv(b("Relu", b.conv(b("GlobalAveragePool", data), 8, 4, 1)), 4, 8, 1))
    return [b.conv(b("Mul", data, gate), 8, 4)]
