"""Takes quantization that a source brings as operators out of its graph and into the quantization table.

A graph with QuantizeLinear and DequantizeLinear says two things: what is computed, and where integers are. The table
says the second, so that the graph need only say the first. Rules, cited where they are applied:

1. A QuantizeLinear becomes an Identity whose output has the parameters in the table; a DequantizeLinear of it
   disappears. What follows only asks which of these Identity nodes can be left out.
2. An Identity is left out when its input has the same parameters already (nothing changes), or when its input has none
   and nobody else reads it. Otherwise it stays: the other readers see numbers that were never rounded.
3. A constant is replaced by the float that its integers stand for, and the table gives the same integers back.
4. uint8 with zero point z is int8 with zero point z - 128: the same real numbers.
5. What the scheme cannot hold (16-bit or 4-bit integers, blocks, activations per channel) stays in float, and the
   step's facts name it.
6. What multiplies integer weights with activations that are rounded at run time (`graph.hybrid`) keeps its weights'
   integers; where nothing else is quantized, the model is one of precision dynamic-int8.
7. Integers that the graph itself takes, gives or computes with are converted by plain arithmetic, so that the graph's
   inputs and outputs keep their types.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgecomp.arrays import Array
from edgecomp.errors import SourceError
from edgecomp.graph.arithmetic import dequantize_constant, spell_dequantize, spell_quantize
from edgecomp.graph.hybrid import read_hybrid, weights_alone
from edgecomp.graph.qlinear import QLINEAR, expand_integer_operators
from edgecomp.graph.query import constant, describe, input_of, is_float, required_constant
from edgecomp.graph.values import add_constant
from edgecomp.model import CompressedModel, Step
from edgecomp.quantization import scheme
from edgecomp.quantization.completion import complete, passes_integers_through
from edgecomp.quantization.parameters import IntegerType, QuantizationParameters

#: ONNX's operators on ranges that follow from each input: to a float graph, operators like any other.
RUN_TIME_RANGES = frozenset({"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger"})
#: ONNX Runtime's own ones.
_DYNAMIC = frozenset({"DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"})
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", *QLINEAR})

#: Rule 4: the stored type of a source's type, and what to subtract from its integers.
_DTYPES: dict[str, tuple[IntegerType, int]] = {"int8": ("int8", 0), "uint8": ("int8", 128), "int32": ("int32", 0)}


def _is_quantized(model: ir.Model) -> bool:
    """Whether a model has operators on integers that stand for real numbers."""
    nodes = itertools.chain(model.graph.all_nodes(), *(each.all_nodes() for each in model.functions.values()))
    return any(node.op_type in _QUANTIZED | _DYNAMIC | RUN_TIME_RANGES for node in nodes)


def absorb_quantization(model: CompressedModel) -> CompressedModel:
    """Moves Quantize- and DequantizeLinear, and operators on integers such as QLinearConv, into the quantization table.

    To be called before `simplify`, which would fold the DequantizeLinear of every weight.

    Args:
        model: A graph as its exporter wrote it.

    Returns:
        The same model when it has no such operators; otherwise one with a float graph that computes, with its table,
        what the source computes. Names and types of inputs and outputs stay. Tensors that the source left without
        parameters and that the scheme would give the parameters of a neighbour have them. The step "absorb" has the
        facts "activations", "weights" and "biases" (numbers of tensors), and "notes": a sentence for everything that
        the scheme holds differently or not at all.

    Raises:
        SourceError: The model is quantized inside a subgraph, or by ONNX Runtime's own operators on ranges that follow
            from each input, or its scales are broken or computed.
    """
    if not _is_quantized(model.graph):
        return model
    graph = model.graph.clone()
    common.InlinePass()(graph)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    common.NameFixPass()(graph)
    hybrid = read_hybrid(graph.graph)
    _refuse_what_cannot_be_read(graph)
    expand_integer_operators(graph.graph)
    common.ShapeInferencePass()(graph)
    absorber = _Absorber(graph.graph)
    absorber.run()
    if hybrid and (weights := weights_alone(absorber.table)) is not None:
        common.RemoveUnusedNodesPass()(graph)
        return replace(_result(model, graph, weights, absorber.notes), precision="dynamic-int8")
    notes = [*absorber.notes, *complete(graph.graph, absorber.table)]
    common.RemoveUnusedNodesPass()(graph)
    return _result(model, graph, absorber.table, notes)


def _refuse_what_cannot_be_read(graph: ir.Model) -> None:
    for node in graph.graph.all_nodes():
        if node.op_type in _DYNAMIC:
            actual = "quantization at run time, with parameters that follow from each input"
        elif node.op_type in _QUANTIZED and node.graph is not graph.graph:
            actual = "an operator on integers inside a branch of a control-flow operator"
        else:
            continue
        raise SourceError(
            describe(node),
            expected="a float model, or one that is quantized statically in its main graph",
            actual=actual,
            cure="give the float model that it was made from",
        )


def _result(
    model: CompressedModel, graph: ir.Model, found: dict[ir.Value, QuantizationParameters], notes: Sequence[str]
) -> CompressedModel:
    alive = {*graph.graph.inputs, *graph.graph.initializers.values()}
    alive.update(value for node in graph.graph for value in node.outputs)
    table = {value.name: entry for value, entry in found.items() if value in alive and value.name is not None}
    constants = [table[name] for name in table if name in graph.graph.initializers]
    biases = sum(entry.dtype == "int32" for entry in constants)
    facts = {
        "activations": len(table) - len(constants),
        "weights": len(constants) - biases,
        "biases": biases,
        "notes": list(notes),
    }
    whole = {**model.quantization, **table}
    return model.after(
        Step("absorb", facts=facts), graph=graph, quantization=whole, precision="int8" if whole else model.precision
    )


class _Absorber:
    """Rewrites one graph in place.

    Attributes:
        table: Parameters by value, not by name: names are in flux while nodes come and go.
        notes: What the scheme cannot hold, and why.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.table: dict[ir.Value, QuantizationParameters] = {}
        self.notes: list[str] = []
        self._graph = graph
        # Integer value -> the float value that it stands for, with its parameters; None by rule 5.
        self._real: dict[ir.Value, tuple[ir.Value, QuantizationParameters | None]] = {}
        self._constants: dict[tuple[ir.Value | None, ...], ir.Value] = {}
        self._identities: list[ir.Node] = []

    def run(self) -> None:
        for node in tuple(self._graph):
            match node.op_type:
                case "QuantizeLinear":
                    self._quantize(node)
                case "DequantizeLinear":
                    self._dequantize(node)
                case "Transpose" if node.inputs[0] in self.table and constant(node.inputs[0]) is not None:
                    self._transpose_constant(node)
                case _:
                    self._move_integers(node)
        for node in tuple(self._graph):
            if node.op_type == "QuantizeLinear":
                self._finish_quantize(node)
            elif node.op_type == "DequantizeLinear":
                self._finish_dequantize(node)
        for node in self._identities:
            self._leave_out(node)

    def _parameters(self, node: ir.Node) -> QuantizationParameters | str:
        """The parameters of a QuantizeLinear or DequantizeLinear, or why the scheme has none like them."""
        scale, zero_point = constant(node.inputs[1]), constant(input_of(node, 2))
        if scale is None or (zero_point is None and input_of(node, 2) is not None):
            return "its scale or zero point is computed"
        dtype = _stored_type(node)
        if dtype not in _DTYPES:
            return f"the scheme has no {dtype}"
        if node.attributes.get_int("block_size", 0) or scale.ndim > 1:
            return "it is quantized in blocks"
        valid = np.isfinite(scale) & (scale > 0)
        if not valid.all():
            raise SourceError(
                describe(node),
                expected="positive, finite scales",
                actual=f"the scale {scale[~valid][0] if scale.ndim else scale}",
                cure="quantize the model again",
            )
        stored, offset = _DTYPES[dtype]
        zero = np.zeros(scale.shape, np.int32) if zero_point is None else zero_point.astype(np.int32)
        if scale.size == 1:
            return QuantizationParameters(scale.reshape(()), zero.reshape(()) - offset, stored)
        axis = node.attributes.get_int("axis", 1) or 0
        value = node.inputs[0]
        rank = len(value.shape) if value is not None and value.shape is not None else None
        if axis < 0 and rank is None:
            return "the rank of its input is unknown"
        return QuantizationParameters(scale, zero - offset, stored, axis if axis >= 0 else axis + (rank or 0))

    # Rules 1, 3 and 5

    def _quantize(self, node: ir.Node) -> None:
        value, result = node.inputs[0], node.outputs[0]
        assert value is not None
        if not is_float(value):
            raise SourceError(
                describe(node),
                expected="float32 numbers to quantize",
                actual=value.dtype.name.lower() if value.dtype else "an unknown type",
                cure="convert the model to float32 before it is quantized",
            )
        parameters = self._parameters(node)
        array = constant(value)
        if isinstance(parameters, QuantizationParameters):
            if array is not None:
                self._real[result] = self._add_constant(value, parameters.quantize(array), parameters), parameters
            elif not parameters.per_channel:
                self._real[result] = self._mark(node, value, parameters), parameters
            else:
                parameters = "an activation has a scale per channel"
        if isinstance(parameters, str) and constant(node.inputs[1]) is not None:
            self.notes.append(f"{describe(node)} is left out, its tensor stays in float: {parameters}")
            self._real[result] = value, None

    def _dequantize(self, node: ir.Node) -> None:
        value = node.inputs[0]
        assert value is not None
        if value in self._real:
            real, written = self._real[value]
            if written is None or self._parameters(node) == written:
                self._replace(node, real)
        elif (integers := constant(value)) is not None:
            key = (value, *node.inputs[1:])
            if key not in self._constants:
                parameters = self._parameters(node)
                if isinstance(parameters, str):
                    self.notes.append(f"{describe(node)} is folded, its constant stays in float: {parameters}")
                    self._constants[key] = add_constant(self._graph, f"{value.name}/real", dequantize_constant(node))
                else:
                    shifted = integers.astype(np.int64) - _DTYPES[_stored_type(node)][1]
                    self._constants[key] = self._add_constant(value, shifted, parameters)
            self._replace(node, self._constants[key])

    def _mark(self, node: ir.Node, value: ir.Value, parameters: QuantizationParameters) -> ir.Value:
        name = f"{value.name}/quantized_by/{node.name}"
        identity = ir.node("Identity", [value], name=name)
        result = identity.outputs[0]
        result.name, result.shape, result.type = name, value.shape, ir.TensorType(ir.DataType.FLOAT)
        self._graph.insert_before(node, identity)
        self._identities.append(identity)
        self.table[result] = parameters
        return result

    def _add_constant(self, source: ir.Value, integers: Array, parameters: QuantizationParameters) -> ir.Value:
        value = add_constant(self._graph, f"{source.name}/real", parameters.dequantize(integers))
        self.table[value] = parameters
        different = int((parameters.quantize(required_constant(value)) != integers).sum())
        if different:
            self.notes.append(f"{source.name}: {different} integers beyond 2**24 are rounded as float32 rounds them")
        return value

    def _replace(self, node: ir.Node, real: ir.Value) -> None:
        """Lets every reader of a DequantizeLinear read `real`; what the graph gives out keeps its name and a node."""
        result = node.outputs[0]
        if not result.is_graph_output():
            result.replace_all_uses_with(real)
            self._graph.remove(node, safe=True)
            return
        identity = ir.node("Identity", [real], name=node.name)
        identity.outputs[0].shape, identity.outputs[0].type = result.shape, ir.TensorType(ir.DataType.FLOAT)
        result.replace_all_uses_with(identity.outputs[0], replace_graph_outputs=True)
        identity.outputs[0].name = result.name
        self._graph.insert_before(node, identity)
        self._graph.remove(node, safe=True)
        if constant(real) is None and real in self.table:
            self.table[identity.outputs[0]] = self.table[real]
            self._identities.append(identity)

    def _transpose_constant(self, node: ir.Node) -> None:
        """Folds the Transpose of a weight here, where the axis of its scales can turn along."""
        source = node.inputs[0]
        assert source is not None
        array, entry = required_constant(source), self.table[source]
        order = node.attributes.get_ints("perm") or tuple(reversed(range(array.ndim)))
        value = add_constant(self._graph, f"{source.name}/transposed", np.ascontiguousarray(array.transpose(order)))
        axis = None if entry.axis is None else tuple(order).index(entry.axis)
        self.table[value] = QuantizationParameters(entry.scale, entry.zero_point, entry.dtype, axis)
        self._replace(node, value)

    def _move_integers(self, node: ir.Node) -> None:
        """What moves integers moves what they stand for, when only DequantizeLinear reads the result."""
        rule = scheme.OPERATORS.get(node.op_type)
        if rule is None or rule.output != "input":
            return
        data = node.inputs[: rule.data if rule.data is not None else len(node.inputs)]
        stored = [self._real.get(value) for value in data if value is not None]
        if not stored or any(entry is None or entry != (entry[0], stored[0][1]) for entry in stored):  # type: ignore[index]
            return
        readers = [use.node for value in node.outputs for use in value.uses()]
        if any(value.is_graph_output() for value in node.outputs) or not all(map(self._understands, readers)):
            return
        if not passes_integers_through(node):
            return
        parameters = stored[0][1]  # type: ignore[index]
        for index, entry in enumerate(stored):
            node.replace_input_with(index, entry[0])  # type: ignore[index]
        for value in node.outputs:
            value.type = ir.TensorType(ir.DataType.FLOAT)
            self._real[value] = value, parameters
            if parameters is not None:
                self.table[value] = parameters

    @staticmethod
    def _understands(reader: ir.Node) -> bool:
        rule = scheme.OPERATORS.get(reader.op_type)
        return reader.op_type == "DequantizeLinear" or (rule is not None and rule.output == "input")

    # Rule 7

    def _finish_quantize(self, node: ir.Node) -> None:
        result = node.outputs[0]
        if tuple(result.uses()) or result.is_graph_output():
            if constant(node.inputs[1]) is None:
                raise _computed_parameters(node)
            spell_quantize(self._graph, node, _stored_type(node))
        else:
            self._graph.remove(node, safe=True)

    def _finish_dequantize(self, node: ir.Node) -> None:
        if constant(node.inputs[1]) is None:
            raise _computed_parameters(node)
        real = spell_dequantize(self._graph, node)
        parameters = self._parameters(node)
        if isinstance(parameters, QuantizationParameters) and parameters.dtype == "int8" and not parameters.per_channel:
            self.table[real] = parameters

    # Rule 2

    def _leave_out(self, node: ir.Node) -> None:
        source, result = node.inputs[0], node.outputs[0]
        assert source is not None
        entry = self.table[result]
        if source in self.table:
            if self.table[source] != entry:
                return
        elif source.is_graph_output() or not all(self._rounds_to(use.node, entry) for use in source.uses()):
            return
        if result.is_graph_output():
            if source.is_graph_input() or source.is_graph_output():
                self.table[source] = entry
                return  # both names are the graph's own
            source.name, result.name = result.name, source.name
        self.table[source] = entry
        result.replace_all_uses_with(source, replace_graph_outputs=True)
        del self.table[result]
        self._graph.remove(node, safe=True)

    def _rounds_to(self, reader: ir.Node, entry: QuantizationParameters) -> bool:
        return reader.op_type == "Identity" and self.table.get(reader.outputs[0]) == entry


def _stored_type(node: ir.Node) -> str:
    """The integer type that a QuantizeLinear writes or a DequantizeLinear reads, as ONNX calls it."""
    value, zero_point = node.inputs[0], input_of(node, 2)
    if zero_point is not None and zero_point.dtype is not None:
        return zero_point.dtype.name.lower()
    if node.op_type == "DequantizeLinear" and value is not None and value.dtype is not None:
        return value.dtype.name.lower()
    return ir.DataType(node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8).name.lower()


def _computed_parameters(node: ir.Node) -> SourceError:
    return SourceError(
        describe(node),
        expected="a constant scale and zero point",
        actual="parameters that the graph computes",
        cure="give the float model that it was made from",
    )
