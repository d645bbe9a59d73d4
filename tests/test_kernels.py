"""Every other backend against the oracle: each row, dtype and shape, and inputs picked for danger.

Outputs are poisoned before each call and lie between guards, off any cache line, so that elements
that were not written, or were written outside, show.  Inputs are read-only where they may be.
"""

from __future__ import annotations

import numpy as np
import pytest
from points import (
    DTYPES,
    ELEMENTWISE,
    elementwise_cases,
    extremes,
    kernel_params,
    points,
)

from fusedmlp import spec

CASES = list(elementwise_cases())
IDS = [f"{row.name}{list(params) or ''}" for row, params in CASES]
ROWS = [
    (row, params)
    for row in spec.ACTIVATIONS.values() if row.kind in ("row", "halves", "pieces")
    for params in ([(1.0,), (2.0,), (3.0,)] if row.kind == "pieces" else [()])
]
ROW_IDS = [f"{row.name}{list(params) or ''}" for row, params in ROWS]
SHAPES = [(0,), (1,), (63,), (64,), (65,), (200,), (0, 3), (3, 0), (1, 1), (5, 13)]

POISON = -7.25e5  # no kernel gives this number for these inputs
GUARD = 67  # elements before and behind; odd, so that outputs start off a cache line


# -- guarded arrays and comparisons --------------------------------------------------------------


def poisoned(shape, dtype):
    """An output filled with poison, between guards of poison."""
    size = int(np.prod(shape))
    return np.full(size + 2 * GUARD, POISON, dtype)[GUARD : GUARD + size].reshape(shape)


def placed(values, dtype=None):
    """A copy between guards, writable: for arrays that are updated in place."""
    values = np.asarray(values, dtype)
    out = poisoned(values.shape, values.dtype)
    out[...] = values
    return out


def frozen(values, dtype=None):
    """A read-only copy that starts off a cache line."""
    values = np.asarray(values, dtype)
    copy = np.empty(values.size + 3, values.dtype)[3:].reshape(values.shape)
    copy[...] = values
    copy.flags.writeable = False
    return copy


def assert_written(*outputs):
    for out in outputs:
        if out is None:
            continue
        assert not (out == POISON).any(), "an element was not written"
        whole = out
        while whole.base is not None:
            whole = whole.base
        outside = np.concatenate([whole[:GUARD], whole[GUARD + out.size :]])
        assert len(outside) == 2 * GUARD
        assert (outside == POISON).all(), "something was written outside of the output"


def assert_within(got, expected, allowed):
    """Equal NaN and infinities, and elsewhere no further apart than `allowed`."""
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    infinite = np.isinf(expected) | np.isinf(got)
    np.testing.assert_array_equal(got[infinite], expected[infinite])
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got.astype(np.float64) - expected.astype(np.float64))
        excess = np.where(np.isfinite(expected), error - allowed, 0.0)
    if excess.size:
        worst = np.unravel_index(np.argmax(excess), excess.shape)
        assert excess[worst] <= 0.0, (
            f"at {worst}: {got[worst]!r}, the oracle has {expected[worst]!r}, off by "
            f"{error[worst]:.3g}, allowed are {np.broadcast_to(allowed, error.shape)[worst]:.3g}"
        )


def units(values, floor=0.0):
    """The unit in the last place of each value, or of `floor` where that is more."""
    info = np.finfo(values.dtype)
    sizes = np.clip(np.abs(values), max(floor, float(info.smallest_subnormal)),
                    np.nextafter(info.max, values.dtype.type(0.0)))
    return np.spacing(np.nan_to_num(sizes).astype(values.dtype)).astype(np.float64)


def activate(kernels, name, x, params, shape=None):
    y = poisoned(x.shape if shape is None else shape, x.dtype)
    kernels.activations.activation(name, x, params, y)
    return y


def differentiate(kernels, name, dy, saved, params):
    dx = poisoned(saved.shape, saved.dtype)
    kernels.activations.activation_grad(name, dy, saved, params, dx)
    return dx


# -- elementwise activations ---------------------------------------------------------------------


LIBRARY_UNITS = {"cuda": 2.0}
"""Units more for backends that compute with a library's functions, not with our own."""


