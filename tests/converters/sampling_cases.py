"""Sampling at computed places."""

from __future__ import annotations

from case import Build, Case
from net import Net


def _grid_sample(mode: str, padding: str, align: int) -> Build:
    def build(net: Net) -> None:
        # The places are inputs, so that they are not rounded: nearest neighbours jump.
        source, grid = net.node("Relu", net.image(2, 4, 6, 8)), net.input(2, 5, 7, 2)
        net.output(net.node("GridSample", source, grid, mode=mode, padding_mode=padding, align_corners=align))

    return build


CASES: list[Case] = [
    Case(f"gridsample-{mode}-{padding}-{align}", _grid_sample(mode, padding, align), steps=2.0)
    for mode, padding, align in (
        ("linear", "zeros", 0),
        ("linear", "border", 1),
        ("nearest", "zeros", 1),
    )
]
ISLANDS = {"tflite": {case.name: ("GridSample",) for case in CASES}}
