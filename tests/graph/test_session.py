"""Running a graph on data that a user brought."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgecomp.errors import DataError
from edgecomp.graph.session import Session
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation

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
