"""Runs a `.tflite` file in LiteRT."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgecomp.arrays import Array
from edgecomp.converters.tflite.inspection import interface_of, is_sealed, read, unreadable
from edgecomp.errors import ConversionError, DataError
from edgecomp.interface import Interface, unfit_size
from edgecomp.system.isolation import run_isolated

#: The time limit in seconds for the trial run of a file that edgecomp did not write.
_PATIENCE = 120.0


def _read_about(path: Path) -> tuple[Interface, bool, int]:
    """Reads a file's interface, whether edgecomp wrote it, and the number of its signatures; keeps no weights."""
    model = read(path)
    return interface_of(model, path), is_sealed(model, path), len(model.signatureDefs or ())


def _refused(path: Path, error: Exception) -> ConversionError:
    """Returns the error for an intact file of edgecomp that LiteRT refuses."""
    return ConversionError(
        str(path),
        expected="a model that LiteRT runs",
        actual=" ".join(str(error).split()),
        cure="fix dynamic dimensions with --shape, keep the layers around that node in float with --keep-float if it "
        "computes in integers, or install the version of ai-edge-litert that edgecomp requires",
    )


class LiteRtPredictor:
    """An interpreter with XNNPACK, which is LiteRT's default."""

    def __init__(self, path: Path, threads: int) -> None:
        found, ours, signatures = _read_about(path)
        self.inputs, self.outputs, self.proven = found.inputs, found.outputs, ours
        if not ours:
            _try_elsewhere(path)
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise (_refused(path, error) if ours else unreadable(path, error)) from None
        self._shapes: list[tuple[int, ...]] = []
        self._look()
        # A signature runner would keep the interpreter from being used directly.
        keys = self._interpreter.get_signature_list() if signatures > 1 else ()
        self._signatures = [self._interpreter.get_signature_runner(key) for key in keys]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Invokes the interpreter once, on inputs of any size that the file allows.

        Raises:
            DataError: The file has other sizes, or LiteRT cannot compute with these inputs.
        """
        if self._signatures:
            return self._run_signature(inputs)
        if [array.shape for array in inputs] != self._shapes:
            self._resize(inputs)
        for details, array in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(details["index"], np.asarray(array, order="C"))
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise DataError(
                "the inputs",
                expected="numbers that the model can compute with: indices within the bounds, say",
                actual=" ".join(str(error).split()),
                cure="give inputs like those that the model was made for",
            ) from None
        return [self._interpreter.get_tensor(details["index"]) for details in self._outputs]

    def _look(self) -> None:
        self._inputs: list[Any] = self._interpreter.get_input_details()
        self._outputs: list[Any] = self._interpreter.get_output_details()
        self._shapes = [tuple(details["shape"].tolist()) for details in self._inputs]

    def _resize(self, inputs: Sequence[Array]) -> None:
        for details, array, shape in zip(self._inputs, inputs, self._shapes, strict=True):
            if array.shape != shape:
                self._interpreter.resize_tensor_input(details["index"], array.shape)
        try:
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise unfit_size((array.shape for array in inputs), str(error)) from None
        self._look()

    def _run_signature(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the signature that has the inputs' shapes."""
        feeds = {spec.name: np.asarray(array, order="C") for spec, array in zip(self.inputs, inputs, strict=True)}
        known = []
        for runner in self._signatures:
            details = runner.get_input_details()
            known.append({name: tuple(each["shape"].tolist()) for name, each in details.items()})
            if all(known[-1][name] == array.shape for name, array in feeds.items()):
                results = runner(**feeds)
                return [results[spec.name] for spec in self.outputs]
        raise unfit_size(
            (array.shape for array in inputs),
            f"signatures for {'; '.join(str(list(shapes.values())) for shapes in known)}",
        )


def _try_elsewhere(path: Path) -> None:
    try:
        run_isolated("edgecomp.converters.tflite.runtime:try_out", subject=str(path), timeout=_PATIENCE, path=str(path))
    except ConversionError as error:
        raise unreadable(path, RuntimeError(error.actual)) from None


def try_out(path: str) -> None:
    """Loads and runs a file on zeros, in the child process that opens a file from another tool."""
    interpreter = Interpreter(model_path=path, num_threads=1)
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise unreadable(Path(path), error) from None
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
    # It may crash here, which is what the child process is for. An error of LiteRT may be due to the zeros instead of
    # the file (such as a mean over an all-zero mask): `run` will report it for the user's values.
    with contextlib.suppress(ValueError, RuntimeError):
        interpreter.invoke()
