"""Flutter: a Dart package with assets, for the plugins `tflite_flutter` and `onnxruntime`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecomp.bundle.platform import Platform
from edgecomp.bundle.words import DART

if TYPE_CHECKING:
    from pathlib import Path

    from edgecomp.bundle.contents import Contents

#: Format -> the library that wraps its plugin, which cannot be compiled without it.
_LIBRARIES = {"tflite": "litert.dart", "onnxruntime": "onnxruntime.dart"}


def _finish(contents: Contents, root: Path) -> None:
    """Removes the library of a runtime without a model, as `pubspec.yaml` leaves out its plugin."""
    for form in _LIBRARIES.keys() - {model.format for model in contents.models}:
        (root / "lib" / _LIBRARIES[form]).unlink()


PLATFORM = Platform(
    title="Flutter",
    formats=("tflite", "onnxruntime"),
    assets="assets",
    keywords=DART,
    words=lambda contents, root: {"formats": [model.format for model in contents.models]},
    finish=_finish,
)
