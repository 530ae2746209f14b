"""Unifies integer types: MNN computes in int32, and goes wrong with narrower integers and with double precision."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.converters.mnn.rewriting import Rewriting
from edgecomp.graph.query import constant

_KEPT = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING}
)


_NARROW = {ir.DataType.UINT8: 8, ir.DataType.INT8: 8, ir.DataType.UINT16: 16, ir.DataType.INT16: 16}


def unify_types(rewriting: Rewriting) -> None:
    """Makes every integer that is not int64 an int32, and every double a float."""
    graph = rewriting.model.graph
    for value in graph.initializers.values():
        wanted = _instead(value.dtype)
        array = constant(value)
        if wanted is not None and array is not None:
            value.const_value = ir.tensor(array.astype(wanted.numpy()), name=value.name)
            value.type = ir.TensorType(wanted)
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        wanted = _instead(value.dtype)
        if wanted is not None:
            # A type is an object that a value shares with its clones.
            value.type = ir.TensorType(wanted)
    for node in list(graph):
        if node.op_type == "Cast":
            _wrap(rewriting, node)
        for name in {"to", "dtype"}.intersection(node.attributes):
            wanted = _instead(ir.DataType(node.attributes[name].as_int()))
            if wanted is not None:
                node.attributes[name] = ir.AttrInt64(name, int(wanted))


def _instead(dtype: ir.DataType | None) -> ir.DataType | None:
    """What a type becomes; None when it stays."""
    if dtype is None or dtype in _KEPT:
        return None
    if dtype == ir.DataType.DOUBLE:
        return ir.DataType.FLOAT
    return ir.DataType.INT32 if dtype.is_integer() and dtype.numpy() != np.dtype(object) else None


def _wrap(rewriting: Rewriting, node: ir.Node) -> None:
    """Keeps the bits of an integer that the narrower type of a Cast has room for."""
    source, target = node.inputs[0], ir.DataType(node.attributes["to"].as_int())
    if source is None or source.dtype not in {ir.DataType.INT32, ir.DataType.INT64} or target not in _NARROW:
        return
    name, span = node.outputs[0].name or "", 1 << _NARROW[target]
    dtype = source.dtype.numpy()
    low = rewriting.constant(f"{name}/low", np.array(0 if target.name.startswith("U") else span // 2, dtype))
    wide = rewriting.constant(f"{name}/span", np.array(span, dtype))
    value = source
    for op_type, operand in (("Add", low), ("Mod", wide), ("Sub", low)):
        value = rewriting.node(op_type, [value, operand], f"{name}/{op_type.lower()}", None)
        value.type = ir.TensorType(source.dtype)
    rewriting.insert(node, value)
    node.replace_input_with(0, value)
