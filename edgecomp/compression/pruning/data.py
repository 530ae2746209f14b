"""What criteria look at, from the workbench."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from edgecomp.compression.pruning.channels import CriterionName
from edgecomp.compression.pruning.coupling import Coupling
from edgecomp.compression.pruning.criteria import CRITERIA
from edgecomp.compression.pruning.evidence import Batch, Evidence
from edgecomp.errors import DataError
from edgecomp.frontends.source import Arrays
from edgecomp.workbench import Workbench


def example_inputs(bench: Workbench) -> tuple[torch.Tensor, ...]:
    """One example of everything that the module takes."""
    return _tensors(bench.source.inputs)


def evidence_of(
    module: torch.nn.Module, coupling: Coupling, bench: Workbench, criterion: CriterionName, batches: int
) -> Evidence:
    """What a criterion judges by.

    Args:
        module: What is pruned.
        coupling: What belongs together in it.
        bench: Has the data.
        criterion: The criterion.
        batches: How many batches it looks at.

    Raises:
        DataError: The criterion needs data that the task does not have.
    """
    name = bench.source.name
    if CRITERIA[criterion].need == "training data" and (bench.source.train_data is None or bench.source.loss is None):
        raise DataError(
            f"{name}: the criterion {criterion}",
            expected="training data and a loss, to see what channels do to the loss",
            actual=f"no {'train_data()' if bench.source.train_data is None else 'loss(outputs, labels)'} in the task",
            cure="add it, or use a criterion that looks at weights only: "
            + ", ".join(key for key, each in CRITERIA.items() if not each.need),
        )

    def labelled() -> Iterator[Batch]:
        assert bench.source.train_data is not None, "it is there, see above"
        for done, (inputs, labels) in enumerate(islice(bench.source.train_data(), batches)):
            bench.progress(f"judge by {criterion}", done, batches)
            yield _tensors(inputs), torch.as_tensor(np.asarray(labels))

    def samples() -> Iterator[tuple[torch.Tensor, ...]]:
        return map(_tensors, islice(bench.calibration_batches(f"judge by {criterion}"), batches))

    return Evidence(module, coupling, labelled, bench.source.loss, samples, bench.seed)


def _tensors(arrays: Arrays) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(np.array(array)) for array in arrays)
