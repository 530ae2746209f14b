"""What a task measures on labelled data: metrics by name, functions of its own, or several of both.

| name | is | better |
|---|---|---|
| accuracy | share of right answers | larger |
| top-5 accuracy, any K | share of labels among the K classes with the largest scores | larger |
| precision, recall, f1 | means over the classes that occur, each as important as the others (macro) | larger |
| mse, mae | mean squared, mean absolute difference between output and label | smaller |

They are about the model's first output, take labels as `decisions` says, and go through the data in constant memory.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from edgecomp.arrays import Array
from edgecomp.errors import InputError, correction
from edgecomp.verification.decisions import ClassCounts, decide, unfit
from edgecomp.verification.samples import Whole, as_given, joined

#: Batches of outputs, each with as many labels.
Labelled = Iterable[tuple[Sequence[Array], Array]]
#: For each batch the numbers of its samples; None for the order in which they come.
Places = Sequence[Sequence[int]] | None
#: A function of a task: all outputs and all labels, in the order of the data -> a number, larger for better outputs.
Function = Callable[[Sequence[Whole], Whole], float]
#: Name -> number, in the order in which metrics were asked for.
Scores = Mapping[str, float]

_TOP = re.compile(r"top[- ]?(\d+)([- ]accuracy)?")


class _Tally(Protocol):
    """What is counted of batches."""

    def add(self, output: Array, labels: Array) -> None:
        """Takes in a batch of the first output."""
        ...


@dataclass
class _Classes:
    """Decisions by class."""

    counts: ClassCounts = field(default_factory=ClassCounts)

    def add(self, output: Array, labels: Array) -> None:
        self.counts.add(decide(output, labels))


@dataclass
class _Ranks:
    """How often the right class has which rank; `up_to[k]` are those with a smaller one."""

    found: Any = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, output: Array, labels: Array) -> None:
        ranks = decide(output, labels).ranks()
        counts = np.bincount(ranks, minlength=len(self.found))
        counts[: len(self.found)] += self.found
        self.found = counts

    def top(self, k: int) -> float:
        return float(self.found[:k].sum() / max(self.found.sum(), 1))


@dataclass
class _Errors:
    """Differences between numbers; one that is NaN or infinite makes the errors as large as can be."""

    numbers: int = 0
    absolute: float = 0.0
    squared: float = 0.0

    def add(self, output: Array, labels: Array) -> None:
        if labels.size != output.size or not _same_but_for_ones(labels.shape, output.shape):
            shapes = f"an output of shape {output.shape} and labels of shape {labels.shape}"
            raise unfit("labels of the output's shape", shapes, "ask for accuracy, or write metric(outputs, labels)")
        away = output.astype(np.float64).reshape(-1) - labels.astype(np.float64).reshape(-1)
        self.numbers += away.size
        self.absolute += float(np.abs(away).sum())
        self.squared += float((away**2).sum())

    def mean(self, total: float) -> float:
        return total / max(self.numbers, 1) if math.isfinite(total) else sys.float_info.max


def _same_but_for_ones(first: Sequence[int], second: Sequence[int]) -> bool:
    return [size for size in first if size != 1] == [size for size in second if size != 1]


@dataclass(frozen=True)
class _Named:
    """A metric that needs no code.

    Attributes:
        tally: What it is counted with; metrics with the same share one.
        value: What it is then.
        meaning: What it is, in words.
        larger_is_better: False for errors.
    """

    tally: type[_Tally]
    value: Callable[[Any], float]
    meaning: str
    larger_is_better: bool = True


_NAMED = {
    "accuracy": _Named(_Classes, lambda found: found.counts.accuracy, "share of right answers"),
    "precision": _Named(
        _Classes,
        lambda found: found.counts.macro(found.counts.precision),
        "how often an answer is right, the mean over the classes",
    ),
    "recall": _Named(
        _Classes,
        lambda found: found.counts.macro(found.counts.recall),
        "how often a class is found, the mean over the classes",
    ),
    "f1": _Named(
        _Classes,
        lambda found: found.counts.macro(found.counts.f1),
        "harmonic mean of precision and recall, the mean over the classes",
    ),
    "mse": _Named(
        _Errors,
        lambda found: found.mean(found.squared),
        "mean squared difference from the labels; smaller is better",
        larger_is_better=False,
    ),
    "mae": _Named(
        _Errors,
        lambda found: found.mean(found.absolute),
        "mean absolute difference from the labels; smaller is better",
        larger_is_better=False,
    ),
}


class Metrics:
    """Some metrics, of which the first is the one that promises and training are about.

    Args:
        chosen: Names, or functions of a task, which are called what they are called there.
        subject: Who asks for them, for error messages.

    Attributes:
        names: What they are called.

    Raises:
        InputError: There is no metric of such a name, there is none at all, or there are two of one name.
    """

    def __init__(self, *chosen: str | Function, subject: str = "metric") -> None:
        self._named: dict[str, _Named] = {}
        self._own: dict[str, Function] = {}
        for each in chosen:
            name, metric = _found(each, subject) if isinstance(each, str) else (_name_of(each), each)
            if name in self.names:
                raise _wrong(subject, "each metric once", f"{name} twice", "leave one of them out")
            (self._named if isinstance(metric, _Named) else self._own)[name] = metric  # type: ignore[assignment]
            self.names = (*self.names, name)
        if not self.names:
            raise _wrong(subject, "at least one metric", "none", f"choose from {', '.join(_known())}")

    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, subject: str = "--metric") -> Metrics:
        """Reads "accuracy, top-5 accuracy".

        Raises:
            InputError: See above.
        """
        return cls(*(part.strip() for part in text.split(",") if part.strip()), subject=subject)

    def measure(self, batches: Labelled, places: Places = None) -> Scores:
        """All of them, in one pass.

        Args:
            batches: Outputs in the order that the source has them, without what batches were filled up with.
            places: Functions of a task get their samples in this order.

        Raises:
            DataError: Outputs and labels do not fit.
            SourceError: A function of the task raises.
        """
        tallies = {each.tally: each.tally() for each in self._named.values()}
        whole: list[tuple[Sequence[Array], Array]] = []
        for output, labels in joined(self._first_outputs(batches, whole)):
            for tally in tallies.values():
                tally.add(output, labels)
        scores = {name: metric.value(tallies[metric.tally]) for name, metric in self._named.items()}
        if self._own:
            columns = [as_given(column, places) for column in zip(*(outputs for outputs, _ in whole), strict=True)]
            all_labels = as_given([labels for _, labels in whole], places)
            scores |= {name: float(metric(columns, all_labels)) for name, metric in self._own.items()}
        return {name: scores[name] for name in self.names}

    def _first_outputs(
        self, batches: Labelled, whole: list[tuple[Sequence[Array], Array]]
    ) -> Iterator[tuple[Array, Array]]:
        """The first output of each batch with its labels; all of it is kept only for a task's functions."""
        for outputs, labels in batches:
            if self._own:
                whole.append((outputs, labels))
            yield outputs[0], labels

    def worsening(self, before: Scores, after: Scores) -> float:
        """By how much the first metric became worse; less than 0 where it became better."""
        return self.quality(before) - self.quality(after)

    def quality(self, scores: Scores) -> float:
        """The first metric, or minus that, so that larger is better."""
        name = self.names[0]
        smaller = name in self._named and not self._named[name].larger_is_better
        return -scores[name] if smaller else scores[name]

    @property
    def quality_name(self) -> str:
        """What `quality` is."""
        name = self.names[0]
        return name if self.quality({name: 1.0}) > 0 else f"minus {name}"

    def first(self, scores: Scores) -> float:
        """The first metric as it is."""
        return scores[self.names[0]]


