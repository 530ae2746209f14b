"""How much work int8 is worth: the steps of each effort.

`benchmarks/recovery.py` measures what each gives on real networks, and what it costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edgecomp.quantization.static import StaticQuantization
from edgecomp.recovery.gptq import Gptq
from edgecomp.recovery.smoothing import Smoothing
from edgecomp.step import GraphStep

Effort = Literal["fast", "balanced", "best"]

DEFAULT: Effort = "balanced"

#: fast: ranges by one estimator, in one pass over the data.
#: balanced: large channels of Transformers evened out first, and the estimator that a few samples show to be best.
#: best: weights rounded by what inputs do together, besides.
INT8_STEPS: Mapping[Effort, tuple[GraphStep, ...]] = {
    "fast": (StaticQuantization(estimator="mse"),),
    "balanced": (Smoothing(), StaticQuantization(estimator="measured")),
    "best": (Smoothing(), StaticQuantization(estimator="measured"), Gptq()),
}
