"""Verifies models with dynamic dimensions: at a second size, since what holds at one size only is no dynamic model,
and where an artifact has fixed a dimension, at that size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from edgecomp.graph.sizes import unseen
from edgecomp.interface import Interface
from edgecomp.shapes import InputShapes
from edgecomp.verification.result import SizeVerdict, Verification
from edgecomp.verification.samples import Samples, Unlabelled

#: Samples that are cut for artifacts that take none as they are, in batches.
_BATCHES = 64


def verify_sizes(
    run: Callable[[Sequence[Path], Samples], Verification],
    artifacts: Sequence[Path],
    found: Verification,
    shapes: InputShapes,
    seen: Mapping[str, Sequence[int]],
) -> Verification:
    """Runs each artifact at another size of the dimensions that are dynamic in it.

    Args:
        run: Verifies some artifacts on samples.
        artifacts: Their files.
        found: What was found on the data. Its example, repeated and cut, gives inputs of another size.
        shapes: The shapes of the model's inputs.
        seen: Dimension -> the smallest and the largest size of the data: where they had others than the example's,
            nothing has to stand in for them.

    Returns:
        `found` with one entry in `sizes` for each size that something ran at.
    """
    other = {
        name: size
        for name, size in unseen(shapes.example, shapes.bindings).items()
        if set(seen.get(name, ())) <= {shapes.example[name]}
    }
    groups: dict[tuple[tuple[str, int], ...], list[Path]] = {}
    for path in artifacts:
        free = _dynamic_in(found.interfaces[path.name], shapes)
        for sizes in shapes.signatures[1:] or [other]:
            chosen = tuple((name, size) for name, size in sizes.items() if name in free)
            if chosen:
                groups.setdefault(chosen, []).append(path)
    verdicts = []
    for chosen, paths in groups.items():
        wanted = shapes.at(dict(chosen))
        batch = tuple(np.resize(array, wanted[name]) for name, array in found.example["inputs"].items())
        verdicts.append(SizeVerdict(dict(chosen), run(paths, Unlabelled([batch])).verdicts))
    return replace(found, sizes=tuple(verdicts))


def verify_unfit(
    run: Callable[[Sequence[Path], Samples], Verification],
    artifacts: Sequence[Path],
    found: Verification,
    shapes: InputShapes,
    samples: Samples,
) -> Verification:
    """Verifies those artifacts at the example sizes that took none of the samples as they are.

    Args:
        run: Verifies artifacts on samples.
        artifacts: The files of all.
        found: What was found on the samples.
        shapes: The shapes of the model's inputs.
        samples: Repeated and cut they are those of the example sizes.

    Returns:
        `found` with what is missing in it; its example is one that every artifact takes.
    """
    if not found.unfit:
        return found
    wanted = list(shapes.at().values())
    batches = [
        tuple(np.resize(array, size) for array, size in zip(inputs, wanted, strict=True))
        for inputs, _ in islice(samples, _BATCHES)
    ]
    cut = run(artifacts, Unlabelled(batches))
    unfit = set(found.unfit)
    return replace(
        found,
        verdicts=(*found.verdicts, *(each for each in cut.verdicts if each.name in unfit)),
        between={**{pair: each for pair, each in cut.between.items() if unfit.intersection(pair)}, **found.between},
        example=cut.example,
    )


def _dynamic_in(interface: Interface, shapes: InputShapes) -> set[str]:
    """The dynamic dimensions that an artifact has not fixed."""
    return {
        name
        for spec in interface.inputs
        for name, size in zip(shapes.inputs[spec.name], spec.source_shape, strict=True)
        if isinstance(name, str) and size is None
    }
