"""Training on the quantized graph: it computes what the simulation does, changes nothing by itself, and helps."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled import accuracy, bench_of, items, network, points, source_of

import edgecomp
from edgecomp.compression.fine_tuning import FineTuning
from edgecomp.compression.quantization_aware.module import RoundingModule
from edgecomp.compression.quantization_aware.result import learned
from edgecomp.compression.quantization_aware.rounding import LearnedRounding
from edgecomp.compression.quantization_aware.step import QuantizationAwareTraining
from edgecomp.compression.training.run import train
from edgecomp.errors import InputError, SourceError
from edgecomp.frontends import load_source
from edgecomp.model import CompressedModel
from edgecomp.preparation import prepare
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import StaticQuantization, StaticQuantization16, quantize_static
from edgecomp.recipe import Recipe
from edgecomp.target import load_target
from edgecomp.verification.metrics import Metrics
from edgecomp.workbench import Workbench

sys.path.append(str(Path(__file__).parents[1] / "converters"))

from networks import NETWORKS, Network

QAT = QuantizationAwareTraining(epochs=8, batch_size=32, learning_rate=1e-2)
INT8 = Recipe("raspberry-pi-4b", precision="int8")


def flat(outputs: Any) -> tuple[torch.Tensor, ...]:
    return tuple(outputs)


def quantized(network: Network, settings: StaticQuantization | None = None) -> CompressedModel:
    torch.manual_seed(0)
    source = load_source(network.make().eval(), example_inputs=(torch.rand(network.shape),))
    batches = [(np.random.default_rng(seed).random(network.shape, np.float32),) for seed in range(4)]
    return quantize_static(prepare(source), batches, settings, threads=1)


def steps(model: CompressedModel) -> list[float]:
    names = [value.name or "" for value in model.graph.graph.outputs]
    return [float(model.quantization[name].scale) if name in model.quantization else 0.0 for name in names]


CHOSEN = [each for each in NETWORKS if each.name in {"u-net", "shufflenet", "vision-transformer", "lstm", "keyword"}]


@pytest.mark.parametrize("network", CHOSEN, ids=lambda network: network.name)
def test_it_computes_what_the_simulation_does_and_leaves_everything_as_it_was(network: Network) -> None:
    model = quantized(network)
    module = RoundingModule(model, flat).eval()
    batch = np.random.default_rng(9).random((3, *network.shape[1:]), np.float32)
    with torch.no_grad():
        got = [tensor.numpy() for tensor in module(torch.from_numpy(batch))]
    simulation = Simulation(model, threads=1)
    expected = [np.concatenate(column) for column in zip(*(simulation.run([row[None]]) for row in batch), strict=True)]
    for have, want, step in zip(got, expected, steps(model), strict=True):
        unit = step or np.abs(want).max() / 255
        # A tie or the last bit of a sum may round to the other side, and the step goes on from there; a Transformer
        # magnifies it.
        assert np.abs(have - want).max() <= 3 * unit
        assert np.abs(have - want).mean() <= (1.0 if network.name == "vision-transformer" else 0.1) * unit
    again = learned(model, module)
    assert again.quantization == model.quantization
    for name, value in model.graph.graph.initializers.items():
        other, entry = again.graph.graph.initializers[name], model.quantization.get(name)
        pair = [each.const_value.numpy() for each in (value, other)]  # type: ignore[union-attr]
        np.testing.assert_array_equal(*(pair if entry is None else map(entry.quantize, pair)))


def test_int16_activations_too() -> None:
    model = quantized(CHOSEN[0], StaticQuantization16())
    module = RoundingModule(model, flat).eval()
    batch = np.random.default_rng(9).random(CHOSEN[0].shape, np.float32)
    with torch.no_grad():
        (got,) = module(torch.from_numpy(batch))
    (want,) = Simulation(model, threads=1).run([batch])
    assert np.abs(got.numpy() - want).max() <= 1e-3 * np.abs(want).max()


def test_every_weight_and_open_scale_learns() -> None:
    module = RoundingModule(quantized(CHOSEN[0]), flat)
    sum(output.square().mean() for output in module(torch.rand(2, 3, 32, 32))).backward()
    scales = [each.log_ratio for each in module.roundings]
    for weight in (*module.graph.weights.values(), *scales):
        assert weight.requires_grad == (weight.grad is not None and bool(weight.grad.abs().sum() > 0))


@pytest.mark.parametrize("axis", [None, 0])
def test_gradients_are_those_of_the_paper(axis: int | None) -> None:
    scale = np.array(0.1, np.float32) if axis is None else np.array([0.1, 0.2], np.float32)
    zero = np.zeros_like(scale, np.int32) + (3 if axis is None else 0)
    rounding = LearnedRounding(QuantizationParameters(scale, zero, "int8", axis), narrow=axis == 0)
    inputs = torch.tensor([[0.234, -0.07, 100.0], [-0.55, -100.0, 0.31]], requires_grad=True)
    slope = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    result = rounding(inputs)
    (result * slope).sum().backward()
    step = torch.from_numpy(np.broadcast_to(scale.reshape(-1, 1), (2, 3)).copy())
    z, low = (3, -128) if axis is None else (0, -127)
    q = (torch.round(inputs.detach() / step) + z).clamp(low, 127)
    torch.testing.assert_close(result.detach(), (q - z) * step)
    inside = inputs.detach().abs() < 50
    torch.testing.assert_close(inputs.grad, slope * inside)
    by_step = slope * torch.where(inside, (q - z) - inputs.detach() / step, q - z)
    damping = 1 / np.sqrt(6 * 127.5) if axis is None else 1 / np.sqrt(3 * 127)
    # What is learned is the logarithm: its gradient is the step's times the step.
    expected = (by_step * step).sum() if axis is None else (by_step * step).sum(dim=1)
    torch.testing.assert_close(rounding.log_ratio.grad, expected * damping)


def test_it_wins_back_what_rounding_cost() -> None:
    module = network(32)
    bench = bench_of(module)
    train(module, bench, FineTuning(epochs=15, learning_rate=1e-2))
    typical = points()[0]
    outlier = 200 * typical[:1]
    batches = [(row[None].numpy(),) for row in torch.cat([typical, outlier])]
    model = quantize_static(prepare(bench_of(module).source), batches, StaticQuantization("minmax"), threads=1)
    trained = replace(QAT, epochs=20, learning_rate=3e-2, schedule="linear").apply(model, bench)
    inputs, labels = points(300, seed=1)

    def score(of: CompressedModel) -> float:
        simulation = Simulation(of, threads=1)
        return accuracy([np.concatenate([simulation.run([row[None].numpy()])[0] for row in inputs])], labels)

    original, before, after = accuracy([module(inputs).detach()], labels), score(model), score(trained)
    assert before < original - 0.1, "rounding has to cost something"
    assert after > before + 0.5 * (original - before)
    facts = trained.provenance[-1].facts
    assert trained.provenance[-1].name == "qat"
    assert facts["metric"] > facts["metric_before"]


def test_artifacts_have_what_was_learned(tmp_path: Path) -> None:
    source = replace(source_of(network(32)), calibration_data=lambda: ((row[None],) for row in points()[0]))
    source = replace(source, evaluation_data=items(100, seed=1))
    recipe = replace(INT8, steps=(StaticQuantization(), QAT))
    result = edgecomp.compress(source, INT8.target, tmp_path / "out", recipe=recipe)
    verdicts = {verdict.name: verdict for verdict in result.verification.verdicts}
    assert len(verdicts) == 4
    assert all(verdict.metrics == verdicts["simulation"].metrics for verdict in verdicts.values())
    original = result.verification.metrics["accuracy"]
    assert verdicts["simulation"].metrics["accuracy"] > original + 0.1  # it was never trained before
    again = edgecomp.load_recipe(result.folder / "recipe.toml")
    assert again == recipe


def test_pruned_weights_stay_zero_and_a_teacher_helps() -> None:
    module = network(32)
    module[0].weight.data[::2] = 0  # type: ignore[index]
    bench = bench_of(module)
    model = quantize_static(prepare(bench.source), [(row[None].numpy(),) for row in points()[0]], threads=1)
    trained = replace(QAT, teacher="original", teacher_weight=0.5).apply(model, bench)
    first = next(node for node in model.graph.graph if node.op_type == "Gemm").inputs[1].name
    before, after = (each.graph.graph.initializers[first].const_value.numpy() for each in (model, trained))
    assert (before == 0).sum() == 16 * 8
    np.testing.assert_array_equal(before == 0, after == 0)
    assert not np.array_equal(before, after)


def test_an_onnx_source_with_training_data_from_a_file(tmp_path: Path) -> None:
    import onnx_ir as ir

    ir.save(source_of(network(32)).graph, tmp_path / "net.onnx")
    (tmp_path / "data.py").write_text(
        f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\n"
        "from labelled import items, points\n"
        "def train(): return items()()\n"
        "def calibration(): return ((row[None],) for row in points()[0])\n"
    )
    recipe = replace(INT8, formats=("onnxruntime",), steps=(StaticQuantization(), replace(QAT, teacher="original")))
    result = edgecomp.compress(
        tmp_path / "net.onnx",
        INT8.target,
        tmp_path / "out",
        recipe=recipe,
        training=str(tmp_path / "data.py:train"),
        calibration=str(tmp_path / "data.py:calibration"),
    )
    assert [step["name"] for step in result.manifest["provenance"]][-2:] == ["quantize", "qat"]


def test_it_comes_after_a_precision_with_activations() -> None:
    model = quantized(CHOSEN[-1])
    bench = Workbench.__new__(Workbench)
    with pytest.raises(InputError, match="whose activations are real numbers"):
        QAT.apply(replace(model, quantization={}, precision="fp32"), bench)
    with pytest.raises(SourceError, match="steps in the order"):
        Recipe.from_dict(
            {"schema": 1, "target": "x", "steps": [{"kind": "qat"}, {"kind": "static-int8"}]}, subject="recipe.toml"
        )
    for wrong in ({"teacher_weight": 0.0}, {"temperature": 0.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            QuantizationAwareTraining(**wrong)  # type: ignore[arg-type]


def test_a_graph_made_for_more_samples_says_which_batches_it_takes() -> None:
    class Pairs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network(32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.reshape(4, 8)).reshape(4, 3)

    source = load_source(Pairs().eval(), example_inputs=(torch.rand(4, 8),))
    source = replace(source, train_data=items(), metrics=Metrics("accuracy"))
    bench = Workbench(source, load_target("raspberry-pi-4b"))
    model = quantize_static(prepare(source), [(rows.numpy(),) for rows in points()[0].split(4)], threads=1)
    with pytest.raises(InputError, match="a multiple of 4"):
        replace(QAT, batch_size=30).apply(model, bench)
    replace(QAT, batch_size=32, epochs=1).apply(model, bench)
