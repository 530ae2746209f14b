"""Small float models for tests of the quantizer, written as one line per node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel

SHAPE = (1, 3, 4, 4)


def node(op_type: str, given: str, result: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, given.split(), result.split(), f"{op_type}_{result}", **attributes)


def model_of(
    *nodes: onnx.NodeProto, outputs: str = "y", shape: tuple[int, ...] = SHAPE, raw: bool = False, **constants: Any
) -> CompressedModel:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.split()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    onnx.checker.check_model(proto, full_check=True)
    model = CompressedModel(ir.from_proto(proto))
    return model if raw else simplify(model)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def batches(count: int = 4, shape: tuple[int, ...] = SHAPE, scale: float = 1.0) -> list[tuple[np.ndarray]]:
    rng = np.random.default_rng(9)
    return [(rng.normal(0, scale, shape).astype(np.float32),) for _ in range(count)]
