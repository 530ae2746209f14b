"""The figures of EfficientNet-Lite0 as tables, or as one document for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from figures import Figure, Ratio, verdict
from lite0_artifacts import Candidate, best_peer, is_peer
from rich import box
from rich.console import Console
from rich.table import Table

#: At most this ratio to the best peer.
LATENCY_LIMIT = 1.02
#: Points of agreement that int8 may lose.
AGREEMENT_LIMIT = 0.985


def ratio_verdict(ratio: Ratio) -> str:
    """Whether a latency is within the target: only an interval that lies on one side of it says so."""
    if ratio.low <= LATENCY_LIMIT < ratio.high:
        return "undecided: noise"
    return verdict(ratio.value, LATENCY_LIMIT)


def show(figures: Sequence[Figure], candidates: Sequence[Candidate], photos: int, console: Console) -> None:
    """Prints both tables."""
    table = _table("", ">median", ">min - max", ">target", "")
    for figure in figures:
        spread = "" if figure.low == figure.high else f"{figure.low:.2f} - {figure.high:.2f}"
        limit = "" if figure.limit is None else f"<= {figure.limit:g} {figure.unit}"
        table.add_row(figure.name, f"{figure.value:.2f} {figure.unit}", spread, limit, figure.verdict)
    console.print(table)
    headings = ("runtime", "artifact", ">made in", ">latency", ">/ best peer, apart", ">alternating (95 %)")
    table = _table(*headings, f"<= {LATENCY_LIMIT}", ">agrees with fp32", ">top-1")
    for candidate in candidates:
        if candidate.path is None:
            table.add_row(candidate.runtime, candidate.name, candidate.missing)
            continue
        ratio, latency_verdict = candidate.ratio, ""
        if ratio is not None and candidate.ours:
            latency_verdict = ratio_verdict(ratio)
        elif ratio is not None and not is_peer(candidate):
            latency_verdict = "for ARM, not judged"
        agreement = "" if candidate.agreement is None else f"{candidate.agreement:.1%}"
        if candidate.ours and candidate.agreement is not None:
            agreement += " met" if candidate.agreement >= AGREEMENT_LIMIT else " MISSED"
        table.add_row(
            candidate.runtime,
            candidate.name,
            "" if candidate.seconds is None else f"{candidate.seconds:.1f} s",
            f"{candidate.milliseconds:.1f} ms",
            _interval(candidate.ratio_apart, 2),
            ("ours / it " if is_peer(candidate) and ratio is not None else "") + _interval(ratio, 3),
            latency_verdict,
            agreement,
            "" if candidate.top1 is None else f"{candidate.top1:.1%}",
        )
    console.print(table)
    best = {candidate.runtime: best_peer(candidate, candidates) for candidate in candidates}
    names = "; ".join(f"{runtime}: {found.name}" for runtime, found in best.items() if found is not None)
    console.print(f"Best peers, by the alternating turns: {names}.", soft_wrap=True)
    console.print(
        f"Made in: from the float graph and the calibration photos. Agreement: on {photos} photos, target >= "
        f"{AGREEMENT_LIMIT:.1%} for ours. MNN's int8 is slower than its float on x86 and faster on ARM cores with dot "
        "products: its ratio is met or missed on a board, not here.",
        soft_wrap=True,
    )


def _interval(ratio: Ratio | None, digits: int) -> str:
    if ratio is None:
        return ""
    value, low, high = (f"{number:.{digits}f}" for number in (ratio.value, ratio.low, ratio.high))
    return f"{value} ({low} - {high})"


def _table(*headings: str) -> Table:
    table = Table(box=box.MARKDOWN)
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(heading.removeprefix(">"), justify="right" if right else "left", no_wrap=True)
    return table


def document(figures: Sequence[Figure], candidates: Sequence[Candidate]) -> dict[str, Any]:
    """The same for programs."""
    artifacts = []
    for candidate in candidates:
        entry: dict[str, Any] = {
            key: getattr(candidate, key)
            for key in ("runtime", "name", "ours", "missing", "seconds", "agreement", "top1")
        }
        entry["latency_ms"] = [each.latency.p50 for each in candidate.rounds]
        entry["ratio"] = None if candidate.ratio is None else asdict(candidate.ratio)
        entry["ratio_apart"] = None if candidate.ratio_apart is None else asdict(candidate.ratio_apart)
        entry["verdict"] = ratio_verdict(candidate.ratio) if candidate.ours and candidate.ratio is not None else None
        artifacts.append(entry)
    return {
        "machine": machine(),
        "latency_limit": LATENCY_LIMIT,
        "agreement_limit": AGREEMENT_LIMIT,
        "figures": [asdict(figure) | {"verdict": figure.verdict or None} for figure in figures],
        "artifacts": artifacts,
    }


def machine() -> str:
    """What this ran on, in a line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, load average {load}"
