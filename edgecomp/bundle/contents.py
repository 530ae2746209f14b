"""What a bundle holds, whatever the platform: models in order of preference, processing, labels, and `bundle.json`."""

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
        file: Its name.
        runtime: What it was verified in.
        inputs: As it stores them.
        outputs: As it stores them.
    """

    format: str
    file: str
    runtime: str
    inputs: tuple[TensorInterface, ...]
    outputs: tuple[TensorInterface, ...]


@dataclass(frozen=True)
class Contents:
    """What a bundle is made of.

    Attributes:
        folder: The result folder that it comes from.
        manifest: That folder's manifest.
        name: The bundle's name.
        platform_name: What it is for, as `--platform` takes it.
        platform: The same as an object.
        models: The preferred one first.
        processing: The steps around the model.
        release: Counts up; a loader refuses one that is lower than what it has seen.
        trusted: The public key that the code trusts, 32 bytes in base64, or "".
        profile: The device that it was compressed for; None when it was a profile of the user's own.
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
        """Where the loader's files lie in the bundle, "" for its top."""
        return self.name.in_path(self.platform.assets)

    @property
    def labels_file(self) -> str | None:
        """The name of the file with the labels, one per line."""
        return LABELS if self.processing.labels else None

    def package(self, form: str, otherwise: str) -> str:
        """The package of a format's runtime, with the version that the target's profile names or `otherwise`."""
        runtime = self.profile.runtimes.get(form) if self.profile else None
        name, _, version = otherwise.rpartition(":")
        return f"{name}:{runtime.version if runtime and runtime.version else version}"


def choose_models(
    manifest: Mapping[str, Any], platform: Platform, wanted: tuple[str, ...] | None, folder: Path
) -> tuple[Model, ...]:
    """The artifacts that go into a bundle, in the order that the target's profile prefers.

    Raises:
        InputError: None of them runs on the platform, or a wanted one is missing.
        SourceError: One is larger than the platform takes.
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
    """The profile that a result was made for, if it is one of those that come with edgecomp."""
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
    """`bundle.json` as plain data, after every other file of the bundle was written.

    Args:
        contents: What it is made of.
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
    """The bytes that are written and signed: the same for the same content."""
    return (json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()
