"""Networks whose channels depend on each other in the ways that real ones do."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer)
        self.conv2, self.bn2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer)
        same = stride == 1 and inner == outer
        self.skip = nn.Identity() if same else nn.Sequential(nn.Conv2d(inner, outer, 1, stride), nn.BatchNorm2d(outer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.skip(x))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.up(functional.relu(self.down(x.mean((2, 3), keepdim=True)))))


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Residual(16, 16),
        Residual(16, 32, 2),
        SqueezeExcite(32),
        Residual(32, 32),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


class UNet(nn.Module):
    """Concatenation, transposed, depthwise and grouped convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.down = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.up, self.join = nn.ConvTranspose2d(16, 12, 2, 2), nn.Conv2d(20, 8, 3, 1, 1)
        self.depthwise, self.grouped = nn.Conv2d(8, 16, 3, 1, 1, groups=8), nn.Conv2d(16, 16, 3, 1, 1, groups=4)
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        encoded = functional.relu(self.encode(x))
        decoded = self.up(functional.relu(self.down(encoded)))
        return self.out(self.grouped(self.depthwise(self.join(torch.cat([decoded, encoded], 1)))))


class Shuffle(nn.Module):
    """Channels cut into halves and shuffled, as in ShuffleNet V2."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.changed, self.out = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, changed = self.first(x).chunk(2, 1)
        joined = torch.cat([kept, self.changed(changed)], 1)
        batch, channels, height, width = joined.shape
        shuffled = joined.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return self.out(shuffled.reshape(batch, -1, height, width))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Linear(6, 8), nn.LSTM(8, 12, 2, batch_first=True, bidirectional=True)
        self.gru, self.out = nn.GRU(24, 10, batch_first=True), nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.gru(self.lstm(functional.relu(self.embed(x)))[0])[0][:, -1])


class Attention(nn.Module):
    """Queries, keys and values from one layer, without a normalization, so that what is cut can be compared."""

    def __init__(self, size: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.scale = heads, (size // heads) ** -0.5
        self.qkv, self.project = nn.Linear(size, 3 * size), nn.Linear(size, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (query @ key.transpose(2, 3) * self.scale).softmax(3)
        return x + self.project((scores @ value).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Linear(6, 16), nn.Parameter(torch.randn(1, 5, 16))
        self.blocks = nn.Sequential(Attention(), Attention())
        self.out = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.blocks(self.embed(x) + self.places).mean(1))


class Fixed(nn.Module):
    """Its code has the size of a layer written into it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(6, 2, 1)
        self.low, self.high = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.out(self.low(x[:, :8]) + self.high(x[:, 8:]))


#: Networks without normalization across channels, an example each, and the layers whose outputs can be removed.
NETWORKS = {
    "resnet": (resnet, (1, 3, 16, 16), {"0", "3.conv1", "4.conv1", "4.conv2", "5.down", "6.conv1"}),
    "u-net": (UNet, (1, 3, 16, 16), {"encode", "down", "up", "join", "grouped"}),
    "shuffle": (Shuffle, (1, 3, 8, 8), {"first"}),
    "recurrent": (Recurrent, (2, 5, 6), {"embed", "lstm", "gru"}),
    "transformer": (Transformer, (1, 5, 6), {"embed", "blocks.0.qkv", "blocks.1.qkv"}),
    "fixed": (Fixed, (1, 3, 8, 8), {"low"}),
}
