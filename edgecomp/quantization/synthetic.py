"""Calibration inputs that are made up, for a model whose data nobody has.

Numbers that lie as images do (batch, channels, height, width) are noise with the spectrum of photographs: power falls
with the square of the frequency (Field, 1987). Other real numbers are drawn from a normal distribution. Both have mean
0 and variance 1, which most preprocessing aims at. Integers, such as words, are refused: nothing says which of them
belong together. Inputs learned from what BatchNorm remembers (Cai et al., 2020) were tried, and were worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgecomp.arrays import Array, Arrays
from edgecomp.errors import DataError
from edgecomp.frontends.source import Source

#: The share of an image's noise that all of its channels have in common: a colour is mostly its brightness.
_SHARED = 0.9


def synthetic_inputs(source: Source, seed: int, count: int = 64) -> Iterator[Arrays]:
    """Makes up inputs in the shapes and dtypes of a model.

    Args:
        source: The model; its data are not read.
        seed: The seed of the noise.
        count: How many batches.

    Raises:
        DataError: An input is not of real numbers.
    """
    for array, spec in zip(source.inputs, source.input_specs, strict=True):
        if array.dtype.kind != "f":
            raise DataError(
                f"{source.name}: --data-free",
                expected="inputs of real numbers, which noise can stand in for",
                actual=f"{spec.name!r} of type {array.dtype}",
                cure="give --calibration, or ask for --precision dynamic-int8 or weight-int8, which need no data",
            )
    generator = np.random.default_rng(seed)
    return (tuple(noise(array.shape, generator).astype(array.dtype) for array in source.inputs) for _ in range(count))


def noise(shape: Sequence[int], generator: np.random.Generator) -> Array:
    """Numbers of mean 0 and variance 1, in four dimensions with the spectrum of photographs."""
    drawn = generator.standard_normal(shape)
    if len(shape) != 4:
        return drawn
    rows, columns = np.fft.fftfreq(shape[2])[:, None], np.fft.fftfreq(shape[3])[None, :]
    frequency = np.maximum(np.hypot(rows, columns), 1 / max(shape[2:]))
    drawn = np.sqrt(_SHARED) * drawn[:, :1] + np.sqrt(1 - _SHARED) * drawn
    coloured = np.fft.ifft2(np.fft.fft2(drawn) / frequency).real
    return np.asarray((coloured - coloured.mean()) / max(float(coloured.std()), 1e-12))
