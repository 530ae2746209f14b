"""What is no source is recognized for what it is, and the way from it is told."""

import zipfile
from pathlib import Path

import pytest
import torch

from edgecomp.errors import SourceError
from edgecomp.frontends import load_source


def refused(path: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        load_source(path)
    assert caught.value.subject == str(path)
    return caught.value


@pytest.mark.parametrize(
    ("name", "actual", "cure"),
    [
        ("model.safetensors", "weights without the network", "safetensors.torch.load_model"),
        ("model.tflite", "a TFLite artifact", "edgecomp inspect"),
        ("model.mnn", "an MNN artifact", "edgecomp inspect"),
        ("frozen.pb", "a graph of TensorFlow", "tf2onnx"),
        ("model.json", "TensorFlow.js", "tensorflowjs_converter"),
        ("inference.pdmodel", "Paddle", "paddle2onnx"),
        ("model.mlmodel", "Core ML", "that it was made from"),
        ("model.engine", "one GPU", "the .onnx file"),
        ("model.zip", "an archive", "unpack it"),
        ("train.ipynb", "a notebook", "task.py"),
        ("model.xyz", "the suffix '.xyz'", "task.py"),
    ],
)
def test_a_file_is_known_by_its_suffix(tmp_path: Path, name: str, actual: str, cure: str) -> None:
    assert refused(tmp_path / name).actual == "no such file"
    (tmp_path / name).touch()
    error = refused(tmp_path / name)
    assert actual in error.actual
    assert cure in error.cure


@pytest.mark.parametrize(
    ("content", "actual", "cure"),
    [
        ("manifest.json", "compress or convert wrote", "that it was made from"),
        ("model.onnx", "a folder", "model.onnx in it"),
        ("config.json", "Hugging Face", "from_pretrained"),
        ("inference.pdiparams", "Paddle", "paddle2onnx"),
        ("notes.txt", "a folder", "task.py"),
    ],
)
def test_a_folder_is_known_by_what_it_holds(tmp_path: Path, content: str, actual: str, cure: str) -> None:
    (tmp_path / content).touch()
    error = refused(tmp_path)
    assert actual in error.actual
    assert cure in error.cure


@pytest.mark.parametrize(
    ("beginning", "actual", "cure"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>Not found</html>", "a web page", "its address gave a page"),
        (b"PK\x03\x04 and so on", "an archive", "unpack it"),
        (b"\x89HDF\r\n\x1a\n", "Keras", ".h5"),
    ],
)
def test_what_a_download_left_in_a_models_place(tmp_path: Path, beginning: bytes, actual: str, cure: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(beginning)
    error = refused(path)
    assert actual in error.actual
    assert cure in error.cure


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_torchscript_program_is_told_from_a_pickle_without_reading_either(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "program.pt")
    error = refused(tmp_path / "program.pt")
    assert "TorchScript" in error.actual
    assert "torch.jit.load" in error.cure
    torch.save({}, tmp_path / "weights.pt")
    assert "weights_only=True" in refused(tmp_path / "weights.pt").cure
    with zipfile.ZipFile(tmp_path / "broken.pt", "w") as archive:
        archive.writestr("data", "x" * 1000)
    (tmp_path / "broken.pt").write_bytes((tmp_path / "broken.pt").read_bytes().replace(b"PK\x01\x02", b"PK\x00\x00"))
    assert "a pickle" in refused(tmp_path / "broken.pt").actual
