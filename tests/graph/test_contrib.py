"""ONNX Runtime's own operators become ONNX's, and compute the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgecomp.arrays import Array
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import SourceError
from edgecomp.frontends import load_source, runtime
from edgecomp.graph.contrib import CONTRIB, contrib_nodes
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel

RANDOM = np.random.default_rng(5)


def real(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def byte(*shape: int) -> Array:
    return RANDOM.integers(0, 255, shape).astype(np.uint8)


def signed(*shape: int) -> Array:
    """Small enough for kernels of x86 that add pairs of products in 16 bits, and saturate."""
    return RANDOM.integers(-63, 63, shape).astype(np.int8)


def scale(number: float) -> Array:
    return np.array(number, np.float32)


ZERO_BYTE, ZERO = np.array(120, np.uint8), np.array(0, np.int8)


@dataclass(frozen=True, eq=False)
class Case:
    """A node of ONNX Runtime's.

    Attributes:
        op_type: The operator.
        inputs: Name -> array, for the graph's inputs.
        operands: The node's inputs in order: the name of a graph's input, an array for a constant, "" for nothing.
        attributes: Of the node.
        outputs: Which of the node's outputs the graph gives.
        domain: Of the node.
        opset: Of the graph.
    """

    op_type: str
    inputs: Mapping[str, Array]
    operands: tuple[str | Array, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[int, ...] = (0,)
    domain: str = "com.microsoft"
    opset: int = 17

    def save(self, path: Path, *, dynamic: bool = False) -> None:
        """The graph of this node alone."""
        constants = {f"c{index}": each for index, each in enumerate(self.operands) if not isinstance(each, str)}
        names = [each if isinstance(each, str) else f"c{index}" for index, each in enumerate(self.operands)]
        results = [f"y{index}" if index in self.outputs else "" for index in range(max(self.outputs) + 1)]
        node = helper.make_node(self.op_type, names, results, name="own", domain=self.domain, **self.attributes)
        graph = helper.make_graph(
            [node],
            "graph",
            [
                helper.make_tensor_value_info(
                    name,
                    helper.np_dtype_to_tensor_dtype(array.dtype),
                    ["batch", *array.shape[1:]] if dynamic else array.shape,
                )
                for name, array in self.inputs.items()
            ],
            [helper.make_empty_tensor_value_info(name) for name in results if name],
            [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        types = self._types(graph)
        for output, kind in zip(graph.output, types, strict=True):
            output.type.CopyFrom(kind)
        imports = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)

    def _types(self, graph: onnx.GraphProto) -> list[onnx.TypeProto]:
        imports = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        content = helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        arrays = session.run(None, dict(self.inputs))
        return [helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(each.dtype), None) for each in arrays]


X, PICTURE = real(2, 5, 8), real(1, 4, 6, 6)
MASK = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], np.int32)
IDS = RANDOM.integers(0, 9, (2, 5)).astype(np.int32)
CONV = ("x", real(4, 4, 3, 3), real(4))
PADDED = {"pads": [1, 1, 1, 1]}
QUANTIZED = ("x", scale(0.02), ZERO_BYTE)

CASES = (
    Case("Gelu", {"x": X}, ("x",)),
    Case("Gelu", {"x": X}, ("x",), opset=15),
    Case("BiasGelu", {"x": X}, ("x", real(8))),
    Case("FastGelu", {"x": X}, ("x", real(8))),
    Case("FastGelu", {"x": X}, ("x",), opset=15),
    Case("QuickGelu", {"x": X}, ("x",), {"alpha": 1.0}),
    Case("QuickGelu", {"x": X}, ("x",)),
    *(
        Case("FusedConv", {"x": PICTURE}, CONV, {**PADDED, "activation": name, **numbers})
        for name, numbers in (
            ("Relu", {}),
            ("Clip", {"activation_params": [-0.5, 0.5]}),
            ("LeakyRelu", {"activation_params": [0.2]}),
            ("HardSigmoid", {"activation_params": [0.3, 0.4]}),
            ("Sigmoid", {}),
            ("Tanh", {}),
        )
    ),
    Case("FusedConv", {"x": PICTURE, "z": real(1, 4, 6, 6)}, (*CONV, "z"), {**PADDED, "activation": "Relu"}, opset=11),
    Case("FusedGemm", {"x": real(3, 8)}, ("x", real(5, 8), real(5)), {"transB": 1, "activation": "Relu"}),
    Case(
        "FusedGemm",
        {"x": real(3, 8)},
        ("x", real(5, 8), real(5)),
        {"transB": 1, "activation": "LeakyRelu", "activation_alpha": 0.3},
    ),
    Case("FusedMatMul", {"x": X, "y": real(2, 5, 7)}, ("x", "y"), {"transA": 1, "alpha": 0.5}),
    Case("FusedMatMul", {"x": X, "y": real(2, 3, 8)}, ("x", "y"), {"transB": 1}),
    Case("FusedMatMul", {"x": X, "y": real(5, 8, 3)}, ("x", "y"), {"transBatchA": 1}),
    Case("TransposeMatMul", {"x": X, "y": real(2, 5, 7)}, ("x", "y"), {"transA": 1}),
    Case("Trilu", {"x": real(4, 4)}, ("x",), {"upper": 0}),
    Case("GatherND", {"x": real(4, 3)}, ("x", np.array([[0, 1], [3, 2]]))),
    Case("GridSample", {"x": PICTURE, "g": np.tanh(real(1, 3, 3, 2))}, ("x", "g"), {"align_corners": 1}),
    Case("Pad", {"x": real(2, 3)}, ("x", np.array([0, 1, 0, 2]), scale(0.5)), {"mode": "constant"}),
    Case("SkipLayerNormalization", {"x": X, "s": real(2, 5, 8)}, ("x", "s", real(8), real(8)), {"epsilon": 1e-5}),
    Case(
        "SkipLayerNormalization",
        {"x": X, "s": real(2, 5, 8)},
        ("x", "s", real(8), real(8), real(8)),
        {"epsilon": 1e-5},
        outputs=(0, 3),
    ),
    Case("SkipLayerNormalization", {"x": X, "s": real(2, 5, 8)}, ("x", "s", real(8), real(8)), opset=14),
    Case("SkipSimplifiedLayerNormalization", {"x": X, "s": real(2, 5, 8)}, ("x", "s", real(8)), {"epsilon": 1e-5}),
    Case("SimplifiedLayerNormalization", {"x": X}, ("x", real(8)), {"axis": -1, "epsilon": 1e-5}, domain=""),
    Case("LayerNormalization", {"x": X}, ("x", real(8), real(8)), {"axis": -1, "epsilon": 1e-5}, domain="", opset=12),
    Case(
        "EmbedLayerNormalization",
        {"i": IDS},
        ("i", "", real(9, 8), real(6, 8), "", real(8), real(8)),
        outputs=(0, 1),
    ),
    Case(
        "EmbedLayerNormalization",
        {"i": IDS, "t": IDS % 2, "m": MASK},
        ("i", "t", real(9, 8), real(6, 8), real(2, 8), real(8), real(8), "m"),
        outputs=(0, 1, 2),
    ),
    Case(
        "QEmbedLayerNormalization",
        {"i": IDS, "t": IDS % 2},
        ("i", "t", byte(9, 8), byte(6, 8), byte(2, 8), byte(8), byte(8), "", *[scale(0.01)] * 5, *[ZERO_BYTE] * 5),
        outputs=(0, 1),
    ),
    Case("Attention", {"x": X}, ("x", real(8, 24), real(24)), {"num_heads": 2}),
    Case("Attention", {"x": X}, ("x", real(8, 24), real(24)), {"num_heads": 2, "unidirectional": 1}),
    Case("Attention", {"x": X, "m": MASK}, ("x", real(8, 24), real(24), "m"), {"num_heads": 4}),
    Case("Attention", {"x": X, "m": MASK.sum(1, dtype=np.int32)}, ("x", real(8, 24), real(24), "m"), {"num_heads": 2}),
    Case(
        "Attention",
        {"x": X},
        ("x", real(8, 20), real(20), "", "", real(2, 2, 5, 5)),
        {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 4], "scale": 0.3},
    ),
    Case(
        "MultiHeadAttention",
        {"q": X, "k": real(2, 6, 8), "v": real(2, 6, 4)},
        ("q", "k", "v", real(20)),
        {"num_heads": 2},
    ),
    Case(
        "MultiHeadAttention",
        {"q": X, "k": real(2, 5, 8), "v": real(2, 5, 8), "m": MASK},
        ("q", "k", "v", "", "m"),
        {"num_heads": 2, "unidirectional": 1},
    ),
    Case(
        "QAttention",
        {"x": byte(2, 5, 8)},
        ("x", signed(8, 24), real(24), scale(0.02), scale(0.01), "", ZERO_BYTE, ZERO),
        {"num_heads": 2},
    ),
    Case(
        "QAttention",
        {"x": byte(2, 5, 8), "s": scale(0.02)},
        ("x", signed(8, 24), real(24), "s", scale(0.01), "", ZERO_BYTE, ZERO),
        {"num_heads": 2},
    ),
    Case("DynamicQuantizeMatMul", {"x": X}, ("x", signed(8, 6), scale(0.01), ZERO, real(6))),
    Case("DynamicQuantizeMatMul", {"x": X}, ("x", signed(8, 6), np.abs(real(6)) + 0.01)),
    Case("MatMulIntegerToFloat", {"x": byte(2, 8)}, ("x", signed(8, 6), scale(0.02), scale(0.01), ZERO_BYTE, ZERO)),
    *(
        Case(
            "MatMulNBits",
            {"x": real(3, 48)},
            ("x", byte(5, 2, bits * 4), np.abs(real(5 * 2)) + 0.01, *zero),
            {"K": 48, "N": 5, "bits": bits, "block_size": 32},
        )
        for bits, zero in ((4, ()), (4, (byte(5),)), (8, ()), (8, (byte(10),)))
    ),
    Case(
        "NhwcMaxPool",
        {"x": byte(1, 6, 6, 4)},
        ("x",),
        {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    Case(
        "QLinearConv",
        {"x": byte(1, 6, 6, 4)},
        (*QUANTIZED, signed(3, 4, 3, 3), scale(0.01), ZERO, scale(0.1), ZERO_BYTE),
        {"channels_last": 1},
    ),
    Case(
        "QLinearConv",
        {"x": byte(1, 9, 4)},
        (*QUANTIZED, signed(3, 4, 3), scale(0.01), ZERO, scale(0.1), ZERO_BYTE),
        {"channels_last": 1},
    ),
    Case(
        "QLinearAveragePool",
        {"x": byte(1, 6, 6, 4)},
        (*QUANTIZED, scale(0.02), ZERO_BYTE),
        {"channels_last": 1, "kernel_shape": [2, 2]},
    ),
    Case(
        "QLinearGlobalAveragePool", {"x": byte(1, 6, 6, 4)}, (*QUANTIZED, scale(0.02), ZERO_BYTE), {"channels_last": 1}
    ),
)


def name_of(case: Case) -> str:
    return "-".join([case.op_type, *(f"{name}={number}" for name, number in case.attributes.items())])[:70]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_it_computes_the_same_with_operators_of_onnx(case: Case, tmp_path: Path) -> None:
    case.save(tmp_path / "model.onnx")
    source = load_source(tmp_path / "model.onnx", example_inputs=tuple(case.inputs.values()))
    assert not contrib_nodes(source.graph)
    expected = source.reference(tuple(case.inputs.values()))
    given = runtime.open_session(source.graph).run(tuple(case.inputs.values()))
    for left, right in zip(expected, given, strict=True):
        assert left.dtype == right.dtype
        tolerance = 1e-5 if left.dtype.kind == "f" else 1 if left.dtype == np.uint8 else 0
        np.testing.assert_allclose(
            right.astype(np.float64), left, rtol=1e-4, atol=tolerance * max(1, np.abs(left).max())
        )


def test_every_operator_of_the_table_has_a_case() -> None:
    assert {case.op_type for case in CASES} == CONTRIB.keys() - {"BiasAdd", "Range"}


def small_bert(path: Path, *, opset: int = 17) -> None:
    """One layer as ONNX Runtime's tools for transformers leave it; batch and length are dynamic."""
    constants: dict[str, Array] = {
        "words": real(30, 16),
        "positions": real(20, 16),
        "in": real(16, 48) / 4,
        "in_bias": real(48),
        "out": real(16, 16) / 4,
        "out_bias": real(16),
        "scale": 1 + real(16) / 8,
        "bias": real(16),
        "wide": real(16, 32) / 4,
        "wide_bias": real(32),
        "narrow": real(32, 4) / 4,
    }
    own = {"domain": "com.microsoft"}
    nodes = [
        helper.make_node(
            "EmbedLayerNormalization", ["ids", "", "words", "positions", "", "scale", "bias"], ["x", "lengths"], **own
        ),
        helper.make_node("Attention", ["x", "in", "in_bias", "mask"], ["context"], "attention", num_heads=2, **own),
        helper.make_node("MatMul", ["context", "out"], ["projected"]),
        helper.make_node("SkipLayerNormalization", ["projected", "x", "scale", "bias", "out_bias"], ["normal"], **own),
        helper.make_node("MatMul", ["normal", "wide"], ["many"]),
        helper.make_node("BiasGelu", ["many", "wide_bias"], ["curved"], **own),
        helper.make_node("MatMul", ["curved", "narrow"], ["y"]),
    ]
    integers = [helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "length"]) for name in ("ids", "mask")]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "length", 4])
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "bert", integers, [result], weights)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)


