"""Keras models as a source, judged by TensorFlow itself. All but the last need the extra `tensorflow`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgecomp.artifact import load
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import MissingToolchainError, SourceError
from edgecomp.frontends import load_source
from edgecomp.graph.modules import module_of
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel

NETS = ("mobilenet", "recurrent", "sentences", "film")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("keras")
    script = Path(__file__).with_name("make_keras.py")
    subprocess.run([sys.executable, str(script), str(made)], check=True, capture_output=True)
    return made


@pytest.mark.keras
@pytest.mark.parametrize("file", [f"{name}{suffix}" for name in NETS for suffix in (".keras", "")] + ["recurrent.h5"])
def test_a_keras_model_computes_the_same_in_every_runtime(file: str, folder: Path, tmp_path: Path) -> None:
    known = np.load(folder / f"{Path(file).stem}.npz")
    source = load_source(folder / file)
    model = simplify(CompressedModel(source.graph))
    for name in ("tflite", "onnxruntime", "mnn"):
        converter = load_converter(name)
        conversion = converter.convert(model, tmp_path / f"model{converter.suffixes[0]}", ConversionOptions())
        (result,) = load(conversion.path).predict(known["input"]).values()
        np.testing.assert_allclose(result, known["output"], atol=2e-5)


@pytest.mark.keras
def test_recurrent_layers_stay_operators_and_layers_are_known(folder: Path) -> None:
    graph = load_source(folder / "recurrent.keras").graph.graph
    kinds = [node.op_type for node in graph]
    assert (kinds.count("LSTM"), kinds.count("GRU"), kinds.count("Loop")) == (2, 2, 0)
    assert [value.name for value in graph.inputs] == ["steps"]
    assert [value.name for value in graph.outputs] == ["head"]
    owners = {module_of(node) for node in graph}
    assert {"reset_after", "reset_before"} <= owners


@pytest.mark.keras
def test_the_direct_writer_does_what_tensorflows_own_converter_does(folder: Path, tmp_path: Path) -> None:
    known, converter = np.load(folder / "mobilenet.npz"), load_converter("tflite")
    model = simplify(CompressedModel(load_source(folder / "mobilenet.keras").graph))
    ours = converter.inspect(converter.convert(model, tmp_path / "ours.tflite", ConversionOptions()).path)
    theirs = converter.inspect(folder / "mobilenet.tflite")
    assert ours.macs.total == theirs.macs.total
    counted = {entry.op_type: entry.count for entry in theirs.operators}
    for entry in ours.operators:
        assert entry.op_type in {"PAD", *counted}
        assert entry.op_type != "TRANSPOSE"
    (left,) = load(tmp_path / "ours.tflite").predict(known["input"]).values()
    (right,) = load(folder / "mobilenet.tflite").predict(known["input"]).values()
    np.testing.assert_allclose(left, right, atol=1e-5)


@pytest.mark.keras
def test_code_in_a_file_is_not_run(folder: Path) -> None:
    with pytest.raises(SourceError, match="a Keras model without code in it"):
        load_source(folder / "code.keras")


@pytest.mark.keras
def test_a_free_size_is_asked_for(folder: Path) -> None:
    with pytest.raises(SourceError, match="give --shape steps=1xSIZEx6"):
        load_source(folder / "free.keras")
    graph = load_source(folder / "free.keras", shapes={"steps": (1, 5, 6)}).graph.graph
    assert list(graph.inputs[0].shape) == [1, 5, 6]  # type: ignore[arg-type]


@pytest.mark.keras
def test_a_damaged_file_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.keras"
    path.write_bytes((folder / "mobilenet.keras").read_bytes()[:1000])
    with pytest.raises(SourceError, match=r"broken\.keras"):
        load_source(path)


def test_without_the_extra_the_error_has_the_pip_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(b"whatever it is")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingToolchainError, match=r"pip install 'edgecomp\[tensorflow\]'"):
        load_source(path)
