"""The numbers of the agreement matrix, against their closed forms."""

import math

import numpy as np
import pytest

from edgecomp.verification.comparison import EQUAL, binomial_tail, compare
from edgecomp.verification.tolerance import UNLIKELY


def test_differences_are_counted_in_steps() -> None:
    reference = np.array([[0.0, 1.0, 2.0, 3.0]], np.float32)
    found = compare("y", [(reference, reference + np.float32([[0, 0.5, -1.0, 0]]))], step=0.5)
    assert (found.max_difference, found.mean_difference) == (2.0, 0.75)
    assert found.step == 0.5
    assert compare("y", [(reference, reference + 1)], step=None).max_difference == 1.0


def test_sqnr_is_signal_power_over_noise_power() -> None:
    reference = np.ones((1, 100), np.float32)
    found = compare("y", [(reference, reference * np.float32(1.125))], None)
    assert found.sqnr == pytest.approx(-20 * math.log10(0.125))
    assert found.cosine == pytest.approx(1.0)


def test_cosine_is_that_of_all_samples_together() -> None:
    pairs = [(np.array([[3.0, 0.0]]), np.array([[4.0, 0.0]])), (np.array([[0.0, 4.0]]), np.array([[3.0, 0.0]]))]
    assert compare("y", pairs, None).cosine == pytest.approx(12 / (5 * 5))


def test_batches_make_no_difference() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 12, 5))
    whole = compare("y", [(first, second)], 0.1)
    parts = compare("y", zip(np.split(first, 4), np.split(second, 4), strict=True), 0.1)
    assert whole.samples == parts.samples == 12
    for name in ("max_difference", "mean_difference", "cosine", "sqnr", "agreement"):
        assert getattr(whole, name) == pytest.approx(getattr(parts, name))


def test_equal_outputs_have_a_finite_sqnr() -> None:
    ones, zeros = np.ones((1, 3)), np.zeros((1, 3))
    assert compare("y", [(ones, ones)], None).sqnr == EQUAL
    assert compare("y", [(zeros, ones)], None).sqnr == -EQUAL
    same = compare("y", [(zeros, zeros)], None)
    assert (same.sqnr, same.cosine) == (EQUAL, 1.0)
    assert compare("y", [(zeros, ones)], None).cosine == 0.0


def test_agreement_is_the_share_of_equal_argmaxes() -> None:
    reference = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    candidate = np.array([[9.0, 0.0], [1.0, 0.0], [1.0, 0.5], [2.0, 1.0]])
    assert compare("y", [(reference, candidate)], None).agreement == 0.75


@pytest.mark.parametrize("shape", [(4, 1), (4,), (4, 2, 2), ()])
def test_other_shapes_have_no_argmax(shape: tuple[int, ...]) -> None:
    assert compare("y", [(np.ones(shape), np.ones(shape))], None).agreement is None


def test_probabilities_along_the_last_dimension_are_answers() -> None:
    """A reader of text: one of many letters at every step."""
    scores = np.random.default_rng(0).normal(size=(2, 10, 7))
    letters = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    other = letters.copy()
    other[0, 3] = other[0, 3, ::-1]
    for reference, candidate in ((letters, other), (np.log(letters), np.log(other))):
        found = compare("letters", [(reference, candidate)], None)
        assert (found.agreement, found.answers, found.samples) == (0.95, 20, 2)
    assert compare("scores", [(scores, scores)], None).agreement is None


def test_unit_vectors_are_embeddings_and_have_no_argmax() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert compare("embedding", [(vectors, vectors)], None).agreement is None
    assert compare("logits", [(vectors * 2, vectors)], None).agreement == 1
    assert compare("shares", [(np.eye(4), np.eye(4))], None).agreement == 1


def test_integers_are_right_or_wrong_and_have_no_sqnr() -> None:
    found = compare("class", [(np.array([3, 1, 2, 0]), np.array([3, 1, 900, 0]))], None)
    assert (found.agreement, found.sqnr, found.samples) == (0.75, None, 4)
    assert compare("mask", [(np.array([[True, False]]), np.array([[True, True]]))], None).agreement == 0.5


def test_numbers_that_are_not_finite_are_counted_and_spoil_nothing_else() -> None:
    reference = np.array([[1.0, np.inf, np.nan, 4.0]])
    assert compare("y", [(reference, reference)], None).broken == 0
    found = compare("y", [(reference, np.array([[np.nan, np.inf, 0.0, 5.0]]))], None)
    assert found.broken == 2
    assert (found.max_difference, found.mean_difference) == (1.0, 1.0)
    assert found.sqnr == pytest.approx(20 * math.log10(4))


def test_the_tail_is_the_sum_of_its_terms() -> None:
    for right, answers, share in ((40, 50, 0.9), (0, 3, 0.95), (0, 1, 0.5), (180, 200, 0.95)):
        terms = [math.comb(answers, n) * share**n * (1 - share) ** (answers - n) for n in range(right + 1)]
        assert binomial_tail(right, answers, share) == pytest.approx(math.fsum(terms))


def test_the_tail_of_a_million_answers() -> None:
    # Two standard deviations below the mean; the normal distribution is close there.
    answers, share = 1_000_000, 0.95
    right = round(answers * share - 2 * math.sqrt(answers * share * (1 - share)))
    assert binomial_tail(right, answers, share) == pytest.approx(0.0228, rel=0.01)


def test_what_a_share_promises_is_no_accident_and_one_of_all_allows_none() -> None:
    assert binomial_tail(19, 20, 0.95) == 1.0
    assert (binomial_tail(9, 10, 1.0), binomial_tail(10, 10, 1.0), binomial_tail(0, 10, 0.0)) == (0.0, 1.0, 1.0)


def test_few_answers_prove_little() -> None:
    assert binomial_tail(0, 1, 0.95) > UNLIKELY > binomial_tail(0, 2, 0.95)
    assert binomial_tail(18, 20, 0.95) > UNLIKELY > binomial_tail(1800, 2000, 0.95)
