"""The steps of each effort for int8.

`benchmarks/accuracy.py` measures their accuracy and cost on real networks.
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

#: A predicted gain below this, in dB, is as often a loss; networks that need equalization gain 20 and more.
_CLEAR = 10.0

#: Outputs with this signal-to-noise ratio, in dB, seldom change an answer.
ENOUGH = 20.0

#: Steps that make the float graph easier to round, without changing its results.
_EVENED = (Equalization(least_gain=_CLEAR), Smoothing())

_MEASURED = StaticQuantization(estimator="measured")

#: fast: ranges by one estimator, in one pass over the data.
#: balanced: first equalizes channels, and smooths large channels of Transformers, where that clearly helps; then takes
#: the estimator that is best on a few samples.
#: best: also keeps as few layers in float as needed for `ENOUGH`, with at most half of the multiplications, and rounds
#: weights by the correlations of their inputs.
INT8_STEPS: Mapping[Effort, tuple[GraphStep, ...]] = {
    "fast": (StaticQuantization(estimator="mse"),),
    "balanced": (*_EVENED, _MEASURED),
    "best": (*_EVENED, MixedPrecision(min_sqnr=ENOUGH, strict=False), _MEASURED, Gptq()),
}
