"""Layers behind removed channels, fitted to what they gave before: no labels, no gradients, one pass of the data.

He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks" (ICCV 2017): what is left of a layer's
weights is the least-squares solution for its outputs as they were. Everything that this takes is the covariance of the
layer's inputs, before anything is removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edgecomp.compression.data import show
from edgecomp.compression.moments import Moments
from edgecomp.compression.pruning.coupling import Coupling, Removed
from edgecomp.compression.pruning.units import Units

Layer = nn.Linear | nn.Conv1d | nn.Conv2d

#: Inputs of one output, with the kernel's places, up to which a covariance is kept: 4096 of them take 128 MB.
_WIDEST = 4096

#: Places of a sample that are looked at, at most; the others are much like them.
_PLACES = 256


def mixing(module: nn.Module, coupling: Coupling) -> dict[str, Units]:
    """The layers whose inputs can be measured: path -> the units along their input dimension.

    Args:
        module: Left as it is.
        coupling: The coupling of this module.
    """
    found = {}
    for path, layer in module.named_modules():
        labels = coupling.labels.get(f"{path}.weight")
        if labels is not None and _suits(layer):
            found[path] = labels[1]
    return found


def measure(
    module: nn.Module, paths: Collection[str], batches: Iterable[tuple[torch.Tensor, ...]]
) -> dict[str, Moments]:
    """What layers take in.

    Args:
        module: Left as it is; nothing is cut yet.
        paths: Some of what `mixing` gave.
        batches: What the module takes.

    Returns:
        Path of a layer -> mean and covariance of its inputs, those of all places of the kernel.
    """
    found: dict[str, Moments] = {}
    handles = [
        layer.register_forward_pre_hook(_observer(found, path))
        for path, layer in module.named_modules()
        if path in paths
    ]
    show(module, batches, handles)
    return found


def losing(module: nn.Module, coupling: Coupling, removed: Removed) -> list[str]:
    """Paths of the layers that can be fitted: some of their inputs go, and not all.

    Args:
        module: Left as it is.
        coupling: The coupling of this module.
        removed: What goes.
    """
    layers = mixing(module, coupling).items()
    return [path for path, units in layers if removed[units].any() and not removed[units].all()]


def fit(module: nn.Module, coupling: Coupling, removed: Removed, seen: Mapping[str, Moments]) -> None:
    """Changes the weights of inputs that stay so that they stand in for those that go; nothing is cut.

    Args:
        module: Changed in place.
        coupling: The coupling of this module.
        removed: What goes.
        seen: What `measure` gave.
    """
    layers = mixing(module, coupling)
    for path, moments in seen.items():
        layer = module.get_submodule(path)
        assert isinstance(layer, Layer), "only such layers are measured"
        weight = layer.weight.detach().double().cpu().flatten(1)
        goes = torch.from_numpy(removed[layers[path]]).repeat_interleave(layer.weight[0, 0].numel())
        mean, spread = moments.mean, moments.covariance
        if layer.bias is None:  # nothing takes up a mean but the weights
            spread = spread + torch.outer(mean, mean)
        # Inputs that go, as the best linear function of those that stay.
        stand_in = torch.linalg.solve(spread[~goes][:, ~goes], spread[~goes][:, goes]).T
        fitted = weight.clone()
        fitted[:, ~goes] += weight[:, goes] @ stand_in
        with torch.no_grad():
            layer.weight.copy_(fitted.reshape(layer.weight.shape))
            if layer.bias is not None:
                layer.bias += (weight[:, goes] @ (mean[goes] - stand_in @ mean[~goes])).to(layer.bias)


def _suits(layer: nn.Module) -> bool:
    """Whether a layer mixes all of its inputs, in a way that `_rows` can spell out."""
    if isinstance(layer, nn.Linear):
        return layer.in_features <= _WIDEST
    if not isinstance(layer, nn.Conv1d | nn.Conv2d) or layer.groups > 1 or isinstance(layer.padding, str):
        return False
    # A subclass may pad by itself, as networks from TensorFlow do; with a 1x1 kernel there is nothing to pad.
    plain = type(layer) in (nn.Conv1d, nn.Conv2d) and layer.padding_mode == "zeros"
    places = layer.weight[0, 0].numel()
    return (plain or places == 1) and layer.in_channels * places <= _WIDEST


def _observer(found: dict[str, Moments], path: str) -> Any:
    def observe(layer: Layer, args: tuple[torch.Tensor, ...]) -> None:
        rows = _rows(layer, args[0])
        found.setdefault(path, Moments(rows.shape[-1])).add(rows)

    return observe


def _rows(layer: Layer, data: torch.Tensor) -> torch.Tensor:
    """The inputs of every output place, (samples, places, inputs of one)."""
    if isinstance(layer, nn.Linear):
        rows = data.reshape(len(data), -1, data.shape[-1])
    else:
        assert not isinstance(layer.padding, str), "padding by name does not suit"
        kernel, stride, dilation = _two(layer.kernel_size, 1), _two(layer.stride, 1), _two(layer.dilation, 1)
        images = data.unsqueeze(2) if isinstance(layer, nn.Conv1d) else data
        rows = functional.unfold(images, kernel, dilation, _two(layer.padding, 0), stride).transpose(1, 2)
    return rows[:, :: -(-rows.shape[1] // _PLACES)]


def _two(values: tuple[int, ...], default: int) -> tuple[int, ...]:
    """For the height and the width; what has no height gets the default."""
    return values if len(values) > 1 else (default, *values)
