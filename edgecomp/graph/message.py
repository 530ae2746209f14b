"""Reads and writes an ONNX file as a message without its weights, which go between the file and their own memory.

Protocol buffers are fields one after the other, each a number, a wire type and a value; a message inside a message is
its length and its fields (protobuf.dev/programming-guides/encoding). So a large tensor's data can be told from the
rest, and be read around, without looking at anything else that is inside.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx

from edgecomp.graph.stored_weights import LARGE, StoredWeights

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}

#: What protobuf's own readers allow.
_DEEPEST = 100

Buffer = bytes | memoryview


def read_message(path: Path, weights: StoredWeights) -> onnx.ModelProto:
    """The model in a file, with claim checks in place of its large tensors' data.

    Args:
        path: An `.onnx` file.
        weights: Takes the data.

    Raises:
        DecodeError: The file holds no such message.
    """
    proto = onnx.ModelProto()
    with path.open("rb") as stream:
        try:
            content = b"".join(_Taker(stream, weights).message(os.fstat(stream.fileno()).st_size, proto.DESCRIPTOR))
        except _UnusualError:  # a damaged file, most likely: protobuf knows what to say of it
            stream.seek(0)
            content = stream.read()
    proto.ParseFromString(content)
    return proto


def write_message(proto: onnx.ModelProto, weights: StoredWeights, path: Path) -> None:
    """Writes a model with its large tensors' data where claim checks are; the same model gives the same bytes."""
    content = proto.SerializeToString(deterministic=True)
    with path.open("wb") as stream:
        stream.writelines(_Putter(io.BytesIO(content), weights).message(len(content), proto.DESCRIPTOR))


class _UnusualError(Exception):
    """Something that no exporter writes."""


class _Copier:
    """Copies the fields of messages from a stream; what becomes of a value is the subclass's business."""

    def __init__(self, stream: BinaryIO, weights: StoredWeights) -> None:
        self._stream = stream
        self._weights = weights

    def message(self, size: int, kind: Any, depth: int = 0) -> list[Buffer]:
        """The next `size` bytes, which are the fields of a message.

        Args:
            size: Bytes of all its fields.
            kind: Its protobuf descriptor.
            depth: How many messages it is in.
        """
        end, parts = self._stream.tell() + size, list[Buffer]()
        while (left := end - self._stream.tell()) > 0:
            tag = self._number()
            parts.append(_varint(tag))
            wire = tag & 7
            if wire == _VARINT:
                parts.append(_varint(self._number()))
            elif wire == _LENGTH:
                length = self._number()
                if length > left or depth > _DEEPEST:
                    raise _UnusualError
                value = self._value(length, kind.fields_by_number.get(tag >> 3), depth)
                parts += [_varint(sum(map(len, value))), *value]
            elif wire in _FIXED_SIZES:
                parts.append(self._bytes(_FIXED_SIZES[wire]))
            else:
                raise _UnusualError
        if left:
            raise _UnusualError
        return parts

    def _value(self, length: int, field: Any, depth: int) -> list[Buffer]:
        """What takes the place of the next `length` bytes, the value of a field."""
        raise NotImplementedError

    def _bytes(self, count: int) -> bytes:
        content = self._stream.read(count)
        if len(content) != count:
            raise _UnusualError
        return content

    def _number(self) -> int:
        """A varint: seven bits a byte, the lowest first, the last byte below 128."""
        number = 0
        for shift in range(0, 70, 7):
            byte = self._bytes(1)[0]
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise _UnusualError


class _Taker(_Copier):
    """Takes the data of large tensors out."""

    def _value(self, length: int, field: Any, depth: int) -> list[Buffer]:
        if length <= LARGE or field is None:
            return [self._bytes(length)]
        if field.message_type is not None:
            return self.message(length, field.message_type, depth + 1)
        if field.full_name == "onnx.TensorProto.raw_data":
            return [self._weights.store(read_array(self._stream, length))]
        return [self._bytes(length)]


class _Putter(_Copier):
    """Puts data in the place of claim checks."""

    def _value(self, length: int, field: Any, depth: int) -> list[Buffer]:
        content = self._bytes(length)
        if not self._weights.is_mentioned(content):
            return [content]
        if field.message_type is None:
            return [self._weights.claimed(content).data]
        return _Putter(io.BytesIO(content), self._weights).message(length, field.message_type, depth + 1)


def read_array(stream: BinaryIO, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The next bytes of a stream, in memory of their own; fewer where it ends before."""
    array = np.empty(size, np.uint8)
    return array[: stream.readinto(array)]  # type: ignore[attr-defined]


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)
