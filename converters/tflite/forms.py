"""Decides which nodes are replaced by simpler operators before lowering."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from edgecomp.converters.tflite.ops import LOWERINGS
from edgecomp.graph.decompose import decomposable, decompose, in_float
from edgecomp.model import CompressedModel
from edgecomp.quantization.scheme import WEIGHTED
from edgecomp.quantization.tables import look_up_integers

#: Operators without a lowering, and Loop, which is better decomposed.
_OPERATORS = (decomposable() - LOWERINGS.keys()) | {"Loop"}


def _slides_over_a_volume(node: ir.Node) -> bool:
    return _rank(node.inputs[0]) == 5


def _is_a_rare_resize(node: ir.Node) -> bool:
    """Tells whether a Resize is more than a weighting of neighbours in the spatial dimensions of an image."""
    attributes = node.attributes
    return (
        bool(attributes.get_int("antialias", 0) or attributes.get_int("exclude_outside", 0))
        or attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch"
        or attributes.get_string("coordinate_transformation_mode", "half_pixel") in _RARE_COORDINATES
        or not _is_spatial(node.inputs[0], node.outputs[0])
    )


_RARE_COORDINATES = frozenset({"tf_crop_and_resize", "tf_half_pixel_for_nn"})


def _is_spatial(source: ir.Value | None, result: ir.Value) -> bool:
    if source is None or source.shape is None or result.shape is None:
        return True
    return len(source.shape) in {3, 4} and list(source.shape)[:2] == list(result.shape)[:2]


def _rank(value: ir.Value | None) -> int:
    return 0 if value is None or value.shape is None else len(value.shape)


#: Forms of operators that their lowerings do not support.
_FORMS: Mapping[str, Callable[[ir.Node], bool]] = {
    "AveragePool": _slides_over_a_volume,
    "Conv": _slides_over_a_volume,
    "MaxPool": _slides_over_a_volume,
    "Resize": _is_a_rare_resize,
}


def written_out(model: CompressedModel) -> CompressedModel:
    """Replaces nodes without a lowering by simpler ones, which are computed in float.

    A node with a weight is only computed in integers: in float its weight and bias would be different ones.
    """
    model = look_up_integers(model)
    model = in_float(model, lambda node: _is_rare(node) and node.op_type not in WEIGHTED)
    return decompose(model, lambda node: node.op_type in _OPERATORS or _is_rare(node))


def _is_rare(node: ir.Node) -> bool:
    return node.op_type in _FORMS and _FORMS[node.op_type](node)
