"""The training loop: it learns, repeats, resumes, keeps masks, and says what is wrong."""

import itertools
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled import accuracy, bench_of, items, network, points, source_of

import edgecomp
from edgecomp.compression.fine_tuning import FineTuning
from edgecomp.compression.pruning.weights import WeightPruning
from edgecomp.compression.training.batch_norm import reestimate
from edgecomp.compression.training.data import TrainingData
from edgecomp.compression.training.loop import Callback, Epoch
from edgecomp.compression.training.masks import apply_masks, drop_mask, mask_of, set_mask
from edgecomp.compression.training.objective import Sum, TaskObjective, task_loss
from edgecomp.compression.training.optimizers import OPTIMIZERS, SCHEDULES, learning_rate
from edgecomp.compression.training.run import train
from edgecomp.compression.training.settings import Training
from edgecomp.errors import DataError, InputError, SourceError, TrainingError
from edgecomp.recipe import Recipe

QUICK = FineTuning(epochs=6, batch_size=32, learning_rate=1e-2)
FLOAT = Recipe("raspberry-pi-4b", precision="fp32", formats=("onnxruntime",))


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in module.state_dict().values()]


def equal(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(left, right, strict=True))


def test_it_learns_and_says_how() -> None:
    module = network()
    bench = bench_of(module)
    before = bench.metric(module)
    said: list[str] = []

    def watch(stage: str, done: int, total: int, note: str = "", /) -> None:
        said.append(f"{stage} {done}/{total} {note}")

    bench = replace(bench, progress=watch)
    report = train(module, bench, QUICK)
    after = bench.metric(module)
    assert before is not None
    assert after is not None
    assert after > before + 0.2
    assert report.history.epochs[-1].loss < report.history.epochs[0].loss / 1.5
    assert report.history.epochs[-1].metric == after
    assert not module.training
    assert report.samples == 240
    assert report.facts["epochs"] == 6
    # 240 samples are 7 batches of 32; the metric is that of the epoch before.
    assert said[-1].startswith("fine-tune 42/42 loss ")
    assert f"metric {report.history.epochs[-2].metric:.4f}" in said[-1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_makes_the_loss_smaller(optimizer: Any) -> None:
    module = network()
    rate = {"rmsprop": 1e-3, "radam": 3e-2}.get(optimizer, 1e-2)
    report = train(module, bench_of(module), replace(QUICK, optimizer=optimizer, learning_rate=rate))
    assert report.history.epochs[-1].loss < 0.95 * report.history.epochs[0].loss


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_stay_between_none_and_all_of_the_learning_rate(schedule: Any) -> None:
    settings = Training(schedule=schedule, warmup=0.2)
    rates = [learning_rate(settings, step, 100) for step in range(100)]
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[:20] == sorted(rates[:20])
    if schedule != "one-cycle":
        assert rates[20] == pytest.approx(1)
        assert rates[20:] == sorted(rates[20:], reverse=True)


def test_the_seed_decides() -> None:
    results = []
    for seed in (0, 0, 1):
        module = torch.nn.Sequential(network(), torch.nn.Dropout(0.2))
        train(module, replace(bench_of(module), seed=seed), replace(QUICK, epochs=2))
        results.append(weights(module))
    assert equal(results[0], results[1])
    assert not equal(results[0], results[2])


class Interruption(Callback):
    def __init__(self, after: int) -> None:
        self.after = after

    def after_epoch(self, module: torch.nn.Module, epoch: Epoch) -> None:
        if epoch.number == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("settings", [QUICK, replace(QUICK, early_stop=True, optimizer="sgd", warmup=0.3)])
def test_an_interrupted_run_goes_on_to_the_same_result(tmp_path: Path, settings: FineTuning) -> None:
    start = torch.nn.Sequential(network(), torch.nn.Dropout(0.2))
    whole = deepcopy(start)
    expected = train(whole, bench_of(whole), settings)
    module = deepcopy(start)
    with pytest.raises(KeyboardInterrupt):
        train(module, bench_of(start, tmp_path), settings, callbacks=[Interruption(3)])
    epochs: list[int] = []

    class Count(Callback):
        def before_epoch(self, module: torch.nn.Module, number: int) -> None:
            epochs.append(number)

    again = deepcopy(start)
    report = train(again, bench_of(start, tmp_path), settings, callbacks=[Count()])
    assert epochs[0] == 3, "the three epochs that were saved are not repeated"
    assert equal(weights(again), weights(whole))
    assert report.history == expected.history


def test_another_run_does_not_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    module = network()
    train(deepcopy(module), bench_of(module, tmp_path), QUICK)
    other = network(seed=1)
    reference = deepcopy(other)
    train(other, bench_of(other, tmp_path), QUICK)
    train(reference, bench_of(reference), QUICK)
    assert equal(weights(other), weights(reference))


def test_a_damaged_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    module = network()
    reference = deepcopy(module)
    expected = train(reference, bench_of(module, tmp_path), QUICK)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:1000])
    assert train(module, bench_of(module, tmp_path), QUICK).history == expected.history
    assert equal(weights(module), weights(reference))


