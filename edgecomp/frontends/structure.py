"""Flattens what a torch module returns into named tensors, and puts the structure back.

Names, which become the names of the graph's outputs:

1. a single tensor is "output";
2. the items of a tuple or list are "output_0", "output_1", ...;
3. the items of a mapping, a named tuple or a dataclass have their keys or field names;
4. inside another structure the outer name and "_" come first: "features_0";
5. None has no tensor and gets no name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any


class NotATensorError(TypeError):
    """A leaf that is neither a tensor nor None."""

    def __init__(self, name: str, leaf: object) -> None:
        super().__init__(f"{name} is of type {type(leaf).__name__}")


def flatten(value: Any, is_tensor: Callable[[Any], bool]) -> list[tuple[str, Any]]:
    """The tensors in `value` with their names, in order.

    Raises:
        NotATensorError: A leaf is neither a tensor nor None.
    """
    if is_tensor(value):
        return [("output", value)]
    return list(_walk(value, "", is_tensor))


def rebuild(example: Any, leaves: Iterator[Any], is_tensor: Callable[[Any], bool]) -> Any:
    """The structure of `example` with its tensors replaced by `leaves`, in order."""
    if is_tensor(example):
        return next(leaves)
    children = _children(example)
    if children is None:
        return example
    items = [rebuild(child, leaves, is_tensor) for _, child in children]
    if dataclasses.is_dataclass(example) and not isinstance(example, type):
        return dataclasses.replace(example, **{name: item for (name, _), item in zip(children, items, strict=True)})
    if isinstance(example, Mapping):
        return dict(zip(example, items, strict=True))
    if hasattr(example, "_fields"):
        return type(example)(*items)
    return items if isinstance(example, list) else tuple(items)


def _walk(value: Any, prefix: str, is_tensor: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    if is_tensor(value):
        yield prefix, value
        return
    children = _children(value)
    if children is None:
        raise NotATensorError(prefix or "the output", value)
    for name, child in children:
        if prefix:
            path = f"{prefix}_{name}"
        else:
            path = f"output_{name}" if isinstance(value, tuple | list) and not hasattr(value, "_fields") else name
        yield from _walk(child, path, is_tensor)


def _children(value: Any) -> list[tuple[str, Any]] | None:
    # A mapping first: the output classes of transformers are dataclasses and mappings, and skip what is None.
    if isinstance(value, Mapping):
        return [(str(key), child) for key, child in value.items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, tuple | list):
        names = getattr(value, "_fields", None) or [str(index) for index in range(len(value))]
        return list(zip(names, value, strict=True))
    return None
