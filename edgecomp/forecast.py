"""Predicts what each format would do with each node of a model, without keeping any output."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import onnx_ir as ir

from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import ConversionError, UnsupportedOperatorError
from edgecomp.graph.modules import module_of
from edgecomp.graph.query import is_float
from edgecomp.model import CompressedModel
from edgecomp.precision import Precision
from edgecomp.quantization.float_share import reason_in_float
from edgecomp.quantization.scheme import runs_in_integers, stays_in_float

#: The model's precision, for nodes that take part in it; "float": computed as in the source; "island": in float inside
#: a model of integers; "refused": not supported.
Verdict = Precision | Literal["float", "island", "refused"]


@dataclass(frozen=True)
class NodeForecast:
    """The prediction for one node.

    Attributes:
        node: Its name; "" for the model as a whole.
        op_type: Its operator.
        module: The torch module that it came from, "" if unknown.
        verdict: How the node is treated.
        reason: Why it is an island, or refused.
        cure: What to do if it is refused.
    """

    node: str
    op_type: str
    module: str
    verdict: Verdict
    reason: str = ""
    cure: str = ""


@dataclass(frozen=True)
class FormatForecast:
    """What one format would do.

    Attributes:
        format: The converter's name.
        runtime: With its version.
        nodes: In the order of the graph; behind them what concerns the model as a whole.
    """

    format: str
    runtime: str
    nodes: tuple[NodeForecast, ...]

    @property
    def converts(self) -> bool:
        """Whether nothing is refused."""
        return all(node.verdict != "refused" for node in self.nodes)


@dataclass(frozen=True)
class Forecast:
    """What all the formats would do.

    Attributes:
        source: Short name of the source.
        precision: The model's.
        formats: In the order of the recipe.
        notes: What was assumed, as whole sentences.
    """

    source: str
    precision: Precision
    formats: tuple[FormatForecast, ...]
    notes: tuple[str, ...] = ()

    @property
    def converts(self) -> bool:
        """Whether every format takes the whole model."""
        return all(entry.converts for entry in self.formats)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        formats = [asdict(entry) | {"converts": entry.converts} for entry in self.formats]
        return asdict(self) | {"formats": formats, "converts": self.converts}


def forecast_format(name: str, model: CompressedModel, options: ConversionOptions) -> FormatForecast:
    """Asks a converter about every node.

    If it refuses none, it converts the model into a temporary folder, because the nodes that MNN computes in float are
    only visible in its output. If it refuses some, the islands are those of the portable scheme.
    """
    converter = load_converter(name)
    refused: dict[str, NodeForecast] = {}
    islands: dict[str, str] = {}
    for problem in converter.check(model, options):
        refused[problem.node] = NodeForecast(problem.node, problem.op_type, "", "refused", problem.reason, problem.cure)
    if not refused:
        try:
            with tempfile.TemporaryDirectory(prefix="edgecomp-forecast-") as folder:
                conversion = converter.convert(model, Path(folder) / f"model{converter.suffixes[0]}", options)
            islands = {island.node: island.reason for island in conversion.islands}
        except (ConversionError, UnsupportedOperatorError) as error:
            refused[""] = NodeForecast("", "", "", "refused", error.actual, error.cure)
    nodes = [_verdict(node, model, refused.pop(node.name or "", None), islands) for node in model.graph.graph]
    return FormatForecast(name, converter.runtime, (*nodes, *refused.values()))


def _verdict(
    node: ir.Node, model: CompressedModel, problem: NodeForecast | None, islands: dict[str, str]
) -> NodeForecast:
    name, module = node.name or "", module_of(node)
    if problem is not None:
        return NodeForecast(name, node.op_type, module, "refused", problem.reason, problem.cure)
    if name in islands:
        return NodeForecast(name, node.op_type, module, "island", islands[name])
    if _takes_part(node, model):
        return NodeForecast(name, node.op_type, module, model.precision)
    if (
        model.quantization
        and not model.weights_only
        and all(any(map(is_float, values)) for values in (node.inputs, node.outputs))
    ):
        return NodeForecast(name, node.op_type, module, "island", reason_in_float(model, name, node.op_type))
    return NodeForecast(name, node.op_type, module, "float")


def _takes_part(node: ir.Node, model: CompressedModel) -> bool:
    """Whether a node is computed, or has its weight, in the model's precision rather than in float32."""
    if model.weights_only:
        return any(value is not None and value.name in model.quantization for value in node.inputs)
    if model.precision == "fp16":
        return not stays_in_float(node) and any(map(is_float, node.outputs))
    return runs_in_integers(node, model.quantization)
