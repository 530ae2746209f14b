"""A result folder put into the template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from edgecomp.diagnosis.picture import picture
from edgecomp.diagnosis.report import Diagnosis
from edgecomp.errors import UnknownTargetError
from edgecomp.report import charts
from edgecomp.report.contents import CLASSES, FLIPS, RANGES, Contents, decibels, share
from edgecomp.target import load_target
from edgecomp.units import format_size


def page(folder: Path, diagnosis: Diagnosis | None = None) -> str:
    """A result folder as one HTML page.

    Args:
        folder: What `compress` or `convert` wrote.
        diagnosis: Of the same result, to show its layers; None for what the folder itself knows.

    Raises:
        SourceError: It is no result folder, or one of its files is missing, damaged or another.
    """
    contents = Contents(folder)
    matrix, (file, ranges) = contents.cells(), contents.ranges()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=True,  # names come from models and tasks, and may hold anything
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"decibels": decibels, "share": share, "size": format_size, "figure": _figure}
    environment.filters |= {"settings": _settings}
    pictures: dict[str, Markup] = {
        "matrix": charts.heat_map(contents.models, matrix),
        "sizes": charts.sizes(contents.artifacts),
        "operators": charts.operators(contents.artifacts),
        "latencies": charts.latencies(measured) if (measured := contents.latencies()) else Markup(),
        "ranges": charts.ranges(ranges[:RANGES]) if ranges else Markup(),
        "layers": Markup(picture(diagnosis)) if diagnosis is not None else Markup(),  # escapes what it draws
    }
    return environment.get_template("page.html.j2").render(
        contents=contents,
        manifest=contents.manifest,
        verification=contents.verification,
        matrix=matrix,
        metrics=list(contents.verification.get("metrics", {})),
        title=f"{contents.manifest['source']} for {_device(contents.manifest['target'])}",
        pictures=pictures,
        diagnosis=diagnosis,
        latencies=measured,
        ranges_of=file,
        ranges_left=max(len(ranges) - RANGES, 0),
        classes=contents.classes(),
        limits={"classes": CLASSES, "flips": FLIPS},
    )


def _device(target: str) -> str:
    """What a target is called; its name where the profile is not on this machine."""
    try:
        return load_target(target).title
    except UnknownTargetError:
        return target


def _figure(value: float) -> str:
    return f"{value:.4f}" if 1e-2 < abs(value) <= 1 or not value else f"{value:.4g}"


def _settings(settings: Mapping[str, Any]) -> str:
    """Settings as "name value, name value"."""
    return ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in settings.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_value(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in (None, "") else str(value)
