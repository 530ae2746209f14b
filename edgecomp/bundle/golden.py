"""`golden.json`: a small picture, or plain inputs, with every model's outputs, for a device to check itself.

The picture goes through the whole preprocessing. The result is compared by hash, because resizing, normalizing and
quantizing give the same bits everywhere.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecomp.arrays import Array
from edgecomp.artifact import load, to_stored
from edgecomp.errors import SourceError
from edgecomp.system.quiet import silenced
from edgecomp.verification.golden import Golden, tolerance

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from edgecomp.bundle.contents import Contents, Model
    from edgecomp.frontends.pictures import Preprocessing

SCHEMA = 1

#: Pixels of the shorter side of the picture: enough to detect wrong resizing, and small enough for a bundle.
_SIDE = 16


#: The largest number of stored values of an output.
_VALUES = 64


def make_golden(contents: Contents, files: Path) -> dict[str, Any]:
    """Runs every model of a bundle on one sample of its golden data.

    Args:
        contents: Everything that the bundle is built from.
        files: The folder of its models.

    Raises:
        SourceError: The result folder has no golden data, or its preprocessing does not fit the model.
    """
    golden = Golden(contents.folder)
    steps = contents.processing.preprocessing
    picture = None
    sample = dict(golden.inputs)
    if steps is not None and len(sample) == 1:
        ((name, array),) = sample.items()
        picture = to_picture(array, steps)
        sample = {name: _fitting(steps.apply(picture), array, contents)}
    with silenced():  # runtimes print a greeting when they are loaded
        results = {model.file: load(files / model.file).predict(sample) for model in contents.models}
    preferred = contents.models[0]
    scores = results[preferred.file][preferred.outputs[0].name]
    return {
        "schema": SCHEMA,
        "picture": None if picture is None else _pixels(picture),
        "inputs": {} if picture is not None else {name: _values(array) for name, array in sample.items()},
        "models": {model.file: _record(model, sample, results[model.file], golden) for model in contents.models},
        "answer": [asdict(ranked) for ranked in contents.processing.answer(scores)],
    }


def to_picture(array: Array, steps: Preprocessing) -> Image:
    """Turns a preprocessed array back into a small picture.

    Args:
        array: (1, C, H, W) or (1, H, W, C) float32, as `steps` returns it.
        steps: The preprocessing that made it.
    """
    from PIL import Image

    pixels = array[0].transpose(1, 2, 0) if steps.layout == "nchw" else array[0]
    pixels = (pixels * np.array(steps.std, np.float32) + np.array(steps.mean, np.float32)) * steps.scale
    pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    picture = Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1] if steps.channels == "bgr" else pixels))
    factor = min(1.0, _SIDE / min(picture.size))
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def _fitting(sample: Array, wanted: Array, contents: Contents) -> Array:
    if sample.shape == wanted.shape and sample.dtype == wanted.dtype:
        return sample
    raise SourceError(
        f"{contents.folder}: preprocessing",
        expected=f"steps that give the model's input: {wanted.dtype} {wanted.shape}",
        actual=f"{sample.dtype} {sample.shape}",
        cure="correct the task's preprocessing(), or --preprocess, and run compress again",
    )


def _record(model: Model, sample: dict[str, Array], results: dict[str, Array], golden: Golden) -> dict[str, Any]:
    steps = golden.steps(model.file)
    return {
        "inputs_sha256": [
            hashlib.sha256(to_stored(sample[spec.name], spec).tobytes()).hexdigest() for spec in model.inputs
        ],
        "outputs": [
            {
                **_rounded(results[spec.name]),
                "tolerance": tolerance(results[spec.name], steps[index]),
            }
            for index, spec in enumerate(model.outputs)
        ],
    }


def _rounded(output: Array) -> dict[str, Any]:
    """Returns evenly spaced values of an output as int16 with a scale, far finer than the tolerance."""
    stride = -(-output.size // _VALUES)
    chosen = output.reshape(-1)[::stride]
    scale = float(np.abs(chosen).max(initial=0.0)) / 32767 or 1.0
    return {"values": _base64(np.rint(chosen / scale).astype("<i2")), "scale": scale, "stride": stride}


def _pixels(picture: Image) -> dict[str, Any]:
    return {"width": picture.width, "height": picture.height, "rgb": _base64(np.asarray(picture))}


def _values(array: Array) -> dict[str, Any]:
    """Returns the little-endian values of an input, in the source's layout."""
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": _base64(array)}


def _base64(array: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
