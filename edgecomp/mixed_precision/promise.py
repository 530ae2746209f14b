"""The promise that a model in mixed precision has to keep, and the judge of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgecomp.errors import InputError
from edgecomp.verification.comparison import EQUAL, Comparison, compare
from edgecomp.verification.metrics import Metrics, Scores
from edgecomp.verification.recording import Recorder
from edgecomp.verification.samples import Run, Samples
from edgecomp.verification.tolerance import Tolerance


@dataclass(frozen=True)
class Promise:
    """The accuracy that is required; zeros require nothing.

    Attributes:
        min_agreement: The smallest share of samples with the original's argmax.
        min_sqnr: The smallest signal-to-noise ratio of every output, in dB.
        max_drop: How much worse than the original's the metric may be, as `parse_drop` reads it.
    """

    min_agreement: float = 0.0
    min_sqnr: float = 0.0
    max_drop: str = ""

    def __str__(self) -> str:
        parts = []
        if self.min_agreement:
            parts.append(f"the original's argmax on {self.min_agreement:.1%} of the samples")
        if self.min_sqnr:
            parts.append(f"{self.min_sqnr:g} dB of signal to noise")
        if self.max_drop:
            parts.append(f"a metric at most {self.max_drop} worse than the original's")
        return " and ".join(parts) or "nothing"


@dataclass(frozen=True)
class Quality:
    """The accuracy of a model.

    Attributes:
        sqnr: Signal-to-noise ratio against the original's outputs, the smallest of all outputs, in dB.
        agreement: Share of samples with the original's argmax, the smallest of all outputs; None without classes.
        metrics: The task's metrics by name; empty without any.
    """

    sqnr: float
    agreement: float | None = None
    metrics: Scores = field(default_factory=dict)

    def __str__(self) -> str:
        agreement = "" if self.agreement is None else f", same argmax on {self.agreement:.1%}"
        metrics = "".join(f", {name} {value:.4g}" for name, value in self.metrics.items())
        return f"{self.sqnr:.1f} dB{agreement}{metrics}"


class Judge:
    """Compares models with the original on the same samples; a context manager.

    Args:
        promise: What to hold them to.
        original: The model in float.
        samples: What to compare on.
        outputs: The names of the outputs.
        inputs: The names of the inputs.
        places: Outputs whose last dimension counts places: their answers count where more than usual is asked for.
        metrics: The task's, of which the first is for `max_drop`.
        subject: What error messages are about.
    """

    def __init__(
        self,
        promise: Promise,
        original: Run,
        samples: Samples,
        *,
        inputs: Sequence[str],
        outputs: Sequence[str],
        places: Collection[str] = (),
        metrics: Metrics | None,
        subject: str,
    ) -> None:
        self._promise, self._original, self._subject = promise, original, subject
        self._outputs, self._metrics = tuple(outputs), metrics
        self._places = frozenset(places if promise.min_agreement <= Tolerance.agreement else ())
        self._recorder = Recorder(samples, inputs, outputs)
        self._judged = 0

    def __enter__(self) -> Judge:
        self._recorder.__enter__()
        try:
            self._recorder.run("original", self._original)
            self._reference = self._recorder.scores_of("original", self._metrics)
            self._check()
        except BaseException as error:
            self._recorder.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self._recorder.__exit__(*details)

    @property
    def has_promise(self) -> bool:
        """Whether anything is required."""
        return self._promise != Promise()

    @property
    def samples(self) -> int:
        """The number of samples that are compared."""
        return self._recorder.samples

    def judge(self, run: Run) -> Quality:
        """Measures the accuracy of a model."""
        self._judged += 1
        name = f"candidate {self._judged}"
        self._recorder.run(name, run)
        found = [each.along_places() if each.output in self._places else each for each in self._compared(name)]
        agreements = [each.agreement for each in found if each.agreement is not None]
        return Quality(
            min((each.sqnr for each in found if each.sqnr is not None), default=EQUAL),
            min(agreements) if agreements else None,
            self._recorder.scores_of(name, self._metrics),
        )

    def _compared(self, name: str) -> Iterator[Comparison]:
        return (compare(output, self._recorder.pairs("original", name, output), None) for output in self._outputs)

    def holds(self, quality: Quality) -> bool:
        """Tells whether the promise is kept."""
        return not any(self._misses(quality))

    def _misses(self, quality: Quality) -> Iterator[bool]:
        promise = self._promise
        yield quality.sqnr < promise.min_sqnr
        yield quality.agreement is not None and quality.agreement < promise.min_agreement
        if promise.max_drop and self._metrics is not None and self._reference and quality.metrics:
            allowed = parse_drop(promise.max_drop, self._metrics.first(self._reference))
            yield not self._metrics.worsening(self._reference, quality.metrics) <= allowed + 1e-9

    def _check(self) -> None:
        """Checks that the promise can be judged."""
        if self._promise.max_drop and not self._reference:
            raise InputError(
                f"{self._subject}: --max-drop {self._promise.max_drop}",
                expected="a metric and labelled data to measure it on",
                actual="a source without metric() or evaluation_data()",
                cure="add both to the task file, or give --metric and --evaluation; or ask for --min-agreement or "
                "--min-sqnr",
            )
        if self._promise.min_agreement and all(each.agreement is None for each in self._compared("original")):
            raise InputError(
                f"{self._subject}: --min-agreement {self._promise.min_agreement:g}",
                expected="an output of the shape (batch, classes), whose argmax is the answer",
                actual="none of the outputs has that shape",
                cure="ask for --min-sqnr, or for --max-drop with a metric",
            )


def parse_drop(text: str, reference: float) -> float:
    """Parses the loss of a metric: "0.5%" is a share of the original's, "0.005" is in the metric's own unit."""
    return abs(reference) * float(text[:-1]) / 100 if text.endswith("%") else float(text)


def is_drop(text: Any) -> bool:
    """Tells whether `parse_drop` accepts a text."""
    try:
        return math.isfinite(value := parse_drop(str(text), 1.0)) and value >= 0
    except ValueError:
        return False