@pytest.mark.parametrize("format_name", ["tflite", "onnxruntime", "mnn"])
def test_a_transformer_of_these_operators_is_converted(format_name: str, tmp_path: Path) -> None:
    small_bert(tmp_path / "bert.onnx")
    source = load_source(tmp_path / "bert.onnx", shapes={"ids": (2, 6), "mask": (2, 6)})
    converter = load_converter(format_name)
    path = tmp_path / f"model{converter.suffixes[0]}"
    converter.convert(simplify(CompressedModel(source.graph)), path, ConversionOptions())
    sample = (np.arange(12, dtype=np.int32).reshape(2, 6), np.array([[1] * 6, [1] * 3 + [0] * 3], np.int32))
    (expected,), (given,) = source.reference(sample), converter.open(path, 1).run(sample)
    np.testing.assert_allclose(given, expected, atol=1e-4 * np.abs(expected).max())


def test_sizes_stay_dynamic(tmp_path: Path) -> None:
    small_bert(tmp_path / "bert.onnx")
    source = load_source(tmp_path / "bert.onnx", example_inputs=(np.ones((1, 5), np.int32),) * 2)
    longer = (np.arange(18, dtype=np.int32).reshape(2, 9), np.ones((2, 9), np.int32))
    np.testing.assert_allclose(
        runtime.open_session(source.graph).run(longer)[0], source.reference(longer)[0], atol=1e-4
    )


