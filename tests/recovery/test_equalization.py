"""Cross-layer equalization and high-bias absorption: a hard net comes back, an even one is left alone."""

import numpy as np
import pytest
from graphs import model_of, node, weights
from measures import sqnr

from edgecomp.model import CompressedModel
from edgecomp.quantization.static import quantize_static
from edgecomp.recovery.absorption import BiasAbsorption, absorb_biases
from edgecomp.recovery.equalization import Equalization, equalize
from edgecomp.steps import STEPS

SHAPE = (1, 3, 8, 8)
DATA = [(np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32),) for seed in range(8)]

#: From 1 to 100.
SPREAD = np.geomspace(1, 100, 8).astype(np.float32)


def chain(*activation: object, **constants: np.ndarray) -> CompressedModel:
    """A convolution, a depthwise and a pointwise one; the first ones' channels are spread, and evened out behind."""
    first = [node("Conv", "x a b", "p", pads=[1] * 4), *activation]
    wide = SPREAD.reshape(-1, 1, 1, 1)
    return model_of(
        *first,
        node("Conv", "r d", "q", pads=[1] * 4, group=8), node("Relu", "q", "s"),
        node("Conv", "s c", "y"),
        shape=SHAPE,
        **{"a": weights(8, 3, 3, 3) * wide, "b": weights(8, seed=1) * SPREAD, "d": weights(8, 1, 3, 3, seed=2),
           "c": weights(4, 8, 1, 1, seed=3) / SPREAD.reshape(1, -1, 1, 1), **constants},
    )  # fmt: skip


@pytest.mark.parametrize(
    "activation",
    [
        node("Relu", "p", "r"),
        node("LeakyRelu", "p", "r", alpha=0.1),
        node("MaxPool", "p", "r", kernel_shape=[2, 2], strides=[2, 2]),
    ],
    ids=lambda made: made.op_type,
)
def test_a_net_whose_channels_spread_a_hundredfold_comes_back(activation: object) -> None:
    model = chain(activation)
    equalized = equalize(model, DATA)
    assert equalized.provenance[-1].facts == {"pairs": 2, "equalized": 2}
    assert sqnr(model, equalized, DATA) > 100, "it computes the same"
    before, after = (sqnr(model, quantize_static(each, DATA, threads=1), DATA) for each in (model, equalized))
    assert before < 25
    assert after > before + 10


def forked(size: float, axis: int = 1) -> CompressedModel:
    """Two branches and their Concat; one of them is `size` times as large, and taken back behind."""
    back = np.float32([1 / size] * 4 + [1] * 4).reshape(1, 8, 1, 1)
    return model_of(
        node("Conv", "x a", "p"), node("Relu", "p", "r"), node("Conv", "x b", "q"), node("Relu", "q", "s"),
        node("Concat", "r s", "t", axis=axis), node("MaxPool", "t", "u", kernel_shape=[2, 2]),
        node("Conv", "u c" if axis == 1 else "u d", "y"), shape=SHAPE,
        a=weights(4, 3, 1, 1) * np.float32(size), b=weights(4, 3, 1, 1, seed=1), c=weights(4, 8, 1, 1, seed=2) * back,
        d=weights(4, 4, 1, 1, seed=2),
    )  # fmt: skip


def test_branches_of_unlike_size_are_evened_out_in_front_of_their_concat() -> None:
    model = forked(300.0)
    equalized = equalize(model, DATA)
    assert equalized.provenance[-1].facts == {"pairs": 1, "equalized": 1}
    assert sqnr(model, equalized, DATA) > 100, "it computes the same"
    before, after = (sqnr(model, quantize_static(each, DATA, threads=1), DATA) for each in (model, equalized))
    assert before < 12
    assert after > before + 20


def test_a_concat_of_anything_but_channels_is_left_alone() -> None:
    assert equalize(forked(300.0, axis=2), DATA).provenance[-1].facts["pairs"] == 0


def test_an_even_net_is_left_alone() -> None:
    alike = {
        "a": weights(1, 3, 3, 3).repeat(8, axis=0), "b": np.zeros(8, np.float32),
        "d": weights(1, 1, 3, 3).repeat(8, axis=0), "c": weights(4, 1, 1, 1).repeat(8, axis=1),
    }  # fmt: skip
    model = chain(node("Relu", "p", "r"), **alike)
    assert equalize(model, DATA).provenance[-1].facts == {"pairs": 2, "equalized": 0}


def test_a_clip_at_a_number_ends_the_chain() -> None:
    model = chain(node("Clip", "p low high", "r"), low=np.float32(0), high=np.float32(6))
    equalized = equalize(model, DATA)
    assert equalized.provenance[-1].facts["pairs"] == 1
    assert sqnr(model, equalized, DATA) > 100


def test_what_something_else_reads_is_left_alone() -> None:
    model = model_of(
        node("Conv", "x a", "p"), node("Relu", "p", "r"), node("Conv", "r c", "q"), node("Sigmoid", "r", "z"),
        outputs="q z", shape=SHAPE, a=weights(8, 3, 1, 1) * SPREAD.reshape(-1, 1, 1, 1), c=weights(4, 8, 1, 1),
    )  # fmt: skip
    assert equalize(model, DATA).provenance[-1].facts["pairs"] == 0


def high_bias(bias: float) -> CompressedModel:
    """Channel 0 lies around `bias`, far above the others."""
    return model_of(
        node("Conv", "x a b", "p"), node("Relu", "p", "r"), node("Conv", "r c", "y"), shape=SHAPE,
        a=weights(8, 3, 1, 1) * np.float32(0.2), b=np.float32([bias, *[0] * 7]), c=weights(4, 8, 1, 1, seed=3),
    )  # fmt: skip


def test_a_high_bias_is_absorbed() -> None:
    model = high_bias(40.0)
    absorbed = absorb_biases(model, DATA)
    assert absorbed.provenance[-1].facts == {"links": 1, "absorbed": 1}
    assert sqnr(model, absorbed, DATA) > 90
    before, after = (sqnr(model, quantize_static(each, DATA, threads=1), DATA) for each in (model, absorbed))
    assert after > before + 6


def test_low_biases_stay_where_they_are() -> None:
    assert absorb_biases(high_bias(0.0), DATA).provenance[-1].facts == {"links": 1, "absorbed": 0}


def test_nothing_is_absorbed_where_zeros_are_padded() -> None:
    model = chain(node("Relu", "p", "r"))
    assert absorb_biases(model, DATA).provenance[-1].facts["links"] == 1, "the pointwise one alone"


def test_recipes_know_them() -> None:
    assert (STEPS["equalize"], STEPS["absorb-biases"]) == (Equalization, BiasAbsorption)
