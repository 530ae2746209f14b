"""Walks over rows: whatever the blocks, every row is taken once and in order."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgecomp.graph.decompositions.pieces import Pieces
from edgecomp.graph.decompositions.rows import blocks_of, walk


def running_sums(rows: int, blocks: tuple[int, ...]) -> onnxruntime.InferenceSession:
    """x -> x[0], x[0] / 2 + x[1], ... as a walk; gives the last sum and all of them."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape((rows, 2)))
    node = ir.node("Identity", [x], name="walk")
    graph = ir.Graph([x], [], nodes=[node], opset_imports={"": 17}, name="sums")
    pieces = Pieces(node, 17)

    def add(inner: Pieces, given: object, state: object) -> tuple[list[ir.Value], ir.Value]:
        total = inner("Add", inner("Mul", state[0], 0.5), given[0])  # type: ignore[index]
        return [total], total

    start = pieces.value(np.zeros(2, np.float32))
    assert start is not None
    (last,), collected = walk(pieces, [x], [start], add, blocks)
    for value in pieces.constants:
        graph.register_initializer(value)
    graph.insert_before(node, pieces.nodes)
    graph.remove(node)
    for value, name in ((last, "last"), (collected, "all")):
        value.name = name
        graph.outputs.append(value)
    return onnxruntime.InferenceSession(ir.to_proto(ir.Model(graph, ir_version=8)).SerializeToString())


@pytest.mark.parametrize("rows", [1, 3, 8, 23])
@pytest.mark.parametrize("blocks", [(), (1,), (4,), (1, 1), (6, 2), (8, 4)])
def test_a_walk_takes_every_row_in_order(rows: int, blocks: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random((rows, 2), np.float32)
    expected = [x[0]]
    for row in x[1:]:
        expected.append(expected[-1] * np.float32(0.5) + row)
    last, collected = running_sums(rows, blocks).run(None, {"x": x})
    np.testing.assert_allclose(collected, expected, rtol=1e-6)
    np.testing.assert_array_equal(last, collected[-1])


def test_weights_are_copied_as_often_as_caches_hold_them_and_long_sequences_are_loops_of_loops() -> None:
    assert blocks_of(50, row_bytes=512, constants=1 << 14) == (8,)
    assert blocks_of(400, row_bytes=2048, constants=1 << 18) == (40, 4)
    assert blocks_of(50, row_bytes=8192, constants=1 << 22) == (1,)
    assert blocks_of(1000, row_bytes=8192, constants=1 << 22) == (32, 1)
