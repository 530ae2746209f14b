"""The table that compress, convert and demo print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from edgecomp.cli.common import table
from edgecomp.units import format_size
from edgecomp.verification.comparison import EQUAL
from edgecomp.verification.metrics import meaning

if TYPE_CHECKING:
    from rich.table import Table

    from edgecomp.pipeline import Result
    from edgecomp.verification.comparison import Comparison
    from edgecomp.verification.metrics import Scores
    from edgecomp.verification.result import Verdict, Verification

#: Stands for the heading that names the precision.
PRECISION = "precision"

#: Precisions that every runtime executes in, of which nothing needs to be said.
_EVERYWHERE = frozenset({"fp32", "int8"})

#: Heading -> what it means.
_LEGEND = {
    ">same answer": "same answer: share of samples with {reference}'s argmax",
    ">SQNR": "SQNR: signal to quantization noise, against {reference}",
    ">off by": "off by: mean and largest difference from the simulation, in steps",
}
_HEADINGS = ("", ">size", PRECISION, "output", ">same answer", ">SQNR", ">off by", ">latency")

#: Behind these come the task's metrics, which have headings of their own.
_BEFORE_METRICS = 3

Row = dict[str, str]


def agreement_table(result: Result, latencies: Mapping[str, float] | None = None) -> Table:
    """Original, simulation and artifacts, a line for each output; columns that would be empty are left out.

    What training or pruning made of the original has a line of its own: that is what the artifacts are compared with.

    Args:
        result: What `compress` made.
        latencies: Row name -> milliseconds.
    """
    rows = _rows(result, latencies or {})
    metrics = [f">{name}" for name in result.verification.metrics]
    known = [*_HEADINGS[:_BEFORE_METRICS], *metrics, *_HEADINGS[_BEFORE_METRICS:]]
    headings = [heading for heading in known if any(row.get(heading) for row in rows)]
    made = table(*(result.manifest["precision"] if heading == PRECISION else heading for heading in headings))
    for row in rows:
        made.add_row(*(row.get(heading, "") for heading in headings))
    return made


def legend(result: Result) -> str:
    """What the headings of the table mean."""
    rows = _rows(result, {})
    compared_with = "the original" if _facts_before(result.manifest) is None else "the compressed model"
    columns = [
        words.format(reference=compared_with)
        for heading, words in _LEGEND.items()
        if any(row.get(heading) for row in rows)
    ]
    metrics = [f"{name}: {words}" for name in result.verification.metrics if (words := meaning(name)) is not None]
    return "\n".join([*metrics, *columns, *churn_lines(result.verification)])


def churn_lines(verification: Verification) -> list[str]:
    """What changed from the original to each artifact, if anything did."""
    return [
        f"{name}: {churn.in_words()}"
        for (reference, name), churn in verification.churn.items()
        if reference == "original" and churn.changed
    ]


def _rows(result: Result, latencies: Mapping[str, float]) -> list[Row]:
    verification = result.verification
    artifacts = {artifact["file"]: artifact for artifact in result.manifest["artifacts"]}
    before = _facts_before(result.manifest)
    compared_with = "original" if before is None else "compressed"
    rows = [_head(compared_with, result.source_size, verification.metrics)]
    if before is not None:
        rows.insert(0, _head("original", before.get("size"), _first_metric(before, verification.metrics)))
    for verdict in verification.verdicts:
        first, *others = _lines(verdict)
        artifact = artifacts.get(verdict.name, {})
        execution = {} if artifact.get("precision", "fp32") in _EVERYWHERE else {PRECISION: artifact["execution"]}
        rows += [_head(verdict.name, artifact.get("size"), verdict.metrics) | execution | first, *others]
    for row in rows:
        if row.get("") in latencies:
            row[">latency"] = f"{latencies[row['']]:.3f} ms"
    return rows


def _facts_before(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the provenance says of the module before it was compressed; None when it was not."""
    return next((step["facts"] for step in manifest["provenance"] if step["name"] == "original"), None)


def _first_metric(facts: Mapping[str, Any], metrics: Scores) -> Scores:
    """The metric that steps on modules record: the first."""
    return {name: facts["metric"] for name in list(metrics)[:1] if "metric" in facts}


def _head(name: str, size: int | None, metrics: Scores) -> Row:
    row = {"": name}
    if size is not None:
        row[">size"] = format_size(size)
    return row | {f">{metric}": figure(value) for metric, value in metrics.items()}


def figure(value: float) -> str:
    """A metric: shares with four digits behind the point, others with as many that say something."""
    return f"{value:.4f}" if 1e-2 < abs(value) <= 1 or not value else f"{value:.4g}"


def _lines(verdict: Verdict) -> Iterator[Row]:
    for compared, simulated in zip_longest(verdict.against_original, verdict.against_simulation):
        several = len(verdict.against_original) > 1
        yield {
            "output": compared.output if several else "",
            ">same answer": share(compared),
            ">SQNR": decibels(compared),
            ">off by": "" if simulated is None or not simulated.step else _steps(simulated),
        }


def share(comparison: Comparison) -> str:
    """The share of equal answers, where there is such a thing."""
    return "" if comparison.agreement is None else f"{comparison.agreement:.1%}"


def decibels(comparison: Comparison) -> str:
    """The SQNR; equal outputs, which have none, are said to be that."""
    if comparison.sqnr is None:
        return ""
    return "equal" if comparison.sqnr == EQUAL else f"{comparison.sqnr:.1f} dB"


def _steps(comparison: Comparison) -> str:
    return f"{comparison.mean_difference:.2f}, {comparison.max_difference:.0f}"


def class_table(classes: Sequence[Mapping[str, Any]], limit: int) -> Table:
    """Precision, recall and F1 of each model, those classes first of which the others lost most against the first.

    Args:
        classes: As a manifest has them.
        limit: How many to show.
    """
    models = _models(classes)
    made = table("class", ">samples", *(f">{name}" for name in models))
    for each in sorted(classes, key=_loss, reverse=True)[:limit]:
        scores = (each["scores"][name] for name in models)
        cells = (" ".join(f"{score[key]:.3f}" for key in ("precision", "recall", "f1")) for score in scores)
        made.add_row(str(each["class"]) if each["name"] is None else each["name"], str(each["support"]), *cells)
    return made


def class_legend(classes: Sequence[Mapping[str, Any]], limit: int) -> list[str]:
    """What the figures of that table are, and how many classes it leaves out."""
    left = len(classes) - limit
    first = _models(classes)[0]
    reference = "the original" if first == "original" else first
    order = f"those first that lost most F1 against {reference}"
    return [
        f"precision, recall and F1 of each class; {order}" + (f", and {left} others in --json" if left > 0 else ""),
    ]


def _models(classes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The original first; the manifest has keys in the order of the alphabet."""
    return sorted(classes[0]["scores"], key=lambda name: (name != "original", name))


def _loss(each: Mapping[str, Any]) -> float:
    first, *others = (each["scores"][name]["f1"] for name in _models([each]))
    return float(first - min(others, default=first))
