"""How ONNX Runtime's CPU provider executes each precision, determined from optimized graphs and timings of 1.31."""

from __future__ import annotations

from collections.abc import Mapping

from edgecomp.precision import Precision, Support

PRECISIONS: Mapping[Precision, Support] = {
    "fp32": Support("executes", "float kernels"),
    "fp16": Support(
        "stores", "a float16 graph; where a processor has no float16 kernels, casts to float32 are put in at loading"
    ),
    "int8": Support("executes", "QDQ pairs that are fused into integer kernels at loading"),
    "int16x8": Support("stores", "QDQ pairs of int16, between which float kernels compute"),
    "dynamic-int8": Support(
        "executes", "MatMulInteger for matrices; convolutions stay in float, where ConvInteger is slower than float"
    ),
    "weight-int8": Support("stores", "int8 weights that are unpacked to float32 once, at loading"),
    "weight-int4": Support(
        "executes", "MatMulNBits for matrices; weights of convolutions are int8, unpacked to float32 at loading"
    ),
}

#: `.ort` files are optimized when they are written, so what would be unpacked at loading is stored unpacked.
ORT_PRECISIONS: Mapping[Precision, Support] = {
    **PRECISIONS,
    "fp16": Support("refused", "an .ort file holds what the optimizer leaves, which is float32 weights"),
    "weight-int8": Support("refused", "an .ort file holds what the optimizer leaves, which is float32 weights"),
    "dynamic-int8": Support("executes", "MatMulInteger for matrices; convolutions are float32, weights included"),
    "weight-int4": Support("executes", "MatMulNBits for matrices; convolutions are float32, weights included"),
}
