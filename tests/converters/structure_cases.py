"""Cases about layouts, shapes and the border of the graph, in the table of `operator_cases`."""

from __future__ import annotations

from typing import Any

import numpy as np
from case import Build, Case, single
from net import Net


def _resize(
    mode: str,
    coordinates: str,
    sizes: tuple[int, int],
    nearest: str = "floor",
    *,
    scales: tuple[float, float] | None = None,
) -> Build:
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
    if scales is not None:
        factors = np.array([1, 1, *scales], np.float32)
        return single("Resize", None, factors, **attributes)
    return single("Resize", None, None, [1, 4, *sizes], **attributes)


_UP, _DOWN, _ODD = (12, 16), (3, 4), (9, 11)
RESIZES = [
    *(
        Case(f"resize-nearest-{coordinates}-{nearest}-{name}", _resize("nearest", coordinates, sizes, nearest))
        for coordinates, nearest in (
            ("asymmetric", "floor"),  # torch nearest
            ("half_pixel", "round_prefer_floor"),  # torch nearest-exact, TF half pixel
            ("pytorch_half_pixel", "round_prefer_ceil"),
            ("align_corners", "round_prefer_ceil"),  # TF align corners
            ("half_pixel", "floor"),
            ("asymmetric", "ceil"),
        )
        for name, sizes in (("up", _UP), ("down", _DOWN), ("odd", _ODD))
    ),
    *(
        Case(f"resize-linear-{coordinates}-{name}", _resize("linear", coordinates, sizes))
        for coordinates in ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners")
        for name, sizes in (("up", _UP), ("down", _DOWN), ("odd", _ODD))
    ),
    Case("resize-linear-one-row", _resize("linear", "pytorch_half_pixel", (1, 16))),
    Case("resize-linear-scales", _resize("linear", "half_pixel", _UP, scales=(2, 2))),
    Case("resize-nearest-scales", _resize("nearest", "asymmetric", _UP, scales=(2, 2))),
    Case("resize-linear-odd-scales", _resize("linear", "half_pixel", (9, 11), scales=(1.55, 1.45))),
    Case("resize-nearest-odd-scales", _resize("nearest", "asymmetric", (9, 11), scales=(1.55, 1.45))),
    Case("resize-linear-symmetric", _resize("linear", "half_pixel_symmetric", (9, 11), scales=(1.55, 1.45))),
    Case("resize-nearest-1d", single("Resize", None, None, [1, 4, 16], shape=(1, 4, 8), mode="nearest")),
    Case("resize-cubic", _resize("cubic", "half_pixel", _UP)),
    Case("resize-linear-1d", single("Resize", None, None, [1, 4, 16], shape=(1, 4, 8), mode="linear")),
]


def _flatten_linear(net: Net) -> None:
    x = net.node("Conv", net.input(1, 3, 6, 6), net.weight(4, 3, 3, 3), net.weight(4))
    flat = net.node("Flatten", x, axis=1)
    net.output(net.node("Gemm", flat, net.weight(5, 64), net.weight(5), transB=1))


def _flatten_two_linear(net: Net) -> None:
    x = net.node("MaxPool", net.input(2, 3, 6, 6), kernel_shape=[2, 2], strides=[2, 2])
    flat = net.node("Reshape", x, [2, -1])
    left = net.node("Gemm", flat, net.weight(27, 5), net.weight(5))
    net.output(left, net.node("MatMul", flat, net.weight(27, 4)))


def _pool_linear(net: Net) -> None:
    x = net.node("Conv", net.input(1, 3, 6, 6), net.weight(4, 3, 3, 3), net.weight(4))
    flat = net.node("Flatten", net.node("GlobalAveragePool", x))
    net.output(net.node("Gemm", flat, net.weight(5, 4), net.weight(5), transB=1))


def _patch_embedding(net: Net) -> None:
    x = net.node("Conv", net.input(1, 3, 8, 8), net.weight(6, 3, 4, 4), net.weight(6), strides=[4, 4])
    net.output(net.node("Transpose", net.node("Reshape", x, [1, 6, 4]), perm=[0, 2, 1]))


def _channel_shuffle(net: Net) -> None:
    x = net.node("Conv", net.input(1, 3, 5, 5), net.weight(6, 3, 1, 1), net.weight(6))
    split = net.node("Reshape", x, [1, 2, 3, 5, 5])
    mixed = net.node("Reshape", net.node("Transpose", split, perm=[0, 2, 1, 3, 4]), [1, 6, 5, 5])
    net.output(net.node("Conv", mixed, net.weight(6, 1, 3, 3), net.weight(6), group=6))


def _chain(*steps: tuple[str, Any]) -> Build:
    """Operators on one image, one after another: (type, constant input or attributes)."""

    def build(net: Net) -> None:
        x = net.image()
        for op_type, argument in steps:
            x = net.node(op_type, x, **argument) if isinstance(argument, dict) else net.node(op_type, x, argument)
        net.output(x)

    return build


def _embedding(dtype: str) -> Build:
    def build(net: Net) -> None:
        words = net.node("Gather", net.weight(11, 8), net.input(2, 5, dtype=dtype, high=11))
        net.output(net.node("MatMul", words, net.weight(8, 4)))

    return build


