"""Gives a graph with dynamic dimensions the static shapes that an artifact needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from edgecomp.errors import SourceError
from edgecomp.frontends.checks import check_shape_names, format_shape


def resolve_shapes(
    graph: ir.Graph, shapes: Mapping[str, tuple[int, ...]] | None, subject: str
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The static shape of every input, and notes about what was chosen for the user.

    1. A shape given for an input holds, and gives its symbols ("batch", "seq") their value everywhere.
    2. A symbol without a value in the first dimension is a batch: 1, with a note.
    3. Any other symbol without a value is an error that names `--shape`.

    Raises:
        SourceError: A shape is missing, contradicts the model, or names no input.
    """
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    check_shape_names(shapes, [str(value.name) for value in inputs], subject)
    given = dict(shapes or {})
    symbols: dict[str, int] = {}
    for value in inputs:
        if value.name in given:
            _bind(value, given[str(value.name)], symbols, subject)
    notes: list[str] = []
    resolved: dict[str, tuple[int, ...]] = {}
    for value in inputs:
        name = str(value.name)
        declared = _declared(value)
        if name in given:
            resolved[name] = tuple(given[name])
            continue
        if declared is None:
            raise _missing(name, None, subject)
        sizes: list[int] = []
        for axis, size in enumerate(declared):
            if isinstance(size, str) and size in symbols:
                sizes.append(symbols[size])
            elif isinstance(size, int):
                sizes.append(size)
            elif axis == 0:
                sizes.append(1)
                if size is not None:
                    symbols[size] = 1
                notes.append(f"The dynamic batch dimension of input {name!r} was set to 1.")
            else:
                raise _missing(name, declared, subject)
        resolved[name] = tuple(sizes)
    for name, shape in resolved.items():
        if any(size < 1 for size in shape):
            raise SourceError(
                f"{subject}: input {name!r}",
                expected="a shape of positive sizes",
                actual=format_shape(shape),
                cure=f"give --shape {name}=... with positive sizes",
            )
    return resolved, notes


def fix_shapes(model: ir.Model, inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, tuple[int, ...]]) -> None:
    """Writes static shapes to the graph's inputs and outputs, in place, and forgets those of everything between.

    What lies between was inferred with symbols; shape inference after this finds it again.
    """
    graph = model.graph
    for node in graph.all_nodes():
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    for values, shapes in ((graph.inputs, inputs), (graph.outputs, outputs)):
        for value in values:
            if value.name in shapes:
                value.shape = ir.Shape(shapes[str(value.name)])


def _bind(value: ir.Value, shape: Sequence[int], symbols: dict[str, int], subject: str) -> None:
    declared = _declared(value)
    if declared is None:
        return
    fits = len(declared) == len(shape)
    for size, wanted in zip(declared, shape, strict=False):
        if isinstance(size, str):
            fits = fits and symbols.setdefault(size, wanted) == wanted
        elif size is not None:
            fits = fits and size == wanted
    if not fits:
        symbolic = format_shape([symbols.get(size, size) if isinstance(size, str) else size for size in declared])
        raise SourceError(
            f"{subject}: --shape {value.name}",
            expected=f"a shape that fits {symbolic}",
            actual=format_shape(shape),
            cure="only symbols and ? can be chosen, and a symbol has one value in all inputs",
        )


def _declared(value: ir.Value) -> list[int | str | None] | None:
    """The sizes and symbols of an input; None for a size that is free: Paddle calls several of them "?", or -1."""
    if value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else size.value for size in value.shape]
    return [None if size in {"", "?"} or (isinstance(size, int) and size < 0) else size for size in sizes]


def _missing(name: str, declared: Sequence[int | str | None] | None, subject: str) -> SourceError:
    example = "x".join(str(size) if isinstance(size, int) else "SIZE" for size in declared or ("SIZE", "SIZE"))
    if declared and not isinstance(declared[0], int):
        example = f"1{example[4:]}"
    return SourceError(
        f"{subject}: input {name!r}",
        expected="static shapes",
        actual=f"shape {format_shape(declared)}" if declared is not None else "no shape",
        cure=f"give --shape {name}={example} with numbers for SIZE",
    )
