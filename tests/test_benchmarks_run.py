"""The arithmetic behind the figures of `benchmarks/`, and one small run of what is fast enough to run."""

import importlib
import math
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


# The scripts import each other by name, as they do when they are run.
sys.path.insert(0, str(FOLDER))
scaling = importlib.import_module("conversion_scaling")
figures = importlib.import_module("figures")
command = importlib.import_module("lite0_command")
artifacts = importlib.import_module("lite0_artifacts")
report = importlib.import_module("lite0_report")
convert = importlib.import_module("convert")
latency = importlib.import_module("latency")
processes = importlib.import_module("processes")


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_the_fit_finds_the_exponent_of_a_power_law(power: float) -> None:
    nodes = (100, 1000, 5000)
    assert scaling.exponent(nodes, [3e-4 * n**power for n in nodes]) == pytest.approx(power)


def test_a_fixed_cost_cannot_hide_a_quadratic_end() -> None:
    nodes = (100, 1000, 5000)
    step = scaling.Step("mnn fp32", nodes, tuple(2 + 1e-6 * n**2 for n in nodes))
    assert step.overall < scaling.LIMIT < step.at_the_end
    assert not step.linear


def test_a_step_without_an_exponent_is_not_linear() -> None:
    assert math.isnan(scaling.exponent((100,), (1.0,)))
    assert not scaling.Step("x", (100,), (1.0,)).linear
    assert not scaling.Step("x", (100, 1000), (1.0, 5.0), failure="5000 nodes: it crashed").linear


@pytest.mark.parametrize("nodes", [1, 5, 12])
def test_a_chain_has_as_many_nodes_as_asked_for(nodes: int) -> None:
    assert len(scaling.chain(nodes).graph) == nodes


def test_every_step_is_measured_at_every_size() -> None:
    steps = scaling.measure([5, 10], 1, ["tflite", "onnxruntime"])
    names = ["simplify", "quantize", "tflite fp32", "tflite int8", "onnxruntime fp32", "onnxruntime int8"]
    assert [step.name for step in steps] == names
    assert all(step.nodes == (5, 10) and min(step.seconds) > 0 and not step.failure for step in steps)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (range(5), 0, 4),  # five cannot give 95 %: their range
        (range(6), 0, 5),  # 1 - 2/64 = 96.9 %
        (range(9), 1, 7),  # 1 - 2 (1 + 9)/512 = 96.1 %
        (range(20), 5, 14),  # 95.9 %, as in tables of the sign test
    ],
)
def test_the_interval_of_a_median_is_the_sign_tests(values: range, low: int, high: int) -> None:
    found = figures.sign_interval(list(values))
    assert (found.low, found.high) == (low, high)
    assert found.value == (values[0] + values[-1]) / 2


def test_stages_add_up_to_the_whole_run() -> None:
    events = [
        ("load", 0, 1, 11.0),
        ("load", 1, 1, 14.0),
        ("simplify", 0, 1, 14.0),
        ("simplify", 1, 1, 15.0),
        ("calibrate", 0, 2, 18.0),
        ("calibrate", 1, 2, 19.0),
        ("calibrate", 2, 2, 20.0),
        ("convert", 0, 2, 21.0),
        ("convert tflite", 1, 2, 22.0),
        ("convert mnn", 2, 2, 24.0),
        ("convert mnn", 2, 2, 24.0),
        ("verify", 0, 1, 24.0),
        ("verify", 1, 2, 28.0),
        ("verify", 2, 2, 30.0),
    ]
    found = dict(command.stages(events, 10.0, 31.0))
    assert sum(found.values()) == pytest.approx(21.0)
    assert (found["read photos"], found["calibrate"], found["convert mnn"], found["verify"]) == (3.0, 2.0, 2.0, 6.0)


def test_the_best_peer_is_the_fastest_on_the_same_runtime() -> None:
    ours = artifacts.Candidate("LiteRT", "edgecomp int8", Path("x"), turns=[1.0])
    fast = artifacts.Candidate("LiteRT", "float", Path("x"), turns=[9.0, 3.0, 2.0])
    slow = artifacts.Candidate("LiteRT", "other", Path("x"), turns=[4.0])
    elsewhere = artifacts.Candidate("MNN", "float", Path("x"), turns=[0.1])
    missing = artifacts.Candidate("LiteRT", "missing", None)
    assert artifacts.best_peer(ours, [ours, slow, fast, elsewhere, missing]) is fast
    assert artifacts.best_peer(artifacts.Candidate("TVM", "edgecomp int8", None), [slow, fast]) is None


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.9, 1.02, "met"), (1.03, 1.2, "MISSED"), (1.0, 1.1, "undecided: noise")]
)
def test_only_an_interval_on_one_side_of_the_limit_decides(low: float, high: float, said: str) -> None:
    assert report.ratio_verdict(figures.Ratio((low + high) / 2, low, high)) == said


def test_a_missing_peer_is_named_and_not_left_out() -> None:
    def make() -> Path:
        raise artifacts.MissingPeerError("not installed: pip install it")

    found = artifacts.peer("LiteRT", "a peer", make)
    assert (found.path, found.missing) == (None, "not installed: pip install it")


def test_a_command_is_measured_with_its_children() -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = bytes(90_000_000) + b\"1\"; sum(x)'])"
    cost = processes.run([sys.executable, "-c", f"{child}; print('the end')"])
    assert (cost.status, cost.words) == (0, "the end")
    assert cost.largest > 90_000_000
    assert 0 < cost.cpu < 2 * cost.wall


def test_a_command_that_takes_too_long_is_stopped() -> None:
    cost = processes.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.5)
    assert cost.status == 124
    assert cost.wall < 30


def test_conversions_are_measured_and_a_tool_that_is_missing_is_named(tmp_path: Path) -> None:
    ours, missing = convert.tools(sys.executable, sys.executable, "tflite")[1:3]
    networks = convert.write_networks(["chain-10"], tmp_path)
    found = convert.measure(networks, [ours, missing], 1, lambda text: None)
    assert [(row.tool, len(row.costs), row.failure) for row in found] == [
        ("edgecomp, writing only", 1, ""),
        ("litert-torch", 0, "not installed"),
    ]


def test_inferences_take_turns(onnx_file: Path) -> None:
    found = latency.alternate([onnx_file, onnx_file], 4)
    assert [len(samples) for samples in found] == [4, 4]
    assert min(map(min, found)) > 0


def test_a_tool_that_is_not_there_is_named(tmp_path: Path) -> None:
    network = convert.write_networks(["chain-5"], tmp_path)[0]
    tool = convert.Tool("other", str(tmp_path / "python"), lambda network, out: [], "json")
    (row,) = convert.measure([network], [tool], 1, print)
    assert row.failure == "not installed"
