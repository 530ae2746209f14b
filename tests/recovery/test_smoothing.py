"""Smoothing helps where a few channels are large, does nothing where none is, and never changes what is computed."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from graphs import model_of, node, weights
from measures import sqnr

from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import quantize_static
from edgecomp.recovery.smoothing import Smoothing, smooth
from edgecomp.steps import STEPS

SHAPE = (1, 6, 16)
DATA = [(np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32),) for seed in range(12)]
OUTLIER = np.where(np.arange(16) == 3, np.float32(60), np.float32(1))


@dataclass
class Case:
    """A piece of a Transformer; `factor` is what makes channels uneven."""

    nodes: tuple[object, ...]
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def model(self, factor: np.ndarray) -> CompressedModel:
        constants = {
            name: array * factor if name in {"g", "up", "u"} else array for name, array in self.constants.items()
        }
        constants = {"one": np.ones(16, np.float32), **constants}
        return model_of(*self.nodes, shape=SHAPE, **constants)


NORM = node("LayerNormalization", "x g", "n", axis=-1)
CASES = {
    "a norm that only a linear layer reads": Case(
        (NORM, node("MatMul", "n w", "y")), {"g": np.ones(16, np.float32), "w": weights(16, 8) / OUTLIER[:, None]}
    ),
    "a norm that a residual reads too": Case(
        (NORM, node("MatMul", "n w", "p"), node("Add", "n p", "a"), node("LayerNormalization", "a one", "y")),
        {"g": np.ones(16, np.float32), "w": weights(16, 16) / OUTLIER[:, None]},
    ),
    "what is added to a residual stream": Case(
        (node("MatMul", "x up", "p"), node("Add", "p b", "q"), node("Add", "x q", "a"),
         node("LayerNormalization", "a one", "y")),
        {"up": weights(16, 16), "b": weights(16)},
    ),
    "a gelu between linear layers": Case(
        (node("MatMul", "x u", "p"), node("Add", "p b", "q"), node("Gelu", "q", "h"), node("MatMul", "h w", "y")),
        {"u": weights(16, 16), "b": weights(16), "w": weights(16, 8) / OUTLIER[:, None]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_helps_where_a_channel_is_large(name: str) -> None:
    model = CASES[name].model(OUTLIER)
    smoothed = smooth(model, DATA)
    assert sqnr(model, smoothed, DATA) > 100, "it computes the same"
    before, after = (sqnr(model, quantize_static(each, DATA, threads=1), DATA) for each in (model, smoothed))
    assert after > before + 6


@pytest.mark.parametrize("name", CASES)
def test_it_does_nothing_where_channels_are_alike(name: str) -> None:
    ramp = np.linspace(-0.5, 0.5, 16, dtype=np.float32)[:, None]
    case = CASES[name]
    constants = {
        key: np.zeros_like(array) if key == "b" else np.tile(ramp, array.shape[1]) if array.ndim == 2 else array
        for key, array in case.constants.items()
    }
    alike = Case(case.nodes, constants)
    model = alike.model(np.float32(1))
    smoothed = smooth(model, DATA, Smoothing(least_gain=3.0))
    assert smoothed.provenance[-1].facts == {"inputs": 0, "outputs": 0, "kept_in_float": 0}
    assert [each.op_type for each in smoothed.graph.graph] == [each.op_type for each in model.graph.graph]


def test_the_products_stay_in_float_and_matrices_in_integers() -> None:
    model = CASES["a gelu between linear layers"].model(OUTLIER)
    quantized = quantize_static(smooth(model, DATA), DATA, threads=1)
    integers = [each.op_type for each in quantized.graph.graph if scheme.runs_in_integers(each, quantized.quantization)]
    assert [op_type for op_type in integers if op_type != "Reshape"] == ["Gemm", "MatMul"]


def test_a_net_without_transformer_parts_is_left_alone() -> None:
    model = model_of(node("Relu", "x", "r"), node("MatMul", "r w", "y"), shape=SHAPE, w=weights(16, 8))
    smoothed = smooth(model, iter(()))
    np.testing.assert_array_equal(Simulation(smoothed).run(DATA[0])[0], Simulation(model).run(DATA[0])[0])


def test_recipes_know_it() -> None:
    assert STEPS["smooth"] is Smoothing
