"""Proves that artifacts agree: each one runs in its real runtime and is compared with the original and the simulation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgecomp.comparison import Comparison, compare, wilson_upper
from edgecomp.converter import Array
from edgecomp.isolation import run_isolated

Arrays = tuple[Array, ...]
Metric = Callable[[Sequence[Array], Array], float]
Run = Callable[[Arrays], Sequence[Array]]


class Samples(Protocol):
    """Batches of inputs with their labels, which know how many they are."""

    def __len__(self) -> int:
        """The number of batches."""
        ...

    def __iter__(self) -> Iterator[tuple[Arrays, Array | None]]:
        """The batches in order."""
        ...


@dataclass(frozen=True)
class Tolerance:
    """What an artifact must keep to.

    Attributes:
        simulation_sqnr: Least SQNR in dB between an artifact and the simulation. Rounding differences of one step here
            and there leave more than 30 dB; a wrong operator leaves less than 10.
        agreement: Least share of samples with the original's argmax. It counts as missed when the 95 % confidence
            interval of the measured share lies below it.
        original_sqnr: Least SQNR in dB between an artifact and the original, for outputs without an argmax.
        float_sqnr: Least SQNR in dB between a float artifact and the original.
    """

    simulation_sqnr: float = 20.0
    agreement: float = 0.95
    original_sqnr: float = 8.0
    float_sqnr: float = 60.0


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
class Verification:
    """The agreement matrix.

    Attributes:
        samples: How many samples it rests on.
        metric: The original's metric.
        verdicts: The simulation first when the model is quantized, then each artifact.
        between: Comparisons of each pair of artifacts, by their file names.
    """

    samples: int
    metric: float | None
    verdicts: tuple[Verdict, ...]
    between: Mapping[tuple[str, str], tuple[Comparison, ...]] = field(default_factory=dict)

    @property
    def violations(self) -> tuple[str, ...]:
        """Everything that is out of tolerance."""
        return tuple(f"{verdict.name}: {text}" for verdict in self.verdicts for text in verdict.violations)


def verify(
    artifacts: Sequence[Path],
    original: Run,
    simulation: Run | None,
    samples: Samples,
    *,
    outputs: Sequence[str],
    steps: Mapping[str, float],
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
        outputs: The names of the outputs, in order.
        steps: Quantization step of each quantized output.
        metric: Larger is better.
        tolerance: What to hold artifacts to.
        threads: How many runs go on at a time; each is single-threaded, since runtimes that share cores wait for each
            other far longer than they gain.
        progress: Called with the number of finished runs and their total.
    """
    tolerance = tolerance or Tolerance()
    total = len(artifacts) + 1 + (simulation is not None)
    with _Recorder(samples) as recorder:
        with ThreadPoolExecutor(max(1, threads - 1)) as pool:
            jobs = [pool.submit(recorder.run_artifact, path, outputs) for path in artifacts]
            recorder.run("original", original)
            progress(1, total)
            if simulation is not None:
                recorder.run("simulation", simulation)
                progress(2, total)
            for done, job in enumerate(jobs, start=total - len(artifacts) + 1):
                job.result()
                progress(done, total)
        matrix = _Matrix(recorder, tuple(outputs), dict(steps) if simulation is not None else {}, metric)
        names = [path.name for path in artifacts]
        verdicts = [matrix.judge(name, simulation is not None, tolerance) for name in names]
        if simulation is not None:
            own = Verdict("simulation", matrix.compare("original", "simulation"), metric=matrix.metric_of("simulation"))
            verdicts.insert(0, own)
        pairs = [(first, second) for i, first in enumerate(names) for second in names[i + 1 :]]
        between = {pair: matrix.compare(*pair) for pair in pairs}
        return Verification(recorder.samples, matrix.metric_of("original"), tuple(verdicts), between)


def _violations(verdict: Verdict, tolerance: Tolerance, *, quantized: bool) -> Iterator[str]:
    for entry in verdict.against_simulation:
        if entry.sqnr < tolerance.simulation_sqnr:
            yield (
                f"output {entry.output!r} is {entry.sqnr:.1f} dB from the simulation, "
                f"at least {tolerance.simulation_sqnr:g} dB expected"
            )
    for entry in verdict.against_original:
        if not quantized:
            if entry.sqnr < tolerance.float_sqnr:
                yield (
                    f"output {entry.output!r} is {entry.sqnr:.1f} dB from the original, "
                    f"at least {tolerance.float_sqnr:g} dB expected of a float artifact"
                )
        elif entry.agreement is not None:
            if wilson_upper(entry.agreement, entry.samples) < tolerance.agreement:
                yield (
                    f"output {entry.output!r} agrees with the original on {entry.agreement:.1%} of "
                    f"{entry.samples} samples, at least {tolerance.agreement:.1%} expected"
                )
        elif entry.sqnr < tolerance.original_sqnr:
            yield (
                f"output {entry.output!r} is {entry.sqnr:.1f} dB from the original, "
                f"at least {tolerance.original_sqnr:g} dB expected"
            )


