"""Integers whose ranges follow from each input, as ONNX Runtime's dynamic quantization writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from case import Build, Case
from net import Net

_FLOAT = int(ir.DataType.FLOAT)
_RNG = np.random.default_rng(3)


def _real(net: Net, value: ir.Value) -> ir.Value:
    return net.node("Cast", value, to=_FLOAT)


def _parts(net: Net) -> None:
    integers, scale, zero_point = net.node("DynamicQuantizeLinear", net.input(1, 4, 6, 8), outputs=3)
    net.output(_real(net, integers), net.node("Reshape", scale, [1]), _real(net, zero_point))


def _zeros(net: Net) -> None:
    zeros = net.node("Mul", net.node("Floor", net.node("Sigmoid", net.input(2, 5))), 0.0)
    integers, scale, _ = net.node("DynamicQuantizeLinear", zeros, outputs=3)
    net.output(_real(net, integers), net.node("Reshape", scale, [1]))


def _product(op_type: str, shape: tuple[int, ...], weight: Any, zero_point: Any = None, **attributes: Any) -> Build:
    """The chain that stands for a MatMul or a Conv: the sums of integers, times both scales."""

    def build(net: Net) -> None:
        integers, scale, zero = net.node("DynamicQuantizeLinear", net.input(*shape), outputs=3)
        constants = [net.constant(weight), *([] if zero_point is None else [net.constant(zero_point)])]
        total = net.node(op_type, integers, constants[0], zero, *constants[1:], **attributes)
        net.output(net.node("Mul", _real(net, total), net.node("Mul", scale, 0.01)))

    return build


def _total(net: Net) -> None:
    integers, _, zero = net.node("DynamicQuantizeLinear", net.input(2, 8), outputs=3)
    weight = np.arange(-12, 12, dtype=np.int8).reshape(8, 3)
    net.output(net.node("MatMulInteger", integers, net.constant(weight), zero))


def _computed(net: Net) -> None:
    left, right = (net.node("DynamicQuantizeLinear", net.input(*shape), outputs=3) for shape in ((2, 3, 8), (2, 8, 4)))
    net.output(_real(net, net.node("MatMulInteger", left[0], right[0], left[2], right[2])))


def _signed(*shape: int) -> Any:
    return _RNG.integers(-127, 128, shape).astype(np.int8)


def _unsigned(*shape: int) -> Any:
    return _RNG.integers(0, 256, shape).astype(np.uint8)


_ONE = np.array(117, np.uint8)

CASES = [
    Case("dynamicquantizelinear", _parts),
    Case("dynamicquantizelinear-zeros", _zeros),
    Case("matmulinteger", _product("MatMulInteger", (2, 16), _signed(16, 5))),
    Case("matmulinteger-unsigned", _product("MatMulInteger", (1, 3, 16), _unsigned(16, 5), _ONE)),
    Case("matmulinteger-columns", _product("MatMulInteger", (2, 16), _signed(16, 5), _signed(5))),
    Case("matmulinteger-int32", _total),
    Case("matmulinteger-computed", _computed),
    Case("convinteger", _product("ConvInteger", (1, 3, 8, 8), _signed(4, 3, 3, 2), pads=[1, 1, 1, 0])),
    Case("convinteger-strided", _product("ConvInteger", (1, 3, 9, 8), _unsigned(4, 3, 3, 3), _ONE, strides=[2, 2])),
    Case("convinteger-groups", _product("ConvInteger", (1, 4, 8, 8), _signed(4, 1, 3, 3), group=4)),
]

#: MNN's Winograd transforms round sums of integers; it is asked for a whole file elsewhere.
FORMATS = ("tflite", "onnxruntime", "ort")

#: The other nodes of a chain are quantized in the suite only: `compress` asks for the float model.
ISLANDS = {
    "tflite": {
        "dynamicquantizelinear-zeros": ("DynamicQuantizeLinear", "Floor", "Reshape"),
        **{
            case.name: tuple(sorted(("DynamicQuantizeLinear", op_type)))
            for prefix, op_type in (("matmul", "MatMulInteger"), ("conv", "ConvInteger"))
            for case in CASES
            if case.name.startswith(prefix)
        },
        "matmulinteger-int32": (),
        "matmulinteger-computed": (),
    }
}
