"""How similar a module's outputs stay to the original's: the quality measure of steps without labels."""

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
    """Returns a measure of quality: one minus the relative squared error of the outputs, on calibration data.

    Args:
        bench: Provides the data and the original module.
        samples: The largest number of samples to use.

    Raises:
        DataError: There are no calibration data.
    """
    batches = [batch for _, batch in zip(range(samples), bench.calibration_batches("read"), strict=False)]
    wanted = [_outputs(bench.teacher, batch) for batch in batches]
    return lambda module: _likeness(wanted, [_outputs(module, batch) for batch in batches])


def _outputs(module: torch.nn.Module, batch: Sequence[Array]) -> Floats:
    """Returns all outputs of a module in eval mode as one flat array."""
    with preserving(module), torch.no_grad():
        result = module(*(torch.from_numpy(np.array(array)) for array in batch))
    tensors = [tensor for _, tensor in structure.flatten(result, torch.is_tensor)]
    return torch.cat([tensor.detach().double().flatten() for tensor in tensors]).cpu().numpy()


def _likeness(wanted: Sequence[Floats], found: Sequence[Floats]) -> float:
    """Computes one minus the relative squared error."""
    wrong = sum(float(np.square(one - other).sum()) for one, other in zip(wanted, found, strict=True))
    return 1 - wrong / max(sum(float(np.square(one).sum()) for one in wanted), np.finfo(float).tiny)
