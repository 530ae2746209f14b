"""What becomes of a damaged artifact: an error of edgecomp, or an answer; never the end of the process."""

from __future__ import annotations

import functools
import random
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mutation import damage
from seeds import models

from edgecomp import load
from edgecomp.artifact import find_converter
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import EdgecompError
from edgecomp.frontends import load_source
from edgecomp.preparation import prepare

#: What damaged files are made from: windows, dynamic sizes, integers, a lookup, recurrent state.
MODELS = ("cnn", "movement", "quantized", "lookup", "recurrent")
FORMATS = ("tflite", "mnn", "onnxruntime", "ort")
#: Bytes that a process may map; more is asked for by a file that declares a size that it does not have.
_MEMORY = 16 << 30
#: Numbers at which code goes wrong that takes them for an offset, a length or an index.
_NUMBERS = (0, 1, 2, 4, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0, 0x01000000)


def outcome(seed: int, folder: Path, formats: Sequence[str] = FORMATS) -> str:
    """ "refused" or "right", which says no more than that there was an answer."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    formats_ = [(name, model) for model in MODELS for name in formats]
    name, model = formats_[seed % len(formats_)]
    content, suffix = artifact(name, model)
    path = folder / f"model{suffix}"
    path.write_bytes(damaged(content, seed))
    answered = [_is_answered(path, action) for action in (_inspect, _predict)]
    return "right" if any(answered) else "refused"


def _is_answered(path: Path, action) -> bool:
    try:
        action(path)
    except EdgecompError as error:
        str(error).encode()
        return False
    return True


def _inspect(path: Path) -> None:
    find_converter(path).inspect(path)


def _predict(path: Path) -> None:
    found = load(path)
    # As many elements as anybody would give.
    shapes = [[min(size or 2, 64) for size in spec.source_shape] for spec in found.inputs]
    pairs = zip(shapes, found.inputs, strict=True)
    found.predict([np.ones(shape[:8], np.dtype(spec.source_dtype)) for shape, spec in pairs])


def damaged(content: bytes, seed: int) -> bytes:
    """A copy with bytes, or aligned numbers, changed; or one that ends early, at a power of two now and then."""
    rng = random.Random(seed)
    data = bytearray(content)
    if rng.random() < 0.1:
        return content[: 1 << rng.randrange(len(content).bit_length())]
    if rng.random() < 0.4:
        damage(data, rng)
        return bytes(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        # Half of what counts lies at the ends of the file.
        span = rng.choice((len(data), len(data), 200, -200))
        start = rng.randrange(span) if span > 0 else len(data) + span + rng.randrange(-span)
        start -= start % 4
        number = rng.choice((*_NUMBERS, rng.randrange(len(data)), rng.getrandbits(32)))
        data[start : start + 4] = number.to_bytes(4, "little")
    return bytes(data)


@functools.cache
def artifact(name: str, model: str) -> tuple[bytes, str]:
    """A whole artifact and its suffix."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source.onnx")
        source.write_bytes(models()[model].SerializeToString())
        converter = load_converter(name)
        path = Path(folder, f"model{converter.suffixes[0]}")
        converter.convert(prepare(load_source(source)), path, ConversionOptions())
        return path.read_bytes(), path.suffix
