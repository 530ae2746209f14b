"""Finds the layers of a module that can be factorized, and counts what they compute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from edgecomp.compression.data import show
from edgecomp.compression.moments import Moments

Layer = nn.Linear | nn.Conv1d | nn.Conv2d


@dataclass
class Site:
    """A layer in a network.

    Attributes:
        path: The path of the layer.
        layer: The layer.
        inputs: Places that it reads in one run, over all calls: pixels, or rows of a linear layer.
        outputs: Places that it writes.
        between: Places with the height of the output and the width of the input.
        seen: Moments of its inputs on calibration data, if measured.
        plain: Whether it computes the same as its PyTorch base class.
    """

    path: str
    layer: Layer
    inputs: int = 0
    outputs: int = 0
    between: int = 0
    seen: Moments | None = None
    plain: bool = True

    @property
    def is_matrix(self) -> bool:
        """Whether it only mixes channels."""
        return isinstance(self.layer, nn.Linear) or math.prod(self.layer.kernel_size) == 1

    @property
    def matrix(self) -> torch.Tensor:
        """The weight of a matrix layer, (out, in)."""
        return self.layer.weight.detach().flatten(1)

    @property
    def macs(self) -> int:
        """Multiplications in one run."""
        return self.outputs * self.layer.weight.numel()


def find_sites(module: nn.Module, inputs: Sequence[torch.Tensor]) -> list[Site]:
    """Finds the layers with plain weights that a run uses: linear layers, and convolutions with one group.

    Args:
        module: Left as it is.
        inputs: Example inputs.
    """
    sites = [Site(path, layer) for path, layer in module.named_modules() if path and _is_candidate(layer)]
    handles = [site.layer.register_forward_hook(_counter(site)) for site in sites]
    show(module, [inputs], handles)
    return [site for site in sites if site.outputs and site.plain]


def measure_inputs(module: nn.Module, sites: Sequence[Site], batches: Any) -> None:
    """Measures the input moments of matrix layers.

    Args:
        module: Left as it is.
        sites: The sites of the module.
        batches: The module's inputs, batch by batch.
    """
    handles = [site.layer.register_forward_pre_hook(_observer(site)) for site in sites if site.is_matrix]
    show(module, batches, handles)


def _is_candidate(layer: nn.Module) -> bool:
    one_group = isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups == 1
    return (isinstance(layer, nn.Linear) or one_group) and not parametrize.is_parametrized(layer)


def _is_plain(layer: Layer, data: torch.Tensor, output: torch.Tensor) -> bool:
    """Tells whether a subclass computes the same as its base class.

    A layer with its own padding, for example, does so only where there is nothing to pad.
    """
    if type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d):
        return True
    try:
        if isinstance(layer, nn.Linear):
            expected = nn.functional.linear(data, layer.weight, layer.bias)
        else:
            base: Any = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Conv1d
            expected = base._conv_forward(layer, data, layer.weight, layer.bias)
    except RuntimeError:  # what torch raises on shapes that do not fit
        return False
    return expected.shape == output.shape and torch.allclose(expected, output, rtol=1e-4, atol=1e-5)


def _counter(site: Site) -> Any:
    def count(layer: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        axis = -1 if isinstance(layer, nn.Linear) else 1
        data = args[0]
        site.plain = site.plain and _is_plain(site.layer, data, output)
        site.inputs += data.numel() // data.shape[axis]
        site.outputs += output.numel() // output.shape[axis]
        if isinstance(layer, nn.Conv2d):
            site.between += len(data) * output.shape[2] * data.shape[3]

    return count


def _observer(site: Site) -> Any:
    def observe(layer: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        data = args[0]
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            strides = [slice(None, None, stride) for stride in layer.stride]
            data = data[(slice(None), slice(None), *strides)].movedim(1, -1)
        site.seen = site.seen or Moments(data.shape[-1])
        site.seen.add(data)

    return observe
