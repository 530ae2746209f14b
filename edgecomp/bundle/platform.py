"""The contract of a platform for bundles. A platform is one folder in `platforms/`, found by its name."""

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
    """The form of a bundle on one platform.

    Rules for `templates/`, whose files become those of the bundle:

    1. A file that ends in `.j2` is rendered and loses that suffix; all others are copied.
    2. `_NAME_` and `_CLASS_` in a path stand for the bundle's name in snake case and in Pascal case.

    Attributes:
        title: Its name for people.
        formats: Formats that it has a runtime for.
        assets: The folder of the files that the loader reads; `_NAME_` as in rule 2.
        copies: Files with another copy of a model in the platform's own form, such as a C array; `_NAME_` as in rule 2.
        keywords: Words of the platform's language that cannot be the bundle's name.
        asset_limit: The largest size of one file in bytes, or None.
        shared: Folder of the bundle -> folder of `shared/` whose files are copied there unchanged.
        words: Returns more variables for the templates, given the bundle's contents, and its folder with the assets.
        finish: Writes files that are not templates, given the same, before the files are hashed.
        archive: Suffix of an archive beside the bundle, and the function that makes it from the bundle's folder and
            name.
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
    """Returns the names of all platforms, as `--platform` takes them, sorted."""
    from edgecomp.bundle import platforms

    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(platforms.__path__)))


def load_platform(name: str) -> Platform:
    """Imports a platform by its name.

    Raises:
        InputError: There is no platform of that name.
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
    """Returns the folder of a platform's templates."""
    return Path(str(importlib.import_module(_module(name)).__file__)).parent / "templates"


def shared_folder(name: str) -> Path:
    """Returns the folder of code that several platforms share."""
    return Path(__file__).parent / "shared" / name


def _module(name: str) -> str:
    return f"edgecomp.bundle.platforms.{name.replace('-', '_')}"
