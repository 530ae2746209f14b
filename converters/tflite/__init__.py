"""TFLite / LiteRT: a direct writer from graph and quantization table, without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgecomp.converter import Conversion, ConversionOptions, Unsupported
from edgecomp.converters.tflite.precisions import PRECISIONS
from edgecomp.inspection import Inspection

if TYPE_CHECKING:
    from edgecomp.converters.tflite.runtime import LiteRtPredictor
    from edgecomp.model import CompressedModel


class TfliteConverter:
    """`.tflite` files."""

    name = "tflite"
    suffixes: tuple[str, ...] = (".tflite",)
    precisions = PRECISIONS

    @property
    def runtime(self) -> str:
        """The runtime and its version."""
        from importlib.metadata import version

        return f"LiteRT {version('ai-edge-litert')}"

    def check(self, model: CompressedModel, options: ConversionOptions) -> list[Unsupported]:
        """The nodes that have no lowering."""
        from edgecomp.converters.tflite.convert import check
        from edgecomp.graph.dynamic import bind

        return check(bind(model))

    def convert(self, model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
        """Writes a `.tflite` file."""
        from edgecomp.converters.tflite.file import write

        content, islands, notes = write(model, options)
        path.write_bytes(content)
        return Conversion(path, islands, notes)

    def open(self, path: Path, threads: int = 1) -> LiteRtPredictor:
        """Loads a model for running with XNNPACK."""
        from edgecomp.converters.tflite.runtime import LiteRtPredictor

        return LiteRtPredictor(path, threads)

    def inspect(self, path: Path) -> Inspection:
        """Reads the graph of a `.tflite` file."""
        from edgecomp.converters.tflite.inspection import inspect

        return inspect(path)


CONVERTER = TfliteConverter()
