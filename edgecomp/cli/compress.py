"""`edgecomp compress`: the main job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, default_folder, progress_bar, samples
from edgecomp.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from edgecomp.pipeline import Result
    from edgecomp.recipe import Recipe
    from edgecomp.step import GraphStep
    from edgecomp.target import TargetProfile
    from edgecomp.verification import Tolerance

Output = Annotated[Path | None, typer.Option("-o", "--output", help="The folder to make; it must not exist.")]
Calibration = Annotated[
    str | None, typer.Option(help="Typical inputs: .npz, a folder of arrays or pictures, or file.py:function.")
]
Evaluation = Annotated[str | None, typer.Option(help="file.py:function that yields (inputs, labels).")]
TrainingData = Annotated[
    str | None, typer.Option("--training", help="file.py:function that yields (inputs, labels) for steps that train.")
]
Preprocess = Annotated[
    str | None, typer.Option(help="How pictures become inputs: resize=256,crop=224,mean=0.485:0.456:0.406,std=...")
]
Precision = Annotated[
    str | None, typer.Option(help="fp32, fp16, int8, int16x8, dynamic-int8, weight-int8 or weight-int4.")
]
IoDtype = Annotated[str | None, typer.Option(help="float32, or int8 for quantized inputs and outputs.")]
IoLayout = Annotated[str | None, typer.Option(help="auto, nhwc or nchw: how TFLite's images lie.")]
Shapes = Annotated[
    list[str] | None, typer.Option("--shape", metavar="NAME=1x3x224x224", help="Fix the shape of a dynamic input.")
]

MinAgreement = Annotated[
    float | None,
    typer.Option(
        help="Least share of samples with the original's argmax; layers stay in float until it is kept. [0.95]"
    ),
]
MinSqnr = Annotated[float | None, typer.Option(help="Least signal to noise of the outputs in dB, kept likewise.")]
MaxDrop = Annotated[
    str | None, typer.Option(help="How much of the metric may be lost, 0.5% of the original's or a number, likewise.")
]
Effort = Annotated[str | None, typer.Option(help="fast, balanced or best: how much work int8 is worth.")]
DataFree = Annotated[
    bool, typer.Option("--data-free", help="Calibrate on made-up inputs; better than nothing, worse than real ones.")
]
KeepFloat = Annotated[
    list[str] | None, typer.Option("--keep-float", metavar="LAYER", help="A node or torch module to keep in float.")
]
Constants = Annotated[
    list[str] | None, typer.Option("--constant", metavar="NAME=16000", help="Make an input of an .onnx file constant.")
]


@command
def run(
    source: Annotated[str, typer.Argument(help="task.py, module:function, model.onnx or program.pt2.")],
    target: Annotated[str | None, typer.Option(help="A device; `edgecomp targets` lists them.")] = None,
    output: Output = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe.toml; the other options change it.")] = None,
    calibration: Calibration = None,
    evaluation: Evaluation = None,
    training: TrainingData = None,
    preprocess: Preprocess = None,
    formats: Annotated[str | None, typer.Option(help="Comma-separated: tflite,onnxruntime,mnn.")] = None,
    precision: Precision = None,
    effort: Effort = None,
    estimator: Annotated[str | None, typer.Option(help="How activation ranges are found: minmax, mse, ...")] = None,
    io_dtype: IoDtype = None,
    io_layout: IoLayout = None,
    min_agreement: MinAgreement = None,
    min_sqnr: MinSqnr = None,
    max_drop: MaxDrop = None,
    keep_float: KeepFloat = None,
    data_free: DataFree = False,
    shape: Shapes = None,
    constant: Constants = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Compress a model for a device and write verified artifacts."""
    from edgecomp.frontends.constants import parse_constants
    from edgecomp.pipeline import compress
    from edgecomp.shapes import parse_shapes

    profile, plan = profile_and_recipe(target, recipe)
    plan = changed(
        plan,
        target=profile.name,
        formats=formats,
        precision=precision,
        effort=effort,
        estimator=estimator,
        io_dtype=io_dtype,
        io_layout=io_layout,
        data_free=data_free,
    )
    plan = promised(plan, min_agreement=min_agreement, min_sqnr=min_sqnr, max_drop=max_drop, layers=keep_float or None)
    with progress_bar() as progress:
        result = compress(
            source,
            profile,
            output or default_folder(source, profile.name),
            recipe=plan,
            shapes=parse_shapes(shape or ()),
            constants=parse_constants(constant or ()),
            calibration=calibration,
            evaluation=evaluation,
            training=training,
            preprocess=preprocess,
            tolerance=tolerance_of(plan, min_agreement),
            progress=progress,
        )
    return answer(result)


def changed(
    recipe: Recipe,
    *,
    target: str,
    formats: str | None = None,
    precision: str | None = None,
    effort: str | None = None,
    estimator: str | None = None,
    io_dtype: str | None = None,
    io_layout: str | None = None,
    data_free: bool = False,
) -> Recipe:
    """A recipe with what the command line says instead.

    Raises:
        SourceError: An option has a value that a recipe cannot have.
    """
    from edgecomp.recipe import Recipe, default_steps, steps_as_dicts

    content = recipe.as_dict() | {"target": target}
    if formats is not None:
        content["formats"] = [name.strip() for name in formats.split(",")]
    if precision is not None:
        content["precision"] = precision
        if precision != recipe.precision:
            content["steps"] = steps_as_dicts((*recipe.module_steps, *default_steps(precision)))
    if effort is not None:
        chosen = _default_steps_of(content["precision"], effort)
        content["steps"] = steps_as_dicts((*recipe.module_steps, *chosen))
    if estimator is not None:
        if not any(step["kind"].startswith("static") for step in content["steps"]):
            raise InputError(
                f"--estimator {estimator}",
                expected="a precision with ranges to estimate: int8 or int16x8",
                actual=f"precision {content['precision']}",
                cure="leave out --estimator, or add --precision int8",
            )
        content["steps"] = [
            step | {"estimator": estimator} if step["kind"].startswith("static") else step for step in content["steps"]
        ]
    content["export"] |= {
        key: value for key, value in (("io_dtype", io_dtype), ("io_layout", io_layout)) if value is not None
    }
    if data_free:
        content["data"] |= {"data_free": True}
    return Recipe.from_dict(content, subject="the options")


