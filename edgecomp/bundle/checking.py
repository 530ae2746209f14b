"""Checks that a bundle is unchanged and computes what was recorded: signature, all hashes, golden data."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecomp.arrays import Array
from edgecomp.artifact import load
from edgecomp.bundle import signing
from edgecomp.bundle.build import find_manifest
from edgecomp.bundle.contents import FILE, SCHEMA, SIGNATURE
from edgecomp.errors import SourceError
from edgecomp.manifest import sha256
from edgecomp.processing import Processing
from edgecomp.system.quiet import silenced


@dataclass(frozen=True)
class BundleCheck:
    """The result of a check.

    Attributes:
        name: The bundle's name.
        release: Its release.
        signature: "trusted", "wrong", "none", or "not checked" if no key was given.
        differences: Model -> largest difference from what was recorded, in units of the tolerance.
        violations: Broken promises, in words.
    """

    name: str
    release: int
    signature: str
    differences: Mapping[str, float]
    violations: tuple[str, ...]


def is_bundle(folder: Path) -> bool:
    """Tells whether a folder is a bundle rather than a result folder."""
    return not (folder / "manifest.json").exists() and any(folder.rglob(FILE))


def verify_bundle(folder: Path, key: Path | None = None) -> BundleCheck:
    """Checks a bundle as its loaders do, every file of its code, and every model on the golden data.

    Args:
        folder: A folder that `edgecomp bundle` wrote.
        key: The public key that must have signed it.

    Raises:
        SourceError: The folder is not a bundle, or its manifest is damaged.
        InputError: The key cannot be used.
    """
    document, signature, violations = check_files(folder, key)
    differences: dict[str, float] = {}
    # Files that differ from the manifest are not run: they could be anything.
    if not violations:
        differences = dict(_differences(document, find_manifest(folder).parent))
        far = (name for name, away in differences.items() if not away <= 1)
        violations += [f"{name} does not compute what was recorded" for name in far]
    return BundleCheck(document["name"], document["release"], signature, differences, tuple(violations))


def check_files(folder: Path, key: Path | None = None) -> tuple[dict[str, Any], str, list[str]]:
    """Checks a bundle's signature and all files, without running anything.

    Returns:
        Its manifest, the state of the signature (see `BundleCheck`), and broken promises, in words.

    Raises:
        SourceError: The folder is not a bundle, or its manifest is damaged.
        InputError: The key cannot be used.
    """
    manifest = find_manifest(folder)
    content = manifest.read_bytes()
    signature = _signature(manifest, content, key)
    document = parse_manifest(manifest, content)
    violations = {"wrong": [f"{FILE} was not signed by {key}"], "none": [f"there is no {SIGNATURE}"]}.get(signature, [])
    # `edgecomp update` only downloads the files that loaders read, without the app's code.
    code = document["code"] if any((folder / name).exists() for name in document["code"]) else {}
    wrong = [*_wrong(document["assets"], manifest.parent), *_wrong(code, folder)]
    return document, signature, violations + [f"{name} is not the file that the bundle was made with" for name in wrong]


def _signature(manifest: Path, content: bytes, key: Path | None) -> str:
    if key is None:
        return "not checked"
    public, file = signing.read_public(key), manifest.with_name(SIGNATURE)
    if not file.is_file():
        return "none"
    return "trusted" if signing.is_signed_by(public, file.read_bytes(), content) else "wrong"


def parse_manifest(path: Path, content: bytes) -> dict[str, Any]:
    """Parses the content of a `bundle.json`.

    Raises:
        SourceError: It is damaged, from a newer edgecomp, or names files outside of its bundle.
    """
    try:
        document: dict[str, Any] = json.loads(content)
        if document["schema"] > SCHEMA:
            raise ValueError(f"schema {document['schema']}")
        for name in (*document["assets"], *document["code"]):
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"a file {name!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            str(path),
            expected=f"what `edgecomp bundle` wrote: schema {SCHEMA} or older",
            actual=f"{type(error).__name__}: {error}",
            cure="make the bundle again with this version of edgecomp",
        ) from None
    return document


def _wrong(files: Mapping[str, Mapping[str, Any]], root: Path) -> Iterator[str]:
    for name, entry in files.items():
        if not (root / name).is_file() or sha256(root / name) != entry["sha256"]:
            yield name


def _differences(document: Mapping[str, Any], assets: Path) -> Iterator[tuple[str, float]]:
    golden = json.loads((assets / document["golden"]).read_bytes())
    processing = Processing.from_dict({**document["processing"], "labels": None}, str(assets / FILE))
    for model in document["models"]:
        with silenced():  # runtimes print a greeting when they are loaded
            results = load(assets / model["file"]).predict(golden_inputs(golden, processing, model["inputs"]))
        recorded = zip(model["outputs"], golden["models"][model["file"]]["outputs"], strict=True)
        yield model["file"], max(_difference(results[spec["name"]], expected) for spec, expected in recorded)


def golden_inputs(golden: Mapping[str, Any], processing: Processing, specs: list[dict[str, Any]]) -> dict[str, Array]:
    """Returns the inputs of a bundle's golden data.

    Args:
        golden: The content of `golden.json`.
        processing: Makes an input from its picture.
        specs: The model's inputs, in the form of `bundle.json`.

    Returns:
        Input name -> array, in the source's dtype and layout.
    """
    picture = golden["picture"]
    if picture is None:
        return {
            name: np.frombuffer(base64.b64decode(entry["data"]), entry["dtype"]).reshape(entry["shape"])
            for name, entry in golden["inputs"].items()
        }
    from PIL import Image

    assert processing.preprocessing is not None, "it made the golden picture"
    size = (picture["width"], picture["height"])
    pixels = Image.frombytes("RGB", size, base64.b64decode(picture["rgb"]))
    return {specs[0]["name"]: processing.preprocessing.apply(pixels)}


def _difference(found: Array, expected: Mapping[str, Any]) -> float:
    recorded = np.frombuffer(base64.b64decode(expected["values"]), "<i2") * expected["scale"]
    chosen = found.reshape(-1)[:: expected["stride"]]
    return float(np.abs(chosen - recorded).max(initial=0.0)) / float(expected["tolerance"])
