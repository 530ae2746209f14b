import numpy as np
import pytest
from graphs import SHAPE, model_of, node, weights

from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import quantize_static

CAUSAL = np.where(np.tri(4, dtype=bool), 0, -np.inf).astype(np.float32)


def quantized(model: CompressedModel) -> CompressedModel:
    rng = np.random.default_rng(0)
    return quantize_static(model, [(rng.normal(size=SHAPE).astype(np.float32),) for _ in range(4)], threads=1)


def in_float(model: CompressedModel) -> list[str]:
    return [each.op_type for each in model.graph.graph if not scheme.runs_in_integers(each, model.quantization)]


def attention(*masking: object, **constants: object) -> CompressedModel:
    """Scores of x with itself, masked by `masking`, times x."""
    return model_of(
        node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("MatMul", "x t", "s"), *masking,
        node("Softmax", "m", "p", axis=3), node("MatMul", "p x", "y"), **constants,
    )  # fmt: skip


@pytest.mark.parametrize("low", [-1e4, np.finfo(np.float32).min, -np.inf])
def test_what_a_mask_touches_stays_in_float_and_the_rest_does_not(low: float) -> None:
    mask = np.where(np.isinf(CAUSAL), np.float32(low), CAUSAL)
    model = quantized(attention(node("Add", "s mask", "m"), mask=mask))
    assert in_float(model) == ["Add", "Softmax"]
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)  # as calibration has seen it
    scores = x @ x.swapaxes(2, 3) + CAUSAL
    shares = np.exp(scores - scores.max(axis=3, keepdims=True))
    expected = shares / shares.sum(axis=3, keepdims=True) @ x
    (found,) = Simulation(model, threads=1).run([x])
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_a_mask_by_where_too() -> None:
    model = quantized(attention(node("Where", "keep s low", "m"), keep=np.isfinite(CAUSAL), low=np.float32(-np.inf)))
    assert in_float(model) == ["Where", "Softmax"]


def test_what_makes_a_mask_stays_in_float() -> None:
    model = attention(
        node("ReduceMax", "x axes", "r", keepdims=1), node("Sub", "one r", "d"), node("Mul", "d low", "mask"),
        node("Add", "s mask", "m"), axes=np.int64([2]), one=np.float32(1), low=np.float32(-1e4),
    )  # fmt: skip
    assert in_float(quantized(model)) == ["ReduceMax", "Sub", "Mul", "Add", "Softmax"]


def test_a_bias_on_scores_is_no_mask() -> None:
    model = quantized(attention(node("Add", "s bias", "m"), bias=weights(4, 4)))
    assert in_float(model) == []


def test_a_residual_in_front_of_a_norm_stays_in_float() -> None:
    model = model_of(
        node("MatMul", "x w", "p"), node("Add", "x p", "a"), node("LayerNormalization", "a g", "n"),
        node("MatMul", "n w", "y"), w=weights(4, 4), g=np.ones(4, np.float32),
    )  # fmt: skip
    assert in_float(quantized(model)) == ["Add", "LayerNormalization"]


def test_the_source_is_not_marked() -> None:
    model = attention(node("Add", "s mask", "m"), mask=CAUSAL)
    quantized(model)
    assert not any(scheme.stays_in_float(each) for each in model.graph.graph)
