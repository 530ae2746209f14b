"""The content of a bundle on any platform: models in order of preference, processing, labels, and `bundle.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecomp.bundle.names import Name
from edgecomp.bundle.platform import Platform
from edgecomp.errors import InputError, SourceError
from edgecomp.interface import TensorInterface
from edgecomp.manifest import sha256
from edgecomp.processing import Processing
from edgecomp.target import TargetProfile, load_target

SCHEMA = 1
FILE = "bundle.json"
SIGNATURE = "bundle.sig"
LABELS = "labels.txt"
GOLDEN = "golden.json"


@dataclass(frozen=True)
class Model:
    """One artifact in a bundle.

    Attributes:
        format: "tflite", "onnxruntime", ...
        file: Its file name.
        runtime: The runtime that it was verified in.
        inputs: As stored in the file.
        outputs: As stored in the file.
    """

    format: str
    file: str
    runtime: str
    inputs: tuple[TensorInterface, ...]
    outputs: tuple[TensorInterface, ...]


@dataclass(frozen=True)
class Contents:
    """Everything that a bundle is built from.

    Attributes:
        folder: The result folder that it comes from.
        manifest: That folder's manifest.
        name: The bundle's name.
        platform_name: The platform's name, as `--platform` takes it.
        platform: The platform.
        models: The preferred one first.
        processing: The steps around the model.
        release: Counts up; a loader refuses a release lower than one that it has seen.
        trusted: The public key that the code trusts, 32 bytes in base64, or "".
        profile: The device that it was compressed for; None for a profile of the user's own.
    """

    folder: Path
    manifest: Mapping[str, Any]
    name: Name
    platform_name: str
    platform: Platform
    models: tuple[Model, ...]
    processing: Processing
    release: int
    trusted: str
    profile: TargetProfile | None

    @property
    def assets(self) -> str:
        """The folder of the loader's files in the bundle, "" for its top."""
        return self.name.in_path(self.platform.assets)

    @property
    def labels_file(self) -> str | None:
        """The name of the file with the labels, one per line."""
        return LABELS if self.processing.labels else None

    def package(self, form: str, otherwise: str) -> str:
        """Returns the package of a format's runtime, in the version of the target's profile or that of `otherwise`."""
        runtime = self.profile.runtimes.get(form) if self.profile else None
        name, _, version = otherwise.rpartition(":")
        return f"{name}:{runtime.version if runtime and runtime.version else version}"


def choose_models(
    manifest: Mapping[str, Any], platform: Platform, wanted: tuple[str, ...] | None, folder: Path
) -> tuple[Model, ...]:
    """Selects the artifacts for a bundle, in the order that the target's profile prefers.

    Raises:
        InputError: None of them runs on the platform, or a wanted one is missing.
        SourceError: One is larger than the platform allows.
    """
    profile = profile_of(manifest)
    there = {entry["format"]: entry for entry in manifest["artifacts"]}
    order = [name for name in (profile.defaults.formats if profile else ()) if name in there]
    order += [name for name in there if name not in order]
    chosen = [name for name in wanted or order if name in there and name in platform.formats]
    if not chosen or (wanted and len(chosen) < len(wanted)):
        raise InputError(
            f"{folder}: formats {', '.join(wanted or there)}",
            expected=f"artifacts that run on {platform.title}: {', '.join(platform.formats)}",
            actual=f"the folder has {', '.join(there)}",
            cure=f"run compress with --formats {platform.formats[0]}, or name others with --formats",
        )
    for name in chosen:
        _check_size(folder / there[name]["file"], platform)
    return tuple(_model(there[name]) for name in chosen)


def profile_of(manifest: Mapping[str, Any]) -> TargetProfile | None:
    """Returns the profile that a result was made for, if it comes with edgecomp."""
    try:
        return load_target(str(manifest["target"]))
    except InputError:
        return None


def _check_size(path: Path, platform: Platform) -> None:
    size = path.stat().st_size
    if platform.asset_limit is not None and size > platform.asset_limit:
        raise SourceError(
            str(path),
            expected=f"at most {platform.asset_limit} bytes, which is what {platform.title} takes in one file",
            actual=f"{size} bytes",
            cure="compress it further, or leave it out of the bundle and let the app download it",
        )


def _model(entry: Mapping[str, Any]) -> Model:
    inputs, outputs = (tuple(map(TensorInterface.from_json, entry[part])) for part in ("inputs", "outputs"))
    return Model(entry["format"], entry["file"], entry["runtime"], inputs, outputs)


def describe(contents: Contents, root: Path) -> dict[str, Any]:
    """Returns `bundle.json` as plain data, after all other files of the bundle were written.

    Args:
        contents: Everything that the bundle is built from.
        root: The bundle.
    """
    assets = root / contents.assets
    files = sorted(path for path in root.rglob("*") if path.is_file())
    loaded = [path for path in files if path.parent == assets and path.name in _loaded(contents)]
    return {
        "schema": SCHEMA,
        "name": contents.name.snake,
        "platform": contents.platform_name,
        "release": contents.release,
        "source": contents.manifest["source"],
        "target": contents.manifest["target"],
        "precision": contents.manifest["precision"],
        "edgecomp": contents.manifest["versions"].get("edgecomp", ""),
        "models": [asdict(model) for model in contents.models],
        "processing": {**contents.processing.as_dict(), "labels": contents.labels_file},
        "golden": GOLDEN,
        "assets": _hashes(loaded, assets),
        "code": _hashes((path for path in files if path not in loaded), root),
    }


def _loaded(contents: Contents) -> set[str]:
    return {GOLDEN, LABELS, *(model.file for model in contents.models)}


def _hashes(paths: Iterable[Path], root: Path) -> dict[str, dict[str, Any]]:
    return {path.relative_to(root).as_posix(): {"sha256": sha256(path), "size": path.stat().st_size} for path in paths}


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """Returns the bytes that are written and signed; the same content always gives the same bytes."""
    return (json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()
