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

Every key has a default but `target`; `compress` writes the recipe with all of them filled in. Running it again on the same
source and data gives the same bytes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tomli_w

from edgecomp.converter import available_formats
from edgecomp.errors import SourceError
from edgecomp.quantization.static import StaticQuantization
from edgecomp.target import TargetProfile

SCHEMA = 1

Precision = Literal["fp32", "int8"]

#: The settings of each kind of step; a new kind is one line here.
STEPS: dict[str, type[StaticQuantization]] = {"static-int8": StaticQuantization}


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
    """

    calibration_samples: int = 512
    evaluation_samples: int = 1000


@dataclass(frozen=True)
class Recipe:
    """What `compress` does.

    Attributes:
        target: Canonical name of the target profile.
        precision: "int8" or "fp32".
        formats: The converters to run.
        seed: Of everything that is random.
        export: How artifacts look from outside.
        data: How much of the data is used.
        steps: Compression steps in order.
    """

    target: str
    precision: Precision = "int8"
    formats: tuple[str, ...] = ("tflite", "onnxruntime", "mnn")
    seed: int = 0
    export: Export = field(default_factory=Export)
    data: DataLimits = field(default_factory=DataLimits)
    steps: tuple[StaticQuantization, ...] = ()

    def to_toml(self) -> str:
        """The recipe as text, every default spelled out."""
        kinds = {settings: kind for kind, settings in STEPS.items()}
        steps = [{"kind": kinds[type(step)], **asdict(step)} for step in self.steps]
        return tomli_w.dumps({"schema": SCHEMA, **asdict(self), "formats": list(self.formats), "steps": steps})


def default_recipe(target: TargetProfile, precision: Precision | None = None) -> Recipe:
    """What a target gets when nothing else is asked for."""
    chosen = precision or ("int8" if target.defaults.precision == "int8" else "fp32")
    available = available_formats()
    return Recipe(
        target=target.name,
        precision=chosen,
        formats=tuple(name for name in target.defaults.formats if name in available),
        steps=(StaticQuantization(),) if chosen == "int8" else (),
    )


def load_recipe(path: Path) -> Recipe:
    """Reads a recipe.

    Raises:
        SourceError: The file is missing, is not TOML, has an unknown key or a value of the wrong type, or is from a newer
            edgecomp.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _error(path, "a recipe in TOML", str(error), "check the path, or start from a recipe.toml that compress wrote")
    schema = content.pop("schema", None)
    if schema != SCHEMA:
        raise _error(path, f"schema = {SCHEMA}", f"schema = {schema}", "use the edgecomp that wrote it, or write it anew")
    steps = content.pop("steps", [])
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise _error(path, "[[steps]] tables", repr(steps), "write each step as a table with a kind")
    parsed = []
    for index, step in enumerate(steps):
        kind = step.pop("kind", None)
        if kind not in STEPS:
            raise _error(path, f"a step of kind {', '.join(STEPS)}", repr(kind), f"correct steps[{index}].kind")
        parsed.append(_parse(STEPS[kind], step, path, f"steps[{index}]."))
    recipe: Recipe = _parse(Recipe, content, path, "")
    return Recipe(**{**vars(recipe), "steps": tuple(parsed)})


def _parse(kind: Any, table: Mapping[str, Any], path: Path, prefix: str) -> Any:
    """A frozen dataclass from a table, checked against its type hints."""
    hints = get_type_hints(kind)
    known = {entry.name for entry in fields(kind)} - {"steps"}
    for key in table:
        if key not in known:
            raise _error(path, f"the keys {', '.join(sorted(known))}", f"{prefix}{key}", "remove or correct the key")
    required = {entry.name for entry in fields(kind) if entry.default is entry.default_factory is MISSING}
    for key in sorted(required - set(table)):
        raise _error(path, f"the key {prefix}{key}", "it is missing", "add it")
    return kind(**{key: _value(hints[key], value, path, prefix + key) for key, value in table.items()})


def _value(hint: Any, value: Any, path: Path, key: str) -> Any:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise _error(path, f"{key} one of {', '.join(map(str, get_args(hint)))}", repr(value), "choose from the list")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _error(path, f"{key} a list of names", repr(value), "write it as a list of strings")
        return tuple(value)
    if hasattr(hint, "__dataclass_fields__"):
        if not isinstance(value, dict):
            raise _error(path, f"a table [{key}]", repr(value), "write it as a table")
        return _parse(hint, value, path, f"{key}.")
    if type(value) is not hint:
        raise _error(path, f"{key} of type {hint.__name__}", repr(value), "correct the value")
    return value


def _error(path: Path, expected: str, actual: str, cure: str) -> SourceError:
    return SourceError(str(path), expected=expected, actual=actual, cure=cure)
