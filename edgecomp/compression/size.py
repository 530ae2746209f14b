"""Counts the parameters and multiplications of a torch module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgecomp.arrays import Arrays
from edgecomp.frontends.torch_module import preserving


def parameters(module: torch.nn.Module) -> int:
    """Counts trainable and frozen weights; a shared one counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def macs(module: torch.nn.Module, inputs: Arrays) -> int:
    """Counts multiplications of convolutions, matrix products, recurrent layers and attention in one run."""
    counting = FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)
    with preserving(module), torch.no_grad(), counting as counter:
        module(*(torch.from_numpy(np.array(array)) for array in inputs))
    return int(counter.get_total_flops()) // 2


def _recurrent_layer(inputs: Sequence[int], weight: Sequence[int], recurrent: Sequence[int], *_: Any, **__: Any) -> int:
    """Returns twice the multiplications of one layer in one direction, for inputs of shape (steps, samples, size)."""
    return 2 * math.prod(inputs[:-1]) * (math.prod(weight) + math.prod(recurrent))


#: torch runs an LSTM on a CPU as this operator, but does not count it.
_UNCOUNTED = {torch.ops.aten.mkldnn_rnn_layer: _recurrent_layer}
