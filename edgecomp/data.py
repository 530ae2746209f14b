"""Calibration and evaluation data: checked once, stored once, read as often as needed.

Data comes from generators that can be read only once, from loaders that shuffle, and from decoders that are slow. So
it is drawn exactly once, item by item, into a file without a name in the temporary folder (`TMPDIR` chooses it), and
every pass reads that file: memory does not grow with the data, every pass sees the same, and the hash in the
provenance is the hash of what was used.

Where a model has dynamic dimensions, every item may have sizes of its own there; dimensions of one name have one size
in all inputs of an item. Samples of one size are batched with each other (see `spool` for the order).

Items may have any batch size. Axis 0 counts samples when all of the model's inputs have the same size there, and then
samples are regrouped into batches of exactly the model's size:

1. In calibration every sample counts once. Samples left at the end that do not fill a batch are dropped, because
   repeating some would give them more weight in every histogram; only when there is not even one full batch of a size
   are the samples of that size repeated in turn.
2. In evaluation every sample is used: the last batch of each size is filled up with copies of its last sample, and its
   labels, which are fewer, say how many outputs count.

When the inputs disagree on axis 0, or it is a length like those of other axes, it cannot count samples: then each item
is one sample, and has exactly the model's shapes but for dynamic dimensions.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecomp.arrays import Array, Arrays
from edgecomp.errors import DataError
from edgecomp.system.spool import Records, Spool

__all__ = [
    "CalibrationData",
    "EvaluationData",
    "InputSpec",
    "collect_calibration",
    "collect_evaluation",
]


@dataclass(frozen=True)
class InputSpec:
    """What a graph wants for one input.

    Attributes:
        name: The input's name.
        dtype: numpy dtype name.
        shape: Batch included, dynamic dimensions at their example sizes.
        dynamic: The name of each dimension that is dynamic, None for those that are fixed; empty when all are.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    dynamic: tuple[str | None, ...] = ()

    @property
    def names(self) -> tuple[str | None, ...]:
        """The name of each dimension, None for those that are fixed."""
        return self.dynamic or (None,) * len(self.shape)

    @property
    def dimensions(self) -> tuple[int | str, ...]:
        """The size or the name of each dimension."""
        return tuple(size if name is None else name for size, name in zip(self.shape, self.names, strict=True))


def batch_size(inputs: Sequence[InputSpec]) -> int | None:
    """How many samples the model takes at once; None when axis 0 counts none."""
    # A scalar input has no axis 0, and then no axis counts samples.
    leading = {spec.dimensions[0] if spec.shape else None for spec in inputs}
    if len(leading) != 1 or None in leading or leading & {size for spec in inputs for size in spec.dynamic[1:]}:
        return None
    return inputs[0].shape[0]


class _Samples:
    """Samples in a file, each a record of one array per input and, in evaluation, one of labels."""

    def __init__(self, spool: Spool, inputs: Sequence[InputSpec], digest: str, batch: int | None) -> None:
        self._spool, self._inputs, self._batch = spool, inputs, batch
        self._pass = spool.batches([self._batches_of(len(group)) for group in spool.groups])
        #: The number of samples (of whole items when axis 0 does not count samples).
        self.samples = spool.samples
        #: SHA-256 over names, dtypes, shapes and values of all samples in order, however they were batched.
        self.digest = digest

    def __len__(self) -> int:
        """The number of batches."""
        return len(self._pass)

    @property
    def batched(self) -> bool:
        """Whether axis 0 counts samples, so that batches may have any size."""
        return self._batch is not None

    @property
    def sizes(self) -> list[dict[str, int]]:
        """The sizes of the dynamic dimensions that occur, each together with the others that it occurs with."""
        # A record has one sample, without the batch in front; an item that is one sample is there as it is.
        names = [spec.names[1:] if self.batched else spec.names for spec in self._inputs]
        front = [(name, self._batch or 1) for spec in self._inputs for name in spec.names[:1] if self.batched]
        found = []
        for group in self._spool.groups:
            pairs = zip(chain(*names), chain(*group.sizes[: len(names)]), strict=False)
            found.append({name: size for name, size in (*front, *pairs) if name is not None})
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """What a manifest says of them: "sizes" has the smallest and the largest of each dynamic dimension."""
        found = self.sizes
        ends = {name: [function(sizes[name] for sizes in found) for function in (min, max)] for name in found[0]}
        return {"samples": self.samples, "sha256": self.digest, **({"sizes": ends} if ends else {})}

    def _batches_of(self, samples: int) -> int:
        """How many batches samples of one size make."""
        raise NotImplementedError

    def _columns(self, records: Records) -> Arrays:
        """The model's inputs, in order, writable and contiguous."""
        names = [name for name in records.dtype.names or () if name != "labels"]
        columns = (records[name] for name in names)
        return tuple(np.array(column if self._batch else column[0]) for column in columns)