class _Recorder:
    """Keeps inputs and outputs in files, so that memory does not grow with the samples."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._columns: dict[str, list[Any]] = {}
        self._counts: list[int] = []
        self._labels: list[Array] = []

    def __enter__(self) -> _Recorder:
        self._folder = tempfile.TemporaryDirectory(prefix="edgecomp-")
        self._root = Path(self._folder.name)
        self._inputs = self._record("inputs", (self._take(*item) for item in self._samples))
        return self

    def __exit__(self, *_: object) -> None:
        self._columns.clear()
        self._folder.cleanup()

    @property
    def samples(self) -> int:
        """How many samples count."""
        return sum(self._counts)

    @property
    def labels(self) -> Array | None:
        """The labels of all samples, or None when there are none."""
        return np.concatenate(self._labels) if self._labels else None

    def run(self, name: str, function: Run) -> None:
        """Runs a function on every batch and records what it gives."""
        batches = zip(*self._columns["inputs"], strict=True)
        self._record(name, (function(tuple(np.array(array) for array in batch)) for batch in batches))

    def run_artifact(self, path: Path, outputs: Sequence[str]) -> None:
        """Runs an artifact on every batch in a process of its own."""
        files = self._files(path.name, len(outputs))
        run_isolated(
            "edgecomp.artifact:predict_samples",
            subject=f"running {path.name}",
            path=str(path.resolve()),
            inputs=self._inputs,
            outputs=dict(zip(outputs, files, strict=True)),
            threads=1,
        )
        self._load(path.name, files)

    def column(self, name: str, index: int) -> Iterator[Array]:
        """One output, batch by batch, without what batches were filled up with."""
        for count, batch in zip(self._counts, self._columns[name][index], strict=True):
            yield batch[:count] if batch.ndim else batch

    def _take(self, inputs: Arrays, labels: Array | None) -> Arrays:
        rows = len(inputs[0]) if inputs[0].ndim else 1
        if labels is not None:
            self._labels.append(np.atleast_1d(labels))
            rows = min(rows, len(self._labels[-1]))
        self._counts.append(rows)
        return inputs

    def _record(self, name: str, batches: Iterable[Sequence[Array]]) -> list[str]:
        files: list[str] = []
        columns: list[Any] = []
        for position, batch in enumerate(batches):
            if not columns:
                files = self._files(name, len(batch))
                columns = [
                    np.lib.format.open_memmap(file, mode="w+", dtype=array.dtype, shape=(len(self._samples), *array.shape))
                    for file, array in zip(files, batch, strict=True)
                ]
            for column, array in zip(columns, batch, strict=True):
                column[position] = array
        for column in columns:
            column.flush()
        self._load(name, files)
        return files

    def _files(self, name: str, count: int) -> list[str]:
        return [str(self._root / f"{name}.{index}.npy") for index in range(count)]

    def _load(self, name: str, files: Sequence[str]) -> None:
        self._columns[name] = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]


@dataclass(frozen=True)
class _Matrix:
    recorder: _Recorder
    outputs: tuple[str, ...]
    steps: Mapping[str, float]
    metric: Metric | None

    def compare(self, reference: str, candidate: str) -> tuple[Comparison, ...]:
        """One comparison per output."""
        return tuple(
            compare(
                name,
                zip(self.recorder.column(reference, index), self.recorder.column(candidate, index), strict=True),
                self.steps.get(name),
            )
            for index, name in enumerate(self.outputs)
        )

    def metric_of(self, name: str) -> float | None:
        """The task's metric of what `name` gave."""
        labels = self.recorder.labels
        if self.metric is None or labels is None:
            return None
        columns = [np.concatenate(list(self.recorder.column(name, index))) for index in range(len(self.outputs))]
        return float(self.metric(columns, labels))

    def judge(self, name: str, quantized: bool, tolerance: Tolerance) -> Verdict:
        """An artifact's comparisons, and what of them is out of tolerance."""
        against_simulation = self.compare("simulation", name) if quantized else ()
        verdict = Verdict(name, self.compare("original", name), against_simulation, self.metric_of(name))
        return replace(verdict, violations=tuple(_violations(verdict, tolerance, quantized=quantized)))
