"""`manifest.json`: what a result folder holds and how it came to be. Schema-versioned, and free of dates and paths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgecomp.converter import Conversion, load_converter
from edgecomp.errors import SourceError
from edgecomp.model import Step
from edgecomp.precision import Precision
from edgecomp.processing import Processing
from edgecomp.verification.answers import ClassReport
from edgecomp.verification.result import Verification

SCHEMA = 1
FILE = "manifest.json"

_PACKAGES = ("edgecomp", "ai-edge-litert", "mnn", "numpy", "onnx", "onnx-ir", "onnxruntime", "onnxscript", "torch")


def build(
    *,
    source: str,
    target: str,
    precision: Precision,
    conversions: Mapping[str, Conversion],
    verification: Verification,
    provenance: Sequence[Step],
    notes: Sequence[str],
    data: Mapping[str, Any],
    processing: Processing,
) -> dict[str, Any]:
    """The manifest as plain data.

    Args:
        source: Short name of the source.
        target: Name of the target profile.
        precision: What the model was compressed to.
        conversions: Format -> what its converter wrote.
        verification: The verification of these artifacts.
        provenance: Every step.
        notes: Choices that were made for the user, as whole sentences.
        data: What was drawn from calibration and evaluation data.
        processing: The steps before and after the model.
    """
    return {
        "schema": SCHEMA,
        "source": source,
        "target": target,
        "precision": precision,
        "artifacts": [_artifact(name, precision, conversion, verification) for name, conversion in conversions.items()],
        "verification": {
            "samples": verification.samples,
            "metrics": dict(verification.metrics),
            "tolerance": asdict(verification.tolerance),
            "verdicts": [asdict(verdict) for verdict in verification.verdicts],
            "sizes": [asdict(entry) for entry in verification.sizes],
            "between": [
                {"artifacts": list(pair), "comparisons": [asdict(entry) for entry in entries]}
                for pair, entries in verification.between.items()
            ],
            "churn": [{"between": list(pair), **asdict(churn)} for pair, churn in verification.churn.items()],
            "classes": classes(verification.classes, {"processing": processing.as_dict()}),
        },
        "provenance": [asdict(step) for step in provenance],
        "data": dict(data),
        "processing": processing.as_dict(),
        "notes": list(notes),
        "versions": versions(),
    }


def classes(reports: Sequence[ClassReport], manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How well models do on classes, as a manifest has it: with their names, if it knows them."""
    names = dict(enumerate(manifest["processing"]["labels"] or ()))
    return [
        {
            "class": each.number,
            "name": names.get(each.number),
            "support": each.support,
            "scores": asdict(each)["scores"],
        }
        for each in reports
    ]


def _artifact(name: str, precision: Precision, conversion: Conversion, verification: Verification) -> dict[str, Any]:
    """An artifact: its file with hash and size, what it was verified in, how it stores its inputs and outputs, whether
    its runtime executes in the precision or only stores it, and the nodes that it computes in float although the model
    is quantized.
    """
    path, converter = conversion.path, load_converter(name)
    return {
        "format": name,
        "file": path.name,
        "sha256": sha256(path),
        "size": path.stat().st_size,
        "runtime": converter.runtime,
        **asdict(verification.interfaces[path.name]),
        "precision": precision,
        **asdict(converter.precisions[precision]),
        "islands": [asdict(island) for island in conversion.islands],
    }


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest; the same one gives the same bytes."""
    text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """Reads the manifest of a result folder, and makes sure that it names artifacts of that folder.

    Raises:
        SourceError: There is none, it is damaged, it is from a newer edgecomp, or it points outside its folder.
    """
    try:
        manifest = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if manifest["schema"] > SCHEMA:
            raise ValueError(f"schema {manifest['schema']}")
        for entry in manifest["artifacts"]:
            if Path(entry["file"]).name != entry["file"] or not isinstance(entry["sha256"], str):
                raise ValueError(f"an artifact {entry['file']!r}")
    except OSError as error:
        problem = "a file, and no folder" if folder.is_file() else error.strerror or str(error)
    except (ValueError, KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
    else:
        return dict(manifest)
    raise SourceError(
        str(folder if folder.is_file() else folder / FILE),
        expected=f"what `edgecomp compress` wrote: schema {SCHEMA} or older, with artifacts in the same folder",
        actual=problem,
        cure="give the folder that was named with -o",
    )


def artifact_path(folder: Path, entry: Mapping[str, Any]) -> Path:
    """Where an artifact of a manifest lies.

    Raises:
        SourceError: It is not there.
    """
    path: Path = folder / entry["file"]
    if path.is_file():
        return path
    raise SourceError(
        str(path),
        expected="an artifact that the manifest names",
        actual="no such file",
        cure="copy the whole folder, or run compress again",
    )


def verified_path(folder: Path, entry: Mapping[str, Any]) -> Path:
    """Where an artifact of a manifest lies, byte for byte the one that was verified.

    Raises:
        SourceError: It is not there, or another.
    """
    path = artifact_path(folder, entry)
    digest = sha256(path)
    if digest == entry["sha256"]:
        return path
    raise SourceError(
        str(path),
        expected=f"the artifact that was verified, SHA-256 {entry['sha256'][:12]}...",
        actual=f"SHA-256 {digest[:12]}...",
        cure="copy the whole folder again, or run compress again",
    )


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
