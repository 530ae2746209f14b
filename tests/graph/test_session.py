"""Running a graph on data that a user brought."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgecomp.errors import DataError
from edgecomp.graph.session import Session
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.system.memory import give_back

TEXT = """
    <ir_version: 8, opset_import: ["" : 18]>
    net (int64[n] ids) => (float[n, 2] y)
    <float[4, 2] table = {0, 1, 2, 3, 4, 5, 6, 7}>
    { y = Gather(table, ids) }
"""


def table():
    return ir.from_proto(onnx.parser.parse_model(TEXT))


def test_an_index_beyond_its_table_is_an_error_about_the_data():
    simulation = Simulation(CompressedModel(table()))
    np.testing.assert_array_equal(simulation.run([np.array([3])])[0], [[6, 7]])
    with pytest.raises(DataError, match="idx=9 must be within") as caught:
        simulation.run([np.array([1, 9])])
    assert caught.value.subject.startswith("the data: Gather")


def test_what_is_not_about_the_data_stays_as_it_was():
    with pytest.raises(Exception, match="Unexpected input data type") as caught:
        Session(table()).run_data([np.array([1.0])])
    assert not isinstance(caught.value, DataError)


def test_many_batches_come_in_their_order_however_long_each_takes():
    batches = [np.full(size, index % 4) for index, size in enumerate([200_000, 1, 3, 100_000, 2, 1, 50_000])]
    session = Session(table(), threads=2, streaming=True)
    alone = Session(table(), threads=1)
    found = list(session.run_all([batch] for batch in batches))
    assert len(found) == len(batches)
    for batch, (given,) in zip(batches, found, strict=True):
        np.testing.assert_array_equal(given, alone.run([batch])[0])


def test_an_error_in_one_of_many_batches_arrives_behind_those_before_it():
    found = Session(table(), threads=2, streaming=True).run_all([np.array([index])] for index in (0, 1, 9, 2))
    np.testing.assert_array_equal([next(found)[0], next(found)[0]], [[[0, 1]], [[2, 3]]])
    with pytest.raises(DataError, match="idx=9 must be within"):
        next(found)


def product(weight):
    size, kind = ir.Shape([1, len(weight)]), ir.TensorType(ir.DataType.FLOAT)
    x, w = ir.Value(name="x", shape=size, type=kind), ir.Value(name="w", const_value=ir.tensor(weight, name="w"))
    node = ir.node("MatMul", [x, w])
    (y,) = node.outputs
    y.name, y.shape, y.type = "y", size, kind
    return ir.Model(ir.Graph([x], [y], nodes=[node], initializers=[w], opset_imports={"": 20}), ir_version=10)


@pytest.mark.parametrize("optimize", [False, True])
def test_a_session_has_no_weights_of_its_own(optimize):
    """The second one shows that this can fail: what an optimizer may have changed is a copy."""
    weight = np.random.default_rng(0).standard_normal((4096, 4096), np.float32)
    model = product(weight)
    give_back()
    before = resident()
    session = Session(model, threads=1, lasting=False, optimize=optimize)
    give_back()
    grown = resident() - before
    assert (grown > 0.9 * weight.nbytes) if optimize else (grown < 0.3 * weight.nbytes)
    x = np.ones((1, 4096), np.float32)
    np.testing.assert_allclose(session.run([x])[0], x @ weight, atol=1e-3)


def resident():
    """Bytes of memory that this process has of its own."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


@pytest.mark.parametrize("optimize", [False, True])
def test_a_large_constant_that_a_shape_hangs_on_is_read_from_memory(optimize):
    words = """
        <ir_version: 8, opset_import: ["": 18]>
        net (float[3, 4] x) => (float[rows, columns] y)
        { first = Constant<value_ints = [0, 1]>() shape = Gather(sizes, first) y = Reshape(x, shape) }
    """
    proto = onnx.parser.parse_model(words)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 6] + 300 * [1]), "sizes"))
    (found,) = Session(ir.from_proto(proto), optimize=optimize).run([np.arange(12, dtype=np.float32).reshape(3, 4)])
    np.testing.assert_array_equal(found, np.arange(12, dtype=np.float32).reshape(2, 6))
