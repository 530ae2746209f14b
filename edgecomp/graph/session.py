"""ONNX Runtime on a graph in memory: it gets the weights as they lie there, not in a message of all of them."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime  # it ships no types

from edgecomp.arrays import Array
from edgecomp.errors import DataError
from edgecomp.graph.saving import ELSEWHERE, split_message

#: How ONNX Runtime tells that an operator stopped at the numbers that reached it.
_STOPPED = re.compile(r"while running (\S+) node\. Name:'(.*?)' Status Message: (.*)", re.DOTALL)

#: Batches that are under way at a time, at most: each needs memory for its activations.
_MOST_AT_ONCE = 4

_FOLDER = "session.model_external_initializers_file_folder_path"


class Session:
    """A graph that can be run.

    Args:
        model: Must not be changed in place as long as the session lives: they share the weights' memory.
        threads: How many threads compute; 0 for one a core.
        streaming: Whether there will be batch after batch for `run_all`. Threads then compute batches of their own,
            where they would wait for each other after every operator.
        config: ONNX Runtime's session options by key.
        without: Names of ONNX Runtime's graph optimizations that are left out.
        lasting: Whether it will run many times, and is worth a copy of the weights as the kernels like them best.
        optimize: Whether ONNX Runtime may rewrite the graph, which takes time that grows faster than the nodes.

    Attributes:
        inputs: Names, in the graph's order.
        outputs: Names, in the graph's order.
        shapes: The shapes of the outputs, as far as they follow from the graph: a size, or what is not a number.

    Raises:
        Exception: ONNX Runtime cannot load the model; its exceptions have no base of their own.
    """

    def __init__(
        self,
        model: ir.Model,
        *,
        threads: int = 0,
        streaming: bool = False,
        config: Mapping[str, str] | None = None,
        without: Sequence[str] = (),
        lasting: bool = True,
        optimize: bool = True,
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        threads = threads or (_cores() if streaming else 0)
        self._at_once = min(threads, _MOST_AT_ONCE) if streaming else 1
        options.intra_op_num_threads = threads // self._at_once
        options.enable_cpu_mem_arena = lasting  # what one run needs is not kept for the next
        if streaming:  # with some graphs at a time, each is to need little memory
            options.enable_mem_pattern = False
            # Statistics of a tensor come right behind it, and not when all others have been computed.
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        for key, text in (config or {}).items():
            options.add_session_config_entry(key, text)
        options.add_session_config_entry("session.disable_prepacking", "0" if lasting else "1")
        # Threads that wait would keep a core busy, which other processes and threads of ours have work for.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        content, arrays = split_message(model)
        #: The session refers to their memory.
        self._weights = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
        if optimize:  # an optimizer may read a weight, or transpose it and leave it its name
            options.add_external_initializers(list(self._weights), list(self._weights.values()))
        else:  # used as it lies there; the other way copies it
            for name, weight in self._weights.items():
                options.add_initializer(name, weight)
        with _file_of_no_weights() as folder:
            options.add_session_config_entry(_FOLDER, folder)
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(without)
            )
        self.inputs: tuple[str, ...] = tuple(value.name for value in self._session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(value.name for value in self._session.get_outputs())
        self.shapes: tuple[list[Any], ...] = tuple(value.shape for value in self._session.get_outputs())

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """All outputs, for inputs in the graph's order."""
        feeds = dict(zip(self.inputs, inputs, strict=True))
        return [np.asarray(output) for output in self._session.run(None, feeds)]

    def run_data(self, inputs: Sequence[Array]) -> list[Array]:
        """`run`, for numbers that a user brought.

        Raises:
            DataError: An operator does not take what follows from them, such as an index beyond its table.
        """
        try:
            return self.run(inputs)
        # ONNX Runtime's exceptions have no common base below Exception.
        except Exception as error:
            if (told := _STOPPED.search(str(error))) is None:
                raise
            operator, name, reason = told.groups()
            raise DataError(
                f"the data: {operator} {name!r}",
                expected="inputs that the model can compute with",
                actual=" ".join(reason.split()),
                cure="check the data against what the model was trained on: the range of indices, lengths and masks",
            ) from error

    def run_all(self, batches: Iterable[Sequence[Array]]) -> Iterator[list[Array]]:
        """`run_data` of every batch, in order; later ones are under way before the first is asked for."""
        with ThreadPoolExecutor(self._at_once) as pool:
            running: deque[Future[list[Array]]] = deque()
            for batch in batches:
                running.append(pool.submit(self.run_data, batch))
                if len(running) > self._at_once:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()


@contextlib.contextmanager
def _file_of_no_weights() -> Iterator[str]:
    """A folder with the file that a split message names: ONNX Runtime looks whether it is there, and reads nothing."""
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as folder:
        Path(folder, ELSEWHERE).touch()
        yield folder


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
