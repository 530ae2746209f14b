"""Decides which dimensions of a model's inputs are fixed and which stay dynamic, and writes that to its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from edgecomp.errors import SourceError
from edgecomp.frontends.checks import check_shape_names, format_shape
from edgecomp.shapes import Dimension, InputShapes, Shape, Shapes, Symbol, alternatives

#: What exporters write where they have no name.
_NAMELESS = frozenset({"", "?", "None"})
#: The name of a first dimension without a name, in all inputs.
_BATCH = "batch"

Declared = list[int | str | None]


def resolve_shapes(
    graph: ir.Graph,
    shapes: Shapes | None,
    subject: str,
    examples: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[InputShapes, list[str]]:
    """The shape of every input, and notes about what was chosen for the user.

    1. A number fixes a dimension, and all others of its name. A dimension that is dynamic in the model stays so when
       nothing is said, or when it is asked for by a name or a question mark.
    2. The example size of a dynamic dimension is what was asked for; without that, the
       example input's; without that, 1 for a first dimension, a batch.
    3. Any other dimension without an example size is an error that names `--shape`.
    4. Where several shapes are asked for, the dimensions in which they differ are dynamic, and each is a signature.

    Raises:
        SourceError: A shape is missing, contradicts the model, or names no input.
    """
    inputs = {str(value.name): declared_shape(value) for value in graph.inputs if value.name not in graph.initializers}
    return resolve_declared(inputs, shapes, subject, examples)


def resolve_declared(
    inputs: Mapping[str, Declared | None],
    shapes: Shapes | None,
    subject: str,
    examples: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[InputShapes, list[str]]:
    """The same for inputs that are given by name, each with what the model says of its dimensions.

    Args:
        inputs: Input name -> its dimensions.
        shapes: What the user asks for.
        subject: The source, for error messages.
        examples: The shapes of example inputs, where there are some: they give the sizes that nobody asked for.
    """
    check_shape_names(shapes, list(inputs), subject)
    options = alternatives(shapes, subject)
    resolver = _Resolver(subject, examples or {})
    for name, shape in (_union(options) if shapes else {}).items():
        resolver.bind(name, inputs[name], shape)
    found = {name: resolver.resolve(name, declared) for name, declared in inputs.items()}
    resolved = InputShapes(found, {name: size for name, size in resolver.example.items() if _uses(found, name)})
    for name in resolver.guessed:
        resolver.notes.append(f"The dynamic dimension {name!r} has the example size {resolver.example[name]}.")
    if len(options) > 1:
        resolved = replace(resolved, signatures=tuple(_sizes(resolved, option, subject) for option in options))
    for name, sizes in resolved.at().items():
        if any(size < 1 for size in sizes):
            raise SourceError(
                f"{subject}: input {name!r}",
                expected="a shape of positive sizes",
                actual=format_shape(sizes),
                cure=f"give --shape {name}=... with positive sizes",
            )
    return resolved, resolver.notes


def _uses(inputs: Mapping[str, tuple[int | str, ...]], name: str) -> bool:
    return any(name in shape for shape in inputs.values())


def _union(options: Sequence[Mapping[str, Shape]]) -> dict[str, Shape]:
    """Rule 4: one shape for each input, dynamic where the options differ."""
    first = options[0]
    return {
        name: tuple(
            size if all(other[name][axis : axis + 1] == (size,) for other in options) else Symbol(None, _number(size))
            for axis, size in enumerate(shape)
        )
        for name, shape in first.items()
    }


def _number(dimension: Dimension) -> int | None:
    return dimension.size if isinstance(dimension, Symbol) else dimension


def _sizes(resolved: InputShapes, option: Mapping[str, Shape], subject: str) -> dict[str, int]:
    """The sizes of the dynamic dimensions in one of several shapes."""
    sizes: dict[str, int] = {}
    for name, shape in option.items():
        wanted = resolved.inputs[name]
        for symbol, size in zip(wanted, shape, strict=False):
            number = _number(size)
            if isinstance(symbol, str) and (number is None or sizes.setdefault(symbol, number) != number):
                raise _misfit(name, list(wanted), shape, subject)
        if len(wanted) != len(shape):
            raise _misfit(name, list(wanted), shape, subject)
    return sizes


class _Resolver:
    """What is known of the dynamic dimensions so far.

    Attributes:
        example: Name -> example size.
        notes: What was chosen for the user.
        guessed: Dynamic dimensions whose example size nobody gave.
    """

    def __init__(self, subject: str, examples: Mapping[str, tuple[int, ...]]) -> None:
        self._examples = examples
        self.example: dict[str, int] = {}
        self.notes: list[str] = []
        self.guessed: list[str] = []
        self._subject = subject
        self._asked: dict[str, Shape] = {}
        #: The model's name of a dimension -> what it is to be.
        self._meaning: dict[str, int | str] = {}

    def bind(self, name: str, declared: Declared | None, shape: Shape) -> None:
        """Takes what was asked for, and gives the model's own symbols their meaning everywhere."""
        self._asked[name] = shape
        if declared is None:
            declared = [None] * len(shape)
        fits = len(declared) == len(shape)
        for axis, (size, wanted) in enumerate(zip(declared, shape, strict=False)):
            if isinstance(size, int):
                fits = fits and size == wanted
                continue
            own = _own_name(name, axis, size)
            if isinstance(wanted, int):
                fits = fits and self._meaning.setdefault(own, wanted) == wanted
                continue
            fits = fits and self._meaning.setdefault(own, wanted.name or own) == (wanted.name or own)
            if wanted.size is not None:
                fits = fits and self.example.setdefault(wanted.name or own, wanted.size) == wanted.size
        if not fits:
            known = [
                self._meaning.get(_own_name(name, axis, size), size) if not isinstance(size, int) else size
                for axis, size in enumerate(declared)
            ]
            raise _misfit(name, known, shape, self._subject)

    def resolve(self, name: str, declared: Declared | None) -> tuple[int | str, ...]:
        """The dimensions of one input."""
        if declared is None:
            if name not in self._asked and name not in self._examples:
                raise _missing(name, None, self._subject)
            declared = [None] * len(self._asked.get(name, self._examples.get(name, ())))
        return tuple(
            size if isinstance(size, int) else self._dynamic(name, axis, size, declared)
            for axis, size in enumerate(declared)
        )

    def _dynamic(self, name: str, axis: int, size: str | None, declared: Declared) -> int | str:
        own = _own_name(name, axis, size)
        meaning = self._meaning.get(own, own)
        if isinstance(meaning, str) and meaning not in self.example:
            if name in self._examples:
                self.example[meaning] = self._examples[name][axis]
                return meaning
            if axis != 0:
                raise _missing(name, declared, self._subject)
            self.example[meaning] = 1
            self.guessed.append(meaning)
        return meaning


