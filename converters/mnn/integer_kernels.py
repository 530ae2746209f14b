"""Which ops of a net MNN computes in integers.

MNN's CPU backend decides when it loads a file (`CPURuntimeCreator::_supportQuant` in `CPUBackend.cpp`): an op runs in
int8 when all its tensors have int8 parameters and there is a kernel; else its inputs are dequantized.
"""

from __future__ import annotations

from edgecomp.converters.mnn.net import Net, Op, convolution

#: Ops that MNN turns into copies of regions, which keep the integers as they are.
MOVERS = frozenset(
    {
        "ConvertTensor", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "ExpandDims", "Permute", "Transpose", "Slice",
        "SliceTf", "StridedSlice", "Crop", "Concat", "Pack", "Unpack", "Tile", "BroadcastTo", "DepthToSpace",
        "SpaceToDepth", "Padding", "Gather", "GatherV2", "GatherND", "Reverse", "Identity",
    }
)  # fmt: skip
_KERNELS = frozenset(
    {"BinaryOp", "Interp", "LayerNorm", "PReLU", "Pooling", "Pooling3D", "ReLU", "Scale", "Softmax", "ConvInt8"}
)
_CONVOLUTIONS = frozenset({"Convolution", "ConvolutionDepthwise"})
_JOINS = frozenset({"Concat", "Pack"})
#: Movers that become loops, which MNN runs in float.
_LOOPS = frozenset({"Gather", "GatherV2", "GatherND"})


def moved_inputs(op: Op) -> tuple[int, ...]:
    """The tensors whose data a mover moves: all that are joined, else the first; the others say where to."""
    return op.inputs if op.type in _JOINS else op.inputs[:1]


def is_plumbing(op: Op) -> bool:
    """Whether an op computes shapes or holds data, so that it has no precision."""
    return op.type in {"Input", "Const", "Shape", "Rank", "Size"}


def runs_in_int8(net: Net, op: Op, executed: frozenset[str] | None) -> bool:
    """Whether MNN computes an op in integers.

    Args:
        net: The net.
        op: One of its ops.
        executed: The names of the ops that did when the net ran, of which those that move data have none; None when it
            did not run.
    """
    if op_precision(net, op) != "int8":
        return False
    return executed is None or op.type in MOVERS or op.name in executed


def op_precision(net: Net, op: Op) -> str:
    """How MNN computes an op: "int8" or "float32"."""
    described = net.quantization
    if op.type in _LOOPS or not op.outputs or any(index not in described for index in op.outputs):
        return "float32"
    if op.type in MOVERS:
        same = all(described.get(index) == described[op.outputs[0]] for index in moved_inputs(op))
        return "int8" if same else "float32"
    # The sizes of a resize are read when the file is loaded; they are no data.
    data = op.inputs[:1] if op.type == "Interp" else op.inputs
    if any(index not in described for index in data):
        return "float32"
    if op.type in _CONVOLUTIONS:
        return "int8" if convolution(op).fully_quantized else "float32"
    if op.type == "ReLU" and op.parameter is not None and op.parameter.number(0) != 0.0:
        return "float32"
    return "int8" if op.type in _KERNELS else "float32"
