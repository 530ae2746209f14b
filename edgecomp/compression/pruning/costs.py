"""Computes what a module costs without some of its units, from the labels alone, without running it."""

from __future__ import annotations

import math

import torch

from edgecomp.compression.pruning.coupling import Coupling, Removed
from edgecomp.compression.pruning.units import FIXED, Labels, Units


def kept(units: Units, removed: Removed) -> int:
    """Returns the number of positions that are left along a dimension."""
    return len(units) - int(removed[units].sum())


def macs(coupling: Coupling, removed: Removed) -> int:
    """Counts the multiplications of convolutions, matrix products and attention in one run."""
    return sum(product.repeats * _volume(product.dimensions, removed) for product in coupling.products)


def parameters(coupling: Coupling, removed: Removed) -> int:
    """Counts the elements of the remaining parameters, except parameters with a single element."""
    return sum(
        _volume(labels, removed)
        for path, labels in coupling.labels.items()
        if isinstance(coupling.stored[path], torch.nn.Parameter)
    )


def stored_bytes(coupling: Coupling, removed: Removed) -> int:
    """Counts the bytes of the weights in int8: one for each, but four for those of biases and normalizations."""
    return sum(
        _volume(labels, removed) * (1 if len(labels) > 1 else 4)
        for path, labels in coupling.labels.items()
        if isinstance(coupling.stored[path], torch.nn.Parameter)
    )


def tiled_macs(coupling: Coupling, removed: Removed, multiple: int) -> int:
    """Counts the multiplications that kernels execute: they always compute whole tiles of channels.

    Args:
        coupling: The module's coupled units.
        removed: The removed units.
        multiple: How many channels a kernel computes at once.
    """
    return sum(
        product.repeats * math.prod(_tiled(units, removed, multiple) for units in product.dimensions)
        for product in coupling.products
    )


def _tiled(units: Units, removed: Removed, multiple: int) -> int:
    """Returns the positions along a dimension, rounded up to whole tiles if channels can be removed from it."""
    count = kept(units, removed)
    return count if (units == FIXED).all() else math.ceil(count / multiple) * multiple


def _volume(labels: Labels, removed: Removed) -> int:
    return math.prod(kept(units, removed) for units in labels)
