"""Parameters that follow a constant whose elements move."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgecomp.quantization.parameters import QuantizationParameters


@pytest.mark.parametrize("axis", [0, 1, 2, None])
@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.take([1], 0),
        lambda array: array[1],
        lambda array: array[:, 1:3],
        lambda array: array[:, 2:3],
        np.transpose,
        lambda array: array[0, 1:].T,
    ],
)
def test_what_moves_keeps_its_integers(axis: int | None, change: Callable[[np.ndarray], np.ndarray]) -> None:
    random = np.random.default_rng(0)
    array = random.normal(size=(2, 4, 3)).astype(np.float32)
    scale = random.uniform(0.01, 0.1, () if axis is None else array.shape[axis]).astype(np.float32)
    parameters = QuantizationParameters(scale, random.integers(-3, 3, scale.shape).astype(np.int32), axis=axis)
    followed = parameters.follow(array.shape, change)
    np.testing.assert_array_equal(followed.quantize(change(array)), change(parameters.quantize(array)))
