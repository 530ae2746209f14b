"""What of the weights integers hold: cutting off an outlier helps where it makes all others coarse."""

import numpy as np
import pytest
from graphs import batches, model_of, node, weights

from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import StaticQuantization, quantize_static
from edgecomp.quantization.weight_ranges import WEIGHT_RANGES, WeightRange, largest, least_squares


def outlying(size: float) -> np.ndarray:
    """Two rows of many weights, one of them `size`."""
    rows = weights(2, 100_000) * np.float32(0.2)
    rows[:, 0] = size
    return rows


def error(rows: np.ndarray, limits: np.ndarray, steps: int) -> np.ndarray:
    scale = limits[:, None] / steps
    return np.square(np.clip(np.rint(rows / scale), -steps, steps) * scale - rows).mean(axis=1)


@pytest.mark.parametrize(("steps", "size"), [(7, 1.5), (127, 20.0)])
def test_an_outlier_is_cut_off_where_that_leaves_less_error(steps: int, size: float) -> None:
    rows = outlying(size)
    limits = least_squares(rows, steps)
    assert (limits < size * 0.95).all()
    assert (error(rows, limits, steps) < 0.95 * error(rows, largest(rows, steps), steps)).all()


def test_even_weights_are_held_whole() -> None:
    rows = np.linspace(-1, 1, 255, dtype=np.float32).reshape(1, -1)
    np.testing.assert_array_equal(least_squares(rows, 127), largest(rows, 127))


def test_zeros_have_no_range() -> None:
    for ranges in WEIGHT_RANGES.values():
        np.testing.assert_array_equal(ranges(np.zeros((2, 5), np.float32), 127), [0.0, 0.0])


def noise(weight_range: WeightRange) -> float:
    """Of a matrix with one scale for all of its weights, of which one is far larger."""
    matrix = weights(256, 256) * np.float32(0.1)
    matrix[0, 0] = 6.0
    model, data = model_of(node("MatMul", "x w", "y"), shape=(8, 256), w=matrix), batches(shape=(8, 256))
    settings = StaticQuantization(per_channel=False, weight_range=weight_range, correct_bias=False)
    quantized = quantize_static(model, data, settings, threads=1)
    return sum(float(np.square(Simulation(model).run(b)[0] - Simulation(quantized).run(b)[0]).sum()) for b in data)


def test_a_matrix_with_one_large_weight_comes_back_a_little() -> None:
    assert noise("mse") < 0.9 * noise("largest")
