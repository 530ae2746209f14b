"""Ties a diagnosis to the artifacts of a result folder: are they what was diagnosed, and what do their runtimes add?

Layers are measured in the simulation. That says something of an artifact when it is, byte for byte, what the same
source, data and recipe make now, and when its runtime computes what the simulation does. The first is checked; of the
second the folder's manifest has the figures of its verification.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecomp import manifest
from edgecomp.converter import load_converter
from edgecomp.verification.comparison import EQUAL

if TYPE_CHECKING:
    from edgecomp.pipeline import Quantized

#: A runtime is at fault when it makes more of an artifact's error than this share.
_NOTABLE = 0.1


@dataclass(frozen=True)
class ArtifactDiagnosis:
    """What is known of one artifact.

    Attributes:
        file: Its name.
        same: Whether it is byte for byte what was diagnosed.
        original_sqnr: The SQNR of its worst output against the original when it was verified, in dB.
        simulation_sqnr: Likewise against the simulation; EQUAL where it computes the same.
        runtime_share: How large the difference to the simulation is beside that to the original, as power: from 0,
            where layers alone are at fault, to 1 and more, where the runtime rounds otherwise.
    """

    file: str
    same: bool
    original_sqnr: float
    simulation_sqnr: float
    runtime_share: float

    @property
    def words(self) -> str:
        """All of it in a sentence."""
        what = "is what was diagnosed, byte for byte" if self.same else "is not what this source and data make now"
        if self.runtime_share < _NOTABLE:
            adds = "its runtime computes what the simulation does"
        else:
            adds = (
                f"its runtime is {self.simulation_sqnr:.1f} dB from the simulation, "
                f"{min(self.runtime_share, 1.0):.0%} of its error: steps that runtimes round otherwise, which layers "
                "behind them magnify"
            )
        return f"{self.file} {what}; {self.original_sqnr:.1f} dB from the original, and {adds}"


def artifacts_of(folder: Path, made: Quantized) -> Iterator[ArtifactDiagnosis]:
    """Every artifact of a folder.

    Args:
        folder: What `compress` wrote.
        made: What its source and recipe make now.

    Raises:
        SourceError: It is no such folder, or an artifact is missing.
    """
    content = manifest.read(folder)
    verdicts = {verdict["name"]: verdict for verdict in content["verification"]["verdicts"]}
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as scratch:
        for entry in content["artifacts"]:
            path = manifest.artifact_path(folder, entry)
            now = Path(scratch) / path.name
            load_converter(entry["format"]).convert(made.model, now, made.options)
            verdict = verdicts[path.name]
            original, simulation = (_sqnr(verdict, key) for key in ("against_original", "against_simulation"))
            share = 10 ** ((original - simulation) / 10)
            yield ArtifactDiagnosis(
                path.name, manifest.sha256(path) == manifest.sha256(now), original, simulation, share
            )


def _sqnr(verdict: Mapping[str, Any], key: str) -> float:
    """Of the worst output."""
    return min((float(entry["sqnr"]) for entry in verdict[key] if entry["sqnr"] is not None), default=EQUAL)
