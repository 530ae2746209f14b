"""Builds frozen dataclasses from the plain data of a TOML file, checked against their type hints.

The type of a field decides which values it may have:

1. A dataclass is a table whose keys are the fields. Fields without a default are required, and unknown keys are errors,
   because a misspelt key must not vanish silently.
2. `tuple[X, ...]` and `frozenset[X]` are lists, `Mapping[K, X]` is a table with any K as keys, `X | None` is X or
   absent, and a Literal is one of its values.
3. All other types are leaves, and the format defines their values. true is not a number; an integer is a valid float.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from edgecomp.errors import correction


class MismatchError(Exception):
    """Plain data do not match a type hint. The code that reads the file turns it into an error with the file's name.

    Args:
        expected: What would have been right, with the path of the field.
        actual: What was found.
        cure: What to do; None if the value just has to be corrected.
    """

    def __init__(self, expected: str, actual: str, cure: str | None = None) -> None:
        super().__init__(expected, actual, cure)
        self.expected, self.actual, self.cure = expected, actual, cure


@dataclass(frozen=True)
class Leaf:
    """What the values of a type may be.

    Attributes:
        words: For people.
        holds: Whether a value is so.
    """

    words: str
    holds: Callable[[Any], bool]


TEXT = Leaf("a string", lambda value: type(value) is str)
TRUTH = Leaf("true or false", lambda value: type(value) is bool)
COUNT = Leaf("a whole number above 0", lambda value: type(value) is int and value > 0)


@dataclass(frozen=True)
class Grammar:
    """How the files of one format are read.

    Attributes:
        leaves: Type of a field -> what its values may be.
    """

    leaves: Mapping[Any, Leaf]

    def table(self, kind: Any, value: Any, path: str = "") -> Any:
        """An instance of a dataclass.

        Args:
            kind: The dataclass.
            value: A table of its fields.
            path: Where the table is in the file, "" for the file itself.

        Raises:
            MismatchError: It is no such table.
        """
        if not isinstance(value, dict):
            raise MismatchError(f"a table [{path}]", repr(value))
        hints = _hints(kind)
        for key in value:
            if key not in hints:
                known = [_below(path, name) for name in hints]
                cure = correction(_below(path, key), known, "") or None
                raise MismatchError(f"the keys {_listed(known)}", f"unknown key {_below(path, key)}", cure)
        for field in fields(kind):
            if field.name not in value and field.default is field.default_factory is MISSING:
                raise MismatchError(f"a key {_below(path, field.name)}", "it is missing", "add it")
        return kind(**{key: self.decode(hints[key], item, _below(path, key)) for key, item in value.items()})

    def decode(self, hint: Any, value: Any, path: str) -> Any:
        """A value of a type.

        Args:
            hint: The type, as an annotation has it.
            value: Plain data.
            path: Where the value is in the file.

        Raises:
            MismatchError: It is of another type.
        """
        kind, arguments = get_origin(hint), get_args(hint)
        if hint in self.leaves:
            return self._leaf(hint, value, path)
        if is_dataclass(hint):
            return self.table(hint, value, path)
        if kind is UnionType:  # None is what a field that is left out has, TOML has no other
            return self.decode(arguments[0], value, path)
        if kind is Literal:
            return _choice(arguments, value, path)
        if kind is Mapping:
            if not isinstance(value, dict):
                raise MismatchError(f"a table [{path}]", repr(value))
            keys, items = arguments
            return {self.decode(keys, k, path): self.decode(items, v, _below(path, k)) for k, v in value.items()}
        if not isinstance(value, list | tuple):
            raise MismatchError(f"{path}: a list", repr(value))
        return kind(self.decode(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value))

    def _leaf(self, hint: Any, value: Any, path: str) -> Any:
        if hint is float and type(value) is int:
            value = float(value)
        if not self.leaves[hint].holds(value):
            raise MismatchError(f"{path}: {self.leaves[hint].words}", repr(value))
        return value


@functools.cache  # resolving annotations takes longer than all the rest
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar}


def _choice(known: tuple[Any, ...], value: Any, path: str) -> Any:
    if not any(type(value) is type(each) and value == each for each in known):  # true equals 1
        words = [str(each) for each in known]
        raise MismatchError(f"{path}: one of {_listed(words)}", repr(value), correction(value, words, "") or None)
    return value


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
