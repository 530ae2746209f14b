"""Shortcuts for changes of a recipe: `compress(..., effort="best")` in Python, the same on the command line.

The recipe that is written contains them as steps and settings, so that it can be run again without options.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from edgecomp.errors import InputError, SettingError, correction
from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.recipe import Recipe, default_recipe, default_steps, load_recipe, steps_as_dicts
from edgecomp.recovery.effort import INT8_STEPS
from edgecomp.step import GraphStep
from edgecomp.target import TargetProfile, list_targets, load_target
from edgecomp.verification.tolerance import Tolerance


class Options(TypedDict, total=False):
    """What may be said beside a recipe; None changes nothing.

    Attributes:
        formats: The converters to run, as names or as one text with commas.
        precision: "fp32", "fp16", "int8", "int16x8", "dynamic-int8", "weight-int8" or "weight-int4".
        effort: "fast", "balanced" or "best": how much time to spend on the accuracy of int8.
        estimator: The estimator of activation ranges: "minmax", "mse", ...
        io_dtype: "float32", or "int8" for quantized inputs and outputs.
        io_layout: "auto", "nhwc" or "nchw": the layout of TFLite's images.
        data_free: Whether to calibrate on generated inputs, even if there are data.
        min_agreement: The smallest share of samples with the original's argmax; layers stay in float to reach it.
        min_sqnr: The smallest signal-to-noise ratio of the outputs in dB, likewise.
        max_drop: The largest loss of the metric, "0.5%" of the original's or "0.01", likewise.
        max_size: The largest size of each artifact, "5MB"; as many layers stay in float as it allows.
        max_latency: The longest inference, estimated for the target, "12ms", likewise.
        island: The precision of such layers: "float32" or "int16x8".
        keep_float: Nodes or torch modules to keep in float, by name.
    """

    formats: str | Sequence[str] | None
    precision: str | None
    effort: str | None
    estimator: str | None
    io_dtype: str | None
    io_layout: str | None
    data_free: bool | None
    min_agreement: float | None
    min_sqnr: float | None
    max_drop: str | None
    max_size: str | None
    max_latency: str | None
    island: str | None
    keep_float: Sequence[str] | None


def resolve(
    target: str | Path | TargetProfile | None, recipe: Recipe | str | Path | None = None, **options: Unpack[Options]
) -> tuple[TargetProfile, Recipe]:
    """The device and the recipe for it: a recipe names a device, a device has a recipe, and options change it.

    Raises:
        InputError: There is neither, one of them cannot be read, or an option has a value that cannot be.
        TypeError: There is no such option.
    """
    profile = load_target(target) if target else None
    if isinstance(recipe, str | Path):
        recipe = load_recipe(recipe, profile.name if profile else None)
    if recipe is not None:
        profile = profile or load_target(recipe.target)
    if profile is None:
        raise InputError(
            "--target",
            expected="the device that the model is for",
            actual="no target was given",
            cure=f"add --target with one of {', '.join(list_targets())}",
        )
    return profile, adjusted(replace(recipe or default_recipe(profile), target=profile.name), **options)


def adjusted(recipe: Recipe, **options: Unpack[Options]) -> Recipe:
    """A recipe with what the options say instead.

    Raises:
        InputError: An option has a value that a recipe cannot have, or makes no difference to it.
        TypeError: There is no such option.
    """
    for name in options.keys() - Options.__annotations__.keys():
        cure = correction(name, Options.__annotations__, "edgecomp.options.Options lists them")
        raise TypeError(f"unexpected keyword argument {name!r}; {cure}")
    said: dict[str, Any] = {name: value for name, value in options.items() if value is not None and value is not False}
    content = recipe.as_dict()
    if isinstance(formats := said.get("formats"), str):
        said["formats"] = [name.strip() for name in formats.split(",")]
    content |= {name: said[name] for name in ("formats", "precision") if name in said}
    content["export"] |= {name: said[name] for name in ("io_dtype", "io_layout") if name in said}
    content["data"] |= {name: said[name] for name in ("data_free",) if name in said}
    if "effort" in said:
        chosen = _steps_of_effort(content["precision"], said["effort"])
        content["steps"] = steps_as_dicts((*recipe.module_steps, *chosen))
    elif content["precision"] != recipe.precision:
        content["steps"] = steps_as_dicts((*recipe.module_steps, *default_steps(content["precision"])))
    if "estimator" in said:
        content["steps"] = _with_estimator(content["steps"], said["estimator"], content["precision"])
    return _promised(Recipe.from_dict(content, subject="the options"), said)


def tolerance_of(recipe: Recipe, min_agreement: float | None = None) -> Tolerance:
    """What artifacts are held to: what the recipe promises, and no less than always.

    Args:
        recipe: Any.
        min_agreement: The option, which counts whatever the recipe says, in float too.
    """
    usual = Tolerance()
    promises = [step for step in recipe.steps if isinstance(step, MixedPrecision) and step.strict]
    agreement = max((step.min_agreement for step in promises), default=0.0) or usual.agreement
    sqnr = max((step.min_sqnr for step in promises), default=0.0)
    return replace(
        usual,
        agreement=agreement if min_agreement is None else min_agreement,
        original_sqnr=max(usual.original_sqnr, sqnr),
    )


def _steps_of_effort(precision: str, effort: str) -> Sequence[GraphStep]:
    if effort not in INT8_STEPS:
        raise InputError(
            f"--effort {effort}",
            expected=f"one of {', '.join(INT8_STEPS)}",
            actual=effort,
            cure=correction(effort, INT8_STEPS, "leave out --effort, or choose one of them"),
        )
    if precision != "int8":
        raise InputError(
            f"--effort {effort}",
            expected="precision int8, to which alone it makes a difference",
            actual=f"precision {precision}",
            cure="leave out --effort, or add --precision int8",
        )
    return default_steps(precision, effort)  # type: ignore[arg-type]  # it is one of the keys


def _with_estimator(steps: list[dict[str, Any]], estimator: str, precision: str) -> list[dict[str, Any]]:
    if not any(step["kind"].startswith("static") for step in steps):
        raise InputError(
            f"--estimator {estimator}",
            expected="a precision with ranges to estimate: int8 or int16x8",
            actual=f"precision {precision}",
            cure="leave out --estimator, or add --precision int8",
        )
    return [step | {"estimator": estimator} if step["kind"].startswith("static") else step for step in steps]


#: Option -> the setting of mixed precision that it is.
_PROMISES = {
    "min_agreement": "min_agreement",
    "min_sqnr": "min_sqnr",
    "max_drop": "max_drop",
    "max_size": "max_size",
    "max_latency": "max_latency",
    "island": "island",
    "keep_float": "layers",
}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _promised(recipe: Recipe, said: dict[str, Any]) -> Recipe:
    """A recipe with mixed precision as the options ask for it, instead of what it has of that."""
    asked = [name for name in _PROMISES if name in said]
    if not asked:
        return recipe
    if asked == ["island"]:
        raise InputError(
            f"--island {said['island']}",
            expected="which layers, or what they have to keep",
            actual="neither",
            cure="add --keep-float LAYER, --min-agreement, --max-drop, --min-sqnr, --max-size or --max-latency",
        )
    if recipe.precision == "fp32":
        if asked == ["min_agreement"]:  # a tolerance, and nothing else: all is in float
            return recipe
        raise InputError(
            _option(next(name for name in asked if name != "min_agreement")),
            expected="a precision that rounds numbers",
            actual=f"precision {recipe.precision}",
            cure="leave the option out, or add --precision int8",
        )
    return recipe.with_mixed_precision(_mixed_precision({name: said[name] for name in asked}))


def _mixed_precision(asked: dict[str, Any]) -> MixedPrecision:
    """The step that keeps the promises; a value that cannot be is said of the option, not of the step's setting."""
    settings = {_PROMISES[name]: value for name, value in asked.items()}
    try:
        return MixedPrecision(**settings | {"layers": tuple(settings.get("layers", ()))})
    except SettingError as error:
        option = _option(next(name for name in asked if _PROMISES[name] == error.setting))
        value = settings[error.setting]
        cure = f"correct {option}"
        raise InputError(f"{option} {value}", expected=error.expected, actual=error.actual, cure=cure) from None
