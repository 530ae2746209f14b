"""TFLite / LiteRT: a direct writer from graph and quantization table, without TensorFlow.

Writing:

    file.py        writes a file: static, dynamic, or with several signatures
    static_graph.py  lowers a graph with static shapes to operators
    lowering.py    the state of one conversion: which tensor holds which value, in which layout and form
    operation.py   one node while it is being lowered
    ops/           one small function per ONNX operator
    forms.py       nodes that are first replaced by simpler operators
    layout.py      memory layouts of tensors; outlook.py: the later cost of a layout
    overlay.py     dynamic dimensions, from the graphs of several sizes
    builder.py     writes tensors and operators as a flatbuffer; versions.py, seal.py, metadata.py
    kernels.py, precisions.py  the types that LiteRT's kernels support, and how it executes each precision

Reading:

    runtime.py     runs a `.tflite` file
    inspection.py  what is inside one
"""

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
        """Returns the nodes that have no lowering."""
        from edgecomp.converters.tflite.static_graph import check
        from edgecomp.graph.binding import bind

        return check(bind(model))

    def convert(self, model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
        """Writes a `.tflite` file."""
        from edgecomp.converters.tflite.file import convert

        return convert(model, path, options)

    def open(self, path: Path, threads: int = 1) -> LiteRtPredictor:
        """Loads a model for running with XNNPACK."""
        from edgecomp.converters.tflite.runtime import LiteRtPredictor

        return LiteRtPredictor(path, threads)

    def inspect(self, path: Path) -> Inspection:
        """Reads the graph of a `.tflite` file."""
        from edgecomp.converters.tflite.inspection import inspect

        return inspect(path)


CONVERTER = TfliteConverter()
