"""The pictures of a report, as inline SVG. Colours of text and lines are the page's, so that they follow its theme."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from edgecomp.drawing.picture import COLOURS
from edgecomp.report.contents import Artifact, Cell, Latency, Range, decibels, share
from edgecomp.units import format_size

_BAD, _POOR, _GOOD, _OTHER = (220, 38, 38), (180, 83, 9), (13, 148, 136), "#94a3b8"

#: From an SQNR that a wrong operator leaves to one that nobody notices, in dB.
_WORST, _BEST = 10.0, 40.0

#: A share of equal answers that is as bad as can be; all are as good.
_FEWEST = 0.9

#: Letters of a name that is written beside a row; the rest of it is in the tool tip.
_LETTERS = 34


def heat_map(models: Sequence[str], cells: Mapping[tuple[str, str], Cell]) -> Markup:
    """The agreement matrix: a field for each two models, the redder the further they are apart."""
    wide, high, left, top = 88, 46, 100, 26
    columns, rows = models[1:], models[:-1]
    parts = [_text(left + wide * (index + 0.5), 16, name, "middle") for index, name in enumerate(columns)]
    for line, first in enumerate(rows):
        parts.append(_text(left - 10, top + high * (line + 0.5) + 4, first, "end"))
        for index, second in enumerate(columns):
            cell = cells.get((first, second))
            if cell is not None:
                parts.append(_field(left + wide * index, top + high * line, wide, high, cell, f"{first} / {second}"))
    return _svg("agreement", left + wide * len(columns), top + high * len(rows), parts)


def _field(x: float, y: float, wide: float, high: float, cell: Cell, pair: str) -> Markup:
    large, small = (
        (share(cell.agreement), decibels(cell.sqnr)) if cell.agreement is not None else (decibels(cell.sqnr), "")
    )
    tip = f"{pair}: {', '.join(filter(None, (f'{large} same answer' if small else large, small)))}"
    middle = x + wide / 2
    return Markup(
        '<g><title>{}</title><rect x="{:.0f}" y="{:.0f}" width="{:.0f}" height="{:.0f}" rx="6" fill="{}"/>'
        '<text class="on" x="{:.0f}" y="{:.0f}">{}</text><text class="on small" x="{:.0f}" y="{:.0f}">{}</text></g>'
    ).format(
        tip, x + 2, y + 2, wide - 4, high - 4, _heat(cell),
        middle, y + high / 2 + (0 if small else 5), large, middle, y + high / 2 + 15, small,
    )  # fmt: skip


def _heat(cell: Cell) -> str:
    """Red, over amber, to green: by answers where there are some, else by noise."""
    if cell.agreement is not None:
        part = (cell.agreement - _FEWEST) / (1 - _FEWEST)
    else:
        part = 1.0 if cell.sqnr is None else (cell.sqnr - _WORST) / (_BEST - _WORST)
    part = 2 * min(max(part, 0.0), 1.0)
    start, end, amount = (_BAD, _POOR, part) if part < 1 else (_POOR, _GOOD, part - 1)
    return "#" + "".join(f"{round(one + (other - one) * amount):02x}" for one, other in zip(start, end, strict=True))


def sizes(artifacts: Sequence[Artifact]) -> Markup:
    """A bar for each file."""
    rows = [(each.entry["file"], float(each.entry["size"]), format_size(each.entry["size"])) for each in artifacts]
    return _bars("sizes", rows)


def latencies(measured: Sequence[Latency]) -> Markup:
    """A bar for the median of each measurement."""
    rows = [(f"{each.file} on {each.device}", each.median, f"{each.median:.3g} ms") for each in measured]
    return _bars("latencies", rows)


def _bars(name: str, rows: Sequence[tuple[str, float, str]]) -> Markup:
    left, wide, high = 250 if name == "latencies" else 100, 200, 26
    largest = max((value for _, value, _ in rows), default=1.0) or 1.0
    parts = []
    for index, (label, value, words) in enumerate(rows):
        y, length = high * index, max(wide * value / largest, 2)
        parts.append(_text(left - 10, y + 17, label, "end"))
        parts.append(_rectangle(left, y + 5, length, high - 10, COLOURS["int8"], f"{label}: {words}"))
        parts.append(_text(left + length + 8, y + 17, words))
    return _svg(name, left + wide + 90, high * len(rows), parts)


def operators(artifacts: Sequence[Artifact]) -> Markup:
    """What share of each artifact's operators computes in which precision."""
    left, wide, high = 100, 300, 28
    parts, seen = [], dict[str, None]()
    for index, artifact in enumerate(artifacts):
        x, y, total = float(left), high * index, sum(artifact.operators.values()) or 1
        parts.append(_text(left - 10, y + 18, artifact.entry["file"], "end"))
        for precision, count in artifact.operators.items():
            seen[precision] = None
            length = wide * count / total
            parts.append(_rectangle(x, y + 4, length, high - 8, _colour(precision), f"{count} of {total}: {precision}"))
            x += length
    x = float(left)
    for precision in seen:
        y = high * len(artifacts) + 8
        parts += [_rectangle(x, y, 12, 12, _colour(precision), precision), _text(x + 18, y + 10, precision)]
        x += 8 * len(precision) + 42
    return _svg("operators", max(left + wide, x), high * len(artifacts) + 28, parts)


