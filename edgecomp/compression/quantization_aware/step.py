"""Quantization-aware training as a step of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgecomp.compression.training.settings import Training
from edgecomp.errors import InputError
from edgecomp.model import CompressedModel, Step
from edgecomp.step import Stage, check_setting

if TYPE_CHECKING:
    import torch

    from edgecomp.compression.training.objective import Objective
    from edgecomp.frontends.source import Source
    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class QuantizationAwareTraining(Training):
    """Settings of quantization-aware training, which comes after static-int8 or static-int16x8.

    A part of the training data is held out. The weights that are best on it are kept, including those before training.

    Attributes:
        teacher: "original" adds the distance to the outputs of the model before any compression; "none" does not.
        teacher_weight: The share of that distance in the loss, in (0, 1]; with 1 the labels do not matter.
        temperature: The temperature of class outputs in the comparison with the teacher.
        keep_zeros: Whether weights that are exactly zero, because they were pruned, stay zero.
    """

    kind: ClassVar[str] = "qat"
    stage: ClassVar[Stage] = "refinement"
    epochs: int = 3
    learning_rate: float = 2e-4
    early_stop: bool = True
    teacher: Literal["none", "original"] = "none"
    teacher_weight: float = 0.5
    temperature: float = 2.0
    keep_zeros: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(0 < self.teacher_weight <= 1, self, "teacher_weight", "a share in (0, 1]")
        check_setting(self.temperature > 0, self, "temperature", "a number above 0")

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Trains weights and scales."""
        from edgecomp.compression.quantization_aware.module import RoundingModule
        from edgecomp.compression.quantization_aware.result import learned
        from edgecomp.compression.training.run import train

        if not model.quantization or model.weights_only:
            raise InputError(
                f"{self.kind} with precision {model.precision}",
                expected="a model whose activations have scales to learn",
                actual="one whose activations are real numbers",
                cure="give the precision int8 or int16x8, or leave the step out",
            )
        structure = structure_of(bench.source)
        module = RoundingModule(model, structure, keep_zeros=self.keep_zeros)
        self._check_batches(module, bench)
        before = bench.metric(module)
        report = train(module, bench, self, objective=self._objective(model, bench))
        after = bench.metric(module)
        facts = dict(report.facts)
        if before is not None:
            facts |= {"metric_before": before, "metric": after}
        done = learned(model, module)
        return done.after(Step(self.kind, asdict(self), facts))

    def _check_batches(self, module: torch.nn.Module, bench: Workbench) -> None:
        """Checks that the graph, which may have its number of samples written into it, takes a batch.

        Raises:
            InputError: It does not take one of this size.
        """
        import torch

        own = len(bench.source.inputs[0]) if bench.source.inputs[0].ndim else 1
        if not bench.training.samples.batched or not self.batch_size % own:
            return
        inputs, _ = bench.training.largest(self.batch_size)
        try:
            with torch.no_grad():
                module(*inputs)
        except RuntimeError as error:  # what torch raises on shapes that do not fit
            raise InputError(
                f"{self.kind}: batch_size = {self.batch_size}",
                expected=f"a multiple of {own}, the samples in the example inputs, which the graph is made for",
                actual=f"a batch that the graph does not take: {error}",
                cure=f"set batch_size = {own * max(1, round(self.batch_size / own))}, or give an example of one sample",
            ) from error

    def _objective(self, model: CompressedModel, bench: Workbench) -> Objective | None:
        if self.teacher == "none":
            return None
        from edgecomp.compression.distillation import terms
        from edgecomp.compression.distillation.lessons import Teachers
        from edgecomp.compression.distillation.objective import Distillation
        from edgecomp.compression.quantization_aware.module import FloatModule
        from edgecomp.compression.training.objective import task_loss

        teachers = Teachers([bench.source.module or FloatModule(model, structure_of(bench.source))])
        if not self.fresh_data:
            teachers.learn(bench.training, self.batch_size, bench.progress)
        distance = (self.teacher_weight, terms.divergence(self.temperature))
        own = (1 - self.teacher_weight, terms.labels(task_loss(bench.source)))
        return Distillation(teachers, [distance] if self.teacher_weight == 1 else [own, distance])


def structure_of(source: Source) -> Any:
    """Returns a function that restores the structure which the source's module returns and the task's loss takes."""
    import torch

    from edgecomp.frontends import structure
    from edgecomp.graph_module.ops.node import to_tensor

    if source.module is None:
        return lambda outputs: outputs[0] if len(outputs) == 1 else tuple(outputs)
    from edgecomp.frontends.torch_module import preserving

    with preserving(source.module), torch.no_grad():
        example = source.module(*map(to_tensor, source.inputs))

    def rebuild(outputs: Sequence[torch.Tensor]) -> Any:
        return structure.rebuild(example, iter(outputs), torch.is_tensor)

    return rebuild
