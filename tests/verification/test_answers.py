"""Which answers change, and what classes lose by it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from edgecomp.verification.answers import AnswerSheet, Churn
from edgecomp.verification.recording import Recorder

CLASSES = 4
RANDOM = np.random.default_rng(0)
BEFORE = RANDOM.normal(size=(50, CLASSES)).astype(np.float32)
AFTER = (BEFORE + RANDOM.normal(scale=0.7, size=BEFORE.shape)).astype(np.float32)
LABELS = RANDOM.integers(0, CLASSES, 50)
LABELS[:3] = -100  # which do not count


class Numbered:
    """The samples 0 to 49 in batches, the last one filled up."""

    def __init__(self, labels: Any = None, size: int = 4, order: Sequence[int] = range(50)) -> None:
        self._labels, self._size, self._order = labels, size, np.array(order)

    def __len__(self) -> int:
        return -(-50 // self._size)

    @property
    def places(self) -> Sequence[Sequence[int]]:
        return [self._order[at : at + self._size].tolist() for at in range(0, 50, self._size)]

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for numbers in self.places:
            labels = None if self._labels is None else self._labels[numbers]
            yield (np.resize(np.float32(numbers), (self._size, 1)),), labels


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def sheet(stack: ExitStack, samples: Numbered, **models: Any) -> AnswerSheet:
    """The answers of models that look up what they say."""
    recorder = stack.enter_context(Recorder(samples, ["x"], ["y"]))
    for name, table in models.items():
        recorder.run(name, lambda inputs, table=table: [table[inputs[0][:, 0].astype(int)]])
    return AnswerSheet(recorder, "y", next(iter(models)))


@pytest.mark.parametrize(
    "samples", [Numbered(LABELS), Numbered(LABELS, 1), Numbered(LABELS, 7, RANDOM.permutation(50))]
)
def test_every_change_is_counted_once(stack: ExitStack, samples: Numbered) -> None:
    churn = sheet(stack, samples, before=BEFORE, after=AFTER).churn("before", "after")
    assert churn is not None
    known = range(3, 50)
    before, after = BEFORE.argmax(axis=1), AFTER.argmax(axis=1)
    pairs = [(before[i] == LABELS[i], after[i] == LABELS[i]) for i in known if before[i] != after[i]]
    assert churn.samples == 50
    assert churn.changed == (before != after).sum() > 5
    assert churn.right_to_wrong == pairs.count((True, False)) > 0
    assert churn.wrong_to_right == pairs.count((False, True)) > 0
    assert churn.wrong_to_wrong == pairs.count((False, False)) > 0
    assert churn.share == churn.changed / 50


def test_the_surest_changes_come_first_with_their_numbers_in_the_data(stack: ExitStack) -> None:
    samples = Numbered(LABELS, 7, RANDOM.permutation(50))
    churn = sheet(stack, samples, before=BEFORE, after=AFTER).churn("before", "after", listed=5)
    assert churn is not None
    probabilities = np.exp(BEFORE) / np.exp(BEFORE).sum(axis=1, keepdims=True)
    changed = np.flatnonzero(BEFORE.argmax(axis=1) != AFTER.argmax(axis=1))
    wanted = sorted(changed, key=lambda sample: -probabilities[sample].max())[:5]
    assert [flip.sample for flip in churn.flips] == wanted
    for flip in churn.flips:
        assert (flip.before, flip.after) == (BEFORE[flip.sample].argmax(), AFTER[flip.sample].argmax())
        assert flip.confidence == pytest.approx(probabilities[flip.sample].max(), abs=1e-5)
        assert flip.label == (LABELS[flip.sample] if flip.sample >= 3 else None)


def test_probabilities_are_taken_as_they_are(stack: ExitStack) -> None:
    shares = np.exp(BEFORE) / np.exp(BEFORE).sum(axis=1, keepdims=True)
    churn = sheet(stack, Numbered(), before=shares, after=np.roll(shares, 1, axis=1)).churn(
        "before", "after", listed=99
    )
    assert churn is not None
    assert [flip.confidence for flip in churn.flips] == pytest.approx(
        sorted(shares.max(axis=1), reverse=True), abs=1e-5
    )


@pytest.mark.parametrize("labels", [None, np.zeros((50, 3), int), np.full(50, 99), np.full(50, 0.5)])
def test_without_labels_that_are_classes_only_changes_are_known(stack: ExitStack, labels: Any) -> None:
    found = sheet(stack, Numbered(labels), before=BEFORE, after=AFTER)
    churn = found.churn("before", "after")
    assert churn is not None
    assert churn.changed > 5
    assert churn.right_to_wrong is churn.wrong_to_right is churn.wrong_to_wrong is None
    assert not found.has_labels
    assert found.classes(["before", "after"]) == ()


def test_class_numbers_are_answers(stack: ExitStack) -> None:
    found = sheet(stack, Numbered(LABELS), before=BEFORE.argmax(axis=1), after=AFTER.argmax(axis=1))
    scores = sheet(stack, Numbered(LABELS), before=BEFORE, after=AFTER)
    assert found.classes(["before", "after"]) == scores.classes(["before", "after"])
    assert found.churn("before", "after", listed=0) == scores.churn("before", "after", listed=0)


@pytest.mark.parametrize("table", [BEFORE[:, :1], BEFORE.reshape(50, 2, 2)])
def test_outputs_that_are_no_classes_have_no_answers(stack: ExitStack, table: Any) -> None:
    found = sheet(stack, Numbered(LABELS), before=table)
    assert not found.has_answers
    assert found.churn("before", "before") is None


def test_classes_have_the_figures_of_scikit_learn(stack: ExitStack) -> None:
    reports = sheet(stack, Numbered(LABELS), before=BEFORE, after=AFTER).classes(["before", "after"])
    assert [report.number for report in reports] == list(range(CLASSES))
    for name, table in {"before": BEFORE, "after": AFTER}.items():
        wanted = precision_recall_fscore_support(LABELS[3:], table.argmax(axis=1)[3:], labels=range(CLASSES))
        for report, *figures, support in zip(reports, *wanted, strict=True):
            score = report.scores[name]
            assert [score.precision, score.recall, score.f1] == pytest.approx(figures, abs=1e-6)
            assert report.support == support


def test_in_words() -> None:
    assert Churn(200, 3).in_words() == "3 of 200 answers changed (1.5%)"
    split = "2 right to wrong, 1 wrong to right, 0 wrong to another wrong"
    assert Churn(200, 3, 2, 1, 0).in_words() == f"3 of 200 answers changed (1.5%): {split}"
