"""Calibration and evaluation data: checked once, stored once, read as often as needed.

Data comes from generators that can be read only once, from loaders that shuffle, and from decoders that are slow. So
it is drawn exactly once, item by item, into a file without a name in the temporary folder (`TMPDIR` chooses it), and
every pass reads that file: memory does not grow with the data, every pass sees the same, and the hash in the
provenance is the hash of what was used. The file disappears with the object, also when the program is killed.

Items may have any batch size. Axis 0 counts samples when all of the model's inputs have the same size there, and then
samples are regrouped into batches of exactly the model's size:

1. In calibration every sample counts once. Samples left at the end that do not fill a batch are dropped, because
   repeating some would give them more weight in every histogram; only when there is not even one full batch are the
   samples repeated in turn.
2. In evaluation every sample is used: the last batch is filled up with copies of its last sample, and its labels, which
   are fewer, say how many outputs count.

When the inputs disagree on axis 0 it cannot count samples: then each item must have exactly the model's shapes.
"""

from __future__ import annotations

import hashlib
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edgecomp.errors import DataError, OutputError

__all__ = [
    "CalibrationData",
    "EvaluationData",
    "InputSpec",
    "collect_calibration",
    "collect_evaluation",
]

Array = npt.NDArray[Any]
Arrays = tuple[Array, ...]


@dataclass(frozen=True)
class InputSpec:
    """What a graph wants for one input.

    Attributes:
        name: The input's name.
        dtype: numpy dtype name.
        shape: Static, batch included.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


class _Spool:
    """A file without a name that is closed, and so removed, with the last object that refers to it."""

    def __init__(self) -> None:
        file = tempfile.TemporaryFile(prefix="edgecomp-")  # noqa: SIM115, the finalizer closes it
        self.file: IO[bytes] = file
        weakref.finalize(self, file.close)


class _Samples:
    """Samples in a file, each a record of one array per input and, in evaluation, one of labels."""

    def __init__(self, spool: _Spool, record: np.dtype[Any], count: int, digest: str, batch: int | None) -> None:
        self._spool, self._record, self._batch = spool, record, batch
        #: The number of samples (of whole items when axis 0 does not count samples).
        self.samples = count
        #: SHA-256 over names, dtypes, shapes and values of all samples in order, however they were batched.
        self.digest = digest

    @property
    def batched(self) -> bool:
        """Whether axis 0 counts samples, so that batches may have any size."""
        return self._batch is not None

    def _read(self, start: int, count: int) -> npt.NDArray[Any]:
        """`count` records from `start` on, as a structured array."""
        size = self._record.itemsize
        self._spool.file.seek(start * size)
        return np.frombuffer(self._spool.file.read(count * size), self._record)

    def _columns(self, records: npt.NDArray[Any]) -> Arrays:
        """The model's inputs, in order, writable and contiguous."""
        names = [name for name in self._record.names or () if name.startswith("input")]
        columns = (records[name] for name in names)
        return tuple(np.array(column if self._batch else column[0]) for column in columns)


