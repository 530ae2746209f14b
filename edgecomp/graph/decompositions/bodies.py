"""The function bodies that come with ONNX: how its specification defines an operator by simpler ones."""

from __future__ import annotations

import functools
from typing import Any

import onnx
import onnx_ir as ir


@functools.cache
def operators_with_bodies() -> frozenset[str]:
    """Returns the operators of the default domain that ONNX defines by others."""
    schemas: list[Any] = list(onnx.defs.get_all_schemas_with_history())
    return frozenset(
        schema.name
        for schema in schemas
        if schema.domain == "" and (schema.has_function or schema.has_context_dependent_function)
    )


def body(node: ir.Node, opset: int) -> ir.Function | None:
    """Returns the body of a node as a function of its own inputs and attributes; None if ONNX has none.

    Some bodies depend on types, and on which inputs are present.
    """
    schema: Any  # onnx's stubs are incomplete
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return None
    proto = onnx.FunctionProto()
    if versions := _known(schema.function_opset_versions, opset):
        proto.ParseFromString(schema.get_function_with_opset_version(max(versions)))
    elif versions := _known(schema.context_dependent_function_opset_versions, opset):
        types = [b"" if value is None else _type(value) for value in node.inputs]
        if None in types:
            return None
        content = schema.get_context_dependent_function_with_opset_version(
            max(versions), ir.to_proto(node).SerializeToString(), types
        )
        proto.ParseFromString(content)
    if not proto.node:
        return None
    _leave_out_unused(proto, len(node.outputs))
    function = ir.serde.deserialize_function(proto)
    function.opset_imports.clear()
    function.opset_imports[""] = opset
    for name, attribute in schema.attributes.items():
        if name not in node.attributes and attribute.default_value.type:
            node.attributes[name] = ir.serde.deserialize_attribute(attribute.default_value)
    return function


def _leave_out_unused(proto: onnx.FunctionProto, outputs: int) -> None:
    """Cuts a body to the outputs that its node has; outputs skipped in the middle get a placeholder."""
    del proto.output[outputs:]
    made = {name for node in proto.node for name in node.output}
    for name in set(proto.output) - made:
        proto.node.append(onnx.helper.make_node("Identity", [proto.input[0]], [name]))


def _known(versions: list[int], opset: int) -> list[int]:
    return [version for version in versions if version <= opset]


def _type(value: ir.Value) -> bytes | None:
    if value.type is None:
        return None
    content: bytes = ir.to_proto(value).type.SerializeToString()
    return content
