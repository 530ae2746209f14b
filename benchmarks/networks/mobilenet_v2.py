"""MobileNetV2 (Sandler et al., 2018) at 128 x 128, with weights as they are initialized.

For what depends on shapes and not on weights: instructions, time, memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

#: Expansion, output channels, repetitions, stride of the first: the paper's table 2.
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution with BatchNorm and ReLU6."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs, momentum=None), nn.ReLU6()]


class InvertedResidual(nn.Module):
    """Wide inside, narrow outside."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *(convolution(inputs, wide, 1) if expansion > 1 else ()),
            *convolution(wide, wide, 3, stride, groups=wide),
            *convolution(wide, outputs, 1)[:2],
        )

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, less the stride."""
        return x + self.layers(x) if self.residual else self.layers(x)


def model() -> nn.Module:
    torch.manual_seed(0)
    layers, channels = convolution(3, 32, 3, 2), 32
    for expansion, outputs, count, stride in BLOCKS:
        for index in range(count):
            layers.append(InvertedResidual(channels, outputs, stride if index == 0 else 1, expansion))
            channels = outputs
    layers += [*convolution(channels, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    network = nn.Sequential(*layers)
    with torch.no_grad():
        network(torch.randn(32, 3, 128, 128))  # BatchNorm needs statistics, else the signal dies away
    return network.eval()


def example_inputs() -> tuple[Tensor]:
    return (torch.zeros(1, 3, 128, 128),)


def calibration_data() -> Iterator[tuple[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(16):
        yield (torch.randn(1, 3, 128, 128, generator=generator),)
