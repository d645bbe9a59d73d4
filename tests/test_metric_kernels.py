"""Kernels of the metrics: scores and tallies against plain counting, and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from points import DTYPES
from test_kernels import assert_within, assert_written, frozen, poisoned

from fusedmlp import spec

NO = math.nan
SHAPES = [(1, 1), (1, 2), (3, 5), (17, 10), (33, 17), (5, 64), (4, 300)]


def score(kernels, name, p, labels, *params):
    found = poisoned((len(p),), p.dtype)
    kernels.metrics.score(name, p, labels, params or tuple(v for _, v in spec.SCORES[name].params),
                          found)
    assert_written(found)
    return found


def tally(kernels, name, p, labels, options, size, weight=None):
    state = np.zeros(size)
    kernels.metrics.tally(name, p, labels, weight, np.array(options, np.float64), state)
    return state


# -- scores ----------------------------------------------------------------------------------------


def test_hits(backend):
    p = np.array([[0.1, 0.7, 0.7], [0.5, 0.2, 0.3], [0.0, 0.0, 1.0]])
    first = score(backend, "categorical_hits", p, np.array([1, 2, 2]))
    np.testing.assert_array_equal(first, [1.0, 0.0, 1.0])  # the first of two largest counts
    dense = np.array([[0, 1, 1], [0, 1, 0], [0, 0, 1.0]])
    np.testing.assert_array_equal(score(backend, "categorical_hits", p, dense), [1.0, 0.0, 1.0])
    dense = np.array([[0, 1, 1], [1, 1, 1], [0, 0, 0.0]])
    np.testing.assert_allclose(score(backend, "binary_hits", p, dense, 0.5), [1.0, 0.0, 2.0 / 3.0])
    np.testing.assert_allclose(score(backend, "equal_hits", p, np.round(p)), [0.0, 0.0, 1.0])


def test_top_k(backend):
    p = np.array([[0.1, 0.7, 0.7, np.nan], [0.5, 0.2, 0.3, np.nan], [4.0, 3.0, 2.0, 1.0]])
    for k, expected in ((1, [1, 0, 0]), (2, [1, 0, 0]), (3, [1, 1, 0]), (4, [1, 1, 1])):
        labels = np.array([1, 1, 3])
        np.testing.assert_array_equal(score(backend, "top_k_hits", p, labels, k, 0.0), expected)
    ids = np.array([[3.0, 9.0, 1.0]])
    for label, k, expected in ((9, 1, 0.0), (9, 2, 1.0), (1, 2, 0.0)):
        found = score(backend, "top_k_hits", ids, np.array([label]), k, 1.0)
        assert found[0] == expected


def test_correlations(backend):
    rng = np.random.default_rng(1)
    p, t = rng.normal(size=(6, 9)), rng.normal(size=(6, 9))
    found = score(backend, "pearson_correlation", p, t)
    np.testing.assert_allclose(found, [np.corrcoef(a, b)[0, 1] for a, b in zip(p, t, strict=True)],
                               rtol=1e-12)
    found = score(backend, "concordance_correlation", p, t, 0.0)
    expected = [2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean())**2)
                for a, b in zip(p, t, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.isnan(score(backend, "pearson_correlation", np.ones((1, 3)), t[:1, :3])).all()


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", spec.SCORES)
def test_other_scores(oracle, other, name, dtype):
    rng = np.random.default_rng(23)
    for n, c in SHAPES:
        p = rng.integers(0, 4, (n, c)) / 4.0  # many ties
        if n > 2 and "hits" in name:
            p[1, c // 2] = np.nan
        p = frozen(p, dtype)
        kinds = [frozen(rng.random((n, c)) < 0.5, dtype), frozen(rng.dirichlet(np.ones(c), n),
                                                                   dtype)]
        if name in ("categorical_hits", "top_k_hits"):
            kinds.append(frozen(rng.integers(0, c, n), np.int64))
        for labels in kinds:
            got, expected = score(other, name, p, labels), score(oracle, name, p, labels)
            assert_within(got, expected, 0.0 if "_k_" in name or name.startswith("cat")
                          else 16.0 * np.finfo(dtype).eps)


# -- tallies ---------------------------------------------------------------------------------------


def thresholds(values, *, even=False, is_open=False, class_id=-1, top_k=-1, by_column=False,
               logits=False, weights=()):
    return [even, is_open, class_id, top_k, by_column, logits, bool(weights), len(values), *values,
            *weights]


@pytest.mark.parametrize("dtype", DTYPES)
def test_thresholds_count(backend, dtype):
    rng = np.random.default_rng(4)
    p = rng.random((50, 3)).astype(dtype)
    p[:3] = 0.5  # equal to a threshold is not above it
    t = (rng.random((50, 3)) < 0.4).astype(dtype)
    w = rng.integers(0, 4, 50).astype(dtype)
    limits = [0.2, 0.5, 0.9]
    state = tally(backend, "thresholds", p, t, thresholds(limits), 8, w).reshape(4, 2)
    for k, limit in enumerate(np.array(limits, dtype)):
        for target in (0, 1):
            direct = (w[:, None] * ((p > limit) & (t == target))).sum()
            assert state[k + 1:, target].sum() == direct
    apart = tally(backend, "thresholds", p, t, thresholds(limits, by_column=True), 24, w)
    np.testing.assert_array_equal(apart.reshape(4, 3, 2).sum(axis=1), state)
    one = tally(backend, "thresholds", p, t, thresholds(limits, class_id=1), 8, w)
    np.testing.assert_array_equal(one.reshape(4, 2), apart.reshape(4, 3, 2)[:, 1])
    scaled = tally(backend, "thresholds", p, t, thresholds(limits, weights=[1.0, 0.0, 2.0]), 8, w)
    np.testing.assert_array_equal(
        scaled.reshape(4, 2),
        apart.reshape(4, 3, 2)[:, 0] + 2 * apart.reshape(4, 3, 2)[:, 2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_even_thresholds_are_places(backend, dtype):
    p = np.array([[0.0], [0.1], [0.5], [0.51], [1.0], [1.7], [-3.0], [np.nan]], dtype)
    even = thresholds([0.0, 0.5, 1.0], even=True)
    t = np.ones_like(p)
    assert tally(backend, "thresholds", p, t, even, 8).reshape(4, 2)[:, 1].tolist() == [3, 2, 3, 0]
    above = thresholds([-1e-7, 0.5, 1.0 + 1e-7], even=True, is_open=True)
    assert tally(backend, "thresholds", p, t, above, 8).reshape(4, 2)[:, 1].tolist() == [0, 5, 3, 0]
    half = thresholds([0.5], logits=True)
    z = np.array([[-0.1], [0.0], [0.1]], dtype)
    assert tally(backend, "thresholds", z, np.ones_like(z), half, 4).tolist() == [0, 2, 0, 1]


def test_top_k_of_thresholds(backend):
    p = np.array([[0.9, 0.1, 0.5], [0.3, 0.3, 0.2]])
    only = thresholds([-1e10], top_k=1)
    state = tally(backend, "thresholds", p, np.array([[1.0, 0, 0], [0, 1, 0]]), only, 4)
    assert state.reshape(2, 2).tolist() == [[3, 1], [1, 1]]  # of two equal ones the first counts


def test_overlaps(backend):
    p = np.array([[0.2, 0.6, 0.6], [0.9, 0.1, 0.0]])
    t = np.array([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    w = np.array([1.0, 2.0])
    found = tally(backend, "overlaps", p, t, [0.5], 9, w).reshape(3, 3)
    np.testing.assert_array_equal(found, [[2, 1, 1], [2, 1, 1], [2, 3, 1]])
    found = tally(backend, "overlaps", p, t, [NO], 9).reshape(3, 3)
    np.testing.assert_array_equal(found, [[1, 1, 1], [1, 1, 1], [1, 2, 1]])
    nothing = tally(backend, "overlaps", np.zeros((1, 3)), t[:1], [NO], 9).reshape(3, 3)
    assert (nothing[:2] == 0).all()


def test_moments(backend):
    rng = np.random.default_rng(5)
    p, t, w = rng.normal(size=(20, 2)), rng.normal(size=(20, 2)), rng.random(20)
    found = tally(backend, "moments", p, t, [], 10, w).reshape(5, 2)
    v = w[:, None]
    expected = [np.full(2, w.sum()), (v * t).sum(0), (v * t**2).sum(0), (v * (t - p)**2).sum(0),
                np.full(2, 20.0)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_confusion(backend):
    t, p = np.array([[0.0], [1.0], [2.0], [1.0], [5.0]]), np.array([[1.0], [1.0], [0.9], [7], [0]])
    found = tally(backend, "confusion", p, t, [3, NO, 0, 0, NO, 0], 9, np.arange(5.0) + 0.5)
    np.testing.assert_array_equal(found.reshape(3, 3), [[0, 0.5, 0], [0, 1.5, 0], [2.5, 0, 0]])
    found = tally(backend, "confusion", p, t, [3, 1, 0, 0, NO, 1], 9, np.arange(5.0) + 0.5)
    np.testing.assert_array_equal(found.reshape(3, 3), [[0, 0, 0], [0, 0, 0], [2, 0, 0]])
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]])
    for labels in (np.array([1, 0, 0]), np.array([[0.0, 1], [1, 0], [1, 0]])):
        options = [2, NO, labels.ndim == 2, 1, NO, 0]
        found = tally(backend, "confusion", scores, labels, options, 4)
        assert found.tolist() == [1, 1, 0, 1]
    found = tally(backend, "confusion", scores, np.round(scores), [2, NO, 0, 0, 0.5, 0], 4)
    assert found.tolist() == [3, 0, 0, 3]


TALLIES = [
    ("thresholds", thresholds([0.1, 0.25, 0.7]), 8),
    ("thresholds", thresholds(list(np.arange(50) / 49), even=True), 102),
    ("thresholds", thresholds([0.25, 0.5], top_k=2), 6),
    ("overlaps", [0.4], None), ("overlaps", [NO], None), ("moments", [], None),
    ("confusion", [2, NO, 0, 0, 0.5, 0], 4), ("confusion", [20, 3, 1, 1, NO, 1], 400),
]


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "options", "size"), TALLIES)
def test_other_tallies(oracle, other, name, options, size, weighted, dtype):
    rng = np.random.default_rng(6)
    for n, c in [*SHAPES, (0, 4)]:
        p, t = frozen(rng.random((n, c)), dtype), frozen(rng.random((n, c)) < 0.5, dtype)
        w = frozen(rng.random(n), dtype) if weighted else None
        elements = size or {"overlaps": 3, "moments": 5}[name] * c
        found = tally(other, name, p, t, options, elements, w)
        np.testing.assert_allclose(found, tally(oracle, name, p, t, options, elements, w),
                                   rtol=1e-6 if dtype == "float32" else 1e-12, atol=1e-12)


def test_every_score_and_tally_is_tested():
    assert {name for name, _, _ in TALLIES} == set(spec.TALLIES)
