"""Activation functions and elementwise functions, in forms that avoid overflow and cancellation."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces

Results = Sequence[ir.Value | None]


def softplus(pieces: Pieces) -> Results:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)): no exponential is above 1."""
    x = pieces.input(0)
    small = pieces("Exp", pieces("Neg", pieces("Abs", x)))
    return [pieces("Add", pieces("Relu", x), pieces("Log", pieces("Add", small, pieces.like(x, 1))))]


def softsign(pieces: Pieces) -> Results:
    """X / (1 + |x|)."""
    x = pieces.input(0)
    return [pieces("Div", x, pieces("Add", pieces("Abs", x), pieces.like(x, 1)))]


def mish(pieces: Pieces) -> Results:
    """X * tanh(softplus(x)) (Misra, 2019)."""
    x = pieces.input(0)
    return [pieces("Mul", x, pieces("Tanh", pieces("Softplus", x)))]


def swish(pieces: Pieces) -> Results:
    """X * sigmoid(alpha * x)."""
    x, alpha = pieces.input(0), pieces.number("alpha", 1.0)
    scaled = x if alpha == 1 else pieces("Mul", x, pieces.like(x, alpha))
    return [pieces("Mul", x, pieces("Sigmoid", scaled))]


def celu(pieces: Pieces) -> Results:
    """Alpha * elu(x / alpha) (Barron, 2017)."""
    x, alpha = pieces.input(0), pieces.number("alpha", 1.0)
    if alpha == 1:
        return [pieces("Elu", x)]
    return [pieces("Mul", pieces("Elu", pieces("Div", x, pieces.like(x, alpha))), pieces.like(x, alpha))]


def selu(pieces: Pieces) -> Results:
    """Gamma * max(x, 0) + gamma * alpha * elu(min(x, 0)) (Klambauer et al., 2017)."""
    x = pieces.input(0)
    alpha, gamma = pieces.number("alpha", 1.67326319217681884765625), pieces.number("gamma", 1.05070102214813232421875)
    positive = pieces("Relu", x)
    negative = pieces("Sub", pieces("Elu", x), positive)
    steep = pieces("Mul", negative, pieces.like(x, gamma * alpha))
    return [pieces("Add", pieces("Mul", positive, pieces.like(x, gamma)), steep)]


def thresholded_relu(pieces: Pieces) -> Results:
    """X where it is above alpha, else 0."""
    x = pieces.input(0)
    above = pieces("Greater", x, pieces.like(x, pieces.number("alpha", 1.0)))
    return [pieces("Where", above, x, pieces.like(x, 0))]


def shrink(pieces: Pieces) -> Results:
    """X + bias below -lambda, x - bias above lambda, 0 between."""
    x, bias, bound = pieces.input(0), pieces.number("bias", 0.0), pieces.number("lambd", 0.5)
    below, above = pieces("Less", x, pieces.like(x, -bound)), pieces("Greater", x, pieces.like(x, bound))
    up, down = (x, x) if bias == 0 else (pieces(name, x, pieces.like(x, bias)) for name in ("Add", "Sub"))
    return [pieces("Where", below, up, pieces("Where", above, down, pieces.like(x, 0)))]


def tangent(pieces: Pieces) -> Results:
    """Sin / cos."""
    x = pieces.input(0)
    return [pieces("Div", pieces("Sin", x), pieces("Cos", x))]


def hyperbolic_sine(pieces: Pieces) -> Results:
    """(exp(x) - exp(-x)) / 2."""
    return [_exponentials(pieces, "Sub")]


def hyperbolic_cosine(pieces: Pieces) -> Results:
    """(exp(x) + exp(-x)) / 2."""
    return [_exponentials(pieces, "Add")]


def _exponentials(pieces: Pieces, join: str) -> ir.Value:
    x = pieces.input(0)
    both = pieces(join, pieces("Exp", x), pieces("Exp", pieces("Neg", x)))
    return pieces("Mul", both, pieces.like(x, 0.5))


def arcsine(pieces: Pieces) -> Results:
    """atan(x / sqrt((1 - x)(1 + x))); at 1 and -1 the quotient is infinite, which gives the right limit."""
    x = pieces.input(0)
    return [pieces("Atan", pieces("Div", x, pieces("Sqrt", _complement(pieces, x))))]


def arccosine(pieces: Pieces) -> Results:
    """2 atan(sqrt((1 - x) / (1 + x))), which is exact near 1."""
    x, one = pieces.input(0), pieces.like(pieces.input(0), 1)
    ratio = pieces("Div", pieces("Sub", one, x), pieces("Add", x, one))
    return [pieces("Mul", pieces("Atan", pieces("Sqrt", ratio)), pieces.like(x, 2))]


def _complement(pieces: Pieces, x: ir.Value) -> ir.Value:
    one = pieces.like(x, 1)
    return pieces("Mul", pieces("Sub", one, x), pieces("Add", x, one))


def inverse_hyperbolic_sine(pieces: Pieces) -> Results:
    """sign(x) * log(|x| + sqrt(x^2 + 1)); working on |x| avoids cancellation."""
    x = pieces.input(0)
    size = pieces("Abs", x)
    root = pieces("Sqrt", pieces("Add", pieces("Mul", x, x), pieces.like(x, 1)))
    return [pieces("Mul", pieces("Sign", x), pieces("Log", pieces("Add", size, root)))]


def inverse_hyperbolic_cosine(pieces: Pieces) -> Results:
    """log(x + sqrt((x - 1)(x + 1)))."""
    x = pieces.input(0)
    one = pieces.like(x, 1)
    root = pieces("Sqrt", pieces("Mul", pieces("Sub", x, one), pieces("Add", x, one)))
    return [pieces("Log", pieces("Add", x, root))]


def inverse_hyperbolic_tangent(pieces: Pieces) -> Results:
    """log((1 + x) / (1 - x)) / 2."""
    x = pieces.input(0)
    one = pieces.like(x, 1)
    ratio = pieces("Div", pieces("Add", x, one), pieces("Sub", one, x))
    return [pieces("Mul", pieces("Log", ratio), pieces.like(x, 0.5))]


def mean(pieces: Pieces) -> Results:
    """The sum of all inputs, divided by their number."""
    inputs = [value for value in pieces.node.inputs if value is not None]
    total = pieces("Sum", *inputs) if len(inputs) > 1 else inputs[0]
    return [pieces("Mul", total, pieces.like(inputs[0], 1 / len(inputs)))]


DECOMPOSITIONS: dict[str, Decomposition] = {
    "Acos": arccosine,
    "Acosh": inverse_hyperbolic_cosine,
    "Asin": arcsine,
    "Asinh": inverse_hyperbolic_sine,
    "Atanh": inverse_hyperbolic_tangent,
    "Celu": celu,
    "Cosh": hyperbolic_cosine,
    "Mean": mean,
    "Mish": mish,
    "Selu": selu,
    "Shrink": shrink,
    "Sinh": hyperbolic_sine,
    "Softplus": softplus,
    "Softsign": softsign,
    "Swish": swish,
    "Tan": tangent,
    "ThresholdedRelu": thresholded_relu,
}