def value_bound(oracle, row, x, params, other):
    """What the table states, what the oracle itself may be off by, and 2 eps of the argument."""
    expected = activate(oracle, row.name, x, params)
    ulp = row.ulp[x.dtype == np.float64] + (0.51 if x.dtype == np.float32 else 4.0)
    allowed = ulp * units(expected, row.floor)
    if other.name in LIBRARY_UNITS and row.ulp != (0, 0):
        allowed += LIBRARY_UNITS[other.name] * units(expected, row.floor)
        tiny = float(np.finfo(x.dtype).tiny)  # one of the factors of such a result is subnormal
        allowed[np.abs(expected) < 64.0 * tiny] += 1e-3 * tiny
    if x.dtype == np.float64 and not row.kinks:
        for end in (0.0, np.inf):
            moved = activate(oracle, row.name, np.nextafter(x, np.copysign(end, x)), params)
            with np.errstate(invalid="ignore"):
                allowed += np.nan_to_num(np.abs(moved - expected), posinf=0.0)
        allowed[np.abs(expected) < np.finfo(x.dtype).tiny] += 1e-3 * np.finfo(x.dtype).tiny
    return expected, allowed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("row", "params"), CASES, ids=IDS)
def test_activation(oracle, other, row, params, dtype):
    x = frozen(points(row, dtype, params, count=2000, seed=1))
    y = activate(other, row.name, x, params)
    assert_written(y)
    assert_within(y, *value_bound(oracle, row, x, params, other))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("row", "params"), CASES, ids=IDS)
def test_activation_far_out(oracle, other, row, params, dtype):
    """Huge, tiny, subnormal, infinite and NaN: to a handful of units, subnormals to 0.1 %."""
    x = np.concatenate([extremes(dtype), np.array([np.inf, -np.inf, np.nan, 1.0], dtype)])
    x = frozen(x)
    y = activate(other, row.name, x, params)
    expected = activate(oracle, row.name, x, params)
    assert_written(y)
    allowed = 16.0 * units(expected, row.floor) + 1e-3 * float(np.finfo(dtype).tiny)
    if row.ulp == (0, 0):
        allowed = 0.0 * allowed
    assert_within(y, expected, allowed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ELEMENTWISE, ids=lambda row: row.name)
def test_activation_shapes(oracle, other, row, dtype):
    params = kernel_params(row)
    for shape in SHAPES:
        size = int(np.prod(shape))
        x = frozen(points(row, dtype, params, count=max(size, 12), seed=size)[:size].reshape(shape))
        y = activate(other, row.name, x, params)
        assert_written(y)
        assert_within(y, *value_bound(oracle, row, x, params, other))
        saved = x if row.reads == "x" else frozen(y)
        dy = frozen(np.full(shape, 1.5), dtype)
        dx = differentiate(other, row.name, dy, saved, params)
        assert_written(dx)
        assert_within(dx, *slope_bound(oracle, row, dy, saved, params))


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "softplus"])
def test_every_length(oracle, other, name, dtype):
    row = spec.ACTIVATIONS[name]
    x = points(row, dtype, count=200, seed=2)
    for length in range(1, 140):
        part = frozen(x[:length])
        y = activate(other, name, part, ())
        assert_written(y)
        assert_within(y, *value_bound(oracle, row, part, (), other))


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ELEMENTWISE, ids=lambda row: row.name)
def test_an_element_has_the_same_bits_wherever_it_stands(other, row, dtype):
    params = kernel_params(row)
    x = np.concatenate([points(row, dtype, params, count=150), extremes(dtype)])
    whole = activate(other, row.name, x, params)
    saved = x if row.reads == "x" else whole
    dy = np.linspace(-2.0, 2.0, x.size).astype(dtype)
    slopes = differentiate(other, row.name, dy, saved, params)
    for start, stop in ((0, 1), (1, 2), (5, 70), (64, 128), (63, x.size), (x.size - 1, x.size)):
        part = slice(start, stop)
        np.testing.assert_array_equal(activate(other, row.name, x[part], params), whole[part])
        np.testing.assert_array_equal(
            differentiate(other, row.name, dy[part], saved[part], params), slopes[part])


def slope_bound(oracle, row, dy, saved, params):
    """A handful of units; more where the derivative passes through 0 on its way."""
    expected = differentiate(oracle, row.name, dy, saved, params)
    eps = float(np.finfo(saved.dtype).eps)
    size = np.abs(dy.astype(np.float64))
    allowed = 8.0 * units(expected) + 2.0 * eps * size
    return expected, np.nan_to_num(allowed, posinf=0.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("row", "params"), CASES, ids=IDS)
def test_derivative(oracle, other, row, params, dtype):
    x = points(row, dtype, params, count=2000, seed=5)
    saved = frozen(x if row.reads == "x" else activate(oracle, row.name, x, params))
    rng = np.random.default_rng(6)
    dy = frozen(rng.choice([-1.0, 1.0], x.size) * rng.uniform(0.5, 4.0, x.size), dtype)
    dx = differentiate(other, row.name, dy, saved, params)
    assert_written(dx)
    assert_within(dx, *slope_bound(oracle, row, dy, saved, params))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("row", "params"), CASES, ids=IDS)
