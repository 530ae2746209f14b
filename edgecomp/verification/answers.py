"""The answers of models on the same samples: which ones changed, whether for the better, and what classes lost by it.

An answer is the class with the largest score, of an output of the shape (batch, classes), or the class number itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt

from edgecomp.arrays import Array
from edgecomp.errors import DataError
from edgecomp.verification.comparison import Comparison
from edgecomp.verification.decisions import ClassCounts, Decisions, Integers, rows_and_labels
from edgecomp.verification.recording import Recorder
from edgecomp.verification.samples import joined

#: How many changed samples are named.
LISTED = 20

#: Stands for the answer or the label of a sample that has none.
_NONE = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Flip:
    """A sample with another answer than before.

    Attributes:
        sample: Its number in the data, from 0.
        before: The answer of the reference.
        after: The other answer.
        confidence: How sure the reference was: the probability of its answer.
        label: The right answer; None where nobody knows it.
    """

    sample: int
    before: int
    after: int
    confidence: float
    label: int | None


@dataclass(frozen=True)
class Churn:
    """How the answers of one model differ from those of another.

    Attributes:
        samples: How many samples have both.
        changed: How many of these have another answer.
        right_to_wrong: How many of those were right before; None without labels, as the two that follow.
        wrong_to_right: How many became right.
        wrong_to_wrong: How many were wrong before, and are in another way.
        flips: Some of the changed samples, those first of which the reference was most sure.
    """

    samples: int
    changed: int
    right_to_wrong: int | None = None
    wrong_to_right: int | None = None
    wrong_to_wrong: int | None = None
    flips: tuple[Flip, ...] = field(default=(), repr=False)

    @property
    def share(self) -> float:
        """The share of samples with another answer."""
        return self.changed / max(self.samples, 1)

    def in_words(self) -> str:
        """One line for people."""
        text = f"{self.changed} of {self.samples} answers changed ({self.share:.1%})"
        if self.right_to_wrong is None:
            return text
        return (
            f"{text}: {self.right_to_wrong} right to wrong, {self.wrong_to_right} wrong to right, "
            f"{self.wrong_to_wrong} wrong to another wrong"
        )


@dataclass(frozen=True)
class ClassScore:
    """How well one model does on one class.

    Attributes:
        precision: Share of the answers "this class" that are right; 0 where there are none.
        recall: Share of the samples of this class that are found; 0 where there are none.
        f1: Their harmonic mean.
    """

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassReport:
    """How well models do on one class.

    Attributes:
        number: The class.
        support: How many samples are of it.
        scores: Model -> its score.
    """

    number: int
    support: int
    scores: dict[str, ClassScore]


@dataclass(frozen=True)
class _Answers:
    """One model's, by sample; `_NONE` where it did not run."""

    classes: Integers
    confidence: npt.NDArray[np.float64]


