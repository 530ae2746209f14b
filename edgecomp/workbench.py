"""What recipe steps work with besides the model: data, target, seed, progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edgecomp.arrays import Arrays
from edgecomp.converter import ConversionOptions
from edgecomp.data import collect_evaluation
from edgecomp.errors import DataError
from edgecomp.frontends.source import Source
from edgecomp.precision import PRECISIONS
from edgecomp.progress import Progress, silent
from edgecomp.target import TargetProfile

if TYPE_CHECKING:
    import torch

    from edgecomp.compression.training.data import TrainingData
    from edgecomp.data import CalibrationData, EvaluationData
    from edgecomp.step import GraphStep

__all__ = ["Progress", "Workbench"]


@dataclass(frozen=True)
class Workbench:
    """Data, functions and facts around a model.

    Attributes:
        source: The model as the user brought it, with the functions of its task. Its module is the teacher of a
            distillation: steps work on a copy.
        target: The device that the model is for.
        seed: The seed of everything that is random.
        calibration: Batches of inputs in the graph's order and shapes, to be read as often as needed; None when the
            user gave none.
        progress: Called as the work goes on.
        evaluation: Labelled samples that are not trained on, to report the metric on; None when the user gave none.
        training_samples: How many of the training data are used at most.
        following: The steps that round the model and refine it after that, for those in front of them that want to
            know what comes of their choice.
        checkpoints: A folder for what interrupted training goes on from, made when it is needed; None for nowhere.
        formats: What the model will be converted to.
        options: How it will be converted.
    """

    source: Source
    target: TargetProfile
    seed: int = 0
    calibration: CalibrationData | Sequence[Arrays] | None = None
    progress: Progress = silent
    evaluation: EvaluationData | None = None
    training_samples: int | None = None
    checkpoints: Path | None = None
    following: tuple[GraphStep, ...] = ()
    formats: tuple[str, ...] = ()
    options: ConversionOptions = field(default_factory=ConversionOptions)

    @property
    def teacher(self) -> torch.nn.Module:
        """The module before any compression, not to be changed."""
        assert self.source.module is not None, "steps on modules run on sources that have one"
        return self.source.module

    @cached_property
    def training(self) -> TrainingData:
        """The task's training data, drawn once.

        Raises:
            DataError: There are none, or they do not fit the model.
        """
        return self.collect_training()

    def collect_training(self) -> TrainingData:
        """The training data, drawn again: for tasks that augment at random.

        Raises:
            DataError: There are none, or they do not fit the model.
        """
        from edgecomp.compression.training.data import TrainingData

        opener = self.source.train_data
        if opener is None:
            raise no_training_data(self.source.name, "a step that trains")
        self.progress("training data", 0, 1)
        specs, limit = self.source.input_specs, self.training_samples
        samples = collect_evaluation(opener(), specs, subject="the training data", limit=limit)
        self.progress("training data", 1, 1)
        return TrainingData.all_of(samples)

    def metric(self, module: torch.nn.Module) -> float | None:
        """The task's first metric of a module on the evaluation data; None without a metric or data."""
        from edgecomp.compression.evaluation import metric_of
        from edgecomp.compression.training.data import TrainingData

        if self.evaluation is None or self.source.metrics is None:
            return None
        return metric_of(module, self.source, TrainingData.all_of(self.evaluation))

    @property
    def calibration_data(self) -> CalibrationData | Sequence[Arrays]:
        """The calibration batches, to be read as often as needed.

        Raises:
            DataError: There are none.
        """
        if self.calibration is None:
            raise DataError(
                f"{self.source.name}: the calibration data",
                expected="typical inputs, 100 or more, to measure the ranges of activations on",
                actual="none: the source has no calibration_data()",
                cure="add calibration_data() to the task, give --calibration, make inputs up with --data-free, or ask "
                "for a precision without: "
                + ", ".join(name for name, facts in PRECISIONS.items() if not facts.calibrated),
            )
        return self.calibration

    def calibration_batches(self, stage: str = "calibrate") -> Iterator[Arrays]:
        """The calibration batches, one after another, with progress.

        Args:
            stage: What the progress is called.

        Raises:
            DataError: There are none.
        """
        return self._counted(self.calibration_data, stage)

    def _counted(self, batches: CalibrationData | Sequence[Arrays], stage: str) -> Iterator[Arrays]:
        for done, batch in enumerate(batches):
            self.progress(stage, done, len(batches))
            yield batch
        self.progress(stage, len(batches), len(batches))


def no_training_data(source: str, needed_by: str) -> DataError:
    """What to say when there is nothing to train on.

    Args:
        source: The source's name.
        needed_by: Who wants it, in words.
    """
    return DataError(
        f"{source}: the training data",
        expected=f"labelled inputs, which {needed_by} learns from",
        actual="none: the source has no train_data()",
        cure="add train_data() to the task, which yields (inputs, labels) of any batch size, give --training, "
        "or leave out the steps that train; the others need calibration data at most",
    )
