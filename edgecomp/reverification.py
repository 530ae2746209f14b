"""Verifies a result folder again, long after and far away from where it was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecomp import manifest
from edgecomp.artifact import Artifact, from_stored, load
from edgecomp.comparison import Comparison, compare
from edgecomp.converter import Array
from edgecomp.data import InputSpec, collect_calibration
from edgecomp.errors import SourceError

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
        samples: How many samples the pairs rest on.
        pairs: Each artifact against the original's golden outputs, and with data each pair of artifacts.
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
    content = manifest.read(folder)
    violations: list[str] = []
    artifacts: dict[str, Artifact] = {}
    for entry in content["artifacts"]:
        path = folder / entry["file"]
        if path.resolve().parent != folder.resolve():
            raise SourceError(
                str(folder / manifest.FILE),
                expected="artifacts inside the folder",
                actual=f"the file {entry['file']!r}",
                cure="use a folder that edgecomp wrote",
            )
        artifact = load(path)  # raises when the file is missing or damaged
        if manifest.sha256(path) != entry["sha256"]:
            violations.append(f"{entry['file']} is not the file that was verified: its SHA-256 differs")
        artifacts[entry["file"]] = artifact
    golden = _golden(folder)
    pairs = [_against_golden(name, artifact, golden, violations) for name, artifact in artifacts.items()]
    samples = 1
    if data is not None:
        batches = _open(data, preprocess, next(iter(artifacts.values())))
        samples = len(batches)
        pairs.extend(_between(artifacts, batches))
    return Reverification(samples, tuple(pairs), tuple(violations))


def _golden(folder: Path) -> dict[str, Array]:
    path = folder / "golden.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError) as error:
        raise SourceError(
            str(path),
            expected="the golden inputs and outputs of the folder",
            actual=f"{type(error).__name__}: {error}",
            cure="run compress again",
        ) from None


def _against_golden(name: str, artifact: Artifact, golden: dict[str, Array], violations: list[str]) -> Pair:
    results = artifact.predict({spec.name: golden[f"inputs/{spec.name}"] for spec in artifact.inputs})
    comparisons = []
    for index, spec in enumerate(artifact.outputs):
        recorded = from_stored(golden[f"{name}/outputs/{index}"], spec)
        unit = spec.scale or float(np.ptp(recorded)) / 255 or 1.0
        away = float(np.abs(results[spec.name] - recorded).max(initial=0.0)) / unit
        if away > _GOLDEN_STEPS:
            violations.append(f"{name}: output {spec.name!r} is {away:.1f} steps from what was recorded")
        comparisons.append(compare(spec.name, [(golden[f"outputs/{spec.name}"], results[spec.name])], spec.scale))
    return Pair("original", name, tuple(comparisons))


def _open(data: str, preprocess: str | None, artifact: Artifact) -> Sequence[tuple[Array, ...]]:
    from edgecomp.frontends.data_files import open_data
    from edgecomp.frontends.pictures import Preprocessing

    specs = tuple(
        InputSpec(spec.name, spec.source_dtype, tuple(size or 1 for size in spec.source_shape)) for spec in artifact.inputs
    )
    items = open_data(data, specs, preprocessing=Preprocessing.parse(preprocess) if preprocess else None)
    return list(collect_calibration(items, specs, subject=data))


def _between(artifacts: dict[str, Artifact], batches: Sequence[tuple[Array, ...]]) -> Iterator[Pair]:
    names = list(artifacts)
    orders = [spec.name for spec in artifacts[names[0]].inputs]
    results: dict[str, list[dict[str, Any]]] = {
        name: [artifact.predict(dict(zip(orders, batch, strict=True))) for batch in batches]
        for name, artifact in artifacts.items()
    }
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            yield Pair(
                first,
                second,
                tuple(
                    compare(
                        spec.name,
                        ((a[spec.name], b[spec.name]) for a, b in zip(results[first], results[second], strict=True)),
                        spec.scale,
                    )
                    for spec in artifacts[first].outputs
                ),
            )


