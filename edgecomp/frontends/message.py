"""Reads an ONNX file as a message without its weights, which go from the file into memory of their own.

Protocol buffers are fields one after the other, each a number, a wire type and a value; a message inside a message is
its length and its fields (protobuf.dev/programming-guides/encoding). So a large tensor's data can be told from the
rest, and be read around, without looking at anything else that is inside.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx

from edgecomp.frontends.stored_weights import LARGE, StoredWeights

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}

#: What protobuf's own readers allow.
_DEEPEST = 100


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
            content = _Reader(stream, weights).message(os.fstat(stream.fileno()).st_size, proto.DESCRIPTOR)
        except _UnusualError:  # a damaged file, most likely: protobuf knows what to say of it
            stream.seek(0)
            content = stream.read()
    proto.ParseFromString(content)
    return proto


class _UnusualError(Exception):
    """Something that no exporter writes."""


class _Reader:
    """Copies messages from a stream, large `raw_data` aside."""

    def __init__(self, stream: BinaryIO, weights: StoredWeights) -> None:
        self._stream = stream
        self._weights = weights

    def message(self, size: int, kind: Any, depth: int = 0) -> bytes:
        """The next `size` bytes, which are the fields of a message.

        Args:
            size: Bytes of all its fields.
            kind: Its protobuf descriptor.
            depth: How many messages it is in.
        """
        end, parts = self._stream.tell() + size, list[bytes]()
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
                content = self._value(length, kind.fields_by_number.get(tag >> 3), depth)
                parts += [_varint(len(content)), content]
            elif wire in _FIXED_SIZES:
                parts.append(self._bytes(_FIXED_SIZES[wire]))
            else:
                raise _UnusualError
        if left:
            raise _UnusualError
        return b"".join(parts)

    def _value(self, length: int, field: Any, depth: int) -> bytes:
        """The value of a field of `length` bytes: shortened, where there is something large in it."""
        if length <= LARGE or field is None:
            return self._bytes(length)
        if field.message_type is not None:
            return self.message(length, field.message_type, depth + 1)
        if field.full_name == "onnx.TensorProto.raw_data":
            return self._weights.store(read_array(self._stream, length))
        return self._bytes(length)

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