def test_derivative_keeps_its_digits_in_the_tails(oracle, other, row, params, dtype):
    """Small derivatives are right in relative terms, not only beside 1."""
    if row.reads == "y":
        pytest.skip("an output that is rounded holds no more")
    x = frozen(np.concatenate([np.linspace(-20.0, -3.5, 60), np.linspace(3.5, 20.0, 60)]), dtype)
    dx = differentiate(other, row.name, np.ones_like(x), x, params)
    expected = differentiate(oracle, row.name, np.ones_like(x), x, params)
    relative = 1e-4 if dtype == "float32" else 1e-11
    tiny = float(np.finfo(dtype).tiny)
    assert_within(dx, expected, relative * np.abs(expected.astype(np.float64)) + 1e-3 * tiny)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("row", "params"), CASES, ids=IDS)
def test_derivative_far_out(oracle, other, row, params, dtype):
    """Infinite, NaN and huge arguments and gradients; inf times 0 is NaN on every backend."""
    x = np.concatenate([extremes(dtype), np.array([np.inf, -np.inf, np.nan, 0.25], dtype)])
    saved = x if row.reads == "x" else activate(oracle, row.name, x, params)
    saved = frozen(np.repeat(saved, 5))
    dy = frozen(np.tile([1.0, -2.0, np.inf, np.nan, 0.0], x.size), dtype)
    dx = differentiate(other, row.name, dy, saved, params)
    expected = differentiate(oracle, row.name, dy, saved, params)
    assert_written(dx)
    size = np.nan_to_num(np.abs(dy.astype(np.float64)), posinf=0.0)
    allowed = 16.0 * units(expected) + 2.0 * float(np.finfo(dtype).eps) * size
    # where one backend has 0 and another the rounding error of 0, inf times it is NaN or not
    slopes = [np.abs(differentiate(kernels, row.name, np.ones_like(saved), saved, params))
              for kernels in (oracle, other)]
    vanishing = (slopes[0] != slopes[1]) & (np.maximum(*slopes) < np.finfo(dtype).eps)
    vanishing &= ~np.isfinite(dy)
    assert vanishing.mean() < 0.2
    dx[vanishing] = expected[vanishing]
    assert_within(dx, expected, allowed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ELEMENTWISE, ids=lambda row: row.name)
def test_gradient_in_place(backend, row, dtype):
    params = kernel_params(row)
    x = points(row, dtype, params, count=90)
    saved = x if row.reads == "x" else activate(backend, row.name, x, params)
    dy = np.linspace(-3.0, 3.0, x.size).astype(dtype)
    dx = differentiate(backend, row.name, dy, saved, params)
    over = placed(dy)
    backend.activations.activation_grad(row.name, over, saved, params, over)
    assert_written(over)
    np.testing.assert_array_equal(over, dx)


# -- activations of rows, halves and pieces ------------------------------------------------------