class CalibrationData(_Samples):
    """Samples without labels, in batches that fit the graph; iterate over it as often as you like.

    Attributes:
        samples: How many samples there are.
        digest: SHA-256 of the samples.
    """

    def __len__(self) -> int:
        """The number of batches."""
        return max(1, self.samples // (self._batch or 1))

    def __iter__(self) -> Iterator[Arrays]:
        size = self._batch or 1
        for index in range(len(self)):
            records = self._read(index * size, min(size, self.samples))
            if len(records) < size:
                records = np.resize(records, size)
            yield self._columns(records)


class EvaluationData(_Samples):
    """Samples with labels, in batches that fit the graph; iterate over it as often as you like.

    An item is `(inputs, labels)`. The last batch of inputs may be filled up with copies: only the first
    `len(labels)` outputs count.

    Attributes:
        samples: How many samples there are.
        digest: SHA-256 of the samples and labels.
    """

    def __len__(self) -> int:
        """The number of batches."""
        return -(-self.samples // (self._batch or 1))

    def __iter__(self) -> Iterator[tuple[Arrays, Array]]:
        size = self._batch or 1
        for start in range(0, self.samples, size):
            records = self._read(start, min(size, self.samples - start))
            labels = np.array(records["labels"] if self._batch else records["labels"][0])
            missing = size - len(records)
            if missing:
                records = np.concatenate([records, np.repeat(records[-1:], missing)])
            yield self._columns(records), labels

    def take(self, places: npt.NDArray[np.int64]) -> tuple[Arrays, Array]:
        """Chosen samples in one batch, or one chosen item when axis 0 does not count samples.

        Args:
            places: Which samples, counted from 0.

        Returns:
            The inputs, and as many labels.
        """
        self._spool.file.flush()
        stored = np.memmap(self._spool.file, self._record, "r", shape=(self.samples,))
        records = np.asarray(stored[places])
        return self._columns(records), np.array(records["labels"] if self._batch else records["labels"][0])


def collect_calibration(
    items: Iterable[Any], inputs: Sequence[InputSpec], *, subject: str, limit: int | None = None
) -> CalibrationData:
    """Draws calibration items, checks them and stores them.

    Args:
        items: Tuples or lists of arrays or tensors, one per input; a bare array for a model with one input.
        inputs: What the graph wants.
        subject: Where the data comes from, for error messages.
        limit: The number of samples to stop after.

    Raises:
        DataError: An item does not fit the model, or there is none, or every float input is zero throughout.
        OutputError: The temporary folder is full.
    """
    collector = _Collector(inputs, subject, limit)
    for index, item in enumerate(items):
        where = f"{subject}, item {index}"
        if not collector.add(_as_arrays(item, inputs, where), None, where):
            break
    return CalibrationData(*collector.finish())


def collect_evaluation(
    items: Iterable[Any], inputs: Sequence[InputSpec], *, subject: str, limit: int | None = None
) -> EvaluationData:
    """Draws `(inputs, labels)` items, checks them and stores them.

    Args:
        items: Pairs of what `collect_calibration` takes and an array of labels with one entry per sample.
        inputs: What the graph wants.
        subject: Where the data comes from, for error messages.
        limit: The number of samples to stop after.

    Raises:
        DataError: An item does not fit the model, or there is none.
        OutputError: The temporary folder is full.
    """
    collector = _Collector(inputs, subject, limit)
    for index, item in enumerate(items):
        where = f"{subject}, item {index}"
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(
                where,
                expected="a pair (inputs, labels)",
                actual=f"a {type(item).__name__}" + (f" of {len(item)}" if isinstance(item, tuple | list) else ""),
                cure="yield ((image,), label) for every batch",
            )
        if not collector.add(_as_arrays(item[0], inputs, where), _as_array(item[1], f"{where}: labels"), where):
            break
    return EvaluationData(*collector.finish())


class _Collector:
    """Checks items and writes them to the file."""

    def __init__(self, inputs: Sequence[InputSpec], subject: str, limit: int | None) -> None:
        self._inputs, self._subject, self._limit = inputs, subject, limit
        leading = {spec.shape[0] if spec.shape else None for spec in inputs}
        # None among the sizes is a scalar input: then axis 0 counts nothing.
        self._batch = leading.pop() if len(leading) == 1 else None
        self._count = 0
        self._nonzero = False
        self._record: np.dtype[Any] | None = None
        self._digest = hashlib.sha256()
        self._spool = _Spool()

    def add(self, arrays: Arrays, labels: Array | None, where: str) -> bool:
        """Stores one item; False when there is enough."""
        for spec, array in zip(self._inputs, arrays, strict=True):
            self._check(spec, array, where)
        sizes = {len(array) for array in arrays} if self._batch is not None else {1}
        if len(sizes) != 1:
            raise DataError(
                where,
                expected="the same number of samples (axis 0) in every input",
                actual=", ".join(f"{s.name} has {len(a)}" for s, a in zip(self._inputs, arrays, strict=True)),
                cure="repeat the input that all samples share once per sample",
            )
        size = sizes.pop()
        if self._limit is not None:
            size = min(size, self._limit - self._count)
        records = self._pack(arrays, labels, size, where)
        self._nonzero = self._nonzero or any(array.dtype.kind != "f" or array.any() for array in arrays)
        self._digest.update(records.tobytes())
        try:
            self._spool.file.write(records.tobytes())
        except OSError as error:
            raise OutputError(
                f"the temporary folder {tempfile.gettempdir()}",
                expected="room for the calibration or evaluation data",
                actual=str(error.strerror),
                cure="set TMPDIR to a folder on a larger disk, or give fewer samples",
            ) from error
        self._count += size
        return self._limit is None or self._count < self._limit

    def finish(self) -> tuple[_Spool, np.dtype[Any], int, str, int | None]:
        """The arguments of `_Samples`."""
        if self._record is None or self._count == 0:
            raise DataError(
                self._subject,
                expected="at least one item",
                actual="none",
                cure="check the generator: one that was read before gives nothing the second time",
            )
        if not self._nonzero:
            raise DataError(
                self._subject,
                expected="data like what the model will see",
                actual=f"nothing but zeros in all {self._count} samples",
                cure="check how the data is loaded and scaled",
            )
        return self._spool, self._record, self._count, self._digest.hexdigest(), self._batch

    def _pack(self, arrays: Arrays, labels: Array | None, size: int, where: str) -> npt.NDArray[Any]:
        """The item as records."""
        columns = {f"input{i}": array if self._batch is not None else array[None] for i, array in enumerate(arrays)}
        if labels is not None:
            columns["labels"] = labels if self._batch is not None else labels[None]
            if columns["labels"].ndim == 0 or len(columns["labels"]) < size:
                found = "a single number" if labels.ndim == 0 else f"{len(labels)} labels"
                raise DataError(
                    f"{where}: labels",
                    expected=f"one per sample, {size} in this item",
                    actual=found,
                    cure="yield labels with the samples along axis 0",
                )
        record = np.dtype([(name, column.dtype, column.shape[1:]) for name, column in columns.items()])
        if self._record is None:
            self._record = record
            self._digest.update(repr([(s.name, s.dtype, s.shape[1:]) for s in self._inputs]).encode())
        if record != self._record:
            raise DataError(
                f"{where}: labels",
                expected=f"{self._record['labels']}, as in the items before",
                actual=str(record["labels"]),
                cure="give all labels one dtype and shape",
            )
        records = np.empty(size, record)
        for name, column in columns.items():
            records[name] = column[:size]
        return records

    def _check(self, spec: InputSpec, array: Array, where: str) -> None:
        batched = self._batch is not None
        fits = array.ndim == len(spec.shape) and array.shape[batched:] == spec.shape[batched:]
        if not fits:
            raise DataError(
                f"{where}: input {spec.name!r}",
                expected=f"shape {_shape(('N', *spec.shape[1:]) if batched else spec.shape)}",
                actual=f"shape {_shape(array.shape)}",
                cure="give the data the shape that the example inputs have"
                + (", with any number of samples N" if batched else "")
                + "; where a dimension is dynamic, cut or pad the data, or choose another example size with --shape",
            )
        if array.dtype.name != spec.dtype:
            raise DataError(
                f"{where}: input {spec.name!r}",
                expected=spec.dtype,
                actual=array.dtype.name,
                cure="preprocess the data as in training"
                + (f"; .astype({spec.dtype!r}) if only the dtype is wrong" if array.dtype.kind == "f" else ""),
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(
                f"{where}: input {spec.name!r}",
                expected="finite numbers",
                actual=f"{int((~np.isfinite(array)).sum())} of {array.size} are NaN or infinite",
                cure="leave such samples out, or correct how they are computed",
            )


def _as_arrays(item: Any, inputs: Sequence[InputSpec], where: str) -> Arrays:
    # A bare array can only mean one thing when there is one input.
    values = item if isinstance(item, tuple | list) else (item,)
    arrays = tuple(_as_array(value, where) for value in values)
    if len(arrays) != len(inputs):
        raise DataError(
            where,
            expected=f"{len(inputs)} inputs: {', '.join(spec.name for spec in inputs)}",
            actual=f"{len(arrays)} arrays",
            cure="yield a tuple with one array per input, without labels; labels belong to evaluation_data()",
        )
    return arrays


def _as_array(value: Any, where: str) -> Array:
    # Torch tensors by what they can do, so that torch need not be loaded.
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):  # a ragged list, or a tensor of a dtype that numpy has not
        array = np.asarray(None)
    if array.dtype.kind not in "biufc":
        raise DataError(
            where,
            expected="a torch tensor or numpy array of numbers",
            actual=f"a {type(value).__name__}",
            cure="yield tuples of tensors or arrays",
        )
    return array


def _shape(shape: Sequence[int | str]) -> str:
    return "x".join(map(str, shape)) or "()"
