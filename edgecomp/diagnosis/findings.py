"""Why a layer hurts: one small function for each cause, in a table.

A function examines the evidence and returns a description of what is wrong, or None. Only layers that hurt are examined
(see `report`), so a function need not check whether what it finds does any harm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgecomp.diagnosis.evidence import Evidence

#: A cause that explains this share of an error counts as its cause.
_MOST_OF_IT = 0.5
#: Attention scores that are not masked lie above this (see `quantization.attention`).
_MASKED = -1000.0


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a layer.

    Attributes:
        cause: Its short name.
        words: What is wrong, a sentence with numbers.
        cure: What helps.
    """

    cause: str
    words: str
    cure: str


@dataclass(frozen=True)
class Cause:
    """One kind of finding.

    Attributes:
        name: Short, as in `--json`.
        explain: The evidence -> what is wrong, or None.
        cure: What helps.
        weights: Whether it concerns the weight instead of the layer's tensor.
        last: Whether it is only checked if nothing else was found.
    """

    name: str
    explain: Callable[[Evidence], str | None]
    cure: str
    weights: bool = False
    last: bool = False


def _attention_mask(evidence: Evidence) -> str | None:
    low, _ = evidence.reach
    if low > _MASKED:
        return None
    (lowest, highest), share = evidence.span_between(_MASKED, np.inf), evidence.share_between(_MASKED, np.inf)
    integers = max(1, round((highest - lowest) / evidence.step))
    return (
        f"an attention mask reaches down to {low:.4g}, which makes one step {evidence.step:.3g}: the {share:.0%} of "
        f"the values that are not masked share {integers} integers"
    )


def _unlike_scales(evidence: Evidence) -> str | None:
    """Its tensor shares parameters with others that have a much larger range, mostly through a Concat."""
    low, high = evidence.reach
    own = high - low
    if evidence.fixed or own <= 0 or evidence.width < 4 * own:
        return None
    joined = evidence.joined_at()
    if joined is None:
        return None
    place, is_output = joined
    what = "one output holds numbers of unlike scales, such as boxes and scores" if is_output else "unlike scales meet"
    return (
        f"{what}: {place} gives all its inputs one range, {evidence.width:.4g} wide; this layer's values "
        f"use {own:.3g} of it, {max(1, round(own / evidence.step))} integers"
    )


def _saturated_bias(evidence: Evidence) -> str | None:
    parameters, weight = evidence.weight_parameters, evidence.weight
    if parameters is None or weight is None:
        return None
    integers = np.abs(parameters.quantize(weight)).astype(np.int64)
    axis = parameters.axis
    others = None if axis is None else tuple(each for each in range(weight.ndim) if each != axis)
    largest = np.atleast_1d(integers.max(axis=others))
    peaks = np.atleast_1d(np.abs(weight).max(axis=others))
    # Nearly dead channels have such weights too, but do no harm.
    empty = (peaks > 0.05 * np.median(peaks)) & (largest < 64)
    if not empty.any():
        return None
    return (
        f"the bias, or the range behind, is so large beside the weights of {int(empty.sum())} of {empty.size} channels "
        f"that these use {int(largest[empty].max())} of 127 integers: finer weights would overflow the accumulator"
    )


def _unlike_weights(evidence: Evidence) -> str | None:
    parameters = evidence.weight_parameters
    if parameters is None or parameters.per_channel or evidence.weight_spread < 8:
        return None
    return (
        f"its weights have one scale for all channels, and the largest channel is {evidence.weight_spread:.0f} times "
        f"the median one: most channels use {max(1, round(127 / evidence.weight_spread))} of 127 integers"
    )


def _outlier_weights(evidence: Evidence) -> str | None:
    parameters, weight = evidence.weight_parameters, evidence.weight
    if parameters is None or weight is None or evidence.weights_share < _MOST_OF_IT:
        return None
    integers = np.abs(parameters.quantize(weight))[weight != 0]
    usual = float(np.percentile(integers, 75)) if integers.size else 127.0
    if usual > 12:
        return None
    return f"a few large weights set the scales: three quarters of the weights use {usual:.0f} of 127 integers"


def _unlike_inputs(evidence: Evidence) -> str | None:
    if evidence.weight_parameters is None or evidence.weights_share < _MOST_OF_IT or evidence.input_spread < 16:
        return None
    return (
        f"its weights for some input channels are {evidence.input_spread:.0f} times as large as for others, and share "
        f"their scale: the small ones use {max(1, round(127 / evidence.input_spread))} of 127 integers"
    )


def _coarse_weights(evidence: Evidence) -> str | None:
    if evidence.weights_share < _MOST_OF_IT:
        return None
    return f"rounding its weights makes {evidence.weights_share:.0%} of its own error"


