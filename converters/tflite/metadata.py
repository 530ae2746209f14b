"""TFLite Metadata: a description of inputs and outputs in the form that other tools read.

A flatbuffer of the schema `metadata_schema.fbs` ("M001") is stored in a metadata entry of the model, and the files that
it names as a zip archive after the model; https://ai.google.dev/edge/litert/models/metadata describes both. Field
numbers below are those of the schema, counted from 0.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

from edgecomp.interface import Interface, TensorInterface
from edgecomp.processing import Processing

#: The metadata entry that holds the flatbuffer.
ENTRY = "TFLITE_METADATA"

#: The file with class names, one per line.
LABELS = "labels.txt"

_IDENTIFIER = b"M001"
#: The oldest reader that knows every field written here.
_READER = "1.0.0"

# Members of the unions and enumerations that are written.
_FEATURES, _IMAGE = np.uint8(1), np.uint8(2)
_NORMALIZATION = np.uint8(1)
_AXIS_LABELS = np.int8(2)
_COLORS = {"rgb": np.int8(1), "gray": np.int8(2), "bgr": np.int8(0)}  # the schema has no name for BGR

#: A table: field number -> number, string, list of strings or tables, array of float32, or another table.
_Fields = Mapping[int, Any]


def describe(name: str, interface: Interface, processing: Processing) -> bytes:
    """Returns the flatbuffer for a model.

    Args:
        name: The name of the model.
        interface: Its inputs and outputs, in the file's order.
        processing: The steps around it.
    """
    graph = {
        2: [_input(spec, processing) for spec in interface.inputs],
        3: [_output(spec, processing, index) for index, spec in enumerate(interface.outputs)],
    }
    builder = flatbuffers.Builder(1024)
    root = _write(builder, {0: name, 1: f"{interface.precision}, compressed by edgecomp", 3: [graph], 7: _READER})
    builder.Finish(root, file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def associated_files(processing: Processing) -> dict[str, bytes]:
    """Returns the files that `describe` names, by name."""
    return {} if processing.labels is None else {LABELS: "".join(f"{label}\n" for label in processing.labels).encode()}


def append_files(model: bytearray, files: Mapping[str, bytes]) -> bytearray:
    """Appends files to a model as a zip archive, stored and without dates."""
    if not files:
        return model
    stream = io.BytesIO(model)
    stream.seek(0, io.SEEK_END)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return bytearray(stream.getbuffer())


def _input(spec: TensorInterface, processing: Processing) -> _Fields:
    steps = processing.preprocessing
    if steps is None:
        return {0: spec.name}
    mean, std = (np.array(numbers, np.float32) * np.float32(steps.scale) for numbers in (steps.mean, steps.std))
    # The standard counts pixels from 0 to 255, regardless of how the model scales them first.
    extremes = {place: ((pixel - mean) / std).astype(np.float32) for place, pixel in ((0, 255), (1, 0))}
    rank = len(spec.shape)
    height, width = spec.source_shape[2:4] if steps.layout == "nchw" else spec.source_shape[1:3]
    image: dict[int, Any] = {0: _COLORS[steps.channels]}
    if rank == 4 and height is not None and width is not None:
        image[1] = {0: np.uint32(width), 1: np.uint32(height)}
    return {
        0: spec.name,
        1: steps.in_words(),
        2: _dimension_names(spec, steps.layout),
        3: {0: _IMAGE, 1: image},
        4: [{0: _NORMALIZATION, 1: {0: mean, 1: std}}],
        5: extremes,
    }


def _dimension_names(spec: TensorInterface, layout: str) -> Sequence[str]:
    names = ["batch", *(["channels", "height", "width"] if layout == "nchw" else ["height", "width", "channels"])]
    return names if spec.permutation is None else [names[axis] for axis in spec.permutation]


def _output(spec: TensorInterface, processing: Processing, index: int) -> _Fields:
    if index > 0 or processing.labels is None:
        return {0: spec.name}
    return {
        0: spec.name,
        1: "one score per class, before softmax" if processing.softmax else "one probability per class",
        3: {0: _FEATURES, 1: {}},
        6: [{0: LABELS, 1: "class names, one per line", 2: _AXIS_LABELS}],
    }


def _write(builder: flatbuffers.Builder, value: Any) -> int:
    """Writes a string, vector or table, after everything that it refers to, and returns its position."""
    match value:
        case str():
            return int(builder.CreateString(value))
        case np.ndarray():
            return int(builder.CreateNumpyVector(value))
        case list():
            places = [_write(builder, entry) for entry in value]
            builder.StartVector(4, len(places), 4)
            for place in reversed(places):
                builder.PrependUOffsetTRelative(place)
            return int(builder.EndVector())
    references = {slot: _write(builder, each) for slot, each in value.items() if not isinstance(each, np.generic)}
    builder.StartObject(max(value, default=-1) + 1)
    for slot, each in value.items():
        if slot in references:
            builder.PrependUOffsetTRelativeSlot(slot, references[slot], 0)
        else:
            _SCALARS[type(each)](builder, slot, each.item(), 0)
    return int(builder.EndObject())


_SCALARS = {
    np.int8: flatbuffers.Builder.PrependInt8Slot,
    np.uint8: flatbuffers.Builder.PrependUint8Slot,
    np.uint32: flatbuffers.Builder.PrependUint32Slot,
}
