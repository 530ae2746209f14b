"""The portable int8 scheme: what TFLite, ONNX Runtime and MNN can all execute with the same integers.

Rules, cited by number where they are applied:

1. Weights are int8, symmetric, per output channel, in [-127, 127], zero point 0.
2. Activations are int8, asymmetric, per tensor, in [-128, 127]; the range always contains 0, which is exact.
3. Bias is int32 with scale = input scale x weight scale and zero point 0.
4. Sigmoid, softmax and tanh outputs have TFLite's fixed parameters.
5. Operators that only move or select data keep their input's parameters, so that the integers pass through.
6. An activation that clips (ReLU, ReLU6) belongs to the operator before it: only its output is measured, and the tensor
   between the two shares its parameters.
7. A node runs in integers when its operator is in `OPERATORS` and all its float tensors have parameters. Everything
   else is a float island.
8. A node that is marked so has int16 activations, symmetric, where the rest has int8: an island of int16x8.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgecomp.graph.query import SIZED_KEY, clip_bounds, is_constant, is_float, only_consumer
from edgecomp.quantization.parameters import INTEGER_RANGE, IntegerType, QuantizationParameters

#: Metadata of a node whose precision is another than the model's: "float32" or "int16x8".
PRECISION_KEY = "edgecomp.precision"


@dataclass(frozen=True)
class OperatorScheme:
    """How the tensors of one ONNX operator are quantized.

    Attributes:
        output: "measured" has parameters of its own, from calibration; "input" keeps those of the data inputs (rule 5);
            "fixed" has those that rule 4 gives.
        data: How many leading inputs are data; None for all of them (Concat).
        fixed: Scale and zero point for `output == "fixed"`.
        fuses_activation: Whether a clipping activation that follows belongs to this operator (rule 6).
    """

    output: Literal["measured", "input", "fixed"]
    data: int | None = 1
    fixed: tuple[float, int] | None = None
    fuses_activation: bool = False


_COMPUTES = OperatorScheme("measured")
_COMPUTES_AND_CLIPS = OperatorScheme("measured", data=2, fuses_activation=True)
_WEIGHTED = OperatorScheme("measured", data=3, fuses_activation=True)
_MOVES = OperatorScheme("input")

OPERATORS: dict[str, OperatorScheme] = {
    # Weighted operators: input, weight, bias.
    "Conv": _WEIGHTED,
    "ConvTranspose": _WEIGHTED,
    "Gemm": _WEIGHTED,
    "MatMul": OperatorScheme("measured", data=2, fuses_activation=True),
    # Arithmetic.
    "Add": _COMPUTES_AND_CLIPS,
    "Sub": _COMPUTES_AND_CLIPS,
    "Mul": _COMPUTES_AND_CLIPS,
    "ReduceMean": _COMPUTES,
    "ReduceSum": _COMPUTES,
    "GlobalAveragePool": _COMPUTES,
    # Activations.
    "Relu": _COMPUTES,
    "Clip": _COMPUTES,
    "LeakyRelu": _COMPUTES,
    "PRelu": OperatorScheme("measured", data=2),
    "HardSwish": _COMPUTES,
    "HardSigmoid": _COMPUTES,
    "Gelu": _COMPUTES,
    "Sigmoid": OperatorScheme("fixed", fixed=(1 / 256, -128)),
    "Softmax": OperatorScheme("fixed", fixed=(1 / 256, -128)),
    "Tanh": OperatorScheme("fixed", fixed=(1 / 128, 0)),
    # LogSoftmax is missing on purpose: TFLite fixes its steps at 1/16, in which the best two answers are often equal.
    # Movers and selectors (rule 5). TFLite also demands it of AveragePool and of both kinds of Resize.
    "AveragePool": _MOVES,
    "Concat": OperatorScheme("input", data=None),
    "DepthToSpace": _MOVES,
    "Expand": _MOVES,
    "Flatten": _MOVES,
    "Gather": _MOVES,
    "GlobalMaxPool": _MOVES,
    "MaxPool": _MOVES,
    "Pad": _MOVES,
    "ReduceMax": _MOVES,
    "ReduceMin": _MOVES,
    "Reshape": _MOVES,
    "Resize": _MOVES,
    "Slice": _MOVES,
    "SpaceToDepth": _MOVES,
    "Split": _MOVES,
    "Squeeze": _MOVES,
    "Tile": _MOVES,
    "Transpose": _MOVES,
    "Unsqueeze": _MOVES,
    # A change of parameters in place: what the quantizer inserts where rule 5 meets unlike inputs.
    "Identity": _COMPUTES,
}

#: The operators that rule 4 speaks of whose int16 kernels have a fixed output too: numbers from -1 to 1.
_FIXED_IN_INT16 = frozenset({"Sigmoid", "Softmax", "Tanh"})

#: The operators that multiply with a weight, which is input 1; a bias is input 2.
WEIGHTED: frozenset[str] = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


#: Recurrent layers, whose weights for input and state (inputs 1 and 2) may be stored in integers.
RECURRENT: frozenset[str] = frozenset({"GRU", "LSTM", "RNN"})


def weight_axis(node: ir.Node) -> int | None:
    """The output-channel dimension of a weighted node's constant weights; None for per-tensor."""
    weight = node.inputs[1]
    assert weight is not None
    assert weight.shape is not None
    match node.op_type:
        case "GRU" | "LSTM" | "RNN":
            return 1  # (directions, gates * hidden, in): both directions share the scale of a row
        case "Conv":
            return 0
        case "ConvTranspose":
            # (in, out / group, ...): with groups the dimension mixes channels of different groups.
            return 1 if (node.attributes.get_int("group", 1) or 1) == 1 else None
        case "Gemm":
            return 0 if node.attributes.get_int("transB", 0) else 1
        case _:
            # A matrix or a stack of matrices (K, N): TFLite has one scale per column for a plain matrix only.
            return 1 if len(weight.shape) == 2 else None


