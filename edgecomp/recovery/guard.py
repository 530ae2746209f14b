"""Keeps rounding that was chosen layer by layer only where the whole model is closer to the original for it.

What is best for a layer's own output is not always best for the model's: behind an activation that is flat where most
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

#: How many batches it is judged on: the last ones, from which rounding was not chosen when there are enough.
JUDGED_ON = 16


def closer(model: CompressedModel, graph: ir.Model, batches: Iterable[Arrays]) -> tuple[ir.Model, dict[str, Any]]:
    """One of two graphs with the same table.

    Args:
        model: Quantized, its weights rounded to nearest.
        graph: The same with weights that round otherwise.
        batches: Calibration inputs in the graph's order.

    Returns:
        `graph`, or that of `model` where that is closer, and the facts for the provenance: the signal to noise of both.
    """
    last: list[Arrays] = []
    for batch in batches:
        last = [*last[1 - JUDGED_ON :], batch]
    exact = CompressedModel(without_correction(model, last).graph, dynamic=model.dynamic)
    other = model.after(model.provenance[-1], graph=graph)
    best, (chosen, nearest) = closest(exact, (other, model), last)  # the first of equals
    return (model.graph if best else graph), {"sqnr": {"nearest": nearest, "chosen": chosen}, "kept": not best}
