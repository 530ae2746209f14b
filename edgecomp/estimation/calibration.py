"""Calibrates estimates by measurements: the time that a device took for each estimated instruction.

1. A measured artifact gives a factor: its median time over the middle of its estimated instructions. This includes
   undocumented properties of core and memory, so that a core without documented facts gets a time too.
2. Factors are kept by runtime and arithmetic, because kernels differ; those of other targets and threads do not count.
3. The estimated time goes from the instructions times the smallest factor to those times the largest, widened by
   `SPREAD` on both sides: counts were off by as much for other kinds of networks, and times by less (docs/results.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecomp.artifact import find_converter
from edgecomp.devices import results
from edgecomp.errors import InputError
from edgecomp.estimation import Estimate, Range, estimate
from edgecomp.manifest import sha256
from edgecomp.target import TargetProfile

SPREAD = 2.0


@dataclass(frozen=True)
class Factor:
    """The factor from one measured artifact.

    Attributes:
        format: The converter's name.
        arithmetic: The arithmetic of most of its multiplications.
        ms_per_instruction: Its median time over its estimated instructions.
        source: The measurement.
    """

    format: str
    arithmetic: str
    ms_per_instruction: float
    source: str


def factors(paths: Sequence[Path], profile: TargetProfile) -> list[Factor]:
    """Returns the factors for a target from stored measurements.

    Args:
        paths: Documents of `edgecomp bench`, beside the measured artifacts.
        profile: The target.

    Raises:
        InputError: None of them can be used.
        SourceError: A file is not such a document.
    """
    found = [factor for path in paths for factor in _factors(path, profile)]
    if paths and not found:
        raise InputError(
            ", ".join(map(str, paths)),
            expected=f"times of one thread of {profile.name}, with the artifacts beside the folder `measurements`",
            actual="none: of another target or machine, with more threads, emulated, or the artifacts are gone",
            cure="give a measurement of that target with --threads 1, where `edgecomp bench` kept it",
        )
    return found


def calibrated(found: Estimate, format_name: str, measured: Sequence[Factor]) -> Estimate:
    """Sets the time of an estimate by rule 3; unchanged if nothing of its kind was measured.

    Args:
        found: The estimate.
        format_name: The artifact's format.
        measured: The known factors.
    """
    kind = (format_name, main_arithmetic(found))
    known = [factor.ms_per_instruction for factor in measured if (factor.format, factor.arithmetic) == kind]
    if not known:
        return found
    middle = _middle(found.instructions)
    time = Range(middle * min(known) / SPREAD, middle * max(known) * SPREAD)
    return dataclasses.replace(found, milliseconds=time, measurements=len(known))


def main_arithmetic(found: Estimate) -> str:
    """Returns the arithmetic of most multiplications of an artifact."""
    totals: dict[str, int] = {}
    for node in found.nodes:
        totals[node.arithmetic] = totals.get(node.arithmetic, 0) + node.macs
    return max(totals, key=lambda name: totals[name], default="float32")


def _factors(path: Path, profile: TargetProfile) -> list[Factor]:
    document = results.read(path)
    if document.get("target") != profile.name:
        return []
    made = []
    for entry in document["artifacts"]:
        artifact, result = path.parent.parent / entry["file"], entry["result"] or {}
        if "latency_ms" not in result or result["settings"]["threads"] != 1 or not results.made_on(result, profile):
            continue
        if artifact.exists() and sha256(artifact) == entry["sha256"]:
            inspection = find_converter(artifact).inspect(artifact)
            found = estimate(inspection, profile)
            rate = result["latency_ms"]["p50"] / max(_middle(found.instructions), 1.0)
            made.append(Factor(inspection.format, main_arithmetic(found), rate, f"{path.name}: {entry['file']}"))
    return made


def _middle(instructions: Range) -> float:
    return (instructions.low + instructions.high) / 2
