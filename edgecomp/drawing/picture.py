"""The graph of an artifact as an SVG picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from edgecomp.drawing.columns import Placed, Point, fold
from edgecomp.drawing.layers import lay_out
from edgecomp.drawing.scene import Arrow, Box, compose
from edgecomp.inspection import Inspection

_HEIGHT, _GAP, _MARGIN, _HEAD = 44.0, 30.0, 40.0, 92.0
_CORNER = 9.0

#: The colour of each precision; all others are grey, mostly shapes and indices.
COLOURS = {
    "int8": "#0d9488",
    "uint8": "#0d9488",
    "int16x8": "#0369a1",
    "dynamic-int8": "#65a30d",
    "dynamic-int4": "#65a30d",
    "float32": "#4f6bed",
    "float16": "#9333ea",
}
_OTHER = "#94a3b8"
_ISLAND = "#f59e0b"

_STYLE = """
svg.graph { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; background: #fbfcfe }
.graph .paper { fill: #fbfcfe }
.graph .card { fill: #fff; stroke: #cbd5e1; stroke-width: 1 }
.graph .shore .card { fill: #f1f5f9; stroke-dasharray: 3 2 }
.graph .input .card, .graph .output .card { fill: #1e293b; stroke: none }
.graph .name { font-size: 13px; font-weight: 600; fill: #0f172a; text-anchor: middle }
.graph .shape { font-size: 11px; fill: #64748b; text-anchor: middle }
.graph .input .name, .graph .output .name { fill: #fff }
.graph .input .shape, .graph .output .shape { fill: #cbd5e1 }
.graph .arrow { fill: none; stroke: #94a3b8; stroke-width: 1.4 }
.graph .sea { fill: none; stroke: #fde9c4; stroke-linecap: round; stroke-linejoin: round }
.graph .land { fill: #fde9c4 }
.graph .heading { font-size: 20px; font-weight: 700; fill: #0f172a }
.graph .summary, .graph .key { font-size: 13px; fill: #475569 }
""".strip()


def picture(inspection: Inspection, title: str) -> str:
    """Returns the whole picture, with a heading and a legend."""
    boxes, arrows = compose(inspection)
    widths = [_width(box) for box in boxes]
    edges = [(arrow.source, arrow.target) for arrow in arrows]
    placed = fold(lay_out(widths, edges), edges, height=_HEIGHT, gap=_GAP)
    words = summary(inspection)
    width = max(placed.width, 7.0 * len(words), 11.0 * len(title), 480.0) + 2 * _MARGIN
    height = placed.height + _HEAD + 2 * _MARGIN
    canvas = _Canvas(boxes, arrows, widths, placed)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}">',
            f"<style>{_STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0.8 8 4 0 7.2z" fill="#94a3b8"/></marker></defs>',
            f'<rect class="paper" width="{width:.0f}" height="{height:.0f}"/>',
            f'<text class="heading" x="{_MARGIN}" y="{_MARGIN}">{_text(title)}</text>',
            f'<text class="summary" x="{_MARGIN}" y="{_MARGIN + 22}">{_text(words)}</text>',
            *_key(boxes),
            f'<g transform="translate({_MARGIN} {_HEAD + _MARGIN})">',
            *canvas.islands(),
            *canvas.arrows(),
            *canvas.boxes(),
            "</g>",
            "</svg>\n",
        ]
    )


def summary(inspection: Inspection) -> str:
    """Returns the main figures in one line."""
    nodes = sum(entry.count for entry in inspection.operators)
    parts = [
        inspection.format,
        f"{nodes} operators",
        f"{quantity(inspection.weight_bytes)}B weights",
        f"{quantity(inspection.memory.arena)}B activations",
        f"{quantity(inspection.macs.total)} MACs",
    ]
    if inspection.islands:
        count = len(inspection.islands)
        parts.append(f"{count} float island{'' if count == 1 else 's'}")
    return "  ·  ".join(parts)


def quantity(number: float) -> str:
    """Formats a number with an SI prefix: "12.3 M"."""
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {prefix}"
    return f"{number:.0f} "


def _width(box: Box) -> float:
    return max(sum(map(_letter, box.title)), 6.3 * len(box.subtitle), 66.0) + 34.0


def _letter(letter: str) -> float:
    """Returns the approximate width of a letter in a title."""
    return 9.6 if letter.isupper() or letter == "_" else 7.9


def _text(words: str) -> str:
    """Escapes text for XML, and drops characters that XML cannot contain."""
    return escape("".join(letter for letter in words if letter.isprintable() or letter == "\n"))


def _key(boxes: Sequence[Box]) -> list[str]:
    """Returns the legend: the colours, and how often each occurs."""
    counted = Counter(box.precision for box in boxes if box.kind in {"node", "shore"})
    entries = [(COLOURS.get(precision, _OTHER), f"{precision} {count}") for precision, count in counted.most_common()]
    if stranded := sum(box.island is not None for box in boxes):
        entries.append((_ISLAND, f"in a float island {stranded}"))
    parts, x = [], _MARGIN
    for colour, words in entries:
        parts.append(f'<rect x="{x:.0f}" y="{_MARGIN + 38}" width="12" height="12" rx="3" fill="{colour}"/>')
        parts.append(f'<text class="key" x="{x + 18:.0f}" y="{_MARGIN + 48.5}">{_text(words)}</text>')
        x += 7.2 * len(words) + 42
    return parts


@dataclass(frozen=True)
class _Canvas:
    """The part of the picture below the heading."""

    content: Sequence[Box]
    lines: Sequence[Arrow]
    widths: Sequence[float]
    placed: Placed

    def islands(self) -> list[str]:
        """Returns the background of the operators of an island and of the arrows between them."""
        parts = []
        for arrow, path in zip(self.lines, self.placed.paths, strict=True):
            island = self.content[arrow.source].island
            if island is not None and island == self.content[arrow.target].island:
                parts.append(f'<path class="sea" stroke-width="26" d="{_curve(path)}"/>')
        for box, (x, y), width in zip(self.content, self.placed.centres, self.widths, strict=True):
            if box.island is not None:
                parts.append(
                    f'<rect class="land" x="{x - width / 2 - 10:.1f}" y="{y - _HEIGHT / 2 - 9:.1f}" '
                    f'width="{width + 20:.1f}" height="{_HEIGHT + 18:.0f}" rx="16"/>'
                )
        return parts

    def arrows(self) -> list[str]:
        """Returns the arrows."""
        return [
            f'<path class="arrow" data-from="{arrow.source}" data-to="{arrow.target}" marker-end="url(#tip)" '
            f'd="{_curve(path)}"><title>{_text(arrow.details)}</title></path>'
            for arrow, path in zip(self.lines, self.placed.paths, strict=True)
        ]

    def boxes(self) -> list[str]:
        """Returns the boxes with their text."""
        return [self._box(index, box) for index, box in enumerate(self.content)]

    def _box(self, index: int, box: Box) -> str:
        (x, y), width = self.placed.centres[index], self.widths[index]
        left, top = x - width / 2, y - _HEIGHT / 2
        radius = _HEIGHT / 2 if box.kind in {"input", "output"} else 8
        colour = COLOURS.get(box.precision, _OTHER)
        bar = f'<rect x="{left:.1f}" y="{top:.1f}" width="6" height="{_HEIGHT:.0f}" rx="3" fill="{colour}"/>'
        border = f' style="stroke:{_ISLAND};stroke-width:2"' if box.island is not None else ""
        title_y = y - 3 if box.subtitle else y + 5
        return (
            f'<g class="box {box.kind}" data-id="{index}"><title>{_text(chr(10).join(box.details))}</title>'
            f'<rect class="card" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{_HEIGHT:.0f}" '
            f'rx="{radius:.0f}"{border}/>'
            + (bar if box.kind in {"node", "shore"} else "")
            + f'<text class="name" x="{x:.1f}" y="{title_y:.1f}">{_text(box.title)}</text>'
            f'<text class="shape" x="{x:.1f}" y="{y + 13:.1f}">{_text(box.subtitle)}</text></g>'
        )


def _curve(path: Sequence[Point]) -> str:
    """Returns a smooth path: S-curves between layers, straight lines with round corners between columns."""
    parts = [f"M{path[0][0]:.1f} {path[0][1]:.1f}"]
    for index, (start, end) in enumerate(pairwise(path)):
        (x, y), (to_x, to_y) = start, end
        if not _aligned(start, end):
            middle = (y + to_y) / 2
            parts.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
        elif index + 2 < len(path) and _aligned(end, path[index + 2]):
            before, after = _toward(end, start), _toward(end, path[index + 2])
            parts.append(f"L{before[0]:.1f} {before[1]:.1f}Q{to_x:.1f} {to_y:.1f} {after[0]:.1f} {after[1]:.1f}")
        else:
            parts.append(f"L{to_x:.1f} {to_y:.1f}")
    return "".join(parts)


def _aligned(start: Point, end: Point) -> bool:
    return abs(start[0] - end[0]) < 0.5 or abs(start[1] - end[1]) < 0.5


def _toward(corner: Point, other: Point) -> Point:
    """Returns the point a short way from a corner."""
    across, down = other[0] - corner[0], other[1] - corner[1]
    length = max((across**2 + down**2) ** 0.5, 1e-6)
    share = min(_CORNER, length / 2) / length
    return corner[0] + across * share, corner[1] + down * share
