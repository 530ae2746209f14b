"""Each command as its user sees it: what is printed where, and the exit code."""

import gc
import json
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from conftest import Made, Run, save_onnx
from onnx import helper

from edgecomp.bundle.platform import available_platforms
from edgecomp.cli.common import collect_garbage_rarely
from edgecomp.cli.compress import few
from edgecomp.compression.pruning.channels import CriterionName
from edgecomp.device_scripts import bench
from edgecomp.mixed_precision.islands import Island
from edgecomp.precision import NAMES
from edgecomp.quantization.estimators import EstimatorChoice
from edgecomp.recovery.effort import Effort

ESCAPE = "\x1b"


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_compress_prints_one_json_document_whatever_the_task_prints(made: Made) -> None:
    assert made.document["folder"] == str(made.folder)
    assert made.document["schema"] == 1
    assert "a task may print what it likes" in made.result.stderr


def test_compress_prints_a_table_that_fits(edgecomp: Run, onnx_file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", image=np.random.default_rng(0).random((20, 2, 5, 5), np.float32))
    arguments = ("--calibration", tmp_path / "data.npz", "--formats", "tflite,onnxruntime", "-o", tmp_path / "out")
    result = edgecomp("compress", onnx_file, "--target", "rpi4", *arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert ESCAPE not in result.stdout
    lines = result.stdout.splitlines()
    assert lines[0].endswith("out: compared on 20 samples")
    assert max(map(len, lines[1:8])) <= 80
    assert re.search(r"^model\.tflite +\d+\.\d kB +\d+\.\d% +\d+\.\d dB +\d\.\d\d, \d", result.stdout, re.MULTILINE)
    assert "metric" not in result.stdout  # nobody gave one


def test_options_change_the_recipe_and_the_recipe_is_kept(edgecomp: Run, onnx_file: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'schema = 1\ntarget = "pixel-8"\nformats = ["onnxruntime"]\nseed = 3\n'
        '[[steps]]\nkind = "static-int8"\nestimator = "minmax"\n'
    )
    options = ("--precision", "fp32", "--formats", "tflite", "--io-layout", "nchw")
    result = edgecomp("compress", onnx_file, "--recipe", recipe, *options, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["target"] == "pixel-8"
    assert document["artifacts"][0]["inputs"][0]["shape"] == [1, 2, 5, 5]
    kept = (tmp_path / "out" / "recipe.toml").read_text()
    assert 'precision = "fp32"' in kept
    assert "seed = 3" in kept
    assert 'io_layout = "nchw"' in kept


def test_a_long_list_of_float_nodes_is_counted_by_what_computes() -> None:
    operators = ["Gelu", "Reshape"] * 3 + ["Add"]
    islands = [{"op_type": op_type, "node": f"n{index}"} for index, op_type in enumerate(operators)]
    assert few(islands) == "3 Gelu, 1 Add"
    assert few(islands[:2]) == "Gelu n0, Reshape n1"


def test_compress_goes_to_dist_by_itself(edgecomp: Run, onnx_file: Path, tmp_path: Path, monkeypatch: object) -> None:
    monkeypatch.chdir(tmp_path)  # type: ignore[attr-defined]
    arguments = ("--precision", "fp32", "--formats", "onnxruntime")
    assert edgecomp("compress", onnx_file, "--target", "RPi 4", *arguments).exit_code == 0
    assert (tmp_path / "dist" / "small-raspberry-pi-4b" / "model.onnx").exists()


def test_out_of_tolerance_exits_with_1(
    edgecomp: Run, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecomp.verification.tolerance.Tolerance.float_sqnr", 999.0)
    monkeypatch.setattr("edgecomp.verification.agreement._misses", lambda *_, **__: ["made up"])
    options = ("--to", "onnxruntime", "-o", tmp_path / "out", "--json")
    result = edgecomp("convert", onnx_file, *options)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"] == "VerificationError"
    assert "model.onnx: made up" in result.stderr
    assert (tmp_path / "out.rejected" / "manifest.json").exists()
    assert not (tmp_path / "out").exists()


def test_convert_takes_a_float_model(edgecomp: Run, onnx_file: Path, tmp_path: Path) -> None:
    result = edgecomp("convert", onnx_file, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["precision"] == "fp32"
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"model.tflite", "model.onnx", "model.mnn"}
    for verdict in document["verification"]["verdicts"]:
        assert verdict["against_original"][0]["sqnr"] > 60


def test_check_knows_which_nodes_take_part_in_a_precision(edgecomp: Run, task: Path, tmp_path: Path) -> None:
    options = ("--precision", "weight-int8", "--to", "tflite", "--check", "--json")
    document = json.loads(edgecomp("convert", task, *options).stdout)
    assert document["precision"] == "weight-int8"
    verdicts = {node["op_type"]: node["verdict"] for node in document["formats"][0]["nodes"]}
    assert verdicts["Conv"] == verdicts["Gemm"] == "weight-int8"
    assert set(verdicts.values()) == {"weight-int8", "float"}


def test_check_tells_what_would_become_of_every_node(edgecomp: Run, task: Path, tmp_path: Path) -> None:
    result = edgecomp("convert", task, "--precision", "int8", "--check", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["converts"]
    assert [entry["format"] for entry in document["formats"]] == ["tflite", "onnxruntime", "mnn"]
    for entry in document["formats"]:
        verdicts = {(node["op_type"], node["module"]): node["verdict"] for node in entry["nodes"]}
        assert verdicts["Conv", "0"] == verdicts["Gemm", "4"] == "int8"
    assert not (tmp_path / "out").exists()


def test_check_exits_with_1_when_a_format_refuses_a_node(edgecomp: Run, tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "det.onnx",
        [helper.make_node("Relu", ["x"], ["y"], "first"), helper.make_node("Det", ["y"], ["z"], "second")],
        {"x": [2, 2]},
        {"z": []},
        {},
    )
    result = edgecomp("convert", path, "--check")
    assert result.exit_code == 1
    assert re.search(r"^Det +1 +refused +float +", result.stdout, re.MULTILINE)
    assert "tflite refuses these, since edgecomp has no TFLite lowering" in result.stdout
    assert "  Det second\n  cure: replace it in the model" in result.stdout
    assert re.search("onnxruntime.* will convert; tflite.* will not", result.stdout)
    assert max(map(len, result.stdout.splitlines()[1:5])) <= 80


def test_convert_keeps_the_integers_of_a_qdq_model(edgecomp: Run, made: Made, tmp_path: Path) -> None:
    result = edgecomp("convert", made.folder / "model.onnx", "--to", "tflite", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["precision"] == "int8"
    assert document["verification"]["verdicts"][1]["against_original"][0]["max_difference"] <= 1.01


def test_verify_repeats_the_proof(edgecomp: Run, made: Made) -> None:
    result = edgecomp("verify", made.folder)
    assert result.exit_code == 0, result.stderr
    assert "every artifact is the one that was verified" in result.stdout
    assert max(map(len, result.stdout.splitlines()[1:])) <= 80


def test_verify_exits_with_1_when_a_file_was_changed(edgecomp: Run, made: Made, tmp_path: Path) -> None:
    for path in made.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "model.mnn").open("ab") as file:
        file.write(b"!")
    result = edgecomp("verify", tmp_path, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["violations"][0].startswith("model.mnn is not the file that was verified")
    assert "broken: model.mnn" in edgecomp("verify", tmp_path).stdout


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx", "model.mnn"])
def test_inspect_shows_what_is_inside(name: str, edgecomp: Run, made: Made) -> None:
    document = json.loads(edgecomp("inspect", made.folder / name, "--json").stdout)
    assert document["inputs"][0]["name"] == "input"
    assert any(entry["precision"] == "int8" for entry in document["operators"])
    result = edgecomp("inspect", made.folder / name)
    assert result.exit_code == 0
    assert "int8" in result.stdout
    facts, operators = result.stdout.split("operator ", 1)
    assert re.search(r"multiply-accumulates: [\d,]+$", facts, re.MULTILINE)
    assert re.search(r"activations: [\d.]+ k?B at once, at .+; [\d.]+ k?B in one arena$", facts, re.MULTILINE)
    assert max(map(len, operators.splitlines())) <= 80


@pytest.mark.parametrize("suffix", [".svg", ".html"])
def test_inspect_draws(suffix: str, edgecomp: Run, made: Made, tmp_path: Path) -> None:
    target = tmp_path / f"graph{suffix}"
    result = edgecomp("inspect", made.folder / "model.tflite", "--draw", target)
    assert result.exit_code == 0, result.stderr
    assert f"drawn: {target}" in result.stdout
    assert "CONV_2D" in target.read_text()


def test_inspect_refuses_another_kind_of_drawing_before_it_reads(edgecomp: Run, tmp_path: Path) -> None:
    result = edgecomp("inspect", tmp_path / "none.tflite", "--draw", tmp_path / "graph.png")
    assert result.exit_code == 2
    assert "graph.png\n  expected: a drawing with the suffix .svg or .html" in result.stderr


def test_targets_lists_and_shows(edgecomp: Run) -> None:
    listed = edgecomp("targets")
    assert listed.exit_code == 0
    assert "raspberry-pi-4b" in listed.stdout
    assert max(map(len, listed.stdout.splitlines())) <= 80
    shown = edgecomp("targets", "pixel8")
    assert shown.stdout.startswith("pixel-8: ")
    assert "cpu.architecture = arm64" in shown.stdout
    assert "sources\n" in shown.stdout
    assert json.loads(edgecomp("targets", "pixel8", "--json").stdout)["name"] == "pixel-8"
    assert len(json.loads(edgecomp("targets", "--json").stdout)) >= 18


def test_without_arguments_it_lists_its_commands(edgecomp: Run) -> None:
    result = edgecomp()
    for name in ("compress", "convert", "verify", "inspect", "targets", "demo"):
        assert re.search(rf"^  {name} ", result.output, re.MULTILINE)


def test_no_line_of_the_list_of_commands_is_cut(edgecomp: Run) -> None:
    _, commands = edgecomp("--help").stdout.split("Commands:")
    assert "..." not in commands


def test_python_dash_m_is_the_same_program() -> None:
    command = [sys.executable, "-m", "edgecomp", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("edgecomp ")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_output_that_cannot_be_written_is_an_error(options: list[str]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "edgecomp", "targets", *options]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    for word in ("standard output", "No space left on device", "free some space"):
        assert word in done.stderr
    assert "Exception ignored" not in done.stderr


def test_ctrl_c_while_modules_are_loaded_leaves_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "edgecomp", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m edgecomp targets raspberry-pi-4b | head -1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("program", ["import edgecomp, onnxruntime", "BENCH"])
def test_onnx_runtime_is_kept_from_telling_on_its_user(program: str, tmp_path: Path, made: Made) -> None:
    # Its telemetry keeps a session's number in a file, as soon as it is imported.
    command = [sys.executable, "-c", program]
    if program == "BENCH":
        command = [sys.executable, str(Path(bench.__file__)), str(made.folder / "model.onnx"), "--runs=1", "--warmup=0"]
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment["TMPDIR"] = str(tmp_path)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []


class Cycle:
    """An object that only the collector can free."""

    itself: object = None


def test_garbage_is_collected_rarely_and_collected() -> None:
    """Cycles go after many new objects, and do not stay for ever."""
    usual = gc.get_threshold()
    gc.collect()
    try:
        collect_garbage_rarely()
        assert gc.get_threshold() > usual
        freed: list[int] = []
        for number in range(200_000):
            cycle = Cycle()
            cycle.itself = cycle
            weakref.finalize(cycle, freed.append, number)
            if freed:
                break
        assert 1_000 < number < 190_000
    finally:
        gc.set_threshold(*usual)


@pytest.mark.parametrize(
    ("command", "option", "choices"),
    [
        ("compress", "--estimator", get_args(EstimatorChoice)),
        ("compress", "--effort", get_args(Effort)),
        ("compress", "--precision", NAMES),
        ("compress", "--island", get_args(Island)),
        ("sensitivity", "--criterion", get_args(CriterionName)),
        ("bundle", "--platform", available_platforms()),
    ],
)
def test_help_lists_every_choice(edgecomp: Run, command: str, option: str, choices: tuple[str, ...]) -> None:
    words = " ".join(edgecomp(command, "--help").stdout.split()).replace("- ", "-")
    listed = words.partition(f"{option} ")[2].partition(" --")[0]
    assert [choice for choice in choices if not re.search(rf"\b{choice}\b", listed)] == []


def test_the_legend_explains_the_columns_that_are_there(edgecomp: Run, onnx_file: Path, tmp_path: Path) -> None:
    in_float = edgecomp("convert", onnx_file, "--to", "onnxruntime", "-o", tmp_path / "float").stdout
    in_integers = edgecomp(
        "convert", onnx_file, "--to", "onnxruntime", "--precision", "weight-int8", "-o", tmp_path / "integers"
    ).stdout
    for words in ("same answer: share", "SQNR: signal"):
        assert words in in_float
        assert words in in_integers
    assert "off by" not in in_float


def test_verify_says_what_each_comparison_rests_on(edgecomp: Run, made: Made, tmp_path: Path) -> None:
    np.savez(tmp_path / "more.npz", input=np.random.default_rng(0).random((7, 3, 6, 6), np.float32))
    shown = edgecomp("verify", made.folder, "--data", tmp_path / "more.npz").stdout
    assert "compared on 8 samples, with the original on the recorded one" in shown
    counts = [line.split() for line in shown.splitlines() if " / " in line]
    assert [words[3] for words in counts] == ["1", "1", "1", "8", "8", "8"]


def test_a_time_that_is_not_known_says_why(edgecomp: Run, made: Made) -> None:
    assert "not known: how much this core does" in edgecomp("estimate", made.folder, "--target", "pixel-8").stdout
    assert "not known" not in edgecomp("estimate", made.folder, "--target", "raspberry-pi-4b").stdout


@pytest.mark.parametrize("columns", ["0", "40", "many"])
def test_a_terminal_of_any_width_shows_something(
    edgecomp: Run, onnx_file: Path, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert "float32" in edgecomp("inspect", onnx_file).stdout
