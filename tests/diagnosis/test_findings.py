"""Each net that is broken on purpose: the layer is named, and the reason is the right one."""

import numpy as np
import pytest
from broken_nets import BROKEN, HEALTHY, Broken, drawn

from edgecomp.diagnosis.evidence import Evidence
from edgecomp.diagnosis.findings import CAUSES
from edgecomp.diagnosis.measure import measure
from edgecomp.diagnosis.report import Diagnosis, diagnose_model
from edgecomp.quantization.static import quantize_static


def diagnosed(broken: Broken) -> Diagnosis:
    model = broken.make()
    quantized = quantize_static(model, broken.calibration(), broken.settings, threads=1)
    batches = (broken.batches or broken.calibration)()
    return diagnose_model(quantized, model, batches[:6], source="net", target="none", threads=1)


@pytest.mark.parametrize("name", BROKEN)
def test_the_broken_layer_is_named_with_the_right_reason(name: str) -> None:
    broken = BROKEN[name]
    worst = next(layer for layer in diagnosed(broken).harmful if broken.layer in layer.name)
    (finding,) = [each for each in worst.findings if each.cause == broken.cause]
    assert broken.says in finding.words
    assert finding.cure


def test_every_cause_has_a_net_that_is_broken_in_that_way() -> None:
    assert {broken.cause for broken in BROKEN.values()} == {cause.name for cause in CAUSES}


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_wrong_with_a_healthy_net(name: str) -> None:
    model = HEALTHY[name]()
    quantized = quantize_static(model, drawn(), threads=1)
    diagnosis = diagnose_model(quantized, model, drawn()[:6], source="net", target="none", threads=1)
    assert not diagnosis.harmful
    assert diagnosis.verdict.startswith("nothing is wrong")
    assert sum(layer.share for layer in diagnosis.layers) == pytest.approx(1)


def test_a_dead_channel_does_not_pass_for_a_saturated_bias() -> None:
    saturated = next(cause for cause in CAUSES if cause.name == "saturated-bias")
    for make, expected in ((HEALTHY["dead-channel"], False), (BROKEN["saturated-bias"].make, True)):
        model = make()
        quantized = quantize_static(model, drawn(), threads=1)
        (first, *_) = [each for each in measure(quantized, model, drawn()[:2], threads=1).layers if each.layer.nodes]
        node = next(each for each in quantized.graph.graph if each.name == first.layer.name)
        evidence = Evidence(first, quantized, node, node.outputs[0])
        assert evidence.weight is not None
        assert evidence.weight_parameters is not None
        integers = np.abs(evidence.weight_parameters.quantize(evidence.weight)).max(axis=(1, 2, 3))
        assert integers.min() < 64
        assert (saturated.explain(evidence) is not None) == expected


@pytest.mark.parametrize("name", ["swish-tail", "attention-mask", "outlier-weights"])
def test_a_search_finds_the_worst_layer_without_rounding_every_one_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecomp.diagnosis.measure._PARTS", 2)
    broken, alone = BROKEN[name], 0
    model, batches = broken.make(), broken.calibration()
    quantized = quantize_static(model, batches, broken.settings, threads=1)

    def watch(stage: str, done: int, total: int, note: str = "", /) -> None:
        nonlocal alone
        alone = total if stage == "layers" else alone

    everything = diagnose_model(quantized, model, batches[:2], source="", target="", threads=1, progress=watch).layers
    assert alone == len(everything) > 2
    found = diagnose_model(quantized, model, batches[:2], source="", target="", threads=1, suspects=1, progress=watch)
    assert alone == 1
    assert found.layers[0].name == everything[0].name
    assert found.layers[0].share == pytest.approx(everything[0].share, abs=0.2)
