"""Runs models on samples and keeps what they give in files, so that memory does not grow with the samples."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgecomp.converter import Array
from edgecomp.errors import VerificationError
from edgecomp.interface import Interface
from edgecomp.isolation import run_isolated

Arrays = tuple[Array, ...]
Run = Callable[[Arrays], Sequence[Array]]


class Batches(Protocol):
    """Batches of inputs, which know how many they are."""

    def __len__(self) -> int:
        """The number of batches."""
        ...

    def __iter__(self) -> Iterator[Arrays]:
        """The batches in order."""
        ...


class Samples(Protocol):
    """Batches of inputs with their labels, which know how many they are."""

    def __len__(self) -> int:
        """The number of batches."""
        ...

    def __iter__(self) -> Iterator[tuple[Arrays, Array | None]]:
        """The batches in order."""
        ...


class Unlabelled:
    """Batches of inputs as samples, without labels.

    Args:
        groups: Collections of batches that can be read again, one after another.
    """

    def __init__(self, *groups: Batches) -> None:
        self._groups = groups

    def __len__(self) -> int:
        return sum(len(group) for group in self._groups)

    def __iter__(self) -> Iterator[tuple[Arrays, None]]:
        return ((batch, None) for group in self._groups for batch in group)


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
        self._columns: dict[str, list[Array]] = {}
        self._counts: list[int] = []
        self._labels: list[Array] = []
        self._rows = 1
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
        results = (function(tuple(np.array(array) for array in batch)) for batch in batches)
        self._record(name, self._output_names, results)

    def run_artifact(self, path: Path) -> Interface:
        """Runs an artifact on every batch in a process of its own.

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
        self._load(path.name, outputs)
        return Interface.from_json(description, subject=path.name)

    def has(self, name: str) -> bool:
        """Whether `name` ran."""
        return name in self._columns

    def cancel(self) -> None:
        """Ends every `run_artifact` that is going on in another thread."""
        self._cancel.set()

    def column(self, name: str, output: str) -> Iterator[Array]:
        """One output, batch by batch, without what batches were filled up with."""
        column = self._columns[name][self._output_names.index(output)]
        for count, batch in zip(self._counts, column, strict=True):
            # An output without the batch in front ((4, H, W), say) has nothing to cut off.
            yield batch[:count] if batch.ndim and len(batch) == self._rows else batch

    def pairs(self, reference: str, candidate: str, output: str) -> Iterator[tuple[Array, Array]]:
        """One output of two models side by side.

        Raises:
            VerificationError: They are not of the same shape.
        """
        for first, second in zip(self.column(reference, output), self.column(candidate, output), strict=True):
            if first.shape != second.shape:
                raise VerificationError(
                    f"{candidate}: output {output!r}",
                    expected=f"the shape {first.shape} that it has in {reference}",
                    actual=f"the shape {second.shape}",
                    cure="report this with the model, or leave this format out with --formats",
                )
            yield first, second

    def first(self, name: str) -> Mapping[str, Array]:
        """What a model gave for the first batch, or that batch itself for "inputs", by name."""
        names = self._input_names if name == "inputs" else self._output_names
        return {key: np.array(column[0]) for key, column in zip(names, self._columns[name], strict=True)}

    def _take(self, inputs: Arrays, labels: Array | None) -> Arrays:
        self._rows = len(inputs[0]) if inputs[0].ndim else 1
        if labels is not None:
            self._labels.append(np.atleast_1d(labels))
        self._counts.append(self._rows if labels is None else min(self._rows, len(self._labels[-1])))
        return inputs

    def _record(self, name: str, parts: Sequence[str], batches: Iterable[Sequence[Array]]) -> None:
        files = self._files(name, parts)
        columns: list[Any] = []
        for position, batch in enumerate(batches):
            if not columns:
                columns = [
                    open_column(file, len(self._samples), array) for file, array in zip(files, batch, strict=True)
                ]
            for column, array in zip(columns, batch, strict=True):
                column[position] = array
        for column in columns:
            column.flush()
        self._load(name, files)

    def _files(self, name: str, parts: Sequence[str]) -> list[str]:
        return [str(Path(self._folder.name, f"{name}.{index}.npy")) for index in range(len(parts))]

    def _load(self, name: str, files: Sequence[str]) -> None:
        self._columns[name] = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]


def open_column(file: str, length: int, like: Array) -> Any:
    """A new `.npy` file in memory, for `length` arrays of the shape and dtype of one."""
    return np.lib.format.open_memmap(file, mode="w+", dtype=like.dtype, shape=(length, *like.shape))
