"""Loads the functions of a task: a Python file, or a module that can be imported.

Functions: `model()` and `example_inputs()`, and optionally `calibration_data()`, `train_data()`, `evaluation_data()`,
`loss(outputs, labels)`, `student()`, `teachers()`, `train(module, objective, batches, settings)`,
`on_epoch(module, epoch)`, `metric(outputs, labels)`, `labels()`, `preprocessing()` and `dynamic_shapes()`. `metric` may
also be the name of one that needs no code, "accuracy", or several of both (`verification.metrics`). In the form
`module:function`, the function takes the place of `model`, and the others are looked up in the same module.

Items of data may be of any size in dynamic dimensions. `metric` gets what is of another size for each sample, outputs
or labels, as a list of one tensor for each, without the batch.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from edgecomp.errors import DataError, InputError, SourceError, correction
from edgecomp.frontends.pictures import Preprocessing
from edgecomp.frontends.source import Source
from edgecomp.model import Step
from edgecomp.shapes import Shapes
from edgecomp.verification.metrics import Metrics

#: What a task has at least; `module:function` has a function of its own in the place of the first.
_REQUIRED = ("model", "example_inputs")
_OPTIONAL = (
    *("calibration_data", "train_data", "evaluation_data", "loss", "student", "teachers", "train", "on_epoch"),
    *("metric", "labels", "preprocessing", "dynamic_shapes"),
)


def load_task(source: str, *, shapes: Shapes | None = None) -> Source:
    """Loads `task.py`, `task.py:function` or `package.module:function`.

    The file is run, as `python task.py` would run it: a task is code that the user trusts.

    Raises:
        SourceError: The file, or what one of its functions gives, cannot be used.
        ExportError: The model does not become a graph.
    """
    place, colon, factory = source.rpartition(":") if not source.endswith(".py") else (source, "", "model")
    module = import_task(place, source)
    model = call(module, factory, source)
    import torch

    if not isinstance(model, torch.nn.Module):
        raise SourceError(
            f"{source}: {factory}()",
            expected="a torch.nn.Module",
            actual=f"a {type(model).__name__}" + (", perhaps its state dict" if isinstance(model, dict) else ""),
            cure=f"build the module in {factory}(), load the weights into it, and return it",
        )
    from edgecomp.frontends.torch_module import load_module

    name = Path(place).stem if not colon else factory
    examples = call(module, "example_inputs", source)
    dynamic = call(module, "dynamic_shapes", source) if optional(module, "dynamic_shapes", source) else None
    loaded = load_module(model, examples, name=name, subject=source, shapes=shapes, dynamic_shapes=dynamic)
    return dataclasses.replace(
        loaded,
        step=_with_task_hash(loaded.step, module),
        calibration_data=_opener(module, "calibration_data", source),
        train_data=_opener(module, "train_data", source),
        evaluation_data=_opener(module, "evaluation_data", source),
        loss=optional(module, "loss", source),
        student=_caller(module, "student", source),
        teachers=_caller(module, "teachers", source),
        train=optional(module, "train", source),
        on_epoch=optional(module, "on_epoch", source),
        metrics=_metrics(module, loaded, source),
        labels=_labels(module, source),
        preprocessing=_preprocessing(module, source),
        notes=(*loaded.notes, *_misspelt(module, source)),
    )


def _misspelt(module: ModuleType, subject: str) -> Iterator[str]:
    """Functions that are never called, and nearly have the name of one that would be."""
    missing = [name for name in _OPTIONAL if not hasattr(module, name)]
    for name, value in vars(module).items():
        near = difflib.get_close_matches(name, missing, n=1, cutoff=0.85)
        if near and callable(value) and getattr(value, "__module__", "") == module.__name__:
            yield f"{subject} has a function {name}(), which nothing calls; what edgecomp looks for is {near[0]}()."


def import_task(place: str, subject: str) -> ModuleType:
    """Imports a Python file or a module by name.

    Raises:
        SourceError: There is no such file or module, or importing it fails.
    """
    is_file = place.endswith(".py")
    if is_file and not Path(place).is_file():
        raise SourceError(
            subject,
            expected="a Python file",
            actual="no such file" if not Path(place).exists() else "not a file",
            cure="check the path",
        )
    # Behind everything else on the path, so that a `utils.py` beside the task cannot replace an installed package.
    folder = str(Path(place).resolve().parent) if is_file else os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return _import_file(Path(place).resolve()) if is_file else importlib.import_module(place)
    # SystemExit too: a script without a main guard may end the program.
    except (Exception, SystemExit) as error:
        cure = f"make `python {place}` run" if is_file else f"make `python -c 'import {place}'` work here"
        # The user's own module, as opposed to one that it imports, is not to be had from a package index.
        missing = isinstance(error, ModuleNotFoundError) and error.name == place.partition(".")[0] and not is_file
        raise SourceError(
            subject,
            expected="a Python file that can be imported" if is_file else f"a module {place!r} that can be imported",
            actual=_describe(error),
            cure="check the name; modules are looked for in this folder too" if missing else _cure(error, cure),
        ) from error


def call(module: ModuleType, name: str, subject: str) -> Any:
    """Calls a task function that must exist.

    Raises:
        SourceError: It does not exist, or raises.
    """
    function = optional(module, name, subject)
    if function is None:
        there = sorted(key for key, value in vars(module).items() if callable(value) and key[0] != "_")
        raise SourceError(
            subject,
            expected=f"a function {name}()",
            actual=f"only {', '.join(there)}" if there else "no functions",
            cure=f"add {name}(); a task needs at least model() and example_inputs()"
            if name in _REQUIRED
            else correction(name, there, f"add {name}(), or name another"),
        )
    try:
        return function()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise SourceError(
            f"{subject}: {name}()",
            expected="a function that returns",
            actual=_describe(error),
            cure=_cure(error, f"make {name}() work when it is called without arguments"),
        ) from error


def optional(module: ModuleType, name: str, subject: str) -> Callable[..., Any] | None:
    """A task function, or None when there is none.

    Raises:
        SourceError: There is something else of that name.
    """
    function = getattr(module, name, None)
    if function is not None and not callable(function):
        raise SourceError(
            f"{subject}: {name}",
            expected="a function",
            actual=f"a {type(function).__name__}",
            cure=f"write `def {name}():` and return it from there",
        )
    return function


def _import_file(path: Path) -> ModuleType:
    # The name holds the path's hash, so that two files called task.py do not replace each other.
    name = f"edgecomp_task_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file always has a spec"
    assert spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _opener(module: ModuleType, name: str, subject: str) -> Callable[[], Iterable[Any]] | None:
    function = optional(module, name, subject)
    if function is None:
        return None

    def items() -> Iterable[Any]:
        try:
            yield from function()
        except InputError:
            raise
        except Exception as error:
            raise DataError(
                f"{subject}: {name}()",
                expected="a function that gives items, one after another",
                actual=_describe(error),
                cure=f"make `for item in {name}(): pass` run",
            ) from error

    return items


def _caller(module: ModuleType, name: str, subject: str) -> Callable[[], Any] | None:
    """Calls a task function, with its errors explained; None when there is none."""
    return None if optional(module, name, subject) is None else lambda: call(module, name, subject)


def _metrics(module: ModuleType, loaded: Source, subject: str) -> Metrics | None:
    """A function, the name of a metric, or several of them."""
    chosen = getattr(module, "metric", None)
    if chosen is None:
        return None
    several = chosen if isinstance(chosen, tuple | list) else [chosen]
    if not several or not all(callable(each) or isinstance(each, str) for each in several):
        raise SourceError(
            f"{subject}: metric",
            expected="a function, the name of a metric, or several of them",
            actual=f"a {type(chosen).__name__}" + ("" if chosen else " of nothing"),
            cure='write metric = "accuracy", metric = ["accuracy", "f1"], or def metric(outputs, labels):',
        )
    from edgecomp.frontends.torch_module import adapt_metric

    adapted = (each if isinstance(each, str) else adapt_metric(each, loaded, subject) for each in several)
    return Metrics(*adapted, subject=f"{subject}: metric")


def _labels(module: ModuleType, subject: str) -> tuple[str, ...] | None:
    if optional(module, "labels", subject) is None:
        return None
    value = call(module, "labels", subject)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise SourceError(
            f"{subject}: labels()",
            expected="the class names, in the order of the outputs",
            actual=f"a {type(value).__name__}",
            cure='return a list such as ["cat", "dog"]',
        )
    return tuple(str(label) for label in value)


def _preprocessing(module: ModuleType, subject: str) -> Preprocessing | None:
    if optional(module, "preprocessing", subject) is None:
        return None
    value = call(module, "preprocessing", subject)
    return value if isinstance(value, Preprocessing) else Preprocessing.parse(value, f"{subject}: preprocessing()")


def _with_task_hash(step: Step, module: ModuleType) -> Step:
    path = getattr(module, "__file__", None)
    if path is None:
        return step
    facts = {**step.facts, "task_sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    return dataclasses.replace(step, facts=facts)


def _cure(error: BaseException, otherwise: str) -> str:
    """What to do about an exception of the user's code."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return (
            f"install what has the module {package!r} (often: pip install {package}), into the environment of edgecomp"
        )
    return otherwise


def _describe(error: BaseException) -> str:
    """The error's first line, and where in the user's code it arose."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{text} ({error.filename}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if "importlib" not in f.filename and f.filename != __file__), None)
    return f"{text} ({last.filename}:{last.lineno})" if last else text
