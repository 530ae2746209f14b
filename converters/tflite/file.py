"""Writes a `.tflite` file from a model: static, dynamic, or with a signature for each of several sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgecomp.converter import Conversion, ConversionOptions, FloatIsland
from edgecomp.converters.tflite.builder import SIGNATURE, Builder, write_file
from edgecomp.converters.tflite.metadata import ENTRY, append_files, associated_files, describe
from edgecomp.converters.tflite.overlay import overlay
from edgecomp.converters.tflite.seal import SEAL_KEY, blank, seal
from edgecomp.converters.tflite.static_graph import Lowered, lower_graph
from edgecomp.errors import UnsupportedOperatorError
from edgecomp.graph.binding import bind, bind_prepared
from edgecomp.graph.border import restricted
from edgecomp.graph.freedom import NotGeneralError, choose
from edgecomp.interface import METADATA_KEY, Interface, TensorInterface
from edgecomp.model import CompressedModel
from edgecomp.processing import Processing
from edgecomp.quantization.scheme import stays_in_float
from edgecomp.shapes import InputShapes

#: Tells XNNPACK that it may compute in float16 if the processor can.
HALF_IS_ENOUGH = {"reduced_precision_support": b"fp16accfp16"}


def convert(model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
    """Writes a model to `path`.

    Raises:
        UnsupportedOperatorError: A node has no lowering.
    """
    content, islands, notes = _lowered(model, options)
    path.write_bytes(content)
    return Conversion(path, islands, notes)


def _lowered(
    model: CompressedModel, options: ConversionOptions
) -> tuple[bytearray, tuple[FloatIsland, ...], tuple[str, ...]]:
    """Returns the file's bytes, the nodes of a quantized model that are computed in float, and notes for the user."""
    shapes, notes = model.dynamic, tuple[str, ...]()
    if shapes is not None and shapes.signatures:
        return _signatures(model, shapes, options)
    if shapes is None:
        lowered = lower_graph(model, options)
    else:
        choice = choose(lambda each: _lower_dynamic(model, each, options), shapes, restrictable=shapes.odd)
        lowered = choice.result or lower_graph(bind(model), options)
        lowered = replace(lowered, interface=restricted(lowered.interface, choice.shapes))
        notes = choice.notes("The .tflite file", ", give --shape once for each size that it is to have", shapes.example)
    return _file(model, options, {SIGNATURE: lowered}, lowered.interface), lowered.islands, notes


def _file(
    model: CompressedModel, options: ConversionOptions, signatures: Mapping[str, Lowered], interface: Interface
) -> bytearray:
    metadata = {METADATA_KEY: interface.to_json().encode(), SEAL_KEY: blank()}
    processing = options.processing or Processing()
    if not processing.is_empty:
        metadata[ENTRY] = describe(model.graph.graph.name or "model", interface, processing)
    if model.precision == "fp16" and not any(map(stays_in_float, model.graph.graph)):
        metadata |= HALF_IS_ENOUGH
    others = next(iter(signatures.values())).builder.subgraphs
    content = write_file({key: each.subgraph() for key, each in signatures.items()}, others, metadata)
    content = append_files(content, associated_files(processing))
    seal(content)
    return content


def _lower_dynamic(model: CompressedModel, shapes: InputShapes, options: ConversionOptions) -> Lowered:
    """Lowers one graph that works for every size of the dynamic dimensions in `shapes`.

    Raises:
        NotGeneralError: There is no such graph.
    """
    model = replace(model, dynamic=shapes)
    try:
        variants = [lower_graph(each, options) for each in bind_prepared(model)]
    except UnsupportedOperatorError as error:
        raise NotGeneralError(f"{error.subject}: {error.actual}") from None
    return overlay(variants, model)


def _signatures(
    model: CompressedModel, shapes: InputShapes, options: ConversionOptions
) -> tuple[bytearray, tuple[FloatIsland, ...], tuple[str, ...]]:
    """Lowers a static graph for each size, with common weights."""
    parent = Builder()
    lowered = [lower_graph(bind(model, sizes), options, parent) for sizes in shapes.signatures]
    names = [SIGNATURE, *("x".join(map(str, sizes.values())) for sizes in shapes.signatures[1:])]
    islands = {(island.node, island.op_type): island for each in lowered for island in each.islands}
    file = _file(model, options, dict(zip(names, lowered, strict=True)), _common(lowered))
    return file, tuple(islands.values()), ()


def _common(lowered: list[Lowered]) -> Interface:
    """Merges the interfaces of several sizes; sizes that differ become None."""

    def side(name: str) -> tuple[TensorInterface, ...]:
        columns = zip(*(getattr(each.interface, name) for each in lowered), strict=True)
        return tuple(
            replace(
                column[0],
                shape=tuple(
                    sizes[0] if len(set(sizes)) == 1 else None
                    for sizes in zip(*(each.shape for each in column), strict=True)
                ),
            )
            for column in columns
        )

    return replace(lowered[0].interface, inputs=side("inputs"), outputs=side("outputs"))
