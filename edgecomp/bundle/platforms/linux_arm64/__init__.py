"""64-bit Arm Linux: the models with the script that runs, checks and measures them on the board, as a tarball."""

from __future__ import annotations

import gzip
import io
import tarfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecomp.bundle.platform import Platform

if TYPE_CHECKING:
    from edgecomp.bundle.contents import Contents


def _finish(contents: Contents, root: Path) -> None:
    """Writes the board's script, and the golden data that it reads, as stored by the artifacts."""
    (root / "bench.py").write_bytes(resources.files("edgecomp.device_scripts").joinpath("bench.py").read_bytes())
    wanted = tuple(f"{model.file}/" for model in contents.models)
    with np.load(contents.folder / "golden.npz", allow_pickle=False) as golden:
        arrays = {name: array for name, array in golden.items() if name.startswith(wanted)}
    np.savez_compressed(root / "golden.npz", **arrays)


def _tarball(root: Path, name: str) -> bytes:
    """Returns the folder as `.tar.gz`, without dates and owners: the same bundle has the same bytes."""
    made = io.BytesIO()
    with gzip.GzipFile(fileobj=made, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            content = path.read_bytes()
            member = tarfile.TarInfo(f"{name}/{path.relative_to(root).as_posix()}")
            member.size, member.mode = len(content), 0o755 if path.suffix == ".sh" else 0o644
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


PLATFORM = Platform(
    title="64-bit Arm Linux",
    formats=("tflite", "onnxruntime", "ort", "mnn"),
    assets="",
    finish=_finish,
    archive=(".tar.gz", _tarball),
)
