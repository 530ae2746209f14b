"""Tables of rows: which are stored in integers, what is looked up, and what becomes of it in every format."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.graph.session import Session
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.precision import Precision
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import with_stored_weights
from edgecomp.quantization.scheme import PRECISION_KEY
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import quantize_static
from edgecomp.quantization.tables import is_table, look_up_integers
from edgecomp.quantization.weights import DynamicInt8, WeightInt4, WeightInt8, quantize_weights

WORDS, WIDTH, UNITS = 1000, 24, 8
IDS = np.array([[3, 399, 0, 3, 17, 950]], np.int64)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def words(*, tail: str = "GRU", axis: int = 0, table: np.ndarray | None = None) -> CompressedModel:
    """Rows of a table, and a recurrent layer or a product behind them."""
    rows = numbers(WORDS, WIDTH) * np.geomspace(0.01, 3, WORDS, dtype=np.float32)[:, None] if table is None else table
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"], "lookup", axis=axis)]
    constants = {"table": rows}
    if tail == "GRU":
        nodes += [
            helper.make_node("Transpose", ["rows"], ["steps"], "turn", perm=[1, 0, 2]),
            helper.make_node("GRU", ["steps", "w", "r"], ["", "y"], "gru", hidden_size=UNITS),
        ]
        constants |= {"w": numbers(1, 3 * UNITS, WIDTH, seed=1) * 0.3, "r": numbers(1, 3 * UNITS, UNITS, seed=2) * 0.3}
    else:
        nodes.append(helper.make_node(tail, ["rows", "w"], ["y"], "tail"))
        constants["w"] = numbers(WIDTH, 5, seed=1) if tail == "MatMul" else numbers(1, seed=1)
    graph = helper.make_graph(
        nodes,
        "words",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, IDS.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return simplify(CompressedModel(ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))))


def table_of(model: CompressedModel) -> ir.Value:
    return model.graph.graph.initializers["table"]


def run(graph: ir.Model) -> np.ndarray:
    return Session(graph, threads=1).run([IDS])[0]


def test_a_table_is_what_only_lookups_of_rows_read() -> None:
    assert is_table(table_of(words()))
    assert not is_table(table_of(words(axis=1, tail="Mul")))
    assert not is_table(table_of(words(table=numbers(20, WIDTH).repeat(2, axis=0)[:40])))  # 960 numbers
    shared = words()
    product = ir.node("MatMul", [shared.graph.graph.inputs[0], table_of(shared)])
    shared.graph.graph.append(product)
    assert not is_table(table_of(shared))


def test_a_lookup_that_stays_in_float_keeps_its_table() -> None:
    model = words()
    next(node for node in model.graph.graph if node.name == "lookup").metadata_props[PRECISION_KEY] = "float32"
    assert "table" not in quantize_weights(model, DynamicInt8()).quantization


@pytest.mark.parametrize("settings", [DynamicInt8(), WeightInt8(), WeightInt4()])
def test_each_row_has_a_scale_of_its_own(settings: DynamicInt8 | WeightInt8 | WeightInt4) -> None:
    model = words()
    entry = quantize_weights(model, settings).quantization["table"]
    rows = table_of(model).const_value.numpy()
    assert (entry.dtype, entry.axis, entry.scale.shape) == ("int8", 0, (WORDS,))
    error = np.abs(entry.dequantize(entry.quantize(rows)) - rows).max(axis=1)
    assert (error <= 0.501 * np.abs(rows).max(axis=1) / 127).all()


@pytest.mark.parametrize(
    ("axis", "entry"),
    [
        (0, QuantizationParameters(np.full(WORDS, 0.02, np.float32), np.zeros(WORDS, np.int32), "int8", 0)),
        (0, QuantizationParameters(np.full(WORDS, 0.02, np.float32), np.arange(WORDS, dtype=np.int32) % 9, "int8", 0)),
        (0, QuantizationParameters(np.float32(0.02), np.int32(-7), "int8")),
        (1, QuantizationParameters(np.float32(0.02), np.int32(0), "int8")),
    ],
)
def test_what_is_looked_up_in_integers_is_what_they_stand_for(axis: int, entry: QuantizationParameters) -> None:
    table = numbers(WORDS, WORDS) if axis else None
    model = words(tail="Mul", axis=axis, table=table)
    model = CompressedModel(model.graph, {"table": entry}, precision="weight-int8")
    looked_up = look_up_integers(model)
    assert not looked_up.quantization
    assert "table" not in looked_up.graph.graph.initializers
    # A product of float32 against one of float64 that is rounded: the last bit may differ.
    np.testing.assert_allclose(run(looked_up.graph), run(with_stored_weights(model)), rtol=3e-7, atol=1e-9)


def test_a_model_without_a_table_is_the_same_object() -> None:
    model = words()
    assert look_up_integers(model) is model


@pytest.mark.parametrize("format_name", ["tflite", "onnxruntime", "ort", "mnn"])
@pytest.mark.parametrize("precision", ["dynamic-int8", "int8"])
def test_files_hold_the_integers_and_compute_what_they_stand_for(
    format_name: str, precision: Precision, tmp_path: Path
) -> None:
    model = words()
    quantized = (
        quantize_static(model, [(IDS,)], threads=1) if precision == "int8" else quantize_weights(model, DynamicInt8())
    )
    assert quantized.quantization["table"].axis == 0
    converter = load_converter(format_name)
    conversion = converter.convert(quantized, tmp_path / f"model{converter.suffixes[0]}", ConversionOptions())
    if format_name != "mnn":  # which stores tables in float32, and says so
        assert conversion.path.stat().st_size < 0.6 * 4 * WORDS * WIDTH
    predictor = converter.open(conversion.path)
    (found,) = predictor.run([IDS])
    (expected,) = Simulation(quantized, threads=1).run([IDS])
    np.testing.assert_allclose(found, expected, atol=2e-2 if precision == "dynamic-int8" else 1e-5)


def test_a_table_of_an_integer_graph_has_the_scale_of_its_rows(tmp_path: Path) -> None:
    quantized = quantize_static(words(tail="MatMul"), [(IDS,)], threads=1)
    assert quantized.quantization["table"].axis is None
    assert look_up_integers(quantized) is quantized