def _default_steps_of(precision: str, effort: str) -> Sequence[GraphStep]:
    """The steps of `--effort`."""
    from edgecomp.recipe import default_steps
    from edgecomp.recovery.effort import INT8_STEPS

    if precision != "int8" or effort not in INT8_STEPS:
        if effort in INT8_STEPS:
            expected, actual = "precision int8, to which alone it makes a difference", f"precision {precision}"
        else:
            expected, actual = f"one of {', '.join(INT8_STEPS)}", effort
        raise InputError(
            f"--effort {effort}", expected=expected, actual=actual, cure="leave out --effort, or correct it"
        )
    return default_steps(precision, effort)  # type: ignore[arg-type]  # it is one of the keys


def promised(recipe: Recipe, **settings: Any) -> Recipe:
    """A recipe with mixed precision as the command line asks for it, instead of what it has of that.

    Args:
        recipe: Any.
        **settings: Of `MixedPrecision`; None for what was not given.

    Raises:
        InputError: The precision rounds nothing that could stay in float, or a setting cannot be.
    """
    from edgecomp.mixed_precision.step import MixedPrecision

    given = {name: value for name, value in settings.items() if value is not None}
    if not given:
        return recipe
    if recipe.precision == "fp32":
        if set(given) == {"min_agreement"}:  # a tolerance, and nothing else: all is in float
            return recipe
        option = next(name for name in given if name != "min_agreement")
        raise InputError(
            f"--{'keep-float' if option == 'layers' else option.replace('_', '-')}",
            expected="a precision that rounds numbers",
            actual=f"precision {recipe.precision}",
            cure="leave the option out, or add --precision int8",
        )
    layers = tuple(given.pop("layers", ()))
    mixed = MixedPrecision(layers=layers, **given)
    steps = [step for step in recipe.steps if step.kind != mixed.kind]
    place = sum(step.stage in {"module", "graph"} for step in steps)
    return replace(recipe, steps=(*steps[:place], mixed, *steps[place:]))


def tolerance_of(recipe: Recipe, min_agreement: float | None) -> Tolerance:
    """What artifacts are held to: what was promised, and no less than always."""
    from edgecomp.mixed_precision.step import MixedPrecision
    from edgecomp.verification import Tolerance

    usual = Tolerance()
    promises = [step for step in recipe.steps if isinstance(step, MixedPrecision) and step.strict]
    agreement = max((step.min_agreement for step in promises), default=0.0) or usual.agreement
    sqnr = max((step.min_sqnr for step in promises), default=0.0)
    return replace(
        usual,
        agreement=agreement if min_agreement is None else min_agreement,
        original_sqnr=max(usual.original_sqnr, sqnr),
    )


def answer(result: Result) -> Answer:
    """What was made, for people and machines."""
    from edgecomp.cli.tables import agreement_table, legend

    def show(console: Console) -> None:
        def line(text: str) -> None:
            console.print(text, markup=False, soft_wrap=True)

        line(f"{result.folder}: compared on {samples(result.verification.samples)}")
        console.print(agreement_table(result))
        line(legend(result.manifest))
        for note in result.manifest["notes"]:
            line(f"note: {note}")
        for artifact in result.manifest["artifacts"]:
            if artifact["execution"] == "stores":
                line(f"note: {artifact['file']} only stores {artifact['precision']}: {artifact['how']}")
            reasons: dict[str, list[dict[str, str]]] = {}
            for island in artifact["islands"]:
                reasons.setdefault(island["reason"], []).append(island)
            for reason, islands in reasons.items():
                line(f"note: {artifact['file']} computes {few(islands)} in float: {reason}")

    return Answer({"folder": str(result.folder), **result.manifest}, show)


def few(islands: list[dict[str, str]], limit: int = 3) -> str:
    """Nodes by name, or how many there are of each operator that does more than move data."""
    from edgecomp.quantization.scheme import OPERATORS

    if len(islands) <= limit:
        return ", ".join(f"{island['op_type']} {island['node']}" for island in islands)
    counts = Counter(island["op_type"] for island in islands).most_common()
    movers = {op_type for op_type, scheme in OPERATORS.items() if scheme.output == "input"}
    computing = [(op_type, count) for op_type, count in counts if op_type not in movers] or counts
    listed, rest = computing[:limit], sum(count for _, count in computing[limit:])
    return ", ".join(f"{count} {op_type}" for op_type, count in listed) + (f" and {rest} others" if rest else "")


def profile_and_recipe(target: str | None, recipe: Path | None) -> tuple[TargetProfile, Recipe]:
    """The device and the recipe that a command starts from: a recipe names a device, and a device has a recipe.

    Raises:
        InputError: There is neither, or one of them cannot be read.
    """
    from edgecomp.recipe import default_recipe, load_recipe
    from edgecomp.target import list_targets, load_target

    given = None if recipe is None else load_recipe(recipe)
    named = target or (None if given is None else given.target)
    if named is not None:
        profile = load_target(named)
        return profile, given or default_recipe(profile)
    raise InputError(
        "--target",
        expected="the device that the model is for",
        actual="no target was given",
        cure=f"add --target with one of {', '.join(list_targets())}",
    )
