"""Figures of several rounds, with their spread and what became of their targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: What it is of.
        value: The median, in `unit`.
        unit: "s", "GB", "x".
        low: The smallest of the rounds.
        high: The largest.
        limit: The target: at most this; None for a figure without one.
    """

    name: str
    value: float
    unit: str
    low: float
    high: float
    limit: float | None = None

    @classmethod
    def of(cls, name: str, values: Sequence[float], unit: str, limit: float | None = None) -> Figure:
        """The figure of several rounds."""
        return cls(name, median(values), unit, min(values), max(values), limit)

    @property
    def verdict(self) -> str:
        """What became of the target."""
        return "" if self.limit is None else verdict(self.value, self.limit)


@dataclass(frozen=True)
class Ratio:
    """A latency over the best peer's: the median over rounds, and a 95 % interval of that median."""

    value: float
    low: float
    high: float


def verdict(value: float, limit: float) -> str:
    """Whether a figure is within its target."""
    return "met" if value <= limit else "MISSED"


def sign_interval(values: Sequence[float], confidence: float = 0.95) -> Ratio:
    """The median, and the narrowest interval of order statistics that holds the true one with `confidence`.

    Fewer than six values cannot give 95 %: then the interval is their whole range.
    """
    ordered, count = sorted(values), len(values)
    outside = 0
    # Either tail of a fair coin's binomial distribution, up to `outside` heads, lies beyond the next order statistic.
    while 2 * sum(math.comb(count, k) for k in range(outside + 1)) / 2**count <= 1 - confidence:
        outside += 1
    cut = max(outside - 1, 0)
    return Ratio(median(ordered), ordered[cut], ordered[count - 1 - cut])