def has_constant_weight(node: ir.Node) -> bool:
    """Whether a node multiplies with a constant weight, as opposed to two activations."""
    return node.op_type in WEIGHTED and is_constant(node.inputs[1])


def is_depthwise(node: ir.Node) -> bool:
    """Whether a node is a Conv whose every channel has weights of its own."""
    weight = node.inputs[1] if node.op_type == "Conv" else None
    groups = node.attributes.get_int("group", 1) or 1
    return groups > 1 and weight is not None and weight.shape is not None and weight.shape[:2] == (groups, 1)


def stays_in_float(node: ir.Node) -> bool:
    """Whether a node is marked to stay in float32, whatever the precision of the rest."""
    return node.metadata_props.get(PRECISION_KEY) == "float32"


def activations_of(node: ir.Node, dtype: IntegerType) -> IntegerType:
    """What a node computes with, where others compute with `dtype`: rule 8."""
    return "int16" if node.metadata_props.get(PRECISION_KEY) == "int16x8" else dtype


def is_weight_of(node: ir.Node, value: ir.Value) -> bool:
    """Whether a value is a constant weight of a node, and nothing else to it, that may be stored in integers."""
    places = (1, 2) if node.op_type in RECURRENT else (1,)
    return (
        (node.op_type in RECURRENT or node.op_type in WEIGHTED)
        and is_constant(value)
        and not stays_in_float(node)
        and [index for index, given in enumerate(node.inputs) if given is value] in [[place] for place in places]
    )


def is_plain_product(node: ir.Node) -> bool:
    """Whether a node is X @ W, or X @ W.T, plus a bias at most, with a constant matrix W."""
    data, weight = node.inputs[0], node.inputs[1]
    if not has_constant_weight(node) or data is None or weight is None or data.shape is None or weight.shape is None:
        return False
    if node.op_type not in {"Gemm", "MatMul"} or len(data.shape) < 2 or len(weight.shape) != 2:
        return False
    factors = [node.attributes.get_float(name, 1.0) for name in ("alpha", "beta")]
    return factors == [1.0, 1.0] and not node.attributes.get_int("transA", 0)