def _own_name(name: str, axis: int, size: str | None) -> str:
    """What the model calls a dimension, or a name for one that has none."""
    if size is not None and size not in _NAMELESS:
        return size
    return _BATCH if axis == 0 else f"{name}_{axis}"


def write_shapes(model: ir.Model, shapes: InputShapes, outputs: Mapping[str, tuple[int, ...]] | None = None) -> None:
    """Writes the shapes of the graph's inputs, in place, and forgets those of everything behind them.

    What lies behind was inferred with other symbols; shape inference after this finds it again.

    Args:
        model: Changed in place.
        shapes: The shapes of the inputs.
        outputs: The shapes of the outputs at the example sizes; only their rank is kept where something is dynamic.
    """
    graph = model.graph
    for node in graph.all_nodes():
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    for value in graph.inputs:
        if value.name in shapes.inputs:
            value.shape = ir.Shape(shapes.inputs[str(value.name)])
    for value in graph.outputs:
        found = (outputs or {}).get(str(value.name))
        if found is not None:
            value.shape = ir.Shape([None] * len(found) if shapes.is_dynamic else found)


def declared_shape(value: ir.Value) -> Declared | None:
    """The dimensions of a value as the model says: a size, a name, or None; some exporters write -1 for that."""
    if value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else size.value for size in value.shape]
    return [None if isinstance(size, int) and size < 0 else size for size in sizes]


def _misfit(name: str, declared: Sequence[int | str | None], shape: Shape, subject: str) -> SourceError:
    return SourceError(
        f"{subject}: --shape {name}",
        expected=f"a shape that fits {format_shape(declared)}",
        actual=format_shape([size if isinstance(size, int) else str(size) for size in shape]),
        cure="only the model's own dynamic dimensions can be chosen, and one name has one size in all inputs",
    )


def _missing(name: str, declared: Sequence[int | str | None] | None, subject: str) -> SourceError:
    sizes = [str(size) if isinstance(size, int) else "SIZE" for size in declared or ("SIZE", "SIZE")]
    if declared and not isinstance(declared[0], int):
        sizes[0] = "1"
    free = [size if size != "SIZE" else "?:SIZE" for size in sizes]
    return SourceError(
        f"{subject}: input {name!r}",
        expected="the size of every dimension but the batch, at least an example",
        actual=f"shape {format_shape(declared)}" if declared is not None else "no shape",
        cure=f"give --shape {name}={'x'.join(sizes)} with numbers for SIZE, "
        f"or --shape {name}={'x'.join(free)} to keep them dynamic",
    )
