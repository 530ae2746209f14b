"""Renders the templates of a platform into the files of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np

from edgecomp.bundle.platform import shared_folder, template_folder

if TYPE_CHECKING:
    from edgecomp.bundle.contents import Contents


def render(contents: Contents, root: Path) -> None:
    """Writes every file of a platform's `templates/` into a bundle, by the rules of `Platform`.

    Args:
        contents: The templates' variable `contents`.
        root: The bundle.
    """
    folder = template_folder(contents.platform_name)
    environment, words = _environment(folder), _words(contents, root)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = path.relative_to(folder).as_posix()
        target = root / contents.name.in_path(place.removesuffix(".j2"))
        target.parent.mkdir(parents=True, exist_ok=True)
        if place.endswith(".j2"):
            target.write_text(environment.get_template(place).render(words), encoding="utf-8")
        else:
            target.write_bytes(path.read_bytes())


def copy_shared(contents: Contents, root: Path) -> None:
    """Copies the code that a platform shares with others."""
    for place, name in contents.platform.shared.items():
        for path in sorted(shared_folder(name).iterdir()):
            target = root / contents.name.in_path(place) / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())


def render_text(template: Path, **words: Any) -> str:
    """Renders one template with the given variables."""
    return _environment(template.parent).get_template(template.name).render(words)


def _environment(folder: Path) -> jinja2.Environment:
    # A missing variable is an error, not an empty place in code. Code is not HTML, so nothing is escaped.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters |= {"c_string": _c_string, "c_float": _c_float}
    return environment


def _c_string(text: str) -> str:
    """Returns a C string literal; other bytes than ASCII are octal, which, unlike hexadecimal, has a fixed length."""
    escaped = (chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in text.encode())
    return '"' + "".join(escaped) + '"'


def _c_float(value: float) -> str:
    """Returns a C literal of a number rounded to float32, for which nine digits are enough."""
    digits = format(float(np.float32(value)), ".9g")
    return f"{digits}f" if {".", "e"} & set(digits) else f"{digits}.0f"


def _words(contents: Contents, root: Path) -> dict[str, Any]:
    more = contents.platform.words(contents, root) if contents.platform.words else {}
    return {"contents": contents, "name": contents.name, "processing": contents.processing, **more}
