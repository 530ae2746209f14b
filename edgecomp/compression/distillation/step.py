"""Distillation as a step of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgecomp.compression.training.settings import Training
from edgecomp.errors import SourceError
from edgecomp.step import Changed, Stage, check_setting

if TYPE_CHECKING:
    import torch

    from edgecomp.compression.distillation.objective import Distillation
    from edgecomp.compression.distillation.terms import Term
    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class DistillationStep(Training):
    """Settings of distillation.

    Attributes:
        teachers: "original" is the module before any compression; "task" takes the teachers from the task's teachers().
        student: "module" is the module as the earlier steps left it; "task" takes the one from the task's student().
        outputs: How outputs are compared: "kl" (softened by the temperature), "mse", "cosine" (by direction, for
            embeddings of sentences or faces), or "none".
        temperature: The temperature of class outputs, above 0.
        teacher_weight: The share of the output distance in the loss, in [0, 1]; labels have the rest.
        label_smoothing: The share of each label that is spread over all classes, in [0, 1).
        features: Layers whose outputs should match the teacher's: "LAYER", or "STUDENT_LAYER=TEACHER_LAYER".
        feature_weight: The weight of the feature distance.
        attention: Layers whose attention maps should match the teacher's, named in the same way.
        attention_weight: The weight of the attention distance.
        adversarial_step: How far inputs are moved to where the student is wrong, in their own units; 0 turns it off.
    """

    kind: ClassVar[str] = "distill"
    stage: ClassVar[Stage] = "module"
    teachers: Literal["original", "task"] = "original"
    student: Literal["module", "task"] = "module"
    outputs: Literal["kl", "mse", "cosine", "none"] = "kl"
    temperature: float = 2.0
    teacher_weight: float = 0.5
    label_smoothing: float = 0.0
    features: tuple[str, ...] = ()
    feature_weight: float = 1.0
    attention: tuple[str, ...] = ()
    attention_weight: float = 1.0
    adversarial_step: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self.temperature > 0, self, "temperature", "a number above 0")
        check_setting(0 <= self.teacher_weight <= 1, self, "teacher_weight", "a share in [0, 1]")
        check_setting(0 <= self.label_smoothing < 1, self, "label_smoothing", "a share in [0, 1)")
        for name in ("feature_weight", "attention_weight", "adversarial_step"):
            check_setting(getattr(self, name) >= 0, self, name, "0 or more")

    def apply(self, module: torch.nn.Module, bench: Workbench) -> Changed:
        """Trains the student."""
        from edgecomp.compression.training.run import train

        student = module if self.student == "module" else _module(bench, "student", bench.source.student)
        report = train(student, bench, self, objective=self._objective(student, bench))
        return Changed(student, report.facts)

    def _objective(self, student: torch.nn.Module, bench: Workbench) -> Distillation:
        import torch

        from edgecomp.compression.distillation.features import Pairs
        from edgecomp.compression.distillation.lessons import Teachers
        from edgecomp.compression.distillation.objective import Adversary, Distillation, check_alike
        from edgecomp.compression.training.objective import task_loss
        from edgecomp.graph_module.ops.node import to_tensor

        inputs = tuple(map(to_tensor, bench.source.inputs))
        modules = [bench.teacher] if self.teachers == "original" else _modules(bench)
        check_alike(student, modules, inputs)
        loss = task_loss(bench.source)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(bench.seed)  # projections begin at random
            features = Pairs(self.features, student, modules[0], inputs, project=True) if self.features else None
        maps = Pairs(self.attention, student, modules[0], inputs, project=False) if self.attention else None
        adversary = Adversary(loss, self.adversarial_step) if self.adversarial_step else None
        teachers = Teachers(modules)
        if not (features or maps or self.fresh_data):  # these need the teacher itself, or never repeat a sample
            teachers.learn(bench.training, self.batch_size, bench.progress)
        return Distillation(teachers, self._terms(loss), features=features, maps=maps, adversary=adversary)

    def _terms(self, loss: Any) -> list[tuple[float, Term]]:
        from edgecomp.compression.distillation import terms

        distances = {
            "kl": terms.divergence(self.temperature),
            "mse": terms.squares,
            "cosine": terms.directions,
        }
        taught = self.teacher_weight if self.outputs != "none" else 0.0
        wanted: list[tuple[float, Callable[[], Term]]] = [
            (1 - taught, lambda: terms.labels(loss, self.label_smoothing)),
            (taught, lambda: distances[self.outputs]),
            (self.feature_weight if self.features else 0.0, lambda: terms.hints),
            (self.attention_weight if self.attention else 0.0, lambda: terms.attention),
        ]
        return [(weight, make()) for weight, make in wanted if weight]


def _module(bench: Workbench, name: str, function: Callable[[], Any] | None) -> torch.nn.Module:
    return _modules_of(bench, name, function, lambda value: [value])[0]


def _modules(bench: Workbench) -> list[torch.nn.Module]:
    return _modules_of(bench, "teachers", bench.source.teachers, lambda value: value)


def _modules_of(
    bench: Workbench, name: str, function: Callable[[], Any] | None, listed: Callable[[Any], Any]
) -> list[torch.nn.Module]:
    """Calls a function of the task that returns modules.

    Raises:
        SourceError: The task has no such function, or it returns something other than modules.
    """
    import torch

    found = None if function is None else listed(function())
    if isinstance(found, list | tuple) and found and all(isinstance(each, torch.nn.Module) for each in found):
        return [each.eval() for each in found]
    raise SourceError(
        f"{bench.source.name}: {name}()",
        expected=f"a function {name}() in the task that gives "
        + ("a torch.nn.Module" if name == "student" else "a list of torch.nn.Modules"),
        actual="there is none" if function is None else "it gives something else",
        cure=f'add it, or leave {name} = "task" out of the step',
    )
