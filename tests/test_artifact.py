"""`edgecomp.load(path).predict(x)` takes and gives what the original does, whatever the file stores."""

import shutil
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from conftest import Made

import edgecomp
from edgecomp.artifact import Artifact, from_stored, predict_samples, to_stored
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import DataError, SourceError
from edgecomp.graph.simplify import simplify
from edgecomp.interface import Interface, TensorInterface
from edgecomp.model import CompressedModel
from edgecomp.system.columns import read_column, write_columns

IMAGE = TensorInterface("image", "int8", (1, 4, 5, 3), (0, 2, 3, 1), scale=0.5, zero_point=-10)
SCALE = TensorInterface("scale", "float32", (1,))
TEXT = TensorInterface("text", "int64", (1, None), source_dtype="int64")


class Echo:
    """Gives back what it was fed, as it was stored."""

    proven = True

    def __init__(self, *specs: TensorInterface) -> None:
        self.inputs = self.outputs = specs
        self.fed: list[Any] = []

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        self.fed = list(inputs)
        return list(inputs)


def numbers(*shape: int) -> Any:
    return np.random.default_rng(0).uniform(-40, 60, shape).astype(np.float32)


def test_the_source_s_layout_and_floats_go_in_and_come_out() -> None:
    echo, image = Echo(IMAGE), numbers(1, 3, 4, 5)
    result = Artifact(echo, "echo").predict(image)["image"]
    assert echo.fed[0].dtype == np.int8
    assert echo.fed[0].shape == (1, 4, 5, 3)
    np.testing.assert_array_equal(echo.fed[0], np.rint(image.transpose(0, 2, 3, 1) / 0.5) - 10)
    assert (result.dtype, result.shape) == (np.float32, (1, 3, 4, 5))
    np.testing.assert_allclose(result, image, atol=0.25)


def test_storing_again_what_was_read_changes_nothing() -> None:
    for scale in (0.5, 0.1, 1 / 3, 1e-3):
        spec = TensorInterface("x", "int8", (256,), scale=scale, zero_point=7)
        stored = np.arange(-128, 128).astype(np.int8)
        np.testing.assert_array_equal(to_stored(from_stored(stored, spec), spec), stored)


def test_values_beyond_the_range_are_clipped() -> None:
    spec = TensorInterface("x", "int8", (2,), scale=0.1, zero_point=0)
    np.testing.assert_array_equal(to_stored(np.float32([1e9, -1e9]), spec), [127, -128])


@pytest.mark.parametrize(
    "form",
    [
        lambda image, scale: (image, scale),
        lambda image, scale: [image, scale],
        lambda image, scale: {"scale": scale, "image": image},
        lambda image, scale: (image.tolist(), [2.0]),
        lambda image, scale: (image.astype(np.float64), scale),
    ],
)
def test_inputs_come_in_many_forms(form: Any) -> None:
    image, scale = numbers(1, 3, 4, 5), np.float32([2])
    result = Artifact(Echo(IMAGE, SCALE), "echo").predict(form(image, scale))
    np.testing.assert_allclose(result["image"], image, atol=0.25)
    np.testing.assert_array_equal(result["scale"], scale)


def test_a_torch_tensor_is_an_array() -> None:
    import torch

    assert Artifact(Echo(SCALE), "echo").predict(torch.ones(1))["scale"] == 1


def test_a_dynamic_size_takes_any() -> None:
    assert Artifact(Echo(TEXT), "echo").predict(np.zeros((1, 9), np.int64))["text"].shape == (1, 9)


