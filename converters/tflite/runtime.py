"""Runs a `.tflite` file in LiteRT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgecomp.converter import Array
from edgecomp.converters.tflite.inspection import interface_of, is_sealed, read, unreadable
from edgecomp.errors import ConversionError
from edgecomp.isolation import run_isolated

#: Seconds that the trial run of a file that is not our own may take.
_PATIENCE = 120.0


class LiteRtPredictor:
    """An interpreter with XNNPACK, LiteRT's default."""

    def __init__(self, path: Path, threads: int) -> None:
        model = read(path)
        found = interface_of(model, path)
        self.inputs, self.outputs = found.inputs, found.outputs
        if not is_sealed(model, path):
            _try_elsewhere(path)
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise unreadable(path, error) from None
        self._inputs: list[Any] = self._interpreter.get_input_details()
        self._outputs: list[Any] = self._interpreter.get_output_details()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Invokes the interpreter once."""
        for details, array in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(details["index"], np.asarray(array, order="C"))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(details["index"]) for details in self._outputs]


def _try_elsewhere(path: Path) -> None:
    try:
        run_isolated("edgecomp.converters.tflite.runtime:try_out", subject=str(path), timeout=_PATIENCE, path=str(path))
    except ConversionError as error:
        raise unreadable(path, RuntimeError(error.actual)) from None


def try_out(path: str) -> None:
    """Loads and runs a file on whatever lies in memory; the child's side of opening a file that is not our own."""
    interpreter = Interpreter(model_path=path, num_threads=1)
    try:
        interpreter.allocate_tensors()
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise unreadable(Path(path), error) from None
