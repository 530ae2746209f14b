"""Errors of tensors, accumulated batch by batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgecomp.arrays import Array
from edgecomp.verification.comparison import EQUAL, decibels


@dataclass
class Error:
    """The error of one tensor over all batches so far.

    Attributes:
        signal: Sum of the squares of the correct values.
        power: Sum of the squares of the actual values.
        noise: Sum of the squares of the difference.
        product: Sum of the products of correct and actual values.
    """

    signal: float = 0.0
    power: float = 0.0
    noise: float = 0.0
    product: float = 0.0

    def add(self, right: Array, found: Array) -> None:
        """Adds a batch: two arrays of the same shape."""
        x, y = (np.asarray(array, np.float32).reshape(-1) for array in (right, found))
        # The minus infinities of a mask cannot be squared.
        finite = np.isfinite(x) & np.isfinite(y)
        if not finite.all():
            x, y = x[finite], y[finite]
        difference = x - y
        self.signal += float(x @ x)
        self.power += float(y @ y)
        self.product += float(x @ y)
        self.noise += float(difference @ difference)

    @property
    def ratio(self) -> float:
        """Noise over signal, infinite if there is noise only."""
        if self.noise == 0:
            return 0.0
        return self.noise / self.signal if self.signal else math.inf

    @property
    def sqnr(self) -> float:
        """Signal-to-quantization-noise ratio in dB."""
        return decibels(self.signal, self.noise)

    @property
    def cosine(self) -> float:
        """Cosine similarity."""
        norm = math.sqrt(self.signal * self.power)
        return self.product / norm if norm else float(self.signal == self.power)


class OutputError:
    """The error of a model's outputs: noise over signal, averaged over outputs.

    Every output has the same weight, so that large values, such as boxes, do not hide small ones, such as scores. For
    integer outputs, such as class numbers, it is the share of wrong values.
    """

    def __init__(self) -> None:
        self._errors: list[Error] = []

    def add(self, right: Sequence[Array], found: Sequence[Array]) -> None:
        """Adds a batch."""
        self._errors = self._errors or [Error() for _ in right]
        for error, x, y in zip(self._errors, right, found, strict=True):
            if x.dtype.kind == "f":
                error.add(x, y)
            else:
                error.signal += x.size
                error.noise += float((x != y).sum())

    @property
    def ratio(self) -> float:
        """Noise over signal; at 1 the outputs are useless."""
        return float(np.mean([min(error.ratio, 1e6) for error in self._errors])) if self._errors else 0.0

    @property
    def sqnr(self) -> float:
        """The same in dB."""
        return -10 * math.log10(self.ratio) if self.ratio > 0 else EQUAL
