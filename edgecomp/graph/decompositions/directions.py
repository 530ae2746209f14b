"""Splits LSTM, GRU and RNN into nodes of one direction each.

The backward direction is the same node on the reversed sequence. Formats with their own recurrent operators support one
direction at most, and can keep such a node whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Pieces
from edgecomp.graph.query import constant

#: The activations that have each parameter.
PARAMETERS = {
    "activation_alpha": frozenset({"affine", "elu", "hardsigmoid", "leakyrelu", "scaledtanh", "thresholdedrelu"}),
    "activation_beta": frozenset({"affine", "hardsigmoid", "scaledtanh"}),
}
_BACKWARDS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def one_direction_each(pieces: Pieces, gates: int, states: int) -> list[ir.Value | None] | None:
    """Replaces a node by forward nodes that run over the whole sequence, one for each direction.

    Args:
        pieces: Collects the new nodes.
        gates: The number of activations of a direction.
        states: The number of state tensors: 2 for LSTM.

    Returns:
        Y, Y_h and, for LSTM, Y_c; None if the node already has this form.
    """
    direction, lengths = pieces.text("direction", "forward"), _lengths(pieces)
    if direction == "forward" and lengths is pieces.optional(4):
        return None
    ways = [
        _one(pieces, index, lengths, gates, states, backwards=backwards)
        for index, backwards in enumerate(_BACKWARDS[direction])
    ]
    axes = (2, 1, 1) if is_batch_first(pieces) else (1, 0, 0)
    return [
        pieces("Concat", *values, axis=axis) if len(values) > 1 else values[0]
        for values, axis in zip(zip(*ways, strict=True), axes, strict=False)
    ]


def _one(
    pieces: Pieces, index: int, lengths: ir.Value | None, gates: int, states: int, *, backwards: bool
) -> list[ir.Value]:
    """Returns the outputs of one direction."""
    batch_first, source = is_batch_first(pieces), pieces.input(0)
    inputs: list[ir.Value | None] = [_turned(pieces, source, lengths) if backwards else source]
    inputs += [_of_direction(pieces, place, index, 0) for place in (1, 2, 3)]
    inputs += [lengths]
    inputs += [_of_direction(pieces, 5 + place, index, int(batch_first)) for place in range(states)]
    inputs += [_of_direction(pieces, 7, index, 0)] if states > 1 else []
    attributes = _attributes(pieces, index, gates)
    sequence, *last = pieces.many(pieces.node.op_type, *inputs, outputs=1 + states, **attributes)
    if backwards:
        axis = np.array([2 if batch_first else 1], np.int64)
        sequence = pieces("Unsqueeze", _turned(pieces, pieces("Squeeze", sequence, axis), lengths), axis)
    return [sequence, *last]


def is_batch_first(pieces: Pieces) -> bool:
    """Tells whether the batch dimension comes before the steps."""
    return pieces.integer("layout", 0) == 1


def _lengths(pieces: Pieces) -> ir.Value | None:
    """Returns the length of each sequence; None if all are known to have full length."""
    lengths, array = pieces.optional(4), constant(pieces.optional(4))
    if array is None:
        return lengths
    steps = pieces.shape(0)[int(is_batch_first(pieces))]
    return None if (array >= steps).all() else lengths


def _turned(pieces: Pieces, sequence: ir.Value, lengths: ir.Value | None) -> ir.Value:
    """Reverses each sequence, (steps, batch, width) or (batch, steps, width)."""
    time = int(is_batch_first(pieces))
    if lengths is None:
        return pieces.slice(sequence, time, -1, np.iinfo(np.int64).min, -1)
    lengths = pieces.cast(lengths, ir.DataType.INT64)
    return pieces("ReverseSequence", sequence, lengths, time_axis=time, batch_axis=1 - time)


def _of_direction(pieces: Pieces, place: int, index: int, axis: int) -> ir.Value | None:
    """Returns one direction of an input, and keeps the direction axis."""
    value = pieces.optional(place)
    if value is None:
        return None
    part = pieces.moved(value, lambda array: array.take([index], axis))
    return part or pieces.slice(value, axis, index, index + 1)


def _attributes(pieces: Pieces, index: int, gates: int) -> dict[str, Any]:
    """Returns the attributes of one direction; alpha and beta are listed only for activations that have them."""
    attributes = {
        name: attribute.value
        for name, attribute in pieces.node.attributes.items()
        if name != "direction" and not name.startswith("activation")
    }
    names = pieces.node.attributes.get("activations")
    if names is not None:
        mine = slice(index * gates, (index + 1) * gates)
        attributes["activations"] = list(names.as_strings()[mine])
        for parameter, having in PARAMETERS.items():
            listed = list(pieces.node.attributes.get_floats(parameter, []) or [])
            before = sum(name.lower() in having for name in names.as_strings()[: mine.start])
            if part := listed[before : before + sum(name.lower() in having for name in attributes["activations"])]:
                attributes[parameter] = part
    return attributes
