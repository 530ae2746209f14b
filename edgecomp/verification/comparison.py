"""How two lists of outputs compare: the numbers of the agreement matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgecomp.arrays import Array

#: The SQNR of equal outputs, in dB.
EQUAL = 200.0

#: From this SQNR on, in dB, numbers are close enough not to be asked which of them is the largest, if that may mean
#: nothing.
_CLOSE = 20.0

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

    def along_places(self) -> Comparison:
        """The same of an output whose last dimension counts places: where numbers are close, answers are not counted.

        The place of the largest number may be an answer, as where a text's begins, or mean nothing (`graph.places`).
        """
        close = self.sqnr is not None and self.sqnr >= _CLOSE
        return replace(self, agreement=None, answers=0) if close else self


def compare(output: str, pairs: Iterable[tuple[Array, Array]], step: float | None) -> Comparison:
    """Compares one output batch by batch, in constant memory.

    Args:
        output: Its name.
        pairs: (reference, candidate) arrays of equal shape, batch in front.
        step: The quantization step to count differences in.
    """
    tally = _Tally()
    for reference, candidate in pairs:
        tally.add(reference, candidate)
    unit = step or 1.0
    return Comparison(
        output,
        tally.samples,
        max_difference=tally.largest / unit,
        mean_difference=tally.total / max(tally.elements, 1) / unit,
        step=step,
        cosine=tally.cosine,
        sqnr=None if tally.integers else decibels(tally.reference_power, tally.noise),
        agreement=tally.agreement,
        broken=tally.broken,
        answers=0 if tally.integers else tally.decided,
    )


@dataclass
class _Tally:
    """Counts and sums over the batches so far; of differences and powers, only finite numbers count.

    Attributes:
        samples: Rows of the batches.
        elements: Finite numbers.
        broken: See `Comparison`.
        integers: Whether the output is one of integers.
        decided: Answers that were compared: argmaxes, or integers.
        matches: How many of them are the same.
        embeds: Whether all rows so far are unit vectors.
        largest: The largest absolute difference.
        total: The sum of absolute differences.
        noise: The sum of their squares.
        product: The sum of the products of both.
        reference_power: The sum of the reference's squares.
        candidate_power: The sum of the candidate's squares.
    """

    samples: int = 0
    elements: int = 0
    broken: int = 0
    integers: bool = False
    decided: int = 0
    matches: int = 0
    embeds: bool = True
    largest: float = 0.0
    total: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    reference_power: float = 0.0
    candidate_power: float = 0.0

    def add(self, reference: Array, candidate: Array) -> None:
        """Takes in a batch: two arrays of one shape."""
        self.integers = reference.dtype.kind != "f"
        x, y = reference.astype(np.float64), candidate.astype(np.float64)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        finite = np.isfinite(x) & np.isfinite(y)
        self.samples += len(x) if x.ndim else 1
        self.elements += int(finite.sum())
        self.broken += int((~same & ~finite).sum())
        if self.integers:
            self._decide(same)
        elif x.ndim >= 2 and x.shape[-1] > 1 and (x.ndim == 2 or _are_probabilities(x)):
            self.embeds = self.embeds and x.ndim == 2 and _are_unit_vectors(x)
            self._decide(x.argmax(axis=-1) == y.argmax(axis=-1))
        self._measure(np.where(finite, x, 0.0), np.where(finite, y, 0.0))

    def _decide(self, same: npt.NDArray[np.bool_]) -> None:
        self.decided += same.size
        self.matches += int(same.sum())

    def _measure(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> None:
        difference = np.abs(x - y)
        self.largest = max(self.largest, float(difference.max(initial=0.0)))
        self.total += float(difference.sum())
        self.noise += float((difference**2).sum())
        self.product += float((x * y).sum())
        self.reference_power += float((x**2).sum())
        self.candidate_power += float((y**2).sum())

    @property
    def agreement(self) -> float | None:
        """The share of answers that are the same; None where there are none, or where they mean nothing."""
        if not self.decided or (self.embeds and not self.integers):
            return None
        return self.matches / self.decided

    @property
    def cosine(self) -> float:
        """Cosine similarity; of two that are all zeros, 1."""
        norm = math.sqrt(self.reference_power) * math.sqrt(self.candidate_power)
        return self.product / norm if norm else float(self.reference_power == self.candidate_power)


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
