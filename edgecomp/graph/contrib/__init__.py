"""ONNX Runtime's own operators (domain com.microsoft), written with ONNX's.

Files that its optimizer or its tools for transformers saved are full of them, and no other runtime knows one. Each has
a small function here, a decomposition like those of `graph.decompositions`; a module in this folder that has a table
`CONTRIB` is found by being here. Operators on integers with constant scales, such as QLinearAdd, are `graph.qlinear`'s.

Specification: ONNX Runtime's docs/ContribOperators.md.
"""

from __future__ import annotations

import importlib
import pkgutil

import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces
from edgecomp.graph.query import ORIGIN_KEY, ORIGIN_TYPE_KEY

CONTRIB: dict[str, Decomposition] = {}
for _module in pkgutil.iter_modules(__path__):
    _table = getattr(importlib.import_module(f"{__name__}.{_module.name}"), "CONTRIB", {})
    assert not CONTRIB.keys() & _table.keys(), f"{_module.name}: an operator has two entries"
    CONTRIB |= _table

#: Operators on integers that are `graph.qlinear`'s when their channels are second.
WITH_CHANNELS_LAST = frozenset({"QLinearAveragePool", "QLinearConv", "QLinearGlobalAveragePool"})
#: ONNX Runtime's domain, and the one of operators on its own blocks of channels.
DOMAIN, BLOCKED_DOMAIN = "com.microsoft", "com.microsoft.nchwc"
#: Operators that ONNX Runtime has in ONNX's own domain: since when ONNX has them too, if it has.
ADOPTED: dict[str, int | None] = {"LayerNormalization": 17, "SimplifiedLayerNormalization": None}


def contrib_nodes(model: ir.Model) -> list[ir.Node]:
    """The nodes that `spell_contrib` has a table entry for, in the graph's order, those of subgraphs too."""
    opset = model.opset_imports.get("", 1)
    return [
        node
        for node in model.graph.all_nodes()
        if node.op_type in CONTRIB
        and (node.domain == DOMAIN or (node.domain == "" and is_adopted(node.op_type, opset)))
        and (node.op_type not in WITH_CHANNELS_LAST or _has_channels_last(node))
    ]


def _has_channels_last(node: ir.Node) -> bool:
    return node.attributes.get_int("channels_last", 0) != 0


def is_adopted(op_type: str, opset: int) -> bool:
    """Whether ONNX Runtime has an operator in ONNX's domain that is not in an opset of ONNX."""
    since = ADOPTED.get(op_type, 0)
    return since is None or opset < since


def spell_contrib(model: ir.Model) -> bool:
    """Replaces ONNX Runtime's own operators by ONNX's, in place.

    Args:
        model: Ranks and types of what these operators read should be there; a function that needs more than it finds
            leaves its node, and the metadata `WHOLE_KEY` of the node says why.

    Returns:
        Whether anything was replaced.
    """
    opset, changed = model.opset_imports.get("", 1), False
    for node in contrib_nodes(model):
        node.metadata_props.setdefault(ORIGIN_KEY, node.name or "")
        node.metadata_props.setdefault(ORIGIN_TYPE_KEY, node.op_type)
        changed |= Pieces(node, opset).put_in_place(CONTRIB[node.op_type])
    return changed
