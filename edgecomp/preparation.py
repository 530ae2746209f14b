"""Turns a source into the graph that the quantizer and the converters take."""

from __future__ import annotations

from edgecomp.frontends.source import Source
from edgecomp.graph.absorb import absorb_quantization
from edgecomp.graph.dynamic import simplify_dynamic
from edgecomp.graph.saturation import keep_saturation
from edgecomp.graph.saving import split_message
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel


def prepare(source: Source) -> CompressedModel:
    """The graph simplified, a source's integers in the quantization table."""
    raw = CompressedModel(source.graph, provenance=(*source.history, source.step), dynamic=source.dynamic)
    absorbed = keep_saturation(absorb_quantization(raw))
    return simplify(absorbed) if raw.dynamic is None else simplify_dynamic(absorbed, source.inputs)


def float_size(model: CompressedModel) -> int:
    """Bytes of the float graph as an ONNX file, to compare sizes with."""
    message, weights = split_message(model.graph)
    return len(message) + sum(array.nbytes for array in weights.values())
