"""How long float artifacts take beside the file itself in ONNX Runtime, MNN's own converter, and litert-torch.

    python benchmarks/latency.py [FILE.onnx ...] [--shape x=1x3x48x320] [--litert-python PYTHON] [--turns 100]

Without files: EfficientNet-Lite0 and MiniLM (32 tokens). litert-torch starts from a `torch.export` program, which these
two have, and a file has when FILE.pt2 lies beside it.

Every inference is on one thread, on random inputs. Ours and the other take turns in one process, so that a
busy machine slows both; the ratio is the median of the ratios turn by turn, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import onnx
from convert import LITERT, Network, write_networks
from figures import sign_interval
from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_input_shape_fixed
from peers import MissingPeerError, run_peer
from rich import box
from rich.console import Console
from rich.table import Table

import edgecomp
from edgecomp.device_scripts import bench

#: Turns before what counts.
_WARM_UP = 5

_MNN = """
import _tools, sys
_tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", sys.argv[1], "--MNNModel", sys.argv[2], "--bizCode", "x"])
"""


@dataclass(frozen=True)
class Peer:
    """What ours is compared with.

    Attributes:
        format: Of both.
        name: Who made the other file.
        make: The network -> the other file.
    """

    format: str
    name: str
    make: Callable[[Network], Path]


def peers(litert: str) -> list[Peer]:
    """The peer of each format."""

    def itself(network: Network) -> Path:
        return network.path(".onnx")

    def by(python: str, code: str, source: str, suffix: str) -> Callable[[Network], Path]:
        def make(network: Network) -> Path:
            if not network.path(source).exists():
                raise MissingPeerError(f"there is no {network.path(source).name}")
            target = network.path(suffix)
            command = [python, "-c", code, str(network.path(source)), str(target)]
            own = {name: text for name, text in os.environ.items() if python == sys.executable or name != "PYTHONPATH"}
            run_peer(command, own, target)
            return target

        return make

    return [
        Peer("onnxruntime", "the file itself", itself),
        Peer("mnn", "mnnconvert", by(sys.executable, _MNN, ".onnx", ".peer.mnn")),
        Peer("tflite", "litert-torch", by(litert, LITERT, ".pt2", ".peer.tflite")),
    ]


def bring(file: Path, shapes: Mapping[str, list[int]], folder: Path) -> Network:
    """A user's file in the benchmark's folder, with fixed sizes, so that every tool sees the same."""
    network = Network(file.stem, folder)
    model = onnx.load(file)
    for name in shapes.keys() & {value.name for value in model.graph.input}:
        make_input_shape_fixed(model.graph, name, shapes[name])
        fix_output_shapes(model)
    onnx.save(model, network.path(".onnx"))
    if file.with_suffix(".pt2").exists():
        shutil.copy(file.with_suffix(".pt2"), network.path(".pt2"))
    return network


def alternate(files: Sequence[Path], turns: int) -> list[list[float]]:
    """Milliseconds of each file's inferences, one after the other, forwards and backwards by turns."""
    loaded = []
    for file in files:
        load, _ = bench.find_runtime(str(file))
        runtime = load(str(file), 1, None)
        loaded.append((runtime, bench.random_inputs(runtime.inputs), list[float]()))
    for turn in range(-_WARM_UP, turns):
        for runtime, arrays, samples in loaded if turn % 2 == 0 else reversed(loaded):
            found = bench.timed_runs(runtime, arrays, 1)
            samples += found if turn >= 0 else []
    return [samples for _, _, samples in loaded]


def measure(network: Network, peer: Peer, turns: int) -> list[str]:
    """A row: network, format, peer, both times, their ratio, and what it may be."""
    row = [network.name, peer.format, peer.name]
    result = edgecomp.compress(
        network.path(".onnx"),
        "linux-x86-64",
        network.folder / f"{network.name}.{peer.format}",
        formats=peer.format,
        precision="fp32",
    )
    try:
        other = peer.make(network)
    except MissingPeerError as error:
        return [*row, "", "", str(error)]
    ours, its = alternate([result.artifacts[peer.format], other], turns)
    ratio = sign_interval([own / other for own, other in zip(ours, its, strict=True)])
    return [
        *row,
        f"{median(ours):.2f} ms",
        f"{median(its):.2f} ms",
        f"{ratio.value:.3f} ({ratio.low:.3f} - {ratio.high:.3f})",
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--shape", action="append", default=[])
    parser.add_argument("--litert-python", default=sys.executable, help="an interpreter that has litert-torch")
    parser.add_argument("--turns", type=int, default=100)
    arguments = parser.parse_args()
    shapes = {
        name: list(map(int, sizes.split("x"))) for name, _, sizes in (each.rpartition("=") for each in arguments.shape)
    }
    table = Table("network", "format", "beside", "ours", "the other", "ours / the other (95 %)", box=box.MARKDOWN)
    notes = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as name:
        folder = Path(name)
        brought = [bring(file, shapes, folder) for file in arguments.files]
        for network in brought or write_networks(["lite0", "minilm"], folder):
            for peer in peers(arguments.litert_python):
                notes.print(f"{network.name}: {peer.format}")
                table.add_row(*measure(network, peer, arguments.turns))
    Console(highlight=False, width=160).print(table)


if __name__ == "__main__":
    main()