class CalibrationData(_Samples):
    """Samples without labels, in batches that fit the graph; iterate over it as often as you like.

    Attributes:
        samples: How many samples there are.
        digest: SHA-256 of the samples.
    """

    def __iter__(self) -> Iterator[Arrays]:
        size = self._batch or 1
        for index, number in self._pass:
            records = self._spool.read(self._spool.groups[index], slice(number * size, (number + 1) * size))
            if len(records) < size:
                records = np.resize(records, size)
            yield self._columns(records)

    def _batches_of(self, samples: int) -> int:
        return max(1, samples // (self._batch or 1))


class EvaluationData(_Samples):
    """Samples with labels, in batches that fit the graph; iterate over it as often as you like.

    An item is `(inputs, labels)`. The last batch of a size may be filled up with copies: only the first `len(labels)`
    outputs count.

    Attributes:
        samples: How many samples there are.
        digest: SHA-256 of the samples and labels.
    """

    def __iter__(self) -> Iterator[tuple[Arrays, Array]]:
        size = self._batch or 1
        for index, number in self._pass:
            records = self._spool.read(self._spool.groups[index], slice(number * size, (number + 1) * size))
            labels = np.array(records["labels"] if self._batch else records["labels"][0])
            missing = size - len(records)
            if missing:
                records = np.concatenate([records, np.repeat(records[-1:], missing)])
            yield self._columns(records), labels

    @property
    def places(self) -> list[Sequence[int]]:
        """For each batch the numbers of its samples, counted as they were given."""
        size = self._batch or 1
        groups = self._spool.groups
        return [groups[index].places[number * size : (number + 1) * size] for index, number in self._pass]

    @cached_property
    def groups(self) -> npt.NDArray[np.int64]:
        """For each sample, counted as they were given, the number of those that it can share a batch with."""
        found = np.zeros(self.samples, np.int64)
        for number, group in enumerate(self._spool.groups):
            found[np.asarray(group.places)] = number
        return found

    def take(self, places: npt.NDArray[np.int64]) -> tuple[Arrays, Array]:
        """Chosen samples in one batch, or one chosen item when axis 0 does not count samples.

        Args:
            places: Which samples, counted from 0 as they were given; all of one of `groups`.

        Returns:
            The inputs, and as many labels.
        """
        group = next(group for group in self._spool.groups if _position(group.places, int(places[0])) is not None)
        chosen = [_position(group.places, int(place)) for place in places]
        assert None not in chosen, "samples of several sizes are no batch"
        records = self._spool.read(group, [index for index in chosen if index is not None])
        return self._columns(records), np.array(records["labels"] if self._batch else records["labels"][0])

    def _batches_of(self, samples: int) -> int:
        return -(-samples // (self._batch or 1))


def _position(places: Sequence[int], place: int) -> int | None:
    """Where a number lies in an ascending list."""
    index = bisect_left(places, place)
    return index if index < len(places) and places[index] == place else None


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
        self._batch = batch_size(inputs)
        self._nonzero = False
        self._record: np.dtype[Any] | None = None
        self._labels: tuple[np.dtype[Any], int] | None = None
        self._digest = hashlib.sha256()
        self._spool = Spool()

    def add(self, arrays: Arrays, labels: Array | None, where: str) -> bool:
        """Stores one item; False when there is enough."""
        for spec, array in zip(self._inputs, arrays, strict=True):
            self._check(spec, array, where)
        self._check_sizes(arrays, where)
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
            size = min(size, self._limit - self._spool.samples)
        records = self._pack(arrays, labels, size, where)
        self._nonzero = self._nonzero or any(array.dtype.kind != "f" or array.any() for array in arrays)
        self._digest.update(records.tobytes())
        self._spool.append(records)
        return self._limit is None or self._spool.samples < self._limit

    def finish(self) -> tuple[Spool, Sequence[InputSpec], str, int | None]:
        """The arguments of `_Samples`."""
        if self._spool.samples == 0:
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
                actual=f"nothing but zeros in all {self._spool.samples} samples",
                cure="check how the data is loaded and scaled",
            )
        self._spool.sort()
        return self._spool, self._inputs, self._digest.hexdigest(), self._batch

    def _pack(self, arrays: Arrays, labels: Array | None, size: int, where: str) -> Records:
        """The item as records."""
        columns = {f"input{i}": array if self._batch is not None else array[None] for i, array in enumerate(arrays)}
        if labels is not None:
            columns["labels"] = labels if self._batch is not None else labels[None]
            self._check_labels(columns["labels"], labels, size, where)
        record = np.dtype([(name, column.dtype, column.shape[1:]) for name, column in columns.items()])
        if record != self._record:
            rows = zip(self._inputs, arrays, strict=True)
            self._digest.update(repr([(spec.name, spec.dtype, array.shape[1:]) for spec, array in rows]).encode())
            self._record = record
        records = np.empty(size, record)
        for name, column in columns.items():
            records[name] = column[:size]
        return records

    def _check_labels(self, column: Array, labels: Array, size: int, where: str) -> None:
        """Labels go with samples, and are all of one kind; a text's may be more than another's."""
        if column.ndim == 0 or len(column) < size:
            found = "a single number" if labels.ndim == 0 else f"{len(labels)} labels"
            raise DataError(
                f"{where}: labels",
                expected=f"one per sample, {size} in this item",
                actual=found,
                cure="yield labels with the samples along axis 0",
            )
        self._labels = self._labels or (column.dtype, column.ndim)
        if (column.dtype, column.ndim) != self._labels:
            dtype, rank = self._labels
            raise DataError(
                f"{where}: labels",
                expected=f"{dtype} of {rank} dimensions, as in the items before",
                actual=f"{column.dtype} of {column.ndim} dimensions",
                cure="give all labels one dtype and number of dimensions",
            )

    def _check_sizes(self, arrays: Arrays, where: str) -> None:
        """Dimensions of one name have one size."""
        found: dict[str, tuple[str, int]] = {}
        for spec, array in zip(self._inputs, arrays, strict=True):
            first = 1 if self._batch is not None else 0
            for name, size in tuple(zip(spec.dynamic, array.shape, strict=False))[first:]:
                other, known = found.setdefault(name or "", (spec.name, size))
                if name is not None and size != known:
                    raise DataError(
                        where,
                        expected=f"one size of the dimension {name!r} in all inputs",
                        actual=f"{known} in {other}, {size} in {spec.name}",
                        cure="give the inputs of an item together, cut or padded to one size",
                    )

    def _check(self, spec: InputSpec, array: Array, where: str) -> None:
        batched = self._batch is not None
        wanted = (("N", *spec.dimensions[1:]) if batched else spec.dimensions) if spec.shape else ()
        fits = array.ndim == len(wanted) and all(
            size == given or (isinstance(size, str) and (given > 0 or size == "N"))
            for size, given in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            raise DataError(
                f"{where}: input {spec.name!r}",
                expected=f"shape {_shape(wanted)}",
                actual=f"shape {_shape(array.shape)}",
                cure="give the data the shape that the example inputs have"
                + (", with any number of samples N" if batched else "")
                + "; dynamic dimensions, which have names here, may have any size, others become dynamic with --shape",
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
