"""What tests of bundles have in common: programs from npm, bundles that were tampered with, and what Python says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from edgecomp import manifest
from edgecomp.artifact import load
from edgecomp.processing import Processing, Ranked

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


def browse(folder: Path, scratch: Path, query: str, *pictures: Path) -> Any:
    profile, screenshot = scratch / f"profile{len(list(scratch.iterdir()))}", scratch / "screenshot.png"
    profile.mkdir()
    return json.loads(run("node", HERE / "npm" / "browse.mjs", folder, profile, query, screenshot, *pictures))


def upright(path: Path) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(path))


def answer_of(result: Path, photo: Path, file: str = "model.tflite") -> list[Ranked]:
    """What Python makes of a photo with an artifact of a result."""
    processing = Processing.from_dict(manifest.read(result)["processing"], str(result))
    assert processing.preprocessing is not None
    (scores,) = load(result / file).predict(processing.preprocessing.apply(upright(photo))).values()
    return processing.answer(scores)
