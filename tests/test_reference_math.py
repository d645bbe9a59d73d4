"""The oracle against mathematics: arbitrary precision, finite differences, published vectors.

Formulas are written here once more, element by element, and share nothing with the kernels.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import truth
from mpmath import mp, mpf
from points import DTYPES, ELEMENTWISE, breaks, elementwise_cases, extremes, kernel_params, points

from fusedmlp import spec
from fusedmlp.kernels.reference import elementwise, random, special

CASES = list(elementwise_cases())
IDS = [f"{row.name}{list(params) or ''}" for row, params in CASES]
STEPS = ("binary_step", "unit_step", "sign")
ROUNDED_ONCE = 0.502  # units in the last place of float32 arithmetic that is done in float64


def fourth_order(function, x, h):
    """Central difference of fourth order."""
    return (8.0 * (function(x + h) - function(x - h))
            - (function(x + 2.0 * h) - function(x - 2.0 * h))) / (12.0 * h)


def directional(function, x, h=1e-3):
    """Derivatives of a scalar function along every element of an array."""
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        def shifted(step, index=index):
            moved = x.copy()
            moved[index] += step
            return function(moved)
        gradient[index] = (8.0 * (shifted(h) - shifted(-h))
                           - (shifted(2.0 * h) - shifted(-2.0 * h))) / (12.0 * h)
    return gradient


def assert_ulps(got, exact, name, arguments, params, bound, floor=0.0, smooth=True):
    """Errors against the truth, in units in the last place.

    In float64, where no wider type is at hand, a smooth function may besides be off by what one
    unit of its argument does, and a subnormal result by a thousandth of the smallest normal.
    """
    expected = exact(name, arguments, params)
    errors = truth.ulps(got, expected, floor)
    allowed = np.full(len(got), float(bound))
    if got.dtype == np.float64:
        units = truth.units(expected, got.dtype, floor)
        allowed[np.abs(np.array(expected, float)) < 1e-300] += 1e-3 / np.finfo(np.float64).eps
        if smooth:
            moved = exact(name, np.nextafter(arguments, 0.0), params)
            allowed += [float(abs(a - b) / mpf(u))
                        for a, b, u in zip(moved, expected, units, strict=True)]
        allowed[np.isinf(np.array(expected, float))] = 0.0
    worst = np.argmax(errors - allowed)
    assert errors[worst] <= allowed[worst], (
        f"{name} at {arguments[worst]!r}: {got[worst]!r} is {errors[worst]:.3g} ulp off, "
        f"allowed are {allowed[worst]:.3g}"
    )


# -- elementwise activations ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("row", "params"), CASES, ids=IDS)
def test_activation(oracle, row, params, dtype):
    x = np.concatenate([points(row, dtype, params), extremes(dtype)])
    y = np.full_like(x, np.nan)
    oracle.activations.activation(row.name, x, params, y)
    bound = ROUNDED_ONCE if dtype == "float32" else max(row.ulp[1], 1.0)
    assert_ulps(y, truth.value, row.name, x, params, bound, row.floor, smooth=not row.kinks)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("row", "params"), CASES, ids=IDS)
def test_derivative(oracle, row, params, dtype):
    x = np.concatenate([points(row, dtype, params), extremes(dtype)])
    saved = x
    if row.reads == "y":
        saved = np.empty_like(x)
        oracle.activations.activation(row.name, x, params, saved)
        saved = saved[np.isfinite(saved)]
    dx = np.full_like(saved, np.nan)
    oracle.activations.activation_grad(row.name, np.ones_like(saved), saved, params, dx)
    bound = ROUNDED_ONCE if dtype == "float32" else 4.0
    assert_ulps(dx, truth.derivative, row.name, saved, params, bound, smooth=not row.kinks)


@pytest.mark.parametrize(("row", "params"), CASES, ids=IDS)
def test_derivative_is_that_of_the_function(oracle, row, params):
    h = 1e-3
    x = points(row, "float64", params, count=200, seed=3)
    distance = np.abs(x[:, None] - np.array(breaks(row, params))).min(axis=1)
    x = x[distance > 4.0 * h]
    assert len(x) > 100

    def function(at):
        y = np.empty_like(at)
        oracle.activations.activation(row.name, at, params, y)
        return y

    dy = np.random.default_rng(4).uniform(0.5, 2.0, x.shape)
    dx = np.full_like(x, np.nan)
    oracle.activations.activation_grad(row.name, dy, function(x) if row.reads == "y" else x,
                                       params, dx)
    expected = dy * fourth_order(function, x, h)
    scale = 1.0 + np.abs(function(x))
    np.testing.assert_array_less(np.abs(dx - expected), 1e-10 * scale)
    if row.name not in STEPS:
        assert np.count_nonzero(dx) > 10


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("row", "params"), CASES, ids=IDS)
def test_infinities_give_the_limits(oracle, row, params, dtype):
    if np.inf in params:
        pytest.skip("at infinity such a parameter has two limits")
    x = np.array([-np.inf, np.inf], dtype)
    y, dx = np.full_like(x, np.nan), np.full_like(x, np.nan)
    oracle.activations.activation(row.name, x, params, y)
    expected = [truth.limit(truth.VALUES[row.name], v, params) for v in x]
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-20)
    saved = x if row.reads == "x" else y
    oracle.activations.activation_grad(row.name, np.ones_like(x), saved, params, dx)
    exact = [truth.DERIVATIVES[row.name](mpf(float(s)), *params) if np.isfinite(s)
             else truth.limit(truth.DERIVATIVES[row.name], s, params) for s in saved]
    np.testing.assert_allclose(dx, np.array(exact, float), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ELEMENTWISE, ids=lambda row: row.name)
def test_nan_passes_on(oracle, row, dtype):
    x = np.array([1.0, np.nan, -1.0], dtype)
    y = np.zeros_like(x)
    oracle.activations.activation(row.name, x, kernel_params(row), y)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))


@pytest.mark.parametrize("row", ELEMENTWISE, ids=lambda row: row.name)
def test_gradient_is_a_product_as_in_arithmetic(oracle, row):
    """inf times a derivative of 0 is NaN: what went wrong above is not hidden."""
    params = kernel_params(row)
    x = np.array([-2.5, -0.25, 0.25, 2.5])
    saved = np.empty_like(x)
    oracle.activations.activation(row.name, x, params, saved)
    saved = x if row.reads == "x" else saved
    slope, dx = np.empty_like(x), np.empty_like(x)
    oracle.activations.activation_grad(row.name, np.ones_like(x), saved, params, slope)
    for dy in (np.inf, -np.inf, np.nan, 3.0):
        oracle.activations.activation_grad(row.name, np.full_like(x, dy), saved, params, dx)
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(dx, dy * slope)


def test_every_elementwise_row_has_a_pair_and_every_pair_a_row():
    pairs = {name for name in vars(elementwise)
             if hasattr(elementwise, f"{name}_grad") and not name.startswith("_")}
    assert pairs == set(spec.ELEMENTWISE)


def test_normal_distribution():
    x = np.concatenate([np.linspace(-38.0, 9.0, 300), [-0.6629126, 0.6629126, 5.656854, 0.0]])
    got = special.normal_cdf(x)
    assert truth.ulps(got, [mp.ncdf(mpf(v)) for v in x]).max() < 5.0
    got = special.normal_pdf(x)
    assert truth.ulps(got, [mp.npdf(mpf(v)) for v in x]).max() < 4.0


# -- activations of rows, halves and pieces ------------------------------------------------------


def exact_softmax(row):
    e = [mp.exp(v) for v in row]
    return [v / mp.fsum(e) for v in e]


def exact_log_softmax(row):
    return [v - mp.log(mp.fsum(mp.exp(w) for w in row)) for v in row]


def exact_sparsemax(row):
    # the threshold tau of the projection onto the simplex, found by trying every size of support
    descending = sorted(row, reverse=True)
    for k in range(len(row), 0, -1):
        tau = (mp.fsum(descending[:k]) - 1) / k
        if descending[k - 1] > tau:
            return [max(v - tau, mpf(0)) for v in row]
    raise AssertionError("no support")


def exact_glu(row):
    half = len(row) // 2
    return [a / (1 + mp.exp(-b)) for a, b in zip(row[:half], row[half:], strict=True)]


def exact_maxout(row, pieces):
    return [max(row[i : i + pieces]) for i in range(0, len(row), pieces)]


EXACT_ROWS = {
    "softmax": exact_softmax,
    "log_softmax": exact_log_softmax,
    "sparsemax": exact_sparsemax,
    "glu": exact_glu,
    "maxout": exact_maxout,
}
ROW_CASES = [
    (row, params)
    for row in spec.ACTIVATIONS.values() if row.kind in ("row", "halves", "pieces")
    for params in ([(2.0,), (3.0,), (1.0,)] if row.kind == "pieces" else [()])
]
ROW_IDS = [f"{row.name}{list(params) or ''}" for row, params in ROW_CASES]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [6, 12, 36])
@pytest.mark.parametrize(("row", "params"), ROW_CASES, ids=ROW_IDS)
def test_row_activation(oracle, row, params, columns, dtype):
    rng = np.random.default_rng(columns)
    x = (rng.standard_normal((9, columns)) * np.geomspace(0.01, 300.0, 9)[:, None]).astype(dtype)
    x[3, : columns // 2] = x[3, 0]  # ties
    expected = [EXACT_ROWS[row.name]([mpf(float(v)) for v in r], *map(int, params)) for r in x]
    y = np.full((9, len(expected[0])), np.nan, dtype)
    oracle.activations.activation(row.name, x, params, y)
    flat = [value for r in expected for value in r]
    bound = ROUNDED_ONCE if dtype == "float32" else row.ulp[1]
    # softmax and its like subtract two logits: an error of one ulp of the larger one is inherent
    inherent = np.repeat(np.spacing(np.abs(x).max(axis=1).astype(np.float64)), y.shape[1])
    errors = truth.ulps(y.ravel(), flat, row.floor)
    units = np.maximum(np.spacing(np.maximum(np.abs(np.array(flat, float)), row.floor)), 1e-300)
    slack = inherent * np.maximum(np.abs(np.array(flat, float)), row.floor) / units
    assert (errors <= bound + (slack if dtype == "float64" else 0.0)).all(), errors.max()


@pytest.mark.parametrize(("row", "params"), ROW_CASES, ids=ROW_IDS)
def test_row_gradient(oracle, row, params):
    rng = np.random.default_rng(11)
    x = rng.standard_normal((4, 6))
    y = np.empty((4, len(EXACT_ROWS[row.name](list(map(mpf, x[0])), *map(int, params)))))
    dy = rng.standard_normal(y.shape)

    def weighted(at):
        out = np.empty_like(y)
        oracle.activations.activation(row.name, at, params, out)
        return (out * dy).sum()

    dx = np.full_like(x, np.nan)
    oracle.activations.activation(row.name, x, params, y)
    oracle.activations.activation_grad(row.name, dy, x if row.reads == "x" else y, params, dx)
    np.testing.assert_allclose(dx, directional(weighted, x, 1e-4), atol=1e-9)
    assert np.count_nonzero(dx) >= 4


def test_maxout_gradient_goes_to_the_first_largest(oracle):
    x, dx = np.array([[1.0, 2.0, 2.0, 5.0, 5.0, 5.0]]), np.full((1, 6), np.nan)
    oracle.activations.activation_grad("maxout", np.array([[3.0, 4.0]]), x, (3,), dx)
    np.testing.assert_array_equal(dx, [[0.0, 3.0, 0.0, 4.0, 0.0, 0.0]])


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "sparsemax"])
def test_rows_with_special_values(oracle, name):
    x = np.array([[np.nan, 1.0, 2.0], [1.0, -np.inf, 1.0], [-np.inf, 7.0, -np.inf],
                  [1e308, -1e308, 0.0]])
    y = np.empty_like(x)
    oracle.activations.activation(name, x, (), y)
    probabilities = [[np.nan] * 3, [0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    with np.errstate(divide="ignore"):
        expected = np.log(probabilities) if name == "log_softmax" else np.array(probabilities)
    finite = np.isfinite(expected[:3])
    np.testing.assert_allclose(y[:3][finite], expected[:3][finite], rtol=1e-15, atol=1e-15)
    np.testing.assert_array_equal(y[:3][~finite], expected[:3][~finite])
    assert (y[3, 0], np.exp(y[3, 1]) if name == "log_softmax" else y[3, 1]) == (expected[3, 0], 0.0)


def test_prelu(oracle):
    rng = np.random.default_rng(2)
    x, alpha, dy = rng.standard_normal((5, 3)), np.array([0.25, -0.5, 0.0]), np.ones((5, 3))
    x[0] = 0.0
    dy *= rng.uniform(0.5, 2.0, dy.shape)
    y, dx, dalpha = np.full_like(x, np.nan), np.full_like(x, np.nan), np.full(3, np.nan)
    oracle.activations.prelu(x, alpha, y)
    np.testing.assert_array_equal(y, [[v if v >= 0 else a * v for v, a in zip(r, alpha,
                                       strict=True)] for r in x])
    oracle.activations.prelu_grad(dy, x, alpha, dx, dalpha)
    np.testing.assert_array_equal(dx, [[g * (1.0 if v > 0 else a) for v, a, g in zip(r, alpha, q,
                                        strict=True)] for r, q in zip(x, dy, strict=True)])
    expected = [math.fsum(dy[i, j] * min(x[i, j], 0.0) for i in range(5)) for j in range(3)]
    np.testing.assert_allclose(dalpha, expected, rtol=1e-15)


# -- dense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["linear", "tanh", "relu"])
def test_dense(oracle, activation, bias):
    rng = np.random.default_rng(5)
    x, kernel, b = rng.standard_normal((4, 3)), rng.standard_normal((3, 5)), rng.standard_normal(5)
    z, out = np.full((4, 5), np.nan), np.full((4, 5), np.nan)
    oracle.dense.dense(x, kernel, b if bias else None, activation, (), out, z)
    expected = [[math.fsum([*(x[i, k] * kernel[k, j] for k in range(3)), b[j] if bias else 0.0])
                 for j in range(5)] for i in range(4)]
    np.testing.assert_allclose(z, expected, rtol=1e-14, atol=1e-15)
    function = {"linear": np.positive, "tanh": np.tanh, "relu": lambda v: np.maximum(v, 0.0)}
    np.testing.assert_array_equal(out, function[activation](z))
    alone = np.full((4, 5), np.nan)
    oracle.dense.dense(x, kernel, b if bias else None, activation, (), alone, None)
    np.testing.assert_array_equal(alone, out)


def test_dense_gradients(oracle):
    rng = np.random.default_rng(6)
    x, kernel, b = rng.standard_normal((4, 3)), rng.standard_normal((3, 5)), rng.standard_normal(5)
    dz = rng.standard_normal((4, 5))

    def weighted(x, kernel, b):
        z = np.empty((4, 5))
        oracle.dense.dense(x, kernel, b, "linear", (), z, None)
        return (z * dz).sum()

    dx, dkernel, db = np.full_like(x, np.nan), np.full_like(kernel, np.nan), np.full_like(b, np.nan)
    oracle.dense.dense_grad(dz, x, kernel, dx, dkernel, db)
    np.testing.assert_allclose(dx, directional(lambda v: weighted(v, kernel, b), x), atol=1e-10)
    np.testing.assert_allclose(dkernel, directional(lambda v: weighted(x, v, b), kernel),
                               atol=1e-10)
    np.testing.assert_allclose(db, directional(lambda v: weighted(x, kernel, v), b), atol=1e-10)


# -- losses --------------------------------------------------------------------------------------


def exact_targets(labels, columns, smoothing):
    rows = labels if labels.ndim == 2 else np.eye(columns)[labels]
    return [[mpf(float(t)) * (1 - mpf(smoothing)) + mpf(smoothing) / columns for t in row]
            for row in rows]


def exact_softmax_cross_entropy(logits, targets):
    # -sum t log softmax(z)
    log_sum = mp.log(mp.fsum(mp.exp(z) for z in logits))
    return mp.fsum(t * (log_sum - z) for z, t in zip(logits, targets, strict=True))


LABELS = ("classes", "probabilities", "multi-hot")


def row_loss_data(kind, n=7, c=5):
    rng = np.random.default_rng(8)
    low, high = spec.LOSSES["softmax_cross_entropy"].domain
    predictions = rng.uniform(low, high, (n, c))
    if kind == "classes":
        labels = rng.integers(0, c, n)
    elif kind == "probabilities":
        labels = rng.dirichlet(np.ones(c), n)
        labels[0] = np.eye(c)[2]
    else:  # targets whose sum is not 1
        labels = (rng.random((n, c)) < 0.5).astype(float)
    return predictions, labels


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ignore", [None, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.125])
@pytest.mark.parametrize("kind", LABELS)
def test_softmax_cross_entropy(oracle, kind, smoothing, weighted, ignore, dtype):
    predictions, labels = row_loss_data(kind)
    predictions = predictions.astype(dtype)
    labels = labels.astype(np.int64 if kind == "classes" else dtype)
    n, c = predictions.shape
    if kind == "classes":
        labels[1] = 3
    weight = np.linspace(0.0, 3.0, n).astype(dtype) if weighted else None
    scale = 0.375
    losses, gradient = np.full(n, np.nan, dtype), np.full((n, c), np.nan, dtype)
    oracle.losses.softmax_cross_entropy(predictions, labels, weight, smoothing, ignore, scale,
                                        losses, gradient, None)

    exact = exact_softmax_cross_entropy
    targets = exact_targets(labels, c, smoothing)
    ignored = labels == ignore if kind == "classes" and ignore is not None else np.zeros(n, bool)
    factors = [mpf(0) if skip else mpf(float(w)) for skip, w in
               zip(ignored, np.ones(n) if weight is None else weight, strict=True)]
    expected = [w * exact([mpf(float(v)) for v in row], t)
                for row, t, w in zip(predictions, targets, factors, strict=True)]
    rtol = 1e-7 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(losses, np.array(expected, float), rtol=rtol)

    for i in range(n):  # the gradient of the exact loss, by an exact difference quotient
        at = [mpf(float(v)) for v in predictions[i]]
        for j in range(c):
            def along(v, i=i, j=j, at=at):
                return exact([*at[:j], v, *at[j + 1 :]], targets[i])
            slope = scale * factors[i] * mp.diff(along, at[j], h=mpf("1e-20"))
            assert abs(gradient[i, j] - float(slope)) <= rtol * (1.0 + abs(float(slope)))
    assert (losses[ignored] == 0.0).all()
    assert (gradient[ignored] == 0.0).all()


def test_losses_at_the_edges(oracle):
    losses, gradient = np.empty(3), np.empty((3, 1))
    # clipped predictions have a finite loss and no gradient
    oracle.losses.elementwise_loss("binary_crossentropy", np.array([[0.0], [1.0], [1.5]]),
                                   np.array([[1.0], [0.0], [1.0]]), (1e-7,), None, 0.0, 1.0,
                                   losses, gradient)
    np.testing.assert_allclose(losses, [-math.log(1e-7)] * 2 + [-math.log1p(-1e-7)], rtol=1e-9)
    np.testing.assert_array_equal(gradient, np.zeros((3, 1)))
    # so has a clipped probability, whichever way it is clipped
    losses, gradient = np.empty(2), np.empty((2, 3))
    oracle.losses.row_loss("categorical_crossentropy", np.array([[3.0, 0.0, 0.0], [3.0, 0.0, 0.0]]),
                           np.array([0, 1]), None, 0.0, None, (1e-7,), 1.0, losses, gradient)
    np.testing.assert_allclose(losses, [-math.log1p(-1e-7), -math.log(1e-7)], rtol=1e-9)
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))
    losses, gradient = np.empty(3), np.empty((3, 1))
    # at a tie the absolute error has slope 0
    oracle.losses.elementwise_loss("mean_absolute_error", np.ones((3, 1)), np.ones((3, 1)), (),
                                   None, 0.0, 1.0, losses, gradient)
    np.testing.assert_array_equal(gradient, np.zeros((3, 1)))
    # a logit far out costs no more than itself
    oracle.losses.elementwise_loss("sigmoid_cross_entropy", np.array([[1e4], [-1e4], [1e4]]),
                                   np.array([[1.0], [1.0], [0.5]]), (), None, 0.0, 1.0, losses,
                                   gradient)
    np.testing.assert_array_equal(losses, [0.0, 1e4, 5e3])
    np.testing.assert_array_equal(gradient[:, 0], [0.0, -1.0, 0.5])


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_cross_entropy_of_huge_logits(oracle, dtype):
    z = np.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [-np.inf, 3.0, 3.0], [np.nan, 0.0, 0.0],
                  [0.0, -np.inf, -np.inf], [np.inf, 0.0, 0.0]], dtype)
    labels = np.array([0, 1, 2, 1, 1, 0])
    losses, d, hits = np.empty(6, dtype), np.empty((6, 3), dtype), np.empty(6, dtype)
    oracle.losses.softmax_cross_entropy(z, labels, None, 0.0, None, 1.0, losses, d, hits)
    np.testing.assert_allclose(losses, [0.0, 2e4, math.log(2.0), np.nan, np.inf, np.nan],
                               rtol=1e-7)
    np.testing.assert_array_equal(d[:3], [[0, 0, 0], [1, -1, 0], [0, 0.5, -0.5]])
    assert np.isnan(d[3]).all()
    np.testing.assert_array_equal(d[4], [1, -1, 0])
    np.testing.assert_array_equal(hits[[0, 1, 2, 4, 5]], [1, 0, 0, 0, 1])
    # the same labels as probabilities: a target of 0 takes no part
    again = np.empty_like(losses)
    oracle.losses.softmax_cross_entropy(z, np.eye(3, dtype=dtype)[labels], None, 0.0, None, 1.0,
                                        again, None, None)
    np.testing.assert_array_equal(again, losses)


def test_ignored_rows_stay_zero_whatever_they_hold(oracle):
    z, weight = np.array([[np.nan, 1.0], [np.inf, 0.0], [2.0, 1.0]]), np.array([1.0, np.nan, 1.0])
    losses, d, hits = np.empty(3), np.empty((3, 2)), np.empty(3)
    labels = np.array([-1, -1, 0])
    oracle.losses.softmax_cross_entropy(z, labels, weight, 0.1, -1, 1.0, losses, d, hits)
    np.testing.assert_array_equal(losses[:2], [0.0, 0.0])
    np.testing.assert_array_equal(d[:2], np.zeros((2, 2)))
    np.testing.assert_array_equal(hits, [0.0, 0.0, 1.0])
    assert losses[2] > 0.0
    # an ignored class that is also the largest logit is no hit
    oracle.losses.softmax_cross_entropy(z, np.zeros(3, np.int64), None, 0.0, 0, 1.0, losses, d,
                                        hits)
    np.testing.assert_array_equal([*hits, *losses], np.zeros(6))


# -- optimizers ----------------------------------------------------------------------------------


def scalar_sgd(w, g, state, t, rate, weight_decay):
    return w - rate * weight_decay * w - rate * g


def scalar_momentum(w, g, state, t, rate, momentum, nesterov, weight_decay):
    w = w - rate * weight_decay * w
    state["v"] = momentum * state.get("v", 0.0) - rate * g
    return w + (momentum * state["v"] - rate * g if nesterov else state["v"])


def scalar_adam(w, g, state, t, rate, beta_1, beta_2, epsilon, weight_decay):
    # algorithm 1 of Kingma and Ba with epsilon hat = epsilon
    w = w - rate * weight_decay * w
    state["m"] = beta_1 * state.get("m", 0.0) + (1.0 - beta_1) * g
    state["v"] = beta_2 * state.get("v", 0.0) + (1.0 - beta_2) * g * g
    corrected = state["m"] / (1.0 - beta_1**t)
    root = math.sqrt(state["v"] / (1.0 - beta_2**t))
    return w - rate * corrected / (root + epsilon / math.sqrt(1.0 - beta_2**t))


SCALAR = {"sgd": scalar_sgd, "momentum": scalar_momentum, "adam": scalar_adam}
OPTIMIZER_CASES = [
    ("sgd", (0.0,)), ("sgd", (0.25,)),
    ("momentum", (0.9, 0.0, 0.0)), ("momentum", (0.9, 1.0, 0.125)), ("momentum", (0.0, 1.0, 0.0)),
    ("adam", (0.9, 0.999, 1e-7, 0.0)), ("adam", (0.5, 0.75, 0.125, 0.25)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "params"), OPTIMIZER_CASES)
def test_optimizer(oracle, name, params, dtype):
    rng = np.random.default_rng(10)
    param = rng.standard_normal(9).astype(dtype)
    slots = [np.zeros(9, dtype) for _ in spec.OPTIMIZERS[name].slots]
    expected, states = [float(w) for w in param], [{} for _ in param]
    for t in range(1, 7):
        grad = (rng.standard_normal(9) * np.geomspace(1e-3, 1e2, 9)).astype(dtype)
        grad[t] = 0.0
        before, rate = grad.copy(), 0.0625 / t
        counted = (t,) if spec.OPTIMIZERS[name].counts else ()
        getattr(oracle.optimizers, f"{name}_update")(param, grad, *slots, *counted, rate, *params)
        np.testing.assert_array_equal(grad, before)
        expected = [SCALAR[name](w, float(g), s, t, rate, *params)
                    for w, g, s in zip(expected, grad, states, strict=True)]
    rtol = 2e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(param, expected, rtol=rtol, atol=rtol)


# -- random numbers ------------------------------------------------------------------------------

# The known answers of Random123 (kat_vectors, "philox4x32 10"): counter, key, block.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


def scalar_philox(counter, key):
    counter, key = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [b >> 32 ^ counter[1] ^ key[0], b & 0xFFFFFFFF,
                   a >> 32 ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
        key = [key[0] + 0x9E3779B9 & 0xFFFFFFFF, key[1] + 0xBB67AE85 & 0xFFFFFFFF]
    return tuple(counter)


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN)
def test_philox_known_answers(counter, key, block):
    assert scalar_philox(counter, key) == block
    words = random.philox4x32([np.array([c], np.uint64) for c in counter], key)
    assert tuple(int(word[0]) for word in words) == block


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 4, 7, 130])
def test_dropout_mask(oracle, columns, dtype):
    rate, seed, stream, step = 0.3, 0x0123456789ABCDEF, 5, 77
    mask = np.full((6, columns), np.nan, dtype)
    oracle.random.dropout_mask(rate, seed, stream, step, mask)
    kept = np.dtype(dtype).type(1.0 / (1.0 - rate))
    for row, column in np.ndindex(*mask.shape):
        block = scalar_philox((column // 4, row, step, stream), (seed & 0xFFFFFFFF, seed >> 32))
        dropped = block[column % 4] < math.floor(rate * 2**32)
        assert mask[row, column] == (0.0 if dropped else kept)


def test_dropout_mask_is_a_function_of_all_its_arguments(oracle):
    def mask(rate=0.5, seed=1, stream=2, step=3):
        out = np.empty((64, 64))
        oracle.random.dropout_mask(rate, seed, stream, step, out)
        return out

    first = mask()
    np.testing.assert_array_equal(mask(), first)
    for change in ({"seed": 2}, {"seed": 1 + 2**32}, {"stream": 3}, {"step": 4}):
        share = (mask(**change) != first).mean()
        assert 0.4 < share < 0.6
    assert abs((mask(rate=0.125) == 0.0).mean() - 0.125) < 0.02
    np.testing.assert_array_equal(mask(rate=0.0), np.ones((64, 64)))
