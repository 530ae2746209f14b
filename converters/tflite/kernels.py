"""The data types that LiteRT's kernels support, so that a conversion does not cause errors in `invoke`.

An operator whose kernel does not support the type of its node computes in the first wider type that is supported,
between two CASTs. For int64 this may be int32: int64 values in models are indices and sizes, and TFLite's own indices
are int32. Constants that do not fit are refused.
"""

from __future__ import annotations

_ALL = "float32 int32 int64 int8 uint8 int16 bool float16"
_NUMBERS = "float32 int32 int64 int8 uint8 int16"

#: The supported types of kernels that support more than float32, but not all types.
_TYPES = {
    "float32": "ATAN2 AVERAGE_POOL_2D BATCH_MATMUL CEIL CONV_2D COS DEPTHWISE_CONV_2D ELU EXP FLOOR FULLY_CONNECTED "
    "GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC LOG_SOFTMAX MAX_POOL_2D PRELU RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 "
    "RESIZE_BILINEAR ROUND RSQRT SIN SOFTMAX SQRT SQUARE TANH TRANSPOSE_CONV",
    "float32 int32": "ABS DIV FLOOR_DIV POW SIGN SQUARED_DIFFERENCE",
    "float32 int32 int64": "ADD CUMSUM FLOOR_MOD GREATER GREATER_EQUAL LESS LESS_EQUAL MUL NEG RANGE SUB",
    "float32 int32 int64 bool": "EQUAL NOT_EQUAL",
    "float32 int32 int8 uint8 bool": "ARG_MAX ARG_MIN",
    "float32 int32 int64 int8 uint8": "DEPTH_TO_SPACE RESIZE_NEAREST_NEIGHBOR SPACE_TO_DEPTH",
    "float32 int32 int64 int8 uint8 bool": "ONE_HOT SCATTER_ND WHERE",
    "float32 int32 int64 uint8 int16": "REVERSE_SEQUENCE",
    "bool": "LOGICAL_AND LOGICAL_NOT LOGICAL_OR REDUCE_ALL REDUCE_ANY",
    "int32 int8 uint8 int16 uint16 uint32": "BITWISE_XOR RIGHT_SHIFT",
    "int32 int8 int16": "STABLEHLO_SHIFT_LEFT",
    _NUMBERS: "MAXIMUM MEAN MINIMUM REDUCE_MAX REDUCE_MIN REDUCE_PROD SPLIT_V SUM TOPK_V2",
    _ALL: "CONCATENATION GATHER GATHER_ND PAD PADV2 REVERSE_V2",
    f"{_ALL} float64": "BROADCAST_TO FILL MIRROR_PAD SLICE STRIDED_SLICE TILE TRANSPOSE",
}
TYPES: dict[str, frozenset[str]] = {
    name: frozenset(types.split()) for types, names in _TYPES.items() for name in names.split()
}

#: Types in which values of a type can be computed instead, the best first.
WIDER: dict[str, tuple[str, ...]] = {
    "bool": ("uint8", "int32", "float32"),
    "int8": ("int32", "float32"),
    "uint8": ("int32", "float32"),
    "int16": ("int32", "float32"),
    "uint16": ("int32", "float32"),
    "uint32": ("int64", "int32"),
    "int64": ("int32",),
    "float16": ("float32",),
    "float64": ("float32",),
}

#: The data input of operators for which it is not the first one.
_DATA = {"ONE_HOT": 2, "SCATTER_ND": 1, "SPLIT": 1, "TRANSPOSE_CONV": 2}


def data_input(name: str) -> int:
    """Returns the index of the input that determines an operator's type."""
    return _DATA.get(name, 0)


def computing_type(name: str, dtype: str) -> str | None:
    """Returns the type in which an operator computes values of a type; None if no kernel can."""
    taken = TYPES.get(name)
    if taken is None or dtype in taken:
        return dtype
    return next((wider for wider in WIDER.get(dtype, ()) if wider in taken), None)
