"""Of several ways to quantize a model, the one whose simulation is closest to the float model on calibration data.

Clipping rare large values helps one network and ruins another, and no statistic of single tensors tells which: in a
Transformer the rare values carry the meaning, in a convolutional network most are outliers. Running the few candidates
on a few samples tells it, whatever the network. A candidate is judged by the median over the batches: one sample at the
edge of a decision can change a sum by more than all others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecomp.arrays import Array, Arrays
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.system.memory import give_back
from edgecomp.verification.comparison import EQUAL, decibels


def closest(
    original: CompressedModel, candidates: Sequence[CompressedModel], batches: Sequence[Arrays], *, threads: int = 0
) -> tuple[int, list[float]]:
    """Chooses among candidates.

    Args:
        original: The float model.
        candidates: Quantized versions of it.
        batches: What to run them on.
        threads: How many threads compute; 0 for one a core.

    Returns:
        The index of the best, and the SQNR of each in dB: median over the batches, mean over the outputs in float.
    """
    reference = _outputs(original, batches, threads)
    found = [_mean_sqnr(reference, _outputs(candidate, batches, threads)) for candidate in candidates]
    return int(np.argmax(found)), found


def _outputs(model: CompressedModel, batches: Sequence[Arrays], threads: int) -> list[Sequence[Array]]:
    give_back()  # the graph that ran before
    return list(Simulation(model, threads=threads, streaming=True).run_all(batches))


def _mean_sqnr(reference: Sequence[Sequence[Array]], found: Sequence[Sequence[Array]]) -> float:
    columns = zip(zip(*reference, strict=True), zip(*found, strict=True), strict=True)
    ratios = [_sqnr(real, other) for real, other in columns if real[0].dtype.kind == "f"]
    return float(np.mean(ratios)) if ratios else 0.0


def _sqnr(reference: Sequence[Array], found: Sequence[Array]) -> float:
    """The median over batches of one output."""
    return float(np.median([_of_batch(real, other) for real, other in zip(reference, found, strict=True)]))


def _of_batch(real: Array, other: Array) -> float:
    """What overflows is worst."""
    signal = float(np.square(real, dtype=np.float64).sum())
    noise = float(np.square(real.astype(np.float64) - other).sum())
    if not np.isfinite(noise):
        return -EQUAL
    return decibels(signal, noise)
