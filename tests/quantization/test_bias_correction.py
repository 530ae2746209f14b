"""Bias correction takes back what rounding the weights does to the mean of each output channel."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import StaticQuantization, quantize_static

GENERATOR = np.random.default_rng(0)


def model_with(op_type: str, weight: np.ndarray, **attributes: object) -> CompressedModel:
    """One weighted node with a bias of zeros, on an input of as many channels as it gives."""
    spatial = [6, 6] if op_type == "Conv" else []
    constants = {"w": weight, "b": np.zeros(CHANNELS, np.float32)}
    graph = helper.make_graph(
        [helper.make_node(op_type, ["x", "w", "b"], ["y"], name="node", **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, *spatial])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CHANNELS, *spatial])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return CompressedModel(ir.from_proto(model))


def batches(spatial: tuple[int, ...], count: int = 16) -> list[tuple[np.ndarray, ...]]:
    """Inputs whose channels have unlike means."""
    offsets = np.linspace(1, 3, CHANNELS).reshape(1, CHANNELS, *(1 for _ in spatial))
    shape = (1, CHANNELS, *spatial)
    return [((GENERATOR.standard_normal(shape) * 0.1 + offsets).astype(np.float32),) for _ in range(count)]


def mean_error(model: CompressedModel, data: list[tuple[np.ndarray, ...]], *, correct: bool) -> np.ndarray:
    """How far each output channel's mean is from the float model's."""
    quantized = quantize_static(model, data, StaticQuantization(estimator="minmax", correct_bias=correct))
    runs = [[Simulation(each).run(batch)[0] for batch in data] for each in (model, quantized)]
    real, integer = (np.concatenate(outputs) for outputs in runs)
    axes = tuple(axis for axis in range(real.ndim) if axis != 1)
    return np.asarray((integer - real).mean(axis=axes))


CHANNELS = 32

#: One large weight in each row sets the scale to 1/127; all others lie below half of it and are rounded to 0.
COARSE = (GENERATOR.uniform(0.2, 0.4, (CHANNELS, CHANNELS)) / 127 * (1 - np.eye(CHANNELS)) + np.eye(CHANNELS)).astype(
    np.float32
)

CASES = {
    "conv": ("Conv", COARSE.reshape(CHANNELS, CHANNELS, 1, 1), {}, (6, 6)),
    "depthwise": ("Conv", np.diag(COARSE).reshape(CHANNELS, 1, 1, 1) * np.float32(0.3), {"group": CHANNELS}, (6, 6)),
    "gemm": ("Gemm", COARSE, {"transB": 1}, ()),
    "gemm, weight as it is": ("Gemm", np.ascontiguousarray(COARSE.T), {"transB": 0}, ()),
}


@pytest.mark.parametrize("name", ["conv", "gemm", "gemm, weight as it is"])
def test_it_helps_where_rounding_errors_add_up(name: str) -> None:
    op_type, weight, attributes, spatial = CASES[name]
    model, data = model_with(op_type, weight, **attributes), batches(spatial)
    before = np.abs(mean_error(model, data, correct=False)).max()
    after = np.abs(mean_error(model, data, correct=True)).max()
    assert after < 0.3 * before


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_does_nothing_where_the_weights_are_exact(name: str) -> None:
    op_type, weight, attributes, spatial = CASES[name]
    exact = (np.rint(weight / np.abs(weight).max() * 127) / 127).astype(np.float32)
    exact.reshape(CHANNELS, -1)[:, 0] = 1.0  # every row's largest weight, so that its scale is 1/127
    if op_type == "Gemm" and not attributes["transB"]:
        exact[:] = exact[0, 0]
    model = model_with(op_type, exact, **attributes)
    quantized = quantize_static(model, batches(spatial), StaticQuantization())
    (bias,) = (value for value in quantized.graph.graph.initializers.values() if value.name == "b")
    assert bias.const_value is not None
    # A depthwise weight's scale is a little above 1/127, for the sake of the zero point (`multipliers`, rule 3).
    assert np.abs(bias.const_value.numpy()).max() < (1e-3 if name == "depthwise" else 1e-6)


def test_the_shift_is_the_closed_form() -> None:
    op_type, weight, attributes, spatial = CASES["gemm"]
    data = batches(spatial)
    quantized = quantize_static(model_with(op_type, weight, **attributes), data)
    parameters = quantized.quantization["w"]
    rounding = parameters.dequantize(parameters.quantize(weight)).astype(np.float64) - weight
    means = np.concatenate([batch[0] for batch in data]).mean(axis=0)
    (bias,) = (value for value in quantized.graph.graph.initializers.values() if value.name == "b")
    assert bias.const_value is not None
    np.testing.assert_allclose(bias.const_value.numpy(), -rounding @ means, rtol=1e-4, atol=1e-6)


def test_it_can_be_switched_off() -> None:
    op_type, weight, attributes, spatial = CASES["conv"]
    quantized = quantize_static(
        model_with(op_type, weight, **attributes), batches(spatial), StaticQuantization(correct_bias=False)
    )
    assert quantized.provenance[-1].facts["biases_corrected"] == 0