def test_masks_survive_training_and_copies() -> None:
    module = network()
    layer = module[0]  # type: ignore[index]
    mask = torch.arange(layer.weight.numel()).reshape(layer.weight.shape) % 2 == 0
    set_mask(layer, "weight", mask)
    assert "mask" not in " ".join(module.state_dict())
    copy = deepcopy(module)
    train(copy, bench_of(module), replace(QUICK, weight_decay=0.1))
    assert not copy[0].weight[~mask].any()  # type: ignore[index]
    assert copy[0].weight[mask].all()  # type: ignore[index]
    drop_mask(layer, "weight")
    assert mask_of(layer, "weight") is None
    layer.weight.data.fill_(1.0)
    apply_masks(module)
    assert layer.weight.all()


def test_what_a_step_before_removed_stays_removed(tmp_path: Path) -> None:
    recipe = replace(FLOAT, steps=(WeightPruning(0.5), replace(QUICK, epochs=2)))
    result = edgecomp.compress(source_of(network()), FLOAT.target, tmp_path / "out", recipe=recipe)
    facts = {step["name"]: step["facts"] for step in result.manifest["provenance"]}
    assert facts["prune-weights"]["zeros"] == 88
    graph = result.model.graph.graph
    matrices = [value.const_value.numpy() for value in graph.initializers.values() if len(value.shape) == 2]  # type: ignore[arg-type, union-attr]
    assert sum(int((matrix == 0).sum()) for matrix in matrices) == 88


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_weights() -> None:
    module = network()
    calls = itertools.count()

    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        value = torch.nn.functional.cross_entropy(outputs, labels)
        return value * float("nan") if next(calls) == 10 else value

    bench = bench_of(module, loss=loss)
    good: list[list[torch.Tensor]] = []

    class Keep(Callback):
        def after_epoch(self, module: torch.nn.Module, epoch: Epoch) -> None:
            good.append(weights(module))

    with pytest.raises(TrainingError, match="NaN or infinity; the weights after epoch 1 are kept") as caught:
        train(module, bench, QUICK, callbacks=[Keep()])
    assert "learning_rate" in caught.value.cure
    assert equal(weights(module), good[-1])


def test_weights_that_overflow_are_noticed() -> None:
    module = torch.nn.Linear(8, 3)
    with pytest.raises(TrainingError, match="finite"):
        train(module, bench_of(module), replace(QUICK, epochs=1, optimizer="sgd", learning_rate=1e38))
    assert all(bool(weight.isfinite().all()) for weight in module.parameters())


def test_early_stop_keeps_the_best_epoch() -> None:
    module = network()
    settings = replace(QUICK, epochs=40, early_stop=True, patience=2, learning_rate=0.05, validation=0.3)
    report = train(module, bench_of(module), settings)
    scores = [epoch.score for epoch in report.history.epochs]
    assert len(scores) < 40
    assert all(score is not None for score in scores)
    best = max(score for score in scores if score is not None)
    assert scores.index(best) == len(scores) - 3
    assert report.history.best == len(scores) - 2 == report.facts["best_epoch"]
    held_out, _ = bench_of(module).training.split(0.3, 0)
    outputs = module(torch.cat([inputs for (inputs,), _ in held_out.in_order(16)])).detach()
    assert accuracy([outputs], torch.cat([labels for _, labels in held_out.in_order(16)])) == best


def test_training_that_only_does_harm_is_undone() -> None:
    module = network()
    bench = bench_of(module)
    train(module, bench, replace(QUICK, epochs=15))
    good = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    destroying = replace(QUICK, epochs=9, early_stop=True, patience=2, optimizer="sgd", learning_rate=300.0)
    report = train(module, bench, destroying)
    assert report.facts["best_epoch"] == 0
    assert len(report.history.epochs) == 2
    assert all(torch.equal(tensor, good[name]) for name, tensor in module.state_dict().items())


