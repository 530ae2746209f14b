"""The processing around a model as `metadata_props`, with the keys that the ONNX project defines for images.

See https://onnx.ai/onnx/repo-docs/MetadataProps.html. It has no keys for resizing and normalizing, so everything is
also stored as edgecomp's own JSON.
"""

from __future__ import annotations

import json

import numpy as np

from edgecomp.frontends.pictures import Preprocessing
from edgecomp.processing import Processing

#: The entry that holds edgecomp's processing, labels included, as JSON.
KEY = "edgecomp.processing"

#: The type denotation of an input that is a picture with its channels first.
IMAGE = "IMAGE"

_FORMATS = {"rgb": "Rgb8", "bgr": "Bgr8", "gray": "Gray8"}
_RANGES = {(0.0, 255.0): "NominalRange_0_255", (0.0, 1.0): "Normalized_0_1", (-1.0, 1.0): "Normalized_1_1"}


def properties(processing: Processing) -> dict[str, str]:
    """Returns the entries for a model; none if its processing is unknown."""
    if processing.is_empty:
        return {}
    found = {KEY: json.dumps(processing.as_dict(), sort_keys=True)}
    steps = processing.preprocessing
    if steps is None:
        return found
    found |= {"Image.BitmapPixelFormat": _FORMATS[steps.channels], "Image.ColorSpaceGamma": "SRGB"}
    named = _range(steps)
    return found if named is None else {**found, "Image.NominalPixelRange": named}


def _range(steps: Preprocessing) -> str | None:
    """Returns ONNX's name of the pixel range after preprocessing; None for ranges without a name."""
    mean, std = (np.array(numbers, np.float64) for numbers in (steps.mean, steps.std))
    ranges = {tuple(pair) for pair in np.stack([-mean / std, (255 / steps.scale - mean) / std], axis=-1).tolist()}
    return _RANGES.get(ranges.pop()) if len(ranges) == 1 else None
