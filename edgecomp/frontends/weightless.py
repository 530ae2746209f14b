"""Calls into ONNX's C++ without the weights, which it would copy several times over."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

#: Bytes. What is smaller may be an argument (axes, sizes, pads), and then the call wants to see it.
_LARGE = 1024


def without_weights(model: ir.Model, call: Callable[[onnx.ModelProto], onnx.ModelProto]) -> ir.Model:
    """What `call` makes of a model, with large weights as inputs for the time being.

    Args:
        model: Comes back as it was, except that its Constant nodes are initializers.
        call: Takes and gives a model; it must leave the names of inputs alone.

    Returns:
        A new model that shares the weights' memory with the old one.
    """
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    graph = model.graph
    own = list(graph.inputs)
    weights = {
        name: value
        for name, value in graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes > _LARGE and value not in own
    }
    for name, value in weights.items():
        value.shape, value.type = value.const_value.shape, ir.TensorType(value.const_value.dtype)  # type: ignore[union-attr, assignment]
        del graph.initializers[name]
    graph.inputs.extend(weights.values())
    try:
        proto = ir.to_proto(model)
    finally:
        graph.inputs[len(own) :] = []  # `del` would leave every weight marked as an input
        for value in weights.values():
            graph.register_initializer(value)
    result = ir.from_proto(call(proto))
    for value in [value for value in result.graph.inputs if value.name in weights]:
        result.graph.inputs.remove(value)
        value.const_value = weights[value.name or ""].const_value
        result.graph.register_initializer(value)
    return result
