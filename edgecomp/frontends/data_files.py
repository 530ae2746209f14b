"""Calibration data from files: what `--calibration` takes.

1. An `.npz` file with one array per input, by name, read piece by piece: either inputs one after another along axis 0
   (100 images of 1x3x224x224 are an array of 100x3x224x224, 100 states of 2x1x128 one of 200x1x128), or stacked along
   an axis of their own (100x2x1x128).
2. A folder of such `.npz` files, or of `.npy` files for a model with one input: each a batch, or one sample without
   the batch axis. They are read in the order of their names.
3. A folder of pictures, with the preprocessing that turns one into an input.
4. `file.py:function` or `package.module:function`: a function that yields what `calibration_data()` of a task would.

Nothing is ever unpickled: arrays of Python objects are refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgecomp.arrays import Array
from edgecomp.data import InputSpec
from edgecomp.data.inputs import batch_size
from edgecomp.errors import DataError
from edgecomp.frontends.pictures import SUFFIXES, Preprocessing, find_pictures, read_pictures
from edgecomp.frontends.task import call, import_task

#: The array of an archive that holds the labels.
LABELS = "labels"


def open_data(
    place: str | Path,
    inputs: Sequence[InputSpec],
    *,
    preprocessing: Preprocessing | None = None,
    labelled: bool = False,
) -> Iterable[Any]:
    """Items for `edgecomp.data.collect_calibration`, or `collect_evaluation` when a function yields pairs.

    Args:
        place: One of the four forms above.
        inputs: What the graph wants.
        preprocessing: How a picture becomes an input.
        labelled: Whether archives have labels too, so that items are pairs of inputs and labels.

    Raises:
        DataError: The place does not exist, is of no known form, or holds something else.
        SourceError: The function cannot be imported or raises.
        MissingToolchainError: Pillow is needed and not installed.
    """
    path = Path(place)
    if path.is_dir():
        return _open_folder(path, inputs, preprocessing, labelled)
    if path.is_file() and path.suffix == ".npz":
        return _read_npz(path, inputs, labelled)
    module, colon, function = str(place).rpartition(":")
    if colon and function.isidentifier():
        items: Iterable[Any] = call(import_task(module, str(place)), function, str(place))
        return items
    raise DataError(
        str(place),
        expected="an .npz file, a folder of .npy, .npz or pictures, or file.py:function",
        actual=f"a file with the suffix {path.suffix!r}" if path.exists() else "no such file or folder",
        cure="check the path, or save the samples with numpy.savez(path, input_name=array)",
    )


def _open_folder(
    folder: Path, inputs: Sequence[InputSpec], preprocessing: Preprocessing | None, labelled: bool
) -> Iterable[Any]:
    if arrays := find_arrays(folder):
        return (item for path in arrays for item in _read_file(path, inputs, labelled))
    if not find_pictures(folder):
        raise DataError(
            str(folder),
            expected=f"files that end in .npy, .npz, {', '.join(sorted(SUFFIXES))}",
            actual="none",
            cure="check the path",
        )
    return read_pictures(folder, require_preprocessing(folder, preprocessing))


def find_arrays(folder: Path) -> list[Path]:
    """The files of arrays in a folder, in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".npy", ".npz"))


def require_preprocessing(folder: Path, preprocessing: Preprocessing | None) -> Preprocessing:
    """The preprocessing of a folder of pictures.

    Raises:
        DataError: Nobody said it.
    """
    if preprocessing is not None:
        return preprocessing
    raise DataError(
        str(folder),
        expected="--preprocess with a folder of pictures",
        actual="none, and the source has no preprocessing()",
        cure="give --preprocess resize=256,crop=224,mean=0.485:0.456:0.406,std=0.229:0.224:0.225, as in training",
    )


def _read_file(path: Path, inputs: Sequence[InputSpec], labelled: bool) -> Iterator[Any]:
    if path.suffix == ".npz":
        yield from _read_npz(path, inputs, labelled)
        return
    if len(inputs) != 1 or labelled:
        names = [*(spec.name for spec in inputs), *([LABELS] if labelled else [])]
        raise DataError(
            str(path),
            expected=f".npz files with the arrays {', '.join(names)}",
            actual="an .npy file, which holds one array",
            cure="save the samples with numpy.savez(path, name=array, ...)",
        )
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    yield (array[None] if array.ndim == len(inputs[0].shape) - 1 else array,)


