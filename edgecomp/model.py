"""The model that passes between the parts of edgecomp: a graph, its quantization table, and its provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgecomp.precision import Precision
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.shapes import InputShapes

if TYPE_CHECKING:
    import onnx_ir as ir  # it loads sympy, which takes longer than bundling a model


@dataclass(frozen=True)
class Step:
    """One thing that was done to a model.

    Attributes:
        name: The step, as a recipe names it: "export", "simplify", "quantize".
        settings: The settings that it ran with, as plain data.
        facts: What it found: counts, hashes, versions, metrics.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CompressedModel:
    """A model between its source and its artifacts.

    Attributes:
        graph: A float ONNX model in memory, simplified: constants and BatchNorm folded, shapes inferred, every node
            and value named. It holds no QuantizeLinear or DequantizeLinear node. Passes return a new one.
        quantization: Tensor name -> parameters, for activations, weights and biases alike; empty for a float model.
            A node runs in integers when all its tensors are listed here (see `quantization.scheme`); one of which only
            the weight is listed computes in float with the numbers that the integers stand for.
        provenance: Every step so far.
        precision: What was asked of the artifacts; what is in `graph` and `quantization` has been prepared for it.
        dynamic: Which dimensions of the inputs and outputs are dynamic; None when none is. The graph holds for any
            size of these, and its shapes are those at the example sizes.
    """

    graph: ir.Model
    quantization: Mapping[str, QuantizationParameters] = field(default_factory=dict)
    provenance: tuple[Step, ...] = ()
    precision: Precision = "fp32"
    dynamic: InputShapes | None = None

    @property
    def weights_only(self) -> bool:
        """Whether the quantization table is about weights alone, and activations are real numbers."""
        return self.precision in {"dynamic-int8", "weight-int8", "weight-int4"}

    def after(self, step: Step, **changes: Any) -> CompressedModel:
        """A copy with `changes` applied and `step` added to the provenance."""
        return replace(self, provenance=(*self.provenance, step), **changes)
