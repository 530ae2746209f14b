"""What steps on modules show to a module."""

from __future__ import annotations

import numpy as np
import torch

from edgecomp.workbench import Workbench


def example_inputs(bench: Workbench) -> tuple[torch.Tensor, ...]:
    """One example of everything that the module takes."""
    return tuple(torch.from_numpy(np.array(array)) for array in bench.source.inputs)
