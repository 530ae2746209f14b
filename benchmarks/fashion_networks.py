"""Small networks of the kinds that int8 treats unlike, trained on Fashion-MNIST; the data are a Debian package.

    apt-get install dataset-fashion-mnist
    python benchmarks/fashion_networks.py [NAME ...]     # trains what is not trained yet, and prints the accuracies

Each is trained once, for some minutes on one core, and kept where `examples/fashion_mnist.py` keeps its weights. Two
more are `separable` made hard on purpose: they compute the same to the last digits of float32, with numbers that eight
bits with one scale for a tensor cannot hold.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

sys.path.append(str(Path(__file__).parents[1] / "examples"))

import fashion_mnist as task

CLASSES = len(task.NAMES)


class SqueezeExcite(nn.Module):
    """Weighs channels by their means (Hu et al., 2018)."""

    def __init__(self, channels: int, activation: type[nn.Module], gate: type[nn.Module]) -> None:
        super().__init__()
        inner = max(8, channels // 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), activation(), nn.Conv2d(inner, channels, 1), gate()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W), and the same back."""
        return x * self.gate(x)


class MobileBlock(nn.Module):
    """Expansion, depthwise convolution, squeeze-and-excitation, projection (Tan and Le, 2019; Howard et al., 2019)."""

    def __init__(
        self,
        inner: int,
        middle: int,
        outer: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        activation: type[nn.Module],
        gate: type[nn.Module] | None,
        gate_activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        if middle != inner:
            parts += [task.ConvNorm(inner, middle, 1), activation()]
        parts += [task.ConvNorm(middle, middle, kernel, stride, middle), activation()]
        if gate is not None:
            parts.append(SqueezeExcite(middle, gate_activation, gate))
        self.branch = nn.Sequential(*parts, task.ConvNorm(middle, outer, 1))
        self.residual = stride == 1 and inner == outer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inner, H, W) to (N, outer, H / stride, W / stride)."""
        return x + self.branch(x) if self.residual else self.branch(x)


def efficientnet() -> nn.Module:
    """As EfficientNet-B0: Swish everywhere, squeeze-and-excitation with a sigmoid in every block."""

    def block(inner: int, middle: int, outer: int, kernel: int = 3, stride: int = 1) -> nn.Module:
        return MobileBlock(
            inner,
            middle,
            outer,
            kernel=kernel,
            stride=stride,
            activation=nn.SiLU,
            gate=nn.Sigmoid,
            gate_activation=nn.SiLU,
        )

    layers = nn.Sequential(
        task.ConvNorm(1, 16, 3, 2),
        nn.SiLU(),
        block(16, 16, 24, 3, 2),
        block(24, 96, 24, 5),
        block(24, 96, 40, 3),
        block(40, 120, 40, 5),
        task.ConvNorm(40, 160, 1),
        nn.SiLU(),
        task.Head(160),
    )
    return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster to train


def mobilenet_v3() -> nn.Module:
    """As MobileNetV3: Relu in early blocks, HardSwish behind them, hard sigmoids, a HardSwish in the head."""

    def block(inner: int, middle: int, outer: int, activation: type[nn.Module], stride: int = 1) -> nn.Module:
        gate = nn.Hardsigmoid if activation is nn.Hardswish else None
        return MobileBlock(inner, middle, outer, stride=stride, activation=activation, gate=gate)

    layers = nn.Sequential(
        task.ConvNorm(1, 16, 3, 2),
        nn.Hardswish(),
        block(16, 16, 24, nn.ReLU, 2),
        block(24, 96, 24, nn.ReLU),
        block(24, 96, 40, nn.Hardswish),
        block(40, 120, 40, nn.Hardswish),
        task.ConvNorm(40, 160, 1),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(160, 128),
        nn.Hardswish(),
        nn.Linear(128, CLASSES),
    )
    return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster to train


class Attention(nn.Module):
    """Of every patch to every patch."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (size // heads) ** -0.5
        self.together, self.output = nn.Linear(size, 3 * size), nn.Linear(size, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, patches, size), and the same back."""
        query, key, value = self.together(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (query @ key.transpose(2, 3) * self.scale).softmax(dim=3)
        return self.output((scores @ value).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention and two linear layers, each behind its LayerNorm."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.before_attention, self.before_linear = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attention = Attention(size, heads)
        self.linear = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, patches, size), and the same back."""
        x = x + self.attention(self.before_attention(x))
        return x + self.linear(self.before_linear(x))


