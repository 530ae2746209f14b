"""Estimates and reasons, on the demo's kind of network and on made-up measurements."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Made
from typer.testing import Result

from edgecomp.estimation import Range, estimate, facts, lanes
from edgecomp.explanation import Case, Finding, explain
from edgecomp.inspection import Inspection
from edgecomp.inspection.contents import Contents, Node, Tensor
from edgecomp.target import list_targets, load_target

Run = Callable[..., Result]


def inspection(*nodes: Node, tensors: tuple[Tensor, ...]) -> Inspection:
    return Inspection("tflite", 0, (), (), Contents(tensors, nodes, (0,), (len(tensors) - 1,)))


def convolution(op_type: str, channels: int, weight: tuple[int, ...], precision: str = "int8") -> Inspection:
    dtype = "int8" if precision == "int8" else "float32"
    tensors = (
        Tensor("x", dtype, (1, 16, 16, weight[3])),
        Tensor("w", dtype, weight, stored=1000),
        Tensor("y", dtype, (1, 16, 16, channels)),
    )
    return inspection(Node(op_type, "layer", precision, (0, 1), (2,)), tensors=tensors)


POINTWISE = convolution("CONV_2D", 24, (24, 1, 1, 64))


def case(looked_at: Inspection, target: str = "raspberry-pi-5", **known: Any) -> Case:
    profile = load_target(target)
    return Case(looked_at, estimate(looked_at, profile), profile, **known)


def measured(**changes: Any) -> dict[str, Any]:
    moment = {"throttling": None, "frequency_khz": None, "governor": "ondemand"}
    result = {
        "settings": {"threads": 4},
        "machine": {"machine": "aarch64", "cpu": {"usable": 4, "model": "Cortex-A76"}},
        "conditions": {"before": moment, "during": moment, "after": moment},
        "steady_state": {"steady": True, "verdict": "steady"},
        "profile": None,
    }
    return result | changes


def words(found: list[Finding]) -> str:
    return " / ".join(f"{finding.where}: {finding.why}" for finding in found)


def test_instructions_follow_from_lanes_and_what_was_counted() -> None:
    found = estimate(POINTWISE, load_target("raspberry-pi-5"))
    macs = 16 * 16 * 24 * 64
    low, high = facts()["overhead"]["tflite"]["int8"]
    assert found.macs == macs
    assert found.instructions == Range(low * macs / 16, high * macs / 16)
    without_dotprod = estimate(POINTWISE, load_target("raspberry-pi-4b"))
    assert without_dotprod.instructions.low == 2 * found.instructions.low


def test_time_is_between_all_ways_of_the_core_and_one() -> None:
    found = estimate(POINTWISE, load_target("raspberry-pi-4b"))
    assert found.milliseconds is not None
    assert found.milliseconds.low == pytest.approx(found.instructions.low / 3 / 1.8e6)
    assert found.milliseconds.high == pytest.approx(found.instructions.high / 1.8e6)
    assert found.as_dict()["estimate"] is True


def test_a_core_without_documented_facts_gets_no_time() -> None:
    found = estimate(POINTWISE, load_target("iphone-15"))
    assert found.milliseconds is None
    assert found.instructions.low > 0


@pytest.mark.parametrize("name", list_targets())
def test_every_target_has_lanes_that_its_features_give(name: str) -> None:
    profile = load_target(name)
    if profile.cpu.architecture == "arm64":
        assert (
            lanes("int8", profile)
            == (8, 16, 32)[("dotprod" in profile.cpu.features) + ("i8mm" in profile.cpu.features)]
        )
        assert lanes("float32", profile) == 4


def test_no_dot_product_is_said_of_int8_on_old_cores_alone() -> None:
    assert "Cortex-A72 has no dot product" in words(explain(case(POINTWISE, "raspberry-pi-4b")))
    assert "dot product" not in words(explain(case(POINTWISE)))
    floats = convolution("CONV_2D", 24, (24, 1, 1, 64), "float32")
    assert "dot product" not in words(explain(case(floats, "raspberry-pi-4b")))


def test_what_int8_saves_depends_on_the_runtime_and_the_core() -> None:
    floats = convolution("CONV_2D", 24, (24, 1, 1, 64), "float32")
    (found,) = [finding for finding in explain(case(floats)) if "multiplies in float" in finding.why]
    overhead = facts()["overhead"]["tflite"]
    assert found.gain == pytest.approx(1 - overhead["int8"][1] / 16 / (overhead["float32"][1] / 4))
    assert "multiplies in float" not in words(explain(case(POINTWISE)))
    for name, said in (("tflite", "11%"), ("onnxruntime", "51%"), ("mnn", "0%")):
        looked_at = dataclasses.replace(POINTWISE, format=name)
        assert f"and {said} of the instructions" in words(explain(case(looked_at, "raspberry-pi-4b")))


def test_channels_that_fill_no_tile_are_found_with_what_they_waste() -> None:
    (found,) = [finding for finding in explain(case(POINTWISE)) if "multiple of 16" in finding.why]
    assert found.where == "layer"
    assert found.gain == pytest.approx(0.25)
    assert "multiple" not in words(explain(case(convolution("CONV_2D", 32, (32, 1, 1, 64)))))


def test_a_depthwise_convolution_is_bound_by_memory_and_a_pointwise_one_is_not() -> None:
    depthwise = convolution("DEPTHWISE_CONV_2D", 64, (1, 3, 3, 64))
    assert "bound by memory" in words(explain(case(depthwise)))
    assert "bound by memory" not in words(explain(case(POINTWISE)))


def test_a_float_island_and_its_borders_are_found_with_their_measured_time() -> None:
    dtypes = {"x": "int8", "b": "float32", "c": "float32", "d": "int8", "y": "int8"}
    tensors = tuple(Tensor(name, dtype, (1, 8)) for name, dtype in dtypes.items())
    looked_at = inspection(
        Node("DEQUANTIZE", "b", "float32", (0,), (1,)),
        Node("ERF", "c", "float32", (1,), (2,)),
        Node("QUANTIZE", "d", "int8", (2,), (3,)),
        Node("DEQUANTIZE", "e", "float32", (3,), (4,)),
        Node("LOGISTIC", "y", "int8", (3,), (4,)),
        tensors=tensors,
    )
    profile = [{"name": name, "op": "", "mean_ms": 1.0} for name in ("c", "d")]
    found = explain(case(looked_at, result=measured(profile=profile)))
    assert "1 operator in float take 50%: ERF" in words(found)
    (border,) = [finding for finding in found if "dequantize operators" in finding.why]
    assert border.gain == 0.5


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"settings": {"threads": 8}}, "8 threads on 4 cores"),
        ({"settings": {"threads": 1}}, "threads used: 1, where 4 are there"),
        ({"steady_state": {"steady": False, "verdict": "drifting: +12%"}}, "drifting: +12%"),
    ],
)
def test_what_disturbed_a_measurement_is_said(changes: dict[str, Any], why: str) -> None:
    assert why in words(explain(case(POINTWISE, result=measured(**changes))))
    assert "measurement" not in words(explain(case(POINTWISE, result=measured())))


def test_a_measurement_of_another_machine_is_said_to_be_one() -> None:
    busy = {"settings": {"threads": 8}}
    for machine, core, said in (
        ("x86_64", "AMD EPYC", True),
        ("aarch64", "Cortex-A72", True),
        ("aarch64", None, False),
    ):
        result = measured(machine={"machine": machine, "cpu": {"usable": 4, "model": core}}, **busy)
        found = words(explain(case(POINTWISE, result=result)))
        assert ("no Raspberry Pi 5" in found) is said
        assert ("8 threads" in found) is not said  # it tells nothing else


def test_a_board_that_throttles_or_runs_slowly_is_said_to() -> None:
    moment = {"throttling": {"now": ["under-voltage"]}, "frequency_khz": {"cpu0": 1_200_000}, "governor": "powersave"}
    result = measured(conditions=dict.fromkeys(("before", "during", "after"), moment))
    found = explain(case(POINTWISE, result=result))
    assert "under-voltage" in words(found)
    assert "1200 MHz of 2400" in words(found)
    assert found[0].gain == 0.5  # the largest comes first


def test_zeros_in_full_shapes_are_said_to_be_multiplied() -> None:
    assert "multiply the zeros" in words(explain(case(POINTWISE, provenance=[{"name": "prune-weights"}])))


def test_the_commands_say_it_of_every_artifact_of_a_folder(edgecomp: Run, made: Made) -> None:
    estimated = edgecomp("estimate", made.folder, "--json")
    assert estimated.exit_code == 0, estimated.output
    for entry in json.loads(estimated.stdout)["artifacts"].values():
        assert entry["milliseconds"]["low"] < entry["milliseconds"]["high"]
    explained = edgecomp("explain", made.folder, "--json")
    assert explained.exit_code == 0, explained.output
    document = json.loads(explained.stdout)
    assert document["target"] == "raspberry-pi-4b"
    for findings in document["artifacts"].values():
        assert "no dot product" in findings[0]["why"]
    for command, heading in (("estimate", "an estimate, and no measurement"), ("explain", "no dot product")):
        assert heading in edgecomp(command, made.folder).stdout


def test_an_artifact_alone_needs_a_target(edgecomp: Run, made: Made) -> None:
    result = edgecomp("estimate", made.folder / "model.tflite", "--json")
    assert result.exit_code == 2
    assert "--target" in json.loads(result.stdout)["cure"]
    assert edgecomp("explain", made.folder / "model.tflite", "--target", "rpi5").exit_code == 0
