"""Efforts read calibration data batch by batch: however many there are, few are in memory at once."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from graphs import SHAPE, model_of, node, weights

from edgecomp.frontends import Source
from edgecomp.quantization.static import CHOSEN_ON
from edgecomp.recovery.effort import INT8_STEPS, Effort
from edgecomp.target import load_target
from edgecomp.workbench import Workbench

BATCHES = 150


class Watched:
    """Batches that count how many of themselves live."""

    def __init__(self) -> None:
        self.alive = self.most = self.read = 0

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[tuple[npt.NDArray[Any]]]:
        random = np.random.default_rng(0)
        for _ in range(BATCHES):
            array = random.normal(size=SHAPE).astype(np.float32)
            self.alive += 1
            self.read += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(array, self._gone)
            yield (array,)
            del array

    def _gone(self) -> None:
        self.alive -= 1


class Named:
    """Of a source, what steps on a graph ask for."""

    name, metrics = "net", ()


@pytest.mark.parametrize("effort", INT8_STEPS)
def test_memory_does_not_grow_with_the_number_of_batches(effort: Effort) -> None:
    wide, narrow = weights(3, 3, 1, 1), weights(3, 3, 1, 1, seed=1)
    wide[0] *= 1000  # so that `best` has to search
    model = model_of(node("Conv", "x w", "a"), node("HardSwish", "a", "b"), node("Conv", "b v", "y"), w=wide, v=narrow)
    steps, watched = INT8_STEPS[effort], Watched()
    following = tuple(step for step in steps if step.stage in {"precision", "refinement"})
    bench = Workbench(
        cast("Source", Named), load_target("raspberry-pi-4b"), 0, cast("Any", watched), following=following
    )
    for step in steps:
        model = step.apply(model, bench)
    assert watched.read >= BATCHES
    assert watched.most <= CHOSEN_ON + 4
