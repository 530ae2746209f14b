"""A bundle's C, compiled with every warning as an error and loaded into Python."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FLAGS = ["-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-std=c99", "-D_POSIX_C_SOURCE=200112L"]
RUN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_void_p))


class Picture(ctypes.Structure):
    _fields_ = (
        ("pixels", ctypes.c_char_p),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("channels", ctypes.c_int32),
    )


class Ranked(ctypes.Structure):
    _fields_ = (("index", ctypes.c_int), ("label", ctypes.c_char_p), ("score", ctypes.c_float))


def build(folder: Path, output: Path) -> Any:
    sources = sorted(folder.glob("*.c"))
    subprocess.run(["gcc", *FLAGS, "-shared", "-fPIC", *sources, "-lm", "-o", output], check=True)
    return ctypes.CDLL(str(output))


def interpreter(model: Path) -> Callable[..., int]:
    """What the C code calls to run the model."""
    from ai_edge_litert.interpreter import Interpreter

    runtime = Interpreter(model_path=str(model))
    runtime.allocate_tensors()
    (taken,), (given,) = runtime.get_input_details(), runtime.get_output_details()

    def run(context: Any, inputs: Any, outputs: Any) -> int:
        size = int(np.prod(taken["shape"])) * np.dtype(taken["dtype"]).itemsize
        stored = np.frombuffer(ctypes.string_at(inputs[0], size), taken["dtype"])
        runtime.set_tensor(taken["index"], stored.reshape(taken["shape"]))
        runtime.invoke()
        result = runtime.get_tensor(given["index"])
        ctypes.memmove(outputs[0], result.tobytes(), result.nbytes)
        return 0

    return run
