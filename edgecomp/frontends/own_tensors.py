"""Weights in memory of their own: the message that a model was read from would keep all of them a second time."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.serde import TensorProtoTensor

from edgecomp.graph.stored_weights import StoredWeights


def own_tensors(model: ir.Model, weights: StoredWeights) -> ir.Model:
    """Replaces, in place, every tensor that is a view of a protobuf message; each of those copies with every access.

    Strings stay in their message.

    Args:
        model: As `ir.from_proto` gives it, without functions.
        weights: What lies beside the message.

    Returns:
        `model`.
    """
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.const_value = _owned(value.const_value, weights)
        for node in graph:
            for name, attribute in node.attributes.items():
                if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                    node.attributes[name] = ir.AttrTensor(name, _owned(attribute.as_tensor(), weights))
    return model


def _owned(tensor: ir.TensorProtocol, weights: StoredWeights) -> ir.TensorProtocol:
    if not isinstance(tensor, TensorProtoTensor) or tensor.dtype == ir.DataType.STRING:
        return tensor
    numbers = weights.numbers(tensor.raw) if weights.holds(tensor.raw) else tensor.numpy()
    return ir.Tensor(numbers, dtype=tensor.dtype, name=tensor.name, metadata_props=tensor.metadata_props)
