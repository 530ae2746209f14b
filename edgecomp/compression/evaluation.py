"""Computes the task's first metric for a torch module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from edgecomp.arrays import Array, Arrays
from edgecomp.compression.training.data import Places, TrainingData
from edgecomp.frontends import structure
from edgecomp.frontends.source import Source
from edgecomp.frontends.torch_module import preserving
from edgecomp.verification.metrics import Metrics, Scores

#: Samples in a batch, if the module takes any number.
_BATCH = 64


def metric_of(module: torch.nn.Module, source: Source, data: TrainingData) -> float | None:
    """Computes the task's first metric on labelled samples.

    Args:
        module: The module; left as it is.
        source: The source with the metric.
        data: The samples.

    Returns:
        The metric; None for a task without one.
    """
    return None if source.metrics is None else source.metrics.first(_scores(module, source.metrics, source, data))


def quality_of(module: torch.nn.Module, source: Source, data: TrainingData) -> float | None:
    """Computes the same so that larger is better: for an error, its negative."""
    return None if source.metrics is None else source.metrics.quality(_scores(module, source.metrics, source, data))


def _scores(module: torch.nn.Module, metrics: Metrics, source: Source, data: TrainingData) -> Scores:
    own = len(source.inputs[0]) if source.inputs[0].ndim else 1
    with preserving(module), torch.no_grad():
        flexible = _takes_any_batch(module, data, own)
        size, least = (_BATCH, 1) if flexible else (own, own)
        found = [_run(module, inputs, least) for inputs, _ in data.in_order(size)]
    labels = [np.atleast_1d(labels.numpy()) for _, labels in data.in_order(size)]
    places = [_ranks(each, data.chosen) for each in data.places(size)]
    return metrics.measure(zip(found, labels, strict=True), places)


def _ranks(places: Places, chosen: Places) -> list[int]:
    """Returns the positions of samples within the chosen subset."""
    ranks: list[int] = np.searchsorted(chosen, places).tolist()
    return ranks


def joined(batches: Iterable[Arrays], size: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """Joins small batches into batches of `size` samples of one shape, along axis 0."""
    waiting: dict[tuple[tuple[int, ...], ...], list[Arrays]] = {}
    for batch in batches:
        shapes = tuple(array.shape[1:] for array in batch)
        alike = waiting.setdefault(shapes, [])
        alike.append(batch)
        if sum(len(each[0]) for each in alike) >= size:
            yield _concatenated(waiting.pop(shapes))
    for rest in waiting.values():
        yield _concatenated(rest)


def _concatenated(batches: list[Arrays]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(np.concatenate(column)) for column in zip(*batches, strict=True))


def _takes_any_batch(module: torch.nn.Module, data: TrainingData, own: int) -> bool:
    """Tells whether a module takes other batch sizes than its example's, and gives as many outputs."""
    if not data.samples.batched:
        return False
    inputs, _ = data.largest(2 * own + 1)
    try:
        return all(len(output) == len(inputs[0]) for output in _run(module, inputs, 1))
    except (RuntimeError, ValueError, TypeError):  # what torch raises on shapes that do not fit
        return False


def _run(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], least: int) -> list[Array]:
    """Runs a batch and returns its outputs; a batch below `least` samples is padded with its last one for the run."""
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    count = len(inputs[0]) if inputs[0].ndim else 1
    if count < least:
        inputs = tuple(torch.cat([each, each[-1:].expand(least - count, *each.shape[1:])]) for each in inputs)
    result = module(*(each.to(device) for each in inputs))
    tensors = [tensor.float().cpu().numpy() for _, tensor in structure.flatten(result, torch.is_tensor)]
    return [array[:count] if count < least and len(array) == least else array for array in tensors]
