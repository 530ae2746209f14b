"""How `edgecomp convert --check` shows what would become of a model."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from edgecomp.cli.common import say, table
from edgecomp.interface import module_in_name

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgecomp.forecast import Forecast, NodeForecast

_SAYINGS = {"refused": "refuses these", "island": "computes these in float"}
#: How many nodes are named for one reason; `--json` names all.
_SHOWN = 4


def show_forecast(console: Console, forecast: Forecast) -> None:
    """A table by operator, then every reason once, with the nodes that it concerns."""
    say(console, f"{forecast.source} in {forecast.precision}: nothing is written")
    console.print(_by_operator(forecast))
    for entry in forecast.formats:
        reasons: defaultdict[tuple[str, str, str], list[NodeForecast]] = defaultdict(list)
        for node in entry.nodes:
            if node.reason:
                reasons[node.verdict, node.reason, node.cure].append(node)
        for (verdict, reason, cure), nodes in sorted(reasons.items(), reverse=True):
            say(console, f"{entry.format} {_SAYINGS[verdict]}, since {reason}:")
            say(console, *(f"  {name}" for name in _named(nodes)), *([f"  cure: {cure}"] if cure else []))
    say(console, *(f"note: {note}" for note in forecast.notes))
    able = [entry.format for entry in forecast.formats if entry.converts]
    unable = [entry.format for entry in forecast.formats if not entry.converts]
    sayings = ((able, "will convert"), (unable, "will not"))
    say(console, "; ".join(f"{', '.join(names)} {what}" for names, what in sayings if names))


def _by_operator(forecast: Forecast) -> Table:
    """For each operator, how often each format does what with it."""
    made = table("operator", ">count", *(entry.format for entry in forecast.formats))
    counts: defaultdict[str, list[Counter[str]]] = defaultdict(lambda: [Counter() for _ in forecast.formats])
    for index, entry in enumerate(forecast.formats):
        for node in entry.nodes:
            if node.node:
                counts[node.op_type][index][node.verdict] += 1
    for op_type, cells in sorted(counts.items(), key=lambda item: -item[1][0].total()):
        made.add_row(op_type, str(cells[0].total()), *map(_cell, cells))
    return made


def _cell(counter: Counter[str]) -> str:
    if len(counter) == 1:
        return next(iter(counter))
    return ", ".join(f"{count} {verdict}" for verdict, count in counter.most_common())


def _named(nodes: list[NodeForecast]) -> list[str]:
    """A few of the nodes, with the modules that they came from where their names do not say so."""
    texts = []
    for node in nodes[:_SHOWN]:
        text = f"{node.op_type} {node.node}" if node.node else "the model as a whole"
        texts.append(f"{text} in module {node.module}" if module_in_name(node.node) != node.module else text)
    return [*texts, f"and {len(nodes) - _SHOWN} more"] if len(nodes) > _SHOWN else texts
