"""The tables that commands print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from edgecomp.cli.common import kilobytes
from edgecomp.comparison import Comparison

if TYPE_CHECKING:
    from edgecomp.pipeline import Result


def agreement_table(result: Result, latencies: Mapping[str, float] | None = None, *, measured_on: str = "") -> Table:
    """Original, simulation and artifacts side by side.

    Args:
        result: What `compress` made.
        latencies: Row name -> median milliseconds.
        measured_on: The machine that the latencies are from.
    """
    verification = result.verification
    table = Table(title=f"{result.folder}: {verification.samples} samples", title_justify="left")
    table.add_column("")
    for heading in ("size", "metric", "agrees with original", "from the simulation, in steps"):
        table.add_column(heading, justify="right")
    if latencies is not None:
        table.add_column(f"latency on {measured_on}", justify="right")

    def row(name: str, size: int | None, metric: float | None, *cells: str) -> None:
        latency = [] if latencies is None else [f"{latencies[name]:.3f} ms" if name in latencies else ""]
        texts = ["" if size is None else kilobytes(size), "" if metric is None else f"{metric:.4f}", *cells]
        table.add_row(name, *texts, *latency)

    row("original", result.source_size, verification.metric, "", "")
    files = {path.name: path for path in result.artifacts.values()}
    for verdict in verification.verdicts:
        size = files[verdict.name].stat().st_size if verdict.name in files else None
        row(verdict.name, size, verdict.metric, agreement(verdict.against_original), steps(verdict.against_simulation))
    return table


def agreement(comparisons: tuple[Comparison, ...]) -> str:
    """The share of equal argmaxes, or the SQNR where there is none; one figure per output."""
    return ", ".join(f"{c.agreement:.1%}" if c.agreement is not None else f"{c.sqnr:.1f} dB" for c in comparisons)


def steps(comparisons: tuple[Comparison, ...]) -> str:
    """Mean and largest difference in quantization steps; one figure per output."""
    return ", ".join(
        f"{c.mean_difference:.2f} mean, {c.max_difference:.0f} max" if c.step else f"{c.sqnr:.1f} dB" for c in comparisons
    )
