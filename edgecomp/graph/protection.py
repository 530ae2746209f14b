"""Keeps a quantization table true while a graph is rewritten by passes that know nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

import numpy as np
import onnx_ir as ir

from edgecomp.graph.query import constant
from edgecomp.graph.weights import KEPT_KEY
from edgecomp.quantization.parameters import QuantizationParameters

_DOMAIN = "edgecomp"


class Protection:
    """A context in which rewriting a graph leaves alone what a quantization table speaks of.

    1. An activation with parameters is an output of the graph meanwhile: no pass fuses or renames an output.
    2. An Identity whose result has parameters, or that gives a graph output a second name, is an operator that no pass
       knows meanwhile, and unlike any other.
    3. A constant may be folded into another. Then its numbers are others, and its entry goes.
    4. Where the table is about weights alone, rule 3 would leave nothing of it: they are not scaled.

    Args:
        graph: Changed in place.
        table: Parameters by name.
        weights_only: Whether rule 4 applies.
    """

    def __init__(
        self, graph: ir.Graph, table: Mapping[str, QuantizationParameters], *, weights_only: bool = False
    ) -> None:
        self._graph, self._table = graph, table
        self._kept = [value for name, value in graph.initializers.items() if weights_only and name in table]
        self._arrays = {name: constant(value) for name, value in graph.initializers.items() if name in table}
        self._outputs = len(graph.outputs)

    def __enter__(self) -> Protection:
        for value in self._kept:
            value.metadata_props[KEPT_KEY] = "integers"
        outputs = set(self._graph.outputs)
        for node in self._graph:
            self._hide(node)
            for value in node.outputs:
                if value.name in self._table and value not in outputs:
                    self._graph.outputs.append(value)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for value in self._kept:
            value.metadata_props.pop(KEPT_KEY, None)
        self._graph.outputs[self._outputs :] = []  # `del` would leave each value marked as an output
        for node in self._graph:
            if node.domain == _DOMAIN:
                node.domain, node.op_type = "", "Identity"
                node.attributes.clear()
        self._graph.opset_imports.pop(_DOMAIN, None)

    def surviving(self) -> dict[str, QuantizationParameters]:
        """The part of the table whose tensors are still there with the same numbers."""
        nodes = self._graph.all_nodes()  # a constant may be read in a loop alone
        alive = {value.name: value for node in nodes for value in (*node.inputs, *node.outputs) if value is not None}
        alive |= {value.name: value for value in (*self._graph.inputs, *self._graph.outputs)}
        return {
            name: entry
            for name, entry in self._table.items()
            if name in alive and self._is_unchanged(name, alive[name])
        }

    def _hide(self, node: ir.Node) -> None:
        result = node.outputs[0]
        if node.op_type == "Identity" and node.domain == "" and result.name in self._table:
            node.domain, node.op_type = _DOMAIN, "Requantize"
            node.attributes["name"] = ir.AttrString("name", result.name or "")
            self._graph.opset_imports[_DOMAIN] = 1

    def _is_unchanged(self, name: str, value: ir.Value) -> bool:
        before, after = self._arrays.get(name), constant(value)
        if before is None or after is None:
            return before is after
        return before is after or bool(np.array_equal(before, after))
