"""Proves that artifacts agree: each runs in its real runtime and is compared with the original and the simulation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, filterfalse
from pathlib import Path

from edgecomp.arrays import Array
from edgecomp.graph.rankings import Ranking
from edgecomp.graph.shares import ROUNDING
from edgecomp.interface import Interface
from edgecomp.verification.answers import AnswerSheet, answer_sheet
from edgecomp.verification.comparison import Comparison, compare
from edgecomp.verification.metrics import Metrics, Scores
from edgecomp.verification.ranking import in_order_of
from edgecomp.verification.recording import Recorder
from edgecomp.verification.result import Verdict, Verification
from edgecomp.verification.samples import Run, Samples
from edgecomp.verification.tolerance import Tolerance


def verify(
    artifacts: Sequence[Path],
    original: Callable[[], Run],
    simulation: Callable[[], Run] | None,
    samples: Samples,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    steps: Mapping[str, float],
    shares: Collection[str] = (),
    places: Collection[str] = (),
    ranked: Sequence[Ranking] = (),
    metrics: Metrics | None = None,
    tolerance: Tolerance | None = None,
    threads: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """Runs everything on the same samples and compares.

    Args:
        artifacts: Files of any format; each runs in a process of its own, on one thread.
        original: Opens the source model. What it gives is dropped as soon as it has run on all samples, as sessions
            take several times the memory of their weights.
        simulation: Opens the quantized graph in float arithmetic; None for a float model.
        samples: Batches of inputs as the source takes them, each with its labels or None; read once. A batch with fewer
            labels than rows was filled up, and the rest does not count.
        inputs: The names of the inputs, in order.
        outputs: The names of the outputs, in order.
        steps: Quantization step of each quantized output.
        shares: Outputs between 0 and 1. Where all of them are nearly 0, as a detector's are that finds nothing, the
            rounding of float32 is no small share of the signal, and is no reason to reject an artifact.
        places: Outputs whose last dimension counts places (see `Comparison.along_places`): their answers count where
            more than usual is asked for.
        ranked: Outputs with rows that scores give an order (see `ranking`).
        metrics: What to measure on labelled samples.
        tolerance: What to hold artifacts to.
        threads: How many runs go on at a time; each is single-threaded, since runtimes that share cores wait for each
            other far longer than they gain.
        progress: Called with the number of finished runs and their total.

    Raises:
        ConversionError: A runtime crashed.
        VerificationError: An artifact gives outputs of another shape than the original.
    """
    total = len(artifacts) + 1 + (simulation is not None)
    with Recorder(samples, inputs, outputs) as recorder, ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            jobs = [pool.submit(recorder.run_artifact, path) for path in artifacts]
            recorder.run("original", original())
            progress(1, total)
            if simulation is not None:
                recorder.run("simulation", simulation())
                progress(2, total)
            interfaces = {}
            for path, job in zip(artifacts, jobs, strict=True):
                interfaces[path.name] = job.result()
                progress(total - len(artifacts) + len(interfaces), total)
        except BaseException:
            # Else the pool would wait for processes that nobody needs any more.
            recorder.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        matrix = _Matrix(
            recorder,
            tuple(outputs),
            steps if simulation is not None else {},
            frozenset(shares),
            frozenset(places) if tolerance is None or tolerance.agreement <= Tolerance.agreement else frozenset(),
            tuple(ranked),
            metrics,
            tolerance or Tolerance(),
        )
        return matrix.verification(interfaces)


@dataclass(frozen=True, eq=False)
class _Matrix:
    recorder: Recorder
    outputs: tuple[str, ...]
    steps: Mapping[str, float]
    shares: frozenset[str]
    places: frozenset[str]
    ranked: tuple[Ranking, ...]
    metrics: Metrics | None
    tolerance: Tolerance

    def verification(self, interfaces: Mapping[str, Interface]) -> Verification:
        """Compares everything that ran."""
        names = [name for name in interfaces if self.recorder.samples_of(name)]
        quantized = self.recorder.has("simulation")
        verdicts = [self._judge(name, quantized=quantized) for name in names]
        if quantized:
            own = Verdict("simulation", self._compare("original", "simulation"), metrics=self._scores("simulation"))
            verdicts.insert(0, own)
        sheet = self._sheet(verdicts)
        return Verification(
            samples=self.recorder.samples,
            metrics=self._scores("original"),
            verdicts=tuple(verdicts),
            between={pair: self._compare(*pair) for pair in combinations(names, 2)},
            churn={} if sheet is None else sheet.between(["original", *names]),
            classes=() if sheet is None else sheet.classes(["original", *names]),
            tolerance=self.tolerance,
            interfaces=interfaces,
            example={name: self.recorder.first(name) for name in ("inputs", "original", *names)},
            unfit=tuple(name for name in interfaces if name not in names),
        )

    def _judge(self, name: str, *, quantized: bool) -> Verdict:
        """An artifact's comparisons, and what of them is out of tolerance."""
        against_simulation = self._compare("simulation", name) if quantized else ()
        verdict = Verdict(name, self._compare("original", name), against_simulation, self._scores(name))
        return replace(verdict, violations=tuple(self._violations(verdict, quantized=quantized)))

    def _violations(self, verdict: Verdict, *, quantized: bool) -> Iterator[str]:
        tolerance = self.tolerance
        for entry in filterfalse(self._is_rounding, verdict.against_simulation):
            wanted = tolerance.least_sqnr(self._simulated.get(entry.output), answers=entry.answers)
            yield from _misses(entry, "the simulation", wanted, tolerance, by_argmax=False)
        least = tolerance.original_sqnr if quantized else tolerance.float_sqnr
        for entry in filterfalse(self._is_rounding, verdict.against_original):
            yield from _misses(entry, "the original", least, tolerance, by_argmax=quantized)

    @cached_property
    def _simulated(self) -> Mapping[str, float | None]:
        """The SQNR between the simulation and the original, by output."""
        return {entry.output: entry.sqnr for entry in self._compare("original", "simulation")}

    def _is_rounding(self, entry: Comparison) -> bool:
        """Whether shares differ by no more than kernels that round in float32 do."""
        return (
            entry.output in self.shares and entry.max_difference * (entry.step or 1.0) <= ROUNDING and not entry.broken
        )

    def _scores(self, name: str) -> Scores:
        return self.recorder.scores_of(name, self.metrics)

    def _sheet(self, verdicts: Sequence[Verdict]) -> AnswerSheet | None:
        """The answers of all; rows that scores give an order are places, and none of them is a sample's answer."""
        ranked = {name for ranking in self.ranked for name in ranking.axes}
        compared = (entry for verdict in verdicts for entry in verdict.against_original if entry.output not in ranked)
        return answer_sheet(self.recorder, "original", compared)

    def _compare(self, reference: str, candidate: str) -> tuple[Comparison, ...]:
        """One comparison per output."""
        found = (
            compare(output, self._pairs(reference, candidate, output), self.steps.get(output))
            for output in self.outputs
        )
        return tuple(entry.along_places() if entry.output in self.places else entry for entry in found)

    def _pairs(self, reference: str, candidate: str, output: str) -> Iterator[tuple[Array, Array]]:
        """One output of two models side by side, rows in the same places."""
        ranking = next((each for each in self.ranked if output in each.axes), None)
        if ranking is None:
            yield from self.recorder.pairs(reference, candidate, output)
            return
        columns = [self.recorder.pairs(reference, candidate, name) for name in ranking.axes]
        for batch in zip(*columns, strict=True):
            right, given = (dict(zip(ranking.axes, arrays, strict=True)) for arrays in zip(*batch, strict=True))
            yield right[output], in_order_of(right, given, [ranking])[output]


def _misses(entry: Comparison, reference: str, sqnr: float, tolerance: Tolerance, *, by_argmax: bool) -> Iterator[str]:
    output = f"output {entry.output!r}"
    if entry.broken:
        yield f"{output} has {entry.broken} numbers that are NaN or infinite and differ from {reference}"
    if entry.sqnr is not None and not (by_argmax and entry.agreement is not None):
        if entry.sqnr < sqnr:
            yield f"{output} is {entry.sqnr:.1f} dB from {reference}, at least {sqnr:g} dB expected"
    elif tolerance.has_too_few_answers(entry):
        counted = f"{entry.answers} answers" if entry.answers > entry.samples else f"{entry.samples} samples"
        yield (
            f"{output} agrees with {reference} on {entry.agreement:.1%} of {counted}, "
            f"at least {tolerance.agreement:.1%} expected"
        )
