"""One small function per ONNX operator, grouped by what the operators do; each can be read without the others."""

from __future__ import annotations

from edgecomp.converters.tflite.lowering import LoweringFunction
from edgecomp.converters.tflite.ops import (
    activation,
    arithmetic,
    convolution,
    linear,
    movement,
    normalization,
    pooling,
    reduction,
    resize,
)

LOWERINGS: dict[str, LoweringFunction] = {
    **activation.LOWERINGS,
    **arithmetic.LOWERINGS,
    **convolution.LOWERINGS,
    **linear.LOWERINGS,
    **movement.LOWERINGS,
    **normalization.LOWERINGS,
    **pooling.LOWERINGS,
    **reduction.LOWERINGS,
    **resize.LOWERINGS,
}
