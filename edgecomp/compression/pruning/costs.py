"""What a module costs without some of its units, from the labels alone: nothing is run."""

from __future__ import annotations

import math

import torch

from edgecomp.compression.pruning.coupling import Coupling, Removed
from edgecomp.compression.pruning.units import FIXED, Labels, Units


def kept(units: Units, removed: Removed) -> int:
    """How many positions are left along a dimension."""
    return len(units) - int(removed[units].sum())


def macs(coupling: Coupling, removed: Removed) -> int:
    """Multiplications of convolutions, matrix products and attention in one run."""
    return sum(product.repeats * _volume(product.dimensions, removed) for product in coupling.products)


def parameters(coupling: Coupling, removed: Removed) -> int:
    """Elements of the parameters that are left, those of one element excepted."""
    return sum(
        _volume(labels, removed)
        for path, labels in coupling.labels.items()
        if isinstance(coupling.stored[path], torch.nn.Parameter)
    )


def stored_bytes(coupling: Coupling, removed: Removed) -> int:
    """Bytes of the weights in int8: one for each, and four for those of biases and normalizations."""
    return sum(
        _volume(labels, removed) * (1 if len(labels) > 1 else 4)
        for path, labels in coupling.labels.items()
        if isinstance(coupling.stored[path], torch.nn.Parameter)
    )


def tiled_macs(coupling: Coupling, removed: Removed, multiple: int) -> int:
    """Multiplications that kernels spend: channels are computed so many at once, also where fewer are left.

    Args:
        coupling: What belongs together.
        removed: What goes.
        multiple: How many channels a kernel computes at once.
    """
    return sum(
        product.repeats * math.prod(_tiled(units, removed, multiple) for units in product.dimensions)
        for product in coupling.products
    )


def _tiled(units: Units, removed: Removed, multiple: int) -> int:
    """Positions along a dimension; those that channels can be removed from are filled up to whole tiles."""
    count = kept(units, removed)
    return count if (units == FIXED).all() else math.ceil(count / multiple) * multiple


def _volume(labels: Labels, removed: Removed) -> int:
    return math.prod(kept(units, removed) for units in labels)