def test_a_callback_can_end_it() -> None:
    module = network()
    report = train(module, bench_of(module, on_epoch=lambda module, epoch: epoch.number == 1), QUICK)
    assert len(report.history.epochs) == 2


def test_a_task_can_bring_its_own_loop() -> None:
    module = network()
    seen: list[Any] = []

    def own(module: torch.nn.Module, objective: Any, batches: Any, settings: Any) -> None:
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        for epoch in range(2):
            for inputs, labels in batches(epoch):
                seen.append(len(labels))
                optimizer.zero_grad()
                objective(module, inputs, labels).backward()
                optimizer.step()

    set_mask(module[0], "weight", torch.zeros(16, 8))  # type: ignore[index]
    before = weights(module)
    report = train(module, bench_of(module, train=own), QUICK)
    assert seen == [32] * 14
    assert not equal(before, weights(module))
    assert not module[0].weight.any()  # type: ignore[index]
    assert report.history.epochs == ()

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(TrainingError, match="ZeroDivisionError: division by zero"):
        train(module, bench_of(module, train=broken), QUICK)


def test_half_precision_learns_too() -> None:
    module = network()
    seen: list[torch.dtype] = []

    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(outputs.dtype)
        return torch.nn.functional.cross_entropy(outputs, labels)

    report = train(module, bench_of(module, loss=loss), replace(QUICK, mixed_precision="on"))
    assert set(seen) == {torch.bfloat16}
    assert report.history.epochs[-1].loss < report.history.epochs[0].loss


def test_a_large_gradient_is_clipped() -> None:
    module = torch.nn.Linear(8, 3)
    before = weights(module)
    settings = replace(QUICK, epochs=1, batch_size=240, optimizer="sgd", momentum=0.0, clip_norm=1e-3)
    train(module, bench_of(module), replace(settings, learning_rate=1.0, schedule="constant"))
    moved = sum(float(((a - b) ** 2).sum()) for a, b in zip(before, weights(module), strict=True)) ** 0.5
    assert moved == pytest.approx(1e-3, rel=1e-3)


def test_batches_are_regrouped_and_shuffled() -> None:
    data = bench_of(network()).training
    inputs, labels = points()
    got = [(x, y) for (x,), y in data.shuffled(50, seed=3)]
    assert [len(x) for x, _ in got] == [50] * 4
    order = [int((inputs == row).all(dim=1).nonzero()[0, 0]) for x, _ in got for row in x]
    assert len(set(order)) == 200
    assert order != sorted(order)
    assert torch.equal(torch.cat([y for _, y in got]), labels[order])
    in_order = [x for (x,), _ in data.in_order(100)]
    assert [len(x) for x in in_order] == [100, 100, 40]
    assert torch.equal(torch.cat(in_order), inputs)


def test_new_data_for_each_epoch_when_a_task_augments() -> None:
    module = network()
    opened = []

    def augmented() -> Any:
        opened.append(np.random.rand())
        return items()()

    train(module, bench_of(module, train_data=augmented), replace(QUICK, epochs=3, fresh_data=True))
    assert len(set(opened)) == 3


def test_objectives_add_up() -> None:
    module = network()
    source = source_of(module)
    goal = TaskObjective(task_loss(source))
    inputs, labels = points(20)
    once, thrice = goal(module, (inputs,), labels), Sum((goal, 1.0), (goal, 2.0))(module, (inputs,), labels)
    assert thrice.item() == pytest.approx(3 * once.item())


def test_statistics_of_batch_norm_are_measured_again() -> None:
    module = network()
    module[0].weight.data *= 3  # type: ignore[index]
    momentum = module[1].momentum  # type: ignore[index]
    inputs, _ = points()
    assert reestimate(module, [(each,) for each in inputs.split(80)]) == 1
    hidden = module[0](inputs)  # type: ignore[index]
    torch.testing.assert_close(module[1].running_mean, hidden.mean(dim=0).detach())  # type: ignore[index]
    assert module[1].momentum == momentum  # type: ignore[index]
    assert not module[1].training  # type: ignore[index]


def test_without_training_data_the_steps_that_need_them_are_named(tmp_path: Path) -> None:
    recipe = replace(FLOAT, steps=(WeightPruning(0.5), QUICK))
    source = source_of(network(), train_data=None)
    with pytest.raises(DataError, match="fine-tune learns from") as caught:
        edgecomp.compress(source, FLOAT.target, tmp_path / "out", recipe=recipe)
    assert "train_data()" in caught.value.cure
    with pytest.raises(DataError, match="train_data"):
        bench_of(network(), train_data=None).training  # noqa: B018


