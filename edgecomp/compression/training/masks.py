"""Weights that stay zero while a module is trained.

A mask is a buffer of the layer that owns the weight. It follows the module through copies and to a GPU, but is in no
state dict, so exports and hashes do not see it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

_PREFIX = "edgecomp_mask_of_"


def set_mask(layer: torch.nn.Module, name: str, mask: torch.Tensor) -> None:
    """Keeps some of a parameter's weights at zero from now on.

    Args:
        layer: The layer that owns the parameter.
        name: The parameter's name in the layer, such as "weight".
        mask: A mask of the parameter's shape, False or 0 for weights that stay zero. It replaces an earlier mask.
    """
    layer.register_buffer(_PREFIX + name, mask.to(torch.bool), persistent=False)
    _apply(layer, name)


def drop_mask(layer: torch.nn.Module, name: str) -> None:
    """Lets all weights of a parameter change again."""
    layer._buffers.pop(_PREFIX + name, None)
    layer._non_persistent_buffers_set.discard(_PREFIX + name)


def mask_of(layer: torch.nn.Module, name: str) -> torch.Tensor | None:
    """Returns the mask of a layer's parameter, a bool tensor of its shape, or None."""
    return layer._buffers.get(_PREFIX + name)


def weight_of(buffer: str) -> str | None:
    """Returns the path of the weight that a buffer masks, or None for other buffers.

    Args:
        buffer: The buffer's path, from `named_buffers`.
    """
    owner, dot, name = buffer.rpartition(".")
    return owner + dot + name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else None


def apply_masks(module: torch.nn.Module) -> None:
    """Sets all masked weights of a module and its submodules to zero."""
    for layer, name in _masked(module):
        _apply(layer, name)


def _masked(module: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str]]:
    for layer in module.modules():
        for key in layer._buffers:
            if key.startswith(_PREFIX):
                yield layer, key.removeprefix(_PREFIX)


def _apply(layer: torch.nn.Module, name: str) -> None:
    with torch.no_grad():
        weight, mask = getattr(layer, name), mask_of(layer, name)
        weight.mul_(mask)
