"""Metrics by name: against closed forms and scikit-learn, whatever the batches are."""

import sys
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from edgecomp.errors import DataError, InputError
from edgecomp.verification.metrics import Metrics

NAMES = ("accuracy", "precision", "recall", "f1", "top-1 accuracy", "top-3 accuracy")


def measure(name: str, output: Any, labels: Any) -> float:
    """One metric of one batch."""
    return Metrics(name).first(Metrics(name).measure([([np.asarray(output)], np.asarray(labels))]))


@pytest.mark.parametrize("size", [1, 7, 300])
def test_they_are_those_of_scikit_learn(size: int) -> None:
    random = np.random.default_rng(size)
    scores = random.normal(size=(300, 6)).astype(np.float32)
    labels = random.integers(0, 5, 300)  # nothing is of class 5, and some is taken for it
    answers = scores.argmax(axis=1)
    batches = [([scores[at : at + size]], labels[at : at + size]) for at in range(0, 300, size)]
    averages = {"labels": np.union1d(answers, labels), "average": "macro", "zero_division": 0}
    assert Metrics(*NAMES).measure(batches) == pytest.approx(
        {
            "accuracy": sklearn_metrics.accuracy_score(labels, answers),
            "precision": sklearn_metrics.precision_score(labels, answers, **averages),
            "recall": sklearn_metrics.recall_score(labels, answers, **averages),
            "f1": sklearn_metrics.f1_score(labels, answers, **averages),
            "top-1 accuracy": sklearn_metrics.accuracy_score(labels, answers),
            "top-3 accuracy": sklearn_metrics.top_k_accuracy_score(labels, scores, k=3, labels=range(6)),
        },
        abs=1e-9,
    )


@pytest.mark.parametrize("size", [1, 50])
def test_errors_are_those_of_scikit_learn(size: int) -> None:
    random = np.random.default_rng(0)
    values, wanted = random.normal(size=(50, 1)).astype(np.float32), random.normal(size=50)
    batches = [([values[at : at + size]], wanted[at : at + size]) for at in range(0, 50, size)]
    assert Metrics("mse", "mae").measure(batches) == pytest.approx(
        {
            "mse": sklearn_metrics.mean_squared_error(wanted, values[:, 0]),
            "mae": sklearn_metrics.mean_absolute_error(wanted, values[:, 0]),
        }
    )


def test_by_hand() -> None:
    """Three of class 0, one of class 1: of four answers "0" three are right, and class 1 is never found."""
    scores = np.float32([[2, 1], [2, 1], [2, 1], [2, 1]])
    found = Metrics("accuracy", "precision", "recall", "f1").measure([([scores], np.array([0, 0, 0, 1]))])
    assert found == pytest.approx({"accuracy": 3 / 4, "precision": 3 / 8, "recall": 1 / 2, "f1": 3 / 7})


def test_places_words_pixels_and_single_samples() -> None:
    words = np.float32([[[1, 0], [0, 1], [0, 1]]])
    assert measure("accuracy", words, [[0, 1, 0]]) == pytest.approx(2 / 3)
    pixels = np.float32([[[[1, 0], [0, 0]], [[0, 1], [1, 1]]]])  # (batch, classes, height, width)
    assert measure("accuracy", pixels, [[[0, 1], [1, 0]]]) == pytest.approx(3 / 4)
    assert measure("accuracy", np.float32([0, 1]), [1]) == 1.0
    assert measure("accuracy", np.int64([3, 4]), [3, 5]) == 0.5
    assert measure("accuracy", np.float32([[0, 1], [1, 0]]), [[1], [1]]) == 0.5
    assert measure("accuracy", np.float32([[0, 1], [1, 0]]), np.float32([[0, 1], [0.1, 0.9]])) == 0.5
    assert measure("mse", np.float32([[[1, 2]]]), [[[0, 0]]]) == 2.5


def test_labels_below_zero_do_not_count() -> None:
    assert measure("accuracy", np.float32([[0, 1], [1, 0], [1, 0]]), [1, 1, -100]) == 0.5
    assert measure("top-1", np.float32([[0, 1], [1, 0], [1, 0]]), [1, 1, -100]) == 0.5


