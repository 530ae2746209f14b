"""Draws the graph of an artifact as one self-contained file: an SVG picture, or an HTML page around it.

scene.py    the content: boxes, words and arrows
layers.py   a layered layout
columns.py  folds a long layout into columns
picture.py  the SVG picture; page.py the HTML page around it
"""

from __future__ import annotations

from pathlib import Path

from edgecomp.drawing.page import page
from edgecomp.drawing.picture import picture
from edgecomp.errors import OutputError
from edgecomp.inspection import Inspection

__all__ = ["SUFFIXES", "check_target", "draw", "write"]

SUFFIXES = (".svg", ".html")


def check_target(target: Path) -> None:
    """Checks, before any work, that a drawing can be written to `target`.

    Raises:
        OutputError: The suffix is not that of a drawing.
    """
    if target.suffix not in SUFFIXES:
        raise OutputError(
            str(target),
            expected=f"a drawing with the suffix {' or '.join(SUFFIXES)}",
            actual=f"suffix {target.suffix!r}",
            cure="name it graph.svg or graph.html",
        )


def draw(inspection: Inspection, title: str, target: Path) -> None:
    """Writes a drawing, as SVG or HTML depending on the suffix.

    Args:
        inspection: The artifact's content.
        title: The heading.
        target: A `.svg` or `.html` file; an existing one is replaced.

    Raises:
        OutputError: The suffix is another, or the file cannot be written.
    """
    check_target(target)
    write(target, picture(inspection, title) if target.suffix == ".svg" else page(inspection, title))


def write(target: Path, content: str) -> None:
    """Writes a drawing's text.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        target.write_text(content, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            str(target), expected="a place to write to", actual=reason, cure="choose another place"
        ) from None
