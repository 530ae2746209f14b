"""Any artifact through one function: `edgecomp.load(path).predict(x)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecomp.converter import Array, Converter, Predictor, converter_for
from edgecomp.errors import DataError, SourceError
from edgecomp.interface import Interface, TensorInterface
from edgecomp.recording import open_column

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
        stored = [to_stored(array, spec) for array, spec in zip(self._arrays(inputs), self.inputs, strict=True)]
        results = self._predictor.run(stored)
        return {spec.name: from_stored(array, spec) for array, spec in zip(results, self.outputs, strict=True)}

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
        wanted = spec.source_shape
        fits = array.ndim == len(wanted) and all(
            size is None or size == given for size, given in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            raise self._error(f"{spec.name} of shape {_format(wanted)}", f"shape {_format(array.shape)}")
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


def _format(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


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
        inputs: Input name -> its `.npy` file, samples along a new axis in front.
        outputs: Output name -> the `.npy` file to write, in the same form.
        threads: Threads that the runtime may use.

    Returns:
        How the artifact stores its inputs and outputs, as `Interface.to_json` writes it.
    """
    artifact = load(path, threads=threads)
    columns = {name: np.load(file, mmap_mode="r", allow_pickle=False) for name, file in inputs.items()}
    length = len(next(iter(columns.values())))
    written: dict[str, Any] = {}
    for index in range(length):
        results = artifact.predict({name: column[index] for name, column in columns.items()})
        for name, file in outputs.items():
            if name not in written:
                written[name] = open_column(file, length, results[name])
            written[name][index] = results[name]
    for column in written.values():
        column.flush()
    return Interface(artifact.inputs, artifact.outputs).to_json()