def test_equal_scores_are_the_first_class_as_argmax_says() -> None:
    equal = np.float32([[5, 5, 5]])
    assert [measure("top-1", equal, [label]) for label in range(3)] == [1.0, 0.0, 0.0]
    assert [measure("top-2", equal, [label]) for label in range(3)] == [1.0, 1.0, 0.0]


def test_numbers_that_are_none_help_nobody() -> None:
    scores = np.float32([[np.nan, 1, 0], [0, np.nan, 1]])
    assert measure("top-1", scores, [1, 1]) == 0.0
    assert measure("mse", np.float32([[np.nan]]), [0.0]) == measure("mae", np.float32([[np.inf]]), [0.0])
    assert measure("mse", np.float32([[np.nan]]), [0.0]) == sys.float_info.max


def test_several_metrics_and_functions_keep_their_order() -> None:
    def shares(outputs: Any, labels: Any) -> float:
        assert outputs[0].shape == (4, 2)
        return float(labels.sum())

    chosen = Metrics("F1", shares, "Top5", lambda outputs, labels: 7.0)
    assert chosen.names == ("f1", "shares", "top-5 accuracy", "metric")
    found = chosen.measure([([np.eye(2, dtype=np.float32)], np.array([0, 1]))] * 2)
    assert list(found.items()) == [("f1", 1.0), ("shares", 2.0), ("top-5 accuracy", 1.0), ("metric", 7.0)]
    assert Metrics.parse("accuracy, top-5").names == ("accuracy", "top-5 accuracy")


def test_a_function_does_not_pass_for_a_metric_that_everybody_knows() -> None:
    def mse(outputs: Any, labels: Any) -> float:
        return 1.0

    assert Metrics(mse).names == ("own mse",)


@pytest.mark.parametrize(("name", "worse"), [("accuracy", 0.4), ("mse", 0.6)])
def test_which_direction_is_worse(name: str, worse: float) -> None:
    chosen = Metrics(name)
    assert chosen.worsening({name: 0.5}, {name: worse}) == pytest.approx(0.1)
    assert chosen.quality_name == ("accuracy" if name == "accuracy" else "minus mse")
    assert chosen.quality({name: worse}) < chosen.quality({name: 0.5})


@pytest.mark.parametrize(
    ("name", "output", "labels", "message"),
    [
        ("accuracy", np.zeros((2, 3), np.float32), [0, 3], "classes from 0 to 2\n  actual:   the label 3"),
        ("accuracy", np.zeros((2, 3), np.float32), [0.5, 1], "whole numbers as labels\n  actual:   0.5"),
        ("accuracy", np.zeros((2, 1), np.float32), [0, 1], r"scores \(batch, classes\).*\n.*\(2, 1\).*\(2,\)"),
        ("accuracy", np.zeros((2, 3), np.float32), np.ones((2, 3)), r"scores \(batch, classes\)"),  # of several classes
        ("accuracy", np.int64([-1, 0]), [0, 0], "class numbers from 0\n  actual:   the answer -1"),
        ("top-5", np.int64([0, 0]), [0, 0], "scores of classes, to rank them\n  actual:   class numbers only"),
        ("mse", np.zeros((2, 3), np.float32), [0, 1], "labels of the output's shape\n"),
        ("mse", np.zeros((2, 3), np.float32), np.zeros((3, 2)), "labels of the output's shape\n"),
    ],
)
def test_labels_that_do_not_fit(name: str, output: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        measure(name, output, labels)
    assert caught.value.subject == "the labels of the evaluation data"


@pytest.mark.parametrize(
    ("text", "actual", "cure"),
    [
        ("acuracy", "'acuracy'", "write accuracy"),
        ("top-0", "'top-0'", "choose one of them, or write metric(outputs, labels) in a task file"),
        ("", "none", "choose from accuracy, top-5 accuracy, precision, recall, f1, mse, mae"),
        ("f1,F1", "f1 twice", "leave one of them out"),
    ],
)
def test_metrics_that_there_are_not(text: str, actual: str, cure: str) -> None:
    with pytest.raises(InputError) as caught:
        Metrics.parse(text)
    assert (caught.value.subject, caught.value.actual, caught.value.cure) == ("--metric", actual, cure)
