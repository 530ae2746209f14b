"""Keeps rounding that was chosen layer by layer only if it brings the whole model closer to the original.

The best choice for a layer's own output is not always best for the model. After an activation that is flat where most
values lie, or with few samples, the sum of such choices can be worse than rounding to nearest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx_ir as ir

from edgecomp.arrays import Arrays
from edgecomp.model import CompressedModel
from edgecomp.quantization.bias_correction import without_correction
from edgecomp.quantization.choice import closest

#: The number of batches to judge on: the last ones, which were not used for rounding if there are enough.
JUDGED_ON = 16


def closer(model: CompressedModel, graph: ir.Model, batches: Iterable[Arrays]) -> tuple[ir.Model, dict[str, Any]]:
    """Returns the better of two graphs with the same quantization table.

    Args:
        model: Quantized, with weights rounded to nearest.
        graph: The same graph with weights that round differently.
        batches: Calibration inputs in the graph's order.

    Returns:
        `graph`, or that of `model` if it is closer, and as facts for the provenance the signal-to-noise ratio of both.
    """
    last: list[Arrays] = []
    for batch in batches:
        last = [*last[1 - JUDGED_ON :], batch]
    exact = CompressedModel(without_correction(model, last).graph, dynamic=model.dynamic)
    other = model.after(model.provenance[-1], graph=graph)
    best, (chosen, nearest) = closest(exact, (other, model), last)  # the first of equals
    return (model.graph if best else graph), {"sqnr": {"nearest": nearest, "chosen": chosen}, "kept": not best}
