"""Which torch module, or Keras layer, each part of a graph came from, and how that outlives the graph.

A node carries its module in its metadata. Most formats keep no such thing, but all keep names: a tensor called
"encoder.conv/Relu_output" says where it comes from, and what does not say it by its name is listed beside the
description of inputs and outputs that every artifact carries (`interface.Interface.modules`).
"""

from __future__ import annotations

import onnx_ir as ir

from edgecomp.graph.query import MODULE_KEY
from edgecomp.interface import module_in_name


def module_of(node: ir.Node) -> str:
    """The module that a node came from, "" when nothing tells."""
    return str(node.metadata_props.get(MODULE_KEY) or "")


def modules_beyond_names(graph: ir.Graph) -> dict[str, str]:
    """The modules of nodes and values whose names do not tell them: name -> module."""
    found: dict[str, str] = {}
    for node in graph:
        module = module_of(node)
        for name in (node.name, *(value.name for value in node.outputs)) if module else ():
            if name and module_in_name(name) != module:
                found[name] = module
    return found
