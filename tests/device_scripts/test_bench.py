from __future__ import annotations

import ast
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.device_scripts import bench
from edgecomp.model import CompressedModel
from edgecomp.verification import golden as rules
from edgecomp.verification.tolerance import Tolerance

SCRIPT = Path(bench.__file__)
FORMATS = {".tflite": "tflite", ".onnx": "onnxruntime", ".mnn": "mnn"}


def run(*arguments: object, **environment: str) -> tuple[int, dict, str]:
    process = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    return process.returncode, json.loads(process.stdout), process.stderr


def small_net() -> onnx.ModelProto:
    """Two outputs whose alphabetical order is not the model's."""
    weight = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
            helper.make_node("Relu", ["c"], ["z"]),
            helper.make_node("GlobalAveragePool", ["z"], ["p"]),
            helper.make_node("Flatten", ["p"], ["a"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [
            helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 8, 16, 16]),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 8]),
        ],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.tflite, model.onnx and model.mnn, and golden.npz for all three."""
    folder = tmp_path_factory.mktemp("artifacts")
    model = CompressedModel(ir.from_proto(small_net()))
    golden = {}
    for suffix, name in FORMATS.items():
        converter = load_converter(name)
        path = converter.convert(model, folder / f"model{suffix}", ConversionOptions()).path
        predictor = converter.open(path)
        x = np.random.default_rng(1).normal(size=predictor.inputs[0].shape).astype(np.float32)
        golden[f"{path.name}/inputs/0"] = x
        for index, output in enumerate(predictor.run([x])):
            golden[f"{path.name}/outputs/{index}"] = output
    np.savez(folder / "golden.npz", **golden)
    return folder


@pytest.fixture(params=FORMATS)
def artifact(request: pytest.FixtureRequest, artifacts: Path) -> Path:
    return artifacts / f"model{request.param}"


# What it measures.


def test_a_real_artifact_is_measured_and_agrees_with_golden(artifact: Path) -> None:
    golden = artifact.with_name("golden.npz")
    code, result, stderr = run(artifact, "--runs", 13, "--warmup", 3, "--golden", golden, "--profile")
    assert code == 0
    # MNN greets on stdout; there it would spoil the JSON. If it stops, this test needs another chatterbox.
    assert artifact.suffix != ".mnn" or "device supports" in stderr
    assert len(result["samples_ms"]) == 13
    assert len(result["warmup_ms"]) == 3
    assert result["latency_ms"] == pytest.approx(bench.summarize(result["samples_ms"]))
    assert result["load_ms"] > 0
    assert result["first_inference_ms"] > 0
    assert result["model"]["file"] == artifact.name
    assert result["model"]["size"] == artifact.stat().st_size
    assert len(result["model"]["sha256"]) == 64
    assert result["runtime"]["version"]
    assert result["settings"] == {"runs": 13, "warmup": 3, "threads": 1, "inputs": "golden"}
    memory = result["memory_bytes"]
    assert memory["peak"] >= memory["steady"] > memory["before_load"] > 0
    assert result["golden"]["agrees"] is True
    assert result["golden"]["agrees_as_timed"] is True
    assert [output["problem"] for output in result["golden"]["outputs"]] == [None, None]
    if artifact.suffix == ".tflite":
        assert result["profile"] is None
    else:
        assert any(operator["op"].startswith(("Conv", "FusedConv")) for operator in result["profile"])
        assert all(operator["mean_ms"] >= 0 for operator in result["profile"])


def test_random_inputs_serve_without_golden(artifact: Path) -> None:
    code, result, _ = run(artifact, "--runs", 1, "--warmup", 0)
    assert code == 0
    assert result["golden"] is None
    assert result["settings"]["inputs"] == "random"
    assert result["warmup_ms"] == []
    assert result["latency_ms"]["std"] == 0
    assert result["steady_state"]["steady"] is None
    assert [len(output["shape"]) for output in result["model"]["outputs"]] == [4, 2]  # in the order of the model


def test_a_dynamic_input_takes_the_shape_of_golden(tmp_path: Path) -> None:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    ones = np.ones((3, 4), np.float32)
    np.savez(tmp_path / "g.npz", **{"m.onnx/inputs/0": ones, "m.onnx/outputs/0": ones})
    _, result, _ = run(tmp_path / "m.onnx", "--runs", 1, "--golden", tmp_path / "g.npz")
    assert result["model"]["inputs"][0]["shape"] == [3, 4]
    assert result["golden"]["agrees"] is True
    _, result, _ = run(tmp_path / "m.onnx", "--runs", 1)
    assert result["model"]["inputs"][0]["shape"] == [1, 4]


# The numeric check.


def test_a_wrong_output_is_found(artifacts: Path, tmp_path: Path) -> None:
    with np.load(artifacts / "golden.npz") as archive:
        np.savez(tmp_path / "golden.npz", **{**archive, "model.mnn/outputs/1": np.ones((1, 8), np.float32)})
    code, result, _ = run(artifacts / "model.mnn", "--runs", 1, "--golden", tmp_path / "golden.npz")
    assert code == 0
    assert result["golden"]["agrees"] is False
    assert [output["agrees"] for output in result["golden"]["outputs"]] == [True, False]
    assert result["golden"]["outputs"][1]["max_difference"] > 0.01


def test_quantized_outputs_may_differ_by_a_few_steps() -> None:
    expected = np.array([-8, 0, 7], np.int8)
    eight = bench.check_output("y", expected + np.array([8, 0, 0], np.int8), expected, None)
    assert (eight["agrees"], eight["steps"], eight["max_difference"]) == (True, 8.0, 8.0)
    assert bench.check_output("y", expected + np.array([9, 0, 0], np.int8), expected, None)["agrees"] is False


def test_the_script_bundles_and_verification_ask_for_the_same() -> None:
    assert bench.TOLERANCE_STEPS == rules.TOLERANCE_STEPS
    assert bench.TOLERANCE_SQNR == rules.TOLERANCE_SQNR == Tolerance().simulation_sqnr
    assert bench.TOLERANCE_FLOAT == rules.TOLERANCE_FLOAT
    output = np.array([-0.5, 2.0], np.float32)
    for step in (None, 0.25):
        allowed = rules.tolerance(output, step)
        for factor, agrees in ((0.99, True), (1.01, False)):
            actual = output + np.float32(factor * allowed)
            assert bench.check_output("y", actual, output, step)["agrees"] is agrees


def test_a_few_steps_far_below_the_signal_agree_wherever_zero_is() -> None:
    expected = np.array([-100, 0, 100], np.int8)
    assert bench.check_output("y", expected + np.array([12, 0, 0], np.int8), expected, None)["agrees"] is True
    constant = np.array([100, 101, 102], np.int8)  # a large number is no signal
    assert bench.check_output("y", constant + np.array([12, 0, 0], np.int8), constant, None)["agrees"] is False


def test_a_float_output_is_judged_in_steps_when_golden_says_their_size() -> None:
    expected = np.array([0.0, 0.3, 3.0], np.float32)
    assert bench.check_output("y", expected + np.float32(0.4), expected, None)["agrees"] is False
    assert bench.check_output("y", expected + np.float32(0.4), expected, 0.05)["agrees"] is True
    assert bench.check_output("y", expected + np.float32(0.2), expected, 0.1)["steps"] == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.bool_])
def test_plain_integers_must_be_equal(dtype: type) -> None:
    expected = np.array([0, 1], dtype)
    assert bench.check_output("y", expected, expected, None)["agrees"] is True
    assert bench.check_output("y", np.array([1, 1], dtype), expected, None)["agrees"] is False


def test_nan_never_agrees_with_a_number() -> None:
    number, nan, infinity = (np.array([value], np.float32) for value in (1.0, np.nan, np.inf))
    assert "NaN" in bench.check_output("y", nan, number, None)["problem"]
    assert "NaN" in bench.check_output("y", number, nan, None)["problem"]
    assert bench.check_output("y", -infinity, infinity, None)["agrees"] is False
    assert bench.check_output("y", infinity, infinity, None)["agrees"] is True


def test_another_shape_or_type_is_said() -> None:
    found = bench.check_output("y", np.zeros((1, 2), np.int8), np.zeros((2, 1), np.float32), None)
    assert found["problem"] == "it is int8 [1, 2], golden is float32 [2, 1]"


# Errors.


def test_an_error_is_one_json_object(artifacts: Path) -> None:
    code, answer, _ = run(artifacts / "model.onnx", "--runs", 0)
    assert (code, answer["schema"], answer["error"]) == (2, bench.SCHEMA, "usage")
    assert answer["message"] == "argument --runs: 0 is less than 1"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.tflite", b"not a model" * 10),
        ("m.onnx", b"not a model" * 10),
        ("m.mnn", b"not a model" * 10),
        ("m.mnn", b""),
    ],
)
def test_a_damaged_model_is_an_error(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    code, answer, _ = run(path)
    assert (code, answer["error"]) == (1, "bad-model")


def test_a_stopped_benchmark_says_so(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    code, answer, _ = run(artifacts / "model.onnx", PYTHONPATH=str(tmp_path))
    assert (code, answer["error"]) == (130, "interrupted")


@pytest.mark.parametrize("arguments", [[], ["m.onnx", "--runs", "many"], ["m.onnx", "--fast"], ["a.onnx", "b.onnx"]])
def test_bad_usage_is_an_error(arguments: list[str]) -> None:
    with pytest.raises(bench.BenchError) as caught:
        bench.parse(arguments)
    assert caught.value.kind == "usage"


def test_an_unknown_suffix_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(bench.BenchError, match=r"'\.pt' of a\.pt: one of \.tflite, \.onnx, \.ort, \.mnn"):
        bench.find_runtime("a.pt")


@pytest.mark.parametrize("path", ["missing.onnx", "."])
def test_a_model_that_cannot_be_read_is_an_error(path: str, tmp_path: Path) -> None:
    with pytest.raises(bench.BenchError, match="cannot be read"):
        bench.fingerprint(str(tmp_path / path))


def test_a_golden_file_that_cannot_be_read_is_an_error(artifacts: Path, tmp_path: Path) -> None:
    complete = (artifacts / "golden.npz").read_bytes()
    (tmp_path / "truncated.npz").write_bytes(complete[: len(complete) // 2])
    for path in (tmp_path / "truncated.npz", tmp_path / "missing.npz", artifacts / "model.onnx"):
        with pytest.raises(bench.BenchError, match="cannot be read"):
            bench.read_golden(str(path), "model.onnx")


def test_a_golden_file_of_other_artifacts_says_whose_it_is(artifacts: Path) -> None:
    with pytest.raises(bench.BenchError, match=r"model\.mnn.*model\.onnx.*model\.tflite"):
        bench.read_golden(str(artifacts / "golden.npz"), "other.onnx")


def test_golden_inputs_must_be_those_of_the_artifact() -> None:
    tensors = [bench.Tensor("x", "int8", (1, 2))]
    bench.check_inputs([np.zeros((1, 2), np.int8)], tensors)
    for arrays in ([np.zeros((1, 2), np.uint8)], [np.zeros((2, 1), np.int8)], [], [np.zeros((1, 2), np.int8)] * 2):
        with pytest.raises(bench.BenchError, match=r"takes inputs .*int8.*, golden has"):
            bench.check_inputs(arrays, tensors)


def test_golden_with_too_few_inputs_is_an_error(tmp_path: Path) -> None:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xyz"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "y"], ["z"])], "net", info[:2], info[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    one = np.ones(1, np.float32)
    np.savez(tmp_path / "g.npz", **{"m.onnx/inputs/0": one, "m.onnx/outputs/0": one})
    code, answer, _ = run(tmp_path / "m.onnx", "--golden", tmp_path / "g.npz")
    assert (code, answer["error"]) == (1, "bad-golden")


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "uint8", "int32", "int64", "bool"])
def test_random_inputs_have_the_type_and_shape_of_the_input(dtype: str) -> None:
    for shape in ((), (2, 3)):
        (array,) = bench.random_inputs([bench.Tensor("x", dtype, shape)])
        assert (array.dtype, array.shape) == (dtype, shape)
        assert np.array_equal(array, bench.random_inputs([bench.Tensor("x", dtype, shape)])[0])


def test_a_missing_runtime_names_the_packages(artifacts: Path, tmp_path: Path) -> None:
    for package in ("ai_edge_litert", "tflite_runtime"):
        (tmp_path / f"{package}.py").write_text("raise ImportError('not here')")
    code, answer, _ = run(artifacts / "model.tflite", PYTHONPATH=str(tmp_path))
    assert (code, answer["error"]) == (1, "no-runtime")
    assert "ai-edge-litert" in answer["message"]
    assert "tflite-runtime" in answer["message"]


# Statistics.


def test_the_summary_is_that_of_numpy_and_of_the_standard_library() -> None:
    samples = np.random.default_rng(0).gamma(2, size=101).tolist()
    summary = bench.summarize(samples)
    assert summary["p50"] == statistics.median(samples)
    assert summary["mean"] == pytest.approx(statistics.fmean(samples))
    assert summary["std"] == pytest.approx(statistics.stdev(samples))
    assert summary["min"] == min(samples)
    assert [summary["p90"], summary["p95"], summary["p99"]] == [sorted(samples)[index] for index in (90, 95, 99)]


def noise(count: int, seed: int) -> np.ndarray:
    return 10 + np.random.default_rng(seed).normal(0, 0.1, count)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("count", [10, 50, 2000])
def test_flat_samples_are_steady(count: int, seed: int) -> None:
    assert bench.steady_state(noise(count, seed).tolist())["verdict"] == "steady"


def test_identical_samples_are_steady() -> None:
    assert bench.steady_state([1.0] * 50)["steady"] is True


def test_a_few_late_samples_change_nothing() -> None:
    samples = noise(100, 0)
    samples[[20, 50, 90]] = 40
    assert bench.steady_state(samples.tolist())["steady"] is True


@pytest.mark.parametrize("count", [30, 3000])
@pytest.mark.parametrize("change", [0.3, -0.3])
def test_drifting_samples_are_said_to_drift(change: float, count: int) -> None:
    found = bench.steady_state((noise(count, 1) * np.linspace(1, 1 + change, count)).tolist())
    assert found["steady"] is False
    assert "drifting" in found["verdict"]
    assert "bimodal" not in found["verdict"]
    assert found["drift"]["relative_change"] == pytest.approx(change, rel=0.25)


def test_bimodal_samples_are_said_to_be_bimodal() -> None:
    samples = noise(100, 2)
    samples[np.random.default_rng(3).permutation(100)[:40]] += 4
    found = bench.steady_state(samples.tolist())
    assert found["steady"] is False
    assert found["verdict"] == "bimodal: 60% near 10 ms, 40% near 14 ms"


def test_throttling_halfway_shows_as_two_modes_and_drift() -> None:
    samples = noise(100, 4)
    samples[50:] *= 1.5
    verdict = bench.steady_state(samples.tolist())["verdict"]
    assert "drifting" in verdict
    assert "bimodal" in verdict


def test_scattered_samples_are_noisy() -> None:
    assert "noisy" in bench.steady_state(np.random.default_rng(5).uniform(5, 15, 100).tolist())["verdict"]


# The machine.


def test_facts_that_a_machine_does_not_offer_are_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "read", lambda path: None)
    monkeypatch.setattr(bench.glob, "glob", lambda pattern: [])
    monkeypatch.setattr(bench.shutil, "which", lambda name: None)
    assert set(bench.conditions().values()) == {None}
    assert bench.memory() == {"resident": None, "peak": None}
    assert (bench.machine()["board"], bench.machine()["cpu"]["model"]) == (None, None)


def test_the_cpu_of_an_arm_board_is_named() -> None:
    core = "processor\t: {}\nFeatures\t: fp asimd crc32\nCPU implementer\t: 0x41\nCPU part\t: {}\n\n"
    found = bench.cpu(core.format(0, "0xd08") + core.format(1, "0xd08"))
    assert (found["model"], found["features"]) == ("Cortex-A72", ["fp", "asimd", "crc32"])
    assert bench.cpu(core.format(0, "0xd05") + core.format(1, "0xfff"))["model"] == "Cortex-A55 + part 0xfff"


def test_the_cpu_of_a_pc_is_named() -> None:
    found = bench.cpu("processor : 0\nmodel name : Some CPU\nflags : fpu avx2\n")
    assert (found["model"], found["features"]) == ("Some CPU", ["fpu", "avx2"])


def test_clocks_and_temperatures_are_read_from_sysfs(monkeypatch: pytest.MonkeyPatch) -> None:
    cpufreq, zone = "/sys/devices/system/cpu/cpu0/cpufreq", "/sys/class/thermal/thermal_zone0"
    files = {
        f"{cpufreq}/scaling_cur_freq": "1500000",
        f"{cpufreq}/scaling_governor": "ondemand",
        f"{zone}/temp": "48312",
        f"{zone}/type": "cpu-thermal",
        "/proc/loadavg": "0.10 0.20 0.30 1/99 123",
    }
    monkeypatch.setattr(bench, "read", files.get)
    monkeypatch.setattr(bench.glob, "glob", lambda pattern: [cpufreq if "cpufreq" in pattern else zone])
    assert bench.conditions(quick=True) == {
        "frequency_khz": {"cpu0": 1500000},
        "governor": "ondemand",
        "temperature_c": {"thermal_zone0 cpu-thermal": 48.312},
        "throttling": None,
        "load_average": [0.1, 0.2, 0.3],
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("throttled=0x0", {"raw": "0x0", "now": [], "since_boot": []}),
        ("throttled=0x50005", {"raw": "0x50005", "now": ["under-voltage", "throttled"]}),
        ("VCHI initialization failed", None),
    ],
)
def test_throttling_flags_are_put_in_words(
    answer: str, expected: dict | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "vcgencmd"
    tool.write_text(f"#!/bin/sh\necho '{answer}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = bench.throttling()
    assert found == (expected if expected is None else {"since_boot": ["under-voltage", "throttled"], **expected})


# Promises of the file.


def test_it_is_python_3_9() -> None:
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 9))
    # `X | None` parses, but can be evaluated since 3.10 only: annotations are not evaluated, everything else is.
    assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [call for call in calls for keyword in call.keywords if keyword.arg == "strict"]


def test_it_imports_the_standard_library_numpy_and_a_runtime() -> None:
    modules = set()
    for node in ast.walk(ast.parse(SCRIPT.read_text())):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            modules.add(str(node.module))
    assert {module.split(".")[0] for module in modules} <= {*sys.stdlib_module_names, "numpy"}
    runtimes = {module.split(".")[0] for runtime in bench.RUNTIMES.values() for module in runtime.packages}
    assert runtimes == {"ai_edge_litert", "tflite_runtime", "onnxruntime", "MNN"}
