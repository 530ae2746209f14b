"""Normalizations."""

from __future__ import annotations

from typing import Any

import numpy as np
from case import Build, Case
from net import Net


def _norm(
    op: str, *constants: Any, shape: tuple[int, ...] = (1, 4, 6, 8), domain: str = "", **attributes: Any
) -> Build:
    """A normalization behind a Relu, so that it reads what is quantized."""

    def build(net: Net) -> None:
        source = net.node("Relu", net.image(*shape) if len(shape) == 4 else net.input(*shape))
        net.output(net.node(op, source, *constants, **attributes))

    return build


def _layer_norm_statistics(net: Net) -> None:
    source = net.node("Relu", net.input(2, 5, 8))
    net.output(*net.node("LayerNormalization", source, net.weight(8), net.weight(8), outputs=3))


def _skip_layer_norm(net: Net) -> None:
    left, right = (net.node("Relu", net.input(2, 5, 8)) for _ in range(2))
    net.output(
        net.node("SkipLayerNormalization", left, right, net.weight(8), net.weight(8), net.weight(8), domain=_MICROSOFT)
    )


_MICROSOFT = "com.microsoft"
_SCALE, _BIAS = (np.linspace(*ends, 4, dtype=np.float32) for ends in ((0.5, 2.0), (-1.0, 1.0)))
CASES: list[Case] = [
    Case("instancenorm", _norm("InstanceNormalization", _SCALE, _BIAS, epsilon=1e-3)),
    Case("instancenorm-1d", _norm("InstanceNormalization", _SCALE, _BIAS, shape=(2, 4, 9))),
    Case("groupnorm", _norm("GroupNormalization", _SCALE, _BIAS, num_groups=2), opset=21),
    Case("lrn", _norm("LRN", size=3, alpha=0.1, beta=0.5, bias=1.5), steps=2.0),
    Case("lpnorm-1", _norm("LpNormalization", p=1, axis=1)),
    Case("lpnorm-2", _norm("LpNormalization", p=2, axis=-1, shape=(3, 5))),
    Case("mvn", _norm("MeanVarianceNormalization", axes=[0, 2, 3]), steps=2.0),
    Case("layernorm-statistics", _layer_norm_statistics),
    Case("skiplayernorm", _skip_layer_norm),
]

_OPERATORS = {
    "instancenorm": "InstanceNormalization",
    "instancenorm-1d": "InstanceNormalization",
    "groupnorm": "GroupNormalization",
    "lrn": "LRN",
    "lpnorm-1": "LpNormalization",
    "lpnorm-2": "LpNormalization",
    "mvn": "MeanVarianceNormalization",
    "layernorm-statistics": "LayerNormalization",
    "skiplayernorm": "SkipLayerNormalization",
}
ISLANDS = {"tflite": {case: (operator,) for case, operator in _OPERATORS.items()}}
