"""Rounding that makes the whole model worse is not kept, whatever it does for its layer."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import batches, model_of, node, weights

from edgecomp.model import CompressedModel
from edgecomp.quantization.bias_correction import without_correction
from edgecomp.quantization.static import StaticQuantization, quantize_static
from edgecomp.recovery.guard import closer


@pytest.fixture(scope="module")
def model() -> CompressedModel:
    return model_of(
        node("Conv", "x w b", "a"), node("Relu", "a", "r"), node("Conv", "r v", "y"),
        w=weights(6, 3, 1, 1), b=weights(6), v=weights(2, 6, 1, 1, seed=1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def quantized(model: CompressedModel) -> CompressedModel:
    return quantize_static(model, batches(20), threads=1)


def moved(quantized: CompressedModel, steps: float) -> ir.Model:
    """Every weight of one layer some steps away."""
    graph = quantized.graph.clone()
    value = graph.graph.initializers["v"]
    scale = quantized.quantization["v"].scale.reshape(-1, 1, 1, 1)
    value.const_value = ir.tensor((value.const_value.numpy() + steps * scale).astype(np.float32), name="v")
    return graph


def test_what_is_worse_is_not_kept(quantized: CompressedModel) -> None:
    graph, facts = closer(quantized, moved(quantized, 3.0), batches(20))
    assert graph is quantized.graph
    assert not facts["kept"]
    assert facts["sqnr"]["chosen"] < facts["sqnr"]["nearest"] - 3


def test_what_is_as_good_is_kept(quantized: CompressedModel) -> None:
    same = moved(quantized, 0.0)
    graph, facts = closer(quantized, same, batches(20))
    assert graph is same
    assert facts["kept"]


def test_the_original_has_the_biases_from_before_they_were_corrected(
    model: CompressedModel, quantized: CompressedModel
) -> None:
    def bias(of: CompressedModel) -> np.ndarray:
        return np.asarray(of.graph.graph.initializers["b"].const_value.numpy())

    assert not np.allclose(bias(quantized), bias(model), atol=1e-6)
    np.testing.assert_allclose(bias(without_correction(quantized, batches(20))), bias(model), atol=1e-5)
    plain = quantize_static(model, batches(20), StaticQuantization(correct_bias=False), threads=1)
    np.testing.assert_array_equal(bias(without_correction(plain, batches(20))), bias(model))
