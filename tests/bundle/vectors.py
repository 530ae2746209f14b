"""Pictures and preprocessing that every implementation is held to, and what Python makes of them."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgecomp.artifact import to_stored
from edgecomp.frontends.pictures import Preprocessing
from edgecomp.interface import TensorInterface

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

STEPS = (
    Preprocessing(resize=20, crop=16),
    Preprocessing(resize=20, crop=16, interpolation="nearest"),
    Preprocessing(resize=20, crop=16, interpolation="bicubic", **IMAGENET),  # type: ignore[arg-type]
    Preprocessing(resize=19, crop=17, interpolation="lanczos", **IMAGENET),  # type: ignore[arg-type]
    Preprocessing(crop=16, scale=1.0, mean=(127.0,), std=(128.0,), channels="bgr", interpolation="bicubic"),
    Preprocessing(crop=16, channels="gray", layout="nhwc"),
    Preprocessing(crop=15, layout="nhwc", interpolation="nearest", channels="gray", mean=(0.1307,), std=(0.3081,)),
    Preprocessing(crop=40, interpolation="lanczos", **IMAGENET),  # type: ignore[arg-type]
)

#: Width and height: small, wide, tall, one row, as it should be already, and one that shrinks a lot.
SIZES = ((7, 5), (64, 20), (21, 63), (40, 1), (16, 16), (301, 177))


@dataclasses.dataclass(frozen=True)
class Vector:
    """One picture, its preprocessing, how it is stored, and the bytes that come of it."""

    steps: Preprocessing
    rgba: npt.NDArray[np.uint8]
    spec: TensorInterface
    expected: bytes

    def as_dict(self) -> dict[str, Any]:
        height, width, _ = self.rgba.shape
        return {
            "preprocessing": dataclasses.asdict(self.steps),
            "width": width,
            "height": height,
            "rgba": base64.b64encode(self.rgba.tobytes()).decode(),
            "description": dataclasses.asdict(self.spec),
            "expected": base64.b64encode(self.expected).decode(),
        }


def pixels(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Noise on a gradient, with extremes, which make resampling overshoot."""
    random = np.random.default_rng(width * 1000 + height)
    ramp = np.linspace(0, 255, width * height * 4).reshape(height, width, 4)
    noisy = ramp + random.normal(scale=60, size=ramp.shape)
    noisy[random.random(ramp.shape) < 0.1] = 0
    noisy[random.random(ramp.shape) > 0.9] = 255
    return np.clip(noisy, 0, 255).astype(np.uint8)


def interface(steps: Preprocessing, quantized: bool) -> TensorInterface:
    """The input as a model with such preprocessing might store it: float as it comes, or int8 and transposed."""
    side, depth = steps.crop or 0, 1 if steps.channels == "gray" else 3
    shape = (1, depth, side, side) if steps.layout == "nchw" else (1, side, side, depth)
    if not quantized:
        return TensorInterface("image", "float32", shape)
    permutation = (0, 2, 3, 1) if steps.layout == "nchw" else None
    stored = shape if permutation is None else tuple(shape[axis] for axis in permutation)
    return TensorInterface("image", "int8", stored, permutation, scale=0.0173, zero_point=-3)


def vectors() -> list[Vector]:
    """All of them."""
    made = []
    for steps in STEPS:
        for index, (width, height) in enumerate(SIZES):
            rgba = pixels(width, height)
            spec = interface(steps, quantized=index % 2 == 0)
            sample = steps.apply(Image.fromarray(np.ascontiguousarray(rgba[:, :, :3])))
            made.append(Vector(steps, rgba, spec, to_stored(sample, spec).tobytes()))
    return made