def ranges(found: Sequence[Range]) -> Markup:
    """From where to where the integers of each activation reach, on a scale that is linear around 0 and then grows."""
    left, wide, high = 250, 460, 18
    smallest = min((each.high - each.low for each in found), default=1.0) or 1.0
    ends = [_compressed(end, smallest) for each in found for end in (each.low, each.high)]
    low, high_end = min(ends, default=-1.0), max(ends, default=1.0)

    def place(value: float) -> float:
        return left + wide * (_compressed(value, smallest) - low) / ((high_end - low) or 1.0)

    bottom = high * len(found)
    parts = [Markup('<line class="level" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/>').format(place(0.0), bottom)]
    for index, each in enumerate(found):
        start, length = place(each.low), max(place(each.high) - place(each.low), 2.0)
        tip = f"{each.name}: {each.low:.4g} to {each.high:.4g}"
        parts.append(_text(left - 10, high * index + 13, _short(each.name), "end", each.name))
        parts.append(_rectangle(start, high * index + 4, length, high - 8, COLOURS["int16x8"], tip))
        parts.append(_text(left + wide + 10, high * index + 13, f"{each.low:.3g} to {each.high:.3g}"))
    parts.append(_text(place(0.0), bottom + 14, "0", "middle"))
    return _svg("ranges", left + wide + 140, bottom + 18, parts)


def _compressed(value: float, unit: float) -> float:
    return math.copysign(math.log1p(abs(value) / unit), value)


def _colour(precision: str) -> str:
    return COLOURS.get(precision, _OTHER)


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"…{name[-_LETTERS + 1 :]}"


def _rectangle(x: float, y: float, wide: float, high: float, colour: str, tip: str) -> Markup:
    return Markup(
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2" fill="{}"><title>{}</title></rect>'
    ).format(x, y, wide, high, colour, tip)


def _text(x: float, y: float, words: str, anchor: str = "start", tip: str = "") -> Markup:
    title = Markup("<title>{}</title>").format(tip) if tip else ""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}{}</text>').format(x, y, anchor, words, title)


def _svg(name: str, wide: float, high: float, parts: Sequence[Markup]) -> Markup:
    """Of its own size, so that letters stay readable on a phone; the page lets it scroll."""
    head = Markup('<svg role="img" aria-label="{0}" width="{1:.0f}" height="{2:.0f}" viewBox="0 0 {1:.0f} {2:.0f}">')
    return head.format(name, wide, high) + Markup("").join(map(escape, parts)) + Markup("</svg>")
