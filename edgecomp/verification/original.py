"""The source model as the reference of every comparison, at the speed of its graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecomp.arrays import Array
from edgecomp.errors import ExportError
from edgecomp.frontends import Source
from edgecomp.frontends.runtime import difference, tolerance
from edgecomp.graph.rankings import rankings
from edgecomp.graph.shares import ROUNDING, share_outputs
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.verification.ranking import in_order_of


class Original:
    """Runs the source itself on the first batches, and its simplified float graph on all.

    The two must agree, so that the graph may stand for the source on the batches that follow: ONNX Runtime takes a
    fraction of the time that eager torch does. The frontend has compared them on the example inputs; this compares
    them on real data, behind the simplification.

    Args:
        source: The model as the user brought it.
        model: Its simplified float graph.
        checked: How many batches the source itself runs on.
        threads: ONNX Runtime's threads.
        lasting: Whether there will be many batches.
    """

    def __init__(
        self, source: Source, model: CompressedModel, *, checked: int = 8, threads: int = 1, lasting: bool = True
    ) -> None:
        self._source = source
        graph = CompressedModel(model.graph, dynamic=model.dynamic)
        self._graph = Simulation(graph, threads=threads, lasting=lasting)
        self._names = [value.name or "" for value in model.graph.graph.outputs]
        self._shares = share_outputs(model.graph.graph)
        self._rankings = rankings(model.graph.graph)
        self._left = checked

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs of the source, in its order.

        Raises:
            ExportError: The graph does not compute what the source does.
        """
        outputs = self._graph.run(inputs)
        if self._left == 0:
            return outputs
        self._left -= 1
        expected = self._source.reference(tuple(inputs))
        if self._left == 0:
            self._source.release()
        right, found = (dict(zip(self._names, arrays, strict=True)) for arrays in (expected, outputs))
        for name, given in in_order_of(right, found, self._rankings).items():
            wanted = right[name]
            # Folding BatchNorm into weights changes the order of operations: ten times the frontend's tolerance.
            away, allowed = difference(wanted, given), 10 * tolerance(wanted.dtype)
            if away > allowed and not (name in self._shares and np.abs(wanted - given).max() <= ROUNDING):
                raise ExportError(
                    f"{self._source.name}: output {name!r}",
                    expected=f"a graph within {allowed:g} of the source's output range on the data",
                    actual=f"{away:.3g}",
                    cure="check that forward() does not depend on data, random numbers or training mode",
                )
        return expected