def _cast(net: Net) -> None:
    x = net.input(2, 6, dtype="int32", high=9)
    net.output(net.node("Relu", net.node("Sub", net.node("Cast", x, to=1), np.float32(3))))


def _cast_out(net: Net) -> None:
    net.output(net.node("Cast", net.node("Relu", net.input(2, 6)), to=6))


SHAPES = [
    Case("flatten-linear", _flatten_linear, tflite_without=("TRANSPOSE",)),
    Case("flatten-two-linear", _flatten_two_linear, tflite_without=("TRANSPOSE",)),
    Case("pool-linear", _pool_linear, tflite_without=("TRANSPOSE",)),
    Case("patch-embedding", _patch_embedding, tflite_without=("TRANSPOSE",)),
    Case("channel-shuffle", _channel_shuffle),
    Case("flatten", single("Flatten", axis=1)),
    Case("reshape-split", _chain(("Reshape", [1, 2, 2, 48]))),
    Case("squeeze-unsqueeze", _chain(("ReduceMean", [2]), ("Squeeze", [2]), ("Unsqueeze", [0, 3]))),
    Case("transpose", single("Transpose", perm=[0, 3, 1, 2])),
    Case("transpose-reverse", single("Transpose", shape=(2, 3, 4))),
    Case(
        "transpose-twice",
        _chain(("Transpose", {"perm": [0, 2, 3, 1]}), ("Relu", {}), ("Transpose", {"perm": [0, 3, 1, 2]})),
    ),
    Case("transpose-rank-5", single("Transpose", shape=(1, 2, 3, 4, 5), perm=[0, 2, 1, 4, 3])),
    Case("embedding-int64", _embedding("int64")),
    Case("embedding-int32", _embedding("int32")),
    Case("cast-in", _cast),
    Case("cast-out", _cast_out),
]


def _two_outputs(net: Net) -> None:
    x = net.node("Conv", net.input(1, 3, 6, 6), net.weight(4, 3, 3, 3), net.weight(4))
    net.output(net.node("Relu", x), net.node("Sigmoid", x))


def _output_consumed_inside(net: Net) -> None:
    x = net.node("Conv", net.input(1, 3, 6, 6), net.weight(4, 3, 3, 3), net.weight(4))
    net.output(x, net.node("Relu", x))


def _output_aliases(net: Net) -> None:
    x = net.node("Conv", net.input(1, 3, 6, 6), net.weight(4, 3, 3, 3), net.weight(4))
    net.output(x, net.node("Transpose", x, perm=[0, 2, 3, 1]), net.node("Reshape", x, [1, 64]))


def _output_reshaped(net: Net) -> None:
    x = net.node("Relu", net.input(2, 6))
    net.output(x, net.node("Reshape", x, [3, 4]), net.node("Unsqueeze", x, [0]))


def _input_to_output(net: Net) -> None:
    x, y = net.input(1, 3, 6, 6), net.input(2, 3)
    net.output(x, y, net.node("Relu", x))


def _input_transposed_to_output(net: Net) -> None:
    x = net.image()
    net.output(net.node("Transpose", x, perm=[0, 2, 3, 1]), net.node("Reshape", x, [1, 192]))


def _output_twice(net: Net) -> None:
    x = net.node("Relu", net.input(2, 6))
    net.output(x, x)


def _output_under_two_names(net: Net) -> None:
    x = net.node("Relu", net.input(2, 6))
    net.output(net.node("Identity", x), net.node("Identity", x))


def _input_under_two_names(net: Net) -> None:
    x = net.image()
    net.output(net.node("Identity", x), net.node("Identity", x))


def _constant_output(net: Net) -> None:
    net.output(net.node("Relu", net.input(2, 3)), net.node("Identity", net.constant(np.float32([1, 2, 3]))))


def _unused_input(net: Net) -> None:
    net.input(1, 2)
    net.output(net.node("Relu", net.input(2, 3)))


def _residual(net: Net) -> None:
    x = net.node("Relu", net.node("Conv", net.input(1, 3, 6, 6), net.weight(4, 3, 3, 3), net.weight(4)))
    y = net.node("Conv", x, net.weight(4, 4, 3, 3), net.weight(4), pads=[1, 1, 1, 1])
    net.output(net.node("Relu", net.node("Add", x, y)))


def _shared_weight(net: Net) -> None:
    weight, bias = net.weight(3, 3, 3, 3), net.weight(3)
    x = net.node("Conv", net.input(1, 3, 9, 9), weight, bias)
    net.output(net.node("Conv", x, weight, bias))


BORDERS = [
    Case("two-outputs", _two_outputs),
    Case("output-consumed-inside", _output_consumed_inside),
    Case("output-aliases", _output_aliases),
    Case("output-reshaped", _output_reshaped),
    Case("input-to-output", _input_to_output),
    Case("input-transposed-to-output", _input_transposed_to_output),
    Case("output-twice", _output_twice),
    Case("output-under-two-names", _output_under_two_names),
    Case("input-under-two-names", _input_under_two_names),
    Case("constant-output", _constant_output),
    Case("unused-input", _unused_input),
    # Two operators, each within one step.
    Case("residual", _residual, steps=2),
    Case("shared-weight", _shared_weight, steps=2),
]

CASES = [*RESIZES, *SHAPES, *BORDERS]
