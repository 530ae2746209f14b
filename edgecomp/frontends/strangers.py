"""Model files that edgecomp does not read: how to recognize each kind, and how to get from it to one that it does."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from edgecomp.errors import SourceError

_SOURCES = "task.py, module:function, a .pt2 exported program, an .onnx, .keras or .h5 file or a SavedModel"
_ARTIFACT = "give the model that it was made from; edgecomp inspect and edgecomp.load read such files"
_TASK = "write a task.py with functions model() and example_inputs(), and give that"

#: Files that hold a pickle, and would run any code in it when they are read.
PICKLES = frozenset({".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".th", ".tar", ".joblib"})


class Stranger(NamedTuple):
    """What a file is, and what to do instead of giving it."""

    actual: str
    cure: str


_PADDLE = Stranger("a part of a Paddle model", "export it with paddle2onnx, and give the .onnx file")
_CORE_ML = Stranger("a Core ML model", "give the PyTorch, Keras or ONNX model that it was made from")
_ENGINE = Stranger("an engine that was compiled for one GPU", "give the .onnx file that it was built from")
_ARCHIVE = Stranger("an archive", "unpack it, and give the model in it")

_BY_SUFFIX: Mapping[str, Stranger] = {
    ".safetensors": Stranger(
        "weights without the network that they belong to",
        "write a task.py with a function model() that builds the network and loads them with "
        "safetensors.torch.load_model(module, path), and give task.py",
    ),
    ".tflite": Stranger("a TFLite artifact", _ARTIFACT),
    ".mnn": Stranger("an MNN artifact", _ARTIFACT),
    ".ort": Stranger("an artifact of ONNX Runtime", _ARTIFACT),
    ".pb": Stranger(
        "a graph of TensorFlow", "give the folder of a SavedModel, or make an .onnx file of a frozen graph with tf2onnx"
    ),
    ".json": Stranger(
        "a text in JSON, as TensorFlow.js keeps its models",
        "make a SavedModel of it with tensorflowjs_converter --output_format=keras_saved_model, and give its folder",
    ),
    ".gguf": Stranger("weights of llama.cpp", "give the PyTorch model that they were made from"),
    ".ipynb": Stranger("a notebook", _TASK),
    **dict.fromkeys((".pdmodel", ".pdiparams"), _PADDLE),
    **dict.fromkeys((".mlmodel", ".mlpackage", ".mlmodelc"), _CORE_ML),
    **dict.fromkeys((".engine", ".trt", ".plan"), _ENGINE),
    **dict.fromkeys((".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z"), _ARCHIVE),
}

#: What a folder holds -> what it is; the first that is there counts.
_BY_CONTENT: Mapping[str, Stranger] = {
    "manifest.json": Stranger("a folder that compress or convert wrote", _ARTIFACT),
    "model.onnx": Stranger("a folder", "give the model.onnx in it"),
    "config.json": Stranger(
        "a folder as Hugging Face's libraries write it",
        "write a task.py with a function model() that calls from_pretrained with the folder, and give task.py",
    ),
    "inference.pdmodel": _PADDLE,
    "inference.pdiparams": _PADDLE,
}

#: First bytes of what downloads leave in a model's place.
_BEGINNINGS: Mapping[bytes, Stranger] = {
    b"version https://git-lfs": Stranger(
        "a pointer of Git LFS in the model's place", "fetch the file with git lfs pull"
    ),
    b"<": Stranger("a web page, or other markup", "download the file itself again: its address gave a page"),
    b"PK\x03\x04": _ARCHIVE,
    b"\x1f\x8b": _ARCHIVE,
    b"\x89HDF": Stranger("an HDF5 file, as Keras writes it", "give it the suffix .h5"),
}


def refusal(path: Path) -> SourceError:
    """The error about a path that is no source by its name."""
    if not path.exists():
        stranger = Stranger("no such file", "check the path")
    elif path.is_dir():
        found = (stranger for name, stranger in _BY_CONTENT.items() if (path / name).exists())
        stranger = next(found, _BY_SUFFIX.get(path.suffix.lower(), Stranger("a folder", _TASK)))
    elif path.suffix.lower() in PICKLES:
        stranger = _pickle(path)
    else:
        other = Stranger(f"a file with the suffix {path.suffix!r}", _TASK)
        stranger = _BY_SUFFIX.get(path.suffix.lower(), other)
    return SourceError(str(path), expected=_SOURCES, actual=stranger.actual, cure=stranger.cure)


def recognized(path: Path) -> Stranger | None:
    """What a file is by its first bytes, when these are none of a model's."""
    with path.open("rb") as stream:
        head = stream.read(32).lstrip()
    return next((stranger for beginning, stranger in _BEGINNINGS.items() if head.startswith(beginning)), None)


def _pickle(path: Path) -> Stranger:
    content, model = "a pickle", "builds the module and loads the file with torch.load(path, weights_only=True)"
    if _is_torchscript(path):
        content, model = "a TorchScript program", "returns torch.jit.load(path)"
    return Stranger(
        f"a {path.suffix} file: {content}, which runs any code in it when it is read",
        f"write task.py with a function model() that {model}, and give task.py",
    )


def _is_torchscript(path: Path) -> bool:
    """Whether an archive holds the code of a TorchScript program; it is not run, nor is anything unpickled."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
