"""Cuts units out of a module: parameters and buffers shrink, and attributes follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from edgecomp.compression.pruning.costs import kept
from edgecomp.compression.pruning.coupling import Coupling, Removed


def cut(module: torch.nn.Module, coupling: Coupling, removed: Removed) -> None:
    """Removes units from a module for good.

    Args:
        module: Changed in place; it has the shapes for which `coupling` was found.
        coupling: The coupling of this module, or of the module that it is a copy of.
        removed: The removed units.
    """
    smaller: dict[int, torch.Tensor] = {}
    originals = [*module.named_parameters(), *module.named_buffers()]
    for path, tensor in originals:
        if path in coupling.labels:
            cropped = _cropped(tensor, [~removed[units] for units in coupling.labels[path]])
            if cropped is not tensor:
                smaller[id(tensor)] = cropped
    for child in module.modules():
        _replace(child, smaller)
        for kind, refresh in ATTRIBUTES.items():
            if isinstance(child, kind):
                refresh(child)
    for owner, sizes in _split_sizes(coupling, removed).items():
        _resize_attributes(module.get_submodule(owner), sizes)


def mask(module: torch.nn.Module, coupling: Coupling, removed: Removed) -> None:
    """Sets to zero what `cut` would remove; the function is the same unless a normalization mixes channels."""
    with torch.no_grad():
        for path, tensor in (*module.named_parameters(), *module.named_buffers()):
            for axis, units in enumerate(coupling.labels.get(path, ())):
                if tensor.is_floating_point():
                    tensor.index_fill_(axis, torch.from_numpy(np.flatnonzero(removed[units])).to(tensor.device), 0.0)


def _cropped(tensor: torch.Tensor, keep: list[Any]) -> torch.Tensor:
    cropped = tensor.detach()
    for axis, positions in enumerate(keep):
        if not positions.all():
            chosen = torch.from_numpy(np.flatnonzero(positions)).to(tensor.device)
            cropped = cropped.index_select(axis, chosen)
    if cropped.shape == tensor.shape:
        return tensor
    return torch.nn.Parameter(cropped, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else cropped


def _replace(child: torch.nn.Module, smaller: Mapping[int, torch.Tensor]) -> None:
    """Sets a module's own tensors, with `setattr` because recurrent modules keep a second list of theirs."""
    for name, tensor in [*child.named_parameters(recurse=False), *child.named_buffers(recurse=False)]:
        if id(tensor) in smaller:
            setattr(child, name, smaller[id(tensor)])


def _split_sizes(coupling: Coupling, removed: Removed) -> dict[str, dict[int, int]]:
    """Returns, for each module, the sizes of dimensions that its code splits, before and after."""
    sizes: dict[str, dict[int, int]] = {}
    for split in coupling.splits:
        changes = {len(units): kept(units, removed) for units in split.dimensions if removed[units].any()}
        sizes.setdefault(split.owner, {}).update(changes)
    return sizes


def _resize_attributes(module: torch.nn.Module, sizes: Mapping[int, int]) -> None:
    """Updates sizes that a module keeps for its reshapes, such as its number of heads."""
    for name, value in vars(module).items():
        if type(value) is int and value in sizes:
            setattr(module, name, sizes[value])


def _convolution(module: Any) -> None:
    out, per_group = module.weight.shape[:2]
    # With one input channel per group, whole groups were removed; otherwise channels of each group.
    depthwise = module.in_channels == module.groups > 1
    groups = out // (module.out_channels // module.groups) if depthwise else module.groups
    module.groups, module.in_channels, module.out_channels = groups, per_group * groups, out


def _transposed_convolution(module: Any) -> None:
    into, per_group = module.weight.shape[:2]
    groups = into if module.in_channels == module.groups > 1 else module.groups
    module.groups, module.in_channels, module.out_channels = groups, into, per_group * groups


def _linear(module: Any) -> None:
    module.out_features, module.in_features = module.weight.shape


def _batch_norm(module: Any) -> None:
    stored = module.weight if module.weight is not None else module.running_mean
    if stored is not None:
        module.num_features = len(stored)


def _layer_norm(module: Any) -> None:
    if module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)


def _group_norm(module: Any) -> None:
    if module.weight is not None:
        if module.num_groups == module.num_channels:
            module.num_groups = len(module.weight)
        module.num_channels = len(module.weight)


def _embedding(module: Any) -> None:
    module.num_embeddings, module.embedding_dim = module.weight.shape


def _prelu(module: Any) -> None:
    module.num_parameters = module.weight.numel()


def _recurrent(module: Any) -> None:
    module.input_size, module.hidden_size = module.weight_ih_l0.shape[1], module.weight_hh_l0.shape[1]


def _recurrent_cell(module: Any) -> None:
    module.input_size, module.hidden_size = module.weight_ih.shape[1], module.weight_hh.shape[1]


#: Updates a module's attributes from the shapes of its tensors, by class.
ATTRIBUTES: dict[type[torch.nn.Module], Callable[[Any], None]] = {
    torch.nn.Conv1d: _convolution,
    torch.nn.Conv2d: _convolution,
    torch.nn.Conv3d: _convolution,
    torch.nn.ConvTranspose1d: _transposed_convolution,
    torch.nn.ConvTranspose2d: _transposed_convolution,
    torch.nn.ConvTranspose3d: _transposed_convolution,
    torch.nn.Linear: _linear,
    torch.nn.modules.batchnorm._BatchNorm: _batch_norm,
    torch.nn.LayerNorm: _layer_norm,
    torch.nn.GroupNorm: _group_norm,
    torch.nn.Embedding: _embedding,
    torch.nn.PReLU: _prelu,
    torch.nn.RNNBase: _recurrent,
    torch.nn.RNNCellBase: _recurrent_cell,
}
