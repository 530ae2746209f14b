"""Gives an exported graph names that a person can follow back to the torch module, the same for every exporter."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable

import onnx_ir as ir

from edgecomp.graph.query import MODULE_KEY
from edgecomp.interface import module_in_name

#: What the exporters call the wrapper around the user's module (see `torch_export`).
_WRAPPER = "module"

_SLOTS = {
    "Conv": ("", "weight", "bias"),
    "ConvTranspose": ("", "weight", "bias"),
    "Gemm": ("", "weight", "bias"),
    "MatMul": ("weight", "weight"),
    "LSTM": ("", "W", "R", "B"),
    "GRU": ("", "W", "R", "B"),
    "RNN": ("", "W", "R", "B"),
}
#: Operators that the exporters fuse a BatchNorm into.
_FUSED = frozenset({"Conv", "ConvTranspose", "Gemm"})
#: The names that the two exporters give to weights that they computed.
_ANONYMOUS = re.compile(r"onnx::.*|val_\d+")


def unwrap(path: str) -> str:
    """A module's path without the wrapper that stood around the user's module."""
    return "" if path == _WRAPPER else path.removeprefix(f"{_WRAPPER}.")


def mark_modules(graph: ir.Graph) -> None:
    """Marks the nodes of an ONNX file that PyTorch exported with their modules, in place: as the torch.export exporter
    recorded them, or as the TorchScript one's names tell. Nodes that are marked already, and others, stay as they are.
    """
    for node in graph:
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
        if MODULE_KEY in node.metadata_props:
            continue
        if scopes:
            # The last scope is the torch operator's own name.
            node.metadata_props[MODULE_KEY] = next((scope for scope in reversed(_scopes(scopes)[:-1]) if scope), "")
        elif str(node.name or "").startswith("/"):
            node.metadata_props[MODULE_KEY] = module_in_name(str(node.name))


def carry_modules(source: ir.Graph, target: ir.Graph) -> None:
    """Marks the nodes of `target` as those of the same name in `source` are marked, in place.

    ONNX's own converter between opsets keeps names and drops what nodes carry.
    """
    modules = {node.name: node.metadata_props[MODULE_KEY] for node in source if MODULE_KEY in node.metadata_props}
    for node in target:
        if node.name in modules:
            node.metadata_props.setdefault(MODULE_KEY, modules[node.name])


def _scopes(recorded: str) -> list[str]:
    """What the torch.export exporter wrote; nothing when it is damaged."""
    try:
        return [str(scope) for scope in ast.literal_eval(recorded)]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return []


def name_by_module(model: ir.Model, modules: Iterable[str], *, wrapped: bool) -> None:
    """Marks every node with its module and names nodes, values and weights after it, in place.

    1. A node's module is what the exporter recorded: the last component of the TorchScript exporter's node name that is
       a module, or the last such scope of the torch.export one's metadata.
    2. A fused Conv and BatchNorm is recorded under either, and belongs to the convolution: to "a.conv" when it reads
       "a.conv.weight". (Not so for every operator: the exporters share equal weights, such as those of two
       normalizations before training.)
    3. A node is "module/OpType", with "_1", "_2" behind a name that is taken. Its outputs carry its name.
    4. A weight that the exporter made anonymous ("onnx::Conv_25", "val_16") is named after the node that reads it.
    5. Everything else that the exporters write into a node's metadata is dropped: stack traces hold paths of the
       user's disk and differ from machine to machine.

    Args:
        model: An exported model.
        modules: The paths of all submodules, as `named_modules` gives them, wrapper included.
        wrapped: Whether the exporter saw the module inside the wrapper.
    """
    known = frozenset(modules)
    strip = unwrap if wrapped else str
    graph = model.graph
    model.metadata_props.clear()
    graph.metadata_props.clear()
    taken = {str(value.name) for value in (*graph.inputs, *graph.outputs, *graph.initializers.values())}
    for value in list(graph.initializers.values()):
        if wrapped and (name := unwrap(str(value.name))) not in taken:
            taken.add(name)
            value.name = name
    used: Counter[str] = Counter()
    for node in ir.traversal.RecursiveGraphIterator(graph):
        module = strip(_recorded_module(node, known))
        weight = node.inputs[1] if node.op_type in _FUSED else None
        if weight is not None and weight.is_initializer():
            owner, _, leaf = str(weight.name).rpartition(".")
            if leaf == "weight" and (f"{_WRAPPER}.{owner}" if wrapped else owner) in known:
                module = owner
        node.doc_string = None
        node.metadata_props.clear()
        node.metadata_props[MODULE_KEY] = module
        stem = f"{module}/{node.op_type}" if module else node.op_type
        while True:
            node.name = stem + (f"_{used[stem]}" if used[stem] else "")
            used[stem] += 1
            if node.name not in taken:
                break
        taken.add(node.name)
        _name_weights(graph, node, module, taken)
        for index, output in enumerate(node.outputs):
            output.metadata_props.clear()
            # An output that a node leaves out is spelt "" in ONNX.
            if output.name != "" and not output.is_graph_output():
                output.name = f"{node.name}_output" + (f"_{index}" if index else "")


def _recorded_module(node: ir.Node, known: frozenset[str]) -> str:
    if "pkg.torch.onnx.name_scopes" in node.metadata_props:
        scopes = _scopes(node.metadata_props["pkg.torch.onnx.name_scopes"])
    else:
        parts = [part for part in str(node.name or "").split("/") if part]
        # The parts are whole paths, or, in a module that is a TorchScript program, the names along one path.
        scopes = [scope for end, part in enumerate(parts, 1) for scope in (".".join(parts[:end]), part)]
    return next((scope for scope in reversed(scopes) if scope and scope in known), "")


def _name_weights(graph: ir.Graph, node: ir.Node, module: str, taken: set[str]) -> None:
    for index, value in enumerate(node.inputs):
        if value is None or not value.is_initializer() or not _ANONYMOUS.fullmatch(str(value.name)):
            continue
        slots = _SLOTS.get(node.op_type, ())
        if index < len(slots) and slots[index]:
            name = f"{module}.{slots[index]}" if module else slots[index]
        else:
            name = f"{node.name}_constant_{index}"
        if name in taken:
            name = f"{node.name}_{name.rpartition('.')[2]}"
        if name not in taken and value.graph is graph:
            taken.add(name)
            value.name = name
