from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgecomp.benchmark import SCHEMA, Measurement, compare, measure_local, read_answer
from edgecomp.device_scripts import bench
from edgecomp.errors import DataError, InputError, MissingToolchainError, PromiseError, SourceError


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", info[:1], info[1:])
    path = tmp_path / "a 'strange' $name.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def measurement(samples: np.ndarray) -> Measurement:
    document = {
        "schema": SCHEMA,
        "latency_ms": bench.summarize(samples.tolist()),
        "samples_ms": samples.tolist(),
        "steady_state": bench.steady_state(samples.tolist()),
        "golden": None,
    }
    return Measurement.from_json(json.dumps(document), subject="test")


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Puts another `onnxruntime` before the real one, for the subprocess."""
    folder = tmp_path / "stand-in"
    folder.mkdir()
    (folder / "onnxruntime.py").write_text(code)
    monkeypatch.syspath_prepend(folder)


def test_an_artifact_is_measured_on_this_machine(artifact: Path, tmp_path: Path) -> None:
    x = np.array([[-1, 0, 1, 2]] * 2, np.float32)
    golden = tmp_path / "golden.npz"
    np.savez(golden, **{f"{artifact.name}/inputs/0": x, f"{artifact.name}/outputs/0": np.maximum(x, 0)})
    found = measure_local(artifact, runs=20, warmup=2, threads=2, golden=golden, profile=True)
    assert len(found.samples) == 20
    assert found.latency.min == min(found.samples)
    assert found.latency.p50 == pytest.approx(np.median(found.samples))
    assert found.agrees is True
    assert found.raw["settings"] == {"runs": 20, "warmup": 2, "threads": 2, "inputs": "golden"}
    assert found.raw["profile"][0]["op"] == "Relu"
    assert Measurement.from_json(json.dumps(found.raw), subject="again") == found


def test_schemas_of_script_and_reader_are_the_same() -> None:
    assert bench.SCHEMA == SCHEMA


def test_latency_has_the_fields_that_the_script_writes() -> None:
    assert set(dataclasses.asdict(measurement(np.ones(3)).latency)) == set(bench.summarize([1.0]))


# Errors.


def test_a_damaged_artifact_is_a_source_error(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(SourceError, match="cannot be loaded"):
        measure_local(tmp_path / "bad.onnx")


def test_a_missing_artifact_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        measure_local(tmp_path / "none.onnx")


def test_a_golden_file_of_another_artifact_is_a_data_error(artifact: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", **{"other.onnx/inputs/0": np.zeros(1)})
    with pytest.raises(DataError, match=r"other\.onnx"):
        measure_local(artifact, golden=tmp_path / "golden.npz")


def test_too_few_runs_are_an_input_error(artifact: Path) -> None:
    with pytest.raises(InputError, match="0 is less than 1"):
        measure_local(artifact, runs=0)


def test_a_missing_runtime_gives_the_pip_line(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "raise ImportError('gone')")
    with pytest.raises(MissingToolchainError, match="pip install onnxruntime"):
        measure_local(artifact)


def test_a_crashing_runtime_is_reported_with_its_last_words(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "import os\nos.write(1, b'farewell')\nos.kill(os.getpid(), 11)")
    with pytest.raises(PromiseError, match=r"ended by SIGSEGV.*farewell(?s:.*)damaged"):
        measure_local(artifact)


def test_a_runtime_that_exits_is_reported(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "import os\nos._exit(3)")
    with pytest.raises(PromiseError, match="exit code 3 and no result"):
        measure_local(artifact)


def test_an_unforeseen_error_of_the_runtime_is_reported(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "raise RuntimeError('no licence')")
    with pytest.raises(PromiseError, match="RuntimeError: no licence"):
        measure_local(artifact)


def test_a_runtime_that_hangs_is_stopped(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "import time\ntime.sleep(60)")
    with pytest.raises(PromiseError, match=r"within 0\.5 s"):
        measure_local(artifact, timeout=0.5)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("SIGILL", "instructions"),
        ("SIGKILL", "memory"),
        ("SIGABRT", "damaged"),
        ("SIGBUS", "disk"),
        ("SIGTERM", "again"),
    ],
)
def test_a_signal_gets_its_likely_cause(name: str, cause: str) -> None:
    with pytest.raises(PromiseError, match=name) as caught:
        read_answer(-signal.Signals[name], "", b"", Path("m.onnx"))
    assert cause in caught.value.cure


@pytest.mark.parametrize("text", ["", '{"schema": 1, "latency_ms": {"mi', "[]", '{"schema": 1}', '{"schema": 99}'])
def test_a_truncated_or_newer_result_is_a_source_error(text: str) -> None:
    with pytest.raises(SourceError, match="schema 1 or older"):
        Measurement.from_json(text, subject="result.json")


# Comparison.


def test_the_ratio_of_a_slower_measurement_is_above_one() -> None:
    rng = np.random.default_rng(0)
    baseline, other = (measurement(rng.normal(mean, 0.5, 100)) for mean in (10, 12))
    found = compare(baseline, other)
    assert found.ratio == pytest.approx(1.2, abs=0.02)
    assert 1.1 < found.low < found.ratio < found.high < 1.3


def test_equal_measurements_are_not_told_apart_more_often_than_promised() -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(60):
        found = compare(*(measurement(rng.normal(10, 0.5, 50)) for _ in range(2)), resamples=200)
        wrong += not found.low <= 1 <= found.high
    assert wrong <= 8  # 3 expected


def test_the_interval_is_wider_when_neighbouring_samples_are_alike() -> None:
    rng = np.random.default_rng(2)
    alike = 10 + np.repeat(rng.normal(0, 0.5, 100), 10)
    shuffled = rng.permutation(alike)
    widths = [found.high - found.low for found in (compare(*[measurement(s)] * 2) for s in (alike, shuffled))]
    assert widths[0] > 1.5 * widths[1]


def test_a_comparison_repeats_to_the_bit() -> None:
    samples = measurement(np.random.default_rng(3).gamma(5, size=40))
    assert compare(samples, samples) == compare(samples, samples)
    assert compare(samples, samples).ratio == 1


def test_one_sample_is_enough_to_compare() -> None:
    found = compare(measurement(np.array([2.0])), measurement(np.array([3.0])))
    assert (found.ratio, found.low, found.high) == (1.5, 1.5, 1.5)
