"""onnx_ir without sympy: not loaded where no symbolic size is computed with, and there where one is."""

import subprocess
import sys
from pathlib import Path

import onnx


def run(code: str, *words: str | Path) -> None:
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_conversion_of_static_shapes_loads_no_sympy(tmp_path: Path) -> None:
    words = """<ir_version: 8, opset_import: ["": 17]>
        small (float[1, 4] x) => (float[1, 4] y) { h = Relu(x) y = Add(h, x) }"""
    onnx.save(onnx.parser.parse_model(words), tmp_path / "small.onnx")
    run(
        """
import sys
from pathlib import Path
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.frontends import load_source
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
source, target = map(Path, sys.argv[1:])
model = simplify(CompressedModel(load_source(source).graph))
load_converter("tflite").convert(model, target, ConversionOptions())
assert "onnx_ir" in sys.modules and "sympy" not in sys.modules
""",
        tmp_path / "small.onnx",
        tmp_path / "small.tflite",
    )


def test_symbolic_sizes_are_computed_with_sympy() -> None:
    run(
        """
import sys
import edgecomp, onnx_ir as ir
assert "sympy" not in sys.modules
doubled = ir.SymbolicDim("n") * 2
assert doubled.evaluate({"n": 3}) == 6
import sympy
assert doubled == ir.SymbolicDim(sympy.Symbol("n", integer=True, positive=True) * 2)
assert type(sympy) is type(sys) and sympy is sys.modules["sympy"]
"""
    )


def test_sympy_that_is_loaded_later_is_loaded_once() -> None:
    run(
        """
import edgecomp, onnx_ir
import sympy.core
import sympy
assert sympy.core.Symbol is sympy.Symbol
import onnx_ir._symbolic_shapes as symbolic
assert symbolic.parse_symbolic_expression("n") == sympy.Symbol("n", integer=True, positive=True)
"""
    )


def test_sympy_that_is_loaded_before_is_what_onnx_ir_uses() -> None:
    run(
        """
import sympy, edgecomp, onnx_ir
assert onnx_ir._core.sympy is sympy
"""
    )
