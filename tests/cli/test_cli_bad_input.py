"""Bad input: one clear error on stderr (and as JSON), exit code 2, and nothing written."""

import errno
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import Run, save_onnx
from onnx import TensorProto, helper

PARTS = {"error", "subject", "expected", "actual", "cure"}
INPUTS = "\ndef example_inputs(): return (torch.ones(1, 3),)\n"


def assert_refused(edgecomp: Run, folder: Path, arguments: list[Any], kind: str, *words: str, code: int = 2) -> None:
    """The command fails with every one of the words in its message, and writes nothing."""
    before = sorted(folder.rglob("*"))
    result = edgecomp(*arguments, "--json")
    assert result.exit_code == code, result.output
    document = json.loads(result.stdout)
    assert set(document) == PARTS
    assert document["error"] == kind
    assert all(document.values())
    assert result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in "\n".join(document.values())
        assert word in result.stderr
    made = {path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts} - set(before)
    assert made == set()


def compress(source: object, folder: Path, *options: object) -> list[Any]:
    return ["compress", source, "--target", "raspberry-pi-4b", "-o", folder / "out", *options]


@pytest.mark.parametrize("name", ["nothing.py", "nothing.onnx", "nothing.pt2"])
def test_a_missing_file(edgecomp: Run, tmp_path: Path, name: str) -> None:
    assert_refused(edgecomp, tmp_path, compress(tmp_path / name, tmp_path), "SourceError", "no such file")


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("def example_inputs(): pass", "SourceError", ["a function model()"]),
        ("def model(): raise ValueError('no weights')", "SourceError", ["model()", "ValueError: no weights"]),
        ("import nonsense_package", "SourceError", ["nonsense_package"]),
        (
            "import torch\nclass Net(torch.nn.Module):\n"
            "    def __init__(self):\n        super().__init__()\n        self.inner = torch.nn.Identity()\n"
            "    def forward(self, x): return torch.linalg.svd(x.repeat(3, 1))[1]\n"
            "def model(): return Net().eval()" + INPUTS,
            "ExportError",
            ["svd"],
        ),
        (
            "import torch\ndef model():\n    net = torch.nn.Linear(3, 2).eval()\n"
            "    net.weight.data[0] = float('nan')\n    return net" + INPUTS,
            "SourceError",
            ["weight", "NaN"],
        ),
    ],
)
def test_a_task_that_cannot_be_used(edgecomp: Run, tmp_path: Path, code: str, kind: str, words: list[str]) -> None:
    (tmp_path / "task.py").write_text(code)
    assert_refused(edgecomp, tmp_path, compress(tmp_path / "task.py", tmp_path), kind, *words)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("[numpy.ones((1, 2, 6, 6), 'float32')]", ["item 0: input 'image'", "shape Nx2x5x5", "shape 1x2x6x6"]),
        ("[numpy.ones((1, 2, 5, 5))]", ["float32", "float64"]),
        ("[]", ["at least one item", "none"]),
        ("[numpy.full((1, 2, 5, 5), numpy.nan, 'float32')]", ["50 of 50 are NaN or infinite"]),
        ("[numpy.zeros((1, 2, 5, 5), 'float32')] * 3", ["nothing but zeros in all 3 samples"]),
        ("['picture.jpg']", ["a torch tensor or numpy array"]),
    ],
)
def test_calibration_data_that_cannot_be_used(
    edgecomp: Run, tmp_path: Path, onnx_file: Path, data: str, words: list[str]
) -> None:
    place = tmp_path / "data.py"
    place.write_text(f"import numpy\ndef samples(): return {data}\n")
    arguments = compress(onnx_file, tmp_path, "--calibration", f"{place}:samples")
    assert_refused(edgecomp, tmp_path, arguments, "DataError", *words)


def test_an_operator_that_no_format_has(edgecomp: Run, tmp_path: Path) -> None:
    node = helper.make_node("Det", ["x"], ["y"], "head/Det")
    path = save_onnx(tmp_path / "det.onnx", [node], {"x": [1, 3, 3]}, {"y": [1]}, {})
    arguments = compress(path, tmp_path, "--precision", "fp32", "--formats", "tflite,onnxruntime")
    words = ["tflite: Det 'head/Det'", "--formats onnxruntime"]
    assert_refused(edgecomp, tmp_path, arguments, "UnsupportedOperatorError", *words)


def test_an_unknown_target(edgecomp: Run, tmp_path: Path, onnx_file: Path) -> None:
    arguments = ["compress", onnx_file, "--target", "raspbery-pi-4", "-o", tmp_path / "out"]
    assert_refused(edgecomp, tmp_path, arguments, "UnknownTargetError", "raspberry-pi-4b")


def test_no_target(edgecomp: Run, tmp_path: Path, onnx_file: Path) -> None:
    assert_refused(edgecomp, tmp_path, ["compress", onnx_file], "InputError", "add --target with one of", "pixel-8")