class VisionTransformer(nn.Module):
    """ViT (Dosovitskiy et al., 2021), small, with the mean of all patches instead of a class token."""

    def __init__(self, size: int = 64, layers: int = 3, heads: int = 4, patch: int = 7) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, size, patch, patch)
        self.places = nn.Parameter(0.02 * torch.randn(1, (28 // patch) ** 2, size))
        self.layers = nn.Sequential(*(Layer(size, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, 28, 28) to (N, classes)."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.layers(x)).mean(dim=1))


def vit() -> nn.Module:
    """16 patches, three layers."""
    return VisionTransformer()


class RowReader(nn.Module):
    """Reads a picture as a sequence of 28 rows, two LSTMs deep, and names it after the last."""

    def __init__(self, size: int = 64) -> None:
        super().__init__()
        self.memory, self.head = nn.LSTM(28, size, num_layers=2, batch_first=True), nn.Linear(size, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, 28, 28) to (N, classes)."""
        states, _ = self.memory(x.flatten(1, 2))
        return self.head(states[:, -1])


def lstm() -> nn.Module:
    """Two LSTMs of 64."""
    return RowReader()


class Fork(nn.Module):
    """Two branches and their Concat."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(task.ConvNorm(inner, outer, 1), nn.ReLU())
        self.wide = nn.Sequential(task.ConvNorm(inner, outer, 3), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inner, H, W) to (N, 2 outer, H, W)."""
        return torch.cat([self.narrow(x), self.wide(x)], dim=1)


def separable() -> nn.Module:
    """Depthwise and pointwise convolutions with Relu, as MobileNet (Howard et al., 2017), and one Concat."""

    def block(inner: int, outer: int, stride: int = 1) -> list[nn.Module]:
        return [task.ConvNorm(inner, inner, 3, stride, inner), nn.ReLU(), task.ConvNorm(inner, outer, 1), nn.ReLU()]

    layers = nn.Sequential(
        task.ConvNorm(1, 24, 3, 2),
        nn.ReLU(),
        *block(24, 48, 2),
        *block(48, 96),
        Fork(96, 64),
        *block(128, 128),
        task.Head(128),
    )
    return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster to train


def uneven() -> nn.Module:
    """`separable` with ranges of channels that lie up to 100 times apart, as in MobileNetV2 before equalization."""
    network = _folded(trained("separable"))
    random = torch.Generator().manual_seed(0)
    layers = list(network)
    fork = next(index for index, layer in enumerate(layers) if isinstance(layer, Fork))
    for before, after in ((0, fork), (fork + 1, len(layers) - 1)):
        chain = [layer for layer in layers[before:after] if isinstance(layer, nn.Conv2d)]
        for first, second in pairwise(chain):
            factors = 10 ** (2 * torch.rand(first.out_channels, generator=random) - 1)
            _scale(first, second, factors)
    return network


def unlike() -> nn.Module:
    """`separable` with one branch in front of its Concat 300 times as large as the other."""
    network = _folded(trained("separable"))
    layers = list(network)
    fork = next(index for index, layer in enumerate(layers) if isinstance(layer, Fork))
    narrow, behind = layers[fork].narrow[0], layers[fork + 1]
    factors = torch.ones(behind.in_channels)
    factors[: narrow.out_channels] = 300.0
    _scale(narrow, behind, factors)
    return network


def _folded(network: nn.Module) -> nn.Sequential:
    """BatchNorm inside its convolution, so that channels can be scaled."""
    parts = []
    for part in network:  # type: ignore[attr-defined]
        match part:
            case task.ConvNorm():
                parts.append(fuse_conv_bn_eval(part[0], part[1]))
            case Fork():
                part.narrow, part.wide = _folded(part.narrow), _folded(part.wide)
                parts.append(part)
            case _:
                parts.append(part)
    return nn.Sequential(*parts).eval()


def _scale(first: nn.Conv2d, second: nn.Conv2d, factors: torch.Tensor) -> None:
    """Multiplies channels between two convolutions with nothing but Relu between them; the second takes it back."""
    with torch.no_grad():
        own = factors[: first.out_channels]
        first.weight.mul_(own[:, None, None, None])
        first.bias.mul_(own)  # type: ignore[union-attr]
        depthwise = second.groups == second.in_channels
        second.weight.div_(factors[:, None, None, None] if depthwise else factors[None, :, None, None])


#: Networks with weights of their own, and for how many epochs they are trained.
TRAINED: Mapping[str, tuple[Callable[[], nn.Module], int]] = {
    "separable": (separable, 1),
    "efficientnet": (efficientnet, 1),
    "mobilenet_v3": (mobilenet_v3, 1),
    "vit": (vit, 2),
    "lstm": (lstm, 2),
}

#: Networks made of those.
HARD: Mapping[str, Callable[[], nn.Module]] = {"uneven": uneven, "unlike": unlike}


def trained(name: str) -> nn.Module:
    """A network of a name, in evaluation mode."""
    if name in HARD:
        return HARD[name]()
    make, epochs = TRAINED[name]
    return task.trained(make, epochs)


def accuracy(network: nn.Module) -> float:
    """On the 10,000 test pictures."""
    with torch.inference_mode():
        outputs = torch.cat([network(batch) for batch, _ in task.batches("t10k")])
    return task.metric(outputs, task.numbers_of("t10k"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or (*TRAINED, *HARD):
        print(f"{name}: {accuracy(trained(name)):.4f}", flush=True)
