"""The MNN converter: `.mnn` files, written by MNN's own converter with edgecomp's scales.

MNN itself is imported by the functions that need it, most of them in a process of their own.

Writing:

    convert.py       a model -> a `.mnn` file: lowers it, runs MNN's converter, and tries what it wrote
    lowering.py      rewrites the graph into what MNN computes correctly, with the rules in products.py, depthwise.py,
                     pooling.py, padding.py, indexing.py, types.py and repairs.py; rewriting.py is what they share
    operators.py     what MNN's importer reads, and what it reads but computes wrongly
    parameters.py    scales as MNN's compression parameters
    integer_kernels.py, precisions.py  which ops compute in integers, and what MNN makes of each precision
    overlay.py       dynamic dimensions, from several sizes

MNN itself, in processes of its own:

    toolchain.py     its converter; attempt.py is one run of it
    trial.py         what it wrote, beside ONNX Runtime; blame.py finds the node that fails
    runtime.py       runs a `.mnn` file

Reading:

    inspection.py    what is inside a `.mnn` file
    net.py, flatbuffer.py  the file's tables, with every offset checked
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgecomp.converters.mnn.precisions import PRECISIONS

# A process that only runs MNN's converter imports this package too, and must not wait for ONNX.
if TYPE_CHECKING:
    from edgecomp.converter import Conversion, ConversionOptions, Predictor, Unsupported
    from edgecomp.inspection import Inspection
    from edgecomp.model import CompressedModel


class MnnConverter:
    """`.mnn` files."""

    name = "mnn"
    suffixes: tuple[str, ...] = (".mnn",)
    precisions = PRECISIONS

    @property
    def runtime(self) -> str:
        """The runtime and its version."""
        try:
            return f"MNN {importlib.metadata.version('MNN')}"
        except importlib.metadata.PackageNotFoundError:
            return "MNN"

    def check(self, model: CompressedModel, options: ConversionOptions) -> list[Unsupported]:
        """The nodes that MNN cannot express."""
        from edgecomp.converters.mnn.convert import check

        return check(model, options)

    def convert(self, model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
        """Writes a `.mnn` file, through MNN's own converter."""
        from edgecomp.converters.mnn.convert import convert

        return convert(model, path, options)

    def open(self, path: Path, threads: int = 1) -> Predictor:
        """Loads a model for running on the CPU."""
        from edgecomp.converters.mnn.runtime import MnnPredictor

        return MnnPredictor(path, threads)

    def inspect(self, path: Path) -> Inspection:
        """Reads the graph of a `.mnn` file."""
        from edgecomp.converters.mnn.inspection import inspect

        return inspect(path)


CONVERTER = MnnConverter()