def test_an_output_folder_that_exists(edgecomp: Run, tmp_path: Path, onnx_file: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("")
    assert_refused(edgecomp, tmp_path, compress(onnx_file, tmp_path), "OutputError", "nothing is overwritten")


def test_an_output_folder_below_a_file(edgecomp: Run, tmp_path: Path, onnx_file: Path) -> None:
    (tmp_path / "out").write_text("")
    assert_refused(edgecomp, tmp_path, compress(onnx_file, tmp_path / "out"), "OutputError", "Not a directory")


def test_a_full_disk(edgecomp: Run, tmp_path: Path, onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, **arrays: object) -> None:
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edgecomp.verification.golden.np.savez", full)
    arguments = compress(onnx_file, tmp_path, "--precision", "fp32", "--formats", "onnxruntime")
    words = ["No space left on device", "nothing was left behind", "free some space"]
    assert_refused(edgecomp, tmp_path, arguments, "OutputError", *words)


def test_a_truncated_onnx_file(edgecomp: Run, tmp_path: Path, onnx_file: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(onnx_file.read_bytes()[:300])
    assert_refused(edgecomp, tmp_path, compress(path, tmp_path), "SourceError", str(path))


def test_an_onnx_file_that_reaches_for_others(edgecomp: Run, tmp_path: Path, onnx_file: Path) -> None:
    model = onnx.load(onnx_file)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../../../../../etc/passwd")
    path = tmp_path / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    assert_refused(edgecomp, tmp_path, compress(path, tmp_path), "SourceError", "etc/passwd")


def test_a_pickle_is_never_read(edgecomp: Run, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return open, (str(tmp_path / "exploded"), "w")

    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps(Bomb()))
    assert_refused(edgecomp, tmp_path, compress(path, tmp_path), "SourceError", "a pickle", "weights_only=True")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--precision", "int7"], ["the options", "precision: one of"]),
        (["--formats", "coreml"], ["formats: some of", "coreml"]),
        (["--estimator", "guess"], ["estimator: one of"]),
        (["--io-dtype", "int4"], ["export.io_dtype: one of float32, int8"]),
        (["--io-layout", "chwn"], ["export.io_layout: one of auto, nhwc, nchw"]),
        (["--recipe", "nothing.toml"], ["nothing.toml", "No such file"]),
    ],
)
def test_options_with_values_that_they_cannot_have(
    edgecomp: Run, tmp_path: Path, onnx_file: Path, options: list[str], words: list[str]
) -> None:
    assert_refused(edgecomp, tmp_path, compress(onnx_file, tmp_path, *options), "SourceError", *words)


def test_an_estimator_without_anything_to_estimate(edgecomp: Run, tmp_path: Path, onnx_file: Path) -> None:
    arguments = compress(onnx_file, tmp_path, "--estimator", "mse", "--precision", "fp32")
    assert_refused(edgecomp, tmp_path, arguments, "InputError", "--estimator mse", "precision fp32")


@pytest.mark.parametrize("shape", ["image", "image=1x0x5", "=1x2", "image=axb"])
def test_a_shape_of_another_form(edgecomp: Run, tmp_path: Path, onnx_file: Path, shape: str) -> None:
    arguments = compress(onnx_file, tmp_path, "--shape", shape)
    assert_refused(edgecomp, tmp_path, arguments, "InputError", f"--shape {shape}", "image=1x3x224x224")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "nothing"], "nothing/manifest.json"),
        (["inspect", "nothing.tflite"], "no such file"),
        (["inspect", "."], "a folder"),
        (["convert", "nothing.onnx"], "no such file"),
    ],
)
def test_other_commands(
    edgecomp: Run, tmp_path: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(edgecomp, tmp_path, arguments, "SourceError", words)


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".mnn", ".ort"])
def test_inspecting_garbage(edgecomp: Run, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"garbage{suffix}"
    path.write_bytes(np.random.default_rng(0).bytes(500))
    assert_refused(edgecomp, tmp_path, ["inspect", path], "SourceError", str(path))


def test_a_usage_error_exits_with_2(edgecomp: Run) -> None:
    result = edgecomp("compress", "--nonsense")
    assert result.exit_code == 2
    assert "--nonsense" in result.stderr


def test_debug_adds_a_traceback_and_changes_nothing_else(edgecomp: Run, tmp_path: Path) -> None:
    result = edgecomp("inspect", tmp_path / "nothing.onnx", "--debug", "--json")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert json.loads(result.stdout)["error"] == "SourceError"


def test_an_unforeseen_error_is_one_clear_error_too(
    edgecomp: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("edgecomp.target.list_targets", fail)
    assert_refused(edgecomp, tmp_path, ["targets"], "PromiseError", "RuntimeError: a bug", "--debug", code=1)