def test_a_default_loss_that_does_not_fit_is_explained() -> None:
    module = network()
    wrong = lambda: iter([((points()[0],), torch.rand(240, 3))])  # noqa: E731
    with pytest.raises(TrainingError, match="logits of shape") as caught:
        train(module, bench_of(module, train_data=wrong), QUICK)
    assert caught.value.cure == "add loss(outputs, labels) to the task"


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda outputs, labels: 0.5, "a float"),
        (lambda outputs, labels: outputs.sum(dim=0), r"shape \(3,\)"),
        (lambda outputs, labels: outputs.detach().sum(), "depends on none of them"),
    ],
)
def test_a_loss_that_cannot_be_differentiated_is_explained(loss: Any, message: str) -> None:
    module = network()
    with pytest.raises(TrainingError, match=message):
        train(module, bench_of(module, loss=loss), QUICK)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "fine-tune: learning_rate"),
        ({"warmup": 1.0}, r"\[0, 1\)"),
        ({"validation": 1.5}, r"a share in \(0, 1\)"),
        ({"epochs": 0}, "above 0"),
        ({"clip_norm": -1.0}, "0 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FineTuning(**settings)
    content = {"schema": 1, "target": "x", "precision": "fp32", "steps": [{"kind": "fine-tune", **settings}]}
    with pytest.raises(SourceError) as caught:
        Recipe.from_dict(content, subject="recipe.toml")
    assert f"steps[0].{next(iter(settings))}" in str(caught.value)


def test_a_recipe_that_trains_is_on_record_and_leaves_no_checkpoints(tmp_path: Path) -> None:
    module = network()
    source = replace(source_of(module), evaluation_data=items(100, seed=1))
    recipe = replace(FLOAT, steps=(QUICK,))
    result = edgecomp.compress(source, FLOAT.target, tmp_path / "out", recipe=recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    original, step = (each for each in result.manifest["provenance"] if each["name"] in {"original", "fine-tune"})
    assert step["settings"]["learning_rate"] == 1e-2
    assert step["facts"]["macs"] == original["facts"]["macs"] == 8 * 16 + 16 * 3
    assert step["facts"]["metric"] > original["facts"]["metric"] + 0.2
    assert result.verification.metrics["accuracy"] == pytest.approx(step["facts"]["metric"])
    assert result.verification.violations == ()
    from edgecomp.cli.tables import agreement_table, legend

    rows = list(agreement_table(result).columns[0].cells)
    assert rows == ["original", "compressed", "model.onnx"]
    assert "the compressed model's argmax" in legend(result)


def test_compress_goes_on_after_an_interruption(tmp_path: Path) -> None:
    module = network()
    recipe = replace(FLOAT, steps=(QUICK,))
    whole = edgecomp.compress(source_of(module), FLOAT.target, tmp_path / "whole", recipe=recipe)

    def interrupted(module: torch.nn.Module, epoch: Epoch) -> None:
        if epoch.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edgecomp.compress(source_of(module, on_epoch=interrupted), FLOAT.target, tmp_path / "out", recipe=recipe)
    assert [path.name for path in (tmp_path / "out.training").iterdir()]
    said: list[int] = []

    def watch(stage: str, done: int, total: int, note: str = "", /) -> None:
        if stage == "fine-tune":
            said.append(done)

    result = edgecomp.compress(source_of(module), FLOAT.target, tmp_path / "out", recipe=recipe, progress=watch)
    assert said[0] == 3 * 7 + 1
    assert (result.folder / "model.onnx").read_bytes() == (whole.folder / "model.onnx").read_bytes()
    assert not (tmp_path / "out.training").exists()


def test_data_of_which_axis_0_counts_nothing_come_item_by_item() -> None:
    data = bench_of(network()).training
    assert data.samples.batched
    assert len(TrainingData.all_of(data.samples)) == 240


def test_penalties_make_weights_and_channels_small() -> None:
    found = {}
    for name, settings in (("none", {}), ("l1", {"l1": 0.02}), ("group", {"group_lasso": 0.02})):
        module = network()
        settings = replace(QUICK, epochs=12, weight_decay=0.0, **settings)  # type: ignore[arg-type]
        train(module, bench_of(module), settings)
        weight = module[3].weight.detach()  # type: ignore[index]
        first = module[0].weight.detach()  # type: ignore[index]
        found[name] = ((first.abs() < 0.02).float().mean().item(), (first.norm(dim=1) < 0.1).sum().item(), weight)
    assert found["l1"][0] > found["none"][0] + 0.2
    assert found["group"][1] > found["none"][1] + 3
