"""ONNX Runtime: the graph as it is, with QuantizeLinear / DequantizeLinear pairs where it is quantized.

convert.py     writes `.onnx`: QDQ pairs, weights.py (integer weights), half.py (fp16)
unsharing.py   gives each operator of a quantized graph a weight of its own
metadata.py    processing and labels as `metadata_props`
precisions.py  how the runtime executes each precision
runtime.py     runs an `.onnx` or `.ort` file
inspection.py  reads the content of an `.onnx` file
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgecomp.converter import Conversion, ConversionOptions, Unsupported
from edgecomp.converters.onnxruntime.precisions import PRECISIONS
from edgecomp.converters.onnxruntime.runtime import OnnxRuntimePredictor
from edgecomp.inspection import Inspection

# A process that only runs an artifact imports this package too, and must not wait for the import of onnx.
if TYPE_CHECKING:
    from edgecomp.model import CompressedModel


class OnnxRuntimeConverter:
    """`.onnx` files for ONNX Runtime."""

    name = "onnxruntime"
    suffixes: tuple[str, ...] = (".onnx",)
    precisions = PRECISIONS

    @property
    def runtime(self) -> str:
        """The runtime and its version."""
        import onnxruntime

        return f"ONNX Runtime {onnxruntime.__version__}"

    def check(self, model: CompressedModel, options: ConversionOptions) -> list[Unsupported]:
        """Returns operators of unknown domains; ONNX Runtime executes all of standard ONNX."""
        from edgecomp.converters.onnxruntime.convert import check

        return check(model)

    def convert(self, model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
        """Writes an `.onnx` file, with QDQ pairs for the static precisions."""
        from edgecomp.converters.onnxruntime.convert import convert

        return convert(model, path, options)

    def open(self, path: Path, threads: int = 1) -> OnnxRuntimePredictor:
        """Loads a model for running on the CPU."""
        return OnnxRuntimePredictor(path, threads)

    def inspect(self, path: Path) -> Inspection:
        """Reads the graph as ONNX Runtime executes it."""
        from edgecomp.converters.onnxruntime.inspection import inspect

        return inspect(path)


CONVERTER = OnnxRuntimeConverter()
