"""A small U-Net (Ronneberger, Fischer and Brox, 2015) with weights as they are initialized.

For what depends on shapes and not on weights: instructions, time, memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Down and up again; each level on the way up sees its level on the way down."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128), classes: int = 4) -> None:
        super().__init__()
        self.down = nn.ModuleList(double(i, o) for i, o in zip((3, *widths), widths, strict=False))
        ups = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in ups)
        self.up = nn.ModuleList(double(2 * o, o) for _, o in ups)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3, H, W) to (1, classes, H, W)."""
        levels: list[Tensor] = []
        for block in self.down:
            x = block(x if not levels else nn.functional.max_pool2d(x, 2))
            levels.append(x)
        for rise, block, level in zip(self.rise, self.up, reversed(levels[:-1]), strict=True):
            x = block(torch.cat([level, rise(x)], 1))
        return self.head(x)


def model() -> nn.Module:
    torch.manual_seed(0)
    return UNet().eval()


def example_inputs() -> tuple[Tensor]:
    return (torch.zeros(1, 3, 64, 64),)


def calibration_data() -> Iterator[tuple[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(16):
        yield (torch.randn(1, 3, 64, 64, generator=generator),)
