"""What a module costs without some of its units, from the labels alone: nothing is run."""

from __future__ import annotations

import math

import torch

from edgecomp.compression.pruning.coupling import Coupling, Removed
from edgecomp.compression.pruning.units import Labels, Units


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


def _volume(labels: Labels, removed: Removed) -> int:
    return math.prod(kept(units, removed) for units in labels)