def data_inputs(node: ir.Node) -> list[ir.Value]:
    """The float inputs of a node that its scheme speaks of: activations, weights and bias, without shapes or bounds."""
    count = OPERATORS[node.op_type].data
    return [value for value in node.inputs[: count if count is not None else len(node.inputs)] if is_float(value)]  # type: ignore[misc]


def is_quantizable(node: ir.Node) -> bool:
    """Whether the scheme has rules for a node."""
    return (
        node.op_type in OPERATORS
        and not stays_in_float(node)
        and all(is_float(value) for value in node.outputs)
        and bool(data_inputs(node))
        and (node.op_type not in {"Conv", "ConvTranspose", "Gemm"} or has_constant_weight(node))
        and _quantizable_variant(node)
    )


def _quantizable_variant(node: ir.Node) -> bool:
    """Attributes that take an operator out of the scheme."""
    attributes = node.attributes
    match node.op_type:
        case _ if SIZED_KEY in node.metadata_props and OPERATORS[node.op_type].output != "input":
            # What it computes is known but for its size, such as distances between places, or the product of the zeros
            # that a recurrent layer begins with: where a size is fixed, nothing is left to compute.
            return False
        case "AveragePool":
            # ONNX Runtime's integer kernel divides by the elements that ceil_mode adds too, unlike its float kernel.
            return not (attributes.get_int("ceil_mode", 0) and attributes.get_int("count_include_pad", 0))
        case "Resize":
            return attributes.get_string("mode", "nearest") in {"nearest", "linear"}
        case "Pad":
            return attributes.get_string("mode", "constant") in {"constant", "reflect", "edge", "wrap"}
        case "Gemm":
            return not attributes.get_int("transA", 0)
        case _:
            return True


def fused_activation(node: ir.Node) -> ir.Node | None:
    """The Relu or Clip that belongs to `node` by rule 6, or None."""
    if node.op_type not in OPERATORS or not OPERATORS[node.op_type].fuses_activation:
        return None
    follower = only_consumer(node.outputs[0])
    if follower is None or follower.op_type not in {"Relu", "Clip"} or follower.inputs[0] is not node.outputs[0]:
        return None
    low, high = clip_bounds(follower)
    return follower if low <= 0 <= high else None


def runs_in_integers(node: ir.Node, quantization: Container[str]) -> bool:
    """Rule 7."""
    return is_quantizable(node) and all(value.name in quantization for value in (*data_inputs(node), *node.outputs))


def quantizable_nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes that the scheme has rules for and that something computed flows into, in topological order."""
    for node in graph:
        if is_quantizable(node) and any(value is not None and not is_constant(value) for value in node.inputs):
            yield node


def activation_parameters(low: float, high: float, dtype: IntegerType = "int8") -> QuantizationParameters:
    """Parameters for an activation with values in [low, high] (rule 2).

    int8 is asymmetric; int16 is symmetric, as TFLite's int16x8 kernels demand.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    lowest, highest = INTEGER_RANGE[dtype]
    if dtype == "int16":
        scale = np.float32(max(-low, high) / highest)
        return QuantizationParameters(np.asarray(_positive(scale)), np.array(0, np.int32), dtype)
    scale = _positive(np.float32((high - low) / (highest - lowest)))
    zero_point = int(np.clip(np.rint(lowest - low / float(scale)), lowest, highest))
    return QuantizationParameters(np.asarray(scale), np.array(zero_point, np.int32), dtype)


def _positive(scale: np.float32) -> np.float32:
    """A tensor that is always 0 still needs a scale; any will do that no kernel underflows on."""
    return scale if scale > 1e-12 else np.float32(1e-6)


def fixed_parameters(node: ir.Node, dtype: IntegerType = "int8") -> QuantizationParameters | None:
    """The parameters that rule 4 gives the output of a node, or None."""
    if dtype == "int16":
        fixed = (2.0**-15, 0) if node.op_type in _FIXED_IN_INT16 else None
    else:
        fixed = OPERATORS[node.op_type].fixed
    if fixed is None:
        return None
    return QuantizationParameters(np.array(fixed[0], np.float32), np.array(fixed[1], np.int32), dtype)
