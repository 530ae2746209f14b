"""Android: a Gradle library module in Kotlin, and an `.aar` with its assets and rules only."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgecomp.bundle.platform import Platform
from edgecomp.bundle.words import JAVA_AND_KOTLIN

if TYPE_CHECKING:
    from pathlib import Path

    from edgecomp.bundle.contents import Contents

#: The packages of the runtimes, with the versions that this code was written for, if the profile names no other.
DEPENDENCIES = {
    "tflite": "com.google.ai.edge.litert:litert:2.1.5",
    "onnxruntime": "com.microsoft.onnxruntime:onnxruntime-android:1.24.3",
}


_EMPTY_JAR = b"PK\x05\x06" + bytes(18)


def _words(contents: Contents, root: Path) -> Mapping[str, Any]:
    formats = [model.format for model in contents.models]
    return {
        "dependencies": {
            form: contents.package(form, package) for form, package in DEPENDENCIES.items() if form in formats
        },
        "mnn": "mnn" in formats,
    }


def _finish(contents: Contents, root: Path) -> None:
    """Removes the code for MNN's classes if there is no model for them."""
    if "mnn" not in (model.format for model in contents.models):
        shutil.rmtree(root / "src" / "mnn")


def _aar(root: Path, name: str) -> bytes:
    """Returns the assets as an Android archive, for builds that take binaries; the code is in the module.

    Files are stored without compression and without dates, so that the same bundle has the same bytes.
    """
    main = root / "src" / "main"
    members = {
        "AndroidManifest.xml": (main / "AndroidManifest.xml").read_bytes(),
        "R.txt": b"",
        "classes.jar": _EMPTY_JAR,
        "proguard.txt": (root / "consumer-rules.pro").read_bytes(),
    }
    assets = sorted(path for path in (main / "assets").rglob("*") if path.is_file())
    members |= {path.relative_to(main).as_posix(): path.read_bytes() for path in assets}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for place, content in members.items():
            archive.writestr(zipfile.ZipInfo(place), content)
    return made.getvalue()


PLATFORM = Platform(
    title="Android",
    formats=("tflite", "onnxruntime", "ort", "mnn"),
    assets="src/main/assets/edgecomp/_NAME_",
    keywords=JAVA_AND_KOTLIN,
    asset_limit=1 << 30,  # assets are mapped with 32-bit offsets into an APK of at most 2 GiB
    words=_words,
    finish=_finish,
    archive=(".aar", _aar),
)
