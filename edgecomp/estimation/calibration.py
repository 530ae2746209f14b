"""Estimates held against what was measured: how long a device took for each instruction that was estimated.

1. A measured artifact gives a factor: its median time over the middle of its estimated instructions. That holds what no
   document says of a core and its memory, so that a core without documented facts gets a time too.
2. Factors are kept by runtime and arithmetic, because kernels differ; those of other targets and threads do not count.
3. An estimated artifact takes from its instructions times the smallest factor to those times the largest, and `SPREAD`
   more to both sides: so far were counts off for networks of another kind, and times less (docs/results.md).
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
    """What one measured artifact says.

    Attributes:
        format: The converter's name.
        arithmetic: What most of its multiplications are in.
        ms_per_instruction: Its median time over its estimated instructions.
        source: Which measurement.
    """

    format: str
    arithmetic: str
    ms_per_instruction: float
    source: str


def factors(paths: Sequence[Path], profile: TargetProfile) -> list[Factor]:
    """What kept measurements say of a target.

    Args:
        paths: Documents of `edgecomp bench`, beside the artifacts that were measured.
        profile: The target.

    Raises:
        InputError: Nothing in them serves.
        SourceError: One is no such document.
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
    """An estimate with a time by rule 3; as it was where nothing was measured of its kind.

    Args:
        found: The estimate.
        format_name: The artifact's.
        measured: What is known.
    """
    kind = (format_name, main_arithmetic(found))
    known = [factor.ms_per_instruction for factor in measured if (factor.format, factor.arithmetic) == kind]
    if not known:
        return found
    middle = _middle(found.instructions)
    time = Range(middle * min(known) / SPREAD, middle * max(known) * SPREAD)
    return dataclasses.replace(found, milliseconds=time, measurements=len(known))


def main_arithmetic(found: Estimate) -> str:
    """What most multiplications of an artifact are in."""
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
