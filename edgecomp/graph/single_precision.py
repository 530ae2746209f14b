"""Graphs that compute in half or double precision, in float32: what runtimes on devices compute in.

The numbers of a float16 or bfloat16 weight are float32 numbers as they are. A graph's inputs and outputs keep their
types: Casts stand behind the first and in front of the second.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})

#: Attributes that name the type of what an operator gives.
_TYPES = ("to", "dtype", "output_dtype", "output_datatype")


def computes_in(model: ir.Model, dtypes: Collection[ir.DataType]) -> bool:
    """Whether a weight or a border is of one of some types, or a Cast gives it."""
    values = [
        value
        for graph in (model.graph, *model.graph.subgraphs())
        for value in (*graph.initializers.values(), *graph.inputs, *graph.outputs)
    ]
    if any(value.dtype in dtypes for value in values):
        return True
    casts = (node for node in model.graph.all_nodes() if node.op_type == "Cast")
    return any(cast.attributes.get_int("to", 0) in dtypes for cast in casts)


def to_single(model: ir.Model, dtypes: Collection[ir.DataType]) -> None:
    """Makes everything of some floating-point types float32, in place, but for the graph's inputs and outputs."""
    graph = model.graph
    border = [(value, value.dtype) for value in (*graph.inputs, *graph.outputs) if value.dtype in dtypes]
    for part in (model.graph, *model.graph.subgraphs()):
        for value in (*part.inputs, *part.initializers.values(), *(out for node in part for out in node.outputs)):
            _widen(value, dtypes)
    for node in model.graph.all_nodes():
        for name, attribute in list(node.attributes.items()):
            if name in _TYPES and attribute.type == ir.AttributeType.INT and attribute.as_int() in dtypes:
                node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT)
            elif attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in dtypes:
                node.attributes[name] = ir.AttrTensor(name, _single(attribute.as_tensor()))
    for value, dtype in border:
        assert dtype is not None
        (_cast_behind if value in graph.inputs else _cast_before)(graph, value, dtype)


def _widen(value: ir.Value, dtypes: Collection[ir.DataType]) -> None:
    if isinstance(value.type, ir.TensorType) and value.dtype in dtypes:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    if value.const_value is not None and value.const_value.dtype in dtypes:
        value.const_value = _single(value.const_value)


def _single(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy().astype(np.float32), name=tensor.name)


def _cast_behind(graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> None:
    cast = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT)}, name=f"{value.name}/in_float32")
    result = cast.outputs[0]
    result.name, result.type, result.shape = f"{value.name}/in_float32", ir.TensorType(ir.DataType.FLOAT), value.shape
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    cast.replace_input_with(0, value)
    value.type = ir.TensorType(dtype)
    if (first := next(iter(graph), None)) is None:
        graph.append(cast)
    else:
        graph.insert_before(first, cast)


def _cast_before(graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> None:
    cast = ir.node("Cast", [value], {"to": int(dtype)}, name=f"{value.name}/given_back")
    result = cast.outputs[0]
    result.type, result.shape, result.name = ir.TensorType(dtype), value.shape, value.name
    value.name = f"{value.name}/in_float32"
    graph.append(cast)
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[index] = result
