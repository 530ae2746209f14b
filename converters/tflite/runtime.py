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

#: Seconds that the trial run of a file that is not our own may take.
_PATIENCE = 120.0


def _read_about(path: Path) -> tuple[Interface, bool, int]:
    """A file's interface, whether it is one of ours, and how many signatures it has; the weights do not stay behind."""
    model = read(path)
    return interface_of(model, path), is_sealed(model, path), len(model.signatureDefs or ())


def _refused(path: Path, error: Exception) -> ConversionError:
    """The error for a file that edgecomp wrote, and that is whole."""
    return ConversionError(
        str(path),
        expected="a model that LiteRT runs",
        actual=" ".join(str(error).split()),
        cure="keep the layers around that node in float with --keep-float, or install the version of "
        "ai-edge-litert that edgecomp requires",
    )


class LiteRtPredictor:
    """An interpreter with XNNPACK, LiteRT's default."""

    def __init__(self, path: Path, threads: int) -> None:
        found, ours, signatures = _read_about(path)
        self.inputs, self.outputs = found.inputs, found.outputs
        if not ours:
            _try_elsewhere(path)
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise (_refused(path, error) if ours else unreadable(path, error)) from None
        self._shapes: list[tuple[int, ...]] = []
        self._look()
        # A runner keeps the interpreter from being used by itself.
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
        """The signature that has the inputs' shapes."""
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
    """Loads and runs a file on zeros; the child's side of opening a file that is not our own."""
    interpreter = Interpreter(model_path=path, num_threads=1)
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise unreadable(Path(path), error) from None
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
    # Here it may crash, which is what the child is for. An error of LiteRT's is about the zeros as likely as about
    # the file (a mean over a mask of zeros, say): `run` will tell with the user's numbers.
    with contextlib.suppress(ValueError, RuntimeError):
        interpreter.invoke()
