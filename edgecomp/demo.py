"""The demo's task: a small CNN on scikit-learn's handwritten digits. It doubles as an example of a task file.

The network has what compression tools stumble over: BatchNorm, a residual sum, a depthwise convolution and a Swish.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgecomp.errors import MissingToolchainError
from edgecomp.frontends.pictures import Preprocessing
from edgecomp.system.threads import one_torch_thread

Arrays = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]

EPOCHS = 8
BATCH = 64

metric = "accuracy"


class Residual(nn.Module):
    """x + pointwise(swish(depthwise(x))), each convolution with its BatchNorm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.activation = nn.SiLU()
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Keeps the shape (N, channels, H, W)."""
        hidden = self.activation(self.norm1(self.depthwise(image)))
        correction: torch.Tensor = self.norm2(self.pointwise(hidden))
        return image + correction


class DigitNet(nn.Module):
    """8 x 8 grey pictures of digits -> 10 logits."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.block1 = Residual(width)
        self.down = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU6()
        )
        self.block2 = Residual(2 * width)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(N, 1, 8, 8) in [0, 1] -> (N, 10)."""
        features = self.block2(self.down(self.block1(self.stem(image))))
        logits: torch.Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def model() -> nn.Module:
    """The network, trained from scratch in a few seconds."""
    torch.manual_seed(0)
    network = DigitNet()
    images, labels = (torch.from_numpy(array) for array in digits()[0])
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    with one_torch_thread():  # threads only slow down operators this small
        for _ in range(EPOCHS):
            for chosen in torch.randperm(len(images)).split(BATCH):  # type: ignore[no-untyped-call]
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(images[chosen]), labels[chosen])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    return network.eval()


def example_inputs() -> tuple[torch.Tensor, ...]:
    """One picture."""
    return (torch.zeros(1, 1, 8, 8),)


def calibration_data() -> Iterator[tuple[npt.NDArray[np.float32]]]:
    """Pictures that the network was trained on."""
    images, _ = digits()[0]
    return ((image[None],) for image in images[:200])


def train_data() -> Iterator[tuple[tuple[npt.NDArray[np.float32]], npt.NDArray[np.int64]]]:
    """The training data, for recipes with steps that train."""
    images, labels = digits()[0]
    yield (images,), labels


def evaluation_data() -> Iterator[tuple[tuple[npt.NDArray[np.float32]], npt.NDArray[np.int64]]]:
    """Pictures that it has never seen."""
    images, labels = digits()[1]
    return (((image[None],), labels[index : index + 1]) for index, image in enumerate(images))


def labels() -> list[str]:
    """The classes."""
    return [str(digit) for digit in range(10)]


def preprocessing() -> Preprocessing:
    """How a picture of a digit, white on black, becomes an input."""
    return Preprocessing(resize=8, crop=8, channels="gray")


@cache
def digits() -> tuple[Arrays, Arrays]:
    """Training and held-out pictures, (N, 1, 8, 8) in [0, 1], with their labels: 1297 and 500 of 1797."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingToolchainError(
            "scikit-learn",
            expected="the package that the demo's digits come in",
            actual="not installed",
            cure='run `pip install "edgecomp[examples]"`',
        ) from None
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    images = (data.images[order] / 16).astype(np.float32)[:, None]
    answers = data.target[order].astype(np.int64)
    return (images[:-500], answers[:-500]), (images[-500:], answers[-500:])
