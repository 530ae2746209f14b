"""Where `make test-bundle` puts npm packages, and bundles that were tampered with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NPM = Path(os.environ.get("EDGECOMP_NPM", HERE.parents[1] / ".venv" / ".npm"))

#: What somebody may do to a bundle, and what its loader says.
TAMPERING = {
    "another model": ("hash", "model.tflite"),
    "swapped labels": ("hash", "labels.txt"),
    "another manifest": ("signature", "trusted key"),
    "no signature": ("signature", "trusted key"),
    "a short signature": ("signature", "trusted key"),
    "a missing file": ("hash", "golden.json"),
}


def run(*command: Any) -> str:
    """What a program prints on stdout; it must end well."""
    environment = {**os.environ, "EDGECOMP_NPM": str(NPM)}
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}"
    return ended.stdout


def tampered(bundle: Path, assets: str, what: str, to: Path) -> Path:
    """A copy of a bundle to which that was done."""
    shutil.copytree(bundle, to)
    folder = to / assets
    manifest, signature = folder / "bundle.json", folder / "bundle.sig"
    if what == "another model":
        content = (folder / "model.tflite").read_bytes()
        (folder / "model.tflite").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif what == "swapped labels":
        lines = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
        (folder / "labels.txt").write_text("\n".join(reversed(lines)) + "\n", encoding="utf-8")
    elif what == "another manifest":
        manifest.write_bytes(manifest.read_bytes().replace(b'"release":3', b'"release":9'))
    elif what == "no signature":
        signature.unlink()
    elif what == "a short signature":
        signature.write_bytes(signature.read_bytes()[:-1])
    else:
        (folder / "golden.json").unlink()
    return to


def write_vectors(path: Path) -> Path:
    """The shared vectors as JSON."""
    from vectors import vectors

    path.write_text(json.dumps({"vectors": [vector.as_dict() for vector in vectors()]}))
    return path
