"""Sampling at computed places."""

from __future__ import annotations

import numpy as np
from case import Build, Case
from net import Net


def _grid_sample(mode: str, padding: str, align: int) -> Build:
    def build(net: Net) -> None:
        # The places are inputs, so that they are not rounded: nearest neighbours jump.
        source, grid = net.node("Relu", net.image(2, 4, 6, 8)), net.input(2, 5, 7, 2)
        net.output(net.node("GridSample", source, grid, mode=mode, padding_mode=padding, align_corners=align))

    return build


def _col2im(image: list[int], block: list[int], **attributes: list[int]) -> Build:
    def build(net: Net) -> None:
        source = net.node("Relu", net.input(2, 3 * block[0] * block[1], 16))
        sizes = [net.constant(np.array(size, np.int64)) for size in (image, block)]
        net.output(net.node("Col2Im", source, *sizes, **attributes))

    return build


CASES: list[Case] = [
    Case(f"gridsample-{mode}-{padding}-{align}", _grid_sample(mode, padding, align), steps=2.0)
    for mode, padding, align in (
        ("linear", "zeros", 0),
        ("linear", "border", 1),
        ("nearest", "zeros", 1),
    )
] + [
    Case("col2im-strides", _col2im([7, 9], [3, 3], strides=[2, 2], pads=[1, 0, 1, 0])),
    Case("col2im-dilations", _col2im([5, 8], [2, 3], dilations=[1, 2])),
]
_OPERATORS = {"gridsample": "GridSample", "col2im": "Col2Im"}
ISLANDS = {"tflite": {case.name: (_OPERATORS[case.name.partition("-")[0]],) for case in CASES}}
