"""Ties a diagnosis to the artifacts of a result folder: are they the diagnosed model, and what do their runtimes add?

Layers are measured in the simulation. This tells something about an artifact if it is byte for byte what the same
source, data and recipe produce now, and if its runtime computes the same as the simulation. The first is checked here;
for the second, the folder's manifest has the figures of its verification.
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

#: A runtime is named as a cause if it adds more than this share of an artifact's error.
_NOTABLE = 0.1


@dataclass(frozen=True)
class ArtifactDiagnosis:
    """The facts about one artifact.

    Attributes:
        file: Its name.
        same: Whether it is byte for byte the diagnosed model.
        original_sqnr: The SQNR of its worst output against the original when it was verified, in dB.
        simulation_sqnr: The same against the simulation; EQUAL if it computes the same.
        runtime_share: The power of the difference to the simulation, relative to that of the difference to the
            original: 0 if only layers cause the error, 1 and more if the runtime rounds differently.
    """

    file: str
    same: bool
    original_sqnr: float
    simulation_sqnr: float
    runtime_share: float

    @property
    def words(self) -> str:
        """Everything in one sentence."""
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
    """Yields the facts about every artifact of a folder.

    Args:
        folder: A result of `compress`.
        made: What its source and recipe produce now.

    Raises:
        SourceError: It is not such a folder, or an artifact is missing.
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
    """Returns the SQNR of the worst output."""
    return min((float(entry["sqnr"]) for entry in verdict[key] if entry["sqnr"] is not None), default=EQUAL)
