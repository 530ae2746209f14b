"""What TFLite can express at all, so that a rate has a denominator that can be defended; each rule has its reason.

A rule is about the test and never about edgecomp: nothing is left out because edgecomp fails at it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import onnx
from google.protobuf.message import Message  # protobuf ships no stubs
from node_tests import NodeTest
from onnx import TensorProto

#: Types of tensors that LiteRT computes with; the others it can store or cast at most.
COMPUTED_TYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.INT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.BOOL: "bool",
}

#: Domain -> why its operators are left out.
DOMAINS = {
    "ai.onnx.ml": "classical machine learning (trees, vectorizers), no neural network",
    "ai.onnx.preview": "a preview operator that no exporter writes",
    "ai.onnx.preview.training": "an operator of the training loop",
}

_RANDOM = "random numbers: no two runtimes draw the same"
_DATA_DEPENDENT = "the shape of an output depends on the data, and an artifact has static shapes"
_TRAINING = "an operator of the training loop"
_TEXT_OR_FILES = "text or file contents, not tensors of numbers"
#: Operator -> why it is left out.
OPERATORS = {
    "Bernoulli": _RANDOM,
    "Multinomial": _RANDOM,
    "RandomNormal": _RANDOM,
    "RandomNormalLike": _RANDOM,
    "RandomUniform": _RANDOM,
    "RandomUniformLike": _RANDOM,
    "Compress": _DATA_DEPENDENT,
    "NonMaxSuppression": _DATA_DEPENDENT,
    "NonZero": _DATA_DEPENDENT,
    "Unique": _DATA_DEPENDENT,
    # Their operands are all constants in real models, and then they are folded; as inputs they make shapes.
    "ConstantOfShape": _DATA_DEPENDENT,
    "Range": _DATA_DEPENDENT,
    "BlackmanWindow": _DATA_DEPENDENT,
    "HammingWindow": _DATA_DEPENDENT,
    "HannWindow": _DATA_DEPENDENT,
    "MelWeightMatrix": _DATA_DEPENDENT,
    "ImageDecoder": _TEXT_OR_FILES,
    "TfIdfVectorizer": _TEXT_OR_FILES,
    "Adagrad": _TRAINING,
    "Adam": _TRAINING,
    "Momentum": _TRAINING,
    "Gradient": _TRAINING,
}

#: The newest opset of which the operators count.
NEWEST_OPSET = 23

#: Operators of the models that edgecomp is made for: convolutional nets, detectors, U-Nets, mobile nets, transformers,
#: recurrent classifiers; as PyTorch, Paddle and TensorFlow export them.
IN_REAL_MODELS = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "ArgMax",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Ceil",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Conv",
        "ConvTranspose",
        "Cos",
        "CumSum",
        "DepthToSpace",
        "DequantizeLinear",
        "Div",
        "Dropout",
        "Einsum",
        "Elu",
        "Equal",
        "Erf",
        "Exp",
        "Expand",
        "Flatten",
        "Floor",
        "GRU",
        "Gather",
        "GatherElements",
        "GatherND",
        "Gelu",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Greater",
        "GreaterOrEqual",
        "GridSample",
        "GroupNormalization",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "InstanceNormalization",
        "LSTM",
        "LayerNormalization",
        "LeakyRelu",
        "Less",
        "LessOrEqual",
        "Log",
        "LogSoftmax",
        "LpNormalization",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mish",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "OneHot",
        "Or",
        "PRelu",
        "Pad",
        "Pow",
        "QuantizeLinear",
        "RNN",
        "Range",
        "Reciprocal",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "Round",
        "ScatterElements",
        "ScatterND",
        "Shape",
        "Sigmoid",
        "Sign",
        "Sin",
        "Size",
        "Slice",
        "Softmax",
        "Softplus",
        "SpaceToDepth",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Swish",
        "Tanh",
        "Tile",
        "TopK",
        "Transpose",
        "Trilu",
        "Unsqueeze",
        "Upsample",
        "Where",
    ]
)


def exclusion(test: NodeTest) -> str | None:
    """Why TFLite cannot express a test, or None when it can."""
    return next(_reasons(test), None)


def family(test: NodeTest) -> str:
    """The kind of numbers that go in and come out: "float", "float16" or "integer"."""
    types = set(_border_types(test.model))
    if TensorProto.FLOAT16 in types:
        return "float16"
    return "float" if TensorProto.FLOAT in types else "integer"


def _reasons(test: NodeTest) -> Iterator[str]:
    nodes = list(_nodes(test.model.graph))
    yield from (DOMAINS[node.domain] for node in nodes if node.domain in DOMAINS)
    if test.op_type in OPERATORS:
        yield OPERATORS[test.op_type]
    if test.op_type in _too_new():
        yield f"an operator that came after opset {NEWEST_OPSET}"
    for value in (*test.model.graph.input, *test.model.graph.output):
        if not value.type.HasField("tensor_type"):
            yield "sequences and optionals, which TFLite has no type for"
    if any(_sequences(node) for node in nodes):
        yield "sequences and optionals, which TFLite has no type for"
    for kind in _border_types(test.model):
        if kind == TensorProto.STRING:
            yield _TEXT_OR_FILES
        elif kind not in COMPUTED_TYPES:
            yield f"{TensorProto.DataType.Name(kind).lower()}, which LiteRT does not compute with"
    if any(_training(node) for node in nodes):
        yield _TRAINING
    if _empty(test):
        yield "a tensor without elements: nothing to compute"


@functools.cache
def _too_new() -> frozenset[str]:
    first: dict[str, int] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.domain:
            first[schema.name] = min(schema.since_version, first.get(schema.name, schema.since_version))
    return frozenset(name for name, version in first.items() if version > NEWEST_OPSET)


def _border_types(model: onnx.ModelProto) -> list[int]:
    values = (*model.graph.input, *model.graph.output)
    return [value.type.tensor_type.elem_type for value in values if value.type.HasField("tensor_type")]


def _nodes(message: Message) -> Iterator[onnx.NodeProto]:
    """All nodes, those of subgraphs too."""
    for node in message.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)


def _sequences(node: onnx.NodeProto) -> bool:
    return node.op_type.startswith(("Sequence", "Optional")) or node.op_type in {
        "SplitToSequence",
        "ConcatFromSequence",
    }


def _training(node: onnx.NodeProto) -> bool:
    return any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)


def _empty(test: NodeTest) -> bool:
    arrays = (*test.inputs.values(), *test.expected)
    return any(getattr(array, "size", 1) == 0 for array in arrays)
