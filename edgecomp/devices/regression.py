"""Compares two measurements: finds artifacts that became slower, beyond chance and a tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgecomp.benchmark import Comparison, Measurement, compare
from edgecomp.errors import InputError


@dataclass(frozen=True)
class ArtifactComparison:
    """The comparison of one artifact in two documents.

    Attributes:
        file: The name of the artifact.
        unit: The unit of the comparison: "milliseconds" or "emulated instructions".
        comparison: The later over the earlier: 2.0 is twice as slow.
        regressed: Whether even the lower end of the confidence interval exceeds the tolerance.
        same_model: Whether both measured the same file.
    """

    file: str
    unit: str
    comparison: Comparison
    regressed: bool
    same_model: bool

    def as_dict(self) -> dict[str, Any]:
        """Returns the same as plain data."""
        return asdict(self)


def compare_documents(
    baseline: Mapping[str, Any], other: Mapping[str, Any], tolerance: float
) -> list[ArtifactComparison]:
    """Compares the artifacts that both documents measured.

    Args:
        baseline: A document of `edgecomp.devices.results`.
        other: A later one.
        tolerance: How much slower still counts as equal: 0.05 for 5 %.

    Raises:
        InputError: They have no artifact in common, or one was timed and the other counted.
    """
    first, second = (
        {entry["file"]: entry for entry in document["artifacts"] if entry["result"] is not None}
        for document in (baseline, other)
    )
    common = [file for file in first if file in second]
    if not common:
        raise InputError(
            "the two measurements",
            expected="at least one artifact that both measured",
            actual=f"{', '.join(first) or 'none'} and {', '.join(second) or 'none'}",
            cure="give measurements of the same model",
        )
    return [_compare_artifact(file, first[file], second[file], tolerance) for file in common]


def _compare_artifact(
    file: str, baseline: Mapping[str, Any], other: Mapping[str, Any], tolerance: float
) -> ArtifactComparison:
    results = (baseline["result"], other["result"])
    counted = ["emulated_instructions" in result for result in results]
    if counted[0] != counted[1]:
        raise InputError(
            f"the two measurements of {file}",
            expected="two of times, or two of instructions",
            actual="one of each",
            cure="compare measurements of the same kind of device",
        )
    if counted[0]:
        before, after = (result["emulated_instructions"]["median"] for result in results)
        found = Comparison(after / before, after / before, after / before, 1.0)  # counts are reproducible
    else:
        found = compare(
            *(Measurement.from_document(result, subject=f"the measurement of {file}") for result in results)
        )
    return ArtifactComparison(
        file,
        "emulated instructions" if counted[0] else "milliseconds",
        found,
        found.low > 1 + tolerance,
        baseline["sha256"] == other["sha256"],
    )
