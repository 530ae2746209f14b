"""How similar a module's outputs stay to the original's: the measure of steps that have no labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from edgecomp.arrays import Array
from edgecomp.frontends import structure
from edgecomp.frontends.torch_module import preserving
from edgecomp.workbench import Workbench

Floats = npt.NDArray[np.float64]

#: A module's quality; larger is better.
Quality = Callable[[torch.nn.Module], float]


def likeness_of(bench: Workbench, samples: int) -> Quality:
    """One minus the share of the energy of the original's outputs that is wrong, on calibration data.

    Args:
        bench: Has the data, and the original.
        samples: How many of them to use, at most.

    Raises:
        DataError: There are none.
    """
    batches = [batch for _, batch in zip(range(samples), bench.calibration_batches("read"), strict=False)]
    wanted = [_outputs(bench.teacher, batch) for batch in batches]
    return lambda module: _likeness(wanted, [_outputs(module, batch) for batch in batches])


def _outputs(module: torch.nn.Module, batch: Sequence[Array]) -> Floats:
    """All outputs of a module in eval mode, one behind the other."""
    with preserving(module), torch.no_grad():
        result = module(*(torch.from_numpy(np.array(array)) for array in batch))
    tensors = [tensor for _, tensor in structure.flatten(result, torch.is_tensor)]
    return torch.cat([tensor.detach().double().flatten() for tensor in tensors]).cpu().numpy()


def _likeness(wanted: Sequence[Floats], found: Sequence[Floats]) -> float:
    """One minus the share of the outputs' energy that is wrong."""
    wrong = sum(float(np.square(one - other).sum()) for one, other in zip(wanted, found, strict=True))
    return 1 - wrong / max(sum(float(np.square(one).sum()) for one in wanted), np.finfo(float).tiny)
