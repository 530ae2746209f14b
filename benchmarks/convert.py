"""What a conversion to TFLite costs, in processes of its own, against litert-torch and onnx2tf.

    python benchmarks/convert.py [--litert-python PYTHON] [--onnx2tf-python PYTHON] [--rounds 3] [--only lite0,minilm]
    python benchmarks/convert.py --only matrices-8 --to mnn

Networks: EfficientNet-Lite0, MiniLM (a Transformer, 32 tokens), and chains of 100, 1,000 and 5,000 nodes (Conv, Relu
and Add); on demand, some matrix products of 151 MB each with external data, for edgecomp alone. Each is written once
as `.onnx` and once as a `torch.export` program; every tool then starts from the file that it reads, so that loading
torch counts for the one that needs it. Every run is one process: interpreter, imports, work.

- `edgecomp convert`: the command, which also runs the artifact against the original and writes a manifest.
- `edgecomp, writing only`: `load_source`, `simplify` and the converter from a script: no more than the others do.
- `litert-torch`: `litert_torch.convert(...).export(...)`.
- `onnx2tf`: as it comes, and in its fastest mode: with `-tb flatbuffer_direct` from version 2 on, before that without
  onnxsim and without its generation of names.
- int8, on EfficientNet-Lite0 and 32 photos: `edgecomp convert --precision int8` against litert-torch followed by
  ai-edge-quantizer with its static recipe.

Tools are interleaved in every round; the fastest round counts, because a busy machine only ever adds. Processor time is
that of all processes and threads of a command, and what to compare on a busy machine. Memory is the peak of all
processes of a command together. Python keeps the bytecode of what it imports, as pip does of packages; the first round
may have to make it. Nothing is installed: a tool that is missing is named as missing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir
from conversion_scaling import LIMIT, SHAPE, chain, exponent
from processes import Cost, run
from rich import box
from rich.console import Console
from rich.table import Table

EXAMPLES = Path(__file__).parent.parent / "examples"
CHAINS = (100, 1000, 5000)
PHOTOS = 32

#: What others are compared with.
_OURS_BY_NAME = ("edgecomp convert", "edgecomp, writing only", "edgecomp convert, int8")

#: Seconds after which a run is given up.
_PATIENCE = 900

_OURS = """
import sys
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.frontends import load_source
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from pathlib import Path
source, target, name = sys.argv[1:]
model = simplify(CompressedModel(load_source(source).graph))
load_converter(name).convert(model, Path(target), ConversionOptions())
"""

LITERT = """
import sys
import torch, litert_torch
source, target = sys.argv[1:]
program = torch.export.load(source)
litert_torch.convert(program.module(), program.example_inputs[0]).export(target)
"""

_LITERT_INT8 = (
    LITERT
    + """
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
key, signature = next(iter(Interpreter(model_path=target).get_signature_list().items()))
tool = quantizer.Quantizer(target, recipe.static_wi8_ai8())
photos = np.load(source.replace(".pt2", ".npz"))
seen = tool.calibrate({key: [{signature["inputs"][0]: photo[None]} for photo in photos[photos.files[0]]]})
tool.quantize(seen, serialize_to_path=target + ".int8.tflite")
"""
)


@dataclass(frozen=True)
class Network:
    """A network in the forms that the tools read.

    Attributes:
        name: "lite0", "minilm", "chain-100".
        folder: Holds `NAME.onnx`, `NAME.pt2`, and `NAME.npz` with photos where int8 is measured.
    """

    name: str
    folder: Path

    def path(self, suffix: str) -> Path:
        """The file with a suffix."""
        return self.folder / f"{self.name}{suffix}"

    @property
    def size(self) -> int:
        """Bytes of the ONNX file with its external data."""
        return sum(file.stat().st_size for file in self.folder.glob(f"{self.name}.onnx*"))


@dataclass(frozen=True)
class Tool:
    """A way to convert.

    Attributes:
        name: As the table has it.
        python: The interpreter that it is installed for.
        command: Network and output folder -> the arguments behind the interpreter.
        needs: The module that says whether it is there.
        fits: Whether it is measured on a network.
    """

    name: str
    python: str
    command: Callable[[Network, Path], Sequence[str | Path]]
    needs: str
    fits: Callable[[Network], bool] = lambda network: True


@dataclass
class Row:
    """What one tool cost on one network.

    Attributes:
        network: Its name.
        tool: Its name.
        costs: The costs of every round.
        failure: Why there are none.
    """

    network: str
    tool: str
    costs: list[Cost] = field(default_factory=list)
    failure: str = ""

    @property
    def wall(self) -> float:
        """Seconds of the fastest round."""
        return min(cost.wall for cost in self.costs)

    @property
    def processor(self) -> float:
        """Seconds of processor time of the round that took least."""
        return min(cost.cpu for cost in self.costs)

    @property
    def memory(self) -> int:
        """Bytes of the round that took least."""
        return min(cost.together or cost.largest for cost in self.costs)


def tools(litert: str, onnx2tf: str, ours_to: str) -> list[Tool]:
    """Every tool, ours first."""

    def ours(*options: str) -> Callable[[Network, Path], Sequence[str | Path]]:
        def command(network: Network, out: Path) -> Sequence[str | Path]:
            given = ["--calibration", network.path(".npz")] if options else []
            words = ["-m", "edgecomp", "convert", network.path(".onnx"), "--to", ours_to, "-o", out / "ours"]
            return [*words, *options, *given]

        return command

    def script(text: str, suffix: str, *more: str) -> Callable[[Network, Path], Sequence[str | Path]]:
        return lambda network, out: ["-c", text, network.path(suffix), out / "model.tflite", *more]

    def tensorflow(*options: str) -> Callable[[Network, Path], Sequence[str | Path]]:
        def command(network: Network, out: Path) -> Sequence[str | Path]:
            return ["-m", "onnx2tf", "-i", network.path(".onnx"), "-o", out / "tf", "-n", *options]

        return command

    def exported(network: Network) -> bool:
        return network.path(".pt2").exists()

    def photographic(network: Network) -> bool:
        return network.path(".npz").exists()

    return [
        Tool("edgecomp convert", sys.executable, ours(), "edgecomp"),
        Tool("edgecomp, writing only", sys.executable, script(_OURS, ".onnx", ours_to), "edgecomp"),
        Tool("litert-torch", litert, script(LITERT, ".pt2"), "litert_torch", exported),
        Tool("onnx2tf", onnx2tf, tensorflow(), "onnx2tf"),
        Tool("onnx2tf -nuo -nuonag", onnx2tf, tensorflow("-nuo", "-nuonag"), "onnx2tf"),
        Tool("onnx2tf -tb flatbuffer_direct", onnx2tf, tensorflow("-tb", "flatbuffer_direct"), "onnx2tf"),
        Tool("edgecomp convert, int8", sys.executable, ours("--precision", "int8"), "edgecomp", photographic),
        Tool("litert-torch + ai-edge-quantizer", litert, script(_LITERT_INT8, ".pt2"), "litert_torch", photographic),
    ]


# --- networks ---------------------------------------------------------------------------------------------------------


def write_networks(names: Sequence[str], folder: Path) -> list[Network]:
    """Writes each network as ONNX and as an exported program."""
    networks = [Network(name, folder) for name in names]
    for network in networks:
        if network.name.startswith("chain-"):
            _write_chain(network, int(network.name.removeprefix("chain-")))
        elif network.name.startswith("matrices-"):
            _write_matrices(network, int(network.name.removeprefix("matrices-")))
        else:
            _write_example(network, {"lite0": "efficientnet_lite0", "minilm": "minilm"}[network.name])
    return networks


def _write_example(network: Network, file: str) -> None:
    import numpy as np
    import torch

    sys.path.insert(0, str(EXAMPLES))
    task = importlib.import_module(file)
    module, inputs = task.model().eval(), task.example_inputs()
    torch.export.save(torch.export.export(module, inputs), network.path(".pt2"))
    with warnings.catch_warnings():
        # The exporter without torch.export is deprecated, and writes what most files in the world look like.
        warnings.simplefilter("ignore", DeprecationWarning)
        names = [f"x{index}" for index in range(len(inputs))]
        torch.onnx.export(module, inputs, network.path(".onnx"), dynamo=False, opset_version=17, input_names=names)
    if network.name == "lite0":
        photos = [inputs[0].numpy()[0] for inputs, _ in zip(task.calibration_data(), range(PHOTOS), strict=False)]
        np.savez(network.path(".npz"), x0=np.stack(photos))


def _write_chain(network: Network, nodes: int) -> None:
    """The chain of `conversion_scaling`, and a torch module of the same nodes."""
    import torch
    from torch import nn

    def step(index: int, x: torch.Tensor, skip: torch.Tensor, layers: Iterator[nn.Module]) -> Any:
        match index % 5:
            case 0 | 2:
                return next(layers)(x)
            case 3:
                return x + skip
            case _:
                return torch.relu(x)

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolutions = nn.ModuleList(
                nn.Conv2d(8, 8, 3, padding=1) for index in range(nodes) if index % 5 in {0, 2}
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            layers, skip = iter(self.convolutions), x
            for index in range(nodes):
                if index % 5 == 0:
                    skip = x
                x = step(index, x, skip, layers)
            return x

    torch.manual_seed(nodes)
    module = Chain().eval()
    torch.export.save(torch.export.export(module, (torch.rand(SHAPE),)), network.path(".pt2"))
    ir.save(chain(nodes), network.path(".onnx"))


def _write_matrices(network: Network, count: int) -> None:
    """Matrix products one behind the other, with Relu between them; the matrices are external data."""
    import numpy as np

    width, generator = 6144, np.random.default_rng(0)
    current = start = ir.Value(name="x", shape=ir.Shape([1, width]), type=ir.TensorType(ir.DataType.FLOAT))
    nodes, matrices = list[ir.Node](), list[ir.Value]()
    for index in range(count):
        numbers = generator.standard_normal((width, width), np.float32) / np.float32(width**0.5)
        matrices.append(ir.Value(name=f"w{index}", const_value=ir.tensor(numbers, name=f"w{index}")))
        nodes += [ir.node("MatMul", [current, matrices[-1]])]
        nodes += [ir.node("Relu", nodes[-1].outputs)]
        current = nodes[-1].outputs[0]
    current.shape, current.type = start.shape, start.type
    graph = ir.Graph([start], [current], nodes=nodes, initializers=matrices, opset_imports={"": 20}, name="matrices")
    ir.save(ir.Model(graph, ir_version=10), network.path(".onnx"), external_data=f"{network.name}.onnx.data")


# --- measuring --------------------------------------------------------------------------------------------------------


def measure(
    networks: Sequence[Network], candidates: Sequence[Tool], rounds: int, say: Callable[[str], None]
) -> list[Row]:
    """Runs every tool on every network in every round; one that failed once is not run again."""
    missing = {tool.name for tool in candidates if not _is_there(tool)}
    rows = [
        Row(network.name, tool.name, failure="not installed" if tool.name in missing else "")
        for network in networks
        for tool in candidates
        if tool.fits(network)
    ]
    places = {network.name: network for network in networks}
    known = {tool.name: tool for tool in candidates}
    for turn in range(rounds):
        for row in rows:
            if row.failure:
                continue
            say(f"round {turn + 1} of {rounds}: {row.network}, {row.tool}")
            with tempfile.TemporaryDirectory(prefix="edgecomp-") as folder:
                tool = known[row.tool]
                command = [tool.python, *tool.command(places[row.network], Path(folder))]
                cost = run(command, environment=_environment(tool), timeout=_PATIENCE)
                if cost.status or not any(path.is_file() for path in Path(folder).rglob("*")):
                    row.failure = f"exit code {cost.status}: {cost.words[:160]}"
                else:
                    row.costs.append(cost)
    return rows


def _is_there(tool: Tool) -> bool:
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({tool.needs!r}) is None)"
    found = shutil.which(tool.python)
    return found is not None and run([found, "-c", probe], environment=_environment(tool)).status == 0


def _environment(tool: Tool) -> Mapping[str, str]:
    """A PYTHONPATH that helps this interpreter would hide the packages of another one; bytecode is kept."""
    dropped = {"PYTHONDONTWRITEBYTECODE", *(["PYTHONPATH"] if tool.python != sys.executable else [])}
    return {name: text for name, text in os.environ.items() if name not in dropped}


# --- showing ----------------------------------------------------------------------------------------------------------


def show(rows: Sequence[Row], networks: Sequence[Network], console: Console) -> None:
    """Prints the costs, the ratios of processor time to ours, and how they grow."""
    table = _table("network", "tool", "time", "processor", *(f"/ {name}" for name in _OURS_BY_NAME), "memory", "limit")
    measured = {(row.network, row.tool): row for row in rows if row.costs}
    for row in rows:
        if row.failure:
            table.add_row(row.network, row.tool, row.failure)
            continue
        limit = ""
        if row.tool.startswith("edgecomp"):
            size = next(network for network in networks if network.name == row.network).size
            allowed = 3 * size + 200e6
            limit = "met" if row.memory <= allowed else f"MISSED ({allowed / 1e6:.0f} MB)"
        ratios = [_ratio(row, measured.get((row.network, name))) for name in _OURS_BY_NAME]
        seconds = f"{row.wall:.2f} s", f"{row.processor:.2f} s"
        table.add_row(row.network, row.tool, *seconds, *ratios, f"{row.memory / 1e6:.0f} MB", limit)
    console.print(table)
    growth = _table("tool", "processor, exponent", "memory, exponent", f"<= {LIMIT}")
    for tool in dict.fromkeys(row.tool for row in rows):
        chain = {int(row.network[6:]): row for row in rows if row.tool == tool and row.network.startswith("chain-")}
        found = {nodes: row for nodes, row in sorted(chain.items()) if row.costs}
        if len(found) < 2:
            continue
        time_exponent = exponent(tuple(found), [row.processor for row in found.values()])
        memory_exponent = exponent(tuple(found), [row.memory for row in found.values()])
        met = max(time_exponent, memory_exponent) <= LIMIT
        growth.add_row(tool, f"{time_exponent:.2f}", f"{memory_exponent:.2f}", "met" if met else "MISSED")
    console.print(growth)


def _ratio(row: Row, ours: Row | None) -> str:
    """How many times as much processor time a tool takes as one of ours that does the same."""
    integers = "int8" in row.tool or "quantizer" in row.tool
    if ours is None or row.tool.startswith("edgecomp") or integers != ("int8" in ours.tool):
        return ""
    return f"{row.processor / ours.processor:.1f} x"


def _table(*headings: str) -> Table:
    table = Table(box=box.MARKDOWN)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < 2 else "right")
    return table


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litert-python", default=sys.executable, help="an interpreter that has litert-torch")
    parser.add_argument("--onnx2tf-python", default=sys.executable, help="an interpreter that has onnx2tf")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", default="tflite", help="the format that edgecomp writes")
    parser.add_argument("--only", default=",".join(["lite0", "minilm", *(f"chain-{nodes}" for nodes in CHAINS)]))
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the tables")
    arguments = parser.parse_args()
    notes = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as folder:
        notes.print("writing the networks")
        networks = write_networks(arguments.only.split(","), Path(folder))
        candidates = tools(arguments.litert_python, arguments.onnx2tf_python, arguments.to)
        rows = measure(networks, candidates, arguments.rounds, notes.print)
        if arguments.json:
            print(json.dumps([asdict(row) for row in rows], indent=2))
        else:
            show(rows, networks, Console(highlight=False, width=180))


if __name__ == "__main__":
    main()