@pytest.mark.parametrize(
    ("specs", "inputs", "words"),
    [
        ((IMAGE,), np.zeros((1, 4, 5, 3), np.float32), r"image of shape \(1, 3, 4, 5\).*\n.*shape \(1, 4, 5, 3\)"),
        ((IMAGE,), np.zeros((3, 4, 5), np.float32), r"shape \(3, 4, 5\)"),
        ((TEXT,), np.zeros((1, 9), np.float32), "text of type int64.*\n.*type float32"),
        ((TEXT,), np.zeros(9, np.int64), r"text of shape \(1, any\)"),
        ((IMAGE, SCALE), (numbers(1, 3, 4, 5),), r"2 inputs \(image, scale\).*\n.*1"),
        ((IMAGE, SCALE), {"image": numbers(1, 3, 4, 5)}, "the inputs image, scale.*\n.*the inputs image"),
        ((SCALE,), ["many"], "type <U4|shape"),
    ],
)
def test_what_does_not_fit_is_named(specs: tuple[TensorInterface, ...], inputs: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        Artifact(Echo(*specs), "model.tflite").predict(inputs)
    assert caught.value.subject == "the inputs of model.tflite"


@pytest.mark.parametrize(("proven", "size", "elsewhere"), [(True, 2, False), (True, 0, True), (False, 2, True)])
def test_what_was_never_verified_runs_in_a_process_of_its_own_once(
    proven: bool, size: int, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Mapping[str, Any]] = []
    monkeypatch.setattr("edgecomp.artifact.run_isolated", lambda function, **arguments: ran.append(arguments))
    echo = Echo(TEXT)
    echo.proven = proven
    artifact = Artifact(echo, "echo")
    for _ in range(3):
        assert artifact.predict(np.zeros((1, size), np.int64))["text"].shape == (1, size)
    assert len(ran) == int(elsewhere)


def test_a_size_at_which_a_runtime_aborts_is_an_error(tmp_path: Path) -> None:
    """ONNX Runtime ends the process where an LSTM's batch is empty."""
    text = """
        <ir_version: 8, opset_import: ["": 17]>
        net (float[t, n, 4] x) => (float[t, d, n, 5] y) { y = LSTM<hidden_size=5>(x, w, r) }
    """
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(numbers(1, 20, size), name) for name, size in (("w", 4), ("r", 5))
    )
    onnx.save(model, tmp_path / "net.onnx")
    shapes = {"x": (edgecomp.shapes.Symbol("t", 6), edgecomp.shapes.Symbol("n", 2), 4)}
    result = edgecomp.compress(tmp_path / "net.onnx", "linux-x86-64", tmp_path / "out", shapes=shapes, precision="fp32")
    artifact = edgecomp.load(result.artifacts["onnxruntime"])
    with pytest.raises(DataError, match="ended with signal"):
        artifact.predict(np.zeros((6, 0, 4), np.float32))
    assert artifact.predict(numbers(3, 5, 4))["y"].shape == (3, 1, 5, 5)


def test_a_file_needs_no_manifest_beside_it(made: Made, tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((1, 3, 6, 6), np.float32)
    outputs = []
    for entry in made.document["artifacts"]:
        alone = tmp_path / f"other-name{Path(entry['file']).suffix}"
        shutil.copy(made.folder / entry["file"], alone)
        (output,) = edgecomp.load(alone).predict(image).values()
        assert (output.shape, output.dtype) == ((1, 4), np.float32)
        outputs.append(output)
    step = made.document["verification"]["verdicts"][0]["against_original"][0]["step"]
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], atol=2.5 * step)


@pytest.mark.parametrize(
    ("name", "words"),
    [("nothing.tflite", "no such file"), ("folder.onnx", "a folder"), ("model.bin", "suffix '.bin'")],
)
def test_a_path_that_is_no_artifact_is_named(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(SourceError, match=words):
        edgecomp.load(tmp_path / name)


def test_stored_samples_are_run_by_name(onnx_file: Path, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).random((3, 1, 2, 5, 5), np.float32)
    source, target = tmp_path / "in.npy", tmp_path / "out.npy"
    write_columns([source], ([sample] for sample in samples))
    described = predict_samples(str(onnx_file), {"image": str(source)}, {"scores": str(target)}, threads=1)
    artifact = edgecomp.load(onnx_file)
    expected = [artifact.predict(sample)["scores"] for sample in samples]
    np.testing.assert_array_equal(list(read_column(target)), expected)
    assert Interface.from_json(described, subject="x") == Interface(artifact.inputs, artifact.outputs)


def test_a_file_is_not_read_into_memory_to_look_at_its_metadata(tmp_path: Path) -> None:
    x = ir.Value(name="x", shape=ir.Shape([1, 2048]), type=ir.TensorType(ir.DataType.FLOAT))
    weight = ir.tensor(numbers(2048, 2048), name="w")
    w = ir.Value(name="w", shape=weight.shape, type=x.type, const_value=weight)
    product = ir.node("MatMul", [x, w])
    (y,) = product.outputs
    y.name, y.shape, y.type = "y", x.shape, x.type
    graph = ir.Graph([x], [y], nodes=[product], initializers=[w], opset_imports={"": 20}, name="product")
    path = tmp_path / "model.tflite"
    load_converter("tflite").convert(
        simplify(CompressedModel(ir.Model(graph, ir_version=10))), path, ConversionOptions()
    )
    tracemalloc.start()
    edgecomp.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.2 * path.stat().st_size
