"""`manifest.json`: what a result folder holds and how it came to be. Schema-versioned, and free of dates and paths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgecomp.converter import FloatIsland
from edgecomp.errors import SourceError
from edgecomp.interface import TensorInterface
from edgecomp.verification import Verification

SCHEMA = 1
FILE = "manifest.json"

_PACKAGES = ("edgecomp", "ai-edge-litert", "mnn", "numpy", "onnx", "onnx-ir", "onnxruntime", "onnxscript", "torch")


@dataclass(frozen=True)
class ArtifactEntry:
    """One artifact in a result folder.

    Attributes:
        format: The converter's name.
        file: Its name in the folder.
        sha256: Of its bytes.
        size: In bytes.
        runtime: What it was verified in.
        inputs: How it stores its inputs.
        outputs: How it stores its outputs.
        islands: Nodes that it computes in float although the model is quantized.
    """

    format: str
    file: str
    sha256: str
    size: int
    runtime: str
    inputs: tuple[TensorInterface, ...]
    outputs: tuple[TensorInterface, ...]
    islands: tuple[FloatIsland, ...]


def build(
    *,
    source: str,
    target: str,
    precision: str,
    artifacts: tuple[ArtifactEntry, ...],
    verification: Verification,
    provenance: tuple[Any, ...],
    notes: tuple[str, ...],
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest as plain data."""
    matrix = asdict(verification)
    matrix["between"] = [
        {"artifacts": list(pair), "comparisons": [asdict(entry) for entry in entries]}
        for pair, entries in verification.between.items()
    ]
    return {
        "schema": SCHEMA,
        "source": source,
        "target": target,
        "precision": precision,
        "artifacts": [asdict(entry) for entry in artifacts],
        "verification": matrix,
        "provenance": [asdict(step) for step in provenance],
        "data": dict(data),
        "notes": list(notes),
        "versions": versions(),
    }


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest; the same one gives the same bytes."""
    (folder / FILE).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """Reads the manifest of a result folder.

    Raises:
        SourceError: There is none, it is damaged, or it is from a newer edgecomp.
    """
    path = folder / FILE
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["schema"] > SCHEMA:
            raise ValueError(f"schema {manifest['schema']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            str(folder),
            expected=f"a folder that `edgecomp compress` or `edgecomp convert` wrote, with a {FILE} of schema {SCHEMA} or older",
            actual=f"{type(error).__name__}: {error}",
            cure="give the folder that was named with -o",
        ) from None
    return dict(manifest)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """The packages that had a hand in the result."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
