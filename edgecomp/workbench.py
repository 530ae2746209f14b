"""What the steps of a recipe work with besides the model that they change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecomp.errors import DataError
from edgecomp.frontends.source import Arrays, Source
from edgecomp.precision import PRECISIONS
from edgecomp.target import TargetProfile

if TYPE_CHECKING:
    import torch

    from edgecomp.data import CalibrationData

#: Called with what is being done, and how much of how much is done.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Workbench:
    """Data, functions and facts around a model.

    Attributes:
        source: The model as the user brought it, with the functions of its task. Its module is the teacher of a
            distillation: steps work on a copy.
        target: The device that the model is for.
        seed: Of everything random.
        calibration: Batches of inputs in the graph's order and shapes, to be read as often as needed; None when the
            user gave none.
        progress: Called as the work goes on.
    """

    source: Source
    target: TargetProfile
    seed: int = 0
    calibration: CalibrationData | Sequence[Arrays] | None = None
    progress: Progress = lambda stage, done, total: None

    @property
    def teacher(self) -> torch.nn.Module:
        """The module before any compression, not to be changed."""
        assert self.source.module is not None, "steps on modules run on sources that have one"
        return self.source.module

    def calibration_batches(self, stage: str = "calibrate") -> Iterator[Arrays]:
        """The calibration batches, one after another, with progress.

        Args:
            stage: What the progress is called.

        Raises:
            DataError: There are none.
        """
        batches = self.calibration
        if batches is None:
            raise DataError(
                f"{self.source.name}: the calibration data",
                expected="typical inputs, 100 or more, to measure the ranges of activations on",
                actual="none: the source has no calibration_data()",
                cure="add calibration_data() to the task, give --calibration, or ask for a precision without: "
                + ", ".join(name for name, facts in PRECISIONS.items() if not facts.calibrated),
            )
        return self._counted(batches, stage)

    def _counted(self, batches: CalibrationData | Sequence[Arrays], stage: str) -> Iterator[Arrays]:
        for done, batch in enumerate(batches):
            self.progress(stage, done, len(batches))
            yield batch
        self.progress(stage, len(batches), len(batches))