def row_widths(row, params):
    """Widths of x, and how many columns of y one of x makes."""
    group = {"halves": 2, "pieces": int((params or (1,))[0])}.get(row.kind, 1)
    return [group * c for c in (1, 2, 3, 7, 10, 15, 16, 17, 31, 32, 33, 64, 70, 130)], group


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("row", "params"), ROWS, ids=ROW_IDS)
def test_row_activation(oracle, other, row, params, dtype):
    widths, group = row_widths(row, params)
    rng = np.random.default_rng(12)
    eps = float(np.finfo(dtype).eps)
    for width in widths:
        for n in (1, 4, 37):
            x = rng.standard_normal((n, width)) * rng.choice([0.1, 3.0, 100.0], (n, 1))
            x = frozen(x, dtype)
            y = activate(other, row.name, x, params, (n, width // group))
            expected = activate(oracle, row.name, x, params, (n, width // group))
            assert_written(y)
            # x - max(x) and sums of `width` numbers are rounded
            spread = np.ptp(x, axis=1, keepdims=True).astype(np.float64)
            allowed = (row.ulp[0] + 2.0) * units(expected, row.floor) \
                + 2.0 * eps * np.abs(expected) * spread + 4.0 * eps * eps
            if row.ulp == (0, 0):
                allowed = np.zeros_like(allowed)
            assert_within(y, expected, allowed)

            dy = frozen(rng.standard_normal(y.shape), dtype)
            saved = x if row.reads == "x" else frozen(expected)
            dx = differentiate(other, row.name, dy, saved, params)
            expected = differentiate(oracle, row.name, dy, saved, params)
            assert_written(dx)
            total = np.abs(dy).sum(axis=1, keepdims=True)
            a = np.abs(x).max() if row.kind == "halves" else 1.0
            assert_within(dx, expected, 8.0 * units(expected) + 4.0 * eps * a * (1.0 + total))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("row", "params"), ROWS, ids=ROW_IDS)
def test_row_activation_with_special_values(oracle, other, row, params, dtype):
    _, group = row_widths(row, params)
    width = 18
    base = np.random.default_rng(13).standard_normal((8, width))
    base[0, 4] = np.nan
    base[1, ::3] = -np.inf
    base[2, 5] = 1e4
    base[3] = 0.0
    base[4, 7] = -1e30
    base[5] = base[5, 0]
    base[6] *= 1e-42
    base[7, 3] = 1e30
    x = frozen(base, dtype)
    y = activate(other, row.name, x, params, (8, width // group))
    expected = activate(oracle, row.name, x, params, (8, width // group))
    assert_written(y)
    assert_within(y, expected, 16.0 * units(expected, row.floor) + 1e-3 * np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("row", "params"), ROWS, ids=ROW_IDS)
def test_row_activation_of_nothing(backend, row, params, dtype):
    _, group = row_widths(row, params)
    for shape in ((0, 6), (3, 0), (0, 0)):
        x, smaller = np.empty(shape, dtype), (shape[0], shape[1] // group)
        y = activate(backend, row.name, x, params, smaller)
        assert_written(y)
        saved = x if row.reads == "x" else y
        assert_written(differentiate(backend, row.name, np.empty(smaller, dtype), saved, params))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "sparsemax"])
def test_row_gradient_in_place(backend, name, dtype):
    x = np.random.default_rng(14).standard_normal((5, 37)).astype(dtype)
    y = activate(backend, name, x, ())
    dy = np.random.default_rng(15).standard_normal((5, 37)).astype(dtype)
    dx, over = differentiate(backend, name, dy, y, ()), placed(dy)
    backend.activations.activation_grad(name, over, y, (), over)
    assert_written(over)
    np.testing.assert_array_equal(over, dx)


@pytest.mark.parametrize("dtype", DTYPES)
def test_prelu(oracle, other, dtype):
    rng = np.random.default_rng(16)
    eps = float(np.finfo(dtype).eps)
    for n, m in ((0, 3), (3, 0), (1, 1), (5, 13), (40, 33), (70, 64)):
        x = rng.standard_normal((n, m))
        x[rng.random((n, m)) < 0.1] = 0.0
        x, alpha = frozen(x, dtype), frozen(rng.standard_normal(m), dtype)
        dy = frozen(rng.standard_normal((n, m)), dtype)
        got, expected = [], []
        for kernels, results in ((other, got), (oracle, expected)):
            y, dx, dalpha = (poisoned(shape, dtype) for shape in ((n, m), (n, m), (m,)))
            kernels.activations.prelu(x, alpha, y)
            kernels.activations.prelu_grad(dy, x, alpha, dx, dalpha)
            assert_written(y, dx, dalpha)
            results += [y, dx, dalpha]
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_array_equal(got[1], expected[1])
        assert_within(got[2], expected[2], 2.0 * n * eps * np.abs(dy * x).sum(axis=0))


# -- dense ---------------------------------------------------------------------------------------

DENSE_SHAPES = [(n, d, m) for n in (1, 3, 12, 13, 33) for d in (1, 7, 64) for m in (1, 10, 32, 67)]
DENSE_SHAPES += [(n, 9, 17) for n in range(1, 30)] + [(11, d, 17) for d in range(1, 40)]
DENSE_SHAPES += [(11, 9, m) for m in range(1, 71)]
DENSE_SHAPES += [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0), (70, 300, 130), (130, 70, 1)]


def dense_data(n, d, m, dtype):
    rng = np.random.default_rng([n, d, m])
    return [frozen(rng.standard_normal(shape), dtype)
            for shape in ((n, d), (d, m), (m,), (n, m))]


def product_bound(a, b, extra=0.0):
    """The classical bound of a sum of products, for two ways to add them up."""
    eps = float(np.finfo(a.dtype).eps)
    return (a.shape[1] + 2.0) * 2.0 * eps * (np.abs(a) @ np.abs(b) + extra) + 1e-300


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
def test_dense(oracle, other, dtype):
    for n, d, m in DENSE_SHAPES:
        x, kernel, bias, _ = dense_data(n, d, m, dtype)
        for b in (bias, None):
            out, z, expected = (poisoned((n, m), dtype) for _ in range(3))
            other.dense.dense(x, kernel, b, "linear", (), out, None)
            oracle.dense.dense(x, kernel, b, "linear", (), expected, None)
            assert_written(out)
            assert_within(out, expected,
                          product_bound(x, kernel, 0.0 if b is None else np.abs(b)))
            other.dense.dense(x, kernel, b, "tanh", (), out, z)
            assert_written(out, z)
            assert_within(z, expected, product_bound(x, kernel, 0.0 if b is None else np.abs(b)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ELEMENTWISE, ids=lambda row: row.name)
def test_dense_activation_is_that_of_its_preactivation(backend, row, dtype):
    params = kernel_params(row)
    for shape in ((1, 3, 5), (13, 6, 37)):
        x, kernel, bias, _ = dense_data(*shape, dtype)
        out, alone, z = (poisoned((shape[0], shape[2]), dtype) for _ in range(3))
        backend.dense.dense(x, kernel, bias, row.name, params, out, z)
        backend.dense.dense(x, kernel, bias, row.name, params, alone, None)
        assert_written(out, alone, z)
        np.testing.assert_array_equal(out, activate(backend, row.name, z, params))
        np.testing.assert_array_equal(alone, out)


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
def test_dense_gradients(oracle, other, dtype):
    for n, d, m in DENSE_SHAPES:
        x, kernel, _, dz = dense_data(n, d, m, dtype)
        got, expected = ([poisoned(shape, dtype) for shape in ((n, d), (d, m), (m,))]
                         for _ in range(2))
        other.dense.dense_grad(dz, x, kernel, *got)
        oracle.dense.dense_grad(dz, x, kernel, *expected)
        assert_written(*got)
        ones = np.ones((1, n), dtype)
        bounds = (product_bound(dz, kernel.T), product_bound(x.T, dz),
                  product_bound(ones, dz)[0])
        for a, b, bound in zip(got, expected, bounds, strict=True):
            assert_within(a, b, bound)


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_dense_gradient_alone(backend, dtype):
    x, kernel, _, dz = dense_data(9, 21, 35, dtype)
    shapes = ((9, 21), (21, 35), (35,))
    together = [poisoned(shape, dtype) for shape in shapes]
    backend.dense.dense_grad(dz, x, kernel, *together)
    for i, shape in enumerate(shapes):
        wanted = [None, None, None]
        wanted[i] = poisoned(shape, dtype)
        backend.dense.dense_grad(dz, x, kernel, *wanted)
        assert_written(wanted[i])
        np.testing.assert_array_equal(wanted[i], together[i])
    backend.dense.dense_grad(dz, x, kernel, None, None, None)


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bad_row_spoils_no_other(other, dtype):
    x, kernel, bias, _ = dense_data(29, 17, 41, dtype)
    clean, out = poisoned((29, 41), dtype), poisoned((29, 41), dtype)
    other.dense.dense(x, kernel, bias, "linear", (), clean, None)
    for value in (np.nan, np.inf, -np.inf):
        spoiled = x.copy()
        spoiled[13, 5] = value
        other.dense.dense(spoiled, kernel, bias, "linear", (), out, None)
        assert not np.isfinite(out[13]).any()
        keep = np.arange(29) != 13
        np.testing.assert_array_equal(out[keep], clean[keep])
        weights = kernel.copy()
        weights[5, 40] = value
        other.dense.dense(x, weights, bias, "linear", (), out, None)
        assert not np.isfinite(out[:, 40]).any()
        np.testing.assert_array_equal(out[:, :40], clean[:, :40])


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_the_same_bits_in_any_batch(other, dtype):
    x, kernel, bias, _ = dense_data(75, 33, 45, dtype)
    whole = poisoned((75, 45), dtype)
    other.dense.dense(x, kernel, bias, "gelu", (), whole, None)
    for start, stop in ((0, 1), (74, 75), (3, 16), (11, 60), (1, 75)):
        part = poisoned((stop - start, 45), dtype)
        other.dense.dense(x[start:stop], kernel, bias, "gelu", (), part, None)
        np.testing.assert_array_equal(part, whole[start:stop])


# -- losses --------------------------------------------------------------------------------------

LOSS_SHAPES = [(1, 1), (1, 2), (3, 5), (17, 10), (16, 16), (33, 17), (5, 64), (7, 100), (3, 1300)]
LABELS = ("classes", "probabilities", "multi-hot")


def loss_labels(rng, kind, n, c, dtype):
    if kind == "classes":
        return frozen(rng.integers(0, c, n), np.int64)
    if kind == "probabilities":
        return frozen(rng.dirichlet(np.ones(c), n), dtype)
    return frozen(rng.random((n, c)) < 0.5, dtype)


def assert_loss(call, n, c, dtype, loss_bound, gradient_bound, hits=False):
    """`call(kernels' role, outputs)` for both roles; the bounds are per row and per element."""
    got, expected = {}, {}
    for role, out in (("other", got), ("oracle", expected)):
        out["losses"], out["d"] = poisoned((n,), dtype), poisoned((n, c), dtype)
        out["hits"] = poisoned((n,), dtype) if hits else None
        call(role, out["losses"], out["d"], out["hits"])
        alone = poisoned((n,), dtype)
        call(role, alone, None, None)  # without a gradient: the same losses
        assert_written(out["losses"], out["d"], out["hits"], alone)
        assert_within(alone, out["losses"], 2.0 * units(out["losses"]))
    assert_within(got["losses"], expected["losses"], loss_bound(expected["losses"]))
    assert_within(got["d"], expected["d"], gradient_bound(expected["d"]))
    if hits:
        np.testing.assert_array_equal(got["hits"], expected["hits"])


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ignore", [None, 0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", LABELS)
def test_softmax_cross_entropy(oracle, other, kind, weighted, smoothing, ignore, dtype):
    rng = np.random.default_rng(20)
    eps, scale = float(np.finfo(dtype).eps), 0.125
    kernels = {"oracle": oracle, "other": other}
    for n, c in LOSS_SHAPES:
        for size in (1.0, 30.0):
            z = frozen(size * rng.standard_normal((n, c)), dtype)
            labels = loss_labels(rng, kind, n, c, dtype)
            weight = frozen(rng.uniform(0.0, 3.0, n), dtype) if weighted else None

            def call(role, losses, d, hits, z=z, labels=labels, weight=weight):
                kernels[role].losses.softmax_cross_entropy(
                    z, labels, weight, smoothing, ignore, scale, losses, d, hits)

            mass = 1.0 if kind == "classes" else labels.sum(axis=1) + smoothing
            spread = np.ptp(z, axis=1).astype(np.float64)
            row = 8.0 * eps * 3.0 * mass * (2.0 + np.log(c) + spread)
            assert_loss(call, n, c, dtype, lambda loss, row=row: row,
                        lambda d, mass=mass: 32.0 * eps * scale * 3.0 * (1.0 + np.max(mass)),
                        hits=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["classes", "probabilities"])
def test_softmax_cross_entropy_of_special_logits(oracle, other, kind, dtype):
    z = np.zeros((8, 6))
    z[0, 1], z[1, 2], z[2, 0] = 1e4, -1e4, -np.inf
    z[3, 4], z[4, 1] = np.nan, -np.inf
    z[5], z[6, 3], z[7] = 1e30, 1e30, -1e4
    z = frozen(z, dtype)
    labels = np.array([1, 2, 3, 4, 1, 0, 2, 5])
    labels = frozen(labels if kind == "classes" else np.eye(6, dtype=dtype)[labels])
    kernels = {"oracle": oracle, "other": other}

    def call(role, losses, d, hits):
        kernels[role].losses.softmax_cross_entropy(z, labels, None, 0.0, None, 1.0, losses, d, hits)

    eps = float(np.finfo(dtype).eps)
    assert_loss(call, 8, 6, dtype, lambda loss: 8.0 * eps * (1.0 + np.abs(loss)),
                lambda d: 8.0 * eps, hits=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_cross_entropy_of_no_rows(backend, dtype):
    z, weight, labels = np.empty((0, 4), dtype), np.empty(0, dtype), np.empty(0, np.int64)
    losses, d, hits = poisoned((0,), dtype), poisoned((0, 4), dtype), poisoned((0,), dtype)
    backend.losses.softmax_cross_entropy(z, labels, weight, 0.1, 0, 1.0, losses, d, hits)
    assert_written(losses, d, hits)


# -- optimizers ----------------------------------------------------------------------------------

OPTIMIZER_CASES = [
    ("sgd", (0.0,)), ("sgd", (0.25,)),
    ("momentum", (0.9, 0.0, 0.0)), ("momentum", (0.9, 1.0, 0.125)), ("momentum", (0.0, 1.0, 0.0)),
    ("adam", (0.9, 0.999, 1e-7, 0.0)), ("adam", (0.5, 0.75, 0.125, 0.25)),
]


def optimizer_state(name, length, dtype, seed):
    rng = np.random.default_rng(seed)
    param, grad = rng.standard_normal(length), rng.standard_normal(length)
    grad *= 10.0 ** rng.uniform(-6.0, 3.0, length)
    slots = [np.abs(rng.standard_normal(length)) for _ in spec.OPTIMIZERS[name].slots]
    return [array.astype(dtype) for array in (param, grad, *slots)]


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "params"), OPTIMIZER_CASES)
def test_optimizer(oracle, other, name, params, dtype):
    eps, rate = float(np.finfo(dtype).eps), 0.0625
    for length in (*range(71), 1000):
        for t in (1, 7, 100000):
            param, grad, *slots = optimizer_state(name, length, dtype, [length, t])
            counted = (t,) if spec.OPTIMIZERS[name].counts else ()
            results = []
            for kernels in (other, oracle):
                arrays = [placed(param), frozen(grad), *map(placed, slots)]
                getattr(kernels.optimizers, f"{name}_update")(*arrays, *counted, rate, *params)
                assert_written(arrays[0], *arrays[2:])
                results.append([arrays[0], *arrays[2:]])
            size = np.abs(grad)
            bounds = [8.0 * eps * (np.abs(param) + rate * (1.0 + size if name != "adam" else 200.0)
                                   + sum(map(np.abs, slots), 0.0 * size)),
                      4.0 * eps * (sum(map(np.abs, slots), 0.0 * size) + size),
                      4.0 * eps * (sum(map(np.abs, slots), 0.0 * size) + size.astype(float) ** 2)]
            for got, expected, bound in zip(*results, bounds[: len(slots) + 1], strict=True):
                assert_within(got, expected, bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "params"), OPTIMIZER_CASES)
def test_optimizer_passes_on_what_is_not_finite(oracle, other, name, params, dtype):
    param, grad, *slots = optimizer_state(name, 80, dtype, 3)
    grad[[0, 1, 2]] = np.nan, np.inf, -np.inf
    counted = (3,) if spec.OPTIMIZERS[name].counts else ()
    results = []
    for kernels in (other, oracle):
        arrays = [param.copy(), grad, *[slot.copy() for slot in slots]]
        getattr(kernels.optimizers, f"{name}_update")(*arrays, *counted, 0.5, *params)
        results.append(arrays[0])
    np.testing.assert_array_equal(np.isnan(results[0]), np.isnan(results[1]))
    finite = np.isfinite(results[1])
    np.testing.assert_array_equal(results[0][~finite], results[1][~finite])
    assert finite[3:10].all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [1e-7, 0.0])
def test_adam_is_that_of_every_instruction_set(other, dtype, epsilon):
    """Bit for bit, whatever divides: also where moments are 0, denormal, infinite or NaN."""
    native = other.native
    if native is None:
        pytest.skip("no instruction sets to choose from")
    param, grad, m, v = optimizer_state("adam", 20_011, dtype, 5)
    tiny, largest = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    rare = [0.0, tiny, 1e3 * tiny, np.finfo(dtype).tiny, np.sqrt(largest), largest, np.inf, np.nan]
    m[:64], v[:64] = (a.ravel() for a in np.meshgrid(rare, rare))
    grad[:64], m[64:900:3], v[65:900:3] = 0.0, 0.0, 0.0
    best, results = native.isa(), []
    try:
        for name in native.available():
            native.set_isa(name)
            arrays = [array.copy() for array in (param, grad, m, v)]
            other.optimizers.adam_update(*arrays, 7, 0.01, 0.9, 0.999, epsilon, 0.0)
            results.append(arrays)
    finally:
        native.set_isa(best)
    for found in results[1:]:
        for array, expected in zip(found, results[0], strict=True):
            np.testing.assert_array_equal(array, expected)


def typical_state(row, shape, dtype, seed):
    """Parameter, gradient and slots as they are after some steps."""
    rng = np.random.default_rng(seed)
    param, grad = rng.standard_normal(shape), rng.standard_normal(shape)
    lengths = {"row": shape[:1] if len(shape) == 2 else (1,), "column": shape[-1:]}
    slots = [rng.uniform(0.5, 2.0, lengths[name] if name in row.factored else shape)
             for name in row.slots]
    return [array.astype(dtype) for array in (param, grad, *slots)]


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", spec.OPTIMIZERS.values(), ids=lambda row: row.name)
def test_every_optimizer(oracle, other, row, dtype):
    eps = float(np.finfo(dtype).eps)
    params = tuple(0.125 if key == "weight_decay" else value for key, value in row.params)
    shapes = [(n,) for n in (0, 1, 5, 16, 63, 64, 200, 5000)]
    if row.kind == "variable":
        shapes += [(0, 3), (3, 0), (1, 1), (1, 16), (16, 1), (5, 13), (37, 70), (70, 37), (130, 64)]
        shapes = [s for s in shapes if row.name != "muon" or len(s) == 2]
    for shape in shapes:
        for t in (1, 2, 9, 5000):
            state = typical_state(row, shape, dtype, [*shape, t])
            counted = (t,) if row.counts else ()
            results = []
            for kernels in (other, oracle):
                arrays = [placed(state[0]), frozen(state[1]), *map(placed, state[2:])]
                getattr(kernels.optimizers, f"{row.name}_update")(*arrays, *counted, 0.0625,
                                                                  *params)
                assert_written(arrays[0], *arrays[2:])
                results.append([arrays[0], *arrays[2:]])
            # Muon's polynomial multiplies what rounding does to small singular values by 480
            factor = 2e3 if row.name == "muon" else 64
            for got, expected in zip(*results, strict=True):
                np.testing.assert_allclose(got, expected, rtol=factor * eps, atol=factor * eps)


@pytest.mark.parametrize("name", [row.name for row in spec.OPTIMIZERS.values()
                                  if row.kind == "elementwise"
                                  and row.name not in ("ftrl", "schedule_free_adamw")])
def test_weight_decay_alone_shrinks(backend, name):
    """Decoupled: with no gradient and fresh slots, w becomes w (1 - learning_rate weight_decay)."""
    row = spec.OPTIMIZERS[name]
    params = tuple(0.25 if key == "weight_decay" else value for key, value in row.params)
    param, zeros = np.linspace(-2.0, 2.0, 33), np.zeros(33)
    expected = param * (1.0 - 0.5 * 0.25)
    counted = (1,) if spec.OPTIMIZERS[name].counts else ()
    getattr(backend.optimizers, f"{name}_update")(
        param, zeros, *[np.zeros(33) for _ in row.slots], *counted, 0.5, *params)
    np.testing.assert_allclose(param, expected, rtol=1e-15)


# -- random numbers ------------------------------------------------------------------------------


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.999])
def test_dropout_mask(oracle, other, rate, dtype):
    for n, m in ((0, 3), (3, 0), (1, 1), (3, 4), (5, 13), (9, 63), (7, 64), (6, 65), (33, 130)):
        for seed, stream, step in ((0, 0, 0), (2**64 - 1, 3, 2**32 - 1), (0x0123456789, 2**31, 9)):
            got, expected = poisoned((n, m), dtype), poisoned((n, m), dtype)
            other.random.dropout_mask(rate, seed, stream, step, got)
            oracle.random.dropout_mask(rate, seed, stream, step, expected)
            assert_written(got)
            np.testing.assert_array_equal(got, expected)


