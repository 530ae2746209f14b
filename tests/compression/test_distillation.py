"""A student learns from teachers: every term is what its paper says, and the student is better for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from labelled import bench_of, network, points
from torch import nn
from torch.nn import functional

from edgecomp.compression.distillation import lessons, terms
from edgecomp.compression.distillation.adversarial import moved
from edgecomp.compression.distillation.features import Pairs
from edgecomp.compression.distillation.lessons import Teachers
from edgecomp.compression.distillation.step import DistillationStep
from edgecomp.compression.distillation.terms import Seen
from edgecomp.compression.fine_tuning import FineTuning
from edgecomp.compression.training.run import train
from edgecomp.errors import InputError, SourceError, TrainingError

QUICK = DistillationStep(epochs=4, batch_size=32, learning_rate=1e-2)


def trained(width: int = 32) -> nn.Module:
    module = network(width)
    train(module, bench_of(module), FineTuning(epochs=15, learning_rate=1e-2))
    return module


def seen(own: torch.Tensor, *taught: torch.Tensor) -> Seen:
    return Seen(own, torch.tensor([1, 0]), [own], [[each] for each in taught])


def test_terms_are_those_of_the_papers() -> None:
    own, first, second = torch.randn(3, 2, 4).unbind()
    soft = (torch.softmax(first / 3, 1) + torch.softmax(second / 3, 1)) / 2
    by_hand = 9 * (soft * (soft.log() - torch.log_softmax(own / 3, 1))).sum() / 2
    torch.testing.assert_close(terms.divergence(3.0)(seen(own, first, second)), by_hand)
    assert terms.divergence(3.0)(seen(first, first)).item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(terms.squares(seen(own, first, second)), ((own - (first + second) / 2) ** 2).mean())
    expected = functional.cross_entropy(own, torch.tensor([1, 0]), label_smoothing=0.2)
    torch.testing.assert_close(terms.labels(lambda *_: own.sum(), 0.2)(seen(own, first)), expected)
    # A regression has no classes to soften.
    torch.testing.assert_close(
        terms.divergence(3.0)(seen(own[:, :1], first[:, :1])), ((own - first)[:, :1] ** 2).mean()
    )


def test_attention_maps_of_any_number_of_channels() -> None:
    wide, narrow = torch.rand(2, 6, 3, 3), torch.rand(2, 2, 3, 3)

    def normal(feature: torch.Tensor) -> torch.Tensor:
        energy = (feature**2).mean(1).flatten(1)
        return energy / energy.norm(dim=1, keepdim=True)

    got = terms.attention(replace(seen(torch.rand(2, 4)), maps=[(narrow, wide)]))
    torch.testing.assert_close(got, 1000 * ((normal(narrow) - normal(wide)) ** 2).mean())


def test_features_are_projected_and_brought_to_one_size() -> None:
    student = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.ReLU())
    teacher = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU())
    image = torch.rand(2, 1, 9, 9)
    pairs = Pairs(["0", "1=1"], student, teacher, [image], project=True)
    assert [tuple(each.weight.shape) for each in pairs.projections] == [(5, 3, 1, 1)] * 2
    with pairs.watch(student, teacher) as found:
        student(image), teacher(image)
    assert [(own.shape, wanted.shape) for own, wanted in found] == [((2, 5, 4, 4), (2, 5, 4, 4))] * 2
    assert not student[0]._forward_hooks
    with pytest.raises(InputError, match="'first' of the student") as caught:
        Pairs(["first=0"], student, teacher, [image], project=True)
    assert "0" in caught.value.cure


@pytest.mark.parametrize(
    "settings",
    [
        {"outputs": "mse", "teacher_weight": 1.0},
        {"outputs": "cosine", "teacher_weight": 1.0},
        {"features": ("0", "2")},
        {"adversarial_step": 0.05},
        {"outputs": "none", "label_smoothing": 0.1},
        {"teachers": "task"},
    ],
)
def test_every_way_makes_the_student_learn(settings: dict[str, Any]) -> None:
    bench = bench_of(trained(), teachers=lambda: [network(8), network(8, seed=1)])
    student = network(6, seed=1)
    before = bench.metric(student)
    weights = [weight.clone() for weight in bench.teacher.parameters()]
    report = replace(QUICK, **settings)
    changed = report.apply(student, bench)
    assert changed.facts["losses"][-1] < changed.facts["losses"][0]
    if settings != {"teachers": "task"}:  # those two have learned nothing themselves
        assert bench.metric(changed.module) > before + 0.1  # type: ignore[operator]
    for weight, kept in zip(bench.teacher.parameters(), weights, strict=True):
        assert torch.equal(weight, kept), "a teacher is not changed"


def test_a_task_brings_a_student() -> None:
    bench = bench_of(trained(), student=lambda: network(5, seed=2))
    changed = replace(QUICK, student="task").apply(trained(), bench)
    assert changed.module[0].out_features == 5  # type: ignore[index]
    for name, wrong in (("student", None), ("student", lambda: 3), ("teachers", None), ("teachers", list)):
        with pytest.raises(SourceError, match=f"{name}()"):
            replace(QUICK, **{name: "task"}).apply(network(), bench_of(network(), **{name: wrong}))  # type: ignore[arg-type]


def test_inputs_move_to_where_the_loss_is_larger() -> None:
    module = trained()
    inputs, labels = points(50)
    (found,) = moved(module, (inputs,), labels, functional.cross_entropy, 0.1)
    torch.testing.assert_close((found - inputs).abs(), torch.full_like(inputs, 0.1))
    assert functional.cross_entropy(module(found), labels) > functional.cross_entropy(module(inputs), labels)
    whole = (torch.arange(4),)
    assert moved(module, whole, labels, functional.cross_entropy, 0.1) is whole


def test_what_does_not_fit_is_explained() -> None:
    with pytest.raises(InputError, match="teacher 1") as caught:
        replace(QUICK, teachers="task").apply(network(), bench_of(network(), teachers=lambda: [nn.Linear(8, 7)]))
    assert "(1, 7)" in caught.value.actual
    with pytest.raises(TrainingError, match="label_smoothing"):
        terms.labels(lambda *_: torch.zeros(()), 0.1)(seen(torch.rand(2, 3, 4)))
    for wrong in ({"temperature": 0.0}, {"teacher_weight": 1.5}, {"label_smoothing": 1.0}, {"feature_weight": -1.0}):
        with pytest.raises(InputError, match=f"distill: {next(iter(wrong))}"):
            DistillationStep(**wrong)  # type: ignore[arg-type]


class Counting(nn.Module):
    """Counts the samples that it is asked about."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.asked = module, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += len(x)
        outputs: torch.Tensor = self.module(x)
        return outputs


def test_a_teacher_is_asked_once_about_every_sample() -> None:
    bench = bench_of(network())
    teacher = Counting(network(seed=1))
    teachers = Teachers([teacher])
    teachers.learn(bench.training, 32)
    assert teacher.asked == len(bench.training)
    for (inputs, *_), _ in bench.training.shuffled(50, seed=3):
        [[looked_up]] = teachers((inputs,))
        torch.testing.assert_close(looked_up, teacher.module(inputs))
    assert teacher.asked == len(bench.training)
    changed = inputs + 1
    [[computed]] = teachers((changed,))
    torch.testing.assert_close(computed, teacher.module(changed))
    assert teacher.asked == len(bench.training) + len(changed)


def test_outputs_that_are_too_large_or_of_no_sample_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean()

    bench = bench_of(network())
    inputs = points(4)[0]
    for module, limit in ((Mean(), lessons.MOST_BYTES), (network(), 100)):
        monkeypatch.setattr(lessons, "MOST_BYTES", limit)
        teacher = Counting(module)
        teachers = Teachers([teacher])
        teachers.learn(bench.training, 32)
        assert teacher.asked == 32
        torch.testing.assert_close(teachers((inputs,)), [[module(inputs)]])
