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
