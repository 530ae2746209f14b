"""What MNN's ONNX importer can read, and what it reads but computes wrongly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from edgecomp.converter import ConversionOptions, Unsupported
from edgecomp.converters.mnn.rewriting import Rewriting
from edgecomp.graph.query import WHOLE_KEY, clip_bounds, constant, input_of, is_constant, is_float, origin
from edgecomp.model import CompressedModel
from edgecomp.quantization.half import is_half
from edgecomp.quantization.scheme import WEIGHTED, stays_in_float

#: The ONNX operators of MNN 3.6.1, as `mnnconvert -f ONNX --OP` lists them.
IMPORTABLE = frozenset(
    """
    ATan ATen Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift
    Cast CastLike Ceil Celu Clip Compress Concat ConcatFromSequence Constant ConstantOfShape Conv ConvTranspose
    Cos Cosh CumSum DepthToSpace DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf
    Erfc Erfinv Exp Expand Expm1 EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GridSampler HardSigmoid
    HardSwish Identity If InstanceNormalization LRN LSTM LayerNorm LayerNormalization LeakyRelu Less LessOrEqual
    Log Log1p LogSoftmax Loop LpNormalization LpPool MatMul Max MaxPool MaxRoiPool MaxUnpool Mean
    MeanVarianceNormalization Min Mod Mul Neg NegativeLogLikelihoodLoss NonMaxSuppression NonZero Not OneHot Or
    PRelu Pad Pow QuantizeLinear RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range
    Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round STFT Scatter ScatterElements
    ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape
    Shrink Sigmoid Sign Sin Sinh Size Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split
    SplitToSequence Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze
    Upsample Where Xor
    """.split()  # noqa: SIM905 -- one name a line would be 169 lines
)

#: The coordinates of a Resize that MNN computes as ONNX says, by mode, and how it rounds.
_COORDINATES = {
    "nearest": frozenset({"asymmetric", "half_pixel", "align_corners"}),
    "linear": frozenset({"asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners"}),
}
_ROUNDINGS = frozenset({"round_prefer_floor", "floor"})

_REPLACE = "express it with other operators, or leave MNN out with --formats"


def is_wanting(node: ir.Node) -> bool:
    """Whether MNN cannot compute a node as it stands, so that simpler nodes are to take its place."""
    if node.domain not in {"", "ai.onnx"}:
        return True
    return node.op_type not in IMPORTABLE or _MISCOMPUTED.get(node.op_type, _never)(node)


def note_problems(lowered: Rewriting) -> None:
    """Notes the nodes that MNN cannot compute and that nothing simpler took the place of."""
    for node in lowered.model.graph:
        if is_wanting(node):
            known = node.domain in {"", "ai.onnx"} and node.op_type in IMPORTABLE
            reason = "MNN computes it wrongly" if known else "MNN's ONNX importer does not know this operator"
            whole = node.metadata_props.get(WHOLE_KEY)
            reason = f"{reason}; {whole}" if whole else reason
            lowered.problems.append(Unsupported(lowered.origin(node), origin(node)[1], reason, _REPLACE))


def unsupported_nodes(model: CompressedModel, options: ConversionOptions, lowered: Rewriting) -> list[Unsupported]:
    """The nodes that MNN cannot express; empty when a conversion will succeed.

    Args:
        model: To convert.
        options: To convert it with.
        lowered: What `lowering.lower` made of it.
    """
    # A node may be noted before the repairs and after them.
    found = {problem.node: problem for problem in reversed(lowered.problems)}
    problems = list(reversed(found.values()))
    if model.precision == "fp16":
        problems.extend(_rounded(node) for node in model.graph.graph if stays_in_float(node) and _loses(node))
    if options.io_dtype == "int8":
        border = "MNN has no int8 at a model's border"
        cure = "use io_dtype=float32 for MNN, which quantizes inside"
        problems.append(Unsupported("inputs and outputs", "io_dtype=int8", border, cure))
    return problems


def _loses(node: ir.Node) -> bool:
    weight = constant(input_of(node, 1)) if node.op_type in WEIGHTED else None
    return weight is not None and not is_half(weight)


def _rounded(node: ir.Node) -> Unsupported:
    reason = "MNN rounds all weights of a file to float16, and this node is to stay in float32"
    return Unsupported(node.name or "", node.op_type, reason, "leave out MNN with --formats, or use another precision")


def _never(node: ir.Node) -> bool:
    return False


def _always(node: ir.Node) -> bool:
    return True


def _miscomputed_resize(node: ir.Node) -> bool:
    attributes = node.attributes
    mode = attributes.get_string("mode", "nearest") or ""
    coordinates = attributes.get_string("coordinate_transformation_mode", "half_pixel")
    if coordinates not in _COORDINATES.get(mode, ()) or bool(attributes.get_int("antialias", 0)):
        return True
    if attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch" or "axes" in attributes:
        return True
    if mode == "nearest" and attributes.get_string("nearest_mode", "round_prefer_floor") not in _ROUNDINGS:
        return True
    before, after = node.inputs[0].shape if node.inputs[0] else None, node.outputs[0].shape
    return before is None or after is None or len(before) not in {3, 4} or before[:2] != after[:2]


#: What MNN's cells take for granted, in the order of the specification.
_GATES = {"GRU": ["sigmoid", "tanh"], "LSTM": ["sigmoid", "tanh", "tanh"], "RNN": ["tanh"]}


def _recurs_otherwise(node: ir.Node) -> bool:
    """MNN knows one direction, the usual activations and no lengths; some exporters write the defaults out."""
    attributes = node.attributes
    if attributes.get_string("direction", "forward") != "forward" or "clip" in attributes:
        return True
    if any(attributes.get_int(name, 0) for name in ("layout", "input_forget")):
        return True
    given = attributes.get("activations")
    unusual = given is not None and [name.lower() for name in given.as_strings()] != _GATES[node.op_type]
    return unusual or any(input_of(node, index) is not None for index in (4, 7))


def _has_computed_bounds(node: ir.Node) -> bool:
    """MNN reads the bounds when it converts, and knows real numbers only."""
    given = [value for value in node.inputs[1:] if value is not None]
    low, high = clip_bounds(node)
    return not is_float(node.inputs[0]) or not all(map(is_constant, given)) or low > high


def _slopes_otherwise(node: ir.Node) -> bool:
    """MNN has one slope, or one for each channel."""
    data, slope = (None if value is None else value.shape for value in node.inputs[:2])
    if data is None or slope is None:
        return False
    channels = [] if len(data) < 2 else [data[1], *[1] * (len(data) - 2)]
    return any(size != 1 for size in slope) and list(slope) != channels


#: What MNN 3.6.1's importer reads and computes wrongly; found by comparing with ONNX Runtime. Where the numbers of a
#: node are not listed and still wrong, the trial run shows it.
_MISCOMPUTED: Mapping[str, Callable[[ir.Node], bool]] = {
    "ArgMax": lambda node: bool(node.attributes.get_int("select_last_index", 0)),
    "ArgMin": lambda node: bool(node.attributes.get_int("select_last_index", 0)),
    "BitShift": lambda node: node.attributes.get_string("direction", "") == "LEFT",
    "Celu": _always,
    "Clip": _has_computed_bounds,
    "Compress": _always,
    "DynamicQuantizeLinear": _always,
    "EyeLike": _always,
    "GRU": _recurs_otherwise,
    "GridSample": lambda node: (
        node.attributes.get_string("mode", "linear") not in {"linear", "bilinear"}
        or node.attributes.get_string("padding_mode", "zeros") == "reflection"
    ),
    "GroupNormalization": _always,
    # Its sessions run no subgraphs, neither this one's nor a loop's.
    "If": _always,
    "LSTM": _recurs_otherwise,
    "LogSoftmax": _always,
    "Loop": _always,
    "LpNormalization": _always,
    "LpPool": _always,
    # Its second output, the indices.
    "MaxPool": lambda node: (
        len(node.outputs) > 1 and bool(tuple(node.outputs[1].uses()) or node.outputs[1].is_graph_output())
    ),
    "Mod": lambda node: bool(node.attributes.get_int("fmod", 0)),
    "NegativeLogLikelihoodLoss": _always,
    "OneHot": _always,
    "PRelu": _slopes_otherwise,
    "RNN": _recurs_otherwise,
    "Resize": _miscomputed_resize,
    "Round": _always,
    "ScatterElements": _always,
    "ScatterND": _always,
    "Shrink": _always,
    "SoftmaxCrossEntropyLoss": _always,
    "STFT": _always,
    "TopK": lambda node: not is_float(node.inputs[0]),
}
