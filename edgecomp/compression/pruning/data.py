"""Collects the data that criteria need from the workbench."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch

from edgecomp.compression.pruning.channels import CriterionName
from edgecomp.compression.pruning.coupling import Coupling
from edgecomp.compression.pruning.criteria import CRITERIA
from edgecomp.compression.pruning.evidence import Batch, Evidence
from edgecomp.compression.training.objective import task_loss
from edgecomp.errors import DataError
from edgecomp.workbench import Workbench

#: Samples in a batch for which gradients are computed.
_BATCH = 64


def evidence_of(
    module: torch.nn.Module, coupling: Coupling, bench: Workbench, criterion: CriterionName, batches: int
) -> Evidence:
    """Collects what a criterion needs to score channels.

    Args:
        module: The module to prune.
        coupling: Its coupled units.
        bench: Provides the data.
        criterion: The criterion.
        batches: The number of labelled batches to use.

    Raises:
        DataError: The criterion needs data that the task does not have.
    """
    if CRITERIA[criterion].need == "training data":
        check_training_data(bench, criterion, [name for name, each in CRITERIA.items() if not each.need])

    def labelled() -> Iterator[Batch]:
        for done, batch in enumerate(islice(bench.training.in_order(_BATCH), batches)):
            bench.progress(f"judge by {criterion}", done, batches)
            yield batch
        bench.progress(f"judge by {criterion}", batches, batches)

    def samples() -> Iterator[tuple[torch.Tensor, ...]]:
        for arrays in bench.calibration_batches(f"judge by {criterion}"):
            yield tuple(torch.from_numpy(np.array(array)) for array in arrays)

    return Evidence(module, coupling, labelled, task_loss(bench.source), samples, bench.seed)


def check_training_data(bench: Workbench, criterion: str, others: Sequence[str]) -> None:
    """Checks that there are training data for a criterion that needs them.

    Args:
        bench: May provide them.
        criterion: The criterion.
        others: Criteria that need no training data.

    Raises:
        DataError: There are no training data.
    """
    if bench.source.train_data is None:
        raise DataError(
            f"{bench.source.name}: the criterion {criterion}",
            expected="training data, to see what a removal does to the loss",
            actual="none: the source has no train_data()",
            cure=f"add train_data() to the task, or use a criterion that needs none: {', '.join(others)}",
        )
