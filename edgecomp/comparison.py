"""How two lists of outputs compare: the numbers of the agreement matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edgecomp.converter import Array


@dataclass(frozen=True)
class Comparison:
    """One output of two models over many samples.

    Attributes:
        output: Its name.
        samples: How many samples were compared.
        max_difference: The largest absolute difference; in quantization steps when `step` is given.
        mean_difference: The mean absolute difference, likewise.
        step: The quantization step of the output, None when it is not quantized.
        cosine: Cosine similarity over all samples.
        sqnr: Signal-to-quantization-noise ratio in dB: power of the reference over power of the difference.
        agreement: Share of samples with the same argmax; None unless the output has the shape (batch, classes).
    """

    output: str
    samples: int
    max_difference: float
    mean_difference: float
    step: float | None
    cosine: float
    sqnr: float
    agreement: float | None


def compare(output: str, pairs: Iterable[tuple[Array, Array]], step: float | None) -> Comparison:
    """Compares one output batch by batch, in constant memory.

    Args:
        output: Its name.
        pairs: (reference, candidate) arrays of equal shape, batch in front.
        step: The quantization step to count differences in.
    """
    samples = elements = matches = 0
    classifies = False
    largest = total = products = reference_power = candidate_power = noise = 0.0
    for reference, candidate in pairs:
        x, y = reference.astype(np.float64), candidate.astype(np.float64)
        difference = np.abs(x - y)
        samples += len(x) if x.ndim else 1
        elements += x.size
        largest = max(largest, float(difference.max(initial=0.0)))
        total += float(difference.sum())
        noise += float((difference**2).sum())
        products += float((x * y).sum())
        reference_power += float((x**2).sum())
        candidate_power += float((y**2).sum())
        if x.ndim == 2 and x.shape[1] > 1:
            classifies = True
            matches += int((x.argmax(axis=1) == y.argmax(axis=1)).sum())
    norm = math.sqrt(reference_power * candidate_power)
    unit = step or 1.0
    return Comparison(
        output,
        samples,
        largest / unit,
        total / max(elements, 1) / unit,
        step,
        cosine=products / norm if norm else 1.0 if reference_power == candidate_power else 0.0,
        sqnr=_decibels(reference_power, noise),
        agreement=matches / samples if classifies else None,
    )


def _decibels(signal: float, noise: float) -> float:
    """10 log10 of the ratio, within +-200 dB so that it stays a number in JSON."""
    if noise == 0:
        return 200.0
    if signal == 0:
        return -200.0
    return float(np.clip(10 * math.log10(signal / noise), -200, 200))


def wilson_upper(share: float, samples: int, z: float = 1.96) -> float:
    """Upper end of the 95 % confidence interval of a share (Wilson, 1927)."""
    center = share + z * z / (2 * samples)
    spread = z * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples))
    return (center + spread) / (1 + z * z / samples)
