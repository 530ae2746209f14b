"""Rounding by what inputs do together: less error where they vary together, nothing to win where they do not."""

import numpy as np
import pytest
from graphs import model_of, node, weights
from measures import sqnr

from edgecomp.model import CompressedModel
from edgecomp.quantization.static import StaticQuantization, quantize_static
from edgecomp.recovery.adaround import AdaRound
from edgecomp.recovery.gptq import Gptq
from edgecomp.recovery.layers import Layer, round_layers
from edgecomp.steps import STEPS

METHODS = [Gptq(), AdaRound(iterations=150)]
RNG = np.random.default_rng(0)


def together(shape: tuple[int, ...], count: int = 24) -> list[tuple[np.ndarray]]:
    """Inputs whose channels are mixtures of three numbers, and a little noise."""
    channels = shape[1]
    mixing = RNG.normal(size=(channels, 3))
    others = (shape[0], 3, *(1 for _ in shape[2:]))  # pixels vary together too
    draw = (np.einsum("cm,bm...->bc...", mixing, RNG.normal(size=others)) for _ in range(count))
    return [((each + RNG.normal(0, 0.05, shape)).astype(np.float32),) for each in draw]


#: Weights of which one in each row is large, so that the others have few steps.
COARSE = weights(8, 16) * 0.05
COARSE[:, 0] = 2.0
MODELS = {
    "gemm": (model_of(node("Gemm", "x w b", "y", transB=1), shape=(4, 16), w=COARSE, b=weights(8)), (4, 16)),
    "matmul": (model_of(node("MatMul", "x w", "y"), shape=(1, 4, 16), w=COARSE.T), (1, 4, 16)),
    "conv": (
        model_of(node("Conv", "x w b", "y", pads=[1] * 4, strides=[2, 2]), shape=(1, 2, 9, 9),
                 w=np.resize(COARSE, (8, 2, 3, 3)), b=weights(8)), (1, 2, 9, 9),
    ),
    "depthwise": (
        model_of(node("Conv", "x w b", "y", group=4), shape=(1, 4, 8, 8), w=np.resize(COARSE, (4, 1, 3, 3)),
                 b=weights(4)), (1, 4, 8, 8),
    ),
}  # fmt: skip


def prepared(name: str) -> tuple[CompressedModel, CompressedModel, list[tuple[np.ndarray]]]:
    model, shape = MODELS[name]
    data = together(shape) if name != "matmul" else [(each[0].swapaxes(1, 2),) for each in together((1, 16, 4))]
    # The finest activations, so that weights are what is compared.
    return model, quantize_static(model, data, StaticQuantization(estimator="minmax"), threads=1), data


#: AdaRound moves a weight by less than a step, which is too little to make up for others among nine.
CASES = [(name, method) for name in MODELS for method in METHODS if (name, method.kind) != ("depthwise", "adaround")]


@pytest.mark.parametrize(("name", "method"), CASES, ids=str)
def test_less_error_is_left_where_inputs_vary_together(name: str, method: Gptq | AdaRound) -> None:
    model, quantized, data = prepared(name)
    graph, facts = round_layers(quantized, data, method.round)
    assert facts["layers"] == 1
    assert facts["error_left"] < 0.9
    rounded = quantized.after(quantized.provenance[-1], graph=graph)
    before, after = (sqnr(model, each, data) for each in (quantized, rounded))
    assert after > before - 0.1
    weight = next(value for value in graph.graph.initializers.values() if value.name == "w")
    parameters = quantized.quantization["w"]
    integers = parameters.quantize(weight.const_value.numpy())
    np.testing.assert_array_equal(parameters.quantize(parameters.dequantize(integers)), integers)
    nearest = parameters.quantize(quantized.graph.graph.initializers["w"].const_value.numpy())
    assert (integers != nearest).any()
    assert np.abs(integers.astype(int) - nearest).max() <= (1 if method.kind == "adaround" else 127)


def test_gptq_saves_decibels_of_a_matrix() -> None:
    model, quantized, data = prepared("gemm")
    graph, _ = round_layers(quantized, data, Gptq().round)
    rounded = quantized.after(quantized.provenance[-1], graph=graph)
    assert sqnr(model, rounded, data) > sqnr(model, quantized, data) + 1


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)
def test_exact_weights_stay_as_they_are(method: Gptq | AdaRound) -> None:
    integers = RNG.integers(-127, 128, (1, 8, 16)).astype(np.float64)
    layer = Layer(integers, np.eye(16)[None], np.ones((1, 8, 1)))
    np.testing.assert_array_equal(method.round(layer), integers)


def test_independent_inputs_leave_nothing_to_win() -> None:
    layer = Layer(RNG.uniform(-100, 100, (1, 8, 16)), np.eye(16)[None], np.ones((1, 8, 1)))
    np.testing.assert_array_equal(Gptq().round(layer), layer.nearest)


def test_the_source_is_not_changed() -> None:
    _, quantized, data = prepared("gemm")
    before = quantized.graph.graph.initializers["w"].const_value.numpy().copy()
    round_layers(quantized, data, Gptq().round)
    np.testing.assert_array_equal(quantized.graph.graph.initializers["w"].const_value.numpy(), before)


def test_recipes_know_them() -> None:
    assert (STEPS["gptq"], STEPS["adaround"]) == (Gptq, AdaRound)
