"""The ways to factorize a layer: the ranks it needs, the cost, and the layers that replace it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from edgecomp.compression.low_rank import decompositions
from edgecomp.compression.low_rank.ranks import Floats
from edgecomp.compression.low_rank.sites import Layer, Site

SchemeName = Literal["svd", "tucker", "spatial", "cp"]

#: Singular values and their matrix's shape -> a rank.
Rule = Callable[[Floats, int, int], int]

Ranks = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """The amount of computation in one of the layers that replace a layer.

    Attributes:
        places: Number of places that it computes.
        inner: Input channels of each output channel, times the size of the kernel.
        outer: Output channels.
    """

    places: int
    inner: int
    outer: int

    def macs(self, multiple: int = 1) -> int:
        """Returns the multiplications, if a kernel computes `multiple` output channels at once."""
        return self.places * self.inner * math.ceil(self.outer / multiple) * multiple


@dataclass(frozen=True)
class Scheme:
    """A way to factorize a layer.

    Attributes:
        suits: Whether a layer can be factorized in this way.
        spectra: The matrices whose singular values decide its ranks, one for each rank.
        work: The computation of the new layers, given the ranks.
        build: Builds the new layers.
    """

    suits: Callable[[Site], bool]
    spectra: Callable[[Site], Sequence[torch.Tensor]]
    work: Callable[[Site, Ranks], Sequence[Work]]
    build: Callable[[Site, Ranks], nn.Sequential]


def spectrum(matrix: torch.Tensor) -> tuple[Floats, int, int]:
    """Returns the singular values of a matrix, and its shape."""
    values = torch.linalg.svdvals(matrix.double()).cpu().numpy().astype(np.float64)
    return values, matrix.shape[0], matrix.shape[1]


def original(site: Site) -> Work:
    """Returns the computation of the layer as it is."""
    weight = site.layer.weight
    return Work(site.outputs, weight[0].numel(), len(weight))


def _weighted(site: Site) -> tuple[torch.Tensor, torch.Tensor | None]:
    matrix = site.matrix.double()
    root = None if site.seen is None else decompositions.covariance_root(site.seen.covariance)
    return (matrix if root is None else matrix @ root), root


def _svd_work(site: Site, ranks: Ranks) -> list[Work]:
    (rank,), (out, into) = ranks, site.matrix.shape
    # A strided 1x1 convolution keeps its stride in the first of the two.
    return [Work(site.outputs, into, rank), Work(site.outputs, rank, out)]


def _svd_build(site: Site, ranks: Ranks) -> nn.Sequential:
    """Builds two layers; the error that the mean of the inputs causes is corrected in the bias."""
    layer, (rank,) = site.layer, ranks
    first, second = decompositions.svd(site.matrix, rank, _weighted(site)[1])
    lost = None if site.seen is None else (site.matrix.double().cpu() - (first @ second).cpu()) @ site.seen.mean
    bias = layer.bias is not None or lost is not None
    if isinstance(layer, nn.Linear):
        expand: Layer = nn.Linear(rank, layer.out_features, bias)
        return _chain(layer, (nn.Linear(layer.in_features, rank, False), second), (expand, first), lost=lost)
    kind: Any = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Conv1d
    reduce = kind(layer.in_channels, rank, 1, layer.stride, layer.padding, bias=False, padding_mode=layer.padding_mode)
    expand = kind(rank, layer.out_channels, 1, bias=bias)
    return _chain(layer, (reduce, second), (expand, first), lost=lost)


def _tucker_work(site: Site, ranks: Ranks) -> list[Work]:
    weight = site.layer.weight
    outer, inner = ranks
    return [
        Work(site.inputs, weight.shape[1], inner),
        Work(site.outputs, inner * weight[0, 0].numel(), outer),
        Work(site.outputs, outer, len(weight)),
    ]


def _tucker_build(site: Site, ranks: Ranks) -> nn.Sequential:
    layer = _convolution(site)
    outer, inner = ranks
    expand, core, reduce = decompositions.tucker(layer.weight.detach(), outer, inner)
    kernel, stride, dilation = _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.dilation)
    mode = layer.padding_mode
    middle = nn.Conv2d(inner, outer, kernel, stride, _padding(layer), dilation, bias=False, padding_mode=mode)
    return _chain(
        layer,
        (nn.Conv2d(layer.in_channels, inner, 1, bias=False), reduce),
        (middle, core),
        (_last_convolution(outer, layer), expand),
    )


def _spatial_work(site: Site, ranks: Ranks) -> list[Work]:
    out, into, height, width = site.layer.weight.shape
    return [Work(site.between, into * height, ranks[0]), Work(site.outputs, ranks[0] * width, out)]


def _spatial_build(site: Site, ranks: Ranks) -> nn.Sequential:
    layer, (rank,) = _convolution(site), ranks
    column, row = decompositions.spatial(layer.weight.detach(), rank)
    first, second = _separated(layer, layer.in_channels, rank, layer.out_channels, 1, layer.bias is not None)
    return _chain(layer, (first, column), (second, row))


def _cp_work(site: Site, ranks: Ranks) -> list[Work]:
    out, into, height, width = site.layer.weight.shape
    rank = max(ranks)
    return [
        Work(site.inputs, into, rank),
        Work(site.between, height, rank),
        Work(site.outputs, width, rank),
        Work(site.outputs, rank, out),
    ]


def _cp_build(site: Site, ranks: Ranks) -> nn.Sequential:
    """Builds four layers with the larger rank of the two unfoldings: fewer terms can never be exact."""
    layer, rank = _convolution(site), max(ranks)
    out, into, column, row = decompositions.cp(layer.weight.detach(), rank)
    first, second = _separated(layer, rank, rank, rank, rank, False)
    reduce = nn.Conv2d(layer.in_channels, rank, 1, bias=False)
    last = _last_convolution(rank, layer)
    return _chain(layer, (reduce, into.T), (first, column.T), (second, row.T), (last, out))


def _separated(
    layer: nn.Conv2d, inner: int, middle: int, outer: int, groups: int, bias: bool
) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Builds a vertical and a horizontal convolution, with the layer's strides, padding and dilation."""
    (height, width), (down, along) = _pair(layer.kernel_size), _pair(layer.stride)
    (above, beside), (far, wide) = _padding(layer), _pair(layer.dilation)
    mode = layer.padding_mode
    return (
        nn.Conv2d(inner, middle, (height, 1), (down, 1), (above, 0), (far, 1), groups, False, mode),
        nn.Conv2d(middle, outer, (1, width), (1, along), (0, beside), (1, wide), groups, bias, mode),
    )


