"""How much work int8 is worth: the steps of each effort.

`benchmarks/accuracy.py` measures what each gives on real networks, and what it costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.quantization.static import StaticQuantization
from edgecomp.recovery.equalization import Equalization
from edgecomp.recovery.gptq import Gptq
from edgecomp.recovery.smoothing import Smoothing
from edgecomp.step import GraphStep

Effort = Literal["fast", "balanced", "best"]

DEFAULT: Effort = "balanced"

#: A predicted gain of less than this, in dB, is as often a loss; networks that need it have 20 and more.
_CLEAR = 10.0

#: Outputs with that much signal to noise, in dB, seldom change an answer.
ENOUGH = 20.0

#: What makes the float graph easier to round, and computes the same.
_EVENED = (Equalization(least_gain=_CLEAR), Smoothing())

_MEASURED = StaticQuantization(estimator="measured")

#: fast: ranges by one estimator, in one pass over the data.
#: balanced: channels of unlike size, and large channels of Transformers, evened out first where that clearly helps, and
#: the estimator that a few samples show to be best.
#: best: besides, as few layers in float as it takes to keep `ENOUGH`, half of the multiplications at most; and weights
#: rounded by what inputs do together.
INT8_STEPS: Mapping[Effort, tuple[GraphStep, ...]] = {
    "fast": (StaticQuantization(estimator="mse"),),
    "balanced": (*_EVENED, _MEASURED),
    "best": (*_EVENED, MixedPrecision(min_sqnr=ENOUGH, strict=False), _MEASURED, Gptq()),
}
