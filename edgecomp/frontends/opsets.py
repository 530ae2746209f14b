"""Opsets raised to one that has a single form of each operator, or declared older where that changes nothing."""

from __future__ import annotations

import functools
from collections.abc import Hashable

import onnx
import onnx.version_converter

from edgecomp.frontends.external_data import all_nodes
from edgecomp.frontends.onnxruntime_operators import adopted_set_aside, brought_back

_STANDARD = ("", "ai.onnx")
#: The version of the file format that came with opset 23; later ones added nothing that edgecomp reads.
_NEWEST_FORMAT = 11
#: The version of the file format from which on an initializer need not be an input as well.
_FORMAT_OF_INITIALIZERS = 4

#: What Upsample, and Resize before opset 11, computed: they had no attributes to say so.
_OLDEST_RESIZE = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
_RESIZE_WITH_ATTRIBUTES = 11


def raise_opset(proto: onnx.ModelProto, declared: int, wanted: int) -> onnx.ModelProto:
    """Rewrites every operator into the form that it has in a newer opset.

    Args:
        proto: Its initializers need not be inputs, whatever its format demands.
        declared: The opset that it declares.
        wanted: The newer one.

    Raises:
        RuntimeError: onnx knows no way for an operator.
        onnx.checker.ValidationError: What came out is no valid model.
    """
    proto.ir_version = max(proto.ir_version, _FORMAT_OF_INITIALIZERS)
    with adopted_set_aside(proto):
        raised = onnx.version_converter.convert_version(proto, wanted)
    if declared < _RESIZE_WITH_ATTRIBUTES:
        # onnx leaves these to the defaults, which are others.
        for node in all_nodes(raised):
            if node.op_type == "Resize" and node.domain in _STANDARD:
                node.attribute.extend(onnx.helper.make_attribute(*each) for each in _OLDEST_RESIZE.items())
    onnx.checker.check_model(raised)
    return brought_back(raised)


def lower_opset(proto: onnx.ModelProto, declared: int, oldest: int) -> None:
    """Declares the oldest opset, of those from `oldest` on, in which every operator has the form of the declared one.

    Two versions of an operator have the same form when they have the same inputs, outputs and attributes: then the
    newer one takes more types.

    Args:
        proto: Changed in place.
        declared: The opset that it declares.
        oldest: How far to go.
    """
    proto.ir_version = min(proto.ir_version, _NEWEST_FORMAT)
    entries = [entry for part in (proto, *proto.functions) for entry in part.opset_import if entry.domain in _STANDARD]
    # Functions may have an opset of their own.
    if declared <= oldest or any(entry.version != declared for entry in entries):
        return
    used = {node.op_type for node in all_nodes(proto) if node.domain in _STANDARD}
    lowest = max((_oldest_alike(op_type, declared, oldest) for op_type in used), default=oldest)
    for entry in entries:
        entry.version = lowest


@functools.cache
def _oldest_alike(op_type: str, declared: int, oldest: int) -> int:
    """The oldest version of an operator from `oldest` on that has the form of the declared one."""
    if not onnx.defs.has(op_type, declared):
        return oldest  # the checker says so
    wanted = _form(onnx.defs.get_schema(op_type, declared))
    version = declared
    while version > oldest and onnx.defs.has(op_type, version - 1):
        if _form(onnx.defs.get_schema(op_type, version - 1)) != wanted:
            break
        version -= 1
    return version


def _form(schema: onnx.defs.OpSchema) -> Hashable:
    attributes = [
        (name, str(attribute.type), attribute.required, attribute.default_value.SerializeToString())
        for name, attribute in sorted(schema.attributes.items())
    ]
    sides = [tuple((entry.name, str(entry.option)) for entry in side) for side in (schema.inputs, schema.outputs)]
    return (tuple(attributes), *sides)
