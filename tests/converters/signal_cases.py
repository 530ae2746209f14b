"""Fourier transforms."""

from __future__ import annotations

import numpy as np
from case import Build, Case
from net import Net


def _dft(parts: int, axis: int, *, length: int | None = None, inverse: int = 0, onesided: int = 0) -> Build:
    def build(net: Net) -> None:
        source = net.node("Tanh", net.input(2, 12, 5, parts))
        size = None if length is None else np.array(length, np.int64)
        net.output(net.node("DFT", source, size, np.array(axis, np.int64), inverse=inverse, onesided=onesided))

    return build


def _spectrogram(net: Net) -> None:
    """The power of a windowed signal, through a filter bank."""
    frames = net.node(
        "STFT", net.input(1, 160, 1), np.array(8, np.int64), net.constant(np.hanning(32)), np.array(32, np.int64)
    )
    power = net.node("ReduceSumSquare", frames, np.array([-1]), keepdims=0)
    net.output(net.node("MatMul", power, net.constant(np.abs(np.random.default_rng(0).standard_normal((17, 6))))))


CASES: list[Case] = [
    Case("dft-real", _dft(1, 1)),
    Case("dft-half", _dft(1, 1, onesided=1)),
    Case("dft-complex-axis", _dft(2, 2, inverse=1)),
    Case("dft-padded", _dft(1, 1, length=16)),
    Case("stft-spectrogram", _spectrogram),
]

_DFT = [case.name for case in CASES if case.name.startswith("dft")]
ISLANDS = {
    "tflite": {**dict.fromkeys(_DFT, ("DFT",)), "stft-spectrogram": ("ReduceSumSquare", "STFT")},
    "mnn": dict.fromkeys(_DFT, ("Tanh",)),
}
