"""Decomposes matrices and convolution kernels into products of smaller ones. Everything is computed in float64."""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def svd(matrix: Tensor, rank: int, root: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Computes the best product of two matrices (Eckart and Young, 1936), the scale shared evenly between both.

    Args:
        matrix: (rows, columns).
        rank: Columns of the first factor, rows of the second.
        root: A square root of the covariance of the inputs that the matrix is applied to, (columns, columns). With it,
            the error of the outputs is minimized instead of the error of the matrix.

    Returns:
        (rows, rank) and (rank, columns).
    """
    matrix = matrix.double()
    left, values, right = torch.linalg.svd(matrix if root is None else matrix @ root, full_matrices=False)
    scale = values[:rank].sqrt()
    second = scale[:, None] * right[:rank]
    if root is not None:
        second = torch.linalg.solve(root, second, left=False)
    return left[:, :rank] * scale, second


def covariance_root(covariance: Tensor) -> Tensor:
    """Computes an invertible symmetric square root; directions that never occur get a small weight."""
    values, vectors = torch.linalg.eigh(covariance.double())
    floor = 1e-6 * values.max().clamp_min(torch.finfo(torch.float64).tiny)
    root: Tensor = (vectors * values.clamp_min(floor).sqrt()) @ vectors.T
    return root


def tucker(kernel: Tensor, out_rank: int, in_rank: int, iterations: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the Tucker decomposition of the two channel dimensions (Kim et al., 2016), by orthogonal iteration.

    Args:
        kernel: (out, in, height, width).
        out_rank: Channels of the core's output.
        in_rank: Channels of the core's input.
        iterations: Number of rounds; in each, one side is fitted to the other.

    Returns:
        (out, out_rank), the core (out_rank, in_rank, height, width), and (in_rank, in).
    """
    kernel = kernel.double()
    inner = _leading(kernel.transpose(0, 1), in_rank)
    for _ in range(iterations):
        outer = _leading(torch.einsum("oihw,ir->orhw", kernel, inner), out_rank)
        inner = _leading(torch.einsum("oihw,or->irhw", kernel, outer), in_rank)
    return outer, torch.einsum("oihw,op,iq->pqhw", kernel, outer, inner), inner.T


def spatial(kernel: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Separates a kernel into a column followed by a row (Jaderberg et al., 2014), by singular values.

    Args:
        kernel: (out, in, height, width).
        rank: Channels between the two.

    Returns:
        (rank, in, height, 1) and (out, rank, 1, width).
    """
    out, into, height, width = kernel.shape
    first, second = svd(columns_by_rows(kernel), rank)
    return (
        first.T.reshape(rank, into, height, 1),
        second.reshape(rank, out, 1, width).transpose(0, 1),
    )


def columns_by_rows(kernel: Tensor) -> Tensor:
    """Returns the matrix whose singular values tell how well columns and rows separate, (in x height, out x width)."""
    out, into, height, width = kernel.shape
    return kernel.permute(1, 2, 0, 3).reshape(into * height, out * width)


def cp(kernel: Tensor, rank: int, iterations: int = 60) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Computes a sum of products of four vectors (CP; Lebedev et al., 2015), by alternating least squares.

    Args:
        kernel: (out, in, height, width).
        rank: Number of products.
        iterations: Number of rounds; in each, every factor is fitted to the others.

    Returns:
        (out, rank), (in, rank), (height, rank) and (width, rank), the length of each product shared evenly.
    """
    kernel = kernel.double()
    generator = torch.Generator().manual_seed(0)
    factors = [torch.randn(size, rank, generator=generator, dtype=torch.float64) for size in kernel.shape]
    for _ in range(iterations):
        for axis in range(4):
            others = [factor for other, factor in enumerate(factors) if other != axis]
            gram = torch.stack([factor.T @ factor for factor in others]).prod(0)
            target = torch.einsum("abcd,br,cr,dr->ar", kernel.movedim(axis, 0), *others)
            factors[axis] = torch.linalg.lstsq(gram + 1e-10 * gram.trace() * torch.eye(rank), target.T).solution.T
    lengths = torch.stack([factor.norm(dim=0) for factor in factors]).clamp_min(1e-30)
    even = lengths.prod(0) ** 0.25
    first, second, third, fourth = (factor / length * even for factor, length in zip(factors, lengths, strict=True))
    return first, second, third, fourth


def _leading(tensor: Tensor, rank: int) -> Tensor:
    """Returns the leading left singular vectors of a tensor unfolded along its first dimension."""
    vectors: Tensor = torch.linalg.svd(tensor.reshape(len(tensor), -1), full_matrices=False)[0]
    return vectors[:, :rank]
