"""Proves that artifacts agree: each runs in its real runtime and is compared with the original and the simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, filterfalse
from pathlib import Path

from edgecomp.comparison import EQUAL, Comparison, binomial_tail, compare
from edgecomp.converter import Array
from edgecomp.graph.shares import ROUNDING
from edgecomp.interface import Interface
from edgecomp.precision import PRECISIONS, Precision
from edgecomp.recording import Metric, Recorder, Run, Samples

#: What a wrong operator leaves at most, in dB.
WRONG = 10.0
#: By how many dB two errors of one size, independent of each other, lie further apart than either is large.
INDEPENDENT = 10 * math.log10(2)
#: Chance below which too few equal answers are no accident: one side of a 95 % confidence interval.
UNLIKELY = 0.025


@dataclass(frozen=True)
class Tolerance:
    """What an artifact must keep to.

    Attributes:
        simulation_sqnr: Least SQNR in dB between an artifact and the simulation. Rounding differences of one step here
            and there leave more than 30 dB; a wrong operator leaves less than `WRONG`. A network that magnifies
            rounding does the same to the last step in which runtimes differ: there, an artifact may be as far
            from the simulation as two roundings of the same size are that have nothing in common, by `INDEPENDENT`
            further than the simulation is from the original.
        agreement: Least share of answers with the original's argmax. It counts as missed when a model that keeps to it
            would give as few only by a chance below `UNLIKELY`: one answer of one proves nothing, two of two do.
        original_sqnr: Least SQNR in dB between an artifact and the original, for outputs without an argmax.
        float_sqnr: Least SQNR in dB between a float artifact and the original.
        simulated: Whether the simulation rounds what artifacts round. Where it leaves activations as they are, answers
            tell whether their rounding does harm, and numbers only whether an operator is wrong.
    """

    simulation_sqnr: float = 20.0
    agreement: float = 0.95
    original_sqnr: float = 8.0
    float_sqnr: float = 60.0
    simulated: bool = True

    def promised(self, precision: Precision) -> Tolerance:
        """Held to what a precision promises, where that is more."""
        facts = PRECISIONS[precision]
        least = max(self.simulation_sqnr, facts.simulation_sqnr)
        return replace(self, simulation_sqnr=least, simulated=facts.simulated)

    def of_the_simulation(self) -> Tolerance:
        """Held to the simulation alone: for a model that was trained after it was rounded, and moved on purpose."""
        return replace(self, agreement=0.0, original_sqnr=-EQUAL)

    def least_sqnr(self, simulated: float | None, *, has_answers: bool = False) -> float:
        """What an artifact must keep to the simulation of an output, in dB.

        Args:
            simulated: The SQNR between the simulation and the original there; None for outputs without one.
            has_answers: Whether the output's answers are compared with the original's, too.
        """
        if has_answers and not self.simulated and self.simulation_sqnr <= Tolerance.simulation_sqnr:
            return WRONG
        # More than the default is asked for on purpose, or by a precision in which activations are not rounded to int8.
        if simulated is None or self.simulation_sqnr > Tolerance.simulation_sqnr:
            return self.simulation_sqnr
        return min(self.simulation_sqnr, max(simulated - INDEPENDENT, WRONG))


@dataclass(frozen=True)
class Verdict:
    """What was measured of one artifact, or of the simulation.

    Attributes:
        name: "simulation", or the artifact's file name.
        against_original: One comparison per output.
        against_simulation: One comparison per output; empty for the simulation and for float models.
        metric: The task's metric; None without labels or a metric.
        violations: What is out of tolerance, in words.
    """

    name: str
    against_original: tuple[Comparison, ...]
    against_simulation: tuple[Comparison, ...] = ()
    metric: float | None = None
    violations: tuple[str, ...] = ()


@dataclass(frozen=True)
class SizeVerdict:
    """What was measured at another size of the dynamic dimensions than the example's."""

    sizes: Mapping[str, int]
    verdicts: tuple[Verdict, ...]

    @property
    def violations(self) -> tuple[str, ...]:
        """Everything that is out of tolerance."""
        place = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        return tuple(f"{each.name} at {place}: {text}" for each in self.verdicts for text in each.violations)


@dataclass(frozen=True)
class Verification:
    """The agreement matrix, and what it rests on.

    Attributes:
        samples: How many samples it rests on.
        metric: The original's metric.
        verdicts: The simulation first when the model is quantized, then each artifact.
        between: Comparisons of each pair of artifacts, by their file names.
        tolerance: What the artifacts were held to.
        interfaces: File name -> how the artifact stores its inputs and outputs.
        sizes: What was measured at other sizes; empty for a model without dynamic dimensions.
        unfit: Files that took none of the samples, because a dimension is fixed in them: nothing was measured of them.
        example: The first batch: "inputs", "original" and each file name -> arrays by name, as the source has them.
    """

    samples: int
    metric: float | None
    verdicts: tuple[Verdict, ...]
    between: Mapping[tuple[str, str], tuple[Comparison, ...]] = field(default_factory=dict)
    tolerance: Tolerance = field(default_factory=Tolerance)
    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    example: Mapping[str, Mapping[str, Array]] = field(default_factory=dict, repr=False)
    sizes: tuple[SizeVerdict, ...] = ()
    unfit: tuple[str, ...] = ()

    @property
    def violations(self) -> tuple[str, ...]:
        """Everything that is out of tolerance."""
        own = (f"{verdict.name}: {text}" for verdict in self.verdicts for text in verdict.violations)
        return (*own, *(text for each in self.sizes for text in each.violations))


