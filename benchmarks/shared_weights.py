"""What a weight that is used twice takes in each format, and what sharing it costs MNN.

    python benchmarks/shared_weights.py

MNN's converter writes a weight into every convolution that reads it. With `--convertMatmulToConv 0` products read their
weight from a constant that may have several readers; the second table has the time of both forms.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import MNN
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import edgecomp

SIZES = ((32, 384, 1536), (32, 1536, 384), (1, 384, 1536), (8, 384, 30000))


class Twice(nn.Module):
    """A linear layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(256, 256), nn.Linear(256, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of shape (batch, rows, 256)."""
        return self.head(self.layer(self.layer(x).relu()).relu())


class Tied(nn.Module):
    """A table of words that is the output's weight, too."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(1000, 64), nn.Linear(64, 64)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Of shape (batch, words)."""
        return self.layer(self.words(ids)).relu() @ self.words.weight.t()


def sizes(folder: Path) -> None:
    """The bytes of each artifact beside those of the parameters, stored once."""
    for module, example in ((Twice(), torch.randn(1, 5, 256)), (Tied(), torch.randint(1000, (1, 8)))):
        parameters = sum(each.numel() for each in module.parameters())
        for precision, width in (("fp32", 4), ("fp16", 2), ("int8", 1)):
            result = edgecomp.compress(
                module.eval(),
                "linux-x86-64",
                folder / f"{type(module).__name__}-{precision}",
                example_inputs=(example,),
                calibration=lambda example=example: [(example,)] * 4,
                precision=precision,
            )
            found = "  ".join(f"{name} {path.stat().st_size}" for name, path in result.artifacts.items())
            print(f"{type(module).__name__} {precision}: parameters {width * parameters}  {found}", flush=True)


def product(folder: Path, rows: int, inner: int, columns: int, *options: str) -> float:
    """Milliseconds of the processor that one product takes in MNN, the least of 60."""
    random = np.random.default_rng(0)
    weight = numpy_helper.from_array(random.normal(size=(inner, columns)).astype(np.float32), "weight")
    border = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [rows, c]) for n, c in (("x", inner), ("y", columns))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])], "product", border[:1], border[1:], [weight]
    )
    source, target = folder / "product.onnx", folder / "product.mnn"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), source)
    arguments = ["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(target), "--bizCode", "x"]
    code = f"import _tools; _tools.mnnconvert({[*arguments, *options]!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=folder)
    interpreter = MNN.Interpreter(str(target))
    session = interpreter.createSession({"backend": "CPU", "precision": "high", "numThread": 1})
    numbers = random.normal(size=(rows, inner)).astype(np.float32)
    data = MNN.Tensor(numbers.shape, MNN.Halide_Type_Float, numbers, MNN.Tensor_DimensionType_Caffe)
    times = []
    for _ in range(60):
        interpreter.getSessionInput(session).copyFrom(data)
        begun = time.process_time()
        interpreter.runSession(session)
        times.append(time.process_time() - begun)
    return 1000 * min(times)


def main() -> int:
    """Prints both tables."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        sizes(Path(name))
        for size in SIZES:
            convolution, constant = (product(Path(name), *size, *each) for each in ((), ("--convertMatmulToConv", "0")))
            print(f"MNN, product of {size}: {convolution:.2f} ms as a convolution, {constant:.2f} ms with a constant")
    return 0


if __name__ == "__main__":
    sys.exit(main())