def _cut_off(evidence: Evidence) -> str | None:
    if evidence.fixed or evidence.parameters is None or evidence.measured.clipped < _MOST_OF_IT:
        return None
    (low, high), (lowest, highest) = evidence.parameters.range, evidence.reach
    return (
        f"its range, {low:.4g} to {high:.4g}, cuts off values that reach from {lowest:.4g} to {highest:.4g}, "
        f"which makes {evidence.measured.clipped:.0%} of its error"
    )


def _outliers(evidence: Evidence) -> str | None:
    if evidence.used > 0.2:
        return None
    low, high = evidence.common
    return (
        f"a few large values stretch its range: 99.9 % of the values lie in {low:.3g} to {high:.3g}, "
        f"{evidence.used:.0%} of it, and share {max(1, round(evidence.used * 255))} of 256 integers"
    )


def _outlier_channels(evidence: Evidence) -> str | None:
    if evidence.channel_spread < 8 or evidence.mean_spread < 4:
        return None
    peaks = evidence.measured.peaks
    large = int((peaks > peaks.max() / 4).sum())
    return (
        f"{large} of {peaks.size} channels are far larger than the others, up to {evidence.channel_spread:.0f} times "
        f"the median one, which is left {max(1, round(255 / evidence.channel_spread))} integers"
    )


def _swish_tail(evidence: Evidence) -> str | None:
    low, high = evidence.reach
    if not (evidence.is_swish and low < 0 < high and evidence.step):
        return None
    integers, share = -low / evidence.step, evidence.share_between(-np.inf, -evidence.step / 2)
    if integers > 16 or share < 0.1:
        return None
    return (
        f"a Swish tail: {share:.0%} of the values lie between {low:.2g} and 0, where a range up to {high:.3g} leaves "
        f"{max(1, round(integers))} integers"
    )


def _fixed_scale(evidence: Evidence) -> str | None:
    if not evidence.fixed:
        return None
    low, high = evidence.common
    if max(-low, high) > 0.25 * evidence.width:
        return None
    return (
        f"{evidence.op_type} has the fixed step {evidence.step:.3g} in every runtime, and 99.9 % of its values lie "
        f"within {max(-low, high):.2g}: they share {max(1, round((high - low) / evidence.step))} integers"
    )


def _magnified(evidence: Evidence) -> str | None:
    if evidence.gain < 6:
        return None
    return (
        f"its own error is small ({evidence.measured.own.sqnr:.0f} dB), but what comes behind magnifies it by "
        f"{evidence.gain:.0f} dB"
    )


_ISLAND = "keep it in float with --keep-float"

#: Ordered by how much they explain.
CAUSES: tuple[Cause, ...] = (
    Cause("attention-mask", _attention_mask, f"{_ISLAND}: no integers hold a mask and scores"),
    Cause("unlike-scales", _unlike_scales, f"give the parts outputs of their own, or {_ISLAND}"),
    Cause("saturated-bias", _saturated_bias, f"bring the mean of its input near zero, or {_ISLAND}", weights=True),
    Cause("unlike-weights", _unlike_weights, "per_channel = true in the recipe, or equalization", weights=True),
    Cause("outlier-weights", _outlier_weights, f"learned rounding, or {_ISLAND}", weights=True),
    Cause("unlike-inputs", _unlike_inputs, f"equalization with the layer before, or {_ISLAND}", weights=True),
    Cause("cut-off", _cut_off, "--estimator minmax, or calibration data that are like what it meets later"),
    Cause("fixed-scale", _fixed_scale, _ISLAND),
    Cause("outlier-channels", _outlier_channels, f"equalization, SmoothQuant in front of a product, or {_ISLAND}"),
    Cause("swish-tail", _swish_tail, f"{_ISLAND}, --precision int16x8, or train with ReLU or ReLU6 instead"),
    Cause("outliers", _outliers, f"--estimator percentile, or {_ISLAND}", last=True),
    Cause("coarse-weights", _coarse_weights, f"learned rounding, or {_ISLAND}", weights=True, last=True),
    Cause("magnified", _magnified, f"{_ISLAND}, or --precision int16x8", last=True),
)

_ANYTHING = Finding(
    "coarse", "256 evenly spaced integers are too few for its values", f"{_ISLAND}, or --precision int16x8"
)


def explain(evidence: Evidence) -> tuple[Finding, ...]:
    """Returns everything that is wrong with a layer that hurts; at least one finding."""
    found: list[Finding] = []
    for cause in CAUSES:
        words = None if cause.last and found else cause.explain(evidence)
        if words is not None:
            found.append(Finding(cause.name, words, cause.cure))
    return tuple(found) or (_ANYTHING,)
