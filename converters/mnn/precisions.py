"""What MNN makes of each precision; read off the ops and numbers of version 3.6."""

from __future__ import annotations

from collections.abc import Mapping

from edgecomp.precision import Precision, Support

#: Seen on x86: numbers and times are those of float, with memory=low as without.
_UNPACKED = (
    "MNN's PyPI build unpacks to float32 at loading; one with MNN_LOW_MEMORY multiplies them as they are in a session "
    "with memory=low"
)

#: Its converter folds what would unpack them.
_RECURRENT = "recurrent weights and tables of rows are stored as the float32 numbers that int8 stands for"

PRECISIONS: Mapping[Precision, Support] = {
    "fp32": Support("executes", "float kernels"),
    "fp16": Support(
        "stores",
        "float16 weights of convolutions and products; a session with precision=low computes in float16 on ARMv8.2",
    ),
    "int8": Support(
        "executes",
        f"int8 convolutions, which products become; other operators as far as kernels are right; {_RECURRENT}",
    ),
    "int16x8": Support("refused", "MNN has no int16 activations"),
    "dynamic-int8": Support("stores", f"int8 weights that {_UNPACKED}; {_RECURRENT}"),
    "weight-int8": Support("stores", f"int8 weights that are unpacked to float32 once, at loading; {_RECURRENT}"),
    "weight-int4": Support("stores", f"int4 blocks that {_UNPACKED}"),
}

#: What is run in sessions with memory=low.
LOW_MEMORY: frozenset[Precision | None] = frozenset({"dynamic-int8", "weight-int4"})
