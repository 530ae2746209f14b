"""Unstructured pruning: scores single weights, and sets the least valuable ones to zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import torch

from edgecomp.compression.protection import protector
from edgecomp.compression.pruning.data import check_training_data
from edgecomp.compression.pruning.weights import WeightPruning
from edgecomp.compression.training.masks import mask_of, set_mask
from edgecomp.compression.training.objective import task_loss
from edgecomp.frontends.torch_module import preserving
from edgecomp.step import Changed
from edgecomp.workbench import Workbench

#: Path of a layer -> the value of each of its weights; larger is better.
Values = Mapping[str, torch.Tensor]

#: Samples in a batch for which gradients are computed.
_BATCH = 64


def prune_weights(module: torch.nn.Module, bench: Workbench, settings: WeightPruning) -> Changed:
    """Sets the least valuable weights to zero, in place, and masks them.

    Args:
        module: The module to prune.
        bench: Provides the training data for the gradient.
        settings: See `WeightPruning`.

    Returns:
        The module, and as facts the number of weights, and how many of them are zero.

    Raises:
        InputError: A protected layer does not exist.
        DataError: The criterion is the gradient, and there are no training data.
    """
    layers = weighted_layers(module, settings.protected, f"{bench.source.name}: the step {settings.kind}")
    values = _CRITERIA[settings.criterion](module, layers, bench, settings)
    values = {path: _without_dead(each, layers[path]) for path, each in values.items()}
    for path, keep in _THRESHOLDS[settings.threshold](values, settings).items():
        set_mask(layers[path], "weight", keep)
    return Changed(module, zeros_of(layers))


def weighted_layers(module: torch.nn.Module, protected: Sequence[str], subject: str) -> dict[str, Any]:
    """Returns linear layers and convolutions by path, each once.

    Raises:
        InputError: A protected layer does not exist.
    """
    stays = protector(module, protected, subject)
    kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    return {path: layer for path, layer in module.named_modules() if isinstance(layer, kinds) and not stays(path)}


def zeros_of(layers: Mapping[str, Any]) -> dict[str, int]:
    """Counts the weights of layers, and how many of them are zero."""
    weights = [layer.weight.detach() for layer in layers.values()]
    return {"zeros": sum(int((w == 0).sum()) for w in weights), "weights": sum(w.numel() for w in weights)}


def keep_largest(values: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Returns a mask that is True for all but the smallest share; of equal values, the first are dropped."""
    keep = torch.ones(values.numel(), dtype=torch.bool, device=values.device)
    keep[values.flatten().argsort(stable=True)[: int(sparsity * values.numel())]] = False
    return keep.reshape(values.shape)


def _magnitude(
    module: torch.nn.Module, layers: Mapping[str, Any], bench: Workbench, settings: WeightPruning
) -> dict[str, torch.Tensor]:
    """Scores weights by their magnitude."""
    return {path: layer.weight.detach().abs() for path, layer in layers.items()}


def _gradient(
    module: torch.nn.Module, layers: Mapping[str, Any], bench: Workbench, settings: WeightPruning
) -> dict[str, torch.Tensor]:
    """Scores weights by the change of the loss without them, to first order (Lee et al., 2019)."""
    check_training_data(bench, "gradient", ("magnitude", "random"))
    loss = task_loss(bench.source)
    weights = {path: layer.weight for path, layer in layers.items()}
    total = {path: torch.zeros_like(weight) for path, weight in weights.items()}
    for done, (inputs, labels) in enumerate(islice(bench.training.in_order(_BATCH), settings.batches)):
        bench.progress("gradients", done, settings.batches)
        with preserving(module), torch.enable_grad():
            value = loss(module(*inputs), labels)
        gradients = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
        for path, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                total[path] += gradient
    bench.progress("gradients", settings.batches, settings.batches)
    return {path: (weights[path].detach() * total[path]).abs() for path in weights}


def _random(
    module: torch.nn.Module, layers: Mapping[str, Any], bench: Workbench, settings: WeightPruning
) -> dict[str, torch.Tensor]:
    """Scores weights at random, as a baseline for the others."""
    generator = torch.Generator().manual_seed(bench.seed)
    return {path: torch.rand(layer.weight.shape, generator=generator) for path, layer in layers.items()}


def _without_dead(values: torch.Tensor, layer: Any) -> torch.Tensor:
    """Gives masked weights the lowest value, so that they do not come back."""
    mask = mask_of(layer, "weight")
    return values if mask is None else values.masked_fill(~mask, -1.0)


def _share(values: Values, settings: WeightPruning) -> dict[str, torch.Tensor]:
    """Drops the least valuable share of each layer, or of all layers together."""
    if settings.scope == "layer":
        return {path: keep_largest(each, settings.sparsity) for path, each in values.items()}
    keep = keep_largest(torch.cat([each.flatten() for each in values.values()]), settings.sparsity)
    parts = torch.split(keep, [each.numel() for each in values.values()])
    return {path: part.reshape(each.shape) for part, (path, each) in zip(parts, values.items(), strict=True)}


def _absolute(values: Values, settings: WeightPruning) -> dict[str, torch.Tensor]:
    """Drops values below a limit."""
    return {path: each >= settings.limit for path, each in values.items()}


def _relative(values: Values, settings: WeightPruning) -> dict[str, torch.Tensor]:
    """Drops values below a share of the layer's largest."""
    return {path: each >= settings.limit * each.max() for path, each in values.items()}


_CRITERIA: dict[
    Literal["magnitude", "gradient", "random"],
    Callable[[torch.nn.Module, Mapping[str, Any], Workbench, WeightPruning], dict[str, torch.Tensor]],
] = {"magnitude": _magnitude, "gradient": _gradient, "random": _random}

_THRESHOLDS: dict[
    Literal["sparsity", "absolute", "relative"], Callable[[Values, WeightPruning], dict[str, torch.Tensor]]
] = {"sparsity": _share, "absolute": _absolute, "relative": _relative}
