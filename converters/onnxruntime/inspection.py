"""Reads what is inside an `.onnx` file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from edgecomp.converter import Inspection, count_operators
from edgecomp.converters.onnxruntime.convert import needs_float
from edgecomp.converters.onnxruntime.runtime import OnnxRuntimePredictor, unreadable
from edgecomp.graph.query import constant, input_of
from edgecomp.quantization.parameters import QuantizationParameters


def inspect(path: Path) -> Inspection:
    """Counts operators as stored; a node between DequantizeLinear and QuantizeLinear counts as int8."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise unreadable(path, error) from None
    predictor = OnnxRuntimePredictor(path, threads=1)
    return Inspection(
        format="onnxruntime",
        size=path.stat().st_size,
        inputs=predictor.inputs,
        outputs=predictor.outputs,
        operators=count_operators((node.op_type, _precision(node)) for node in ir.from_proto(model).graph),
        weight_bytes=sum(len(tensor.raw_data) for tensor in model.graph.initializer),
        metadata=predictor.metadata,
        precision=predictor.precision,
    )


#: Operators that compute in integers and do not say so by their type; DynamicQuantizeMatMul is two of them, fused.
INTEGER_OPERATORS = {
    "DynamicQuantizeLinear": "int8",
    "DynamicQuantizeMatMul": "int8",
    "MatMulInteger": "int8",
    "MatMulIntegerToFloat": "int8",
    "MatMulNBits": "int4",
}


def _precision(node: ir.Node) -> str:
    """What a stored node executes in: int8 between DequantizeLinear and QuantizeLinear, if there is a kernel."""
    if node.op_type in INTEGER_OPERATORS:
        return INTEGER_OPERATORS[node.op_type]
    if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
        zero_point = constant(input_of(node, 2))
        return "int16" if zero_point is not None and zero_point.dtype == np.int16 else "int8"
    source = next(
        (value.producer() for value in node.inputs if value is not None and value.producer() is not None), None
    )
    readers = [use.node for use in node.outputs[0].uses()]
    if source is None or source.op_type != "DequantizeLinear" or [n.op_type for n in readers] != ["QuantizeLinear"]:
        value = node.outputs[0]
        return "float32" if value.dtype is None else value.dtype.numpy().name
    scale, zero_point = (constant(value) for value in readers[0].inputs[1:3])
    if scale is None or scale.size != 1 or zero_point is None or zero_point.dtype == np.int16:
        return "float32"
    # uint8 numbers are int8 numbers with 128 added.
    shift = 128 if zero_point.dtype == np.uint8 else 0
    parameters = QuantizationParameters(scale.reshape(()), zero_point.reshape(()).astype(np.int32) - shift)
    return "float32" if needs_float(node, parameters) else "int8"
