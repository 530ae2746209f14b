"""Runs a `.tflite` file in LiteRT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgecomp.converter import Array
from edgecomp.converters.tflite.inspection import read_interface
from edgecomp.errors import SourceError


class LiteRtPredictor:
    """An interpreter with XNNPACK, LiteRT's default."""

    def __init__(self, path: Path, threads: int) -> None:
        # Read and check by our own reader first: the native one aborts on some damaged files.
        found = read_interface(path)
        self.inputs, self.outputs = found.inputs, found.outputs
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise SourceError(
                str(path),
                expected="a model that LiteRT can load",
                actual=str(error).splitlines()[0],
                cure="check that the file is complete; write it again if it is not",
            ) from None
        self._inputs: list[Any] = self._interpreter.get_input_details()
        self._outputs: list[Any] = self._interpreter.get_output_details()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Invokes the interpreter once."""
        for details, array in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(details["index"], np.asarray(array, order="C"))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(details["index"]) for details in self._outputs]
