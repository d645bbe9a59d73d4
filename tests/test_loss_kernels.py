"""Kernels of the losses: the oracle against mathematics, the other backends against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from loss_truth import ROWS, batch_losses, call, data, default_params
from mpmath import mp, mpf
from points import DTYPES
from test_kernels import (
    assert_within,
    assert_written,
    frozen,
    poisoned,
)

from fusedmlp import spec

AXES = ("rows", "all", "columns", "columns_sum")
OTHER_PARAMS = {
    "huber": (0.4,), "quantile": (0.9,), "binary_focal_crossentropy": (1.0, 0.3, 1.5, 1e-7),
    "sigmoid_focal_cross_entropy": (1.0, 0.3, 0.5), "gaussian_negative_log_likelihood": (1.0, 0.5),
    "categorical_focal_crossentropy": (0.7, 0.5, 1e-3), "softmax_focal_cross_entropy": (0.7, 0.5),
    "categorical_generalized_cross_entropy": (0.2,), "softmax_generalized_cross_entropy": (0.9,),
    "tversky": (0.3, 0.9, 1e-7), "circle": (2.0, 0.25, 0.0),
}
CASES = [(row, axis, params, classes)
         for row in ROWS
         for axis in (AXES if row.kind == "overlap" else ("rows",))
         for params in ((), *([OTHER_PARAMS[row.name]] if row.name in OTHER_PARAMS else []))
         for classes in ((False, True) if row.kind == "row" and row.labels == "classes"
                         else (False,))]
IDS = [f"{row.name}-{axis}{list(params) or ''}{'-classes' if classes else ''}"
       for row, axis, params, classes in CASES]


def settled(row, params):
    """Parameters, those of a circle milder: its gradients are steep."""
    if params:
        return params
    return (4.0, 0.4, 1.0) if row.name == "circle" else default_params(row)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("row", "axis", "params", "classes"), CASES, ids=IDS)
def test_oracle(oracle, row, axis, params, classes, weighted, dtype):
    """Values in arbitrary precision, gradients as exact difference quotients."""
    params = settled(row, params)
    p, labels = data(row, 5, 4, dtype, seed=3, classes=classes)
    smoothing = 0.125 if row.kind in ("row", "elementwise") and row.labels != "signs" else 0.0
    weight = np.linspace(0.0, 3.0, 5).astype(dtype) if weighted else None
    losses, d, scale = np.full(5, np.nan, dtype), np.full(p.shape, np.nan, dtype), 0.375
    call(oracle, row, p, labels, losses, d, params=params, weight=weight, smoothing=smoothing,
         scale=scale, axis=axis)
    exact = [[mpf(float(v)) for v in x] for x in p]
    # epsilon is a number of the dtype
    params = [float(np.dtype(dtype).type(v)) if v < 1e-3 else v for v in params]

    def total():
        return mp.fsum(batch_losses(row, exact, labels, params, smoothing, weight, axis))

    expected = batch_losses(row, exact, labels, params, smoothing, weight, axis)
    rtol = 3e-6 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(losses, np.array(expected, float), rtol=rtol, atol=1e-9)
    h = mpf("1e-15")
    for i, j in np.ndindex(p.shape):
        at, ends = exact[i][j], []
        for step in (h, -h):
            exact[i][j] = at + step
            ends.append(total())
        exact[i][j] = at
        slope = float(scale * (ends[0] - ends[1]) / (2 * h))
        floored = row.kind == "distribution" and j >= p.shape[1] // 2 and np.exp(
            float(p[i, j])) < params[1]
        if not floored:  # where the variance has its floor, the gradient is that at the floor
            assert abs(d[i, j] - slope) <= rtol * (1.0 + abs(slope)), (i, j)


SHAPES = [(1, 1), (1, 2), (3, 5), (17, 10), (33, 17), (5, 64), (7, 100), (3, 1300)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("row", "axis", "params", "classes"), CASES, ids=IDS)
def test_other(oracle, other, row, axis, params, classes, weighted, dtype):
    params = settled(row, params)
    eps = float(np.finfo(dtype).eps)
    for n, c in SHAPES:
        p, labels = data(row, n, c, dtype, seed=n, classes=classes)
        p, labels = frozen(p), frozen(labels)
        if row.kind == "row" and c == 1 and "categorical_c" in row.name:
            continue  # a share of 1 is clipped, and 1 - epsilon is what the dtype makes of it
        weight = frozen(np.random.default_rng(2).uniform(0.0, 3.0, n), dtype) if weighted else None
        for smoothing in (0.0, 0.1) if row.kind in ("row", "elementwise") else (0.0,):
            for ignore in (None, 0) if classes else (None,):
                found = {}
                for role, kernels in (("oracle", oracle), ("other", other)):
                    losses, d = poisoned((n,), dtype), poisoned(p.shape, dtype)
                    alone = poisoned((n,), dtype)
                    options = {"params": params, "weight": weight, "smoothing": smoothing,
                               "ignore": ignore, "axis": axis, "scale": 0.125, "rescaled": True}
                    call(kernels, row, p, labels, losses, d, **options)
                    call(kernels, row, p, labels, alone, None, **options)
                    assert_written(losses, d, alone)
                    np.testing.assert_array_equal(losses, alone)
                    found[role] = losses, d
                size = 8.0 + np.abs(found["oracle"][0]).max()
                grow = 4.0 * c**0.5 if row.kind in ("row", "pair") else 1.0
                steep = 60.0 if row.kind == "pair" else 1.0
                assert_within(found["other"][0], found["oracle"][0],
                              32.0 * eps * grow * steep * size)
                slope = np.abs(found["oracle"][1])
                assert_within(found["other"][1], found["oracle"][1],
                              64.0 * eps * grow * steep * (0.125 * 3.0 + slope.max()))


SPECIAL = [0.0, 1.0, 0.5, np.nan, 0.25, 1e4, -1e4, 1e-30]
WITHIN_0_AND_1 = [0.0, 1.0, 0.5, np.nan, 0.25, 1.0, 0.0, 1e-30]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", spec.losses_of("elementwise"))
def test_elementwise_special_values(oracle, other, name, dtype):
    row = spec.LOSSES[name]
    narrow = row.domain[0] >= 0.0 and row.domain[1] < 1.0
    p = frozen(np.array(WITHIN_0_AND_1 if narrow else SPECIAL)[:, None], dtype)
    t = frozen([[1.0], [0.0], [0.5], [1.0], [np.nan], [1.0], [1.0], [0.0]], dtype)
    if name == "poisson":
        p = frozen(np.abs(p))
    found = []
    for kernels in (oracle, other):
        losses, d = poisoned((8,), dtype), poisoned((8, 1), dtype)
        call(kernels, row, p, t, losses, d)
        assert_written(losses, d)
        found.append((losses, d))
    eps = float(np.finfo(dtype).eps)
    (expected, slope), (got, d) = found
    with np.errstate(invalid="ignore"):
        assert_within(got, expected, 16.0 * eps * (8.0 + np.abs(expected)) + 2e-7)
        assert_within(d, slope, 64.0 * eps * (8.0 + np.abs(slope)) + 2e-6)


HUGE = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [0.0, 0.0, -1e4], [1e4, 1e4, 1e4]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["softmax_focal_cross_entropy",
                                  "softmax_generalized_cross_entropy"])
def test_rows_of_huge_logits(backend, name, dtype):
    """No infinities and no NaN, and right answers cost nothing."""
    row = spec.LOSSES[name]
    for gamma in (0.0, 0.5, 2.0) if "focal" in name else (0.5,):
        params = (1.0, gamma) if "focal" in name else (gamma,)
        for labels in (np.array([0, 0, 1, 2]), np.eye(3, dtype=dtype)[[0, 0, 1, 2]]):
            losses, d = np.full(4, np.nan, dtype), np.full((4, 3), np.nan, dtype)
            call(backend, row, HUGE.astype(dtype), labels, losses, d, params=params)
            assert np.isfinite(losses).all()
            assert np.isfinite(d).all()
            assert losses[0] == 0.0
            np.testing.assert_array_equal(d[0], np.zeros(3))
            assert losses[1] == (pytest.approx(2e4) if "focal" in name else 2.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_elements_of_huge_logits(backend, gamma, dtype):
    row = spec.LOSSES["sigmoid_focal_cross_entropy"]
    z = np.array([[1e4], [-1e4], [1e4], [-1e4]], dtype)
    t = np.array([[1.0], [0.0], [0.0], [1.0]], dtype)
    losses, d = np.full(4, np.nan, dtype), np.full((4, 1), np.nan, dtype)
    call(backend, row, z, t, losses, d, params=(0.0, 0.25, gamma))
    np.testing.assert_allclose(losses, [0.0, 0.0, 1e4, 1e4], rtol=1e-6)
    np.testing.assert_allclose(d[:, 0], [0.0, 0.0, 1.0, -1.0], atol=1e-6)


def test_ties_share_the_slope_of_a_categorical_hinge(backend):
    row = spec.LOSSES["categorical_hinge"]
    losses, d = np.empty(1), np.empty((1, 4))
    call(backend, row, np.array([[2.0, 1.0, 2.0, 0.5]]), np.array([[0.0, 1.0, 0.0, 0.0]]), losses,
         d)
    assert losses[0] == 2.0
    np.testing.assert_array_equal(d, [[0.5, -1.0, 0.5, 0.0]])


def test_circle_means_are_over_the_rows_that_count(backend):
    """A row without a partner has loss 0 and is no row of the mean."""
    row = spec.LOSSES["circle"]
    p, _ = data(row, 5, 3, "float64")
    labels = np.array([4, 4, 4, 9, 9])
    labels[3] = 7
    plain, counted = np.empty(5), np.empty(5)
    gradients = [np.empty_like(p), np.empty_like(p)]
    call(backend, row, p, labels, plain, gradients[0], params=(4.0, 0.4, 1.0))
    call(backend, row, p, labels, counted, gradients[1], params=(4.0, 0.4, 1.0), rescaled=True)
    assert (plain[3:] == 0.0).all()
    assert (plain[:3] > 0.0).all()
    np.testing.assert_allclose(counted, plain * 5 / 3, rtol=1e-12)
    np.testing.assert_allclose(gradients[1], gradients[0] * 5 / 3, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_no_rows(backend, row, dtype):
    p, labels = data(row, 0, 4, dtype)
    losses, d = poisoned((0,), dtype), poisoned((0, 4), dtype)
    for axis in AXES if row.kind == "overlap" else ("rows",):
        call(backend, row, p, labels, losses, d, axis=axis)
    assert_written(losses, d)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_same_bits_for_any_number_of_threads(other, use_threads, row, dtype):
    for n, c in ((37, 5), (70, 64)):
        p, labels = data(row, n, c, dtype)
        runs = []
        for threads in (1, 2, 3):
            use_threads(threads)
            results = []
            for axis in AXES if row.kind == "overlap" else ("rows",):
                losses, d = poisoned((n,), dtype), poisoned(p.shape, dtype)
                call(other, row, p, labels, losses, d, axis=axis)
                results += [losses, d]
            runs.append(results)
        for again in runs[1:]:
            for first, second in zip(runs[0], again, strict=True):
                np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("row", [r for r in ROWS if r.kind not in ("overlap", "pair")],
                         ids=lambda row: row.name)
def test_rows_do_not_depend_on_their_batch(other, row):
    for c in (5, 64):
        p, labels = data(row, 37, c, "float32")
        losses, d = poisoned((37,), "float32"), poisoned(p.shape, "float32")
        call(other, row, p, labels, losses, d)
        for part in (slice(0, 1), slice(15, 18), slice(36, 37)):
            alone, slope = losses[part].copy(), d[part].copy()
            call(other, row, p[part].copy(), labels[part].copy(), alone, slope)
            np.testing.assert_array_equal(alone, losses[part])
            np.testing.assert_array_equal(slope, d[part])