def meaning(name: str) -> str | None:
    """What a metric is, in words; None for a function of a task."""
    try:
        return _found(name, "")[1].meaning
    except InputError:
        return None


def _found(name: str, subject: str) -> tuple[str, _Named]:
    """A metric with its name as it is usually written."""
    plain = name.strip().lower()
    if (top := _TOP.fullmatch(plain)) and int(top[1]) > 0:
        k = int(top[1])
        text = f"share of samples whose label is among the {k} largest scores"
        return f"top-{k} accuracy", _Named(_Ranks, lambda found: found.top(k), text)
    if plain in _NAMED:
        return plain, _NAMED[plain]
    cure = correction(plain, _NAMED, "choose one of them, or write metric(outputs, labels) in a task file")
    raise _wrong(subject, f"one of {', '.join(_known())}", repr(name), cure)


def _known() -> list[str]:
    first, *others = _NAMED
    return [first, "top-5 accuracy", *others]


def _name_of(function: Function) -> str:
    name = getattr(function, "__name__", "")
    if not name.isidentifier():  # a lambda, or an object
        return "metric"
    return name if meaning(name) is None else f"own {name}"


def _wrong(subject: str, expected: str, actual: str, cure: str) -> InputError:
    return InputError(subject, expected=expected, actual=actual, cure=cure)