def _chain(layer: Layer, *parts: tuple[Layer, torch.Tensor], lost: torch.Tensor | None = None) -> nn.Sequential:
    """Chains layers with their weights; the last one gets the original's bias, plus the correction `lost`."""
    with torch.no_grad():
        for new, weight in parts:
            new.weight.copy_(weight.reshape(new.weight.shape))
        last = parts[-1][0].bias
        if last is not None:
            last.copy_(layer.bias if layer.bias is not None else torch.zeros_like(last))
            last += 0 if lost is None else lost.to(last)
    return nn.Sequential(*(new for new, _ in parts)).to(layer.weight).train(layer.training)


def _last_convolution(rank: int, layer: nn.Conv2d) -> nn.Conv2d:
    return nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None)


def _convolution(site: Site) -> nn.Conv2d:
    assert isinstance(site.layer, nn.Conv2d), "schemes for kernels suit two-dimensional convolutions"
    return site.layer


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    first, second = values
    return first, second


def _padding(layer: nn.Conv2d) -> tuple[int, int]:
    assert not isinstance(layer.padding, str), "convolutions with padding by name do not suit"
    return _pair(layer.padding)


def _is_kernel(site: Site) -> bool:
    return isinstance(site.layer, nn.Conv2d) and not site.is_matrix and not isinstance(site.layer.padding, str)


def _unfoldings(site: Site) -> list[torch.Tensor]:
    weight = site.layer.weight.detach()
    return [weight.flatten(1), weight.transpose(0, 1).flatten(1)]


SCHEMES: dict[SchemeName, Scheme] = {
    "svd": Scheme(lambda site: site.is_matrix, lambda site: [_weighted(site)[0]], _svd_work, _svd_build),
    "tucker": Scheme(_is_kernel, _unfoldings, _tucker_work, _tucker_build),
    "spatial": Scheme(
        _is_kernel,
        lambda site: [decompositions.columns_by_rows(site.layer.weight.detach())],
        _spatial_work,
        _spatial_build,
    ),
    "cp": Scheme(_is_kernel, _unfoldings, _cp_work, _cp_build),
}
