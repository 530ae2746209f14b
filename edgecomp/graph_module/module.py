"""A graph, or a part of one, as a torch module."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
import torch

from edgecomp.errors import UnsupportedOperatorError
from edgecomp.graph.decompose import decompose
from edgecomp.graph.query import describe, shape_of
from edgecomp.graph_module.ops import OPS
from edgecomp.graph_module.ops.node import Build, Function, UnsupportedError, to_tensor
from edgecomp.model import CompressedModel

Tensor = torch.Tensor


@dataclass(frozen=True)
class _Instruction:
    """One node.

    Attributes:
        run: The function that computes it.
        inputs: Names of tensors, None for inputs that are left out.
        outputs: Names of tensors.
        finished: Tensors that are not read afterwards.
    """

    run: Function
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    finished: tuple[str, ...]


class GraphModule(torch.nn.Module):
    """Runs the nodes between two sets of tensors, and lets gradients flow back.

    A graph is made for one number of samples, often 1, and this number may be part of the shapes that it reshapes to.
    The module takes any multiple of it: `torch.func.vmap` runs the unchanged graph for all of them at once.

    Args:
        graph: Simplified, with static shapes; not changed.
        inputs: Names of the input tensors; by default the graph's inputs.
        outputs: Names of the output tensors; by default the graph's outputs.
        trainable: Names of constants that become parameters; the others are buffers.
        extra: Operators of other domains, "DOMAIN::OPERATOR" -> a function that builds them.

    Attributes:
        weights: Name -> parameter.

    Raises:
        UnsupportedOperatorError: torch cannot differentiate a node between them; see `decomposed`.
    """

    def __init__(
        self,
        graph: ir.Model,
        *,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        trainable: Collection[str] = (),
        extra: Mapping[str, Build] | None = None,
    ) -> None:
        super().__init__()
        self._inputs = tuple(inputs if inputs is not None else _names(graph.graph.inputs))
        self._outputs = tuple(outputs if outputs is not None else _names(graph.graph.outputs))
        nodes = list(_between(graph.graph, self._inputs, self._outputs))
        self._program = _program(nodes, self._outputs, extra or {})
        self._keys: dict[str, str] = {}
        self.weights: dict[str, torch.nn.Parameter] = {}
        for value in _constants(graph.graph, nodes, self._outputs):
            self._keep(value, trainable)
        values = {value.name: value for value in _values(graph.graph)}
        self._sizes = [shape_of(values[name])[0] if shape_of(values[name]) else None for name in self._inputs]

    def forward(self, *inputs: Tensor, times: int | None = None) -> tuple[Tensor, ...]:
        """Runs the graph.

        Args:
            inputs: One tensor for each input, of its shape, or with a multiple of its first dimension. Inputs whose
                first dimension does not count samples, because the graph's inputs differ in it, have the graph's own
                shapes. Dynamic dimensions may have any size.
            times: The multiple. By default it follows from the graph's shapes at the example sizes, which is wrong in
                the middle of a graph if a dynamic dimension is part of the first one.

        Returns:
            One tensor for each output.
        """
        constants = {name: getattr(self, key) for name, key in self._keys.items()}
        parts = [1 if size is None else len(given) // size for given, size in zip(inputs, self._sizes, strict=True)]
        if times is not None:
            parts = [times] * len(inputs)
        if set(parts) == {1}:
            return self._run(constants, inputs)
        split = [given.reshape(count, -1, *given.shape[1:]) for given, count in zip(inputs, parts, strict=True)]
        results = torch.func.vmap(lambda *sample: self._run(constants, sample), randomness="different")(*split)
        return tuple(result.flatten(0, 1) if result.ndim > 1 else result for result in results)

    def key_of(self, name: str) -> str:
        """Returns a constant's name in the state dict."""
        return self._keys[name]

    def _run(self, constants: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        tensors: dict[str, Tensor] = {**constants, **dict(zip(self._inputs, inputs, strict=True))}
        for step in self._program:
            found = step.run(*(None if name is None else tensors[name] for name in step.inputs))
            for name, result in zip(step.outputs, (found,) if isinstance(found, Tensor) else found, strict=True):
                tensors[name] = result
            for name in step.finished:
                tensors.pop(name, None)
        return tuple(tensors[name] for name in self._outputs)

    def _keep(self, value: ir.Value, trainable: Collection[str]) -> None:
        """Registers a constant under a key that torch accepts: names of tensors contain dots and slashes."""
        name, key = value.name or "", f"constant_{len(self._keys)}"
        assert value.const_value is not None
        tensor = to_tensor(value.const_value.numpy())
        if name in trainable:
            self.weights[name] = torch.nn.Parameter(tensor)
            self.register_parameter(key, self.weights[name])
        else:
            self.register_buffer(key, tensor)
        self._keys[name] = key


def decomposed(model: CompressedModel, extra: Collection[str] = ()) -> CompressedModel:
    """Replaces nodes without a function in torch by simpler ones, as far as possible.

    Args:
        model: Simplified.
        extra: The operators that `GraphModule` will be given, "DOMAIN::OPERATOR".
    """
    return decompose(model, lambda node: not _is_known(node, extra))


def _is_known(node: ir.Node, extra: Collection[str]) -> bool:
    if f"{node.domain}::{node.op_type}" in extra:
        return True
    try:
        return node.op_type in OPS and OPS[node.op_type](node) is not None
    except UnsupportedError:
        return False


def _program(nodes: Sequence[ir.Node], outputs: Sequence[str], extra: Mapping[str, Build]) -> list[_Instruction]:
    last = {value.name: index for index, node in enumerate(nodes) for value in node.inputs if value is not None}
    program = []
    for index, node in enumerate(nodes):
        names = tuple(None if value is None else value.name or "" for value in node.inputs)
        finished = {name for name in names if name is not None and last[name] == index and name not in outputs}
        run = _function(node, extra)
        program.append(_Instruction(run, names, tuple(_names(node.outputs)), tuple(finished)))
    return program


def _function(node: ir.Node, extra: Mapping[str, Build]) -> Function:
    own = extra.get(f"{node.domain}::{node.op_type}")
    build: Build | None = own or (OPS.get(node.op_type) if node.domain in {"", "ai.onnx"} else None)
    try:
        if build is not None:
            return build(node)
        reason = "there is no differentiable function for this operator"
    except UnsupportedError as error:
        reason = str(error)
    raise UnsupportedOperatorError(
        describe(node),
        expected="an operator that training on the graph can differentiate",
        actual=reason,
        cure="leave out the steps that train on the graph, or train the torch module before it is exported",
    )


def _between(graph: ir.Graph, inputs: Collection[str], outputs: Collection[str]) -> Iterable[ir.Node]:
    """Returns the nodes that are needed to compute tensors from others, in order."""
    wanted = set(outputs)
    needed = []
    for node in reversed(graph):
        if not wanted.isdisjoint(set(_names(node.outputs)) - set(inputs)):
            needed.append(node)
            wanted.update(value.name or "" for value in node.inputs if value is not None and value.name not in inputs)
    return reversed(needed)


def _constants(graph: ir.Graph, nodes: Sequence[ir.Node], outputs: Collection[str]) -> list[ir.Value]:
    read = {value.name for node in nodes for value in node.inputs if value is not None} | set(outputs)
    return [value for value in graph.initializers.values() if value.name in read]


def _values(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _names(values: Iterable[ir.Value]) -> list[str]:
    return [value.name or "" for value in values]