def verify(
    artifacts: Sequence[Path],
    original: Run,
    simulation: Run | None,
    samples: Samples,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    steps: Mapping[str, float],
    shares: Collection[str] = (),
    metric: Metric | None = None,
    tolerance: Tolerance | None = None,
    threads: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """Runs everything on the same samples and compares.

    Args:
        artifacts: Files of any format; each runs in a process of its own, on one thread.
        original: The source model.
        simulation: The quantized graph in float arithmetic; None for a float model.
        samples: Batches of inputs as the source takes them, each with its labels or None; read once. A batch with fewer
            labels than rows was filled up, and the rest does not count.
        inputs: The names of the inputs, in order.
        outputs: The names of the outputs, in order.
        steps: Quantization step of each quantized output.
        shares: Outputs between 0 and 1. Where all of them are nearly 0, as a detector's are that finds nothing, the
            rounding of float32 is no small share of the signal, and is no reason to reject an artifact.
        metric: Larger is better.
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
            recorder.run("original", original)
            progress(1, total)
            if simulation is not None:
                recorder.run("simulation", simulation)
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
            metric,
            tolerance or Tolerance(),
        )
        return matrix.verification(interfaces)


@dataclass(frozen=True, eq=False)
class _Matrix:
    recorder: Recorder
    outputs: tuple[str, ...]
    steps: Mapping[str, float]
    shares: frozenset[str]
    metric: Metric | None
    tolerance: Tolerance

    def verification(self, interfaces: Mapping[str, Interface]) -> Verification:
        """Compares everything that ran."""
        names = [name for name in interfaces if self.recorder.samples_of(name)]
        quantized = self.recorder.has("simulation")
        verdicts = [self._judge(name, quantized=quantized) for name in names]
        if quantized:
            own = Verdict("simulation", self._compare("original", "simulation"), metric=self._metric("simulation"))
            verdicts.insert(0, own)
        return Verification(
            samples=self.recorder.samples,
            metric=self._metric("original"),
            verdicts=tuple(verdicts),
            between={pair: self._compare(*pair) for pair in combinations(names, 2)},
            tolerance=self.tolerance,
            interfaces=interfaces,
            example={name: self.recorder.first(name) for name in ("inputs", "original", *names)},
            unfit=tuple(name for name in interfaces if name not in names),
        )

    def _judge(self, name: str, *, quantized: bool) -> Verdict:
        """An artifact's comparisons, and what of them is out of tolerance."""
        against_simulation = self._compare("simulation", name) if quantized else ()
        verdict = Verdict(name, self._compare("original", name), against_simulation, self._metric(name))
        return replace(verdict, violations=tuple(self._violations(verdict, quantized=quantized)))

    def _violations(self, verdict: Verdict, *, quantized: bool) -> Iterator[str]:
        tolerance = self.tolerance
        for entry in filterfalse(self._is_rounding, verdict.against_simulation):
            has_answers = entry.agreement is not None
            wanted = tolerance.least_sqnr(self._simulated.get(entry.output), has_answers=has_answers)
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

    def _metric(self, name: str) -> float | None:
        return self.recorder.metric_of(name, self.metric)

    def _compare(self, reference: str, candidate: str) -> tuple[Comparison, ...]:
        """One comparison per output."""
        return tuple(
            compare(output, self.recorder.pairs(reference, candidate, output), self.steps.get(output))
            for output in self.outputs
        )


def _misses(entry: Comparison, reference: str, sqnr: float, tolerance: Tolerance, *, by_argmax: bool) -> Iterator[str]:
    output = f"output {entry.output!r}"
    if entry.broken:
        yield f"{output} has {entry.broken} numbers that are NaN or infinite and differ from {reference}"
    if entry.sqnr is not None and not (by_argmax and entry.agreement is not None):
        if entry.sqnr < sqnr:
            yield f"{output} is {entry.sqnr:.1f} dB from {reference}, at least {sqnr:g} dB expected"
    elif entry.agreement is not None and _is_too_few(
        entry.agreement, entry.answers or entry.samples, tolerance.agreement
    ):
        counted = f"{entry.answers} answers" if entry.answers > entry.samples else f"{entry.samples} samples"
        yield (
            f"{output} agrees with {reference} on {entry.agreement:.1%} of {counted}, "
            f"at least {tolerance.agreement:.1%} expected"
        )


def _is_too_few(agreement: float, answers: int, share: float) -> bool:
    """Whether so few equal answers are no accident, where `share` of all answers ought to be equal."""
    return binomial_tail(round(agreement * answers), answers, share) < UNLIKELY
