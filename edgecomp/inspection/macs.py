"""Counts multiply-accumulate operations from shapes alone.

Every rule uses only numbers of elements, so that the layout of activations does not matter: a convolution multiplies
all its weights once for every position of its output, a transposed convolution once for every position of its input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt

from edgecomp.inspection.contents import Contents, Node, Tensor

Shape = tuple[int, ...]
Rule = Callable[[Sequence[Shape], Shape], int]


@dataclass(frozen=True)
class Multiplications:
    """The number of multiply-accumulates.

    Attributes:
        total: All of one run, with dynamic dimensions as 1.
        by_node: The count of each node that multiplies, by its index in `Contents.nodes`.
        unknown: The number of multiplying nodes whose shapes the artifact does not tell.
    """

    total: int
    by_node: dict[int, int]
    unknown: int


def multiplications(contents: Contents) -> Multiplications:
    """Counts the multiplications of operators on matrices; elementwise operators are negligible beside them."""
    by_node: dict[int, int] = {}
    unknown = 0
    for position, node in contents.computing():
        rule = RULES.get(node.op_type)
        if rule is None:
            continue
        try:
            by_node[position] = rule(*_shapes(contents, node))
        except (LookupError, ValueError, ZeroDivisionError):
            unknown += 1
    return Multiplications(sum(by_node.values()), by_node, unknown)


def _shapes(contents: Contents, node: Node) -> tuple[list[Shape], Shape]:
    inputs: list[Tensor | None] = [None if index is None else contents.tensors[index] for index in node.inputs]
    return [_shape(tensor) for tensor in inputs], _shape(contents.tensors[node.outputs[0]], needed=True)


def _shape(tensor: Tensor | None, *, needed: bool = False) -> Shape:
    """Returns a shape with dynamic dimensions as 1; an unknown shape is empty, which every rule rejects."""
    if tensor is None or tensor.shape is None:
        if needed:
            raise ValueError("no shape")
        return ()
    return tuple(1 if size is None else size for size in tensor.shape)


def _elements(shape: Shape) -> int:
    if not shape:
        raise ValueError("no shape")
    product = 1
    for size in shape:
        product *= size
    return product


def _convolution(weight: int = 1, channels: int = 0) -> Rule:
    """The rule of a convolution: weights are input `weight`, with output channels in dimension `channels`."""
    return lambda inputs, output: _elements(output) // inputs[weight][channels] * _elements(inputs[weight])


def _transposed(weight: int = 1, data: int = 0, channels: int = 0) -> Rule:
    """The rule of a transposed convolution: the weights' dimension `channels` has the channels of input `data`."""
    return lambda inputs, output: _elements(inputs[data]) // inputs[weight][channels] * _elements(inputs[weight])


def _linear(weight: int = 1) -> Rule:
    """The rule of a matrix product with a weight, in either orientation; one side is the output's last dimension."""
    return lambda inputs, output: _elements(output) * (_elements(inputs[weight]) // output[-1])


def _matrix(left: int = 0, right: int = 1) -> Rule:
    """The rule of a product of stacked matrices, either of which may be transposed."""

    def rule(inputs: Sequence[Shape], output: Shape) -> int:
        a, b = inputs[left], inputs[right]
        if len(a) == len(b) == len(output) and a[:-2] == b[:-2]:
            # (m k) (k n) over (m n) is k squared.
            return _elements(output) * isqrt(_elements(a[-2:]) * _elements(b[-2:]) // _elements(output[-2:]))
        return _elements(output) * a[-1]

    return rule


def _recurrent(*weights: int) -> Rule:
    """The rule of a recurrent layer: every weight once per step and sequence; the data are input 0, (..., features)."""
    return lambda inputs, output: (
        _elements(inputs[0]) // inputs[0][-1] * sum(_elements(inputs[w]) for w in weights if inputs[w])
    )


#: By operator, in the names of all formats, which do not clash.
RULES: dict[str, Rule] = {
    # ONNX and ONNX Runtime.
    "Conv": _convolution(),
    "FusedConv": _convolution(),
    "ConvInteger": _convolution(),
    "QLinearConv": _convolution(weight=3),
    "ConvTranspose": _transposed(),
    "Gemm": _linear(),
    "FusedGemm": _linear(),
    "QGemm": _linear(weight=3),
    "MatMul": _matrix(),
    "FusedMatMul": _matrix(),
    "MatMulInteger": _matrix(),
    "MatMulIntegerToFloat": _matrix(),
    "DynamicQuantizeMatMul": _matrix(),
    "MatMulNBits": _matrix(),
    "QLinearMatMul": _matrix(right=3),
    "LSTM": _recurrent(1, 2),
    "GRU": _recurrent(1, 2),
    "RNN": _recurrent(1, 2),
    # TFLite.
    "CONV_2D": _convolution(),
    "CONV_3D": _convolution(channels=4),
    "DEPTHWISE_CONV_2D": _convolution(channels=3),
    "TRANSPOSE_CONV": _transposed(data=2, channels=3),
    "FULLY_CONNECTED": _linear(),
    "BATCH_MATMUL": _matrix(),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _recurrent(*range(1, 9)),
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent(1, 2),
    # MNN.
    "Convolution": _convolution(),
    "ConvolutionDepthwise": _convolution(),
    "Convolution3D": _convolution(),
    "Deconvolution": _transposed(),
    "DeconvolutionDepthwise": _transposed(),
    "BatchMatMul": _matrix(),
}
