"""The terms of the distillation loss. Each is a mean over the batch, and 0 for a student that matches its target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from edgecomp.compression.training.objective import Loss, single_tensor
from edgecomp.errors import TrainingError

Tensor = torch.Tensor


@dataclass(frozen=True)
class Seen:
    """The outputs of student and teachers for one batch.

    Attributes:
        outputs: The student's outputs, in the structure that its module returns.
        labels: The labels of the batch.
        own: The student's outputs as a flat list of tensors.
        taught: The same for each teacher.
        features: Pairs of the student's feature, projected, and the teacher's, of the same shape.
        maps: Pairs of features with the same spatial size and any number of channels.
    """

    outputs: object
    labels: Tensor
    own: Sequence[Tensor]
    taught: Sequence[Sequence[Tensor]]
    features: Sequence[tuple[Tensor, Tensor]] = ()
    maps: Sequence[tuple[Tensor, Tensor]] = ()


Term = Callable[[Seen], Tensor]


def labels(loss: Loss, smoothing: float = 0.0) -> Term:
    """Returns the task's loss, or with smoothing the cross-entropy with smoothed labels.

    Szegedy et al., 2016, section 7.
    """
    if not smoothing:
        return lambda seen: loss(seen.outputs, seen.labels)

    def smoothed(seen: Seen) -> Tensor:
        logits = single_tensor(seen.outputs)
        if logits is None or logits.ndim != 2 or seen.labels.is_floating_point():
            raise TrainingError(
                "distill: label_smoothing",
                expected="logits of shape (N, classes) and class numbers",
                actual="other outputs or labels",
                cure="set label_smoothing = 0, and smooth in the task's loss()",
            )
        return functional.cross_entropy(logits, seen.labels.reshape(-1).long(), label_smoothing=smoothing)

    return smoothed


def divergence(temperature: float) -> Term:
    """Returns the KL divergence of softened outputs from the teachers' mean, times temperature squared.

    Hinton et al., 2015. Outputs that are not of shape (N, classes) are compared by mean squared error instead.
    """

    def soft(seen: Seen) -> Tensor:
        parts = []
        for place, output in enumerate(seen.own):
            targets = [teacher[place] for teacher in seen.taught]
            if output.ndim == 2 and output.shape[1] > 1:
                wanted = torch.stack([torch.softmax(each / temperature, dim=1) for each in targets]).mean(dim=0)
                logs = torch.log_softmax(output / temperature, dim=1)
                parts.append(functional.kl_div(logs, wanted, reduction="batchmean") * temperature**2)
            else:
                parts.append(functional.mse_loss(output, torch.stack(list(targets)).mean(dim=0)))
        return torch.stack(parts).sum()

    return soft


def squares(seen: Seen) -> Tensor:
    """Computes the mean squared error of the outputs against the teachers' mean (Ba and Caruana, 2014)."""
    parts = [
        functional.mse_loss(output, torch.stack([teacher[place] for teacher in seen.taught]).mean(dim=0))
        for place, output in enumerate(seen.own)
    ]
    return torch.stack(parts).sum()


def directions(seen: Seen) -> Tensor:
    """Computes one minus the cosine of each output and the teachers' mean, for embeddings compared by cosine."""
    parts = []
    for place, output in enumerate(seen.own):
        wanted = torch.stack([teacher[place] for teacher in seen.taught]).mean(dim=0)
        own, other = (each.reshape(len(output), -1) for each in (output, wanted))
        parts.append(1 - functional.cosine_similarity(own, other).mean())
    return torch.stack(parts).sum()


def hints(seen: Seen) -> Tensor:
    """Computes the mean squared error of features, after projecting the student's (Romero et al., 2015)."""
    return torch.stack([functional.mse_loss(own, wanted) for own, wanted in seen.features]).sum()


def attention(seen: Seen) -> Tensor:
    """Computes the squared distance of normalized attention maps, times 1000 (Zagoruyko and Komodakis, 2017)."""
    parts = [(_map(own) - _map(wanted)).square().mean() for own, wanted in seen.maps]
    return 1000 * torch.stack(parts).sum()


def _map(feature: Tensor) -> Tensor:
    """Computes attention maps, the energy over channels: (N, channels, ...) -> (N, places), of length 1."""
    return functional.normalize(feature.square().mean(dim=1).flatten(1), dim=1)
