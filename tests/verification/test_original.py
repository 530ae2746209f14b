"""The graph may stand for its source where both give the same."""

from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgecomp.errors import ExportError
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.verification.original import Original

X = np.linspace(-14, -11, 8, dtype=np.float32)[None]


def originals(operator, offset):
    """A source that gives what its graph does, and a little more."""
    text = f'<ir_version: 8, opset_import: ["" : 18]> net (float[1, 8] x) => (float[1, 8] y) {{ y = {operator} (x) }}'
    model = CompressedModel(ir.from_proto(onnx.parser.parse_model(text)))
    graph = Simulation(model)
    source = SimpleNamespace(name="net", reference=lambda inputs: [graph.run(inputs)[0] + np.float32(offset)])
    source.release = lambda: setattr(source, "reference", None)
    return Original(source, model, checked=1)


def test_what_a_sigmoid_gives_for_nothing_may_differ_by_the_last_bits_of_one():
    (given,) = originals("Sigmoid", 3e-7).run([X])
    assert given.max() < 1e-4


@pytest.mark.parametrize(("operator", "offset"), [("Sigmoid", 1e-6), ("Exp", 3e-7)])
def test_what_differs_by_more_is_an_error(operator, offset):
    with pytest.raises(ExportError, match="output 'y'"):
        originals(operator, offset).run([X])


def test_only_so_many_batches_run_on_the_source_itself_which_is_released_then():
    original = originals("Relu", 0.0)
    original.run([X])
    assert original._source.reference is None
    np.testing.assert_array_equal(original.run([X])[0], np.maximum(X, 0))
