"""What tests of recovery measure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation


def sqnr(reference: CompressedModel, model: CompressedModel, data: Sequence[tuple[np.ndarray, ...]]) -> float:
    """Of all outputs on all data, in dB; at most 200."""
    signal = noise = 0.0
    real, simulated = Simulation(reference, threads=1), Simulation(model, threads=1)
    for batch in data:
        for expected, found in zip(real.run(batch), simulated.run(batch), strict=True):
            signal += float((expected.astype(np.float64) ** 2).sum())
            noise += float(((expected.astype(np.float64) - found) ** 2).sum())
    return float(10 * np.log10(signal / max(noise, signal * 1e-20)))
