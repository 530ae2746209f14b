"""Exact at full rank; at a smaller one, the error is what the singular values say."""

import numpy as np
import pytest
import torch

from edgecomp.compression.low_rank import decompositions
from edgecomp.compression.low_rank.ranks import by_energy, by_vbmf


def random_tensor(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_error_of_a_truncated_svd_is_the_tail_of_the_singular_values(rank: int) -> None:
    matrix = random_tensor(8, 6)
    first, second = decompositions.svd(matrix, rank)
    values = torch.linalg.svdvals(matrix)
    torch.testing.assert_close((matrix - first @ second).square().sum(), values[rank:].square().sum())
    torch.testing.assert_close(first.norm(), second.norm())


def test_with_a_covariance_the_error_of_the_outputs_is_smallest() -> None:
    matrix, inputs = random_tensor(8, 6), random_tensor(6, 500) * torch.tensor([9.0, 3, 1, 1, 0.3, 0.1])[:, None]
    root = decompositions.covariance_root(inputs @ inputs.T)
    torch.testing.assert_close(root @ root, inputs @ inputs.T)
    plain, aware = decompositions.svd(matrix, 2), decompositions.svd(matrix, 2, root)
    errors = [((matrix - first @ second) @ inputs).square().sum() for first, second in (plain, aware)]
    torch.testing.assert_close(errors[1], torch.linalg.svdvals(matrix @ inputs)[2:].square().sum())
    assert errors[1] < 0.7 * errors[0]


def test_inputs_that_never_occur_do_no_harm() -> None:
    matrix = random_tensor(4, 3)
    root = decompositions.covariance_root(torch.diag(torch.tensor([1.0, 1.0, 0.0])))
    first, second = decompositions.svd(matrix, 3, root)
    torch.testing.assert_close(first @ second, matrix)


def test_tucker_is_exact_at_full_rank_and_for_a_kernel_of_lower_rank() -> None:
    kernel = random_tensor(6, 5, 3, 3)
    outer, core, inner = decompositions.tucker(kernel, 6, 5)
    torch.testing.assert_close(torch.einsum("op,pqhw,qi->oihw", outer, core, inner), kernel)
    low = torch.einsum("op,pqhw,qi->oihw", random_tensor(6, 2), random_tensor(2, 3, 3, 3), random_tensor(3, 5))
    outer, core, inner = decompositions.tucker(low, 2, 3)
    torch.testing.assert_close(torch.einsum("op,pqhw,qi->oihw", outer, core, inner), low)


def test_the_error_of_a_column_and_a_row_is_the_tail_of_the_singular_values() -> None:
    kernel = random_tensor(6, 5, 3, 2)
    values = torch.linalg.svdvals(decompositions.columns_by_rows(kernel))
    for rank in (2, 12):
        column, row = decompositions.spatial(kernel, rank)
        made = torch.einsum("rihx,orxw->oihw", column, row)
        torch.testing.assert_close((kernel - made).square().sum(), values[rank:].square().sum())


def test_cp_finds_the_terms_that_a_kernel_is_a_sum_of() -> None:
    factors = [random_tensor(size, 2) for size in (6, 5, 3, 3)]
    kernel = torch.einsum("or,ir,hr,wr->oihw", *factors)
    made = torch.einsum("or,ir,hr,wr->oihw", *decompositions.cp(kernel, 2, iterations=200))
    torch.testing.assert_close(made, kernel, rtol=1e-4, atol=1e-4)


def test_energy_is_the_share_of_the_squares() -> None:
    values = np.array([3.0, 2.0, 1.0])
    assert [by_energy(values, share) for share in (0.0, 9 / 14, 0.65, 13 / 14, 0.95, 1.0)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("rank", [0, 3, 10])
def test_vbmf_finds_the_rank_below_the_noise(rank: int) -> None:
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(60, rank)) @ generator.normal(size=(rank, 90)) + 0.5 * generator.normal(
        size=(60, 90)
    )
    values = np.linalg.svd(matrix, compute_uv=False)
    assert by_vbmf(values, 60, 90) == by_vbmf(values, 90, 60) == rank
