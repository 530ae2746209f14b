"""Lowers graph and quantization table to the operators of a `.tflite` file, for a graph with static shapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from edgecomp.converter import ConversionOptions, FloatIsland, Unsupported
from edgecomp.converters.tflite.builder import TENSOR_TYPES, Border, Builder, Subgraph, Tensor
from edgecomp.converters.tflite.forms import written_out
from edgecomp.converters.tflite.layout import Layout, channels_last, identity, moves_memory, stored_shape
from edgecomp.converters.tflite.lowering import Form, Lowering, Unsuited, type_of
from edgecomp.converters.tflite.operation import Operation
from edgecomp.converters.tflite.ops import LOWERINGS
from edgecomp.errors import EdgecompError, UnsupportedOperatorError
from edgecomp.graph.modules import modules_beyond_names
from edgecomp.graph.query import WHOLE_KEY, describe, is_constant, is_float, origin, shape_of
from edgecomp.interface import Interface, TensorInterface
from edgecomp.model import CompressedModel
from edgecomp.quantization.float_share import reason_in_float


@dataclass(frozen=True)
class Lowered:
    """A graph in TFLite's operators.

    Attributes:
        builder: The builder that contains them.
        inputs: The inputs' tensors, by name.
        outputs: The outputs' tensors, by name.
        interface: How these represent the graph's inputs and outputs.
        islands: The nodes of a quantized model that are computed in float.
    """

    builder: Builder
    inputs: tuple[Border, ...]
    outputs: tuple[Border, ...]
    interface: Interface
    islands: tuple[FloatIsland, ...]

    def subgraph(self) -> Subgraph:
        """Returns the subgraph to write."""
        return self.builder.finished("main", self.inputs, self.outputs)


def lower_graph(model: CompressedModel, options: ConversionOptions, parent: Builder | None = None) -> Lowered:
    """Lowers every node in turn.

    Args:
        model: With static shapes.
        options: The options of the conversion.
        parent: The builder of another graph of the same file.

    Raises:
        UnsupportedOperatorError: A node has no lowering.
    """
    model = written_out(model)
    lowering = Lowering(model, _lower)
    lowering.builder = Builder(parent)
    graph = model.graph.graph
    inputs = [_add_input(lowering, value, options) for value in graph.inputs]
    islands: dict[tuple[str, str], str] = {}
    for node in graph:
        if node in lowering.done:
            continue
        form, reason = _lower(lowering, node)
        if model.quantization and not model.weights_only and form == "real" and _computes_in_float(node):
            islands[origin(node)] = reason or reason_in_float(model, *origin(node))
    outputs = [_add_output(lowering, value, options) for value in graph.outputs]
    interface = Interface(
        tuple(_describe(*item) for item in zip(graph.inputs, inputs, strict=True)),
        tuple(_describe(*item) for item in zip(graph.outputs, outputs, strict=True)),
        modules_beyond_names(graph),
        model.precision,
    )
    return Lowered(
        lowering.builder,
        tuple((value.name or "", tensor) for value, (tensor, _) in zip(graph.inputs, inputs, strict=True)),
        tuple((value.name or "", tensor) for value, (tensor, _) in zip(graph.outputs, outputs, strict=True)),
        interface,
        tuple(FloatIsland(*place, reason) for place, reason in islands.items()),
    )


def _computes_in_float(node: ir.Node) -> bool:
    """Tells whether a node has float inputs and outputs, unlike a Cast from integers, for example."""
    return all(any(is_float(value) for value in values) for values in (node.inputs, node.outputs))


def check(model: CompressedModel) -> list[Unsupported]:
    """Returns the nodes without a lowering; problems that depend on details of a node only show when it is lowered."""
    model = written_out(model)
    lowering = Lowering(model, _lower)
    for value in model.graph.graph.inputs:
        _add_input(lowering, value, ConversionOptions())
    problems: list[Unsupported] = []
    unknown: set[ir.Value | None] = set()
    for node in model.graph.graph:
        if node in lowering.done:
            continue
        if not unknown.isdisjoint(node.inputs):
            unknown.update(node.outputs)
            continue
        try:
            _lower(lowering, node)
        except UnsupportedOperatorError as error:
            problems.append(Unsupported(*origin(node), error.actual, error.cure))
            unknown.update(_assume(lowering, node))
    return problems


def _lower(lowering: Lowering, node: ir.Node) -> tuple[Form, str | None]:
    """Lowers one node, in integers if possible, else as a float island.

    Returns:
        The form that it took, and why it is not in integers although the scheme provides for it.
    """
    function = LOWERINGS.get(node.op_type) if node.domain in {"", "com.microsoft"} else None
    if function is None:
        whole = node.metadata_props.get(WHOLE_KEY, "edgecomp has no TFLite lowering for this operator")
        raise _unsupported(node, whole)
    operation = Operation(lowering, node)
    try:
        function(operation)
        operation.check_all_read()
        return operation.form, None
    except (Unsuited, ValueError) as error:
        reason = _reason(error)
        lowering.forget(node, operation.activation)
        if not operation.integer:
            raise _unsupported(node, reason, getattr(error, "cure", None)) from None
    operation = Operation(lowering, node, island=True)
    try:
        function(operation)
        operation.check_all_read()
    except (Unsuited, ValueError) as error:
        lowering.forget(node, operation.activation)
        raise _unsupported(node, str(error), getattr(error, "cure", None)) from None
    for value in (operation.result, *node.outputs[1:]):
        lowering.settle(value)
    return "real", reason


def _reason(error: Exception) -> str:
    return error.actual if isinstance(error, EdgecompError) else str(error)


def _unsupported(node: ir.Node, reason: str, cure: str | None = None) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        describe(node),
        expected="an operator that TFLite can express",
        actual=reason,
        cure=cure or "replace it in the model, or leave TFLite out: --formats onnxruntime,mnn",
    )


def _assume(lowering: Lowering, node: ir.Node) -> Iterator[ir.Value]:
    """Lets the check continue after a node that cannot be lowered; yields the outputs about which nothing is known."""
    for value in node.outputs:
        try:
            shape, dtype = shape_of(value), type_of(value)
        except (Unsuited, ValueError):
            yield value
        else:
            tensor = lowering.builder.tensor(value.name or "", shape, dtype)
            lowering.place(value, tensor, identity(len(shape)), "real")


def _add_input(lowering: Lowering, value: ir.Value, options: ConversionOptions) -> tuple[Tensor, Layout]:
    shape = shape_of(value)
    channels = _lies_better_as_image(lowering, value, options)
    layout = channels_last(len(shape)) if channels else identity(len(shape))
    assert value.dtype is not None
    dtype = value.dtype.numpy().name
    if dtype not in TENSOR_TYPES:
        raise UnsupportedOperatorError(
            f"input {value.name!r}",
            expected=f"one of the types {', '.join(TENSOR_TYPES)}",
            actual=dtype,
            cure="change the type of the input in the model",
        )
    parameters = lowering.table.get(value.name or "") if is_float(value) and options.io_dtype == "int8" else None
    form: Form = "real" if parameters is None else "integer"
    tensor = lowering.builder.tensor(
        value.name or "", stored_shape(shape, layout), dtype if parameters is None else parameters.dtype, parameters
    )
    lowering.place(value, tensor, layout, form)
    return tensor, layout


def _lies_better_as_image(lowering: Lowering, value: ir.Value, options: ConversionOptions) -> bool:
    """Tells whether fewer elements move if a float input is channels-last: an image, or a signal on demand."""
    rank = len(shape_of(value))
    ranks = {"nchw": (), "nhwc": (3, 4)}.get(options.io_layout or "", (4,))
    if rank not in ranks or not is_float(value):
        return False
    first, last = (lowering.outlook.cost(value, layout) for layout in (identity(rank), channels_last(rank)))
    return last < first


def _add_output(lowering: Lowering, value: ir.Value, options: ConversionOptions) -> tuple[Tensor, Layout]:
    shape = shape_of(value)
    if 0 in shape:
        raise UnsupportedOperatorError(
            f"output {value.name!r}",
            expected="a tensor with elements",
            actual=f"shape {list(shape)}: LiteRT gets the shapes of tensors without elements wrong",
            cure="leave this output out of the model",
        )
    home = channels_last(4)
    lies_as_image = len(shape) == 4 and not is_constant(value) and not moves_memory(shape, lowering.layout(value), home)
    layout = home if lies_as_image and options.io_layout != "nchw" else identity(len(shape))
    quantized = is_float(value) and options.io_dtype == "int8" and value.name in lowering.table
    tensor = lowering.fetch(value, layout, "integer" if quantized else "real")
    return tensor, layout


def _describe(value: ir.Value, placed: tuple[Tensor, Layout]) -> TensorInterface:
    tensor, layout = placed
    assert value.dtype is not None
    return TensorInterface(
        value.name or "",
        tensor.dtype,
        tensor.shape,
        permutation=None if layout == identity(len(layout)) else layout,
        scale=None if tensor.quantization is None else float(tensor.quantization.scale),
        zero_point=None if tensor.quantization is None else int(tensor.quantization.zero_point),
        source_dtype=value.dtype.numpy().name,
    )
