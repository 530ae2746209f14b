"""What an LSTM and a GRU take in LiteRT and MNN by edgecomp, beside ONNX Runtime and TFLite's own operator.

    python benchmarks/recurrent.py [--turns 30]

Networks: one layer on 64 features, batch 1, float32, one thread.

- `ONNX Runtime`: its fused operator.
- `edgecomp, LiteRT`: written out where that is few operators, else a WHILE over some steps, or a WHILE of WHILEs.
- `edgecomp, MNN`: MNN's own operator.
- `fused`: TFLite's UNIDIRECTIONAL_SEQUENCE_LSTM; there is none for a GRU. It keeps its state from one inference to the
  next unless the application resets it: the last column is how far its second inference lies from its first.

Numbers are the processor time of the fastest of some inferences; the ways take turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper
from rich import box
from rich.console import Console
from rich.table import Table

from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.frontends import load_source
from edgecomp.preparation import prepare

FEATURES = 64
#: (steps, units)
SIZES = ((10, 128), (50, 128), (150, 128), (400, 128), (50, 512))
GATES = {"LSTM": 4, "GRU": 3}

Array = npt.NDArray[np.float32]
Way = Callable[[], Any]


def network(kind: str, steps: int, units: int) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A layer as torch exports it, and its weights, as torch initializes them."""
    random, bound, rows = np.random.default_rng(0), units**-0.5, GATES[kind] * units
    shapes = {"w": (1, rows, FEATURES), "r": (1, rows, units), "b": (1, 2 * rows)}
    weights = {name: random.uniform(-bound, bound, shape).astype(np.float32) for name, shape in shapes.items()}
    attributes = {"linear_before_reset": 1} if kind == "GRU" else {}
    nodes = [
        helper.make_node(kind, ["x", *weights], ["directions"], hidden_size=units, **attributes),
        helper.make_node("Squeeze", ["directions", "axis"], ["y"]),
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    border = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [steps, 1, size])
        for name, size in (("x", FEATURES), ("y", units))
    ]
    initializers.append(numpy_helper.from_array(np.array([1]), "axis"))
    graph = helper.make_graph(nodes, kind, border[:1], border[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), weights


def fused_lstm(weights: Mapping[str, Array], steps: int) -> bytes:
    """A `.tflite` file of one UNIDIRECTIONAL_SEQUENCE_LSTM with the weights of ONNX, whose gates come as i o f c."""
    units = weights["r"].shape[2]
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.name, graph.tensors, model.buffers = b"main", [], [schema.BufferT()]

    def tensor(*shape: int, data: Array | None = None, keeps: bool = False) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type = f"t{len(graph.tensors)}".encode(), list(shape), schema.TensorType.FLOAT32
        made.isVariable = keeps
        if data is not None:
            made.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    gates = [slice(place * units, (place + 1) * units) for place in (0, 2, 3, 1)]  # TFLite's order is i f c o
    bias = weights["b"][0, : 4 * units] + weights["b"][0, 4 * units :]
    source, result = tensor(steps, 1, FEATURES), tensor(steps, 1, units)
    operator = schema.OperatorT()
    operator.inputs = [
        source,
        *(tensor(units, FEATURES, data=weights["w"][0, gate]) for gate in gates),
        *(tensor(units, units, data=weights["r"][0, gate]) for gate in gates),
        *[-1] * 3,
        *(tensor(units, data=bias[gate]) for gate in gates),
        *[-1] * 2,
        *(tensor(1, units, keeps=True) for _ in range(2)),
        *[-1] * 4,
    ]
    operator.outputs, operator.builtinOptions = [result], schema.UnidirectionalSequenceLSTMOptionsT()
    operator.builtinOptionsType = schema.BuiltinOptions.UnidirectionalSequenceLSTMOptions
    operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.TANH
    operator.builtinOptions.timeMajor = True
    graph.inputs, graph.outputs, graph.operators = [source], [result], [operator]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
    code.version, model.version, model.operatorCodes, model.subgraphs = 1, 3, [code], [graph]
    packer = flatbuffers.Builder(1 << 20)
    packer.Finish(model.Pack(packer), file_identifier=b"TFL3")
    return bytes(packer.Output())


def ours(path: Path, x: Array, format_name: str) -> Way:
    """What edgecomp writes."""
    converter = load_converter(format_name)
    artifact = path.with_suffix(converter.suffixes[0])
    converter.convert(prepare(load_source(path)), artifact, ConversionOptions())
    predictor = converter.open(artifact)
    return lambda: predictor.run([x])[0]


def ways(kind: str, steps: int, units: int, folder: Path) -> dict[str, Way]:
    """Way -> an inference; each gives the output."""
    model, weights = network(kind, steps, units)
    path = folder / "model.onnx"
    onnx.save(model, path)
    x = np.random.default_rng(1).random((steps, 1, FEATURES), np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    found: dict[str, Way] = {
        "ONNX Runtime": lambda: session.run(None, {"x": x})[0],
        "edgecomp, LiteRT": ours(path, x, "tflite"),
        "edgecomp, MNN": ours(path, x, "mnn"),
    }
    if kind == "LSTM":
        file = folder / "fused.tflite"
        file.write_bytes(fused_lstm(weights, steps))
        interpreter = Interpreter(model_path=str(file), num_threads=1)
        interpreter.allocate_tensors()

        def fused() -> Array:
            interpreter.set_tensor(0, x)
            interpreter.invoke()
            return np.array(interpreter.get_tensor(1))

        found["fused"] = fused
    return found


def fastest(candidates: Mapping[str, Way], turns: int) -> dict[str, float]:
    """Way -> milliseconds of processor time."""
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(turns):
        for name, infer in candidates.items():
            start = time.process_time()
            infer()
            best[name] = min(best[name], 1e3 * (time.process_time() - start))
    return best


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=30, help="inferences of each way")
    turns = parser.parse_args().turns
    ours_and_theirs = ("ONNX Runtime", "edgecomp, LiteRT", "edgecomp, MNN", "fused")
    headings = ("layer", "steps", "units", *ours_and_theirs, "fused, run twice, differs by")
    table = Table(*headings, box=box.MARKDOWN)
    for kind in GATES:
        for steps, units in SIZES:
            with tempfile.TemporaryDirectory(prefix="edgecomp-") as folder:
                candidates = ways(kind, steps, units, Path(folder))
                outputs = {name: infer() for name, infer in candidates.items()}
                for output in outputs.values():
                    np.testing.assert_allclose(output, outputs["ONNX Runtime"], atol=1e-5)
                apart = f"{np.abs(candidates['fused']() - outputs['fused']).max():.2f}" if kind == "LSTM" else ""
                best = fastest(candidates, turns)
            cells = [f"{best[name]:.2f} ms" if name in best else "" for name in ours_and_theirs]
            table.add_row(kind, str(steps), str(units), *cells, apart)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
