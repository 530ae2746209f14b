"""Scores and labels as decisions: which class a model chose, and which it should have chosen.

Rules, by the shapes of an output and of its labels:

1. Labels of one shape with an output of integers are class numbers like it.
2. Labels without the output's last dimension, or without the one behind the batch, are the classes along it: of
   pictures (batch, classes), of a text's words (batch, words, classes), of pixels (batch, classes, height, width).
3. Labels of one shape with an output of numbers are shares: one-hot, or softened.
4. Labels below 0 do not count (-100 is PyTorch's default for that).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecomp.arrays import Array
from edgecomp.errors import DataError

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Decisions:
    """Decisions of one model, side by side with what is right.

    Attributes:
        answers: The class that the model chose; of equal scores, the first.
        labels: The class that is right.
        scores: (decisions, classes), or None where the output has class numbers only.
    """

    answers: Integers
    labels: Integers
    scores: Array | None

    @property
    def largest(self) -> int:
        """The largest class that occurs; -1 where there are none."""
        return int(max(self.answers.max(initial=-1), self.labels.max(initial=-1)))

    def ranks(self) -> Integers:
        """How many classes the model prefers to the right one; NaN is preferred to everything, so that it helps nobody.

        Raises:
            DataError: The output has no scores.
        """
        if self.scores is None:
            raise unfit("scores of classes, to rank them", "class numbers only", "ask for accuracy")
        own = np.take_along_axis(self.scores, self.labels[:, None], axis=1)
        before = np.arange(self.scores.shape[1]) < self.labels[:, None]
        preferred = ~(self.scores <= own) | ((self.scores == own) & before)
        ranks: Integers = preferred.sum(axis=1)
        return ranks


def decide(output: Array, labels: Array) -> Decisions:
    """The decisions of a batch that have a label.

    Args:
        output: What the model gave.
        labels: What is right, by the rules above.

    Raises:
        DataError: They are no classes, or do not fit.
    """
    rows, right = rows_and_labels(output, labels)
    counts = right >= 0
    if not counts.all():
        rows, right = rows[counts], right[counts]
    return Decisions(rows, right, None) if rows.ndim == 1 else Decisions(rows.argmax(axis=1), right, rows)


def rows_and_labels(output: Array, labels: Array) -> tuple[Array, Integers]:
    """One row of scores, or one class number, for each label, those below 0 among them.

    Raises:
        DataError: They are no classes, or do not fit.
    """
    output, labels = _same_rank(np.asarray(output), np.asarray(labels))
    if output.dtype.kind in "iu" and labels.shape == output.shape:
        return output.reshape(-1).astype(np.int64), _class_numbers(labels).reshape(-1)
    rows, right = _rows(output, labels)
    if right.max(initial=0) >= rows.shape[1]:
        expected, cure = f"classes from 0 to {rows.shape[1] - 1}", "give classes that do not count the label -100"
        raise unfit(expected, f"the label {right.max()}", cure)
    return rows, right


def _same_rank(output: Array, labels: Array) -> tuple[Array, Array]:
    """Both with the samples in front, and labels without a last dimension that says nothing."""
    if labels.ndim > 1 and labels.shape[-1] == 1 and output.shape[-1:] != (1,):
        labels = labels[..., 0]
    if output.ndim == 1 and output.dtype.kind == "f" and labels.size == 1:  # one sample, without a batch
        output, labels = output[None], labels.reshape(1)
    return output, labels


def _rows(output: Array, labels: Array) -> tuple[Array, Integers]:
    """Scores as (decisions, classes), and as many labels."""
    if output.dtype.kind != "f" or output.ndim < 2:
        raise _not_classes(output, labels)
    if labels.shape == output.shape and output.shape[-1] > 1 and np.allclose(labels.sum(axis=-1), 1, atol=1e-3):
        labels = labels.argmax(axis=-1)
    for axis in (output.ndim - 1, 1):
        if output.shape[axis] > 1 and labels.shape == output.shape[:axis] + output.shape[axis + 1 :]:
            rows = np.moveaxis(output, axis, -1).reshape(-1, output.shape[axis])
            return rows, _class_numbers(labels).reshape(-1)
    raise _not_classes(output, labels)


def _class_numbers(labels: Array) -> Integers:
    whole = labels.astype(np.int64)
    if labels.dtype.kind == "f" and not np.array_equal(whole, labels):
        raise unfit("whole numbers as labels", f"{labels[whole != labels].flat[0]:g}", "ask for mse or mae")
    return whole


def _not_classes(output: Array, labels: Array) -> DataError:
    return unfit(
        "scores (batch, classes) and labels (batch,)",
        f"an output of shape {output.shape} and labels of shape {labels.shape}",
        "ask for mse or mae, or write metric(outputs, labels)",
    )


def unfit(expected: str, actual: str, cure: str) -> DataError:
    """Labels that an output cannot be held to."""
    return DataError("the labels of the evaluation data", expected=expected, actual=actual, cure=cure)


class ClassCounts:
    """Counts decisions by class, as many as there may be, in constant memory.

    Args:
        size: How many classes there are at least.

    Attributes:
        labelled: Class -> how often it was right.
        answered: Class -> how often the model chose it.
        right: Class -> how often both.
    """

    def __init__(self, size: int = 0) -> None:
        self.labelled, self.answered, self.right = (np.zeros(size, np.int64) for _ in range(3))

    def add(self, decisions: Decisions) -> None:
        """Takes in a batch."""
        labels, answers = decisions.labels, decisions.answers
        if answers.min(initial=0) < 0:
            raise unfit("class numbers from 0", f"the answer {answers.min()}", "write metric(outputs, labels)")
        size = max(len(self.labelled), decisions.largest + 1)
        self.labelled = _added(self.labelled, labels, size)
        self.answered = _added(self.answered, answers, size)
        self.right = _added(self.right, labels[labels == answers], size)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.sum() / max(self.labelled.sum(), 1))

    @property
    def precision(self) -> Floats:
        """Class -> share of its answers that are right; 0 where there are none."""
        return self.right / np.maximum(self.answered, 1)

    @property
    def recall(self) -> Floats:
        """Class -> share of its samples that are found; 0 where there are none."""
        return self.right / np.maximum(self.labelled, 1)

    @property
    def f1(self) -> Floats:
        """Class -> harmonic mean of precision and recall."""
        means: Floats = 2 * self.right / np.maximum(self.labelled + self.answered, 1)
        return means

    @property
    def occurring(self) -> Integers:
        """The classes that occur among labels or answers."""
        return np.flatnonzero(self.labelled + self.answered)

    def macro(self, by_class: Floats) -> float:
        """The mean over the classes that occur, each as important as the others."""
        return float(by_class[self.occurring].mean()) if len(self.occurring) else 0.0


def _added(counts: Integers, classes: Integers, size: int) -> Integers:
    found: Integers = np.bincount(classes, minlength=size)
    found[: len(counts)] += counts
    return found
