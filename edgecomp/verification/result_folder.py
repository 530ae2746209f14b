"""Verifies a result folder again, long after and far away from where it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from edgecomp import manifest
from edgecomp.artifact import from_stored
from edgecomp.data import InputSpec, collect_calibration
from edgecomp.interface import Interface, TensorInterface
from edgecomp.verification.comparison import Comparison, compare
from edgecomp.verification.golden import Golden
from edgecomp.verification.recording import Recorder
from edgecomp.verification.samples import Batches, Unlabelled

#: Beyond so many steps from the outputs that were recorded, another machine does not compute the same.
_GOLDEN_STEPS = 8.0


@dataclass(frozen=True)
class Pair:
    """Two artifacts, or the recorded original and one, on the same inputs."""

    reference: str
    candidate: str
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Reverification:
    """What was found.

    Attributes:
        samples: How many samples the artifacts ran on, the golden one included.
        pairs: Each artifact against the original on the golden sample, and each two artifacts on all samples.
        violations: Broken promises, in words.
    """

    samples: int
    pairs: tuple[Pair, ...]
    violations: tuple[str, ...]


def verify_folder(folder: Path, *, data: str | None = None, preprocess: str | None = None) -> Reverification:
    """Checks every artifact's hash and golden outputs, and compares the artifacts with each other.

    Args:
        folder: What `compress` wrote.
        data: More inputs, as `--calibration` takes them.
        preprocess: How pictures become inputs.

    Raises:
        SourceError: The folder is not a result folder, or a file is missing.
        DataError: The data do not fit.
    """
    violations: list[str] = []
    paths = []
    entries = manifest.read(folder)["artifacts"]
    for entry in entries:
        path = manifest.artifact_path(folder, entry)
        # A file that is not the one that was verified is not run either: there is no telling what it is.
        if manifest.sha256(path) == entry["sha256"]:
            paths.append(path)
        else:
            violations.append(f"{path.name} is not the file that was verified: its SHA-256 differs")
    golden = Golden(folder)
    batches: list[Batches] = [[tuple(golden.inputs.values())]]
    if data is not None:
        batches.append(_open(data, preprocess, _specs(golden, entries)))
    with Recorder(Unlabelled(*batches), tuple(golden.inputs), tuple(golden.outputs)) as recorder:
        pairs = []
        for path in paths:
            interface = recorder.run_artifact(path)
            pairs.append(_against_original(recorder, path.name, golden))
            violations.extend(_drift(recorder, path.name, interface, golden))
        pairs.extend(_between(recorder, *names, golden) for names in combinations([path.name for path in paths], 2))
        return Reverification(recorder.samples, tuple(pairs), tuple(violations))


def _open(data: str, preprocess: str | None, specs: Sequence[InputSpec]) -> Batches:
    from edgecomp.frontends.data_files import open_data
    from edgecomp.frontends.pictures import Preprocessing

    items = open_data(data, specs, preprocessing=None if preprocess is None else Preprocessing.parse(preprocess))
    return collect_calibration(items, specs, subject=data)


def _specs(golden: Golden, entries: Sequence[Mapping[str, Any]]) -> tuple[InputSpec, ...]:
    """What the artifacts take; a dimension may have any size when it is dynamic in one of them."""
    interfaces = [TensorInterface.from_json(spec) for entry in entries for spec in entry["inputs"]]
    specs = []
    for name, array in golden.inputs.items():
        shapes = [spec.source_shape for spec in interfaces if spec.name == name]
        free = [any(shape[axis] is None for shape in shapes) for axis in range(array.ndim)]
        names = tuple(("batch" if axis == 0 else f"{name}_{axis}") if each else None for axis, each in enumerate(free))
        specs.append(InputSpec(name, array.dtype.name, array.shape, names))
    return tuple(specs)


def _against_original(recorder: Recorder, name: str, golden: Golden) -> Pair:
    results = recorder.first(name)
    steps = golden.steps(name)
    return Pair(
        "original",
        name,
        tuple(
            compare(output, [(expected, results[output])], steps[index])
            for index, (output, expected) in enumerate(golden.outputs.items())
        ),
    )


def _between(recorder: Recorder, first: str, second: str, golden: Golden) -> Pair:
    steps = golden.steps(first)
    return Pair(
        first,
        second,
        tuple(
            compare(output, recorder.pairs(first, second, output), steps[index])
            for index, output in enumerate(golden.outputs)
        ),
    )


def _drift(recorder: Recorder, name: str, interface: Interface, golden: Golden) -> Iterator[str]:
    """What an artifact computes otherwise than when it was recorded."""
    results = recorder.first(name)
    for index, spec in enumerate(interface.outputs):
        recorded = from_stored(golden[f"{name}/outputs/{index}"], spec)
        unit = golden.steps(name)[index] or float(np.ptp(recorded)) / 255 or 1.0
        away = float(np.abs(results[spec.name] - recorded).max(initial=0.0)) / unit
        if not away <= _GOLDEN_STEPS:  # NaN is far away too
            yield f"{name}: output {spec.name!r} is {away:.1f} steps from what was recorded"