class AnswerSheet:
    """The answers of the models of a recorder.

    Args:
        recorder: Has run them.
        output: The output that holds the answers.
        reference: The model that labels are matched with first.
    """

    def __init__(self, recorder: Recorder, output: str, reference: str) -> None:
        self._recorder, self._output, self._reference = recorder, output, reference
        self._known: dict[str, _Answers | None] = {}

    @property
    def has_answers(self) -> bool:
        """Whether there is one answer for each sample."""
        return self._of(self._reference) is not None

    def knows(self, name: str) -> bool:
        """Whether a model ran."""
        return self._recorder.has(name)

    @property
    def has_labels(self) -> bool:
        """Whether somebody knows which answers are right."""
        return self._labels is not None

    def churn(self, reference: str, candidate: str, *, listed: int = LISTED) -> Churn | None:
        """What changes between two models; None if one of them gives no answers."""
        before, after = self._of(reference), self._of(candidate)
        if before is None or after is None:
            return None
        both = (before.classes != _NONE) & (after.classes != _NONE)
        changed = np.flatnonzero(both & (before.classes != after.classes))
        # The sort is stable, so that samples of which the reference was equally sure stay in their order.
        first = changed[np.argsort(-before.confidence[changed], kind="stable")][:listed]
        flips = tuple(self._flip(int(sample), before, after) for sample in first)
        if self._labels is None:
            return Churn(int(both.sum()), len(changed), flips=flips)
        known = changed[self._labels[changed] >= 0]
        was_right, is_right = (each.classes[known] == self._labels[known] for each in (before, after))
        return Churn(
            int(both.sum()),
            len(changed),
            right_to_wrong=int(was_right.sum()),
            wrong_to_right=int(is_right.sum()),
            wrong_to_wrong=int((~was_right & ~is_right).sum()),
            flips=flips,
        )

    def between(self, names: Sequence[str]) -> dict[tuple[str, str], Churn]:
        """What changes from each of the models to those behind it."""
        found = {pair: self.churn(*pair) for pair in combinations(names, 2)}
        return {pair: churn for pair, churn in found.items() if churn is not None}

    def classes(self, names: Sequence[str]) -> tuple[ClassReport, ...]:
        """Every class that occurs among labels or answers; none without labels."""
        decisions = {name: found for name in names if (found := self._decisions(name)) is not None}
        size = 1 + max((each.largest for each in decisions.values()), default=-1)
        counts = {name: ClassCounts(size) for name in decisions}
        for name, each in decisions.items():
            counts[name].add(each)
        occurring = sorted({int(number) for each in counts.values() for number in each.occurring})
        figures = {name: np.stack([each.precision, each.recall, each.f1]).round(6) for name, each in counts.items()}
        support = next(iter(counts.values())).labelled if counts else ()
        return tuple(
            ClassReport(
                number,
                int(support[number]),
                {name: ClassScore(*found[:, number].tolist()) for name, found in figures.items()},
            )
            for number in occurring
        )

    def _decisions(self, name: str) -> Decisions | None:
        answers, labels = self._of(name), self._labels
        if answers is None or labels is None:
            return None
        known = (labels >= 0) & (answers.classes >= 0)
        return Decisions(answers.classes[known], labels[known], None)

    def _flip(self, sample: int, before: _Answers, after: _Answers) -> Flip:
        label = None if self._labels is None or self._labels[sample] < 0 else int(self._labels[sample])
        confidence = round(float(before.confidence[sample]), 6)
        return Flip(sample, int(before.classes[sample]), int(after.classes[sample]), confidence, label)

    @cached_property
    def _size(self) -> int:
        return 1 + max((int(numbers.max(initial=-1)) for numbers in self._recorder.numbers), default=-1)

    def _of(self, name: str) -> _Answers | None:
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: str) -> _Answers | None:
        found = _Answers(np.full(self._size, _NONE), np.zeros(self._size))
        batches = ((each.outputs[self._output], each.numbers) for each in self._recorder.batches(name))
        for output, numbers in joined(batches):
            answers = _answers(output)
            if answers is None or len(answers.classes) != len(numbers):
                return None
            counts = numbers >= 0
            found.classes[numbers[counts]] = answers.classes[counts]
            found.confidence[numbers[counts]] = answers.confidence[counts]
        return found

    @cached_property
    def _labels(self) -> Integers | None:
        """The class that is right for each sample; None where labels are something else, or there are none."""
        found = np.full(self._size, _NONE)
        labelled = False
        for each in self._recorder.batches(self._reference):
            if each.labels is None:
                continue
            try:
                _, labels = rows_and_labels(each.outputs[self._output], each.labels)
            except DataError:
                return None
            if len(labels) != len(each.numbers):
                return None
            found[each.numbers] = labels
            labelled = True
        return found if labelled else None


def answer_sheet(recorder: Recorder, reference: str, compared: Iterable[Comparison]) -> AnswerSheet | None:
    """The answers in the first output that has one for each sample.

    Args:
        recorder: Has run the models.
        reference: One of them.
        compared: Comparisons of them; an output counts if all of its comparisons count answers.
    """
    counts: dict[str, bool] = {}
    for entry in compared:
        counts[entry.output] = counts.get(entry.output, True) and entry.agreement is not None
    sheets = (AnswerSheet(recorder, output, reference) for output, counted in counts.items() if counted)
    return next((sheet for sheet in sheets if sheet.has_answers), None)


def _answers(output: Array) -> _Answers | None:
    """The answers of a batch; None for an output of another kind."""
    if output.dtype.kind in "iu" and output.size == len(np.atleast_1d(output)):
        return _Answers(output.reshape(-1).astype(np.int64), np.ones(output.size))
    if output.dtype.kind != "f" or output.ndim != 2 or output.shape[1] < 2:
        return None
    rows = output.astype(np.float64)
    classes = rows.argmax(axis=1)
    largest = rows[np.arange(len(rows)), classes]
    if rows.min(initial=0.0) >= 0 and np.allclose(rows.sum(axis=1), 1, atol=0.02):
        return _Answers(classes, largest)
    with np.errstate(all="ignore"):
        shares = 1 / np.exp(rows - largest[:, None]).sum(axis=1)
    return _Answers(classes, np.nan_to_num(shares, posinf=0.0))
