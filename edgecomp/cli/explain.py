"""`edgecomp explain`: why artifacts are not faster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, say
from edgecomp.cli.parameters import ResultFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from edgecomp.explanation import Finding


@command
def run(
    source: ResultFolder,
    results: Annotated[
        Path | None,
        typer.Option(metavar="R.json", help="A measurement by `edgecomp bench`, best with --profile."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="A target other than the one it was made for.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Reasons to print for each artifact.")] = 8,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """Say why artifacts are not faster, and what may help."""
    from edgecomp import manifest
    from edgecomp.artifact import find_converter
    from edgecomp.devices.measuring import job_of
    from edgecomp.devices.results import read
    from edgecomp.estimation import estimate
    from edgecomp.explanation import Case, explain
    from edgecomp.target import load_target, require_target

    job = job_of(source)
    measured: dict[str, Any] = {} if results is None else read(results)
    kept = {entry["sha256"]: entry["result"] for entry in measured.get("artifacts", ())}
    profile = load_target(require_target(target or measured.get("target") or job.target, source))
    provenance = manifest.read(source)["provenance"] if source.is_dir() else ()
    found = {}
    for artifact in job.artifacts:
        path = artifact.payload.path
        inspection = find_converter(path).inspect(path)
        result = kept.get(artifact.payload.sha256)
        found[artifact.name] = explain(Case(inspection, estimate(inspection, profile), profile, result, provenance))

    def show(console: Console) -> None:
        common = [finding for finding in next(iter(found.values())) if all(finding in f for f in found.values())]
        if len(found) > 1 and common:
            _show(console, f"all artifacts on {profile.title}", common)
        for name, findings in found.items():
            own = [finding for finding in findings if finding not in common or len(found) == 1]
            _show(console, f"{name} on {profile.title}", own[:limit])
            if len(own) > limit:
                say(console, f"  and {len(own) - limit} more (--limit)")
            if not findings:
                say(console, "  nothing is known that would make it faster")

    document = {name: [finding.as_dict() for finding in findings] for name, findings in found.items()}
    return Answer({"target": profile.name, "artifacts": document}, show)


def _show(console: Console, heading: str, findings: Sequence[Finding]) -> None:
    say(console, heading)
    for finding in findings:
        gain = "" if finding.gain is None else f" [may gain {finding.gain:.0%}]"
        say(console, f"  {finding.where}: {finding.why}{gain}", f"    {finding.remedy}")
