"""How large a torch module is, and how much it computes."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgecomp.frontends.source import Arrays
from edgecomp.frontends.torch_module import preserving


def parameters(module: torch.nn.Module) -> int:
    """The number of trainable and frozen weights; a shared one counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def macs(module: torch.nn.Module, inputs: Arrays) -> int:
    """Multiplications of convolutions, matrix products and attention in one run on example inputs."""
    with preserving(module), torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*(torch.from_numpy(np.array(array)) for array in inputs))
    return int(counter.get_total_flops()) // 2
