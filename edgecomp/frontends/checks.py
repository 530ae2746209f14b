"""Checks of inputs and outputs that all kinds of sources share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecomp.arrays import Array
from edgecomp.errors import SourceError, correction
from edgecomp.shapes import Shapes


def check_shapes(shapes: Shapes | None, examples: Mapping[str, Array], subject: str) -> None:
    """Raises SourceError when `shapes` asks for one other size than the example inputs have."""
    check_shape_names(shapes, list(examples), subject)
    for name, shape in (shapes or {}).items():
        numbers = isinstance(shape, tuple) and all(isinstance(size, int) for size in shape)
        if numbers and shape != examples[name].shape:
            raise SourceError(
                f"{subject}: --shape {name}",
                expected=f"{format_shape(examples[name].shape)}, the shape of the example input",
                actual="x".join(map(str, shape)),
                cure="change example_inputs(), or keep a dimension dynamic: --shape takes ? and NAME:SIZE too",
            )


def check_shape_names(shapes: Shapes | None, names: Sequence[str], subject: str) -> None:
    """Raises SourceError when `shapes` names an input that there is not."""
    for name in shapes or {}:
        if name not in names:
            raise SourceError(
                f"{subject}: --shape {name}",
                expected=f"the name of an input: {', '.join(names)}",
                actual=f"no input is called {name!r}",
                cure=correction(name, names, "use one of these names"),
            )


def check_outputs(names: Sequence[str], outputs: Sequence[Array], subject: str, cure: str | None = None) -> None:
    """Raises SourceError when an output is NaN or infinite on the example inputs."""
    for name, array in zip(names, outputs, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise SourceError(
                f"{subject}: output {name!r}",
                expected="finite numbers for the example inputs",
                actual=f"{int((~np.isfinite(array)).sum())} of {array.size} are NaN or infinite",
                cure=cure or "check that the example inputs are like the training data, and that weights are loaded",
            )


def bad_weight(subject: str, count: int, size: int) -> SourceError:
    """The error about a weight that is not finite."""
    return SourceError(
        subject,
        expected="finite numbers",
        actual=f"{count} of {size} are NaN or infinite",
        cure="train or load the model again; a diverged training leaves such weights",
    )


def format_shape(shape: Sequence[int | str | None]) -> str:
    """A shape as --shape takes it: 1x3x224x224."""
    return "x".join("?" if size is None else str(size) for size in shape) or "scalar"
