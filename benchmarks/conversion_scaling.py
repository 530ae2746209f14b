"""How conversion time grows with the number of nodes: it should be linear, an exponent of 1.

    python benchmarks/conversion_scaling.py [--nodes 100,1000,5000] [--rounds 3] [--json]

Chains of Conv, Relu and Add (8 channels, 8 x 8, every Add a residual) go through the steps of a conversion: simplify,
quantize (on one sample, in the first round only), and each format in float and in int8. Sizes are interleaved in every
round, and the fastest of the rounds counts, because a busy machine only ever adds. Time is that of the processor, with
the processes that a step starts: a machine with other work stretches it less. The exponent is the slope of log(time)
over log(nodes) by least squares. What a step costs at any size (MNN starts three processes) flattens it, so the
exponent between the two largest sizes is shown beside it, and both are held to the limit. A step that fails is named
with its error. Takes a few minutes.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from rich import box
from rich.console import Console
from rich.table import Table

from edgecomp.cli.common import collect_garbage_rarely
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import EdgecompError
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization.static import quantize_static

#: The largest exponent that counts as linear.
LIMIT = 1.1
SHAPE = (1, 8, 8, 8)


@dataclass(frozen=True)
class Step:
    """What one step took.

    Attributes:
        name: "simplify", "tflite fp32" and so on.
        nodes: The sizes that it was measured at.
        seconds: The shortest time at each of them.
        failure: The error at the next size, if there was one.
    """

    name: str
    nodes: tuple[int, ...]
    seconds: tuple[float, ...]
    failure: str = ""

    @property
    def overall(self) -> float:
        """The exponent over all sizes."""
        return exponent(self.nodes, self.seconds)

    @property
    def at_the_end(self) -> float:
        """The exponent between the two largest sizes."""
        return exponent(self.nodes[-2:], self.seconds[-2:])

    @property
    def linear(self) -> bool:
        """Whether both are within the limit, and nothing failed."""
        # Not `max(...) <= LIMIT`: NaN, for a step with fewer than two sizes, must not pass.
        return not self.failure and self.overall <= LIMIT and self.at_the_end <= LIMIT


def exponent(nodes: Sequence[int], seconds: Sequence[float]) -> float:
    """The b of seconds = a * nodes ** b that fits best on logarithmic axes; NaN for fewer than two sizes."""
    if len(nodes) < 2:
        return math.nan
    return float(np.polyfit(np.log(nodes), np.log(seconds), 1)[0])


def chain(nodes: int) -> ir.Model:
    """A float graph of `nodes` nodes: Conv, Relu, Conv, Add, Relu again and again, each Add around the two Convs."""
    generator = np.random.default_rng(nodes)
    channels = SHAPE[1]
    start = ir.Value(name="x", shape=ir.Shape(SHAPE), type=ir.TensorType(ir.DataType.FLOAT))
    made: list[ir.Node] = []
    initializers: list[ir.Value] = []

    def constant(name: str, array: Any) -> ir.Value:
        initializers.append(ir.Value(name=name, const_value=ir.tensor(array.astype(np.float32), name=name)))
        return initializers[-1]

    current = skip = start
    for index in range(nodes):
        kind = ("Conv", "Relu", "Conv", "Add", "Relu")[index % 5]
        if kind == "Conv":
            skip = current if index % 5 == 0 else skip
            # Weights that keep the size of activations, so that 5000 layers neither vanish nor overflow.
            weight = constant(f"w{index}", generator.normal(0, 0.1 / channels, (channels, channels, 3, 3)))
            bias = constant(f"b{index}", generator.normal(0, 0.1, channels))
            node = ir.node("Conv", [current, weight, bias], {"pads": [1, 1, 1, 1]}, name=f"n{index}")
        else:
            inputs = [current, skip] if kind == "Add" else [current]
            node = ir.node(kind, inputs, name=f"n{index}")
        made.append(node)
        current = node.outputs[0]
        current.name = f"y{index}"
    current.shape, current.type = ir.Shape(SHAPE), ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([start], [current], nodes=made, initializers=initializers, opset_imports={"": 20}, name="chain")
    return ir.Model(graph, ir_version=10)


def measure(
    sizes: Sequence[int], rounds: int, formats: Sequence[str], progress: Callable[[str], None] = lambda text: None
) -> list[Step]:
    """Times every step at every size, sizes interleaved within each round."""
    times: dict[str, dict[int, list[float]]] = {}
    failures: dict[str, str] = {}
    quantized: dict[int, CompressedModel] = {}
    for turn in range(rounds):
        for size in sizes:
            progress(f"round {turn + 1} of {rounds}: {size} nodes")
            for name, seconds in _one_pass(size, formats, quantized, failures):
                times.setdefault(name, {}).setdefault(size, []).append(seconds)
    return [
        Step(name, tuple(found), tuple(map(min, found.values())), failures.get(name, ""))
        for name, found in times.items()
    ]


def _one_pass(
    size: int, formats: Sequence[str], quantized: dict[int, CompressedModel], failures: dict[str, str]
) -> Iterator[tuple[str, float]]:
    raw = CompressedModel(chain(size))
    seconds, model = _timed(lambda: simplify(raw))
    yield "simplify", seconds
    if size not in quantized:
        sample = (np.random.default_rng(0).normal(size=SHAPE).astype(np.float32),)
        seconds, quantized[size] = _timed(lambda: quantize_static(model, [sample]))
        yield "quantize", seconds
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as folder:
        for format_name in formats:
            converter = load_converter(format_name)
            for precision, candidate in (("fp32", model), ("int8", quantized[size])):
                name = f"{format_name} {precision}"
                path = Path(folder, f"model{converter.suffixes[0]}")
                if name in failures:
                    continue
                try:
                    seconds, _ = _timed(lambda: converter.convert(candidate, path, ConversionOptions()))  # noqa: B023
                except EdgecompError as error:
                    failures[name] = f"{size} nodes: {error}"
                else:
                    yield name, seconds


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()  # what the step before left behind is not this one's
    start = _processor()
    result = function()
    return _processor() - start, result


def _processor() -> float:
    """Seconds of processor time so far, of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def show(steps: Sequence[Step], sizes: Sequence[int], console: Console) -> None:
    """Prints the table."""
    table = Table(box=box.MARKDOWN)
    table.add_column("step")
    for heading in (*(f"{size} nodes" for size in sizes), "exponent", "at the end"):
        table.add_column(heading, justify="right")
    table.add_column(f"<= {LIMIT}")
    for step in steps:
        seconds = dict(zip(step.nodes, step.seconds, strict=True))
        cells = [f"{seconds[size]:.3f} s" if size in seconds else "" for size in sizes]
        verdict = "met" if step.linear else "MISSED"
        table.add_row(step.name, *cells, f"{step.overall:.2f}", f"{step.at_the_end:.2f}", verdict)
    console.print(table)
    for step in steps:
        if step.failure:
            console.print(f"{step.name} failed at {step.failure}", markup=False, soft_wrap=True)


def main() -> None:
    """Measures and prints."""
    collect_garbage_rarely()  # as the command does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="100,1000,5000", help="sizes, comma-separated, ascending")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--formats", default="tflite,onnxruntime,mnn")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.nodes.split(",")]
    notes = Console(stderr=True, highlight=False)
    chain_formats = arguments.formats.split(",")
    _one_pass_for_imports(chain_formats)
    steps = measure(sizes, arguments.rounds, chain_formats, notes.print)
    if arguments.json:
        rows = [
            asdict(step) | {"exponent": step.overall, "at_the_end": step.at_the_end, "linear": step.linear}
            for step in steps
        ]
        print(json.dumps({"limit": LIMIT, "steps": rows}, indent=2))
    else:
        show(steps, sizes, Console(highlight=False, width=140))


def _one_pass_for_imports(formats: Sequence[str]) -> None:
    """What is imported at the first use is not what the smallest chain costs."""
    for _ in _one_pass(10, formats, {}, {}):
        pass


if __name__ == "__main__":
    main()
