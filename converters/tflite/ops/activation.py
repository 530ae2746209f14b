"""Activation functions and other functions of one tensor."""

from __future__ import annotations

from functools import partial

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.lowering import Unsuited
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.elementwise import broadcastable, last, unary
from edgecomp.graph.query import clip_bounds
from edgecomp.quantization.qdq import is_redundant_clip

#: Clips with an operator of their own.
_CLIPS = {(0.0, np.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}


def simple(operation: Operation, name: str, options: type | None = None) -> None:
    """Emits one TFLite operator with the same meaning."""
    source, result = unary(operation)
    operation.emit(name, [source], [result], options() if options is not None else None)


def clip(operation: Operation) -> None:
    """Relu and Clip -> RELU and the like, else MAXIMUM and MINIMUM; for integers, QUANTIZE if saturation is enough."""
    source = operation.input(0)
    bounds = _effective(clip_bounds(operation.node), source)
    parameters = operation.parameters(operation.node.outputs[0])
    if parameters is not None:
        result = operation.output(operation.layout(0))
        if is_redundant_clip(operation.node, parameters):
            operation.emit("QUANTIZE", [source], [result], schema.QuantizeOptionsT())
            return
        if source.quantization != parameters:
            source = operation.lowering.quantized(source, parameters, f"{operation.node.name}/requantized")
        _limit(operation, source, result, bounds)
    elif bounds in _CLIPS and source.dtype == "float32":
        operation.emit(_CLIPS[bounds], [source], [operation.output(operation.layout(0))])
    elif np.isinf(bounds).all():
        operation.alias(source, operation.layout(0))
    else:
        _limit(operation, source, operation.output(operation.layout(0)), bounds)


def _effective(bounds: tuple[float, float], source: Tensor) -> tuple[float, float]:
    """Returns the bounds, without those that values of an integer type cannot exceed."""
    if source.quantization is not None or np.dtype(source.dtype).kind not in "iu":
        return bounds
    low, high = bounds
    reach = np.iinfo(source.dtype)
    return (low if low > reach.min else -np.inf), (high if high < reach.max else np.inf)


def _limit(operation: Operation, source: Tensor, result: Tensor, bounds: tuple[float, float]) -> None:
    """Emits MAXIMUM and MINIMUM with the finite bounds, in the type of the tensors."""
    steps = [(name, bound) for name, bound in zip(("MAXIMUM", "MINIMUM"), bounds, strict=True) if np.isfinite(bound)]
    for index, (name, bound) in enumerate(steps, start=1):
        target = result if index == len(steps) else operation.temporary(result)
        parameters = source.quantization
        stored = np.array(bound, source.dtype) if parameters is None else parameters.quantize(np.array(bound))
        limit = operation.builder.constant("bound", stored, parameters)
        operation.emit(name, [source, limit], [target], schema.MaximumMinimumOptionsT())
        source = target


def elu(operation: Operation) -> None:
    """Elu -> ELU; with another alpha than 1, max(x, 0) + alpha * (ELU(x) - max(x, 0))."""
    alpha = operation.node.attributes.get_float("alpha", 1.0)
    source, result = unary(operation)
    if alpha == 1:
        operation.emit("ELU", [source], [result])
        return
    whole, positive, negative, scaled = (operation.temporary(result) for _ in range(4))
    operation.emit("ELU", [source], [whole])
    operation.emit("RELU", [source], [positive])
    operation.emit("SUB", [whole, positive], [negative], schema.SubOptionsT())
    operation.emit("MUL", [negative, operation.real_constant(alpha, "alpha")], [scaled], schema.MulOptionsT())
    operation.emit("ADD", [positive, scaled], [result], schema.AddOptionsT())


def leaky_relu(operation: Operation) -> None:
    """LeakyRelu -> LEAKY_RELU."""
    options = schema.LeakyReluOptionsT()
    options.alpha = operation.node.attributes.get_float("alpha", 0.01)
    source, result = unary(operation)
    operation.emit("LEAKY_RELU", [source], [result], options)


def prelu(operation: Operation) -> None:
    """PRelu -> PRELU; the slope is broadcast to the input's rank."""
    layout = operation.layout(0)
    tensors = [operation.input(0), broadcastable(operation, 1, layout)]
    operation.emit("PRELU", tensors, [operation.output(layout)])


def gelu(operation: Operation) -> None:
    """Gelu -> GELU."""
    options = schema.GeluOptionsT()
    options.approximate = operation.node.attributes.get_string("approximate", "none") == "tanh"
    source, result = unary(operation)
    operation.emit("GELU", [source], [result], options)


def hard_sigmoid(operation: Operation) -> None:
    """max(0, min(1, alpha * x + beta)) -> MUL, ADD with RELU, and MINIMUM: operators that XNNPACK supports."""
    alpha = operation.node.attributes.get_float("alpha", 0.2) or 0.0
    beta = operation.node.attributes.get_float("beta", 0.5) or 0.0
    source, result = unary(operation)
    scaled, shifted = operation.temporary(source), operation.temporary(result)
    operation.emit("MUL", [source, operation.real_constant(alpha, "alpha")], [scaled], schema.MulOptionsT())
    options = schema.AddOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    operation.emit("ADD", [scaled, operation.real_constant(beta, "beta")], [shifted], options)
    operation.emit("MINIMUM", [shifted, operation.real_constant(1.0, "one")], [result], schema.MaximumMinimumOptionsT())


def softmax(operation: Operation, name: str = "SOFTMAX") -> None:
    """Softmax and LogSoftmax over one dimension, which has to be the last one in TFLite."""
    rank = len(operation.shape(0))
    axis = (operation.node.attributes.get_int("axis", -1) or 0) % rank
    layout = last(operation, axis)
    source, result = operation.input(0, layout), operation.output(layout)
    if name == "SOFTMAX":
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        operation.emit(name, [source], [result], options)
    else:
        operation.emit(name, [source], [result], schema.LogSoftmaxOptionsT())


def in_float(
    operation: Operation, function: LoweringFunction, reason: str, types: tuple[str, ...] = ("int8", "int16")
) -> None:
    """Lowers a function only in float, if the integer kernels of some types do not give the rounded function."""
    parameters = operation.parameters(operation.node.outputs[0])
    if parameters is not None and parameters.dtype in types:
        raise Unsuited(reason)
    function(operation)


def cast(operation: Operation) -> None:
    """Cast -> CAST."""
    source, result = unary(operation)
    if source.dtype == result.dtype:
        operation.alias(source, operation.layout(0))
        return
    operation.emit("CAST", [source], [result], schema.CastOptionsT())


def identity_(operation: Operation) -> None:
    """Identity -> nothing, or QUANTIZE if input and output have different parameters."""
    source = operation.input(0)
    if operation.parameters(operation.node.outputs[0]) == source.quantization:
        operation.alias(source, operation.layout(0))
        return
    operation.emit("QUANTIZE", [source], [operation.output(operation.layout(0))], schema.QuantizeOptionsT())


LOWERINGS: dict[str, LoweringFunction] = {
    "Abs": partial(simple, name="ABS", options=schema.AbsOptionsT),
    "Cast": cast,
    "Clip": clip,
    "Elu": elu,
    "Exp": partial(simple, name="EXP", options=schema.ExpOptionsT),
    "Floor": partial(simple, name="FLOOR"),
    "Gelu": gelu,
    "HardSigmoid": partial(
        in_float, function=hard_sigmoid, reason="in integers it takes two operators, each of which rounds"
    ),
    "HardSwish": partial(
        in_float,
        function=partial(simple, name="HARD_SWISH", options=schema.HardSwishOptionsT),
        reason="TFLite's int8 HARD_SWISH rounds twice, and XNNPACK, which is much faster, has none",
    ),
    "Identity": identity_,
    "LeakyRelu": partial(
        in_float,
        function=leaky_relu,
        reason="XNNPACK's int8 LEAKY_RELU gives the step beside for every tenth number",
        types=("int8",),
    ),
    "Log": partial(simple, name="LOG"),
    "LogSoftmax": partial(softmax, name="LOG_SOFTMAX"),
    "Neg": partial(simple, name="NEG", options=schema.NegOptionsT),
    "PRelu": prelu,
    "Relu": clip,
    "Sigmoid": partial(simple, name="LOGISTIC"),
    "Softmax": softmax,
    "Sqrt": partial(simple, name="SQRT"),
    "Tanh": partial(simple, name="TANH"),
}
