"""A workbench around a small module, with labelled data that it can learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgecomp.data import collect_evaluation
from edgecomp.frontends.source import Source
from edgecomp.frontends.torch_module import load_module
from edgecomp.target import load_target
from edgecomp.verification.metrics import Metrics
from edgecomp.workbench import Workbench


def points(count: int = 240, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points in 8 dimensions, in three classes that a small network tells apart."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 8, generator=generator)
    labels = (inputs[:, :3] + inputs[:, 3:6].abs() / 2).argmax(dim=1)
    return inputs, labels


def items(count: int = 240, seed: int = 0) -> Callable[[], Any]:
    """The same in items of seven points, arrays and tensors by turns."""

    def open_items() -> Any:
        for index, (inputs, labels) in enumerate(zip(*(each.split(7) for each in points(count, seed)), strict=True)):
            yield ((inputs,), labels) if index % 2 else ((inputs.numpy(),), labels.numpy())

    return open_items


def network(width: int = 16, seed: int = 0, **layers: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(8, width), torch.nn.BatchNorm1d(width), torch.nn.ReLU(), torch.nn.Linear(width, 3)
    ).eval()


def accuracy(outputs: Any, labels: Any) -> float:
    return float((np.asarray(outputs[0]).argmax(axis=1) == np.asarray(labels)).mean())


def source_of(module: torch.nn.Module, **functions: Any) -> Source:
    source = load_module(module, torch.rand(1, 8), name="net", subject="net")
    return replace(source, **({"train_data": items(), "metrics": Metrics("accuracy")} | functions))


def bench_of(module: torch.nn.Module, checkpoints: Path | None = None, **functions: Any) -> Workbench:
    source = source_of(module, **functions)
    held_out = collect_evaluation(items(100, seed=1)(), source.input_specs, subject="test")
    return Workbench(source, load_target("raspberry-pi-4b"), evaluation=held_out, checkpoints=checkpoints)
