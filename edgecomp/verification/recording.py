"""Runs models on samples and keeps what they give in files, so that memory does not grow with the samples."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecomp.arrays import Array, Arrays
from edgecomp.errors import VerificationError
from edgecomp.interface import Interface
from edgecomp.system.columns import read_column, write_columns
from edgecomp.system.isolation import run_isolated
from edgecomp.verification.metrics import Metrics, Scores
from edgecomp.verification.samples import Run, Samples


@dataclass(frozen=True, eq=False)
class Batch:
    """What a model gave for a batch, without what it was filled up with.

    Attributes:
        outputs: By name, in the order of the source.
        labels: What is right; None where nobody knows it.
        numbers: See `Recorder.numbers`.
    """

    outputs: Mapping[str, Array]
    labels: Array | None
    numbers: npt.NDArray[np.int64]


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
        self._labels: list[Array | None] = []
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

    def scores_of(self, name: str, metrics: Metrics | None) -> Scores:
        """The task's metrics of what `name` gave; empty without labels, or when it could not run on all samples."""
        labelled = [
            numbers.tolist() for labels, numbers in zip(self._labels, self.numbers, strict=True) if labels is not None
        ]
        if metrics is None or not labelled or self._skipped[name]:
            return {}
        batches = ((list(each.outputs.values()), each.labels) for each in self.batches(name) if each.labels is not None)
        return metrics.measure(batches, labelled)

    @cached_property
    def numbers(self) -> Sequence[npt.NDArray[np.int64]]:
        """For each batch the numbers of its samples in the data; below 0 for those that are no part of them."""
        if self._samples.places is None:
            ends = np.cumsum(self._counts).tolist()
            return [np.arange(end - count, end) for end, count in zip(ends, self._counts, strict=True)]
        given = zip(self._samples.places, self._counts, strict=True)
        return [np.array([*places, *[-1] * count][:count], np.int64) for places, count in given]

    def batches(self, name: str) -> Iterator[Batch]:
        """What `name` gave, batch by batch, for those that it ran on."""
        columns = [self._batches(name, output) for output in self._output_names]
        for labels, numbers, *outputs in zip(self._labels, self.numbers, *columns, strict=True):
            found = {key: array for key, array in zip(self._output_names, outputs, strict=True) if array is not None}
            if found or not outputs:
                yield Batch(found, labels, numbers)

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
        labels = None if labels is None else np.atleast_1d(labels)
        self._labels.append(labels)
        self._rows.append(rows)
        self._counts.append(rows if labels is None else min(rows, len(labels)))
        return inputs

    def _record(self, name: str, parts: Sequence[str], batches: Iterable[Sequence[Array]]) -> None:
        write_columns(self._files(name, parts), batches)
        self._skipped[name] = frozenset()

    def _files(self, name: str, parts: Sequence[str]) -> list[str]:
        return [str(Path(self._folder.name, f"{name}.{index}.npy")) for index in range(len(parts))]
