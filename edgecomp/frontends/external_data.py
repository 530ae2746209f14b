"""Reads the external data of an ONNX model from its own folder, and from nowhere else.

A model names the files that its tensors lie in, so a hostile one could name any file of the machine, which would then
travel in the artifact. A file is accepted when

1. its location is relative and has no "..";
2. neither it nor a folder on the way is a symbolic link;
3. it is a regular file that is as long as the tensors in it need;
4. all data together stay below 2 GB, beyond which no ONNX model can be one message, and no `.tflite` file one buffer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import Message  # protobuf ships no stubs

from edgecomp.errors import SourceError
from edgecomp.graph.message import read_array
from edgecomp.graph.stored_weights import LARGE, StoredWeights

#: protobuf's limit for one message.
LIMIT = 2**31 - 1


def load_external_data(proto: onnx.ModelProto, path: Path, weights: StoredWeights) -> Iterator[npt.NDArray[np.uint8]]:
    """Moves all external data into the model, or what is large to its stored weights; yields it piece by piece.

    Raises:
        SourceError: A file may not or cannot be read, or it is too much.
    """
    external = [t for t in all_tensors(proto) if t.data_location == onnx.TensorProto.EXTERNAL]
    pieces = [_locate(tensor, path) for tensor in external]
    total = path.stat().st_size + sum(length for _, _, length in pieces)
    if total > LIMIT:
        raise too_large(path, total)
    for tensor, (file, offset, length) in zip(external, pieces, strict=True):
        with file.open("rb") as stream:
            stream.seek(offset)
            data = read_array(stream, length)
        tensor.raw_data = weights.store(data) if length > LARGE else data.tobytes()
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
        yield data


def all_tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor in a message: initializers, attributes, subgraphs, functions."""
    return _all_of(message, onnx.TensorProto)


def all_nodes(message: Message) -> Iterator[onnx.NodeProto]:
    """Every node in a message, those of subgraphs and functions too."""
    return _all_of(message, onnx.NodeProto)


def _all_of(message: Message, kind: type[Any]) -> Iterator[Any]:
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        children: Any = [value] if isinstance(value, Message) else value
        for child in children:
            if isinstance(child, kind):
                yield child
            # No tensor holds a message worth looking at, and there may be many.
            if not isinstance(child, onnx.TensorProto):
                yield from _all_of(child, kind)


def too_large(path: Path, size: int) -> SourceError:
    """The error about a model beyond protobuf's limit."""
    return SourceError(
        str(path),
        expected="a model below 2 GB with its external data",
        actual=f"{size / 2**30:.2f} GB",
        cure="split the model, or compress it before the export; such models do not fit the targets in any case",
    )


def _locate(tensor: onnx.TensorProto, path: Path) -> tuple[Path, int, int]:
    """The file, offset and length of a tensor's data."""
    subject = f"{path}: tensor {tensor.name!r}"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    hostile = posix.is_absolute() or windows.drive or windows.root or ".." in posix.parts + windows.parts
    if not location or "\0" in location or hostile:
        raise _refused(subject, f"the location {location!r}")
    file = path.parent
    for part in posix.parts:
        file = file / part
        if file.is_symlink():
            raise _refused(subject, f"the symbolic link {file}")
    if not file.is_file():
        raise SourceError(
            subject,
            expected="its external data beside the model",
            actual=f"no file {file}",
            cure="copy the external data together with the .onnx file, under the same names",
        )
    available = file.stat().st_size
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or available - offset)
    except ValueError:
        offset, length = -1, -1
    if offset < 0 or length < 0 or offset + length > available:
        raise SourceError(
            subject,
            expected=f"data within the {available} bytes of {file.name}",
            actual=f"offset {entries.get('offset', 0)}, length {entries.get('length', 'not given')}",
            cure="export or copy the model and its external data again: one of them is damaged",
        )
    return file, offset, length


def _refused(subject: str, actual: str) -> SourceError:
    return SourceError(
        subject,
        expected="external data in a regular file inside the model's own folder",
        actual=actual,
        cure="do not use models from people you do not trust; otherwise save it again with onnx.save_model",
    )
