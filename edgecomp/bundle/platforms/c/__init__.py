"""C99 for microcontrollers and small boards, in the style of TFLite Micro: a C array or a mapped file, and no heap."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecomp.bundle.contents import GOLDEN
from edgecomp.bundle.platform import Platform
from edgecomp.bundle.words import C
from edgecomp.errors import InputError
from edgecomp.manifest import sha256

if TYPE_CHECKING:
    from pathlib import Path

    from edgecomp.bundle.contents import Contents
    from edgecomp.interface import TensorInterface
    from edgecomp.processing import Processing

#: Larger models, in bytes, are mapped from a file: compilers are slow with arrays, and flash is small.
ARRAY_LIMIT = 1 << 20

_TYPES = {"float32": "FLOAT32", "int8": "INT8", "uint8": "UINT8", "int16": "INT16"}


def _words(contents: Contents, root: Path) -> Mapping[str, Any]:
    """Returns the variables of the templates: the model and the golden data as numbers."""
    model = contents.models[0]
    path = root / contents.assets / model.file
    golden = json.loads((root / contents.assets / GOLDEN).read_text(encoding="utf-8"))
    tensors = [*model.inputs, *model.outputs]
    for spec in tensors:
        _check(spec, contents)
    expected = golden["models"][model.file]
    picture = golden["picture"]
    return {
        "model": model,
        "model_size": path.stat().st_size,
        "digest": list(bytes.fromhex(sha256(path))),
        "array": _listing(path.read_bytes()) if path.stat().st_size <= ARRAY_LIMIT else None,
        "picture": None if picture is None else {**picture, "rgb": _listing(base64.b64decode(picture["rgb"]))},
        "workspace": 0 if picture is None else _workspace(contents.processing, picture["width"], picture["height"]),
        "golden_inputs": [_listing(base64.b64decode(golden["inputs"][spec.name]["data"])) for spec in model.inputs]
        if picture is None
        else [],
        "input_digests": [list(bytes.fromhex(digest)) for digest in expected["inputs_sha256"]],
        "golden_outputs": [
            {**output, "values": _listing(np.frombuffer(base64.b64decode(output["values"]), "<i2").tolist())}
            for output in expected["outputs"]
        ],
        **constants(tensors),
    }


def constants(tensors: Sequence[TensorInterface]) -> Mapping[str, Any]:
    """Returns what the code needs of inputs and outputs, and constants for its arithmetic."""
    return {
        "types": _TYPES,
        "sizes": {spec.name: int(np.prod(spec.shape, dtype=np.int64)) for spec in tensors},  # type: ignore[arg-type]
        "bytes_of": {name: np.dtype(name).itemsize for name in _TYPES},
        "sha256_roots": [_fraction_of_root(prime, 3) for prime in _primes(64)],
        "sha256_start": [_fraction_of_root(prime, 2) for prime in _primes(8)],
    }


def _workspace(processing: Processing, width: int, height: int) -> int:
    """Returns an upper bound on NAME_workspace() of the C code for a picture, for a static array."""
    steps = processing.preprocessing
    assert steps is not None, "there is a golden picture"
    shorter = steps.resize or steps.crop or min(width, height)
    factor = shorter / min(width, height)
    # The longest windows are Lanczos's: three pixels to each side, more when the picture shrinks.
    window = 2 + 2 * int(3 * max(1.0, 1 / factor) + 1) + 1
    columns, rows = (steps.crop or int(side * factor) + 1 for side in (width, height))
    return 8 + 4 * window * (columns + rows) + 4 * 3 * columns * rows + 3 * height * columns


def _check(spec: TensorInterface, contents: Contents) -> None:
    if spec.dtype in _TYPES and spec.source_dtype == "float32" and None not in spec.shape and len(spec.shape) <= 6:
        return
    raise InputError(
        f"{contents.folder}: {spec.name!r}",
        expected=f"for C, real numbers of a fixed shape, stored as {', '.join(_TYPES)}",
        actual=f"{spec.source_dtype} stored as {spec.dtype}, shape {spec.shape}",
        cure="fix the shape with --shape when you run compress, or take another platform",
    )


def _listing(values: bytes | list[int], width: int = 20) -> str:
    """Formats numbers as the lines of a C initializer."""
    rows = (values[start : start + width] for start in range(0, len(values), width))
    return ",\n".join("    " + ",".join(map(str, row)) for row in rows)


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _fraction_of_root(number: int, degree: int) -> int:
    """Returns the first 32 bits of the fraction of a root: the constants of SHA-256 (FIPS 180-4)."""
    scaled, low, high = number << (32 * degree), 0, 1 << 48
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**degree <= scaled else (low, middle)
    return low & 0xFFFFFFFF


PLATFORM = Platform(
    title="C",
    formats=("tflite",),
    assets="model",
    copies=("_NAME__model.c",),
    keywords=C,
    words=_words,
)
