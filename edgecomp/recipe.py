"""A recipe: everything that decides what `compress` makes, as a versioned TOML file.

    schema = 1
    target = "raspberry-pi-4b"
    precision = "int8"
    formats = ["tflite", "onnxruntime", "mnn"]
    seed = 0

    [export]
    io_dtype = "float32"

    [data]
    calibration_samples = 512

    [[steps]]
    kind = "static-int8"
    estimator = "mse"

Every key has a default but `target`, for which `--target` may stand; each precision but fp32 has a step that leads to
it, and others may come before and after it (see `edgecomp.step`); `compress` writes the recipe with everything filled
in. Running it again on the same source and data gives the same bytes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import tomli_w

from edgecomp.compression.training.settings import Training
from edgecomp.converter import available_formats
from edgecomp.decoding import COUNT, TEXT, TRUTH, Grammar, Leaf, MismatchError
from edgecomp.errors import SettingError, SourceError, correction
from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.model import Step as ProvenanceStep
from edgecomp.precision import Precision
from edgecomp.recovery.effort import DEFAULT, INT8_STEPS, Effort
from edgecomp.step import STAGES, GraphStep, ModuleStep, Natural
from edgecomp.steps import PRECISION_STEPS, STEPS
from edgecomp.target import TargetProfile

SCHEMA = 1


@dataclass(frozen=True)
class Export:
    """How artifacts look from outside.

    Attributes:
        io_dtype: "float32" keeps the source's dtypes at the border; "int8" takes and gives quantized integers.
        io_layout: "nhwc" or "nchw" for images in TFLite; "auto" is the format's own custom.
    """

    io_dtype: Literal["float32", "int8"] = "float32"
    io_layout: Literal["auto", "nhwc", "nchw"] = "auto"


@dataclass(frozen=True)
class DataLimits:
    """How much of the data is used.

    Attributes:
        calibration_samples: At most.
        evaluation_samples: At most.
        training_samples: At most.
        data_free: Whether to calibrate on made-up inputs, whatever data there are (see `quantization.synthetic`).
    """

    calibration_samples: int = 512
    evaluation_samples: int = 1000
    training_samples: int = 1_000_000
    data_free: bool = False


@dataclass(frozen=True)
class Recipe:
    """What `compress` does.

    Attributes:
        target: Name of the target profile.
        precision: What artifacts are written in (see `edgecomp.precision`).
        formats: The converters to run.
        seed: The seed of everything that is random.
        export: How artifacts look from outside.
        data: How much of the data is used.
        steps: Compression steps in order.
    """

    target: str
    precision: Precision = "int8"
    formats: tuple[str, ...] = ("tflite", "onnxruntime", "mnn")
    seed: Natural = 0
    export: Export = field(default_factory=Export)
    data: DataLimits = field(default_factory=DataLimits)
    steps: tuple[ModuleStep | GraphStep, ...] = ()

    @property
    def module_steps(self) -> tuple[ModuleStep, ...]:
        """The steps before there is a graph."""
        return tuple(cast(ModuleStep, step) for step in self.steps if step.stage == "module")

    @property
    def graph_steps(self) -> tuple[GraphStep, ...]:
        """The steps on the graph."""
        return tuple(cast(GraphStep, step) for step in self.steps if step.stage != "module")

    @property
    def training_steps(self) -> tuple[str, ...]:
        """The kinds of the steps that train."""
        return tuple(step.kind for step in self.steps if isinstance(step, Training))

    def with_mixed_precision(self, step: MixedPrecision) -> Recipe:
        """The recipe with this step, instead of what it has of its kind."""
        steps = [each for each in self.steps if each.kind != step.kind]
        place = sum(each.stage in {"module", "graph"} for each in steps)
        return replace(self, steps=(*steps[:place], step, *steps[place:]))

    def settled(self, step: GraphStep, done: ProvenanceStep) -> Recipe:
        """The recipe with what a step chose itself as its settings: run again, it does not choose again."""
        if done.name != step.kind:
            return self
        chosen = replace(cast(Any, step), **done.settings)
        return replace(self, steps=tuple(chosen if each is step else each for each in self.steps))

    def as_dict(self) -> dict[str, Any]:
        """The recipe as plain data, every default spelled out."""
        steps = steps_as_dicts(self.steps)
        return {"schema": SCHEMA, **asdict(self), "formats": list(self.formats), "steps": steps}

    def to_toml(self) -> str:
        """The recipe as a file's text."""
        return tomli_w.dumps(self.as_dict())

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, subject: str) -> Recipe:
        """Reads what `as_dict` gave, or a part of it: `target` and what is to differ from the defaults.

        A recipe without steps on the graph gets those that its precision has by default, behind its steps on the
        module and before its refinements.

        Args:
            content: Plain data.
            subject: Where it comes from, for error messages.

        Raises:
            SourceError: A key is unknown or missing, a value is of the wrong type, or it is from another edgecomp.
        """
        try:
            return _recipe(dict(content))
        except MismatchError as error:
            cure = error.cure or "correct it"
            raise SourceError(subject, expected=error.expected, actual=error.actual, cure=cure) from None


