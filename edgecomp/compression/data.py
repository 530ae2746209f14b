"""Calibration batches as tensors for torch modules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle

from edgecomp.frontends.torch_module import preserving
from edgecomp.workbench import Workbench


def example_inputs(bench: Workbench) -> tuple[torch.Tensor, ...]:
    """Returns the source's example inputs as tensors."""
    return tuple(torch.from_numpy(np.array(array)) for array in bench.source.inputs)


def show(
    module: torch.nn.Module, batches: Iterable[Sequence[torch.Tensor]], handles: Sequence[RemovableHandle]
) -> None:
    """Runs a module so that its hooks see every batch, and leaves the module as it was.

    Args:
        module: The module with the hooks.
        batches: Its inputs, batch by batch.
        handles: The handles of the hooks; they are removed at the end.
    """
    try:
        with preserving(module), torch.no_grad():
            for batch in batches:
                module(*batch)
    finally:
        for handle in handles:
            handle.remove()
