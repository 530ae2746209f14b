"""Loads a Keras model or a TensorFlow SavedModel. TensorFlow stays in a process of its own (see `keras_export`)."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from edgecomp.errors import ConversionError, MissingToolchainError, SourceError
from edgecomp.frontends.onnx_file import load_onnx
from edgecomp.frontends.source import Source
from edgecomp.model import Step
from edgecomp.shapes import Shape, Shapes
from edgecomp.system.isolation import run_isolated

#: What the extra `tensorflow` installs.
_NEEDED = {"tensorflow": "tensorflow-cpu", "tf2onnx": "tf2onnx"}
#: Seconds that TensorFlow may take to load, trace and translate a model.
_PATIENCE = 900.0


def load_keras(path: Path, *, shapes: Shapes | None = None) -> Source:
    """Loads a model with static shapes. A dynamic first dimension is 1 unless `shapes` says otherwise.

    Args:
        path: A `.keras` or `.h5` file or the folder of a SavedModel; it exists.
        shapes: Input name -> shape, for dynamic inputs; numbers, since the translation is made for one size.

    Raises:
        MissingToolchainError: TensorFlow or tf2onnx is not installed.
        SourceError: The file is damaged, holds code (a Lambda layer), or cannot be translated.
    """
    subject = str(path)
    for module, package in _NEEDED.items():
        if importlib.util.find_spec(module) is None:
            raise MissingToolchainError(
                subject,
                expected="TensorFlow, to read Keras models",
                actual=f"{package} is not installed",
                cure="pip install 'edgecomp[tensorflow]'",
            )
    sizes = {name: _fixed(name, shape, subject) for name, shape in (shapes or {}).items()}
    with tempfile.TemporaryDirectory(prefix="edgecomp-keras-") as folder:
        target = Path(folder) / f"{path.stem}.onnx"
        try:
            difference = run_isolated(
                "edgecomp.frontends.keras_export:write_onnx",
                subject=subject,
                timeout=_PATIENCE,
                source=str(path.absolute()),
                target=str(target),
                shapes=sizes,
            )
        except ConversionError as error:
            raise SourceError(
                subject,
                expected="a model that TensorFlow can load and tf2onnx can translate",
                actual=error.actual,
                cure="check that the file is complete, and that it loads with keras.saving.load_model",
            ) from None
        source = load_onnx(target)
    facts = {**source.step.facts, "exporter": f"tf2onnx {version('tf2onnx')}", "difference": difference}
    facts.pop("file_sha256", None)  # of a file that is gone
    return replace(source, step=Step("import", source.step.settings, facts))


def _fixed(name: str, shape: Shape | Sequence[Shape], subject: str) -> list[int]:
    sizes = [size for size in shape if isinstance(size, int)]
    if len(sizes) != len(shape):
        raise SourceError(
            subject,
            expected="one fixed size for each input of a Keras model",
            actual=f"{name} with dynamic dimensions, or with several shapes",
            cure=f"give numbers: --shape {name}=1x...",
        )
    return sizes
