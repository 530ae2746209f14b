"""How a picture becomes an input, and pictures in a folder as calibration data."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgecomp.errors import DataError, InputError, MissingToolchainError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})

_EXAMPLE = "resize=256,crop=224,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocessing:
    """The steps from a picture to an input, in this order; as a string, "key=value,key=value".

    Attributes:
        resize: Pixels of the shorter side after resizing, or None to leave the size.
        crop: Side of the square cut from the centre, or None to keep everything. Without `resize` the picture
            is resized so that its shorter side is `crop`.
        scale: Pixel values 0-255 are divided by this first.
        mean: Then one number, or one per channel, is taken away.
        std: And what is left is divided by one number, or one per channel.
        channels: "rgb", "bgr" or "gray".
        layout: "nchw" or "nhwc".
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
    """

    resize: int | None = None
    crop: int | None = None
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"

    @classmethod
    def parse(cls, settings: str | Mapping[str, Any], subject: str = "--preprocess") -> Preprocessing:
        """Reads "resize=256,crop=224,mean=0.485:0.456:0.406,std=0.229:0.224:0.225", or a mapping with the same keys.

        Raises:
            InputError: A key or value is not understood.
        """
        if isinstance(settings, str):
            pairs = [part.partition("=") for part in settings.split(",") if part.strip()]
            values: dict[str, Any] = {key.strip(): value.strip() for key, _, value in pairs}
        elif isinstance(settings, Mapping):
            values = dict(settings)
        else:
            raise _error(subject, f"a string such as {_EXAMPLE!r}, or a mapping", f"a {type(settings).__name__}")
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise _error(subject, f"the keys {', '.join(known)}", repr(key))
        return cls(**{key: _parse_value(key, value, subject) for key, value in values.items()})

    def in_words(self) -> str:
        """The steps as a sentence, for people who read an artifact's description."""
        shorter = self.resize or self.crop
        parts = [
            f"its shorter side resized to {shorter} ({self.interpolation})" if shorter else "",
            f"its centre cut out, {self.crop} x {self.crop}" if self.crop else "",
            f"its {self.channels} values divided by {self.scale:g}"
            if self.scale != 1
            else f"its {self.channels} values",
            f"less {_numbers(self.mean)}, divided by {_numbers(self.std)}",
        ]
        return f"A picture, {', '.join(filter(None, parts))}."

    def apply(self, picture: Any) -> npt.NDArray[np.float32]:
        """One `PIL.Image.Image` as a float32 sample with a leading axis of size 1."""
        from PIL import Image

        mode = "L" if self.channels == "gray" else "RGB"
        if picture.mode != mode:  # converting to the same mode would copy all of it
            picture = picture.convert(mode)
        shorter = self.resize or self.crop
        if shorter:
            factor = shorter / min(picture.size)
            size = tuple(max(shorter, round(side * factor)) for side in picture.size)
            method = Image.Resampling[self.interpolation.upper()]
            # Which direction comes first changes roundings, and Pillow's choice depends on its release: rows are first.
            picture = picture.resize((size[0], picture.height), method).resize(size, method)
        if self.crop:
            left, top = ((side - self.crop) // 2 for side in picture.size)
            picture = picture.crop((left, top, left + self.crop, top + self.crop))
        pixels = np.asarray(picture, np.float32).reshape(picture.size[1], picture.size[0], -1)
        if self.channels == "bgr":
            pixels = pixels[:, :, ::-1]
        normal = (pixels / self.scale - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        batch = normal.astype(np.float32)[None]
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2) if self.layout == "nchw" else batch)


def _numbers(values: Sequence[float]) -> str:
    return " : ".join(f"{value:g}" for value in values)


def read_pictures(folder: Path, preprocessing: Preprocessing) -> Iterator[tuple[npt.NDArray[np.float32], ...]]:
    """The pictures in a folder, one sample each: sorted by path, and of its subfolders by turns.

    Subfolders are often classes, and the first few hundred pictures have to stand for all.

    Raises:
        DataError: A file is not a picture that can be read.
        MissingToolchainError: Pillow is not installed.
    """
    return ((read_picture(path, preprocessing),) for path in by_turns(find_pictures(folder), lambda path: path.parent))


def by_turns(paths: Iterable[Path], group: Callable[[Path], Hashable]) -> Iterator[Path]:
    """One of each group, then the next of each, until all have come."""
    groups: dict[Hashable, list[Path]] = {}
    for path in paths:
        groups.setdefault(group(path), []).append(path)
    return (path for turn in zip_longest(*groups.values()) for path in turn if path is not None)


def read_picture(path: Path, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """One picture as a sample, upright as its EXIF data say.

    Raises:
        DataError: It cannot be read.
        MissingToolchainError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise MissingToolchainError(
            "Pillow",
            expected="the package that reads pictures",
            actual="not installed",
            cure="run `pip install pillow`",
        ) from None
    try:
        with Image.open(path) as picture:
            return preprocessing.apply(ImageOps.exif_transpose(picture))
    # Pillow's decoders raise what they like about broken files: OSError, SyntaxError, DecompressionBombError.
    except Exception as error:
        raise DataError(
            str(path),
            expected="a picture",
            actual=f"{type(error).__name__}: {error}",
            cure="remove the file or replace it",
        ) from error


def find_pictures(folder: Path) -> Sequence[Path]:
    """The picture files in a folder and its subfolders, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _parse_value(key: str, value: Any, subject: str) -> Any:
    choices = {"channels": ("rgb", "bgr", "gray"), "layout": ("nchw", "nhwc"), "interpolation": _INTERPOLATIONS}
    if key in choices:
        if value not in choices[key]:
            raise _error(f"{subject}: {key}", " or ".join(choices[key]), repr(value))
        return value
    try:
        if key in ("resize", "crop"):
            number = None if value is None else int(value)
            valid = number is None or number > 0
            parsed: Any = number
        elif key == "scale":
            parsed = float(value)
            valid = parsed > 0
        else:
            parts = value.split(":") if isinstance(value, str) else value
            parsed = tuple(float(part) for part in (parts if isinstance(parts, list | tuple) else [parts]))
            valid = len(parsed) in (1, 3) and (key == "mean" or all(parsed))
    except (TypeError, ValueError):
        valid, parsed = False, None
    if not valid:
        kind = {"mean": "1 or 3 numbers", "std": "1 or 3 numbers that are not zero", "scale": "a positive number"}
        raise _error(f"{subject}: {key}", kind.get(key, "a positive whole number"), repr(value))
    return parsed


def _error(subject: str, expected: str, actual: str) -> InputError:
    return InputError(subject, expected=expected, actual=actual, cure=f"write it like {_EXAMPLE}")
