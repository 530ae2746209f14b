"""Runs any artifact through one API: `edgecomp.load(path).predict(x)`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecomp.arrays import Array
from edgecomp.converter import Converter, Predictor, converter_for
from edgecomp.errors import ConversionError, DataError, SourceError
from edgecomp.interface import Interface, TensorInterface, format_shape, unfit_size
from edgecomp.system.columns import read_column, write_columns
from edgecomp.system.isolation import run_isolated

#: Seconds that a run of a size that was never verified may take.
_PATIENCE = 120.0

Inputs = npt.ArrayLike | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike]


class Artifact:
    """An artifact that is ready to run, taking and giving what the original model takes and gives.

    Attributes:
        inputs: How the artifact stores its inputs.
        outputs: How the artifact stores its outputs.
    """

    def __init__(self, predictor: Predictor, name: str) -> None:
        self._predictor = predictor
        self._name = name
        self._tried: set[tuple[tuple[int, ...], ...]] = set()
        self.inputs: tuple[TensorInterface, ...] = predictor.inputs
        self.outputs: tuple[TensorInterface, ...] = predictor.outputs

    def predict(self, inputs: Inputs) -> dict[str, Array]:
        """Runs the artifact once.

        Args:
            inputs: An array, a sequence of arrays in the model's order, or arrays by input name; dtype and layout are
                those of the source model, whatever the artifact stores.

        Returns:
            Output name -> array in the source's dtype and layout.

        Raises:
            DataError: The inputs do not fit the model.
        """
        arrays = self._arrays(inputs)
        if not self._predictor.proven or any(array.size == 0 for array in arrays):
            self._try_elsewhere(arrays)
        return self.run(arrays)

    def run(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Runs the artifact once in this process, whatever may come of it.

        Args:
            arrays: What fits the inputs, in their order.
        """
        stored = [to_stored(array, spec) for array, spec in zip(arrays, self.inputs, strict=True)]
        results = self._predictor.run(stored)
        return {spec.name: from_stored(array, spec) for array, spec in zip(results, self.outputs, strict=True)}

    def _try_elsewhere(self, arrays: Sequence[Array]) -> None:
        """Runs what was never verified in a process of its own, once for each size: a runtime may abort on it.

        Raises:
            DataError: It does, or answers with an error.
        """
        shapes = tuple(array.shape for array in arrays)
        if shapes in self._tried:
            return
        names = [spec.name for spec in self.inputs]
        with tempfile.TemporaryDirectory(prefix="edgecomp-") as folder:
            files = [str(Path(folder, f"{index}.npy")) for index in range(len(arrays))]
            write_columns(files, [arrays])
            try:
                run_isolated(
                    "edgecomp.artifact:predict_samples",
                    subject=f"running {self._name}",
                    timeout=_PATIENCE,
                    path=str(Path(self._name).resolve()),
                    inputs=dict(zip(names, files, strict=True)),
                    outputs={},
                    threads=1,
                )
            except ConversionError as error:
                raise unfit_size(shapes, error.actual) from None
        self._tried.add(shapes)

    def _arrays(self, inputs: Inputs) -> list[Array]:
        names = [spec.name for spec in self.inputs]
        if isinstance(inputs, Mapping):
            if set(inputs) != set(names):
                raise self._error(f"the inputs {', '.join(names)}", f"the inputs {', '.join(map(str, inputs))}")
            given: list[npt.ArrayLike] = [inputs[name] for name in names]
        elif isinstance(inputs, list | tuple):
            given = list(inputs)
        else:
            given = [inputs]  # type: ignore[list-item]
        if len(given) != len(names):
            raise self._error(f"{len(names)} inputs ({', '.join(names)})", f"{len(given)}")
        return [self._checked(np.asarray(array), spec) for array, spec in zip(given, self.inputs, strict=True)]

    def _checked(self, array: Array, spec: TensorInterface) -> Array:
        if not spec.takes(array.shape):
            raise self._error(
                f"{spec.name} of shape {format_shape(spec.source_shape, spec.multiples, spec.smallest)}",
                f"shape {format_shape(array.shape)}",
            )
        if not np.can_cast(array.dtype, spec.source_dtype, "same_kind"):
            raise self._error(f"{spec.name} of type {spec.source_dtype}", f"type {array.dtype}")
        return array.astype(spec.source_dtype, copy=False)

    def _error(self, expected: str, actual: str) -> DataError:
        return DataError(
            f"the inputs of {self._name}",
            expected=expected,
            actual=actual,
            cure="give what the original model takes: its dtypes, and its layout (NCHW for a torch model)",
        )


