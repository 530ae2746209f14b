"""Which dimensions of a torch module's inputs are dynamic: said as torch.export takes it, or with `--shape`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from edgecomp.arrays import Array
from edgecomp.errors import SourceError
from edgecomp.frontends.dynamic_shapes import Declared
from edgecomp.shapes import Shapes


def declared_dimensions(
    examples: Mapping[str, Array], shapes: Shapes | None, dynamic_shapes: Any, subject: str
) -> dict[str, Declared | None]:
    """The dimensions of every input: a size, the name of a dynamic one, or None for a dynamic one without a name.

    Args:
        examples: Input name -> its example.
        shapes: What was asked for; a dimension that is a symbol there is dynamic.
        dynamic_shapes: As `torch.export.export` takes it: a mapping from parameters, or a tuple in their order, of
            mappings from axes, or sequences over all axes, to `torch.export.Dim`, a name, `Dim.AUTO`, or None.
        subject: The source, for error messages.

    Raises:
        SourceError: `dynamic_shapes` has another form.
    """
    declared: dict[str, Declared | None] = {}
    specifications = _by_input(dynamic_shapes, list(examples), subject)
    for name, array in examples.items():
        sizes: Declared = list(array.shape)
        for axis, dimension in _by_axis(specifications.get(name), name, array.ndim, subject):
            sizes[axis] = _name(dimension)
        asked = (shapes or {}).get(name, ())
        for shape in (asked,) if isinstance(asked, tuple) else asked:
            for axis, (size, wanted) in enumerate(zip(sizes, shape, strict=False)):
                if isinstance(size, int) and wanted != size:
                    sizes[axis] = None
        declared[name] = sizes
    return declared


def _by_input(given: Any, names: list[str], subject: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if isinstance(given, list | tuple) and len(given) == len(names):
        return dict(zip(names, given, strict=True))
    if isinstance(given, Mapping) and set(given) <= set(names):
        return given
    raise _malformed(subject, f"one entry for each of the inputs {', '.join(names)}", given)


def _by_axis(given: Any, name: str, rank: int, subject: str) -> Iterator[tuple[int, Any]]:
    if isinstance(given, list | tuple) and len(given) == rank:
        given = dict(enumerate(given))
    if given is not None and not (isinstance(given, Mapping) and all(axis in range(rank) for axis in given)):
        raise _malformed(subject, f"axes from 0 to {rank - 1} for input {name!r}", given)
    for axis, dimension in (given or {}).items():
        if dimension is not None and not isinstance(dimension, int) and dimension is not torch.export.Dim.STATIC:
            yield axis, dimension


def _name(dimension: Any) -> str | None:
    if isinstance(dimension, str):
        return dimension
    # A Dim has a name; a hint such as Dim.AUTO has none.
    return getattr(dimension, "__name__", None)


def _malformed(subject: str, expected: str, given: Any) -> SourceError:
    return SourceError(
        f"{subject}: dynamic_shapes()",
        expected=expected,
        actual=repr(given),
        cure='return what torch.export takes, such as {"image": {0: torch.export.Dim("batch")}}',
    )
