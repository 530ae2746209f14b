"""How LiteRT executes each precision, determined from its kernels' results and operator versions at 2.3."""

from __future__ import annotations

from collections.abc import Mapping

from edgecomp.precision import Precision, Support

PRECISIONS: Mapping[Precision, Support] = {
    "fp32": Support("executes", "float kernels"),
    "fp16": Support(
        "stores", "float16 constants; XNNPACK computes in float16 on ARM processors that have it, elsewhere in float32"
    ),
    "int8": Support("executes", "integer kernels"),
    "int16x8": Support("executes", "kernels of int16 activations and int8 weights; XNNPACK has none, LiteRT's own run"),
    "dynamic-int8": Support(
        "executes", "hybrid kernels: activations are quantized row by row, convolutions and products run in integers"
    ),
    "weight-int8": Support("stores", "int8 weights that a DEQUANTIZE unpacks to float32 once"),
    "weight-int4": Support(
        "executes",
        "hybrid FULLY_CONNECTED with int4 blocks and activations quantized row by row; weights of convolutions are "
        "int8, unpacked to float32 once",
    ),
}