# -- any number of threads -----------------------------------------------------------------------


@pytest.mark.large
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 5, 301])
def test_the_same_bits_for_any_number_of_threads(other, use_threads, n, dtype):
    d, m = (203, 157) if n > 5 else (3, 2)  # less to do than there are threads, and more
    rng = np.random.default_rng(30)
    x, kernel, bias, dz = dense_data(n, d, m, dtype)
    wide = frozen(rng.standard_normal((n, 503)), dtype)
    labels = frozen(rng.integers(0, 503, n), np.int64)
    states = {name: optimizer_state(name, 64 * n + 1, dtype, 31) for name in spec.OPTIMIZERS}

    def everything():
        out, dx, dkernel, dbias = (poisoned(s, dtype) for s in ((n, m), (n, d), (d, m), (m,)))
        other.dense.dense(x, kernel, bias, "gelu", (), out, None)
        other.dense.dense_grad(dz, x, kernel, dx, dkernel, dbias)
        results = [out, dx, dkernel, dbias]
        for name in ("tanh", "softmax", "log_softmax", "sparsemax"):
            y = activate(other, name, wide, ())
            results += [y, differentiate(other, name, wide, y, ())]
        tail = [poisoned(s, dtype) for s in ((n,), (n, 503), (n,))]
        other.losses.softmax_cross_entropy(wide, labels, None, 0.1, None, 1.0, *tail)
        results += tail
        mask = poisoned((n, 503), dtype)
        other.random.dropout_mask(0.5, 1, 2, 3, mask)
        assert_written(*results, mask)
        for name, state in states.items():
            arrays = [array.copy() for array in state]
            counted = (1,) if spec.OPTIMIZERS[name].counts else ()
            params = tuple(value for _, value in spec.OPTIMIZERS[name].params)
            getattr(other.optimizers, f"{name}_update")(*arrays, *counted, 0.01, *params)
            results += arrays
        return [*results, mask]

    runs = []
    for count in (1, 2, 3):
        use_threads(count)
        runs.append(everything())
    for again in runs[1:]:
        for first, second in zip(runs[0], again, strict=True):
            np.testing.assert_array_equal(first, second)
