"""Small networks in torch with random weights: the shapes of real ones, at a size that a test can afford."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


def conv(inside: int, outside: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: type[nn.Module] = nn.ReLU):
    """Convolution, BatchNorm with statistics of its own, activation."""
    norm = nn.BatchNorm2d(outside)
    nn.init.uniform_(norm.running_mean, -0.2, 0.2)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
    body = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(body, norm, act())


class UNet(nn.Module):
    """Down by pooling; up by ConvTranspose, then by Resize; skips are concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.bottom = conv(3, 8), conv(8, 16), conv(16, 32)
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.third, self.fourth = conv(32, 16), conv(24, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        second = self.second(functional.max_pool2d(first, 2))
        bottom = self.bottom(functional.max_pool2d(second, 2))
        third = self.third(torch.cat([self.up(bottom), second], 1))
        wide = functional.interpolate(third, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.head(self.fourth(torch.cat([wide, first], 1)))


class SqueezeExcite(nn.Module):
    """Channels weighed by what all pixels say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = functional.adaptive_avg_pool2d(x, 1)
        return x * functional.hardsigmoid(self.up(functional.relu(self.down(pooled))))


class DenseSqueezeExcite(nn.Module):
    """The same with linear layers, through a view and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, channels // 4), nn.Linear(channels // 4, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return x * torch.sigmoid(self.up(functional.relu(self.down(pooled))))[:, :, None, None]


class MobileNetV3(nn.Module):
    """Inverted residuals with squeeze-excite and HardSwish."""

    class Block(nn.Module):
        """One inverted residual."""

        def __init__(self, inside: int, wide: int, outside: int, stride: int, excite: type[nn.Module]) -> None:
            super().__init__()
            self.body = nn.Sequential(
                conv(inside, wide, 1, act=nn.Hardswish),
                conv(wide, wide, 5, stride, groups=wide, act=nn.Hardswish),
                excite(wide),
                conv(wide, outside, 1, act=nn.Identity),
            )
            self.residual = stride == 1 and inside == outside

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.body(x) if self.residual else self.body(x)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(3, 8, stride=2, act=nn.Hardswish),
            self.Block(8, 16, 8, 1, SqueezeExcite),
            self.Block(8, 24, 16, 2, DenseSqueezeExcite),
            self.Block(16, 32, 16, 1, DenseSqueezeExcite),
            conv(16, 32, 1, act=nn.Hardswish),
        )
        self.head = nn.Sequential(nn.Linear(32, 32), nn.Hardswish(), nn.Linear(32, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class ShuffleNet(nn.Module):
    """Half of the channels pass; then the halves are shuffled."""

    class Block(nn.Module):
        """One unit of stride 1."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            half = channels // 2
            self.body = nn.Sequential(
                conv(half, half, 1), conv(half, half, groups=half, act=nn.Identity), conv(half, half, 1)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            left, right = x.chunk(2, 1)
            joined = torch.cat([left, self.body(right)], 1)
            batch, channels, height, width = joined.shape
            return joined.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(joined.shape)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, stride=2), nn.MaxPool2d(3, 2, 1), self.Block(16), self.Block(16))
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class VisionTransformer(nn.Module):
    """Patches, a class token, positions, and attention written as its products."""

    class Block(nn.Module):
        """Attention and perceptron, normalized before."""

        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads, self.scale = heads, (width // heads) ** -0.5
            self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            batch, tokens, width = x.shape
            joint = self.qkv(self.before(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
            query, key, value = joint.permute(2, 0, 3, 1, 4).unbind(0)
            weights = ((query * self.scale) @ key.transpose(-2, -1)).softmax(-1)
            x = x + self.out((weights @ value).transpose(1, 2).reshape(batch, tokens, width))
            return x + self.dense(self.between(x))

    def __init__(self, width: int = 32, heads: int = 4, image: int = 32, patch: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.5)
        self.positions = nn.Parameter(torch.randn(1, 1 + (image // patch) ** 2, width) * 0.5)
        self.blocks = nn.Sequential(self.Block(width, heads), self.Block(width, heads))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class Detector(nn.Module):
    """Heads on two scales, permuted and concatenated as SSD does, decoded boxes and class scores; without NMS."""

    classes = 4

    def __init__(self) -> None:
        super().__init__()
        self.body, self.down = nn.Sequential(conv(3, 8, stride=2), conv(8, 16, stride=2)), conv(16, 16, stride=2)
        self.boxes = nn.ModuleList(nn.Conv2d(16, 2 * 4, 3, padding=1) for _ in range(2))
        self.scores = nn.ModuleList(nn.Conv2d(16, 2 * self.classes, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.body(x)
        scales = [fine, self.down(fine)]

        def rows(heads: nn.ModuleList, size: int) -> torch.Tensor:
            maps = [head(scale).permute(0, 2, 3, 1) for head, scale in zip(heads, scales, strict=True)]
            return torch.cat([each.reshape(each.shape[0], -1, size) for each in maps], 1)

        boxes, scores = rows(self.boxes, 4), rows(self.scores, self.classes)
        centre, size = boxes[..., :2], functional.softplus(boxes[..., 2:])
        corners = torch.cat([centre - size / 2, centre + size / 2], -1)
        return corners, scores.softmax(-1), scales[1]


class AnchorFree(nn.Module):
    """Heads of several scales flattened in the source's order and joined, as YOLO writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.down = nn.Sequential(conv(3, 8, stride=2), conv(8, 16, stride=2)), conv(16, 16, stride=2)
        self.boxes = nn.ModuleList(nn.Conv2d(16, 16, 1) for _ in range(2))
        self.scores = nn.ModuleList(nn.Conv2d(16, 5, 1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.body(x)
        scales = [fine, self.down(fine)]
        maps = [
            torch.cat([box(scale), score(scale)], 1)
            for box, score, scale in zip(self.boxes, self.scores, scales, strict=True)
        ]
        joint = torch.cat([each.flatten(2) for each in maps], 2)
        sides, scores = joint.split([16, 5], 1)
        batch, _, anchors = sides.shape
        spread = sides.view(batch, 4, 4, anchors).transpose(2, 1).softmax(1)
        weights = torch.arange(4, dtype=torch.float32).view(1, 4, 1, 1)
        distances = (spread * weights).sum(1)
        near, far = distances.chunk(2, 1)
        return torch.cat([far - near, far + near, scores.sigmoid()], 1)


class SuperResolution(nn.Module):
    """Upscaling by PixelShuffle on top of a bilinear one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16), nn.Conv2d(16, 12, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = x.shape
        fine = self.body(x).view(batch, 3, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
        wide = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return fine.reshape(batch, 3, 2 * height, 2 * width) + wide


class TextReader(nn.Module):
    """A CNN whose columns go through an LSTM, as OCR nets do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(1, 8), nn.MaxPool2d(2), conv(8, 16), nn.MaxPool2d((4, 1)))
        self.reader = nn.LSTM(16 * 2, 12, bidirectional=True, batch_first=True)
        self.head = nn.Linear(24, 11)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x)
        batch, channels, height, width = x.shape
        columns = x.permute(0, 3, 1, 2).reshape(batch, width, channels * height)
        return self.head(self.reader(columns)[0]).log_softmax(-1)


class Recurrent(nn.Module):
    """Classifies a sequence by the last state."""

    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell, self.head = cell(8, 16, num_layers=2, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(x)[0][:, -1])


class KeywordNet(nn.Module):
    """Convolutions along time with gates, and attention over time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(10, 16, 5, padding=2), nn.Conv1d(16, 16, 3, padding=2, dilation=2)
        self.gate, self.query, self.head = nn.Conv1d(16, 16, 1), nn.Conv1d(16, 1, 1), nn.Linear(16, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.silu(self.first(x))
        x = torch.tanh(self.second(x)) * torch.sigmoid(self.gate(x))
        weights = self.query(x).softmax(-1)
        return self.head((x * weights).sum(-1))


@dataclass(frozen=True)
class Network:
    """One network and what is asked of its conversion.

    Attributes:
        name: How tests call it.
        make: Makes it; weights are seeded before.
        shape: Of its input.
        transposes: How many TRANSPOSE the algorithm itself needs in TFLite.
        steps: How far an int8 artifact may be from the simulation.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (1, 3, 32, 32)
    transposes: int = 0
    steps: int = 2


NETWORKS = (
    Network("u-net", UNet),
    Network("mobilenet-v3", MobileNetV3),
    Network("shufflenet", ShuffleNet, transposes=2),  # one a shuffle
    Network(
        "vision-transformer", VisionTransformer, transposes=8, steps=4
    ),  # queries, keys, values and results of two blocks
    Network("ssd", Detector),
    Network("anchor-free", AnchorFree, transposes=1),  # the output's own order
    Network("super-resolution", SuperResolution, transposes=1),
    Network("text-reader", TextReader, (1, 1, 16, 40), transposes=1),
    Network("lstm", lambda: Recurrent(nn.LSTM), (1, 12, 8)),
    Network("gru", lambda: Recurrent(nn.GRU), (1, 12, 8)),
    Network("keyword", KeywordNet, (1, 10, 50), transposes=1),  # the input, in the order that it was given
)
