"""The shapes of a model's inputs: what a user may ask for, and which dimensions stay dynamic.

A dimension is either a number, which fixes it, or dynamic. A dynamic dimension has a name, which ties dimensions of
equal size together, and an example size, at which data are drawn, layouts chosen and figures measured. On the command
line:

    --shape image=1x3x224x224               fixed
    --shape ids=batch:1xseq:32              dynamic, with example sizes
    --shape ids=?x?:32                      dynamic under the model's own names; a batch is 1 without an example size
    --shape x=1x3x224x224 --shape x=1x3x320x320    these two sizes, as two signatures of one `.tflite` file
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgecomp.errors import InputError


@dataclass(frozen=True)
class Symbol:
    """A dimension that stays dynamic, as a user asks for it.

    Attributes:
        name: Dimensions of one name have one size; None takes the model's own name.
        size: The example size; None leaves it to edgecomp.
    """

    name: str | None = None
    size: int | None = None

    def __str__(self) -> str:
        return (self.name or "?") + ("" if self.size is None else f":{self.size}")


Dimension = int | Symbol
Shape = tuple[Dimension, ...]
#: Input name -> its shape, or several shapes that it is to have by turns.
Shapes = Mapping[str, Shape | Sequence[Shape]]

_DIMENSION = re.compile(r"(?P<size>\d+)|(?P<name>\?|[^\W\d][\w.]*):(?P<example>\d+)|\?")


def parse_shapes(options: Iterable[str]) -> Shapes | None:
    """`--shape` options as a mapping; an input that is named more than once has several shapes.

    Raises:
        InputError: One is of another form.
    """
    shapes: dict[str, list[Shape]] = {}
    for option in options:
        name, _, text = option.rpartition("=")
        # A separator stands behind a number or a ?, never inside a name.
        found = [_DIMENSION.fullmatch(part) for part in re.split(r"(?<=[0-9?])x", text)]
        shape = tuple(_dimension(match) for match in found if match is not None)
        if not name or len(shape) != len(found) or any(size == 0 for size in map(example_of, shape)):
            raise InputError(
                f"--shape {option}",
                expected="an input's name and its dimensions, such as image=1x3x224x224 or ids=batch:1xseq:32",
                actual=repr(option),
                cure="write numbers for fixed dimensions, NAME:SIZE or ? for dynamic ones; "
                "`edgecomp inspect` lists the inputs of an .onnx file",
            )
        shapes.setdefault(name, []).append(shape)
    return {name: each[0] if len(each) == 1 else each for name, each in shapes.items()} or None


def _dimension(match: re.Match[str]) -> Dimension:
    if match["size"]:
        return int(match["size"])
    name, size = match["name"], match["example"]
    return Symbol(None if name == "?" else name, None if size is None else int(size))


def example_of(dimension: Dimension) -> int | None:
    """The size of a dimension, or its example size; None when it has none."""
    return dimension.size if isinstance(dimension, Symbol) else dimension


def alternatives(shapes: Shapes | None, subject: str) -> list[dict[str, Shape]]:
    """One mapping for each shape that inputs are to have by turns; at least one.

    Raises:
        InputError: Two inputs have several shapes, and not equally many.
    """
    listed = {name: [each] if isinstance(each, tuple) else list(each) for name, each in (shapes or {}).items()}
    counts = {len(each) for each in listed.values()} - {1}
    if len(counts) > 1:
        raise InputError(
            f"{subject}: --shape",
            expected="equally many shapes for every input that has more than one",
            actual=", ".join(f"{len(each)} for {name}" for name, each in listed.items()),
            cure="repeat --shape for each input and each size",
        )
    count = counts.pop() if counts else 1
    return [{name: each[index % len(each)] for name, each in listed.items()} for index in range(count)]


#: Where the odd sizes lie beside the second and the third binding.
_BESIDE = (-1, 1)
#: Networks that halve their input n times want a multiple of 2**n.
_MOST_EVEN = 32


def evenness(size: int) -> int:
    """The largest power of two that sizes which are as even as this one are multiples of."""
    return min(size & -size, _MOST_EVEN)


@dataclass(frozen=True)
class InputShapes:
    """The shapes of a model's inputs and outputs, some of them with dynamic dimensions.

    Attributes:
        inputs: Input name -> its dimensions: a size, or the name of a dynamic dimension.
        example: Name of each dynamic dimension -> its example size.
        outputs: Output name -> its dimensions: a size, the name of the dynamic dimension that it follows, or None for
            another one that changes.
        bindings: Sizes of the dynamic dimensions other than the example's, as divisible by two as that.
        odd: Names of the dynamic dimensions that have odd sizes, too: the model runs at them.
        multiples: Name of a dynamic dimension -> what its sizes have to be multiples of; dimensions that are not here
            have any size.
        smallest: Name of a dynamic dimension -> the smallest size that the model runs at, where that is known.
        signatures: The sizes of the dynamic dimensions in each size that was asked for by itself; empty for any size.
    """

    inputs: Mapping[str, tuple[int | str, ...]]
    example: Mapping[str, int] = field(default_factory=dict)
    outputs: Mapping[str, tuple[int | str | None, ...]] = field(default_factory=dict)
    bindings: tuple[Mapping[str, int], ...] = ()
    odd: frozenset[str] = frozenset()
    multiples: Mapping[str, int] = field(default_factory=dict)
    smallest: Mapping[str, int] = field(default_factory=dict)
    signatures: tuple[Mapping[str, int], ...] = ()

    @property
    def is_dynamic(self) -> bool:
        """Whether any dimension is dynamic."""
        return bool(self.example)

    @property
    def prepared(self) -> tuple[Mapping[str, int], ...]:
        """The sizes that a graph is prepared at: the bindings, or their odd neighbours below and above.

        Rounding down and rounding up are told apart by these two, and by nothing else.
        """
        shifts = (0, *_BESIDE)
        return tuple(
            {name: size + shift * (name in self.odd) for name, size in binding.items()}
            for binding, shift in zip(self.bindings, shifts, strict=True)
        )

    def at(self, sizes: Mapping[str, int] | None = None) -> dict[str, tuple[int, ...]]:
        """The inputs' shapes where the dynamic dimensions have `sizes`; those left out have their example size."""
        known = {**self.example, **(sizes or {})}
        return {
            name: tuple(known[size] if isinstance(size, str) else size for size in shape)
            for name, shape in self.inputs.items()
        }

    def with_fixed(self, names: Iterable[str]) -> InputShapes:
        """The same with some dynamic dimensions fixed at their example size."""
        fixed = {name: self.example[name] for name in names}
        return replace(
            self,
            inputs={
                name: tuple(fixed.get(size, size) if isinstance(size, str) else size for size in shape)
                for name, shape in self.inputs.items()
            },
            example={name: size for name, size in self.example.items() if name not in fixed},
            odd=self.odd - set(fixed),
            multiples={name: size for name, size in self.multiples.items() if name not in fixed},
            smallest={name: size for name, size in self.smallest.items() if name not in fixed},
        )

    def with_multiples(self, names: Collection[str]) -> InputShapes:
        """The same with sizes of some dynamic dimensions that are multiples of a power of two, as the example is."""
        return replace(
            self,
            odd=self.odd - set(names),
            multiples={**self.multiples, **{name: evenness(self.example[name]) for name in names}},
        )

    def multiples_of(self, name: str) -> tuple[int, ...]:
        """For each dimension of an input what its size has to be a multiple of; empty where any sizes do."""
        found = tuple(self.multiples.get(size, 1) if isinstance(size, str) else 1 for size in self.inputs[name])
        return found if max(found, default=1) > 1 else ()

    def smallest_of(self, name: str) -> tuple[int, ...]:
        """For each dimension of an input its smallest size, 0 where that is 1 or not known; empty where all are 0."""
        sizes = [self.smallest.get(size, 0) if isinstance(size, str) else 0 for size in self.inputs[name]]
        return tuple(size if size > 1 else 0 for size in sizes) if max(sizes, default=0) > 1 else ()
