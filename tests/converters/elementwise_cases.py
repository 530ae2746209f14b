"""Cases of functions of single elements: comparisons, logic, bits, arithmetic on integers, elementary functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from case import Build, Case, single, two
from net import Net

_FLOAT, _INT32, _INT64, _BOOL, _UINT8, _INT8 = 1, 6, 7, 9, 2, 3


def _integers(net: Net, *shape: int, dtype: str = "int32") -> Any:
    """Numbers from -5 to 5, through the types that a test can feed."""
    offset = net.constant(np.array(5, "int32"))
    numbers = net.node("Sub", net.input(*shape, dtype="int32", high=11), offset)
    kinds = {"int32": None, "int64": _INT64, "int8": _INT8}
    return numbers if kinds[dtype] is None else net.node("Cast", numbers, to=kinds[dtype])


def _truth(net: Net, *shape: int) -> Any:
    return net.node("Cast", net.input(*shape, dtype="int32"), to=_BOOL)


def _on_integers(op_type: str, dtype: str, *, operands: int = 2, **attributes: Any) -> Build:
    """One operator on computed integers; the second operand broadcasts and is not 0."""

    def build(net: Net) -> None:
        values = [_integers(net, 2, 3, 4, dtype=dtype)]
        if operands == 2:
            values.append(net.constant(np.array([3, -2, 1, 5], dtype)))
        result = net.node(op_type, *values, **attributes)
        net.output(net.node("Cast", result, to=_INT32))

    return build


def _on_truth(op_type: str, operands: int = 2) -> Build:
    def build(net: Net) -> None:
        values = [_truth(net, 2, 3, 4), _truth(net, 3, 1)][:operands]
        net.output(net.node("Cast", net.node(op_type, *values), to=_INT32))

    return build


def _compared(op_type: str, constant: Any = None) -> Build:
    """A comparison of images, or with a constant, as numbers."""

    def build(net: Net) -> None:
        other = net.image() if constant is None else constant
        net.output(net.node("Cast", net.node(op_type, net.image(), other), to=_FLOAT))

    return build


def _bits(op_type: str) -> Build:
    def build(net: Net) -> None:
        operands = [net.node("Cast", net.input(*shape, dtype="int32", high=200), to=_UINT8) for shape in ((2, 5), (5,))]
        if op_type == "BitwiseNot":
            del operands[1]
        net.output(net.node("Cast", net.node(op_type, *operands), to=_INT32))

    return build


def _shift(direction: str) -> Build:
    def build(net: Net) -> None:
        numbers = net.node("Cast", net.input(2, 5, dtype="int32", high=200), to=_UINT8)
        shifted = net.node("BitShift", numbers, net.constant(np.array([0, 1, 2, 3, 7], np.uint8)), direction=direction)
        net.output(net.node("Cast", shifted, to=_INT32))

    return build


def _where(net: Net) -> None:
    condition = net.node("Greater", net.image(), np.float32(0))
    net.output(net.node("Where", condition, net.image(), net.image()))


def _where_scalar(net: Net) -> None:
    """How a padding mask is applied."""
    net.output(net.node("Where", _truth(net, 1, 1, 1, 8), net.image(), np.float32(-10)))


def _special(op_type: str, **attributes: Any) -> Build:
    """Logarithms of 0 and of less are infinite and no numbers."""

    def build(net: Net) -> None:
        logarithm = net.node("Log", net.node("Cast", _integers(net, 3, 5), to=_FLOAT))
        net.output(net.node("Cast", net.node(op_type, logarithm, **attributes), to=_INT32))

    return build


def _clip_integers(dtype: str) -> Build:
    def build(net: Net) -> None:
        bounds = [net.constant(np.array(bound, dtype)) for bound in (-2, np.iinfo(dtype).max)]
        net.output(net.node("Clip", _integers(net, 3, 4, dtype=dtype), *bounds))

    return build


def _clip_computed(net: Net) -> None:
    low = net.node("ReduceMean", net.input(4), keepdims=0)
    net.output(net.node("Clip", net.image(), low, np.float32(0.75)))


COMPARISONS = [
    *(
        Case(f"{op.lower()}-images", _compared(op))
        for op in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")
    ),
    Case("greater-channels", _compared("Greater", np.float32([-1, 0, 0.5, 1]).reshape(4, 1, 1))),
    *(
        Case(f"{op.lower()}-{dtype}", _on_integers(op, dtype))
        for op in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")
        for dtype in ("int32", "int64")
    ),
    *(Case(op.lower(), _on_truth(op)) for op in ("And", "Or", "Xor")),
    Case("equal-bool", _on_truth("Equal")),
    Case("not", _on_truth("Not", operands=1)),
    Case("where", _where),
    Case("where-scalar", _where_scalar),
    Case("isnan", _special("IsNaN")),
    Case("isinf", _special("IsInf")),
    Case("isinf-negative", _special("IsInf", detect_positive=0)),
    Case("isinf-positive", _special("IsInf", detect_negative=0)),
]

BITS = [
    *(Case(op.lower(), _bits(op)) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")),
    Case("bitshift-left", _shift("LEFT")),
    Case("bitshift-right", _shift("RIGHT")),
]

INTEGERS = [
    *(
        Case(f"{op.lower()}-{dtype}", _on_integers(op, dtype))
        for op in ("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min")
        for dtype in ("int32", "int64")
    ),
    Case("mod-fmod-int32", _on_integers("Mod", "int32", fmod=1)),
    *(Case(f"{op.lower()}-int32", _on_integers(op, "int32", operands=1)) for op in ("Abs", "Neg", "Sign", "Relu")),
    *(Case(f"{op.lower()}-int64", _on_integers(op, "int64", operands=1)) for op in ("Abs", "Neg", "Sign")),
    Case("add-int8", _on_integers("Add", "int8")),
    Case("clip-int32", _clip_integers("int32")),
    Case("clip-int64", _clip_integers("int64")),
    Case("clip-computed", _clip_computed),
]


def _positive(op_type: str, *constants: Any, **attributes: Any) -> Build:
    """On numbers above 1/2."""

    def build(net: Net) -> None:
        size = net.node("Add", net.node("Abs", net.image()), np.float32(0.5))
        net.output(net.node(op_type, size, *constants, **attributes))

    return build


def _within(op_type: str, scale: float = 1.0, offset: float = 0.0) -> Build:
    """On numbers between offset - scale and offset + scale."""

    def build(net: Net) -> None:
        number = net.node("Mul", net.node("Tanh", net.image()), np.float32(scale))
        net.output(net.node(op_type, net.node("Add", number, np.float32(offset)) if offset else number))

    return build


def _many(op_type: str, *shapes: tuple[int, ...]) -> Build:
    return lambda net: net.output(net.node(op_type, *(net.input(*shape) for shape in shapes)))


def _cube_of_integers(net: Net) -> None:
    net.output(net.node("Pow", _integers(net, 2, 3), net.constant(np.array(3, "int32"))))


_PLAIN = (
    "Abs", "Ceil", "Round", "Sin", "Cos", "Sign", "Erf", "Sinh", "Cosh", "Atan", "Asinh", "Softplus", "Softsign",
    "Mish", "Celu", "Selu", "ThresholdedRelu", "Shrink",
)  # fmt: skip
_BOUNDED = {"Tan": (1.0, 0.0), "Asin": (0.9, 0.0), "Acos": (0.9, 0.0), "Atanh": (0.9, 0.0), "Acosh": (0.9, 2.0)}
_EXPONENTS = {"square": 2.0, "root": 0.5, "inverse-root": -0.5, "odd": 1.7}

FUNCTIONS = [
    *(Case(op.lower(), single(op)) for op in _PLAIN),
    *(Case(op.lower(), _within(op, *bounds)) for op, bounds in _BOUNDED.items()),
    Case("reciprocal", _positive("Reciprocal")),
    Case("celu-alpha", single("Celu", alpha=0.5)),
    Case("shrink-bias", single("Shrink", lambd=0.7, bias=0.2)),
    Case("hardmax", single("Hardmax")),
    Case("hardmax-channels", single("Hardmax", axis=1)),
    *(Case(f"pow-{name}", _positive("Pow", np.float32(exponent))) for name, exponent in _EXPONENTS.items()),
    Case("pow-cube", single("Pow", np.float32(3))),
    Case("pow-activations", lambda net: net.output(net.node("Pow", net.node("Sigmoid", net.image()), net.image()))),
    Case("pow-int32", _cube_of_integers),
    Case("mod-float", single("Mod", np.float32(0.7), fmod=1)),
    Case("mean-many", _many("Mean", (3, 4), (4,), (3, 1))),
    Case("sum-many", _many("Sum", (3, 1), (4,), (2, 3, 4))),
    Case("max-many", _many("Max", (3, 1), (4,), (2, 3, 4))),
    Case("min-one", _many("Min", (3, 4))),
    Case("max-ranks", two("Max", (1, 4, 6, 8), (6, 1))),
]


def _cast(source: int, target: int) -> Build:
    def build(net: Net) -> None:
        number = net.node("Mul", net.input(3, 5), np.float32(3))
        number = net.node("Cast", number, to=source)
        net.output(net.node("Cast", net.node("Cast", number, to=target), to=_FLOAT))

    return build


_KINDS = {"float32": _FLOAT, "int32": _INT32, "int64": _INT64, "bool": _BOOL, "int8": _INT8}
CASTS = [
    Case(f"cast-{source}-{target}", _cast(_KINDS[source], _KINDS[target]))
    for source, target in (
        ("float32", "int32"),
        ("float32", "int64"),
        ("float32", "bool"),
        ("float32", "int8"),
        ("int64", "int32"),
        ("int32", "bool"),
        ("bool", "int64"),
        ("int8", "int32"),
    )
]

CASES = [*COMPARISONS, *BITS, *INTEGERS, *FUNCTIONS, *CASTS]

#: MNN has a long list of its own.
FORMATS = ("tflite", "onnxruntime", "ort")

ISLANDS = {
    "tflite": {
        **{op.lower(): (op,) for op in (*_PLAIN, *_BOUNDED)},
        **{f"pow-{name}": ("Abs", "Pow") for name in _EXPONENTS},
        **dict.fromkeys(("where", "where-scalar"), ("Where",)),
        **dict.fromkeys(("hardmax", "hardmax-channels"), ("Hardmax",)),
        **dict.fromkeys(("pow-cube", "pow-activations"), ("Pow",)),
        "celu-alpha": ("Celu",),
        "clip-computed": ("Max", "Min"),
        "max-ranks": ("Max",),
        "mod-float": ("Mod",),
        "reciprocal": ("Abs", "Add", "Reciprocal"),
        "shrink-bias": ("Shrink",),
    },
}
