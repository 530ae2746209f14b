"""The contract that a step of a recipe fulfils.

A step is a frozen, typed dataclass of settings, named after its algorithm, that can apply itself. Steps come in four
stages, and a recipe has them in this order:

1. `module`: changes a torch module before there is a graph: pruning, low rank, training.
2. `graph`: changes the float graph so that it quantizes better, and computes the same: equalization, smoothing.
3. `precision`: rounds it, and fills the quantization table; at most one, and none for fp32.
4. `refinement`: improves weights and table after that: rounding learned layer by layer, quantization-aware training.

A step that inherits from `edgecomp.compression.training.settings.Training` trains, and needs the task's train_data().
Integer settings are above 0 unless they have the type `Natural`, which allows 0; the recipe reader checks this. Other
invalid settings are refused in `__post_init__`, with `check_setting`.

`edgecomp.steps` names them all, and imports no torch: a step imports what it computes with when it is applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, get_args

from edgecomp.errors import SettingError

if TYPE_CHECKING:
    import torch

    from edgecomp.model import CompressedModel
    from edgecomp.precision import Precision
    from edgecomp.workbench import Workbench

Stage = Literal["module", "graph", "precision", "refinement"]

#: A whole number that may be 0.
Natural = Annotated[int, "0 or more"]

#: In the order of a recipe.
STAGES: tuple[Stage, ...] = get_args(Stage)


class RecipeStep(Protocol):
    """What every step has.

    Attributes:
        kind: As a recipe names it.
        stage: When it comes.
    """

    kind: ClassVar[str]
    stage: ClassVar[Stage]


@dataclass(frozen=True)
class Changed:
    """What a module step made.

    Attributes:
        module: The same module, changed in place, or another one.
        facts: What the step found and did, for the provenance: plain data.
    """

    module: torch.nn.Module
    facts: Mapping[str, Any]


class ModuleStep(RecipeStep, Protocol):
    """A step on a torch module."""

    def apply(self, module: torch.nn.Module, bench: Workbench) -> Changed:
        """Changes a module.

        Args:
            module: The step's own, to change as it likes.
            bench: Data, loss and metric of the task, the target, the teacher.
        """
        ...


class GraphStep(RecipeStep, Protocol):
    """A step on the graph: of the stages `graph`, `precision` and `refinement`."""

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Gives a new model, with one more step in its provenance."""
        ...


class PrecisionStep(GraphStep, Protocol):
    """A step that rounds a float model.

    Attributes:
        precision: What it leads to.
    """

    precision: ClassVar[Precision]


def check_setting(holds: bool, settings: object, name: str, expected: str) -> None:
    """Checks a condition on a setting.

    Args:
        holds: Whether it is so.
        settings: The settings; a step is called by its kind in the message.
        name: The name of the setting.
        expected: What it should be, in words.

    Raises:
        SettingError: It is not.
    """
    if not holds:
        step = getattr(settings, "kind", type(settings).__name__)
        actual, cure = repr(getattr(settings, name)), f"correct {name}"
        raise SettingError(f"{step}: {name}", expected=expected, actual=actual, cure=cure, setting=name)
