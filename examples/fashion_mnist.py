"""Fashion-MNIST: pictures of ten kinds of clothes, for compression that learns; the data are a Debian package.

    apt-get install dataset-fashion-mnist
    edgecomp compress examples/fashion_mnist.py --target raspberry-pi-4b --recipe recipe.toml -o dist/clothes
    edgecomp compress examples/fashion_mnist.py:mobile ...

`model()` is a small ResNet (He et al., 2016), `mobile()` is made of depthwise convolutions with squeeze-and-excitation
(Howard et al., 2019). The weights are trained on first use, which takes some minutes, and kept in the folder that
`FASHION_MNIST_WEIGHTS` names, by default one in the folder for temporary files. `FASHION_MNIST` names the folder of the
data, if they are not where Debian puts them.
"""

import gzip
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

DATA = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
WEIGHTS = Path(os.environ.get("FASHION_MNIST_WEIGHTS", Path(tempfile.gettempdir()) / "edgecomp-fashion-mnist"))
NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
MEAN, DEVIATION = 0.2860, 0.3530
BATCH = 128


class ConvNorm(nn.Sequential):
    def __init__(self, inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        convolution = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outer))


class Residual(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int = 1) -> None:
        super().__init__()
        self.first, self.second = ConvNorm(inner, outer, 3, stride), ConvNorm(outer, outer, 3)
        self.skip = nn.Identity() if stride == 1 and inner == outer else ConvNorm(inner, outer, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.second(functional.relu(self.first(x))) + self.skip(x))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = functional.adaptive_avg_pool2d(x, 1)
        return x * functional.hardsigmoid(self.expand(functional.relu(self.reduce(pooled))))


class Inverted(nn.Module):
    def __init__(self, inner: int, middle: int, outer: int, stride: int = 1) -> None:
        super().__init__()
        self.expand, self.depthwise = ConvNorm(inner, middle, 1), ConvNorm(middle, middle, 3, stride, middle)
        self.excite, self.project = SqueezeExcite(middle), ConvNorm(middle, outer, 1)
        self.residual = stride == 1 and inner == outer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.depthwise(functional.relu(self.expand(x))))
        y = self.project(self.excite(y))
        return x + y if self.residual else y


class Head(nn.Sequential):
    def __init__(self, channels: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, len(NAMES)))


def resnet() -> nn.Module:
    """Without trained weights: 14 million multiplications, 170 thousand parameters."""
    return nn.Sequential(
        ConvNorm(1, 32, 3, 2),
        nn.ReLU(),
        Residual(32, 32),
        Residual(32, 32),
        Residual(32, 64, 2),
        Residual(64, 64),
        Head(64),
    )


def mobilenet() -> nn.Module:
    """Without trained weights: 2 million multiplications, 60 thousand parameters."""
    return nn.Sequential(
        ConvNorm(1, 16, 3, 2),
        nn.ReLU(),
        Inverted(16, 48, 16),
        Inverted(16, 64, 32, 2),
        Inverted(32, 128, 32),
        Inverted(32, 128, 32),
        ConvNorm(32, 128, 1),
        nn.ReLU(),
        Head(128),
    )


def model() -> nn.Module:
    return trained(resnet, epochs=3)


def mobile() -> nn.Module:
    return trained(mobilenet, epochs=4)


def example_inputs() -> tuple[torch.Tensor, ...]:
    return (pictures("t10k")[:1],)


def calibration_data() -> Iterator[tuple[torch.Tensor, ...]]:
    return ((batch,) for batch in pictures("train")[:512].split(64))


def train_data() -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
    return (((batch,), numbers) for batch, numbers in batches("train"))


def evaluation_data() -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
    return (((batch,), numbers) for batch, numbers in batches("t10k"))


def loss(outputs: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, numbers)


def metric(outputs: torch.Tensor, numbers: torch.Tensor) -> float:
    return float((outputs.argmax(1) == numbers).float().mean())


def labels() -> tuple[str, ...]:
    return NAMES


def batches(part: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return zip(pictures(part).split(BATCH), numbers_of(part).split(BATCH), strict=True)


def pictures(part: str) -> torch.Tensor:
    """Pictures of "train" or "t10k" with mean 0 and variance 1, (count, 1, 28, 28)."""
    pixels = torch.from_numpy(stored(f"{part}-images-idx3-ubyte.gz", header=16)).reshape(-1, 1, 28, 28)
    return (pixels.float() / 255 - MEAN) / DEVIATION


def numbers_of(part: str) -> torch.Tensor:
    return torch.from_numpy(stored(f"{part}-labels-idx1-ubyte.gz", header=8)).long()


def stored(name: str, header: int) -> np.ndarray:
    """The bytes of an IDX file behind its header."""
    if not (DATA / name).is_file():
        raise FileNotFoundError(f"{DATA / name}: apt-get install dataset-fashion-mnist, or set FASHION_MNIST")
    return np.frombuffer(gzip.decompress((DATA / name).read_bytes()), np.uint8, offset=header).copy()


def trained(make: Callable[[], nn.Module], epochs: int) -> nn.Module:
    """A network with weights from the folder, or trained and put there."""
    file = WEIGHTS / f"{make.__name__}.pt"
    if file.is_file():
        network = make()
        network.load_state_dict(torch.load(file, weights_only=True))
        return network.eval()
    torch.manual_seed(0)
    network = fitted(make(), epochs)
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), file)
    return network.eval()


def fitted(network: nn.Module, epochs: int) -> nn.Module:
    """One cycle of AdamW on mirrored pictures, in the memory format that convolutions on a CPU are fastest in."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this keyword
    inputs, targets = pictures("train").to(memory_format=torch.channels_last), numbers_of("train")
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    steps = epochs * (len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.004, total_steps=steps)
    network.train()
    for epoch in range(epochs):
        print(f"{len(inputs)} pictures, epoch {epoch + 1} of {epochs}", file=sys.stderr)
        for places in torch.randperm(len(inputs))[: len(inputs) // BATCH * BATCH].split(BATCH):
            batch = inputs[places]
            batch = batch.flip(3) if torch.rand(()) < 0.5 else batch
            value = loss(network(batch), targets[places])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
    return network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


if __name__ == "__main__":
    for task in (model, mobile):
        network = task()
        with torch.inference_mode():
            outputs = torch.cat([network(batch) for batch, _ in batches("t10k")])
        print(f"{task.__name__}: {metric(outputs, numbers_of('t10k')):.4f}")
