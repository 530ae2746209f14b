"""Turns a source into the graph that the quantizer and the converters take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgecomp.frontends.source import Source
from edgecomp.graph.absorb import absorb_quantization
from edgecomp.graph.dynamic import simplify_dynamic
from edgecomp.graph.extent import with_extent
from edgecomp.graph.saturation import keep_saturation
from edgecomp.graph.saving import split_message
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.shapes import InputShapes


def prepare(source: Source) -> CompressedModel:
    """Simplifies the source's graph, and moves a source's own integers into the quantization table."""
    raw = CompressedModel(source.graph, provenance=(*source.history, source.step), dynamic=source.dynamic)
    absorbed = keep_saturation(absorb_quantization(raw))
    if raw.dynamic is None:
        return simplify(absorbed)
    model = simplify_dynamic(absorbed, source.inputs)
    return model if model.dynamic is None else replace(model, dynamic=_extent(source, model.dynamic))


def _extent(source: Source, shapes: InputShapes) -> InputShapes:
    """The shapes with the sizes that the original answers at."""

    def answers(sizes: dict[str, int]) -> bool:
        wanted = shapes.at(sizes)
        names = [spec.name for spec in source.input_specs]
        return source.answers(
            tuple(np.resize(array, wanted[name]) for name, array in zip(names, source.inputs, strict=True))
        )

    return with_extent(shapes, answers)


def float_size(model: CompressedModel) -> int:
    """Returns the bytes of the float graph as an ONNX file, for comparison."""
    message, weights = split_message(model.graph)
    return len(message) + sum(array.nbytes for array in weights.values())
