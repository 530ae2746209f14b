"""How much of a quantized model computes in real numbers, by the rules of the scheme: in every format alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir

from edgecomp.graph.query import is_constant, is_float, shape_of
from edgecomp.inspection.macs import RULES
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme


@dataclass(frozen=True)
class FloatShare:
    """What stays in float.

    Attributes:
        macs: The share of the multiplications.
        nodes: How many nodes of each operator.
        total: All nodes that compute real numbers.
    """

    macs: float
    nodes: Counter[str]
    total: int

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.nodes.most_common(4))
        more = " and others" if len(self.nodes) > 4 else ""
        return (
            f"{self.nodes.total()} of {self.total} operators with {self.macs:.1%} of the multiplications compute in "
            f"float, by the rules of the scheme: {kinds}{more}."
        )


def float_share(model: CompressedModel) -> FloatShare:
    """Counts.

    Args:
        model: In static int8 or int16x8.
    """
    nodes = [node for node in model.graph.graph if _computes(node)]
    real = [node for node in nodes if not scheme.runs_in_integers(node, model.quantization)]
    total = sum(node_macs(node) for node in nodes)
    share = sum(node_macs(node) for node in real) / total if total else 0.0
    return FloatShare(share, Counter(node.op_type for node in real), len(nodes))


def _computes(node: ir.Node) -> bool:
    """Whether a node makes real numbers of what flows through the model: not of constants, not of shapes."""
    return any(map(is_float, node.outputs)) and not all(is_constant(value) for value in node.inputs)


def node_macs(node: ir.Node) -> int:
    """The multiplications of one node; 0 for what multiplies no matrices."""
    rule = RULES.get(node.op_type)
    if rule is None:
        return 0
    return rule([() if value is None else shape_of(value) for value in node.inputs], shape_of(node.outputs[0]))
