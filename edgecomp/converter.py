"""The contract of converters, and how they are found.

A converter is a module or package in `converters/` with an object `CONVERTER`. Its name is the format's name, and it
is imported only when that format is asked for. Everything that is particular to a format lies behind this contract:
writing an artifact, running it, and reading what is inside.
"""

from __future__ import annotations

import importlib
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from edgecomp.arrays import Array
from edgecomp.errors import InputError, SourceError, correction
from edgecomp.inspection import Inspection
from edgecomp.interface import TensorInterface
from edgecomp.precision import Precision, Support

if TYPE_CHECKING:
    from edgecomp.model import CompressedModel
    from edgecomp.processing import Processing


@dataclass(frozen=True)
class ConversionOptions:
    """Options of a conversion, for any format.

    Attributes:
        io_dtype: "float32" keeps the source's dtypes at the border and quantizes inside; "int8" takes and gives the
            integers of the quantized inputs and outputs.
        io_layout: The layout of image-like inputs and outputs in formats with a choice (TFLite): "nhwc", "nchw" (as in
            the source), or None for the format's own convention.
        activations: How a format that lets one choose (ONNX Runtime) stores int8 activations: signed, or the same
            values as uint8, which x86 kernels prefer.
        processing: The steps around the model, which every format describes in its standard way; None to say nothing.
    """

    io_dtype: Literal["float32", "int8"] = "float32"
    io_layout: Literal["nhwc", "nchw"] | None = None
    activations: Literal["int8", "uint8"] = "int8"
    processing: Processing | None = None


@dataclass(frozen=True)
class FloatIsland:
    """A node that a quantized artifact computes in float, and why."""

    node: str
    op_type: str
    reason: str


@dataclass(frozen=True)
class Unsupported:
    """A node that a format cannot express, and what to do instead."""

    node: str
    op_type: str
    reason: str
    cure: str


@dataclass(frozen=True)
class Conversion:
    """What a converter wrote.

    Attributes:
        path: The artifact.
        islands: The nodes of a quantized model that it computes in float.
        notes: Choices that were made for the user, as whole sentences.
    """

    path: Path
    islands: tuple[FloatIsland, ...] = ()
    notes: tuple[str, ...] = ()


class Predictor(Protocol):
    """A loaded artifact, ready to run in its real runtime."""

    @property
    def inputs(self) -> tuple[TensorInterface, ...]:
        """What `run` takes."""
        ...

    @property
    def outputs(self) -> tuple[TensorInterface, ...]:
        """What `run` gives."""
        ...

    @property
    def proven(self) -> bool:
        """Whether it runs without a crash on inputs of every size that it takes.

        Either edgecomp wrote it, and it is whole, or its runtime answers with an error to what does not fit.
        """
        ...

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the artifact on arrays exactly as it stores them: its own dtypes and layouts, in its own order."""
        ...


class Converter(Protocol):
    """Everything that edgecomp knows about one format."""

    name: str
    suffixes: tuple[str, ...]
    #: How a verdict may name the runtime: "LiteRT 2.3.0".
    runtime: str
    #: What the runtime makes of each precision.
    precisions: Mapping[Precision, Support]

    def check(self, model: CompressedModel, options: ConversionOptions) -> list[Unsupported]:
        """The nodes that the format cannot express; empty when `convert` will succeed."""
        ...

    def convert(self, model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
        """Writes `model` to `path`.

        Raises:
            UnsupportedOperatorError: A node cannot be expressed.
            ConversionError: The toolchain failed.
        """
        ...

    def open(self, path: Path, threads: int = 1) -> Predictor:
        """Loads an artifact for running.

        Raises:
            SourceError: The file is not a readable artifact of this format.
        """
        ...

    def inspect(self, path: Path) -> Inspection:
        """Reads what is inside an artifact.

        Raises:
            SourceError: The file is not a readable artifact of this format.
        """
        ...


def available_formats() -> tuple[str, ...]:
    """The names of all converters on disk, sorted."""
    try:
        folder = importlib.resources.files("edgecomp.converters")
    except ModuleNotFoundError:
        raise InputError(
            "the converters",
            expected="a package `edgecomp.converters`, mapped from the folder converters/",
            actual="edgecomp is on the path but is not installed",
            cure="run `pip install -e .` in the root of the repository",
        ) from None
    names = {entry.name.removesuffix(".py") for entry in folder.iterdir()}
    return tuple(sorted(name for name in names if not name.startswith(("_", "."))))


def load_converter(name: str) -> Converter:
    """The converter for a format.

    Raises:
        SourceError: There is no such format.
    """
    if name not in available_formats():
        raise SourceError(
            f"format {name!r}",
            expected=f"one of {', '.join(available_formats())}",
            actual="no converter of that name",
            cure=correction(name, available_formats(), "choose from the list, or add a converter to converters/"),
        )
    converter: Converter = importlib.import_module(f"edgecomp.converters.{name}").CONVERTER
    return converter


def converter_for(path: Path) -> Converter:
    """The converter whose suffix `path` ends in.

    Raises:
        SourceError: No converter knows the suffix.
    """
    known: list[str] = []
    for name in available_formats():
        converter = load_converter(name)
        if path.suffix in converter.suffixes:
            return converter
        known.extend(converter.suffixes)
    raise SourceError(
        str(path),
        expected=f"an artifact with one of the suffixes {', '.join(sorted(known))}",
        actual=f"suffix {path.suffix!r}",
        cure="give the path of an artifact that edgecomp wrote",
    )


__all__ = [
    "Array",
    "Conversion",
    "ConversionOptions",
    "Converter",
    "FloatIsland",
    "Inspection",
    "Predictor",
    "TensorInterface",
    "Unsupported",
    "available_formats",
    "converter_for",
    "load_converter",
]
