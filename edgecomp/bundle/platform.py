"""The contract that a platform of bundles fulfils. A platform is one folder in `platforms/`, found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecomp.errors import InputError, correction

if TYPE_CHECKING:
    from edgecomp.bundle.contents import Contents


@dataclass(frozen=True)
class Platform:
    """How a bundle looks on one platform.

    Rules for `templates/`, whose files become the bundle's:

    1. A file that ends in `.j2` is rendered and loses that suffix; all others are copied.
    2. `_NAME_` and `_CLASS_` in a path stand for the bundle's name in snake case and in Pascal case.

    Attributes:
        title: What people call it.
        formats: Formats that it has a runtime for.
        assets: Where the files that the loader reads lie in the bundle; `_NAME_` as in rule 2.
        copies: Files that hold a model once more in the platform's own form, such as a C array; `_NAME_` as in rule 2.
        keywords: Words that cannot be the bundle's name in the platform's language.
        asset_limit: Bytes that one file may have at most, or None.
        shared: Folder of the bundle -> folder of `shared/` whose files are copied there as they are.
        words: More words for the templates. It gets the bundle's contents, and its folder with the assets in it.
        finish: Writes what is no template, from the same, before the files are hashed.
        archive: Suffix of an archive beside the bundle, and what writes it from the bundle's folder and name.
    """

    title: str
    formats: tuple[str, ...]
    assets: str
    copies: tuple[str, ...] = ()
    keywords: frozenset[str] = field(default_factory=frozenset)
    asset_limit: int | None = None
    shared: Mapping[str, str] = field(default_factory=dict)
    words: Callable[[Contents, Path], Mapping[str, Any]] | None = None
    finish: Callable[[Contents, Path], None] | None = None
    archive: tuple[str, Callable[[Path, str], bytes]] | None = None


def available_platforms() -> tuple[str, ...]:
    """The names of all platforms, as `--platform` takes them, sorted."""
    from edgecomp.bundle import platforms

    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(platforms.__path__)))


def load_platform(name: str) -> Platform:
    """Imports a platform by its name.

    Raises:
        InputError: There is none of that name.
    """
    if name not in available_platforms():
        raise InputError(
            f"--platform {name}",
            expected=f"one of {', '.join(available_platforms())}",
            actual="no platform of that name",
            cure=correction(name, available_platforms(), "choose one of them"),
        )
    platform = importlib.import_module(_module(name)).PLATFORM
    assert isinstance(platform, Platform), f"{_module(name)}.PLATFORM"
    return platform


def template_folder(name: str) -> Path:
    """Where a platform's templates lie."""
    return Path(str(importlib.import_module(_module(name)).__file__)).parent / "templates"


def shared_folder(name: str) -> Path:
    """Where code lies that several platforms have in common."""
    return Path(__file__).parent / "shared" / name


def _module(name: str) -> str:
    return f"edgecomp.bundle.platforms.{name.replace('-', '_')}"
