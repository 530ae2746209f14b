"""Questions about nodes and values that passes, the quantizer and the converters all ask.

ONNX moved several attributes to inputs over the years (`axes`, Clip's bounds, Pad's pads); these functions hide where a
given opset keeps them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.errors import UnknownShapeError

#: The metadata key of the torch module that a node came from.
MODULE_KEY = "edgecomp.module"
#: The metadata keys of the name and the operator of the node that a node is a piece of (`graph.decompose`).
ORIGIN_KEY, ORIGIN_TYPE_KEY = "edgecomp.origin", "edgecomp.origin_type"
#: The metadata key of the reason why a node could not be decomposed.
WHOLE_KEY = "edgecomp.whole"
#: Of nodes whose result follows from dynamic sizes alone, and must stay computed (see `dynamic`).
SIZED_KEY = "edgecomp.sized"
#: Of nodes whose first input has axes of a size that stands for others (see `any_size`).
ANY_SIZE_KEY = "edgecomp.any_size"


def any_size(node: ir.Node) -> frozenset[int]:
    """The axes of a node's first input whose size stands for others.

    No padding may hang on the remainder of such a size, no loop on its divisors, and no constant on itself.
    """
    return frozenset(map(int, node.metadata_props.get(ANY_SIZE_KEY, "").split()))


def constant(value: ir.Value | None) -> Array | None:
    """The array of a constant value, or None when the value is absent or computed."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def required_constant(value: ir.Value | None) -> Array:
    """The array of a value that the caller knows to be constant."""
    array = constant(value)
    if array is None:
        raise ValueError(f"{value} is not a constant")
    return array


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """An optional input: None when it is left out, at the end of the list or in its middle."""
    return node.inputs[index] if index < len(node.inputs) else None


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """The static shape of a value.

    Raises:
        UnknownShapeError: The shape is unknown or has a symbolic dimension.
    """
    if value.shape is None or not all(isinstance(size, int) for size in value.shape):
        raise UnknownShapeError(
            f"tensor {value.name!r}",
            expected="a shape that follows from the shapes of the inputs",
            actual=f"{value.name} has no static shape",
            cure="make what its shape is computed from a constant, or cut the model in front of it",
        )
    return tuple(int(size) for size in value.shape.numpy())


def is_float(value: ir.Value | None) -> bool:
    """Whether a value is present and holds float32 numbers."""
    return value is not None and value.dtype == ir.DataType.FLOAT


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is an initializer or the output of a Constant node."""
    return value is not None and value.const_value is not None


def axes_of(node: ir.Node) -> tuple[int, ...] | None:
    """The axes of a reduction, Squeeze or Unsqueeze, as written; None when not given."""
    attribute = node.attributes.get("axes")
    if attribute is not None:
        return tuple(attribute.as_ints())
    given = constant(input_of(node, 1))
    return None if given is None else tuple(int(axis) for axis in given.reshape(-1))


def normalized_axes(node: ir.Node, rank: int) -> tuple[int, ...]:
    """The axes of a reduction counted from the front and sorted; all of them when not given."""
    axes = axes_of(node)
    if axes is None or not axes:
        return () if node.attributes.get_int("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(axis % rank for axis in axes))


def clip_bounds(node: ir.Node) -> tuple[float, float]:
    """The lower and upper bound of a Relu or Clip; infinite where there is none."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    bounds = []
    for index, (name, absent) in enumerate((("min", -np.inf), ("max", np.inf)), start=1):
        given = constant(input_of(node, index))
        attribute = node.attributes.get_float(name, absent)
        bounds.append(float(given.reshape(-1)[0]) if given is not None else float(attribute or absent))
    return bounds[0], bounds[1]


def pads_of(node: ir.Node) -> tuple[int, ...] | None:
    """The pads of a Pad node, begins then ends over all dimensions; None when they are computed."""
    rank = len(shape_of(node.inputs[0]))  # type: ignore[arg-type]
    attribute = node.attributes.get("pads")
    given = tuple(attribute.as_ints()) if attribute is not None else None
    if given is None:
        array = constant(input_of(node, 1))
        if array is None:
            return None
        given = tuple(int(size) for size in array)
    axes = constant(input_of(node, 3))
    if axes is None:
        return given
    begins, ends = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        begins[int(axis) % rank] = given[position]
        ends[int(axis) % rank] = given[position + len(axes)]
    return (*begins, *ends)


def pads_are_zero(node: ir.Node) -> bool:
    """Whether a convolution or pool pads nothing."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    return mode == "VALID" or (mode in {"NOTSET", ""} and not any(node.attributes.get_ints("pads", ()) or ()))


def only_consumer(value: ir.Value) -> ir.Node | None:
    """The node that alone reads `value`, or None when there are several readers or the graph gives it out."""
    if value.is_graph_output():
        return None
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 else None


def describe(node: ir.Node) -> str:
    """How messages call a node: its operator, its name, and the module that it came from."""
    name, op_type = origin(node)
    module = node.metadata_props.get(MODULE_KEY)
    piece = f"{node.op_type} of " if op_type != node.op_type else ""
    place = f" (from module {module})" if module else ""
    return f"{piece}{op_type} {name!r}{place}"


def before_identities(value: ir.Value) -> ir.Value:
    """What a value is another name of."""
    while (producer := value.producer()) is not None and producer.op_type == "Identity" and producer.inputs[0]:
        value = producer.inputs[0]
    return value


def turns_of(loop: ir.Node) -> int | None:
    """How many turns a Loop makes; None when that is computed, or when its condition may end it."""
    limit, first = constant(input_of(loop, 0)), constant(input_of(loop, 1))
    body = loop.attributes["body"].as_graph()
    last, told = before_identities(body.outputs[0]), constant(body.outputs[0])
    goes_on = last is body.inputs[1] or (told is not None and bool(told.all()))
    if limit is None or not goes_on or (first is None and input_of(loop, 1) is not None):
        return None
    return max(int(limit.reshape(-1)[0]), 0) if first is None or first.all() else 0


def origin(node: ir.Node) -> tuple[str, str]:
    """The name and the operator of the source's node that a node is, or is a piece of."""
    metadata = node.metadata_props
    return metadata.get(ORIGIN_KEY, node.name or ""), metadata.get(ORIGIN_TYPE_KEY, node.op_type)
