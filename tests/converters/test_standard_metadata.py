"""What artifacts say about the steps around them, read back as other tools read it.

tests/models/test_bundle_lite0.py has TFLite's own reader read it.
"""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from bundle_fixtures import LABELS, STEPS
from conftest import Made, save_onnx
from onnx import helper

from edgecomp.artifact import load
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.converters.mnn.flatbuffer import Table
from edgecomp.converters.mnn.net import read_net
from edgecomp.converters.onnxruntime.metadata import properties
from edgecomp.converters.tflite.inspection import is_sealed, read
from edgecomp.converters.tflite.metadata import ENTRY
from edgecomp.frontends import load_source
from edgecomp.frontends.pictures import Preprocessing
from edgecomp.preparation import prepare
from edgecomp.processing import Processing


def entries(path: Path) -> dict[str, bytes]:
    model = read(path)
    return {entry.name.decode(): bytes(model.buffers[entry.buffer].data) for entry in model.metadata}


@pytest.fixture(scope="module")
def described(pictures: Path) -> Table:
    """The root of the classifier's TFLite Metadata."""
    content = entries(pictures / "model.tflite")[ENTRY]
    assert content[4:8] == b"M001"
    return Table.root(content)


def only(tables: list[Table]) -> Table:
    (table,) = tables
    return table


def some(table: Table | None) -> Table:
    assert table is not None
    return table


def test_tflite_metadata_says_how_a_picture_becomes_the_input(described: Table) -> None:
    graph = only(described.tables(3))
    image = only(graph.tables(2))
    assert image.text(0) == "image"
    assert image.text(1).startswith("A picture, its shorter side resized to 12 (bicubic), its centre cut out, 10 x 10")
    assert image.texts(2) == ["batch", "height", "width", "channels"]
    content = some(image.table(3))
    assert content.integer(0, layout="<B") == 2  # ImageProperties
    properties = some(content.table(1))
    assert properties.integer(0, layout="<b") == 1  # RGB
    size = some(properties.table(1))
    assert (size.integer(0), size.integer(1)) == (10, 10)
    unit = only(image.tables(4))
    assert unit.integer(0, layout="<B") == 1  # NormalizationOptions
    normalization = some(unit.table(1))
    pixels = np.array([[0, 128, 255]] * 3, np.float64).T
    mean, std = (normalization.array(field, np.float32) for field in (0, 1))
    wanted = (pixels / STEPS.scale - np.array(STEPS.mean)) / np.array(STEPS.std)
    assert np.allclose((pixels - mean) / std, wanted, atol=1e-5)
    stats = some(image.table(5))
    assert np.allclose(stats.array(1, np.float32), wanted[0], atol=1e-5)
    assert np.allclose(stats.array(0, np.float32), wanted[2], atol=1e-5)


def test_tflite_metadata_names_the_labels_and_a_zip_behind_the_model_holds_them(
    described: Table, pictures: Path
) -> None:
    output = only(only(described.tables(3)).tables(3))
    assert (output.text(0), output.text(1)) == ("scores", "one score per class, before softmax")
    labels = only(output.tables(6))
    assert (labels.text(0), labels.integer(2, layout="<b")) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(pictures / "model.tflite") as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode() == "".join(f"{label}\n" for label in LABELS)
    assert is_sealed(read(pictures / "model.tflite"), pictures / "model.tflite")


def test_onnx_has_the_properties_that_the_project_names(pictures: Path) -> None:
    model = onnx.load(str(pictures / "model.onnx"))
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert found["Image.BitmapPixelFormat"] == "Rgb8"
    assert found["Image.ColorSpaceGamma"] == "SRGB"
    assert model.graph.input[0].type.denotation == "IMAGE"
    assert Processing.from_dict(json.loads(found["edgecomp.processing"]), "it") == Processing(STEPS, True, LABELS)
    session = onnxruntime.InferenceSession(str(pictures / "model.onnx"))
    assert session.get_modelmeta().custom_metadata_map == found


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        (Preprocessing(), "Normalized_0_1"),
        (Preprocessing(scale=1.0), "NominalRange_0_255"),
        (Preprocessing(mean=(0.5,), std=(0.5,)), "Normalized_1_1"),
        (Preprocessing(scale=1.0, mean=(127.0,), std=(128.0,)), None),
        (STEPS, None),
    ],
)
def test_a_range_is_named_where_onnx_has_a_name_for_it(steps: Preprocessing, name: str | None) -> None:
    assert properties(Processing(steps)).get("Image.NominalPixelRange") == name


def test_mnn_s_code_holds_all_of_it(pictures: Path) -> None:
    fields: dict[str, Any] = json.loads(read_net(pictures / "model.mnn").code)
    assert Processing.from_dict(fields["processing"], "it") == Processing(STEPS, True, LABELS)


def test_a_model_that_nobody_described_says_nothing(made: Made) -> None:
    assert ENTRY not in entries(made.folder / "model.tflite")
    assert not zipfile.is_zipfile(made.folder / "model.tflite")
    assert [entry.key for entry in onnx.load(str(made.folder / "model.onnx")).metadata_props] == ["edgecomp"]
    assert "processing" not in json.loads(read_net(made.folder / "model.mnn").code)


def test_pixels_may_be_named_in_any_order_of_channels() -> None:
    swapped = dataclasses.replace(STEPS, channels="bgr")
    assert properties(Processing(swapped))["Image.BitmapPixelFormat"] == "Bgr8"
    assert "its bgr values" in swapped.in_words()


def test_described_artifacts_still_run(pictures: Path) -> None:
    sample = np.zeros((1, 3, 10, 10), np.float32)
    first, *others = (load(pictures / f"model.{form}").predict(sample)["scores"] for form in ("tflite", "onnx", "mnn"))
    assert all(np.abs(other - first).max() <= 0.05 * np.abs(first).max() for other in others)


def test_ort_keeps_what_onnx_says(tmp_path: Path) -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["image"], ["color"], "pool")]
    source = save_onnx(tmp_path / "color.onnx", nodes, {"image": [1, 3, 8, 8]}, {"color": [1, 3, 1, 1]}, {})
    options = ConversionOptions(processing=Processing(Preprocessing(crop=8)))
    path = load_converter("ort").convert(prepare(load_source(source)), tmp_path / "model.ort", options).path
    found = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert found["Image.NominalPixelRange"] == "Normalized_0_1"
    assert Processing.from_dict(json.loads(found["edgecomp.processing"]), "it") == options.processing