def to_stored(array: Array, spec: TensorInterface) -> Array:
    """An array of the source's dtype and layout as the artifact stores it."""
    if spec.permutation is not None:
        array = np.transpose(array, spec.permutation)
    if spec.scale is not None and spec.zero_point is not None:
        limits = np.iinfo(spec.dtype)
        integers = np.rint(array.astype(np.float32) / np.float32(spec.scale)) + spec.zero_point
        stored: Array = np.clip(integers, limits.min, limits.max).astype(spec.dtype)
        return stored
    return np.asarray(array, dtype=spec.dtype, order="C")  # ascontiguousarray would make a scalar a vector


def from_stored(array: Array, spec: TensorInterface) -> Array:
    """The other way round."""
    if spec.scale is not None and spec.zero_point is not None:
        array = (array.astype(np.float32) - np.float32(spec.zero_point)) * np.float32(spec.scale)
    if spec.permutation is not None:
        array = np.transpose(array, np.argsort(spec.permutation))
    return np.asarray(array, dtype=spec.source_dtype, order="C")


def load(path: str | Path, *, threads: int = 1) -> Artifact:
    """Loads a `.tflite`, `.onnx`, `.ort` or `.mnn` artifact for running in its real runtime.

    Args:
        path: The artifact; no manifest is needed beside it.
        threads: Threads that the runtime may use.

    Raises:
        SourceError: There is no such file, or it is not a readable artifact.
    """
    path = Path(path)
    return Artifact(find_converter(path).open(path, threads), str(path))


def find_converter(path: Path) -> Converter:
    """The converter that reads an artifact.

    Raises:
        SourceError: There is no such file, or no converter knows its suffix.
    """
    if not path.is_file():
        raise SourceError(
            str(path),
            expected="an artifact: a .tflite, .onnx, .ort or .mnn file",
            actual="a folder" if path.is_dir() else "no such file",
            cure="check the path" if not path.is_dir() else "give the path of the file itself",
        )
    return converter_for(path)


def predict_samples(path: str, inputs: dict[str, str], outputs: dict[str, str], threads: int) -> str:
    """Runs an artifact on stored samples; `run_isolated` calls this, since a runtime might abort.

    Args:
        path: The artifact.
        inputs: Input name -> its file, as `columns` writes it.
        outputs: Output name -> the file to write, in the same form.
        threads: Threads that the runtime may use.

    Returns:
        How the artifact stores its inputs and outputs, as `Interface.to_json` writes it, and as "skipped" the numbers
        of the samples that were left out, since a dimension that has another size there is fixed in the artifact.
    """
    artifact = load(path, threads=threads)
    skipped: list[int] = []

    def results() -> Iterator[list[Array]]:
        for index, arrays in enumerate(zip(*map(read_column, inputs.values()), strict=True)):
            sample = dict(zip(inputs, arrays, strict=True))
            if all(spec.takes(sample[spec.name].shape) for spec in artifact.inputs):
                found = artifact.run([sample[spec.name].astype(spec.source_dtype) for spec in artifact.inputs])
                yield [found[name] for name in outputs]
            else:
                skipped.append(index)

    write_columns(list(outputs.values()), results())
    return Interface(artifact.inputs, artifact.outputs).to_json(skipped=skipped)