def default_recipe(target: TargetProfile, precision: Precision | None = None, effort: Effort = DEFAULT) -> Recipe:
    """What a target gets when nothing else is asked for."""
    chosen = precision or ("int8" if target.defaults.precision == "int8" else "fp32")
    available = available_formats()
    return Recipe(
        target=target.name,
        precision=chosen,
        formats=tuple(name for name in target.defaults.formats if name in available),
        steps=default_steps(chosen, effort),
    )


def default_steps(precision: str, effort: Effort = DEFAULT) -> tuple[GraphStep, ...]:
    """The steps that lead to a precision; none for fp32 and unknown ones. Effort makes a difference to int8 only."""
    if precision == "int8":
        return INT8_STEPS[effort]
    return tuple(step() for step in PRECISION_STEPS if step.precision == precision)


def steps_as_dicts(steps: Sequence[ModuleStep | GraphStep]) -> list[dict[str, Any]]:
    """Steps as plain data."""
    return [{"kind": step.kind, **asdict(cast(Any, step))} for step in steps]


def load_recipe(path: str | Path, target: str | None = None) -> Recipe:
    """Reads a recipe file.

    Args:
        path: The file, which may leave out whatever has a default (see `Recipe.from_dict`).
        target: The device for a recipe that names none.

    Raises:
        SourceError: The file is missing, is not TOML, or does not hold a recipe.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        problem = error.strerror or str(error)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problem = str(error)
    else:
        named = {} if target is None else {"target": target}
        return Recipe.from_dict(named | content, subject=str(path))
    raise SourceError(
        str(path),
        expected="a recipe, a file in TOML",
        actual=problem,
        cure="check the path, or start from a recipe.toml that compress wrote",
    )


#: What the values of a recipe may be.
_GRAMMAR = Grammar(
    {
        str: TEXT,
        bool: TRUTH,
        int: COUNT,
        Natural: Leaf("a whole number, 0 or more", lambda value: type(value) is int and value >= 0),
        float: Leaf("a number", lambda value: type(value) is float),
    }
)


def _recipe(content: dict[str, Any]) -> Recipe:
    schema = content.pop("schema", SCHEMA)
    if "target" not in content:
        raise MismatchError("a target", "none", 'add --target NAME, or target = "NAME" to the recipe')
    if schema != SCHEMA:
        raise MismatchError(
            f"schema = {SCHEMA}", f"{schema!r}", "use the version of edgecomp that wrote it, or write it again"
        )
    steps = content.pop("steps", [])
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise MismatchError("[[steps]] tables", repr(steps))
    recipe: Recipe = _GRAMMAR.table(Recipe, content)
    recipe = replace(recipe, steps=tuple(_step(step, f"steps[{index}]") for index, step in enumerate(steps)))
    recipe = _completed(recipe)
    known = available_formats()
    if not recipe.formats or len(set(recipe.formats)) < len(recipe.formats) or not set(recipe.formats) <= set(known):
        strange = next((name for name in recipe.formats if name not in known), "")
        actual = ", ".join(recipe.formats) or "none"
        raise MismatchError(f"formats: some of {', '.join(known)}, each once", actual, correction(strange, known))
    _check_order(recipe)
    if recipe.export.io_dtype == "int8" and recipe.precision not in {"fp32", "int8", "int16x8"}:
        # fp32: what a source that is quantized itself is converted with.
        raise MismatchError('export.io_dtype "float32"', f'"int8" with precision {recipe.precision}')
    return recipe


def _completed(recipe: Recipe) -> Recipe:
    """A recipe that says nothing about the graph, with the steps that its precision has by default."""
    stages = {step.stage for step in recipe.steps}
    if stages & {"graph", "precision"}:
        return recipe
    refinements = tuple(step for step in recipe.graph_steps if step.stage == "refinement")
    return replace(recipe, steps=(*recipe.module_steps, *default_steps(recipe.precision), *refinements))


def _check_order(recipe: Recipe) -> None:
    """Steps come stage by stage, and the one that rounds is the precision's."""
    stages = [STAGES.index(step.stage) for step in recipe.steps]
    kinds = ", ".join(step.kind for step in recipe.steps) or "none"
    if stages != sorted(stages):
        order = ", ".join(step.kind for step in sorted(recipe.steps, key=lambda step: STAGES.index(step.stage)))
        raise MismatchError(f"steps in the order {', '.join(STAGES)}", kinds, f"write {order}")
    wanted = [step.kind for step in default_steps(recipe.precision) if step.stage == "precision"]
    rounding = [step.kind for step in recipe.steps if step.stage == "precision"]
    if rounding != wanted:
        expected = f"{f'a step {wanted[0]}' if wanted else 'no step that rounds'} with precision {recipe.precision}"
        raise MismatchError(expected, f"steps: {kinds}")
    if not wanted and any(step.stage == "refinement" for step in recipe.steps):
        raise MismatchError("steps of the stage refinement with a precision that rounds", f"steps: {kinds}")


def _step(step: dict[str, Any], path: str) -> ModuleStep | GraphStep:
    kind = step.get("kind")
    if kind not in STEPS:
        raise MismatchError(f"{path}.kind: one of {', '.join(STEPS)}", repr(kind), correction(kind, STEPS))
    settings = {key: value for key, value in step.items() if key != "kind"}
    try:
        parsed: ModuleStep | GraphStep = _GRAMMAR.table(STEPS[kind], settings, path)
    except SettingError as error:
        raise MismatchError(f"{path}.{error.setting}: {error.expected}", error.actual, error.cure) from None
    return parsed
