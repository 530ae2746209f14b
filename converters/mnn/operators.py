"""What MNN's ONNX importer can read, and what it reads but computes wrongly."""

from __future__ import annotations

import onnx_ir as ir

from edgecomp.converter import ConversionOptions, Unsupported
from edgecomp.converters.mnn.rewriting import Rewriting
from edgecomp.graph.query import constant, input_of
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

_UNKNOWN_COORDINATES = frozenset({"half_pixel_symmetric", "tf_crop_and_resize", "tf_half_pixel_for_nn"})

_REPLACE = "express it with other operators, or leave MNN out with --formats"


def unsupported_nodes(model: CompressedModel, options: ConversionOptions, lowered: Rewriting) -> list[Unsupported]:
    """The nodes that MNN cannot express; empty when a conversion will succeed.

    Args:
        model: To convert.
        options: To convert it with.
        lowered: What `lowering.lower` made of it.
    """
    found = list(lowered.problems)
    for node in model.graph.graph:
        if node.domain not in {"", "ai.onnx"} or node.op_type not in IMPORTABLE:
            reason: str | None = "MNN's ONNX importer does not know this operator"
        else:
            reason = _miscomputed(node)
        if reason is not None:
            found.append(Unsupported(node.name or "", node.op_type, reason, _REPLACE))
    if model.precision == "fp16":
        found.extend(_rounded(node) for node in model.graph.graph if stays_in_float(node) and _loses(node))
    if options.io_dtype == "int8":
        border = "MNN has no int8 at a model's border"
        cure = "use io_dtype=float32 for MNN, which quantizes inside"
        found.append(Unsupported("inputs and outputs", "io_dtype=int8", border, cure))
    return found


def _loses(node: ir.Node) -> bool:
    weight = constant(input_of(node, 1)) if node.op_type in WEIGHTED else None
    return weight is not None and not is_half(weight)


def _rounded(node: ir.Node) -> Unsupported:
    reason = "MNN rounds all weights of a file to float16, and this node is to stay in float32"
    return Unsupported(node.name or "", node.op_type, reason, "leave out MNN with --formats, or use another precision")


def _miscomputed(node: ir.Node) -> str | None:
    """Why MNN 3.6.1 gives wrong numbers for a node without saying so, or None; found by comparing with ONNX Runtime."""
    attributes = node.attributes
    match node.op_type:
        case "Resize" if attributes.get_string("mode", "nearest") == "cubic":
            return "MNN's cubic interpolation gives other numbers than ONNX's"
        case "Resize" if attributes.get_string("mode", "nearest") == "nearest":
            rounding = attributes.get_string("nearest_mode", "round_prefer_floor")
            if rounding in {"round_prefer_ceil", "ceil"}:
                return f"MNN ignores nearest_mode={rounding}"
        case "Resize" if attributes.get_string("coordinate_transformation_mode", "half_pixel") in _UNKNOWN_COORDINATES:
            return "MNN does not know these coordinates"
        case "Mod" if attributes.get_int("fmod", 0):
            return "MNN ignores fmod=1"
    return None
