"""Verifies models with dynamic dimensions at other sizes than the example's, and where an artifact has fixed a
dimension, at that size.

1. What holds at one size only is no dynamic model: every artifact runs at a second one, as even as the example.
2. Where the source itself runs at an odd size, that is the second one: what is wrong with padding, strides and blocks
   shows there only. An artifact that fails at it runs at the even size after all, and takes multiples from then on.
3. The smallest size that it takes runs along with that one: there a runtime may crash, or make numbers up. An artifact
   that fails at it, and at the other alone does not, begins at a larger size from then on.
4. Where data of other sizes than the example's were there, nothing has to stand in for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from edgecomp.arrays import Arrays
from edgecomp.errors import EdgecompError
from edgecomp.graph.sizes import unseen
from edgecomp.interface import Interface
from edgecomp.shapes import InputShapes
from edgecomp.verification.result import Restriction, SizeVerdict, Verdict, Verification
from edgecomp.verification.samples import Samples, Unlabelled

#: Samples that are cut for artifacts that take none as they are, in batches.
_BATCHES = 64

#: How far below an even size the odd one lies that stands for it: no graph was prepared at such a remainder.
_BELOW = 3

#: Verifies artifacts on samples.
RunOn = Callable[[Sequence[Path], Samples], Verification]
#: Dynamic dimension -> size.
Sizes = Mapping[str, int]
#: The same, as a key.
_Sizes = tuple[tuple[str, int], ...]


def verify_sizes(
    run: RunOn,
    artifacts: Sequence[Path],
    found: Verification,
    shapes: InputShapes,
    seen: Mapping[str, Sequence[int]],
    answers: Callable[[Arrays], bool],
) -> Verification:
    """Runs each artifact at another size of the dimensions that are dynamic in it.

    Args:
        run: Verifies some artifacts on samples.
        artifacts: Their files.
        found: What was found on the data. Its example, repeated and cut, gives inputs of another size.
        shapes: The shapes of the model's inputs.
        seen: Dimension -> the smallest and the largest size of the data.
        answers: Whether the source gives finite numbers for some inputs.

    Returns:
        `found` with one entry in `sizes` for each size that something ran at, and with the artifacts that have to take
        fewer sizes than they do.
    """
    return _SizeCheck(run, found, shapes, seen, answers).run_all(artifacts)


class _SizeCheck:
    """See `verify_sizes`."""

    def __init__(
        self,
        run: RunOn,
        found: Verification,
        shapes: InputShapes,
        seen: Mapping[str, Sequence[int]],
        answers: Callable[[Arrays], bool],
    ) -> None:
        self._run, self._found, self._shapes, self._answers = run, found, shapes, answers
        even = unseen(shapes.example, shapes.bindings) if shapes.bindings else {}
        self._even = {name: size for name, size in even.items() if set(seen.get(name, ())) <= {shapes.example[name]}}
        self._odd = {
            name: even[name] - _BELOW for name in shapes.odd if not any(size % 2 for size in seen.get(name, ()))
        }

    def run_all(self, artifacts: Sequence[Path]) -> Verification:
        """Every artifact at every size that it is for."""
        found: list[SizeVerdict] = []
        restrictions: dict[str, Restriction] = {}
        for (chosen, small), paths in self._groups(artifacts).items():
            sizes, smallest = dict(chosen), dict(small)
            odd = {} if self._shapes.signatures else {k: v for k, v in sizes.items() if v == self._odd.get(k)}
            even = {name: self._even.get(name, size + _BELOW) if name in odd else size for name, size in sizes.items()}
            if not odd or not self._answers(self._batch(sizes)):
                sizes, odd = even, {}
            kept, failures = self._attempt(paths, sizes, smallest)
            if failures and smallest:
                fitting, larger = self._attempt(list(failures), sizes)
                too_small = {path: why for path, why in failures.items() if path not in larger}
                restrictions |= {path.name: self._from(path, smallest, why) for path, why in too_small.items()}
                kept, failures = (*kept, *fitting), larger
            if kept:
                found.append(SizeVerdict(sizes, kept))
            if failures:
                if odd:
                    reasons = failures.items()
                    restrictions |= {path.name: self._restriction(path, even, odd, why) for path, why in reasons}
                found.append(SizeVerdict(even, self._verdicts(list(failures), even)))
        return replace(self._found, sizes=tuple(found), restrictions=restrictions)

    def _groups(self, artifacts: Sequence[Path]) -> dict[tuple[_Sizes, _Sizes], list[Path]]:
        """Sizes, and the smallest ones where those are others -> the artifacts that they are for."""
        groups: dict[tuple[_Sizes, _Sizes], list[Path]] = {}
        for path in artifacts:
            free, restricted, smallest = _dynamic_in(self._found.interfaces[path.name], self._shapes)
            odd = {name: size for name, size in self._odd.items() if name not in restricted}
            for sizes in self._shapes.signatures[1:] or [{**self._even, **odd}]:
                chosen = tuple((name, size) for name, size in sizes.items() if name in free)
                if chosen:
                    small = () if smallest.items() <= self._shapes.example.items() else tuple(smallest.items())
                    groups.setdefault((chosen, small), []).append(path)
        return groups

    def _batch(self, sizes: Sizes) -> Arrays:
        wanted = self._shapes.at(sizes)
        return tuple(np.resize(array, wanted[name]) for name, array in self._found.example["inputs"].items())

    def _verdicts(self, paths: Sequence[Path], *sizes: Sizes) -> tuple[Verdict, ...]:
        return self._run(paths, Unlabelled([self._batch(each) for each in sizes if each])).verdicts

    def _attempt(self, paths: Sequence[Path], *sizes: Sizes) -> tuple[tuple[Verdict, ...], dict[Path, str]]:
        """The verdicts of those that agree, and why the others do not."""
        try:
            verdicts = self._verdicts(paths, *sizes)
        except EdgecompError as error:
            if len(paths) == 1:
                return (), {paths[0]: error.actual}
            parts = [self._attempt([path], *sizes) for path in paths]
            kept = {verdict.name: verdict for verdicts, _ in parts for verdict in verdicts}
            return tuple(kept.values()), {path: why for _, failures in parts for path, why in failures.items()}
        wrong = {verdict.name: verdict.violations[0] for verdict in verdicts if verdict.violations}
        failures = {path: wrong[path.name] for path in paths if path.name in wrong}
        return tuple(verdict for verdict in verdicts if verdict.name not in wrong), failures

    def _from(self, path: Path, smallest: Sizes, reason: str) -> Restriction:
        """From what size on an artifact agrees that does not at the smallest; a second time it is the example's."""
        low, high = smallest, {name: self._shapes.example[name] for name in smallest}
        first = smallest.items() <= self._shapes.smallest.items()
        while first and (middle := self._between(low, high)) != low:
            low, high = (middle, high) if self._attempt([path], middle)[1] else (low, middle)
        return Restriction((), smallest, reason, {name: size for name, size in high.items() if size > smallest[name]})

    def _between(self, low: Sizes, high: Sizes) -> dict[str, int]:
        """Sizes half way from some to others, or less: they are multiples of the same."""
        steps = {name: self._shapes.multiples.get(name, 1) for name in low}
        return {name: size + (high[name] - size) // (2 * steps[name]) * steps[name] for name, size in low.items()}

    def _restriction(self, path: Path, even: Sizes, odd: Sizes, reason: str) -> Restriction:
        """Which of several dimensions it is about: those that fail alone, or else all."""
        alone = {name: {**even, name: size} for name, size in odd.items() if len(odd) > 1}
        failing = tuple(name for name, sizes in alone.items() if self._attempt([path], sizes)[1])
        return Restriction(failing or tuple(odd), odd, reason)


def verify_unfit(
    run: RunOn,
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


def _dynamic_in(interface: Interface, shapes: InputShapes) -> tuple[set[str], set[str], dict[str, int]]:
    """The dimensions that an artifact leaves free, those that it takes multiples in, and the smallest sizes."""
    free, restricted, smallest = set[str](), set[str](), dict[str, int]()
    for spec in interface.inputs:
        ones = (1,) * len(spec.shape)
        limits = zip(spec.multiples or ones, spec.smallest or ones, strict=True)
        for name, size, (factor, least) in zip(shapes.inputs[spec.name], spec.source_shape, limits, strict=True):
            if isinstance(name, str) and size is None:
                free.add(name)
                restricted.update([name] if factor > 1 else [])
                if name in shapes.smallest:
                    smallest[name] = max(least, 1)
    return free, restricted, smallest