def test_what_cannot_be_written_with_onnx_says_why(tmp_path: Path) -> None:
    past = real(2, 2, 2, 3, 4)
    case = Case(
        "Attention", {"x": X, "p": past}, ("x", real(8, 24), real(24), "", "p"), {"num_heads": 2}, outputs=(0, 1)
    )
    case.save(tmp_path / "model.onnx")
    source = load_source(tmp_path / "model.onnx", example_inputs=tuple(case.inputs.values()))
    (own,) = contrib_nodes(source.graph)
    assert own.op_type == "Attention"
    graph = simplify(CompressedModel(source.graph))
    reasons = [each.reason for each in load_converter("tflite").check(graph, ConversionOptions())]
    assert any("it takes past keys and values" in reason for reason in reasons)


def test_blocks_of_one_processor_are_refused(tmp_path: Path) -> None:
    case = Case("FusedConv", {"x": PICTURE}, CONV, PADDED)
    case.save(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    model.graph.node[0].domain = "com.microsoft.nchwc"
    model.opset_import.add(domain="com.microsoft.nchwc", version=1)
    onnx.save(model, tmp_path / "blocked.onnx")
    with pytest.raises(SourceError, match="ORT_ENABLE_EXTENDED"):
        load_source(tmp_path / "blocked.onnx")
