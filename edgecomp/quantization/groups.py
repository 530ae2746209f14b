"""Decides, from the graph alone, which tensors share parameters and which have to be measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from edgecomp.graph.query import is_constant, is_float
from edgecomp.quantization import scheme
from edgecomp.quantization.parameters import IntegerType, QuantizationParameters


@dataclass
class Group:
    """Activation tensors that must have the same parameters.

    Attributes:
        members: Every tensor of the group, in topological order.
        measured: Those whose values calibration looks at; the others are moved or clipped copies of them.
        fixed: The parameters, where rule 4 of the scheme gives them.
        anchored: Whether an operator that computes in integers reads or writes a member. A group without an anchor is
            only moved about between float operators, and stays in float.
        dtype: What they are stored as.
    """

    members: list[str] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)
    fixed: QuantizationParameters | None = None
    anchored: bool = False
    dtype: IntegerType = "int8"


class Groups:
    """Disjoint sets of tensor names, to be stored as `dtype` where nothing else is said."""

    def __init__(self, dtype: IntegerType = "int8") -> None:
        self.dtype = dtype
        self._group: dict[str, Group] = {}

    def of(self, name: str) -> Group:
        """The group of a tensor, made on first sight."""
        if name not in self._group:
            self._group[name] = Group(members=[name], dtype=self.dtype)
        return self._group[name]

    def merge(self, names: Iterable[str]) -> Group:
        """Joins the groups of all `names`."""
        first, *others = names
        into = self.of(first)
        for name in others:
            group = self.of(name)
            if group is into:
                continue
            if len(group.members) > len(into.members):
                group, into = into, group
            into.members.extend(group.members)
            into.measured.extend(group.measured)
            into.fixed = into.fixed or group.fixed
            into.anchored |= group.anchored
            for member in group.members:
                self._group[member] = into
        return into

    def all(self) -> list[Group]:
        """Each group once, in the order of its first member."""
        return list({id(group): group for group in self._group.values()}.values())


def group_activations(graph: ir.Graph, dtype: IntegerType = "int8") -> list[Group]:
    """Groups the activations of a graph.

    Where operators that keep their inputs' parameters (Concat) meet inputs that cannot agree, an Identity is inserted
    into `graph` in front of them: a change of parameters, which each format has an operator for. So it is at the
    borders of islands of int16x8.

    Args:
        graph: A simplified graph; changed in place.
        dtype: What activations are to be stored as.

    Returns:
        The anchored groups.
    """
    _separate(graph)
    groups = Groups(dtype)
    for value in graph.inputs:
        if is_float(value):
            _measure(groups, value)
    for node in tuple(graph):
        if scheme.is_quantizable(node):
            _add(groups, graph, node)
        else:
            for value in node.outputs:
                if is_float(value):
                    _measure(groups, value)
    return [group for group in groups.all() if group.anchored]


def _add(groups: Groups, graph: ir.Graph, node: ir.Node) -> None:
    rule = scheme.OPERATORS[node.op_type]
    outputs = [_name(value) for value in node.outputs]
    dtype = scheme.activations_of(node, groups.dtype)
    for name in outputs:
        groups.of(name).dtype = dtype
    if rule.output == "input":
        _reconcile(groups, graph, node)
        groups.merge([*_activations(node), *outputs])
        if not _activations(node):  # what is taken from a constant has no parameters to keep
            _measure(groups, node.outputs[0])
        return
    for name in (*_activations(node), *outputs):
        groups.of(name).anchored = True
    fixed = scheme.fixed_parameters(node, dtype)
    if fixed is not None:
        groups.of(outputs[0]).fixed = fixed
    elif activation := scheme.fused_activation(node):
        groups.of(_name(activation.outputs[0])).dtype = dtype
        groups.merge([*outputs, _name(activation.outputs[0])])  # rule 6: only the output of the activation is measured
    else:
        _measure(groups, node.outputs[0])


def _measure(groups: Groups, value: ir.Value) -> None:
    groups.of(_name(value)).measured.append(_name(value))


def _activations(node: ir.Node) -> list[str]:
    return [_name(value) for value in scheme.data_inputs(node) if not is_constant(value)]


def _name(value: ir.Value) -> str:
    assert value.name is not None  # simplify() names every value
    return value.name


def _separate(graph: ir.Graph) -> None:
    """Puts an Identity between nodes of unlike activations (rule 8); it is of its readers, and gives what they take."""
    for value in (*graph.inputs, *(output for node in tuple(graph) for output in node.outputs)):
        producer = value.producer()
        own = None if producer is None else _mark(producer)
        readers = [use for use in value.uses() if is_float(value) and scheme.is_quantizable(use.node)]
        unlike = [use for use in readers if _mark(use.node) != own and "int16x8" in (_mark(use.node), own)]
        for mark in dict.fromkeys(_mark(use.node) for use in unlike):
            copy = _copied(value, f"{value.name}/as_{mark or 'int8'}")
            if mark is not None:
                copy.metadata_props[scheme.PRECISION_KEY] = mark
            for use in unlike:
                if _mark(use.node) == mark:
                    use.node.replace_input_with(use.idx, copy.outputs[0])
            graph.insert_before(_first(graph, [use.node for use in unlike]), copy)


def _mark(node: ir.Node) -> str | None:
    return node.metadata_props.get(scheme.PRECISION_KEY)


def _first(graph: ir.Graph, nodes: Sequence[ir.Node]) -> ir.Node:
    """The first of some nodes in the order of a graph."""
    return next(node for node in graph if node in nodes)


def _copied(value: ir.Value, name: str) -> ir.Node:
    """An Identity, not yet in a graph."""
    copy = ir.node("Identity", [value], name=name)
    copy.outputs[0].name = name
    copy.outputs[0].shape, copy.outputs[0].type = value.shape, value.type
    return copy


def _reconcile(groups: Groups, graph: ir.Graph, node: ir.Node) -> None:
    """Gives each data input of `node` that has fixed parameters unlike the others' a measured copy."""
    inputs = [value for value in scheme.data_inputs(node) if not is_constant(value)]
    fixed = [groups.of(_name(value)).fixed for value in inputs]
    if all(entry == fixed[0] for entry in fixed):
        return
    for index, value in enumerate(inputs):
        if fixed[index] is None:
            continue
        copy = _copied(value, f"{value.name}/requantized_for/{node.name}/{index}")
        if (mark := _mark(node)) is not None:
            copy.metadata_props[scheme.PRECISION_KEY] = mark
        graph.insert_before(node, copy)
        for position, operand in enumerate(node.inputs):
            if operand is value:
                node.replace_input_with(position, copy.outputs[0])
        _add(groups, graph, copy)