def _read_npz(path: Path, inputs: Sequence[InputSpec], labelled: bool) -> Iterator[Any]:
    """The samples of an archive, in pieces of the graph's batch size, with their labels if they have some."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            wanted = {spec.name for spec in inputs} | ({LABELS} if labelled else set())
            if names != wanted:
                raise DataError(
                    str(path),
                    expected=f"the arrays {', '.join(sorted(wanted))}",
                    actual=", ".join(sorted(names)) or "none",
                    cure="save it with numpy.savez(path, name=array, ...), one array per input of the model"
                    + (f" and {LABELS}" if labelled else ""),
                )
            columns = [_Column(archive.open(f"{spec.name}.npy"), spec) for spec in inputs]
            lengths = {len(column) for column in columns}
            if len(lengths) != 1:
                raise DataError(
                    str(path),
                    expected="every input the same number of times",
                    actual=", ".join(f"{s.name} {len(c)} times" for s, c in zip(inputs, columns, strict=True)),
                    cure="save the inputs of every sample, stacked along axis 0: " + ", ".join(map(_stack, inputs)),
                )
            pieces = lengths.pop()
            labels = _label_pieces(path, archive, inputs, columns[0], pieces) if labelled else None
            for _ in range(pieces):
                item = tuple(column.read() for column in columns)
                yield item if labels is None else (item, next(labels))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def _label_pieces(
    path: Path, archive: zipfile.ZipFile, inputs: Sequence[InputSpec], column: _Column, pieces: int
) -> Iterator[Array]:
    """The labels of each piece."""
    with archive.open(f"{LABELS}.npy") as stream:
        labels = np.lib.format.read_array(stream, allow_pickle=False)
    step = batch_size(inputs) or 1
    samples = column.rows if step == column.step else pieces * step
    if labels.ndim == 0 or len(labels) != samples:
        raise DataError(
            f"{path}: {LABELS}",
            expected=f"one label for each of the {samples} samples",
            actual=f"an array of shape {labels.shape}",
            cure=f"save {LABELS} with the samples along axis 0",
        )
    return (labels[start : start + step] for start in range(0, len(labels), step))


class _Column:
    """One array of an archive, read piece by piece so that memory does not grow with its length.

    Attributes:
        rows: How many there are along its axis in front.
        step: How many of them make a piece.
    """

    def __init__(self, stream: IO[bytes], spec: InputSpec) -> None:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        if dtype.hasobject:
            raise ValueError("an array of Python objects, which would have to be unpickled")
        if not shape:
            raise ValueError(f"the array {spec.name!r} is a single number, without an axis for samples")
        self._stream, self._shape, self._dtype = stream, shape[1:], dtype
        self.rows = self._left = int(shape[0])
        self._stacked = len(shape) == len(spec.shape) + 1
        self.step = 1 if self._stacked or not spec.shape else max(1, spec.shape[0])
        self._whole: Array | None = None
        if fortran:  # its samples are not one after another in the file
            data = np.frombuffer(stream.read(), dtype)
            self._whole = data.reshape(shape, order="F")

    def __len__(self) -> int:
        """The number of pieces; the last one may be short of samples."""
        return -(-self.rows // self.step)

    def read(self) -> Array:
        """The next piece: one value of the input."""
        rows = self._read_rows()
        return rows[0] if self._stacked else rows

    def _read_rows(self) -> Array:
        start, count = self.rows - self._left, min(self.step, self._left)
        self._left -= count
        if self._whole is not None:
            return self._whole[start : start + count]
        size = count * int(np.prod(self._shape)) * self._dtype.itemsize
        data = self._stream.read(size)
        if len(data) != size:
            raise EOFError("the file ends in the middle of an array")
        return np.frombuffer(data, self._dtype).reshape(count, *self._shape)


def _stack(spec: InputSpec) -> str:
    """The shape of samples of an input, stacked."""
    return f"{spec.name} as {'x'.join(map(str, ('N', *spec.shape)))}"


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        str(path),
        expected="arrays of numbers as numpy.save or numpy.savez writes them",
        actual=f"{type(error).__name__}: {error}",
        cure="save it again with numpy.savez(path, name=array, ...); arrays of Python objects are never read",
    )
