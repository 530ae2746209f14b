"""Draws a diagnosis: the layers from input to output, their errors and their shares of the output error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from edgecomp.diagnosis.report import Diagnosis, LayerDiagnosis

_LEFT, _WIDTH, _HEIGHT, _GAP = 56, 1040, 170, 64
#: The top of the upper chart in decibels; higher values are drawn at its edge.
_HIGHEST = 60.0
_GOOD, _BAD, _LINE, _INK, _PALE = "#94a3b8", "#dc2626", "#2563eb", "#0f172a", "#e2e8f0"

_STYLE = """
body { margin: 24px auto; max-width: 1120px; background: #fbfcfe; color: #0f172a;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
h1 { font-size: 20px } h2 { font-size: 16px; margin-top: 28px }
svg { width: 100%; height: auto } table { border-collapse: collapse; font-size: 13px }
td, th { padding: 3px 10px; text-align: right; border-bottom: 1px solid #e2e8f0 }
td:first-child, th:first-child { text-align: left; overflow-wrap: anywhere }
.bad td { color: #b91c1c } li { margin: 4px 0 } .cure { color: #475569 }
"""


def page(diagnosis: Diagnosis) -> str:
    """Returns a self-contained HTML page."""
    title = escape(f"{diagnosis.source} for {diagnosis.target}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>{escape(diagnosis.verdict)}</p>{picture(diagnosis)}"
        f"{''.join(_reasons(diagnosis.harmful))}<h2>All layers, the worst first</h2>{''.join(_rows(diagnosis.layers))}"
    )


def picture(diagnosis: Diagnosis) -> str:
    """Returns the two charts as SVG: SQNR along the network, and below it the share of the output error."""
    layers = sorted(diagnosis.layers, key=lambda layer: layer.position)
    width, height = _LEFT + _WIDTH + 16, 2 * _HEIGHT + 2 * _GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" fill="{_INK}">{"".join(_exactness(layers))}{"".join(_shares(layers))}</svg>'
    )


def _place(index: int, count: int) -> float:
    return _LEFT + _WIDTH * (index + 0.5) / max(count, 1)


def _exactness(layers: Sequence[LayerDiagnosis]) -> Iterator[str]:
    """Draws a line for the SQNR with all layers rounded, and a dot for each layer rounded alone."""

    def height(decibels: float) -> float:
        return _GAP / 2 + _HEIGHT * (1 - min(max(decibels, 0.0), _HIGHEST) / _HIGHEST)

    yield f'<text x="{_LEFT}" y="16">SQNR of each layer: line with all layers rounded, dots with it alone</text>'
    for decibels in range(0, int(_HIGHEST) + 1, 20):
        yield _level(height(decibels), f"{decibels} dB")
    points = [(_place(index, len(layers)), layer) for index, layer in enumerate(layers)]
    path = " ".join(f"{x:.1f},{height(layer.sqnr):.1f}" for x, layer in points)
    yield f'<polyline points="{path}" fill="none" stroke="{_LINE}" stroke-width="1.6"/>'
    for x, layer in points:
        yield (
            f'<circle cx="{x:.1f}" cy="{height(layer.own_sqnr):.1f}" r="2.6" fill="{_colour(layer)}">'
            f"<title>{_tip(layer)}</title></circle>"
        )


def _shares(layers: Sequence[LayerDiagnosis]) -> Iterator[str]:
    top, bottom = _HEIGHT + _GAP * 1.25, 2 * _HEIGHT + _GAP * 1.25
    highest = max((layer.share for layer in layers), default=0.0) or 1.0
    yield f'<text x="{_LEFT}" y="{top - 14}">share of the error of the outputs, from the input to the output</text>'
    for part in (0.0, 0.5, 1.0):
        yield _level(bottom - part * _HEIGHT, f"{part * highest:.0%}")
    bar = min(18.0, max(1.0, _WIDTH / max(len(layers), 1) * 0.8))
    for index, layer in enumerate(layers):
        size = _HEIGHT * layer.share / highest
        yield (
            f'<rect x="{_place(index, len(layers)) - bar / 2:.1f}" y="{bottom - size:.1f}" width="{bar:.1f}" '
            f'height="{size:.1f}" fill="{_colour(layer)}"><title>{_tip(layer)}</title></rect>'
        )
    worst = sorted(range(len(layers)), key=lambda index: -layers[index].share)[:3]
    for rank, index in enumerate(sorted(worst)):
        x = _place(index, len(layers))
        anchor = "end" if x > _LEFT + _WIDTH * 0.6 else "start"
        name = escape(layers[index].name)
        yield f'<text x="{x:.1f}" y="{bottom + 16 + 14 * rank}" text-anchor="{anchor}">{name}</text>'


def _level(y: float, label: str) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_PALE}"/>'
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    )


def _colour(layer: LayerDiagnosis) -> str:
    return _BAD if layer.findings else _GOOD


def _tip(layer: LayerDiagnosis) -> str:
    words = "; ".join(finding.words for finding in layer.findings)
    numbers = f"{layer.share:.1%} of the error, own {layer.own_sqnr:.1f} dB, all {layer.sqnr:.1f} dB"
    return escape(f"{layer.op_type} {layer.name}: {numbers}{f'. {words}' if words else ''}")


def _reasons(layers: Sequence[LayerDiagnosis]) -> Iterator[str]:
    if layers:
        yield "<h2>What is wrong</h2><ul>"
    for layer in layers:
        yield f"<li><b>{escape(layer.name)}</b> ({escape(layer.op_type)}, {layer.share:.0%} of the error)<ul>"
        for finding in layer.findings:
            yield f'<li>{escape(finding.words)}<br><span class="cure">cure: {escape(finding.cure)}</span></li>'
        yield "</ul></li>"
    if layers:
        yield "</ul>"


def _rows(layers: Sequence[LayerDiagnosis]) -> Iterator[str]:
    headings = ("layer", "operator", "share", "outputs dB", "own dB", "all dB", "cosine", "range", "used")
    yield f"<table><tr>{''.join(f'<th>{heading}</th>' for heading in headings)}</tr>"
    for layer in layers:
        reach = "" if layer.range is None else f"{layer.range[0]:.4g} to {layer.range[1]:.4g}"
        cells = (
            escape(layer.name), escape(layer.op_type), f"{layer.share:.1%}", f"{layer.output_sqnr:.1f}",
            f"{layer.own_sqnr:.1f}", f"{layer.sqnr:.1f}", f"{layer.cosine:.5f}", reach, f"{layer.used:.0%}",
        )  # fmt: skip
        yield f"<tr{' class=bad' if layer.findings else ''}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</table>"
