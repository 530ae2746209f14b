"""Measurements of a device, stored beside the artifacts: one JSON document per device and run, with a schema version.

    {"schema": 1, "edgecomp": VERSION, "started": TIME, "device": {...}, "target": NAME | null,
     "artifacts": [{"file", "format", "precision", "sha256", "result": {...} | null, "error": {...} | null}]}

"result" is the output of `device_scripts/bench.py`; `started` is the PC's time, because a board's clock may be wrong.
"""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgecomp.devices.device import Device
from edgecomp.errors import EdgecompError, OutputError, SourceError
from edgecomp.target import TargetProfile

SCHEMA = 1
FOLDER = "measurements"


@dataclass(frozen=True)
class ArtifactResult:
    """The measurement of one artifact.

    Attributes:
        file: Its file name.
        format: The converter's name.
        precision: The precision that it was compressed to; None if unknown.
        sha256: The hash of the file.
        result: The output of bench.py; None if it could not be measured.
        error: Why not, in the form of `EdgecompError.as_dict`.
    """

    file: str
    format: str
    precision: str | None
    sha256: str
    result: Mapping[str, Any] | None = None
    error: Mapping[str, str] | None = None

    @property
    def left_out(self) -> bool:
        """Whether the device has no runtime for it, which does not count as a failure."""
        return self.error is not None and self.error["error"] == "MissingToolchainError"


@dataclass(frozen=True)
class DeviceResult:
    """The measurements of one device.

    Attributes:
        device: The device.
        facts: The facts that its agent reported.
        artifacts: In the order of the manifest.
        error: Why artifacts are missing, if some are.
        started: Start time by this machine's clock, ISO 8601.
        sent: Bytes that were sent.
        target: The name of the target profile that was used.
    """

    device: Device
    facts: Mapping[str, Any] = field(default_factory=dict)
    artifacts: tuple[ArtifactResult, ...] = ()
    error: EdgecompError | None = None
    started: str = ""
    sent: int = 0
    target: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the JSON document."""
        return {
            "schema": SCHEMA,
            "edgecomp": version("edgecomp"),
            "started": self.started,
            "device": {"name": self.device.name, "url": self.device.url, **self.facts},
            "target": self.target,
            "artifacts": [vars(artifact) for artifact in self.artifacts],
            "error": None if self.error is None else self.error.as_dict(),
            "sent_bytes": self.sent,
        }


#: uname's machine -> the architecture in target profiles.
_ARCHITECTURES = {
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv8l": "armv7",
    "armv7l": "armv7",
    "x86_64": "x86_64",
    "AMD64": "x86_64",
}


def made_on(result: Mapping[str, Any], profile: TargetProfile) -> bool:
    """Tells whether a measured machine can be a target, by its architecture and, if both are known, its cores.

    Args:
        result: The output of bench.py.
        profile: The target.
    """
    machine, cores = result["machine"], {cluster.core for cluster in profile.cpu.clusters}
    if _ARCHITECTURES.get(machine["machine"]) != profile.cpu.architecture:
        return False
    model = machine["cpu"]["model"]
    return not cores or model is None or not model.startswith("Cortex-") or bool(cores & set(model.split(" + ")))


def now() -> str:
    """Returns the time in UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def store(folder: Path, result: DeviceResult) -> Path:
    """Writes a document beside the artifacts, completely or not at all, and never overwrites one.

    Raises:
        OutputError: The folder cannot be written.
    """
    place = folder / FOLDER
    text = json.dumps(result.as_dict(), indent=2, allow_nan=False) + "\n"
    stem = f"{result.device.name}-{result.started.translate(str.maketrans('', '', ':-'))}"
    try:
        place.mkdir(exist_ok=True)
        partial = place / f".{stem}.partial"
        partial.write_text(text, encoding="utf-8")
        for count in itertools.count(1):
            path = place / (stem + (f"-{count}" if count > 1 else "") + ".json")
            try:
                path.hardlink_to(partial)  # fails if the file exists, where a rename would overwrite it
            except FileExistsError:
                continue
            partial.unlink()
            return path
    except OSError as error:
        actual = error.strerror or str(error)
    raise OutputError(
        str(place), expected="a place to write to", actual=actual, cure="free some space, or give another place with -o"
    )


def read(path: Path) -> dict[str, Any]:
    """Reads a document.

    Raises:
        SourceError: It is missing, truncated, of another kind, or from a newer edgecomp.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] > SCHEMA:
            raise ValueError(f"schema {document['schema']}")
        for entry in document["artifacts"]:
            if not isinstance(entry["file"], str) or not isinstance(entry["result"], dict | None):
                raise ValueError(f"an artifact {entry['file']!r}")
        document["device"]["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        words = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise SourceError(
            str(path),
            expected=f"a complete document that `edgecomp bench` wrote, schema {SCHEMA} or older",
            actual=str(words),
            cure="give a file of the folder `measurements`, or read it with the version of edgecomp that wrote it",
        ) from None
    return dict(document)
