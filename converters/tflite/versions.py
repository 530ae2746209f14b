"""Operator versions. A runtime refuses versions that it does not know, so the lowest correct one is written.

The rules are those of tensorflow/lite/tools/versioning/op_version.cc, for the operators that this converter writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecomp.converters.tflite.builder import Tensor

    Inputs = Sequence[Tensor | None]

_INT8 = {
    name: version
    for version, names in {
        2: "ABS ADD ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION DEPTH_TO_SPACE DEQUANTIZE EXP GATHER "
        "GATHER_ND GELU LOG LOG_SOFTMAX LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM MIRROR_PAD MUL PAD PADV2 REDUCE_MAX "
        "REDUCE_MIN REDUCE_PROD RELU RELU6 RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SLICE SOFTMAX SPACE_TO_DEPTH "
        "SPLIT SPLIT_V STRIDED_SLICE SUB SUM TANH TOPK_V2 TRANSPOSE",
        3: "BROADCAST_TO CAST CONV_2D DEPTHWISE_CONV_2D REVERSE_V2 TILE",
        4: "FULLY_CONNECTED",
    }.items()
    for name in names.split()
}
#: The operators that have a kernel for quantized int16 activations.
_INT16 = {
    name: version
    for version, names in {
        1: "CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED RESHAPE SPLIT SQUEEZE STRIDED_SLICE SUM "
        "TRANSPOSE_CONV",
        2: "EXP LEAKY_RELU LOG QUANTIZE REDUCE_PROD SQRT",
        3: "ADD AVERAGE_POOL_2D BATCH_MATMUL BROADCAST_TO CONCATENATION DEQUANTIZE LOGISTIC MAX_POOL_2D MEAN "
        "MIRROR_PAD PAD PADV2 REDUCE_MAX REDUCE_MIN RELU RELU6 RSQRT SOFTMAX TANH",
        4: "GATHER MAXIMUM MINIMUM MUL RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SLICE",
        5: "SUB TRANSPOSE",
    }.items()
    for name in names.split()
}
_INT16_BY_INT8 = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "QUANTIZE", "TRANSPOSE_CONV"})
#: Versions for integer weights per channel with float activations.
_HYBRID = {"BATCH_MATMUL": 4, "CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 12}
#: Versions of float kernels above 1.
_FLOAT = {"BROADCAST_TO": 2}
#: Versions that other types need.
_OTHER = {
    "bool": {"ARG_MAX": 3, "ARG_MIN": 3, "GATHER": 3, "GATHER_ND": 5, "REVERSE_V2": 2},
    "int32": {"ABS": 5, "SIGN": 2},
    "int64": {"ADD": 4, "MUL": 5, "SUB": 4},
}
#: (first rank, version) for tensors of many dimensions.
_MANY_DIMENSIONS = {"PAD": (5, 4), "PADV2": (5, 4), "SLICE": (5, 5), "STRIDED_SLICE": (5, 4), "TRANSPOSE": (5, 4)}
#: The same if two inputs of different shapes are broadcast.
_MANY_DIMENSIONS_BROADCAST = {"DIV": (5, 2), "MAXIMUM": (5, 3), "MINIMUM": (5, 3), "SUB": (5, 3)}


def operator_version(name: str, inputs: Inputs, outputs: Sequence[Tensor], options: Any) -> int:
    """Returns the lowest version of an operator that covers this use of it.

    Raises:
        ValueError: The operator has no kernel for these types.
    """
    given = [tensor for tensor in inputs if tensor is not None]
    dtype = given[0].dtype
    version = {"int8": _INT8, **_OTHER}.get(dtype, {}).get(name, _FLOAT.get(name, 1))
    stored = {tensor.dtype for tensor in (*given, *outputs) if tensor.quantization is not None}
    if "int16" in stored:
        if name not in _INT16 or ("int8" in stored and name not in _INT16_BY_INT8):
            raise ValueError(f"TFLite's {name} has no kernel for int16 activations")
        version = _INT16[name]
    rank = max(len(tensor.shape) for tensor in given)
    rules = [_MANY_DIMENSIONS.get(name)]
    if len({tensor.shape for tensor in given}) > 1:
        rules.append(_MANY_DIMENSIONS_BROADCAST.get(name))
    versions = [version, *(rule[1] for rule in rules if rule is not None and rank >= rule[0])]
    if name in _HYBRID and outputs[0].dtype == "float32" and {"int8", "int4"}.intersection(t.dtype for t in given):
        versions.append(_HYBRID[name])
    if name == "DEQUANTIZE":
        versions.append(_dequantize(given[0]))
    if name in _DETAILS:
        versions.append(_DETAILS[name](inputs, outputs, options))
    return max(versions)


def _dequantize(source: Tensor) -> int:
    if source.quantization is not None and source.quantization.per_channel:
        return 5
    return 3 if source.dtype in {"float16", "int16"} else 1


def _conv(inputs: Inputs, outputs: Sequence[Tensor], options: Any) -> int:
    source, weight = inputs[0], inputs[1]
    assert source is not None
    assert weight is not None
    return 6 if source.shape[3] != weight.shape[3] else 1  # grouped


def _depthwise(inputs: Inputs, outputs: Sequence[Tensor], options: Any) -> int:
    return 2 if (options.dilationHFactor, options.dilationWFactor) != (1, 1) else 1


def _fully_connected(inputs: Inputs, outputs: Sequence[Tensor], options: Any) -> int:
    return 5 if options.keepNumDims else 1


def _transpose_conv(inputs: Inputs, outputs: Sequence[Tensor], options: Any) -> int:
    return 4 if options.fusedActivationFunction else 3  # with a bias


def _resize(inputs: Inputs, outputs: Sequence[Tensor], options: Any) -> int:
    return 3 if options.halfPixelCenters else 1


def _resize_nearest(inputs: Inputs, outputs: Sequence[Tensor], options: Any) -> int:
    return 3 if options.halfPixelCenters or options.alignCorners else 1


def _mul(inputs: Inputs, outputs: Sequence[Tensor], options: Any) -> int:
    """Version 3 can make values larger than the integers that go in."""
    parameters = [tensor.quantization for tensor in (*inputs, *outputs) if tensor is not None]
    left, right, result = (None if entry is None else float(entry.scale) for entry in parameters)
    return 3 if left is not None and right is not None and result is not None and left * right >= result else 1


_DETAILS: dict[str, Callable[[Inputs, Sequence[Tensor], Any], int]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "MUL": _mul,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
    "TRANSPOSE_CONV": _transpose_conv,
}
