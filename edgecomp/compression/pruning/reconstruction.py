"""Fits layers behind removed channels to their old outputs: no labels, no gradients, one pass over the data.

He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks" (ICCV 2017): the remaining weights of a
layer become the least-squares solution for its old outputs. This only needs the covariance of the layer's inputs
before anything is removed.
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

#: The largest number of inputs of one output, times kernel size, with a covariance: 4096 of them take 128 MB.
_WIDEST = 4096

#: The largest number of places to sample from an image; the others are very similar.
_PLACES = 256


def mixing(module: nn.Module, coupling: Coupling) -> dict[str, Units]:
    """Finds the layers whose inputs can be measured: path -> the units along their input dimension.

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
    """Measures the inputs of layers.

    Args:
        module: Left as it is; nothing is cut yet.
        paths: Some of the paths that `mixing` returned.
        batches: The module's inputs.

    Returns:
        Path of a layer -> mean and covariance of its inputs, over all positions of the kernel.
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
    """Returns the paths of the layers that can be fitted: those that lose some of their inputs, but not all.

    Args:
        module: Left as it is.
        coupling: The coupling of this module.
        removed: The removed units.
    """
    layers = mixing(module, coupling).items()
    return [path for path, units in layers if removed[units].any() and not removed[units].all()]


def fit(module: nn.Module, coupling: Coupling, removed: Removed, seen: Mapping[str, Moments]) -> None:
    """Changes the weights of remaining inputs to compensate for removed ones, without cutting anything.

    Args:
        module: Changed in place.
        coupling: The coupling of this module.
        removed: The removed units.
        seen: The result of `measure`.
    """
    layers = mixing(module, coupling)
    for path, moments in seen.items():
        layer = module.get_submodule(path)
        assert isinstance(layer, Layer), "only such layers are measured"
        weight = layer.weight.detach().double().cpu().flatten(1)
        goes = torch.from_numpy(removed[layers[path]]).repeat_interleave(layer.weight[0, 0].numel())
        mean, spread = moments.mean, moments.covariance
        if layer.bias is None:  # only the weights can represent a mean
            spread = spread + torch.outer(mean, mean)
        # Removed inputs, as the best linear function of the remaining ones.
        stand_in = torch.linalg.solve(spread[~goes][:, ~goes], spread[~goes][:, goes]).T
        fitted = weight.clone()
        fitted[:, ~goes] += weight[:, goes] @ stand_in
        with torch.no_grad():
            layer.weight.copy_(fitted.reshape(layer.weight.shape))
            if layer.bias is not None:
                layer.bias += (weight[:, goes] @ (mean[goes] - stand_in @ mean[~goes])).to(layer.bias)


def _suits(layer: nn.Module) -> bool:
    """Tells whether a layer mixes all of its inputs, in a way that `_rows` can unfold."""
    if isinstance(layer, nn.Linear):
        return layer.in_features <= _WIDEST
    if not isinstance(layer, nn.Conv1d | nn.Conv2d) or layer.groups > 1 or isinstance(layer.padding, str):
        return False
    # A subclass may add its own padding, as networks from TensorFlow do; with a 1x1 kernel there is nothing to pad.
    plain = type(layer) in (nn.Conv1d, nn.Conv2d) and layer.padding_mode == "zeros"
    places = layer.weight[0, 0].numel()
    return (plain or places == 1) and layer.in_channels * places <= _WIDEST


def _observer(found: dict[str, Moments], path: str) -> Any:
    def observe(layer: Layer, args: tuple[torch.Tensor, ...]) -> None:
        rows = _rows(layer, args[0])
        found.setdefault(path, Moments(rows.shape[-1])).add(rows)

    return observe


def _rows(layer: Layer, data: torch.Tensor) -> torch.Tensor:
    """Returns the inputs of every output place, (samples, places, inputs of one)."""
    if isinstance(layer, nn.Linear):
        rows = data.reshape(len(data), -1, data.shape[-1])
    else:
        assert not isinstance(layer.padding, str), "padding by name does not suit"
        kernel, stride, dilation = _two(layer.kernel_size, 1), _two(layer.stride, 1), _two(layer.dilation, 1)
        images = data.unsqueeze(2) if isinstance(layer, nn.Conv1d) else data
        rows = functional.unfold(images, kernel, dilation, _two(layer.padding, 0), stride).transpose(1, 2)
    return rows[:, :: -(-rows.shape[1] // _PLACES)]


def _two(values: tuple[int, ...], default: int) -> tuple[int, ...]:
    """Returns values for height and width; a missing height gets the default."""
    return values if len(values) > 1 else (default, *values)
