"""Compress trained PyTorch and ONNX models, and get them onto phones and ARM boards.

    result = edgecomp.compress("task.py", "raspberry-pi-4b", "dist/mine")      # TFLite, ONNX Runtime and MNN, verified
    outputs = edgecomp.load("dist/mine/model.tflite").predict(image)           # any artifact, like the original model

`compress` is the main job, `load` runs an artifact, `load_target` and `load_recipe` read what decides a job, and
`load_converter` gives access to a single format. Everything that edgecomp raises on purpose is an `EdgecompError`.

Names are imported when they are first used, so that `import edgecomp` loads neither torch nor a runtime.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from edgecomp.lean_import import defer_sympy

defer_sympy()

# From 1.29 on, ONNX Runtime sends usage data to Microsoft unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from edgecomp.artifact import Artifact, load
    from edgecomp.converter import available_formats, load_converter
    from edgecomp.errors import EdgecompError
    from edgecomp.model import CompressedModel
    from edgecomp.pipeline import Result, compress
    from edgecomp.quantization.parameters import QuantizationParameters
    from edgecomp.quantization.static import StaticQuantization
    from edgecomp.recipe import Recipe, load_recipe
    from edgecomp.target import TargetProfile, list_targets, load_target

__all__ = [
    "Artifact",
    "CompressedModel",
    "EdgecompError",
    "QuantizationParameters",
    "Recipe",
    "Result",
    "StaticQuantization",
    "TargetProfile",
    "available_formats",
    "compress",
    "list_targets",
    "load",
    "load_converter",
    "load_recipe",
    "load_target",
]

_HOMES = {
    "artifact": ("Artifact", "load"),
    "pipeline": ("Result", "compress"),
    "converter": ("available_formats", "load_converter"),
    "errors": ("EdgecompError",),
    "model": ("CompressedModel",),
    "quantization.parameters": ("QuantizationParameters",),
    "quantization.static": ("StaticQuantization",),
    "recipe": ("Recipe", "load_recipe"),
    "target": ("TargetProfile", "list_targets", "load_target"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'edgecomp' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"edgecomp.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
