"""What criteria look at, from the workbench."""

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

#: Samples in a batch whose gradient is looked at.
_BATCH = 64


def evidence_of(
    module: torch.nn.Module, coupling: Coupling, bench: Workbench, criterion: CriterionName, batches: int
) -> Evidence:
    """What a criterion judges by.

    Args:
        module: What is pruned.
        coupling: What belongs together in it.
        bench: Has the data.
        criterion: The criterion.
        batches: How many labelled batches it looks at.

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
    """Makes sure that a criterion which needs training data has some.

    Args:
        bench: May have them.
        criterion: Which needs them.
        others: Criteria that do not.

    Raises:
        DataError: There are none.
    """
    if bench.source.train_data is None:
        raise DataError(
            f"{bench.source.name}: the criterion {criterion}",
            expected="training data, to see what a removal does to the loss",
            actual="none: the source has no train_data()",
            cure=f"add train_data() to the task, or use a criterion that needs none: {', '.join(others)}",
        )
