"""Runs models on samples and keeps what they give in files, so that memory does not grow with the samples."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from edgecomp.arrays import Array, Arrays
from edgecomp.errors import VerificationError
from edgecomp.interface import Interface
from edgecomp.system.columns import read_column, write_columns
from edgecomp.system.isolation import run_isolated
from edgecomp.verification.samples import Metric, Run, Samples, as_given


class Recorder:
    """The outputs of several models on the same samples; a context manager, which removes its files at the end.

    Args:
        samples: Read once. A batch with fewer labels than rows was filled up, and the rest does not count.
        inputs: The names of the inputs, in the samples' order.
        outputs: The names of the outputs, in the order that `run` gives them.
    """

    def __init__(self, samples: Samples, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._samples = samples
        self._input_names, self._output_names = tuple(inputs), tuple(outputs)
        self._skipped: dict[str, frozenset[int]] = {}
        self._rows: list[int] = []
        self._counts: list[int] = []
        self._labels: list[Array] = []
        self._cancel = threading.Event()

    def __enter__(self) -> Recorder:
        self._folder = tempfile.TemporaryDirectory(prefix="edgecomp-")
        try:
            self._record("inputs", self._input_names, (self._take(*item) for item in self._samples))
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._skipped.clear()
        self._folder.cleanup()

    @property
    def samples(self) -> int:
        """How many samples count."""
        return sum(self._counts)

    def metric_of(self, name: str, metric: Metric | None) -> float | None:
        """The task's metric of what `name` gave; None without labels, or when it could not run on all samples."""
        if metric is None or not self._labels or self._skipped[name]:
            return None
        places = self._samples.places
        columns = [as_given(list(self.column(name, output)), places) for output in self._output_names]
        return float(metric(columns, as_given(self._labels, places)))

    def run(self, name: str, function: Run) -> None:
        """Runs a function on every batch and records what it gives."""
        batches = zip(*map(read_column, self._files("inputs", self._input_names)), strict=True)
        self._record(name, self._output_names, map(function, batches))

    def run_artifact(self, path: Path) -> Interface:
        """Runs an artifact in a process of its own, on every batch of a size that it takes.

        Returns:
            How the artifact stores its inputs and outputs.

        Raises:
            ConversionError: Its runtime crashed.
            CancelledError: `cancel` was called.
        """
        inputs, outputs = self._files("inputs", self._input_names), self._files(path.name, self._output_names)
        description = run_isolated(
            "edgecomp.artifact:predict_samples",
            subject=f"running {path.name}",
            cancel=self._cancel,
            path=str(path.resolve()),
            inputs=dict(zip(self._input_names, inputs, strict=True)),
            outputs=dict(zip(self._output_names, outputs, strict=True)),
            threads=1,
        )
        interface = Interface.from_json(description, subject=path.name)
        self._skipped[path.name] = frozenset(json.loads(description).get("skipped", ()))
        return interface

    def has(self, name: str) -> bool:
        """Whether `name` ran."""
        return name in self._skipped

    def samples_of(self, name: str) -> int:
        """How many of the samples `name` ran on."""
        return sum(count for position, count in enumerate(self._counts) if position not in self._skipped[name])

    def cancel(self) -> None:
        """Ends every `run_artifact` that is going on in another thread."""
        self._cancel.set()

    def column(self, name: str, output: str) -> Iterator[Array]:
        """One output, batch by batch, without what batches were filled up with."""
        return (batch for batch in self._batches(name, output) if batch is not None)

    def pairs(self, reference: str, candidate: str, output: str) -> Iterator[tuple[Array, Array]]:
        """One output of two models side by side.

        Raises:
            VerificationError: They are not of the same shape.
        """
        for first, second in zip(self._batches(reference, output), self._batches(candidate, output), strict=True):
            if first is None or second is None:
                continue
            if first.shape != second.shape:
                raise VerificationError(
                    f"{candidate}: output {output!r}",
                    expected=f"the shape {first.shape} that it has in {reference}",
                    actual=f"the shape {second.shape}",
                    cure="report this with the model, or leave this format out with --formats",
                )
            yield first, second

    def first(self, name: str) -> Mapping[str, Array]:
        """What a model gave for the first batch that all ran on, or that batch itself for "inputs", by name."""
        skipped = frozenset().union(*(self._skipped[each] for each in self._skipped if self.samples_of(each)))
        position = min(set(range(len(self._counts))) - skipped)
        names = self._input_names if name == "inputs" else self._output_names
        columns = (self._all(name, file) for file in self._files(name, names))
        found = (next(islice(column, position, None)) for column in columns)
        return {key: array for key, array in zip(names, found, strict=True) if array is not None}

    def _batches(self, name: str, output: str) -> Iterator[Array | None]:
        """One output for every batch, None for those that were left out."""
        file = self._files(name, self._output_names)[self._output_names.index(output)]
        for rows, count, batch in zip(self._rows, self._counts, self._all(name, file), strict=True):
            # An output without the batch in front ((4, H, W), say) has nothing to cut off.
            filled = batch is not None and batch.ndim and len(batch) == rows
            yield batch[:count] if filled else batch  # type: ignore[index]

    def _all(self, name: str, file: str) -> Iterator[Array | None]:
        """What a file holds, None for the batches that were left out."""
        arrays = read_column(file)
        return (None if position in self._skipped[name] else next(arrays) for position in range(len(self._counts)))

    def _take(self, inputs: Arrays, labels: Array | None) -> Arrays:
        rows = len(inputs[0]) if inputs[0].ndim else 1
        if labels is not None:
            self._labels.append(np.atleast_1d(labels))
        self._rows.append(rows)
        self._counts.append(rows if labels is None else min(rows, len(self._labels[-1])))
        return inputs

    def _record(self, name: str, parts: Sequence[str], batches: Iterable[Sequence[Array]]) -> None:
        write_columns(self._files(name, parts), batches)
        self._skipped[name] = frozenset()

    def _files(self, name: str, parts: Sequence[str]) -> list[str]:
        return [str(Path(self._folder.name, f"{name}.{index}.npy")) for index in range(len(parts))]
