"""Activation functions and other functions of one tensor."""

from __future__ import annotations

from functools import partial

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.lowering import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.elementwise import broadcastable, last, unary
from edgecomp.graph.query import clip_bounds
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import is_redundant_clip

#: Clips that are an operator of their own.
_CLIPS = {(0.0, np.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}


def simple(operation: Operation, name: str, options: type | None = None) -> None:
    """One TFLite operator of the same meaning."""
    source, result = unary(operation)
    operation.emit(name, [source], [result], options() if options is not None else None)


def clip(operation: Operation) -> None:
    """Relu and Clip -> RELU and its kin, else MAXIMUM and MINIMUM; in integers QUANTIZE when saturation does it."""
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
    """The bounds, without those that the numbers of a type cannot reach."""
    if source.quantization is not None or np.dtype(source.dtype).kind not in "iu":
        return bounds
    low, high = bounds
    reach = np.iinfo(source.dtype)
    return (low if low > reach.min else -np.inf), (high if high < reach.max else np.inf)


def _limit(operation: Operation, source: Tensor, result: Tensor, bounds: tuple[float, float]) -> None:
    """MAXIMUM and MINIMUM with the finite bounds, stored as the tensors are."""
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
    """max(0, min(1, alpha * x + beta)) -> MUL, ADD and a clip.

    In integers the product needs no rounding: its parameters are those of x with the scale times alpha, so that the
    integers stay the same; the sum saturates at 0 and 1.
    """
    alpha = operation.node.attributes.get_float("alpha", 0.2) or 0.0
    beta = operation.node.attributes.get_float("beta", 0.5) or 0.0
    source, result = unary(operation)
    factor, offset = (_scalar(operation, number) for number in (alpha, beta))
    scaled = operation.temporary(source)
    if source.quantization is not None:
        parameters = QuantizationParameters(
            source.quantization.scale * np.float32(alpha), source.quantization.zero_point
        )
        scaled = operation.builder.tensor(f"{operation.node.name}/scaled", source.shape, source.dtype, parameters)
    operation.emit("MUL", [source, factor], [scaled], schema.MulOptionsT())
    if operation.integer:
        operation.emit("ADD", [scaled, offset], [result], schema.AddOptionsT())
        return
    shifted = operation.temporary(result)
    operation.emit("ADD", [scaled, offset], [shifted], schema.AddOptionsT())
    operation.emit("RELU_0_TO_1", [shifted], [result])


def _scalar(operation: Operation, number: float) -> Tensor:
    if not operation.integer:
        return operation.real_constant(number, "constant")
    parameters = QuantizationParameters(np.array(max(abs(number), 1e-6) / 127, np.float32), np.array(0, np.int32))
    return operation.builder.constant("constant", parameters.quantize(np.array(number)), parameters)


def softmax(operation: Operation, name: str = "SOFTMAX") -> None:
    """Softmax and LogSoftmax over one dimension, which TFLite wants last."""
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


def cast(operation: Operation) -> None:
    """Cast -> CAST."""
    source, result = unary(operation)
    if source.dtype == result.dtype:
        operation.alias(source, operation.layout(0))
        return
    operation.emit("CAST", [source], [result], schema.CastOptionsT())


def identity_(operation: Operation) -> None:
    """Identity -> nothing, or QUANTIZE where it stands for a change of parameters."""
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
    "HardSigmoid": hard_sigmoid,
    "HardSwish": partial(simple, name="HARD_SWISH", options=schema.HardSwishOptionsT),
    "Identity": identity_,
    "LeakyRelu": leaky_relu,
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
