"""Elementwise operators, with numpy's broadcasting."""

from __future__ import annotations

from functools import reduce

import onnx_ir as ir
import torch
from torch.nn import functional

from edgecomp.graph_module.ops.node import TORCH_TYPES, Build, Function, UnsupportedError, plain

Tensor = torch.Tensor


def _variadic(function: Function) -> Build:
    """Builds an operator with any number of inputs, combined two at a time."""
    return plain(lambda *inputs: reduce(function, inputs))


def _divide(left: Tensor, right: Tensor) -> Tensor:
    """Divides; integers are rounded towards zero."""
    return left / right if left.is_floating_point() else torch.div(left, right, rounding_mode="trunc")


def _prelu(inputs: Tensor, slope: Tensor) -> Tensor:
    return torch.where(inputs < 0, inputs * slope, inputs)


def _clip(inputs: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return inputs if low is None and high is None else torch.clamp(inputs, low, high)


def _clip_by_attributes(node: ir.Node) -> Function:
    """Reads the bounds from attributes, where they were before opset 11."""
    if not {"min", "max"} & set(node.attributes):
        return _clip
    low, high = (node.attributes.get_float(name, None) for name in ("min", "max"))
    return lambda inputs: torch.clamp(inputs, low, high)


def _leaky_relu(node: ir.Node) -> Function:
    slope = node.attributes.get_float("alpha", 0.01)
    return lambda inputs: functional.leaky_relu(inputs, slope)


def _elu(node: ir.Node) -> Function:
    alpha = node.attributes.get_float("alpha", 1.0)
    return lambda inputs: functional.elu(inputs, alpha)


def _celu(node: ir.Node) -> Function:
    alpha = node.attributes.get_float("alpha", 1.0)
    return lambda inputs: functional.celu(inputs, alpha)


def _selu(node: ir.Node) -> Function:
    alpha = node.attributes.get_float("alpha", 1.6732631921768188)
    gamma = node.attributes.get_float("gamma", 1.0507010221481323)
    return lambda inputs: gamma * functional.elu(inputs, alpha)


def _thresholded_relu(node: ir.Node) -> Function:
    alpha = node.attributes.get_float("alpha", 1.0)
    return lambda inputs: functional.threshold(inputs, alpha, 0.0)


def _hard_sigmoid(node: ir.Node) -> Function:
    alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
    return lambda inputs: torch.clamp(alpha * inputs + beta, 0.0, 1.0)


def _swish(node: ir.Node) -> Function:
    alpha = node.attributes.get_float("alpha", 1.0)
    return lambda inputs: inputs * torch.sigmoid(alpha * inputs)


def _gelu(node: ir.Node) -> Function:
    approximate = node.attributes.get_string("approximate", "none")
    return lambda inputs: functional.gelu(inputs, approximate=approximate or "none")


def _softmax(node: ir.Node) -> Function:
    axis = node.attributes.get_int("axis", -1)
    return lambda inputs: torch.softmax(inputs, axis)


def _log_softmax(node: ir.Node) -> Function:
    axis = node.attributes.get_int("axis", -1)
    return lambda inputs: torch.log_softmax(inputs, axis)


def _is_infinite(node: ir.Node) -> Function:
    low, high = (bool(node.attributes.get_int(f"detect_{name}", 1)) for name in ("negative", "positive"))
    return lambda inputs: (torch.isneginf(inputs) & low) | (torch.isposinf(inputs) & high)


def _mod(node: ir.Node) -> Function:
    return torch.fmod if node.attributes.get_int("fmod", 0) else torch.remainder


def _cast(node: ir.Node) -> Function:
    kind = ir.DataType(node.attributes.get_int("to"))
    if kind not in TORCH_TYPES:
        raise UnsupportedError(f"it casts to {kind.name.lower()}")
    return lambda inputs: inputs.to(TORCH_TYPES[kind])


ELEMENTWISE: dict[str, Build] = {
    # One input.
    "Abs": plain(torch.abs),
    "Acos": plain(torch.acos),
    "Asin": plain(torch.asin),
    "Atan": plain(torch.atan),
    "Ceil": plain(torch.ceil),
    "Cos": plain(torch.cos),
    "Cosh": plain(torch.cosh),
    "Erf": plain(torch.erf),
    "Exp": plain(torch.exp),
    "Floor": plain(torch.floor),
    "Identity": plain(lambda inputs: inputs),
    "IsInf": _is_infinite,
    "IsNaN": plain(torch.isnan),
    "Log": plain(torch.log),
    "Neg": plain(torch.neg),
    "Not": plain(torch.logical_not),
    "Reciprocal": plain(torch.reciprocal),
    "Round": plain(torch.round),
    "Sign": plain(torch.sign),
    "Sin": plain(torch.sin),
    "Sinh": plain(torch.sinh),
    "Sqrt": plain(torch.sqrt),
    "Tan": plain(torch.tan),
    # Activations.
    "Celu": _celu,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": plain(functional.hardswish),
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _log_softmax,
    "Mish": plain(functional.mish),
    "PRelu": plain(_prelu),
    "Relu": plain(torch.relu),
    "Selu": _selu,
    "Sigmoid": plain(torch.sigmoid),
    "Softmax": _softmax,
    "Softplus": plain(functional.softplus),
    "Softsign": plain(functional.softsign),
    "Swish": _swish,
    "Tanh": plain(torch.tanh),
    "ThresholdedRelu": _thresholded_relu,
    # Several inputs.
    "Add": plain(torch.add),
    "And": plain(torch.logical_and),
    "Cast": _cast,
    "Clip": _clip_by_attributes,
    "Div": plain(_divide),
    "Equal": plain(torch.eq),
    "Greater": plain(torch.gt),
    "GreaterOrEqual": plain(torch.ge),
    "Less": plain(torch.lt),
    "LessOrEqual": plain(torch.le),
    "Max": _variadic(torch.maximum),
    "Mean": plain(lambda *inputs: reduce(torch.add, inputs) / len(inputs)),
    "Min": _variadic(torch.minimum),
    "Mod": _mod,
    "Mul": plain(torch.mul),
    "Or": plain(torch.logical_or),
    "Pow": plain(lambda base, exponent: torch.pow(base, exponent).to(base.dtype)),
    "Sub": plain(torch.sub),
    "Sum": _variadic(torch.add),
    "Where": plain(torch.where),
    "Xor": plain(torch.logical_xor),
}
