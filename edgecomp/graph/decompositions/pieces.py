"""Builds the nodes that replace another one."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.query import WHOLE_KEY, constant, input_of, shape_of
from edgecomp.quantization.parameters import Change, QuantizationParameters

#: An input of a new node: a value, a number or array that becomes a constant, or None for an input that is left out.
Given = ir.Value | npt.ArrayLike | None

#: The oldest opset to decompose: since then, Squeeze, Unsqueeze and ReduceSum take axes as input. Frontends convert
#: older graphs.
OLDEST_OPSET = 13

#: Constants with up to this many elements may determine shapes, so shape inference gets their values.
_SHAPE_LIKE = 64

#: A loop or branch that would need more nodes than this is not unrolled, if the format has such an operator.
MOST_NODES = 128


class Undecomposable(Exception):  # noqa: N818 (not an error: the node stays whole)
    """Raised by a decomposition that cannot express its node; the message says why."""


class Pieces:
    """Builds nodes; they enter the graph when the decomposition is complete.

    Calling it creates a node and returns its output, with shape and type: `pieces("Add", x, 1.0)`. Python floats become
    float32, Python integers int64.

    Attributes:
        node: The node to decompose.
        opset: The opset of the default domain.
        most_nodes: A loop or branch that would need more nodes is not unrolled.
        nodes: The nodes created so far.
        constants: The constants created so far.
        quantization: Parameters of constants by name; those of new constants are in the first map, `maps[0]`.
    """

    def __init__(
        self,
        node: ir.Node,
        opset: int,
        parent: Pieces | None = None,
        most_nodes: int = MOST_NODES,
        quantization: dict[str, QuantizationParameters] | None = None,
    ) -> None:
        self.node = node
        self.opset = opset
        self.most_nodes: int = most_nodes if parent is None else parent.most_nodes
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = [] if parent is None else parent.constants
        known = ChainMap({}, quantization or {})
        self.quantization: ChainMap[str, QuantizationParameters] = known if parent is None else parent.quantization
        self._parent = parent
        self._name = node.name or node.outputs[0].name or node.op_type
        if parent is not None:
            self._name = f"{parent._name}/body_{len(parent.nodes)}"

    # --- the node ---------------------------------------------------------------------------------------------------

    def input(self, index: int) -> ir.Value:
        """Returns an input that must be present."""
        value = input_of(self.node, index)
        if value is None:
            raise Undecomposable(f"its input {index} is missing")
        return value

    def optional(self, index: int) -> ir.Value | None:
        """Returns an input that may be absent."""
        return input_of(self.node, index)

    def constant_input(self, index: int) -> Array:
        """Returns the array of an input that must be constant."""
        array = constant(self.input(index))
        if array is None:
            raise Undecomposable(f"its input {index} is computed")
        return array

    def shape(self, value: ir.Value | int) -> tuple[int, ...]:
        """Returns the static shape of a value, or of the input with an index."""
        try:
            return shape_of(self.input(value) if isinstance(value, int) else value)
        except ValueError as error:
            raise Undecomposable(str(error)) from None

    def rank(self, value: ir.Value) -> int:
        """Returns the number of dimensions of a value."""
        if value.shape is None:
            raise Undecomposable(f"the number of dimensions of {value.name} is not known")
        return len(value.shape)

    def is_used(self, index: int) -> bool:
        """Tells whether an output of the node is used."""
        outputs = self.node.outputs
        return index < len(outputs) and (bool(tuple(outputs[index].uses())) or outputs[index].is_graph_output())

    def integer(self, name: str, default: int) -> int:
        """Returns an integer attribute."""
        return int(self.node.attributes.get_int(name, default))

    def number(self, name: str, default: float) -> float:
        """Returns a float attribute."""
        return float(self.node.attributes.get_float(name, default))

    def text(self, name: str, default: str) -> str:
        """Returns a string attribute."""
        return str(self.node.attributes.get_string(name, default))

    # --- making pieces ----------------------------------------------------------------------------------------------

    def __call__(self, op_type: str, *inputs: Given, **attributes: Any) -> ir.Value:
        """Creates a node with one output."""
        return self.many(op_type, *inputs, outputs=1, **attributes)[0]

    def many(
        self, op_type: str, *inputs: Given, outputs: int, domain: str = "", **attributes: Any
    ) -> tuple[ir.Value, ...]:
        """Creates a node with several outputs, in ONNX's default domain unless another is given."""
        node = ir.node(
            op_type,
            [self.value(given) for given in inputs],
            attributes,
            domain=domain,
            num_outputs=outputs,
            name=f"{self._name}/{op_type.lower()}_{len(self.nodes)}",
        )
        for index, value in enumerate(node.outputs):
            value.name = node.name if outputs == 1 else f"{node.name}.{index}"
        self.nodes.append(node)
        _infer(node, self.opset)
        return tuple(node.outputs)

    def value(self, given: Given) -> ir.Value | None:
        """Returns a value as it is, and anything else as a constant."""
        if given is None or isinstance(given, ir.Value):
            return given
        array = np.asarray(given)
        if isinstance(given, float) or (array.dtype == np.float64 and not isinstance(given, np.ndarray)):
            array = array.astype(np.float32)
        name = f"{self._name}/constant_{len(self.constants)}"
        value = ir.Value(name=name, const_value=ir.Tensor(array, name=name), shape=ir.Shape(array.shape))
        value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        self.constants.append(value)
        return value

    def moved(self, value: ir.Value, change: Change) -> ir.Value | None:
        """Rearranges a constant, and its quantized integers if it has any; None for a computed value."""
        array = constant(value)
        if array is None:
            return None
        made = self.value(np.ascontiguousarray(change(array)))
        assert made is not None
        parameters = self.quantization.get(value.name or "")
        if parameters is not None:
            self.quantization[made.name or ""] = parameters.follow(array.shape, change)
        return made

    def like(self, value: ir.Value, number: npt.ArrayLike) -> Array:
        """Converts a number to the type of a value, for use as a constant beside it."""
        if value.dtype is None:
            raise Undecomposable(f"the type of {value.name} is not known")
        return np.asarray(number, value.dtype.numpy())

    def reshape(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """Adds a Reshape, unless the value already has the shape."""
        if value.shape is not None and list(value.shape) == list(shape):
            return value
        return self("Reshape", value, np.array(shape, np.int64))

    def transpose(self, value: ir.Value, permutation: Sequence[int]) -> ir.Value:
        """Adds a Transpose, unless the order stays the same."""
        if list(permutation) == sorted(permutation):
            return value
        return self("Transpose", value, perm=list(permutation))

    def slice(self, value: ir.Value, axis: int, start: int, end: int, step: int = 1) -> ir.Value:
        """Adds a Slice along one axis."""
        return self("Slice", value, *(np.array([number], np.int64) for number in (start, end, axis, step)))

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Adds a Cast, unless the value already has the type."""
        return value if value.dtype == dtype else self("Cast", value, to=int(dtype))

    def reduce(self, op_type: str, value: ir.Value, axes: Sequence[int], *, keep: bool = True) -> ir.Value:
        """Adds a reduction; before opset 18, axes were an attribute of all but ReduceSum."""
        if op_type == "ReduceSum" or self.opset >= 18:
            return self(op_type, value, np.array(axes, np.int64), keepdims=int(keep))
        return self(op_type, value, axes=list(axes), keepdims=int(keep))

    # --- loops ------------------------------------------------------------------------------------------------------

    def loop(self, count: int, initial: Sequence[ir.Value], turn: Turn) -> tuple[ir.Value, ...]:
        """Adds a Loop with a known number of turns.

        Args:
            count: The number of turns.
            initial: The state before the first turn.
            turn: Builds one turn: from the pieces of the body, the index of the turn (a scalar) and the carried state,
                it returns the new state and the values to collect.

        Returns:
            The state after the last turn, then the collected values, stacked.
        """
        inner = Pieces(self.node, self.opset, parent=self)
        index = _input(f"{inner._name}/index", ir.DataType.INT64, ())
        running = _input(f"{inner._name}/running", ir.DataType.BOOL, ())
        carried = [
            _input(f"{inner._name}/carried_{place}", value.dtype, self.shape(value))
            for place, value in enumerate(initial)
        ]
        following, collected = turn(inner, index, carried)
        condition = inner("Identity", running)
        outputs = [condition, *following, *collected]
        inputs = [index, running, *carried]
        graph = ir.Graph(
            inputs, outputs, nodes=inner.nodes, opset_imports={"": self.opset}, name=f"{inner._name}_{len(self.nodes)}"
        )
        inner.mark()
        results = self.many("Loop", count, True, *initial, outputs=len(outputs) - 1, body=graph)
        for place, (result, value) in enumerate(zip(results, outputs[1:], strict=True)):
            stacked = () if place < len(following) else (count,)
            result.type, result.shape = value.type, ir.Shape((*stacked, *self.shape(value)))
        return results

    def paste(self, graph: ir.Graph, inputs: Sequence[Given], name: str) -> list[ir.Value]:
        """Copies a subgraph's nodes with other inputs, and returns its outputs."""
        copy = graph.clone(allow_outer_scope_values=True)
        values = {parameter: self.value(given) for parameter, given in zip(copy.inputs, inputs, strict=True)}
        # A body may return one of its inputs, which may be an output elsewhere.
        outputs = [values.get(value) or value for value in copy.outputs]
        copy.outputs.clear()
        for parameter, value in values.items():
            assert value is not None
            parameter.replace_all_uses_with(value)
        nodes = list(copy)
        for initializer in list(copy.initializers.values()):
            copy.initializers.pop(initializer.name or "")
            initializer.name = f"{self._name}/{name}/{initializer.name}"
            self.constants.append(initializer)
        copy.remove(nodes)
        for node in nodes:
            node.name = f"{self._name}/{name}/{node.name or node.op_type}"
            for value in node.outputs:
                value.name = f"{self._name}/{name}/{value.name}"
        self.nodes.extend(nodes)
        return outputs

    def mark(self) -> None:
        """Copies the node's metadata to every new node."""
        for piece in self.nodes:
            piece.metadata_props.update(self.node.metadata_props)

    # --- the end ----------------------------------------------------------------------------------------------------

    def put_in_place(self, decomposition: Decomposition) -> bool:
        """Replaces the node by its decomposition; if that fails, its metadata `WHOLE_KEY` says why."""
        try:
            if self.opset < OLDEST_OPSET:
                raise Undecomposable(
                    f"its opset is {self.opset}, and it can be decomposed from opset {OLDEST_OPSET} on"
                )
            results = decomposition(self)
        except Undecomposable as reason:
            self.node.metadata_props[WHOLE_KEY] = str(reason)
            return False
        self.replace(results)
        return True

    def replace(self, results: Sequence[ir.Value | None]) -> None:
        """Puts the new nodes into the graph, and gives the results the names of the node's outputs.

        Args:
            results: The replacement of each output; None for one that is not used.
        """
        graph = self.node.graph
        assert graph is not None
        # A name belongs to one value: a result that has one already, or stands for two outputs, is copied.
        fresh = {value for piece in self.nodes for value in piece.outputs}
        results = [
            self("Identity", value) if value is not None and (value not in fresh or value in results[:index]) else value
            for index, value in enumerate(results)
        ]
        self.mark()
        for value in self.constants:
            parameters = self.quantization.pop(value.name or "", None)
            while value.name in graph.initializers:
                value.name = f"{value.name}_"
            if parameters is not None:
                self.quantization[value.name or ""] = parameters
            graph.register_initializer(value)
        graph.insert_before(self.node, self.nodes)
        for old, new in zip(self.node.outputs, results, strict=False):
            if new is None:
                continue
            new.type, new.shape = old.type or new.type, old.shape if old.shape is not None else new.shape
            new.name, old.name = old.name, f"{old.name}/whole"
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        graph.remove(self.node, safe=True)


#: Builds one turn of a loop; see `Pieces.loop`.
Turn = Callable[[Pieces, ir.Value, list[ir.Value]], tuple[Sequence[ir.Value], Sequence[ir.Value]]]


def _input(name: str, dtype: ir.DataType | None, shape: Sequence[int]) -> ir.Value:
    assert dtype is not None
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))


#: Builds the nodes and returns the replacement of each of the node's outputs; None for one that is not used.
Decomposition = Callable[[Pieces], Sequence[ir.Value | None]]


def _infer(node: ir.Node, opset: int) -> None:
    """Sets the shapes and types of a node's outputs, if ONNX can infer them."""
    given = {value.name or "": value for value in node.inputs if value is not None}
    types, data = {}, {}
    for name, value in given.items():
        if value.type is None or value.shape is None:
            return
        types[name] = ir.to_proto(value).type
        if value.const_value is not None and value.const_value.size <= _SHAPE_LIKE:
            data[name] = ir.to_proto(ir.Tensor(value.const_value.numpy(), name=name))
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return
    inferred = onnx.shape_inference.infer_node_outputs(
        schema, ir.to_proto(node), types, data, opset_imports=[onnx.helper.make_opsetid("", opset)]
    )
    for value in node.outputs:
        if value.name in inferred:
            told = ir.serde.deserialize_type_proto_for_type(inferred[value.name])
            value.type, value.shape = told, ir.serde.deserialize_type_proto_for_shape(inferred[value.name])
