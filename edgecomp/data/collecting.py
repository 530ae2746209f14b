"""Draws calibration and evaluation items, checks them, and stores them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edgecomp.arrays import Array, Arrays
from edgecomp.data.inputs import InputSpec, batch_size
from edgecomp.data.samples import CalibrationData, EvaluationData
from edgecomp.data.spool import Records, Spool
from edgecomp.errors import DataError


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
