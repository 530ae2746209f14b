"""How many steps of int8 each function of one tensor lies from the simulation, in each runtime.

    python benchmarks/activations.py

Between two convolutions that change nothing, quantized with ranges of several sizes and offsets, the function is given
every number that its input's 256 integers stand for. A cell is the largest distance over all ranges, in steps of the
output, and the largest share of integers that differ; `float` says that the file computes the function in float,
between a change from integers and back. LiteRT runs with XNNPACK, its default, and with its own kernels.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import TensorProto, helper, numpy_helper
from rich import box
from rich.console import Console
from rich.table import Table

from edgecomp.artifact import from_stored, to_stored
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.frontends import load_source
from edgecomp.model import CompressedModel
from edgecomp.preparation import prepare
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import StaticQuantization, quantize_static

#: The smallest and the largest input.
RANGES = ((-1, 1), (-0.3, 2.5), (-3, 3), (-8, 4), (-4, 12), (-0.5, 40), (-30, 5), (-6, 6))
SHAPE = (1, 16, 16, 2)
FORMATS = ("tflite", "onnxruntime", "mnn")
RUNTIMES = ("tflite", "tflite, no XNNPACK", "onnxruntime", "mnn")

Array = npt.NDArray[np.float32]
#: The nodes from x to y, and their initializers.
Build = Callable[[], tuple[list[onnx.NodeProto], dict[str, Array]]]


def one(op_type: str, **attributes: float | str) -> Build:
    """A single node."""
    return lambda: ([helper.make_node(op_type, ["x"], ["y"], **attributes)], {})


def swish(slope: str) -> Build:
    """A function of x, times x."""
    nodes = [helper.make_node(slope, ["x"], ["slope"]), helper.make_node("Mul", ["x", "slope"], ["y"])]
    return lambda: (nodes, {})


def prelu() -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """A slope for each channel."""
    slopes = np.linspace(0, 0.4, SHAPE[1], dtype=np.float32).reshape(-1, 1, 1)
    return [helper.make_node("PRelu", ["x", "slopes"], ["y"])], {"slopes": slopes}


FUNCTIONS: dict[str, Build] = {
    "Relu": one("Relu"),
    "LeakyRelu": one("LeakyRelu", alpha=0.1),
    "PRelu": prelu,
    "HardSwish": one("HardSwish"),
    "HardSigmoid": one("HardSigmoid", alpha=1 / 6, beta=0.5),
    "HardSigmoid, alpha 0.2": one("HardSigmoid"),
    "Sigmoid": one("Sigmoid"),
    "x Sigmoid(x)": swish("Sigmoid"),
    "Tanh": one("Tanh"),
    "Gelu": one("Gelu"),
    "Gelu, tanh": one("Gelu", approximate="tanh"),
    "Mish": one("Mish"),
    "Elu": one("Elu"),
    "Softplus": one("Softplus"),
    "Erf": one("Erf"),
    "Exp": one("Exp"),
    "Softmax": one("Softmax", axis=1),
}


def network(build: Build, path: Path) -> CompressedModel:
    """The function between two convolutions that change nothing, so that integers go in and come out."""
    nodes, constants = build()
    channels = SHAPE[1]
    constants = {**constants, "eye": np.eye(channels, dtype=np.float32)[:, :, None, None]}
    nodes = [
        helper.make_node("Conv", ["input", "eye"], ["x"]),
        *nodes,
        helper.make_node("Conv", ["y", "eye"], ["output"]),
    ]
    border = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("input", "output")]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "function", border[:1], border[1:], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return prepare(load_source(path))


def quantized(model: CompressedModel, low: float, high: float) -> tuple[CompressedModel, Array]:
    """The network for a range, and as input every number that an integer of it stands for."""
    values = np.resize(np.linspace(low, high, 256, dtype=np.float32), SHAPE)
    found = quantize_static(model, [(values,)], StaticQuantization("minmax"), threads=1)
    integers = np.random.default_rng(0).permutation(np.arange(-128, 128))
    return found, np.resize(found.quantization["input"].dequantize(integers), SHAPE)


@dataclass
class Distance:
    """How far a runtime lies from the simulation.

    Attributes:
        steps: The largest distance.
        share: The largest share of integers that are not the simulation's, over the ranges.
        is_float: Whether the file computes the function in float.
    """

    steps: float = 0.0
    share: float = 0.0
    is_float: bool = False

    def add(self, output: Array, expected: Array, step: float) -> None:
        """Takes another range in."""
        steps = np.rint(np.abs(output - expected) / step)
        self.steps = max(self.steps, float(steps.max()))
        self.share = max(self.share, float((steps > 0).mean()))

    def __str__(self) -> str:
        return f"{self.steps:.0f} ({100 * self.share:.1f} %){', float' if self.is_float else ''}"


def distances(build: Build, folder: Path) -> dict[str, Distance]:
    """Runtime -> how far it lies from the simulation."""
    model = network(build, folder / "function.onnx")
    found = {name: Distance() for name in RUNTIMES}
    for low, high in RANGES:
        chosen, x = quantized(model, low, high)
        (expected,) = Simulation(chosen).run([x])
        step = float(chosen.quantization["output"].scale)
        for name in FORMATS:
            converter = load_converter(name)
            path = folder / f"function{converter.suffixes[0]}"
            conversion = converter.convert(chosen, path, ConversionOptions())
            predictor = converter.open(path)
            (given,) = (to_stored(x, spec) for spec in predictor.inputs)
            outputs = {name: predictor.run([given])[0]}
            if name == "tflite":
                outputs[RUNTIMES[1]] = plain(path, given)
            for runtime, output in outputs.items():
                found[runtime].add(from_stored(output, predictor.outputs[0]), expected, step)
                found[runtime].is_float |= any("Conv" not in island.op_type for island in conversion.islands)
    return found


def plain(path: Path, x: Array) -> Array:
    """What LiteRT's own kernels make of it."""
    interpreter = Interpreter(
        model_path=str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def main() -> None:
    """Measures and prints."""
    table = Table("function", *RUNTIMES, box=box.MARKDOWN)
    for name, build in FUNCTIONS.items():
        with tempfile.TemporaryDirectory(prefix="edgecomp-") as folder:
            found = distances(build, Path(folder))
        table.add_row(name, *(str(found[runtime]) for runtime in RUNTIMES))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
