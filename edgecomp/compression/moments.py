"""Mean and covariance of layer inputs."""

from __future__ import annotations

import torch


class Moments:
    """Accumulates the mean and covariance of rows that come in batches.

    Args:
        width: Elements in a row.
    """

    def __init__(self, width: int) -> None:
        self._count = self._samples = 0
        self._sum = torch.zeros(width, dtype=torch.float64)
        self._products = torch.zeros(width, width, dtype=torch.float64)
        self._waiting: list[torch.Tensor] = []

    def add(self, data: torch.Tensor) -> None:
        """Adds samples of shape (samples, ..., width): one or more rows each."""
        rows = data.detach().cpu().reshape(-1, data.shape[-1]).clone()  # the network may change it in place
        self._count += len(rows)
        self._samples += len(data)
        self._waiting.append(rows)
        # Multiplying a few rows costs as much memory traffic as multiplying many.
        if sum(map(len, self._waiting)) >= len(self._sum):
            self._take_in()

    def _take_in(self) -> None:
        if self._waiting:
            rows = torch.cat(self._waiting).double()
            self._waiting.clear()
            self._sum += rows.sum(dim=0)
            self._products += rows.T @ rows

    @property
    def mean(self) -> torch.Tensor:
        """The mean, (width,), float64."""
        self._take_in()
        return self._sum / self._count

    @property
    def covariance(self) -> torch.Tensor:
        """The covariance, (width, width), float64, shrunk to allow for directions that few samples do not show.

        It is shrunk towards a multiple of the identity, the more the fewer samples there are (Chen, Wiesel, Eldar and
        Hero, "Shrinkage Algorithms for MMSE Covariance Estimation", 2010: oracle approximating shrinkage). Places of
        one image are too similar to count as separate samples.
        """
        self._take_in()
        seen = self._products / self._count - torch.outer(self.mean, self.mean)
        width = len(seen)
        even, squares, trace = seen.trace() / width, seen.square().sum(), seen.trace()
        uneven = (self._samples + 1 - 2 / width) * (squares - trace.square() / width)
        share = (((1 - 2 / width) * squares + trace.square()) / uneven).clamp(0, 1) if uneven > 0 else 1.0
        return (1 - share) * seen + share * even * torch.eye(width, dtype=seen.dtype)
