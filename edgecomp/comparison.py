"""How two lists of outputs compare: the numbers of the agreement matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecomp.converter import Array

#: The SQNR of equal outputs, in dB.
EQUAL = 200.0

#: How far probabilities may be from 1 together.
_NEARLY = 0.02


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
        sqnr: Signal-to-quantization-noise ratio in dB: power of the reference over power of the difference; None for
            integers, such as class numbers, which are right or wrong and nothing in between.
        agreement: Share of answers with the same argmax for an output of the shape (batch, classes), or of one whose
            last dimension holds the probabilities of classes: of a text's letters, say. Share of equal numbers for
            integers; else None. Unit vectors are embeddings, in which the largest number means nothing.
        broken: How many numbers are NaN or infinite in one and something else in the other. They count in `agreement`
            and in no other figure.
        answers: How many argmaxes were compared; 0 where there are none.
    """

    output: str
    samples: int
    max_difference: float
    mean_difference: float
    step: float | None
    cosine: float
    sqnr: float | None
    agreement: float | None
    broken: int = 0
    answers: int = 0


def compare(output: str, pairs: Iterable[tuple[Array, Array]], step: float | None) -> Comparison:
    """Compares one output batch by batch, in constant memory.

    Args:
        output: Its name.
        pairs: (reference, candidate) arrays of equal shape, batch in front.
        step: The quantization step to count differences in.
    """
    samples = elements = broken = decided = matches = 0
    integers, embeds = False, True
    largest = total = products = reference_power = candidate_power = noise = 0.0
    for reference, candidate in pairs:
        integers = reference.dtype.kind != "f"
        x, y = reference.astype(np.float64), candidate.astype(np.float64)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        finite = np.isfinite(x) & np.isfinite(y)
        samples += len(x) if x.ndim else 1
        elements += int(finite.sum())
        broken += int((~same & ~finite).sum())
        if integers:
            decided += x.size
            matches += int(same.sum())
        elif x.ndim >= 2 and x.shape[-1] > 1 and (x.ndim == 2 or _are_probabilities(x)):
            embeds = embeds and x.ndim == 2 and _are_unit_vectors(x)
            same_answer = x.argmax(axis=-1) == y.argmax(axis=-1)
            decided += same_answer.size
            matches += int(same_answer.sum())
        x, y = np.where(finite, x, 0.0), np.where(finite, y, 0.0)
        difference = np.abs(x - y)
        largest = max(largest, float(difference.max(initial=0.0)))
        total += float(difference.sum())
        noise += float((difference**2).sum())
        products += float((x * y).sum())
        reference_power += float((x**2).sum())
        candidate_power += float((y**2).sum())
    norm = math.sqrt(reference_power) * math.sqrt(candidate_power)
    unit = step or 1.0
    return Comparison(
        output,
        samples,
        largest / unit,
        total / max(elements, 1) / unit,
        step,
        cosine=products / norm if norm else float(reference_power == candidate_power),
        sqnr=None if integers else decibels(reference_power, noise),
        agreement=matches / decided if decided and (integers or not embeds) else None,
        broken=broken,
        answers=0 if integers else decided,
    )


def _are_probabilities(rows: npt.NDArray[np.float64]) -> bool:
    """Whether the numbers along the last dimension, or what they are logarithms of, add up to 1."""
    shares = np.exp(rows) if rows.max(initial=0.0) <= 0 else rows
    # Of integers, the small ones of many classes are lost.
    return bool(shares.min(initial=0.0) >= 0 and abs(np.median(shares.sum(axis=-1)) - 1) < _NEARLY)


def _are_unit_vectors(rows: npt.NDArray[np.float64]) -> bool:
    """Of both signs, as opposed to shares, of which one may be 1 and all others 0."""
    return bool((rows < 0).any() and np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-3))


def decibels(signal: float, noise: float) -> float:
    """10 log10 of the ratio, within +-EQUAL so that it stays a number in JSON."""
    if noise == 0:
        return EQUAL
    if signal == 0:
        return -EQUAL
    return max(-EQUAL, min(10 * math.log10(signal / noise), EQUAL))


def binomial_tail(right: int, answers: int, share: float) -> float:
    """The chance of at most `right` right answers out of `answers`, where each is right with probability `share`.

    The tail is added up from its largest term on, each from the one before, so that a million answers cost no more
    than a few hundred (Clopper and Pearson, 1934, take their exact interval from the same sum).
    """
    if right >= answers * share:
        return 1.0  # No less than is to be expected.
    if share == 1.0:
        return 0.0
    log_choices = math.lgamma(answers + 1) - math.lgamma(right + 1) - math.lgamma(answers - right + 1)
    term = math.exp(log_choices + right * math.log(share) + (answers - right) * math.log1p(-share))
    tail = 0.0
    for count in range(right, -1, -1):
        tail += term
        if term <= tail * 1e-12:
            break
        term *= count / (answers - count + 1) * (1 - share) / share
    return tail
