"""Data of several lengths for models with dynamic dimensions: through every step that works on data, and verification.

The network reads sequences: a convolution with BatchNorm, attention, a linear layer at each place, and the mean.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgecomp import artifact
from edgecomp.acceptance import check_sizes
from edgecomp.compression.fine_tuning import FineTuning
from edgecomp.compression.quantization_aware.step import QuantizationAwareTraining
from edgecomp.compression.training.batch_norm import BatchNormEstimation
from edgecomp.data import InputSpec, collect_calibration
from edgecomp.diagnosis.measure import measure
from edgecomp.errors import DataError
from edgecomp.frontends.torch_module import load_module
from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.pipeline import compress, quantize
from edgecomp.preparation import prepare
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import StaticQuantization
from edgecomp.recipe import Recipe
from edgecomp.recovery.absorption import BiasAbsorption
from edgecomp.recovery.adaround import AdaRound
from edgecomp.recovery.block_rounding import BlockRounding
from edgecomp.recovery.equalization import Equalization
from edgecomp.recovery.gptq import Gptq
from edgecomp.recovery.smoothing import Smoothing
from edgecomp.shapes import InputShapes, Symbol
from edgecomp.verification.metrics import Metrics
from edgecomp.verification.result import Verdict, Verification
from edgecomp.verification.result_folder import verify_folder
from edgecomp.verification.samples import Unlabelled
from edgecomp.verification.sizes import verify_unfit

WIDTH = 6


class Reader(nn.Module):
    """Reads (batch, time, numbers)."""

    def __init__(self, *, every_place: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)
        self.every_place = every_place

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        seen = torch.relu(self.norm(self.conv(sound.transpose(1, 2)))).transpose(1, 2)
        scores = (self.query(seen) @ self.key(seen).transpose(1, 2)).softmax(-1)
        scores = self.head(torch.relu(self.hidden(seen + scores @ self.value(seen))))
        return scores if self.every_place else scores.mean(1)


def net(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return Reader(**options).eval()


def sounds(lengths: Any, batch: int = 1) -> list[tuple[Any]]:
    random = np.random.default_rng(0)
    return [(random.standard_normal((batch, int(length), WIDTH)).astype(np.float32),) for length in lengths]


LENGTHS = [5, 16, 9, 30, 9, 12, 16, 21, 7, 16, 9, 44, 30, 3, 16, 9]
ITEMS = sounds(LENGTHS)
LABELLED = [(item, np.array([index % 3])) for index, item in enumerate(ITEMS)]
TIME = {"sound": (1, Symbol("time", 16), WIDTH)}


def source(**options: Any) -> Any:
    module = net(**options)
    found = load_module(
        module, tuple(map(torch.from_numpy, sounds([16])[0])), name="reader", shapes=TIME, subject="reader"
    )
    return dataclasses.replace(
        found,
        calibration_data=lambda: iter(ITEMS),
        train_data=lambda: iter(LABELLED),
        loss=nn.functional.cross_entropy,
    )


STEPS = {
    "equalize": (Equalization(least_gain=0.0), StaticQuantization()),
    "absorb": (BiasAbsorption(least_gain=0.0), StaticQuantization()),
    "smooth": (Smoothing(), StaticQuantization()),
    "measured": (StaticQuantization(estimator="measured"),),
    "gptq": (StaticQuantization(), Gptq()),
    "adaround": (StaticQuantization(), AdaRound(iterations=20)),
    "adaround-blocks": (StaticQuantization(), BlockRounding(iterations=20, batches=8)),
    "qat": (StaticQuantization(), QuantizationAwareTraining(epochs=1, batch_size=4)),
    "qat-teacher": (StaticQuantization(), QuantizationAwareTraining(epochs=1, batch_size=4, teacher="original")),
    "fine-tune": (BatchNormEstimation(), FineTuning(epochs=1, batch_size=4), StaticQuantization()),
    "mixed": (MixedPrecision(min_sqnr=45.0, strict=False), StaticQuantization()),
}


@pytest.mark.parametrize("name", STEPS)
def test_every_step_takes_items_of_several_lengths(name: str) -> None:
    made = quantize(source(), "linux-x86-64", recipe=Recipe("linux-x86-64", steps=STEPS[name]))
    assert made.model.quantization
    assert made.model.dynamic is not None
    kinds = [step.name for step in made.model.provenance]
    assert all(step.kind in kinds or step.kind == "static-int8" for step in STEPS[name])


def test_artifacts_are_verified_at_the_items_own_sizes(tmp_path: Path) -> None:
    """Outputs that follow the length, a metric over all of them, and the folder verified again on other lengths."""
    items = sounds(LENGTHS, batch=2)
    places = [np.tile(np.arange(length) % 3, (2, 1)) for length in LENGTHS]
    seen: list[Any] = []

    def metric(outputs: Any, labels: Any) -> float:
        seen.append([len(label) for label in labels])
        hits = [(scores.argmax(-1) == label).mean() for scores, label in zip(outputs[0], labels, strict=True)]
        return float(np.mean(hits))

    given = dataclasses.replace(
        source(every_place=True),
        evaluation_data=lambda: ((item, label) for item, label in zip(items, places, strict=True)),
        metrics=Metrics(metric),
    )
    result = compress(given, "linux-x86-64", tmp_path / "out", precision="int8", effort="fast")
    assert result.manifest["data"]["calibration"]["sizes"] == {"time": [3, 44]}
    assert result.manifest["data"]["evaluation"]["samples"] == result.verification.samples == 32
    in_order = [length for length in LENGTHS for _ in range(2)]
    assert seen == [in_order] * 5  # the original, the simulation and three artifacts
    for verdict in result.verification.verdicts:
        (compared,) = verdict.against_original
        assert compared.samples == 32
        assert verdict.metrics == pytest.approx(result.verification.metrics, abs=0.05)
    for verdict in result.verification.verdicts[1:]:
        assert verdict.against_simulation[0].max_difference < 2.5

    folder = tmp_path / "more"
    folder.mkdir()
    for index, (item,) in enumerate(sounds([4, 50, 19])):
        np.save(folder / f"{index}.npy", item[0] if index else item)
    again = verify_folder(tmp_path / "out", data=str(folder))
    assert again.samples == 4
    assert not again.violations
    made = artifact.load(result.artifacts["tflite"]).predict(sounds([23])[0][0])
    assert made["output"].shape == (1, 23, 3)


def quantized(items: list[Any], **settings: Any) -> Any:
    given = dataclasses.replace(source(), calibration_data=lambda: iter(items))
    return quantize(given, "linux-x86-64", recipe=Recipe("linux-x86-64", steps=(StaticQuantization(**settings),)))


def scales(items: list[Any], **settings: Any) -> dict[str, Any]:
    return {name: each.scale.tolist() for name, each in quantized(items, **settings).model.quantization.items()}


def test_the_order_of_lengths_does_not_matter() -> None:
    wanted = scales(ITEMS)
    by_length = sorted(ITEMS, key=lambda item: item[0].shape[1])
    assert scales(by_length) == wanted
    assert scales(by_length[::-1], estimator="minmax") == scales(ITEMS, estimator="minmax")


def test_one_length_gives_what_a_model_of_fixed_size_gives() -> None:
    items = sounds([16] * 12)
    fixed = load_module(net(), tuple(map(torch.from_numpy, items[0])), name="reader", subject="reader")
    fixed = dataclasses.replace(fixed, calibration_data=lambda: iter(items))
    recipe = Recipe("linux-x86-64", steps=(Equalization(), Smoothing(), StaticQuantization(), Gptq()))
    free = dataclasses.replace(source(), calibration_data=lambda: iter(items))
    first, second = (quantize(each, "linux-x86-64", recipe=recipe).model for each in (fixed, free))
    weights = {name for name in first.quantization if name in first.graph.graph.initializers}
    assert weights
    for name in weights & set(second.graph.graph.initializers):
        left, right = (each.graph.graph.initializers[name].const_value.numpy() for each in (first, second))
        np.testing.assert_array_equal(left, right)
        np.testing.assert_array_equal(first.quantization[name].scale, second.quantization[name].scale)
    inputs = {name: model.quantization[name].scale for model in (first, second) for name in ["sound"]}
    assert inputs["sound"] == first.quantization["sound"].scale


def test_layers_are_measured_over_all_lengths() -> None:
    made = quantized(ITEMS)
    found = measure(made.model, made.unrounded, list(made.batches))
    assert found.batches == len(LENGTHS)
    assert all(layer.statistics is not None for layer in found.layers)
    # Time lies where an input's channels would: it has none.
    assert next(layer for layer in found.layers if layer.layer.tensor == "sound").channels == 0
    assert max(layer.channels or 0 for layer in found.layers) == 8


@pytest.mark.parametrize(
    ("shapes", "expected", "actual"),
    [
        (None, "time=16", "time=5"),
        (InputShapes({}, {"batch": 1}), "time=16", "time=5"),
        (InputShapes({}, {"time": 16}, signatures=({"time": 16}, {"time": 8})), "time=16 or time=8", "time=5"),
        (InputShapes({}, {"time": 16}, signatures=({"time": 16}, {"time": 5})), "", ""),
        (InputShapes({}, {"time": 16}), "", ""),
    ],
)
def test_a_length_that_the_graph_cannot_have_is_named(shapes: Any, expected: str, actual: str) -> None:
    spec = InputSpec("sound", "float32", (1, 16, WIDTH), (None, "time", None))
    data = collect_calibration(iter(sounds([16, 5])), [spec], subject="data")
    if not expected:
        check_sizes("reader", data, shapes, {"time": 16})
        return
    with pytest.raises(DataError) as caught:
        check_sizes("reader", data, shapes, {"time": 16})
    assert (caught.value.expected, caught.value.actual) == (expected, actual)
    assert "pad" in caught.value.cure
    assert caught.value.exit_code == 2


def test_an_artifact_that_fixes_a_length_is_verified_at_it() -> None:
    """It takes none of the items as they are: they are cut and repeated for it."""
    paths = [Path("free.onnx"), Path("fixed.mnn")]
    free, fixed = (Verdict(path.name, ()) for path in paths)
    batches = sounds([5, 30])
    seen: list[Any] = []

    def run(artifacts: Any, samples: Any) -> Verification:
        seen.extend(inputs[0].shape for inputs, _ in samples)
        return Verification(2, None, (free, fixed), {(free.name, fixed.name): ()}, example={"inputs": {"cut": batches}})

    found = Verification(2, 0.5, (free,), unfit=(fixed.name,))
    shapes = InputShapes({"sound": (1, "time", WIDTH)}, {"time": 16})
    whole = verify_unfit(run, paths, found, shapes, Unlabelled(batches))
    assert seen == [(1, 16, WIDTH)] * 2
    assert whole.verdicts == (free, fixed)
    assert list(whole.between) == [("free.onnx", "fixed.mnn")]
    assert list(whole.example["inputs"]) == ["cut"]
    assert verify_unfit(run, paths, whole_of(found), shapes, Unlabelled(batches)) == whole_of(found)


def whole_of(found: Verification) -> Verification:
    return dataclasses.replace(found, unfit=())


class Steps(nn.Module):
    """What only torch.export takes (diff), and a number of samples that is looked at."""

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        steps = torch.diff(sound, dim=1)
        return steps.flatten(0, 1).unflatten(0, (sound.shape[0], -1))


def test_an_example_of_one_sample_does_not_fix_the_batch_of_torch_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a size of 1 for fixed in decoders (LLaMA): it is shown other ones."""
    shown: list[Any] = []
    export = torch.onnx.export

    def watching(module: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        shown.extend(inputs[0].shape for _ in range(bool(options.get("dynamo"))))
        return export(module, inputs, *rest, **options)

    monkeypatch.setattr(torch.onnx, "export", watching)
    shapes = {"sound": (Symbol("batch", 1), Symbol("time", 8), 4)}
    loaded = load_module(Steps(), (torch.rand(1, 8, 4),), name="steps", subject="steps", shapes=shapes)
    assert min(shown[0]) > 1
    prepared = prepare(loaded)
    assert prepared.dynamic is not None
    assert set(prepared.dynamic.example) == {"batch", "time"}
    for shape in ((1, 8, 4), (3, 5, 4), (2, 20, 4)):
        sound = np.random.default_rng(0).random(shape).astype(np.float32)
        (found,) = Simulation(prepared, threads=1).run([sound])
        np.testing.assert_allclose(found, np.diff(sound, axis=1), rtol=1e-5)
