"""Reads any flatbuffer by field number, with every offset checked, and builds new tables in front of an old buffer.

MNN's Python package has no schema module, and its own JSON dump takes seconds on a float model, so the few tables that
edgecomp needs are read here directly. Field numbers are those of MNN's `schema/default/*.fbs`, counted from 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap

import flatbuffers
import numpy as np
import numpy.typing as npt

Buffer = bytes | bytearray | mmap


class MalformedError(ValueError):
    """An offset that leads out of the buffer."""


class Table:
    """A table in a buffer.

    Args:
        buffer: The whole file.
        position: Where the table starts, in bytes.
    """

    def __init__(self, buffer: Buffer, position: int) -> None:
        self.buffer = buffer
        self.position = position
        self._vtable = position - _unpack("<i", buffer, position)
        self._vtable_size = _unpack("<H", buffer, self._vtable)

    @classmethod
    def root(cls, buffer: Buffer) -> Table:
        """The table that a buffer starts with."""
        return cls(buffer, _unpack("<I", buffer, 0))

    def _field(self, index: int) -> int | None:
        """Where a field's value lies, or None when it has its default."""
        slot = 4 + 2 * index
        offset = _unpack("<H", self.buffer, self._vtable + slot) if slot < self._vtable_size else 0
        return self.position + offset if offset else None

    def target(self, index: int) -> int | None:
        """Where what a field refers to lies: a table, a vector or a string."""
        field = self._field(index)
        return None if field is None else field + _unpack("<I", self.buffer, field)

    def integer(self, index: int, default: int = 0, layout: str = "<i") -> int:
        """A scalar; `layout` is its `struct` format."""
        field = self._field(index)
        return default if field is None else int(_unpack(layout, self.buffer, field))

    def number(self, index: int, default: float = 0.0) -> float:
        """A float32 scalar."""
        field = self._field(index)
        return default if field is None else struct.unpack_from("<f", self._checked(field, 4), field)[0]

    def text(self, index: int) -> str:
        """A string, empty when absent."""
        return self.array(index, np.uint8).tobytes().decode("utf-8", "replace")

    def table(self, index: int) -> Table | None:
        """A table that a field refers to."""
        target = self.target(index)
        return None if target is None else Table(self.buffer, target)

    def array(self, index: int, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """A vector of scalars, empty when absent; a view of the buffer."""
        target = self.target(index)
        if target is None:
            return np.empty(0, dtype)
        length = _unpack("<I", self.buffer, target)
        size = length * np.dtype(dtype).itemsize
        return np.frombuffer(self._checked(target + 4, size), dtype, length, target + 4)

    def targets(self, index: int) -> Iterator[int]:
        """Where the elements of a vector of tables or strings lie."""
        target = self.target(index)
        for slot, offset in enumerate(self.array(index, np.uint32)):
            assert target is not None
            yield target + 4 + 4 * slot + int(offset)

    def tables(self, index: int) -> list[Table]:
        """A vector of tables."""
        return [Table(self.buffer, target) for target in self.targets(index)]

    def texts(self, index: int) -> list[str]:
        """A vector of strings."""
        found = []
        for target in self.targets(index):
            length = _unpack("<I", self.buffer, target)
            found.append(self._checked(target + 4, length)[target + 4 : target + 4 + length].decode("utf-8", "replace"))
        return found

    def _checked(self, start: int, size: int) -> Buffer:
        if start < 0 or start + size > len(self.buffer):
            raise MalformedError(f"{size} bytes at {start} in a buffer of {len(self.buffer)}")
        return self.buffer


def _unpack(layout: str, buffer: Buffer, position: int) -> int:
    if position < 0 or position + struct.calcsize(layout) > len(buffer):
        raise MalformedError(f"an offset leads to {position} in a buffer of {len(buffer)} bytes")
    return int(struct.unpack_from(layout, buffer, position)[0])


class Front:
    """Builds tables that refer to objects of an old buffer, which stays as it is behind them.

    Flatbuffers refer forwards only and are built from the end, so an old buffer can be the tail of a new one: only the
    tables that change are written again, and nothing has to be known about the rest.

    Args:
        old: A whole buffer.
        room: Bytes for what comes in front of it; with less, all of it is copied again.
    """

    def __init__(self, old: Buffer, room: int) -> None:
        # 16 is the largest alignment of any flatbuffer scalar or vector: what was aligned in `old` stays so.
        self._size = len(old) + -len(old) % 16
        self.builder = flatbuffers.Builder(self._size + room)
        self.builder.Prep(16, self._size)
        self.builder.head -= self._size
        self._write(0, old)

    def erase(self, position: int, size: int) -> None:
        """Puts zeros in the place of some bytes of the old buffer."""
        self._write(position, bytes(size))

    def _write(self, position: int, content: Buffer) -> None:
        start = len(self.builder.Bytes) - self._size + position
        memoryview(self.builder.Bytes)[start : start + len(content)] = content  # a slice of the array would be copied

    def at(self, position: int | None) -> int:
        """The builder's reference to the object at a position of the old buffer; 0 for None."""
        return 0 if position is None else self._size - position

    def references(self, offsets: list[int]) -> int:
        """A vector of references."""
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def finish(self, root: int) -> bytearray:
        """The new buffer; nothing can be built after this."""
        self.builder.Finish(root)
        content: bytearray = self.builder.Bytes
        del content[: self.builder.Head()]
        return content
