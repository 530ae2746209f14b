"""What of a quantized model computes in real numbers in every format alike: how much, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir

from edgecomp.graph.query import is_constant, is_float, shape_of
from edgecomp.inspection.macs import RULES
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme

_BY_SCHEME = "the portable scheme keeps it in float"
_BY_CHOICE = "mixed precision keeps it in float"


@dataclass(frozen=True)
class FloatShare:
    """What stays in float.

    Attributes:
        macs: The share of the multiplications.
        nodes: How many nodes of each operator.
        total: All nodes that compute real numbers.
        chosen: How many of the nodes mixed precision keeps in float.
    """

    macs: float
    nodes: Counter[str]
    total: int
    chosen: int = 0

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.nodes.most_common(4))
        more = " and others" if len(self.nodes) > 4 else ""
        by = {"mixed precision": self.chosen, "the rules of the scheme": self.nodes.total() - self.chosen}
        return (
            f"{self.nodes.total()} of {self.total} operators with {self.macs:.1%} of the multiplications compute in "
            f"float, by {' and '.join(cause for cause, count in by.items() if count)}: {kinds}{more}."
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
    chosen = _chosen(model)
    return FloatShare(
        share, Counter(node.op_type for node in real), len(nodes), sum(node.name in chosen for node in real)
    )


def reason_in_float(model: CompressedModel, name: str, op_type: str) -> str:
    """Why a node that could run in integers elsewhere computes in float in every format.

    Args:
        model: Quantized.
        name: The node's.
        op_type: Its operator.
    """
    if name in _chosen(model):
        return _BY_CHOICE
    return f"{_BY_SCHEME}; its constant weights are int8" if op_type in scheme.RECURRENT else _BY_SCHEME


def _chosen(model: CompressedModel) -> frozenset[str]:
    """The nodes that mixed precision keeps in float, searched or named by the user."""
    steps = (step for step in model.provenance if step.name == "mixed-precision")
    return frozenset(name for step in steps for name in step.facts.get("kept_in_float", ()))


def _computes(node: ir.Node) -> bool:
    """Whether a node makes real numbers of what flows through the model: not of constants, not of shapes."""
    return any(map(is_float, node.outputs)) and not all(is_constant(value) for value in node.inputs)


def node_macs(node: ir.Node) -> int:
    """The multiplications of one node; 0 for what multiplies no matrices."""
    rule = RULES.get(node.op_type)
    if rule is None:
        return 0
    return rule([() if value is None else shape_of(value) for value in node.inputs], shape_of(node.outputs[0]))
