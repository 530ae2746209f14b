"""Damages a model: in its bytes, or in the fields of its protobuf message."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

#: Numbers at which code goes wrong.
_INTEGERS = (0, 1, -1, 2, 3, 5, 7, 127, -128, 255, 2**31 - 1, -(2**31), 2**31, 2**32, 2**62, 2**63 - 1, -(2**63))
_FLOATS = (0.0, -1.0, 1e-45, 3e38, float("inf"), float("-inf"), float("nan"))
_STRINGS = ("", "x", "y", "Relu", "Loop", "ai.onnx.ml", "com.microsoft", "\u00e4/\u0000", "a" * 300)

#: A message and one of its fields that is set.
_Place = tuple[Message, FieldDescriptor]


def mutate(model: onnx.ModelProto, seed: int) -> bytes:
    """A damaged copy of a model, the same for the same seed."""
    rng = random.Random(seed)
    if rng.random() < 0.3:
        data = bytearray(model.SerializeToString())
        damage(data, rng)
        return bytes(data)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(copy))
        if not places:
            break
        message, field = rng.choice(places)
        _change(message, field, rng)
    return copy.SerializeToString()


def damage(data: bytearray, rng: random.Random) -> None:
    """Changes, removes and repeats some bytes, in place."""
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        rng.choice(_BYTES)(data, rng)


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _cut(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.randrange(1, 40)]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = data[start : start + rng.randrange(1, 40)]


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


_BYTES: tuple[Callable[[bytearray, random.Random], None], ...] = (_flip, _flip, _flip, _cut, _repeat, _truncate)


def _places(message: Message) -> Iterator[_Place]:
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for child in [value] if isinstance(value, Message) else value:
                yield from _places(child)


def _change(message: Message, field: FieldDescriptor, rng: random.Random) -> None:
    """Removes, repeats, reorders or replaces what a field holds."""
    value = getattr(message, field.name)
    if isinstance(value, Message):
        message.ClearField(field.name)
    elif not hasattr(value, "__setitem__") and not hasattr(value, "add"):
        if rng.random() < 0.15:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, _other(message, field, value, rng))
    else:
        _change_list(value, message, field, rng)


def _change_list(items: list, message: Message, field: FieldDescriptor, rng: random.Random) -> None:
    place = rng.randrange(len(items))
    action = rng.choice(("remove", "repeat", "swap", "replace"))
    if action == "remove":
        del items[place]
    elif action == "repeat":
        items.append(items[place])
    elif field.message_type is None and action == "replace":
        items[place] = _other(message, field, items[place], rng)
    elif field.message_type is None:
        other = rng.randrange(len(items))
        items[place], items[other] = items[other], items[place]
    elif len(items) > 1:
        items[place].CopyFrom(items[rng.randrange(len(items))])


def _other(message: Message, field: FieldDescriptor, value: object, rng: random.Random) -> object:
    """Another value for a field of numbers or text; one that protobuf takes."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if isinstance(value, bytes):
            data = bytearray(value)
            rng.choice(_BYTES)(data, rng)
            return bytes(data)
        case FieldDescriptor.CPPTYPE_STRING:
            return rng.choice(_STRINGS)
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return rng.choice(_FLOATS)
        case FieldDescriptor.CPPTYPE_ENUM:
            return rng.choice(list(field.enum_type.values_by_number))
    number = rng.choice(_INTEGERS)
    small = field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32)
    low = 0 if field.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64) else None
    return max(min(number, 2**31 - 1), -(2**31) if low is None else low) if small else max(number, low or -(2**63))
