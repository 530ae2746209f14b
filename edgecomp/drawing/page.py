"""The picture in an HTML page with panning, zooming and search."""

from __future__ import annotations

import importlib.resources
from html import escape

from edgecomp.drawing.picture import picture
from edgecomp.inspection import Inspection


def page(inspection: Inspection, title: str) -> str:
    """Returns a page that needs no other file and no network."""
    template = importlib.resources.files("edgecomp.drawing").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("{{title}}", escape(title)).replace("{{picture}}", picture(inspection, title))
