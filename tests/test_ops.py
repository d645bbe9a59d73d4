"""`fusedmlp.ops`: values against plain NumPy, what is accepted, and every refusal."""

from __future__ import annotations

import doctest
import inspect
import warnings

import numpy as np
import pytest

from fusedmlp import checks, config, ops, spec

pytestmark = pytest.mark.usefixtures("backend")

DTYPES = ("float32", "float64")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _same_draws_for_every_test():
    RNG.bit_generator.state = np.random.default_rng(20240501).bit_generator.state


def tolerance(dtype):
    return {"rtol": 2e-6, "atol": 2e-6} if dtype == "float32" else {"rtol": 1e-13, "atol": 1e-13}


def draw(*shape, dtype="float64", low=-2.0, high=2.0):
    return RNG.uniform(low, high, shape).astype(dtype)


def softmax_of(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def numeric_gradient(function, x, h=1e-3):
    """Central differences of fourth order of a scalar function of a float64 array."""
    x = np.array(x, dtype=np.float64)
    result = np.empty_like(x)
    for index in np.ndindex(x.shape):
        def at(offset, index=index):
            moved = x.copy()
            moved[index] += offset
            return function(moved)
        result[index] = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    return result


# -- activations ---------------------------------------------------------------------------------

FORMULAS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "exponential": np.exp,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (0,), (0, 3)])
def test_activation_values_for_any_rank(name, shape, dtype):
    x = np.asarray(draw(*shape), dtype=dtype)
    y = ops.activation(x, name)
    assert type(y) is np.ndarray
    assert y.shape == shape
    assert y.dtype == dtype
    np.testing.assert_allclose(y, FORMULAS[name](x.astype("float64")), **tolerance(dtype))


@pytest.mark.parametrize("name", FORMULAS)
def test_activation_grad_is_the_derivative(name):
    x = draw(3, 5) + 0.01
    dy = draw(3, 5)
    h = 1e-3
    slope = (8 * (FORMULAS[name](x + h) - FORMULAS[name](x - h))
             - (FORMULAS[name](x + 2 * h) - FORMULAS[name](x - 2 * h))) / (12 * h)
    near_kink = np.zeros(x.shape, dtype=bool)
    for kink in spec.ACTIVATIONS[name].kinks:
        near_kink |= np.abs(x - kink) < 4 * h
    given = {"x": x, "y": ops.activation(x, name)}
    dx = ops.activation_grad(dy, name, **given)
    np.testing.assert_allclose(dx[~near_kink], (dy * slope)[~near_kink], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(dx, ops.activation_grad(dy, name, x=x))  # y from x
    reads = spec.ACTIVATIONS[name].reads
    np.testing.assert_array_equal(dx, ops.activation_grad(dy, name, **{reads: given[reads]}))


def test_activation_parameters():
    x = np.array([-2.0, -0.5, 0.5, 9.0])
    np.testing.assert_array_equal(ops.activation(x, "leaky_relu", negative_slope=0.5),
                                  [-1.0, -0.25, 0.5, 9.0])
    np.testing.assert_array_equal(ops.activation(x, "relu", max_value=6, negative_slope=0.5),
                                  [-1.0, -0.25, 0.5, 6.0])
    np.testing.assert_array_equal(ops.activation(x, "swish"), ops.activation(x, "silu"))
    exact, tanh_form = (ops.activation(x, "gelu", approximate=a) for a in (False, True))
    assert 0 < np.abs(exact - tanh_form).max() < 1e-3
    # a value that has no hash is a value all the same
    np.testing.assert_array_equal(
        ops.activation(x, "leaky_relu", negative_slope=np.array(0.5)),
        ops.activation(x, "leaky_relu", negative_slope=0.5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_softmax_along_any_axis(axis, dtype):
    x = draw(3, 4, 5, dtype=dtype, low=-30, high=30)
    y, log_y = ops.softmax(x, axis), ops.log_softmax(x, axis=axis)
    expected = softmax_of(x.astype("float64"), axis)
    np.testing.assert_allclose(y, expected, **tolerance(dtype))
    np.testing.assert_allclose(log_y, np.log(expected), **tolerance(dtype))
    assert y.flags.c_contiguous
    for result, name in ((y, "softmax"), (log_y, "log_softmax")):
        np.testing.assert_array_equal(result, ops.activation(x, name, axis=axis))
        out = np.full_like(x, np.nan)
        assert ops.activation(x, name, axis=axis, out=out) is out
        np.testing.assert_array_equal(out, result)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "sparsemax", "glu", "maxout"])
def test_gradient_along_an_axis(name, axis):
    x = draw(4, 6)
    params = {"axis": axis, **({"pieces": 2} if name == "maxout" else {})}
    dy = draw(*ops.activation(x, name, **params).shape)
    y = ops.activation(x, name, **params)
    expected = numeric_gradient(lambda v: float((ops.activation(v, name, **params) * dy).sum()),
                                x, h=1e-5)
    dx = ops.activation_grad(dy, name, x=x, y=y, **params)
    np.testing.assert_allclose(dx, expected, rtol=1e-6, atol=1e-8)
    out = np.full_like(x, np.nan)
    assert ops.activation_grad(dy, name, x=x, y=y, out=out, **params) is out
    np.testing.assert_array_equal(out, dx)


def test_one_axis_is_one_row():
    x = draw(6)
    np.testing.assert_allclose(ops.softmax(x), softmax_of(x), rtol=1e-13)
    assert ops.activation(x, "glu").shape == (3,)
    assert ops.activation(x, "maxout", pieces=3).shape == (2,)
    assert ops.softmax(np.empty((0, 3))).shape == (0, 3)
    assert ops.softmax(np.empty((3, 0))).shape == (3, 0)


def test_prelu_and_its_gradient():
    x, alpha, dy = draw(2, 3, 4) + 0.01, draw(4), draw(2, 3, 4)
    np.testing.assert_array_equal(ops.prelu(x, alpha), np.where(x >= 0, x, alpha * x))
    dx, dalpha = ops.prelu_grad(dy, x, alpha)
    np.testing.assert_array_equal(dx, np.where(x > 0, dy, alpha * dy))
    np.testing.assert_allclose(dalpha, np.where(x > 0, 0, dy * x).sum(axis=(0, 1)), rtol=1e-13)
    out = np.empty_like(x)
    assert ops.prelu(x, alpha, out=out) is out
    np.testing.assert_array_equal(out, ops.prelu(x, alpha))


# -- dense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "m"), [(1, 1, 1), (5, 3, 4), (17, 33, 19), (0, 3, 2),
                                           (2, 0, 3), (2, 3, 0)])
@pytest.mark.parametrize("activation", [None, "relu", "tanh", "softmax"])
def test_dense(n, d, m, activation, dtype):
    x, kernel, bias = draw(n, d, dtype=dtype), draw(d, m, dtype=dtype), draw(m, dtype=dtype)
    z = x.astype("float64") @ kernel.astype("float64") + bias
    formulas = {None: lambda v: v, "softmax": lambda v: softmax_of(v) if v.size else v, **FORMULAS}
    y = ops.dense(x, kernel, bias, activation)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, formulas[activation](z), rtol=2e-5 if dtype == "float32"
                               else 1e-12, atol=2e-6 if dtype == "float32" else 1e-14)
    out = np.empty((n, m), dtype)
    assert ops.dense(x, kernel, bias, activation, out=out) is out
    np.testing.assert_array_equal(out, y)
    np.testing.assert_array_equal(ops.dense(x, kernel),
                                  ops.dense(x, kernel, np.zeros(m, dtype)))


def test_dense_with_an_activation_that_makes_it_narrower():
    x, kernel, bias = draw(3, 4), draw(4, 6), draw(6)
    z = x @ kernel + bias
    np.testing.assert_allclose(ops.dense(x, kernel, bias, "maxout", pieces=3),
                               z.reshape(3, 2, 3).max(axis=2), rtol=1e-12)
    np.testing.assert_allclose(ops.dense(x, kernel, bias, "glu"),
                               z[:, :3] / (1 + np.exp(-z[:, 3:])), rtol=1e-12)
    out = np.empty((3, 3))
    assert ops.dense(x, kernel, bias, "glu", out=out) is out
    np.testing.assert_array_equal(out, ops.dense(x, kernel, bias, "glu"))


@pytest.mark.parametrize("activation", [None, "tanh", "gelu", "leaky_relu", "softmax", "glu"])
def test_dense_grad(activation):
    x, kernel, bias = draw(3, 4), draw(4, 6), draw(6)
    z = ops.dense(x, kernel, bias)
    y = ops.dense(x, kernel, bias, activation)
    dy = draw(*y.shape)

    def total(x, kernel, bias):
        return float((ops.dense(x, kernel, bias, activation) * dy).sum())

    dx, dkernel, dbias = ops.dense_grad(dy, x, kernel, y=y, z=z, activation=activation)
    for found, expected in (
        (dx, numeric_gradient(lambda v: total(v, kernel, bias), x)),
        (dkernel, numeric_gradient(lambda v: total(x, v, bias), kernel)),
        (dbias, numeric_gradient(lambda v: total(x, kernel, v), bias)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
    none, dkernel_alone, _ = ops.dense_grad(dy, x, kernel, y=y, z=z, activation=activation,
                                            need_dx=False)
    assert none is None
    np.testing.assert_array_equal(dkernel_alone, dkernel)


# -- losses --------------------------------------------------------------------------------------


def onehot(labels, c):
    return np.eye(c)[labels]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_softmax_cross_entropy(dtype, smoothing, weighted):
    n, c = 9, 5
    logits = draw(n, c, dtype=dtype, low=-9, high=9)
    labels = RNG.integers(0, c, n)
    weight = draw(n, dtype=dtype, low=0.1, high=2.0) if weighted else np.ones(n)
    t = onehot(labels, c) * (1 - smoothing) + smoothing / c
    z = logits.astype("float64")
    rows = weight * (np.log(np.exp(z).sum(axis=1)) - (t * z).sum(axis=1))
    gradient = weight[:, None] * (softmax_of(z) - t)
    keywords = {"label_smoothing": smoothing, "sample_weight": weight if weighted else None}
    for given in (labels, onehot(labels, c)):
        for reduction, expected, divisor in (
            ("mean", rows.sum() / n, n), ("sum", rows.sum(), 1), ("none", rows, 1)
        ):
            loss, dlogits = ops.softmax_cross_entropy(logits, given, reduction=reduction,
                                                      **keywords)
            assert dlogits.dtype == dtype
            assert isinstance(loss, float) or (loss.dtype == dtype and loss.shape == (n,))
            np.testing.assert_allclose(loss, expected, **tolerance(dtype))
            np.testing.assert_allclose(dlogits, gradient / divisor, **tolerance(dtype))


@pytest.mark.parametrize("function", [ops.softmax_cross_entropy, ops.categorical_crossentropy])
@pytest.mark.parametrize("ignored", [-1, 2, 255])
def test_ignored_rows_count_for_nothing(function, ignored):
    p = softmax_of(draw(6, 4))
    labels = np.array([0, ignored, 3, 1, ignored, 0])
    kept = labels != ignored
    loss, gradient = function(p, labels, ignore_index=ignored)
    expected, expected_gradient = function(p[kept], labels[kept])
    assert loss == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(gradient[kept], expected_gradient, rtol=1e-14)
    assert not gradient[~kept].any()
    rows, _ = function(p, labels, ignore_index=ignored, reduction="none")
    assert not rows[~kept].any()
    loss, gradient = function(p[:2], [ignored, ignored], ignore_index=ignored)
    assert loss == 0.0
    assert not gradient.any()


def _bce(p, t):
    return -(t * np.log(p) + (1 - t) * np.log(1 - p))


ELEMENTWISE_LOSSES = {
    "mean_squared_error": lambda p, t: (p - t) ** 2,
    "mean_absolute_error": lambda p, t: np.abs(p - t),
    "sigmoid_cross_entropy": lambda z, t: _bce(1 / (1 + np.exp(-z)), t),
    "binary_crossentropy": _bce,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE_LOSSES)
@pytest.mark.parametrize("shape", [(7, 3), (7, 1), (7,), (1, 4)])
def test_elementwise_losses(name, shape, dtype):
    function, formula = getattr(ops, name), ELEMENTWISE_LOSSES[name]
    p, t = draw(*shape, dtype=dtype, low=0.1, high=0.9), draw(*shape, dtype=dtype, low=0, high=1)
    weight = draw(shape[0], low=0.5, high=2.0)
    columns = shape[1] if len(shape) == 2 else 1

    def rows(p):
        return formula(p, t).reshape(shape[0], columns).mean(axis=1) * weight

    expected = rows(p.astype("float64"))
    numeric = numeric_gradient(lambda v: float(rows(v).sum()), p, h=1e-4)
    away = np.abs(p - t) > 1e-3  # from the kink
    for reduction, value, divisor in (
        ("mean", expected.mean(), shape[0]), ("sum", expected.sum(), 1), ("none", expected, 1)
    ):
        loss, gradient = function(p, t, sample_weight=weight, reduction=reduction)
        np.testing.assert_allclose(loss, value, rtol=1e-5 if dtype == "float32" else 1e-12)
        assert gradient.shape == shape
        np.testing.assert_allclose((gradient * divisor)[away], numeric[away],
                                   rtol=1e-5 if dtype == "float32" else 1e-7, atol=1e-6)


@pytest.mark.parametrize("function", [ops.sigmoid_cross_entropy, ops.binary_crossentropy])
def test_label_smoothing_of_two_classes(function):
    p, t = draw(5, 2, low=0.1, high=0.9), np.array([[0, 1]] * 5)
    smoothed = t * 0.8 + 0.1
    for a, b in zip(function(p, t, label_smoothing=0.2), function(p, smoothed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_categorical_crossentropy():
    p = draw(6, 4, low=0.1, high=1.0)
    labels = RNG.integers(0, 4, 6)
    expected = -np.log(p / p.sum(axis=1, keepdims=True))[np.arange(6), labels]
    loss, gradient = ops.categorical_crossentropy(p, labels)
    assert loss == pytest.approx(expected.mean(), rel=1e-13)
    numeric = numeric_gradient(
        lambda v: float(-np.log(v / v.sum(axis=1, keepdims=True))[np.arange(6), labels].mean()),
        p, h=1e-4)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(ops.categorical_crossentropy(p, onehot(labels, 4))[0], loss,
                               rtol=1e-13)


@pytest.mark.parametrize(("function", "labels"), [
    (ops.categorical_crossentropy, [0]), (ops.binary_crossentropy, [[1.0, 0.0]])])
def test_epsilon_bounds_the_loss(function, labels):
    p = np.array([[0.0, 1.0]])
    before = config.epsilon()
    try:
        assert function(p, labels)[0] == pytest.approx(-np.log(1e-7), rel=1e-6)
        assert function(p, labels, epsilon=1e-3)[0] == pytest.approx(-np.log(1e-3), rel=1e-3)
        config.set_epsilon(1e-3)
        assert function(p, labels)[0] == function(p, labels, epsilon=1e-3)[0]
    finally:
        config.set_epsilon(before)


LOSS_CALLS = {
    **{name: (draw(4, 3, low=0.1, high=0.9), np.eye(4)[:, :3]) for name in ELEMENTWISE_LOSSES},
    "softmax_cross_entropy": (draw(4, 3), np.array([0, 1, 2, 0])),
    "categorical_crossentropy": (draw(4, 3, low=0.1, high=0.9), np.array([0, 1, 2, 0])),
}


@pytest.mark.parametrize("name", LOSS_CALLS)
def test_gradient_on_request_and_into_out(name):
    function, arguments = getattr(ops, name), LOSS_CALLS[name]
    loss, gradient = function(*arguments)
    assert function(*arguments, gradient=False) == (loss, None)
    out = np.full((4, 3), np.nan)
    again, into = function(*arguments, out=out)
    assert into is out
    assert again == loss
    np.testing.assert_array_equal(out, gradient)
    predictions = arguments[0].copy()  # the gradient may replace the predictions
    again, into = function(predictions, arguments[1], out=predictions)
    assert into is predictions
    assert again == loss
    np.testing.assert_array_equal(predictions, gradient)


@pytest.mark.parametrize("name", LOSS_CALLS)
def test_no_rows(name):
    labels = LOSS_CALLS[name][1][:0]
    loss, gradient = getattr(ops, name)(np.empty((0, 3)), labels, reduction="sum")
    assert loss == 0.0
    assert gradient.shape == (0, 3)
    assert getattr(ops, name)(np.empty((0, 3)), labels, reduction="none")[0].shape == (0,)


def test_hits():
    predictions = np.array([[0.1, 0.9, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    np.testing.assert_array_equal(ops.categorical_hits(predictions, [1, 1, 2]), [1, 0, 1])
    np.testing.assert_array_equal(ops.categorical_hits(predictions, np.eye(3)[[1, 0, 0]]),
                                  [1, 1, 0])
    np.testing.assert_array_equal(ops.binary_hits(predictions[:, :2], [[0, 1], [0, 1], [1, 1]]),
                                  [1, 0.5, 0])
    np.testing.assert_array_equal(ops.binary_hits([0.2, 0.3], [0, 1], threshold=0.1), [0, 1])
    assert ops.categorical_hits(np.empty((0, 2)), []).shape == (0,)


# -- optimizers ----------------------------------------------------------------------------------


def adam_by_hand(w, g, m, v, t, lr, b1=0.9, b2=0.999, eps=1e-7, decay=0.0):
    w = w - lr * decay * w
    m = m + (1 - b1) * (g - m)
    v = v + (1 - b2) * (g * g - v)
    return w - lr * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps), m, v


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (3, 4), (0,), ()])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_adam_update(shape, dtype, decay):
    state = [np.asarray(draw(*shape), dtype=dtype), np.zeros(shape, dtype), np.zeros(shape, dtype)]
    expected = [a.astype("float64") for a in state]
    for step in range(1, 6):
        g = np.asarray(draw(*shape), dtype=dtype)
        assert ops.adam_update(state[0], g, *state[1:], step, 0.01, weight_decay=decay) is None
        expected = adam_by_hand(expected[0], g.astype("float64"), *expected[1:], step, 0.01,
                                decay=decay)
    for found, wanted in zip(state, expected, strict=True):
        np.testing.assert_allclose(found, wanted, **tolerance(dtype))


def test_adamw_is_adam_with_another_default():
    assert (inspect.signature(ops.adamw_update).parameters["weight_decay"].default
            == 0.004 != inspect.signature(ops.adam_update).parameters["weight_decay"].default)
    (a, am, av), (b, bm, bv) = ([np.ones(3), np.zeros(3), np.zeros(3)] for _ in range(2))
    g = draw(3)
    ops.adamw_update(a, g, am, av, 1, 0.1)
    ops.adam_update(b, g, bm, bv, 1, 0.1, weight_decay=0.004)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_momentum(nesterov, dtype):
    w, velocity = draw(2, 5, dtype=dtype), np.zeros((2, 5), dtype)
    expected, v = w.astype("float64"), np.zeros((2, 5))
    for _ in range(4):
        g = draw(2, 5, dtype=dtype)
        ops.sgd_update(w, g, 0.1, velocity=velocity, momentum=0.9, nesterov=nesterov,
                       weight_decay=0.01)
        expected = expected - 0.1 * 0.01 * expected
        v = 0.9 * v - 0.1 * g
        expected = expected + (0.9 * v - 0.1 * g if nesterov else v)
    np.testing.assert_allclose(w, expected, **tolerance(dtype))
    np.testing.assert_allclose(velocity, v, **tolerance(dtype))


def test_plain_sgd():
    w = np.array([1.0, -2.0])
    ops.sgd_update(w, [3.0, 5.0], 0.1, weight_decay=0.5)
    np.testing.assert_allclose(w, [1.0 * 0.95 - 0.3, -2.0 * 0.95 - 0.5], rtol=1e-15)


def strided(values):
    """The same values, two elements apart in memory."""
    memory = np.full((*values.shape, 2), 7.0, values.dtype)
    memory[..., 0] = values
    return memory[..., 0]


@pytest.mark.parametrize("arrange", [strided, np.asfortranarray, lambda a: a[::-1], lambda a: a.T])
def test_updates_reach_arrays_that_are_not_contiguous(arrange):
    w, g = draw(4, 4), draw(4, 4)
    plain = [w.copy(), np.zeros((4, 4)), np.zeros((4, 4))]
    ops.adam_update(plain[0], g, *plain[1:], 1, 0.1)
    odd = [arrange(a) for a in (w.copy(), np.zeros((4, 4)), np.zeros((4, 4)))]
    ops.adam_update(odd[0], arrange(g), *odd[1:], 1, 0.1)
    for a, b in zip(odd, plain, strict=True):
        np.testing.assert_array_equal(a, arrange(b))
    if arrange is strided:
        assert (odd[0].base[..., 1] == 7.0).all()


def test_updates_of_neighbouring_views():
    arena = np.ones(8)
    ops.sgd_update(arena[:4], arena[4:], 0.5)
    np.testing.assert_array_equal(arena, [0.5] * 4 + [1.0] * 4)
    pairs = np.ones((4, 2))  # interleaved: within each other's bounds, yet apart
    ops.sgd_update(pairs[:, 0], pairs[:, 1], 0.5)
    np.testing.assert_array_equal(pairs, [[0.5, 1.0]] * 4)


# -- dropout -------------------------------------------------------------------------------------


def test_dropout_is_a_function_of_its_key():
    x = draw(50, 40)
    y, mask = ops.dropout(x, 0.4, 123, stream=2, step=3)
    np.testing.assert_array_equal(y, x * mask)
    scale = 1 / 0.6
    assert set(np.unique(mask)) == {0.0, scale}
    assert abs((mask == 0).mean() - 0.4) < 0.05  # 4.6 standard deviations of 2,000 draws
    again = ops.dropout(x[:7], 0.4, 123, stream=2, step=3)[1]
    np.testing.assert_array_equal(again, mask[:7])
    for other in ({"seed": 124}, {"stream": 1}, {"step": 4}, {"seed": 123 + 2**32}):
        key = {"seed": 123, "stream": 2, "step": 3, **other}
        assert (ops.dropout(x, 0.4, **key)[1] != mask).any()
    np.testing.assert_array_equal(ops.dropout(x, 0.0, 1)[0], x)
    np.testing.assert_array_equal(ops.dropout(x.reshape(10, 5, 40), 0.4, 123, stream=2, step=3)[1],
                                  mask.reshape(10, 5, 40))
    np.testing.assert_array_equal(ops.dropout(x[0], 0.4, 123, stream=2, step=3)[1], mask[0])


# -- what is accepted ----------------------------------------------------------------------------


def unaligned(a):
    memory = np.empty(a.nbytes + 1, np.uint8)
    result = memory[1:].view(a.dtype).reshape(a.shape)
    result[...] = a
    assert a.itemsize == 1 or not result.flags.aligned
    return result


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


class Subclass(np.ndarray):
    pass


ARRANGEMENTS = {
    "strided": strided,
    "Fortran order": np.asfortranarray,
    "read-only": read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "subclass": lambda a: a.view(Subclass),
    "reversed twice": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "offers __array__": lambda a: Wrapped(a),
}


class Wrapped:
    """Something that NumPy can read, such as a tensor of another library."""

    def __init__(self, array):
        self.array, self.dtype = array, array.dtype

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


CALLS = {
    "activation": lambda a: [ops.activation(a(draw_once(4, 6)), "tanh")],
    "activation_grad": lambda a: [ops.activation_grad(a(draw_once(4, 6)), "gelu",
                                                      x=a(draw_once(4, 6, 1)))],
    "softmax": lambda a: [ops.softmax(a(draw_once(4, 6)))],
    "prelu": lambda a: [ops.prelu(a(draw_once(4, 6)), a(draw_once(6)))],
    "prelu_grad": lambda a: ops.prelu_grad(a(draw_once(4, 6)), a(draw_once(4, 6, 1)),
                                           a(draw_once(6))),
    "dense": lambda a: [ops.dense(a(draw_once(4, 6)), a(draw_once(6, 3)), a(draw_once(3)))],
    "dense_grad": lambda a: ops.dense_grad(a(draw_once(4, 3)), a(draw_once(4, 6)),
                                           a(draw_once(6, 3))),
    "softmax_cross_entropy": lambda a: ops.softmax_cross_entropy(
        a(draw_once(4, 6)), a(np.array([0, 5, 2, 2])), sample_weight=a(draw_once(4))),
    "categorical_crossentropy": lambda a: ops.categorical_crossentropy(
        a(np.abs(draw_once(4, 6))), a(np.abs(draw_once(4, 6, 1)))),
    "mean_squared_error": lambda a: ops.mean_squared_error(
        a(draw_once(4, 6)), a(draw_once(4, 6, 1)), sample_weight=a(draw_once(4))),
    "loss": lambda a: ops.loss("tversky", a(draw_once(4, 6)), a(draw_once(4, 6, 1)), axis="all",
                               sample_weight=a(draw_once(4))),
    "pair loss": lambda a: ops.loss("circle", a(draw_once(4, 6)), a(np.array([1, 5, 1, 5])),
                                    gamma=2.0),
    "score": lambda a: [ops.score("pearson_correlation", a(draw_once(4, 6)),
                                  a(draw_once(4, 6, 1)))],
    "categorical_hits": lambda a: [ops.categorical_hits(a(draw_once(4, 6)),
                                                        a(np.array([0, 5, 2, 2])))],
    "binary_hits": lambda a: [ops.binary_hits(a(draw_once(4, 6)), a(draw_once(4, 6) > 0))],
    "dropout": lambda a: ops.dropout(a(draw_once(4, 6)), 0.5, 1),
}


def draw_once(*shape_and_seed):
    """Random numbers that are the same in every call."""
    shape = shape_and_seed[:2]
    return np.random.default_rng(shape_and_seed[2:]).normal(size=shape)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("name", CALLS)
def test_any_arrangement_gives_the_same_bits(name, arrangement):
    expected = CALLS[name](lambda a: a)
    found = CALLS[name](ARRANGEMENTS[arrangement])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert type(a) is type(b)


@pytest.mark.parametrize("name", CALLS)
def test_lists_take_the_default_dtype(name):
    expected = CALLS[name](lambda a: a.astype("float32") if a.dtype.kind == "f" else a)
    for a, b in zip(CALLS[name](lambda a: a.tolist()), expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not isinstance(a, np.ndarray) or a.dtype == "float32"


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "int64", "bool", "float32"])
def test_dtypes_that_are_widened(dtype):
    x = np.array([[0, 1], [1, 1]]).astype(dtype)
    y = ops.activation(x, "sigmoid")
    assert y.dtype == "float32"
    np.testing.assert_array_equal(y, ops.activation(x.astype("float32"), "sigmoid"))


def test_bfloat16_is_widened():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = draw(3, 4).astype(ml_dtypes.bfloat16)
    y = ops.softmax(x)
    assert y.dtype == "float32"
    np.testing.assert_array_equal(y, ops.softmax(x.astype("float32")))
    assert ops.dense(x, np.ones((4, 2))).dtype == "float64"


def test_the_widest_dtype_decides():
    x32, k64 = draw(2, 3, dtype="float32"), draw(3, 2)
    y = ops.dense(x32, k64)
    assert y.dtype == "float64"
    np.testing.assert_array_equal(y, ops.dense(x32.astype("float64"), k64))
    assert ops.dense(x32, k64.tolist(), [1, 2]).dtype == "float32"
    assert ops.dense(x32.tolist(), k64, np.arange(2)).dtype == "float64"
    assert ops.activation_grad(np.ones(3, "float32"), "relu", y=np.ones(3)).dtype == "float64"
    loss = ops.mean_squared_error(x32, x32.astype("float64") + 1, reduction="none")
    assert loss[0].dtype == loss[1].dtype == "float32"  # the prediction decides


def test_floatx_is_the_dtype_of_numbers_without_one():
    before = config.floatx()
    try:
        for dtype in DTYPES:
            config.set_floatx(dtype)
            assert ops.activation([1.0], "relu").dtype == dtype
            assert ops.activation(np.array([1]), "relu").dtype == dtype
            assert ops.dense([[1]], [[True]]).dtype == dtype
        assert ops.activation(np.ones(1, "float32"), "relu").dtype == "float32"
    finally:
        config.set_floatx(before)


@pytest.mark.parametrize("labels", [
    [0, 2, 1], np.array([0, 2, 1], "uint8"), np.array([0, 2, 1], "int16"),
    np.array([0.0, 2.0, 1.0]), np.array([0, 9, 2, 9, 1, 9])[::2], np.array([0, 2, 1], ">i8"),
    np.array([0, 2, 1], "uint64")])
def test_class_labels_of_any_whole_dtype(labels):
    logits = draw(3, 3)
    expected = ops.softmax_cross_entropy(logits, np.array([0, 2, 1]))
    found = ops.softmax_cross_entropy(logits, labels)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])


def test_arguments_are_never_written_to():
    for name, call in CALLS.items():
        made = []

        def keep(a, made=made):
            made.append((a, a.copy()))
            return a

        call(keep)
        for given, before in made:
            np.testing.assert_array_equal(given, before, err_msg=name)


@pytest.mark.parametrize("huge", [1e30, np.inf, -np.inf, np.nan, 1e-40])
def test_extreme_values_raise_no_warning(huge):
    x = np.array([[huge, 1.0], [0.5, -huge]], "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, row in spec.ACTIVATIONS.items():
            if row.kind != "slope":
                y = ops.activation(x, name)
                ops.activation_grad(np.ones_like(y), name, x=x, y=y)
        ops.softmax_cross_entropy(x, [0, 1])


# -- out -----------------------------------------------------------------------------------------


def test_out_may_overlap_an_argument():
    memory = draw(13)
    x, out = memory[:-1].reshape(3, 4), memory[1:].reshape(3, 4)
    expected = ops.softmax(x.copy())
    assert ops.softmax(x, out=out) is out
    np.testing.assert_array_equal(out, expected)
    x = draw(3, 4)
    for name in ("tanh", "softmax", "sparsemax"):
        y = x.copy()
        ops.activation(y, name, out=y)
        np.testing.assert_array_equal(y, ops.activation(x, name))
    dy, x = draw(3, 4), draw(3, 4)
    expected = ops.activation_grad(dy, "gelu", x=x)
    for target in ("dy", "x"):
        args = {"dy": dy.copy(), "x": x.copy()}
        ops.activation_grad(args["dy"], "gelu", x=args["x"], out=args[target])
        np.testing.assert_array_equal(args[target], expected)
    square, kernel = draw(3, 3), draw(3, 3)
    expected = ops.dense(square, kernel)
    for target in (0, 1):
        args = [square.copy(), kernel.copy()]
        ops.dense(*args, out=args[target])
        np.testing.assert_array_equal(args[target], expected)
    slopes = draw(3)
    expected = ops.prelu(square, slopes)
    ops.prelu(square, slopes, out=square)
    np.testing.assert_array_equal(square, expected)


BAD_OUT = {
    "a list": ([[0.0] * 3] * 2, TypeError, r"`out` must be a NumPy array\. Received: list"),
    "dtype": (np.empty((2, 3), "float32"), TypeError,
              r"`out` must have dtype float64\. Received: dtype float32"),
    "shape": (np.empty((3, 2)), ValueError,
              r"`out` must have shape \(2, 3\)\. Received: shape \(3, 2\)"),
    "read-only": (read_only(np.empty((2, 3))), ValueError, r"Received: a read-only array"),
    "order": (np.asfortranarray(np.empty((2, 3))), ValueError,
              r"`out` must be writeable, C-contiguous and aligned\. "
              r"Received: an array that is not C-contiguous"),
    "alignment": (unaligned(np.empty((2, 3))), ValueError, r"Received: an array that is not al"),
}


@pytest.mark.parametrize("call", [
    lambda out: ops.activation(np.ones((2, 3)), "relu", out=out),
    lambda out: ops.activation_grad(np.ones((2, 3)), "relu", y=np.ones((2, 3)), out=out),
    lambda out: ops.activation_grad(np.ones((2, 3)), "softmax", y=np.ones((2, 3)), out=out),
    lambda out: ops.softmax(np.ones((2, 3)), out=out),
    lambda out: ops.softmax(np.ones((2, 3)), 0, out=out),
    lambda out: ops.prelu(np.ones((2, 3)), np.ones(3), out=out),
    lambda out: ops.dense(np.ones((2, 3)), np.ones((3, 3)), out=out),
    lambda out: ops.dense(np.ones((2, 3)), np.ones((3, 3)), None, "softmax", out=out),
    lambda out: ops.dense(np.ones((2, 3)), np.ones((3, 6)), None, "glu", out=out),
    lambda out: ops.softmax_cross_entropy(np.ones((2, 3)), [0, 1], out=out),
    lambda out: ops.mean_squared_error(np.ones((2, 3)), np.ones((2, 3)), out=out),
])
@pytest.mark.parametrize("bad", BAD_OUT)
def test_out_that_does_not_fit(call, bad):
    out, error, message = BAD_OUT[bad]
    before = np.array(out)
    with pytest.raises(error, match=message):
        call(out)
    np.testing.assert_array_equal(out, before)


# -- refusals ------------------------------------------------------------------------------------

X23, K34, B4 = np.ones((2, 3)), np.ones((3, 4)), np.ones(4)
NAN = float("nan")
LOSS_LABELS = (X23, [0, 1])

REFUSED = [
    # activations
    ("activation", (X23, "rleu"), {}, ValueError, r"nearest: 'relu'.*Received: 'rleu'"),
    ("activation", (X23, None), {}, ValueError, r"Unknown activation.*Received: None"),
    ("activation", (X23, ["relu"]), {}, ValueError, r"Unknown activation.*Received: \['relu'\]"),
    ("activation", (X23, "prelu"), {}, ValueError, r"fusedmlp\.ops\.prelu\. Received: 'prelu'"),
    ("activation", (X23, "relu"), {"slope": 1}, TypeError, r"negative_slope.*Received: slope=1"),
    ("activation", (X23, "relu"), {"axis": 0}, TypeError, r"no parameter 'axis'"),
    ("activation", (X23, "relu"), {"negative_slope": -1.0}, ValueError,
     r"`negative_slope`.*at least 0.*Received: -1\.0"),
    ("activation", (X23, "elu"), {"alpha": NAN}, ValueError, r"`alpha`.*Received: nan"),
    ("activation", (X23, "elu"), {"alpha": "a"}, TypeError, r"`alpha`.*number.*Received: 'a'"),
    ("activation", (X23, "elu"), {"alpha": [1.0]}, TypeError, r"`alpha`.*number.*Received"),
    ("activation", (X23, "elu"), {"alpha": np.ones(2)}, TypeError, r"`alpha`.*number.*Received"),
    ("activation", (X23, "glu"), {}, ValueError, r"`x` must be a multiple of 2.*Received: 3"),
    ("activation", (X23, "maxout"), {"pieces": 2}, ValueError, r"multiple of 2.*Received: 3"),
    ("activation", (X23, "maxout"), {"pieces": 1.5}, ValueError, r"whole number.*Received: 1\.5"),
    ("activation", (X23, "maxout"), {"pieces": 0}, ValueError, r"`pieces`.*Received: 0"),
    ("activation", (1.0, "softmax"), {}, ValueError, r"`x` must have at least 1 axis.*Received"),
    ("activation", ([1j], "relu"), {}, TypeError, r"`x` must hold real numbers.*complex128"),
    ("activation", (["a"], "relu"), {}, TypeError, r"`x` must hold real numbers.*Received: list"),
    ("activation", ([None], "relu"), {}, TypeError, r"`x` must hold real numbers.*object"),
    ("activation", (None, "relu"), {}, TypeError, r"`x` must hold real.*Received: NoneType"),
    ("activation", (np.ones(2, "datetime64[s]"), "relu"), {}, TypeError, r"datetime64\[s\]"),
    ("activation", ([[1.0], [1.0, 2.0]], "relu"), {}, ValueError, r"`x`.*one length.*Received"),
    ("activation", (np.ma.array([1.0, 2.0], mask=[0, 1]), "relu"), {}, TypeError,
     r"`x` must have no masked values.*Received: 1 masked"),
    ("softmax", (X23, 2), {}, ValueError, r"`axis` must be an integer from -2 to 1\. Received: 2"),
    ("softmax", (X23, -3), {}, ValueError, r"`axis`.*Received: -3"),
    ("log_softmax", (X23,), {"axis": 0.5}, TypeError, r"`axis`.*Received: 0\.5 of type float"),
    ("activation_grad", (X23, "relu"), {}, ValueError,
     r"argument `y` must be given\. Received: no `y` or `x`"),
    ("activation_grad", (X23, "gelu"), {"y": X23}, ValueError, r"`x` must be given.*no `x`"),
    ("activation_grad", (X23, "tanh"), {"y": B4}, ValueError,
     r"`dy` must have shape \(4,\), that of `y`\. Received: shape \(2, 3\)"),
    ("activation_grad", (X23, "softmax"), {"y": B4}, ValueError, r"`dy`.*Received: shape \(2, 3\)"),
    ("activation_grad", (X23, "glu"), {"x": X23}, ValueError, r"multiple of 2.*Received: 3"),
    ("activation_grad", (X23, "glu"), {"x": np.ones((2, 4))}, ValueError, r"`dy`.*\(2, 2\)"),
    ("prelu", (X23, B4), {}, ValueError, r"`alpha`.*m = 3.*Received: shape \(4,\)"),
    ("prelu", (1.0, B4), {}, ValueError, r"`x` must have at least 1 axis"),
    ("prelu_grad", (B4, X23, B4[:3]), {}, ValueError, r"`dy`.*Received: shape \(4,\)"),
    # dense
    ("dense", (B4, K34), {}, ValueError, r"`x` must have shape \(n, d\)\. Received: shape \(4,\)"),
    ("dense", (np.ones((2, 3, 4)), K34), {}, ValueError, r"`x`.*Received: shape \(2, 3, 4\)"),
    ("dense", (X23, B4), {}, ValueError, r"`kernel`.*Received: shape \(4,\)"),
    ("dense", (X23, K34.T), {}, ValueError, r"`kernel` must have.*d = 3.*Received: shape \(4, 3\)"),
    ("dense", (X23, K34, B4[:3]), {}, ValueError, r"`bias`.*m = 4.*Received: shape \(3,\)"),
    ("dense", (X23, K34, B4[:1]), {}, ValueError, r"`bias`.*Received: shape \(1,\)"),
    ("dense", (X23, K34, 1.0), {}, ValueError, r"`bias`.*Received: shape \(\)"),
    ("dense", (X23, K34, "b"), {}, TypeError, r"`bias` must hold real numbers\. Received: str"),
    ("dense", (X23, K34, None, "rleu"), {}, ValueError, r"nearest: 'relu'"),
    ("dense", (X23, K34), {"negative_slope": 1}, TypeError, r"'linear' has no parameter"),
    ("dense", (X23, X23.T @ X23, None, "glu"), {}, ValueError, r"`kernel`.*multiple of 2"),
    ("dense_grad", (X23, X23, K34), {}, ValueError, r"`dy`.*\(2, 4\).*Received: shape \(2, 3\)"),
    ("dense_grad", (np.ones((2, 4)), X23, K34), {"activation": "gelu"}, ValueError,
     r"'gelu'.*`z` must be given"),
    ("dense_grad", (np.ones((2, 4)), X23, K34), {"activation": "relu", "y": X23}, ValueError,
     r"`y`.*\(2, 4\).*Received: shape \(2, 3\)"),
    ("dense_grad", (np.ones((2, 4)), X23, K34), {"activation": "gelu", "z": X23}, ValueError,
     r"`z`.*\(2, 4\).*Received: shape \(2, 3\)"),
    # losses
    ("softmax_cross_entropy", (X23, [0, 3]), {}, ValueError,
     r"`labels` must hold classes from 0 to 2\. Received: 3 in row 1"),
    ("softmax_cross_entropy", (X23, [-1, 0]), {}, ValueError, r"Received: -1 in row 0"),
    ("softmax_cross_entropy", (X23, np.array([0, 2**64 - 1], "uint64")), {}, ValueError,
     r"Received: 18446744073709551615 in row 1"),
    ("softmax_cross_entropy", (X23, [0, 7]), {"ignore_index": -1}, ValueError,
     r"from 0 to 2, or ignore_index = -1\. Received: 7 in row 1"),
    ("softmax_cross_entropy", (X23, np.array([0.0, 0.5])), {}, ValueError,
     r"`labels` must hold whole numbers.*Received: 0\.5 in row 1"),
    ("softmax_cross_entropy", (X23, np.array([0.0, NAN])), {}, ValueError,
     r"Received: nan in row 1"),
    ("softmax_cross_entropy", (X23, ["a", "b"]), {}, TypeError, r"`labels` must hold real"),
    ("softmax_cross_entropy", (X23, [0, 1, 2]), {}, ValueError,
     r"`labels`.*n = 2.*Received: shape \(3,\)"),
    ("softmax_cross_entropy", (X23, np.ones((2, 4))), {}, ValueError,
     r"`labels` must have shape \(n,\) or \(n, c\).*Received: shape \(2, 4\)"),
    ("softmax_cross_entropy", (X23, 1), {}, ValueError, r"`labels`.*Received: shape \(\)"),
    ("softmax_cross_entropy", (B4, [0]), {}, ValueError, r"`logits`.*Received: shape \(4,\)"),
    ("softmax_cross_entropy", (np.ones((2, 0)), [0, 0]), {}, ValueError, r"at least 1 column"),
    ("softmax_cross_entropy", (np.ones((0, 3)), []), {}, ValueError, r"at least 1 row.*Received"),
    ("softmax_cross_entropy", LOSS_LABELS, {"reduction": "avg"}, ValueError,
     r"`reduction` must be one of 'mean', 'sum', 'none'\. Received: 'avg'"),
    ("softmax_cross_entropy", LOSS_LABELS, {"reduction": None}, ValueError, r"Received: None"),
    ("softmax_cross_entropy", LOSS_LABELS, {"label_smoothing": 1.5}, ValueError,
     r"`label_smoothing` must be a number of at least 0 and of at most 1\. Received: 1\.5"),
    ("softmax_cross_entropy", LOSS_LABELS, {"label_smoothing": NAN}, ValueError, r"Received: nan"),
    ("softmax_cross_entropy", LOSS_LABELS, {"label_smoothing": None}, TypeError, r"Received: None"),
    ("softmax_cross_entropy", LOSS_LABELS, {"ignore_index": 0.5}, TypeError, r"`ignore_index`"),
    ("softmax_cross_entropy", (X23, X23), {"ignore_index": 1}, ValueError,
     r"`ignore_index` must be None unless.*Received: ignore_index=1"),
    ("softmax_cross_entropy", LOSS_LABELS, {"sample_weight": [1.0]}, ValueError,
     r"`sample_weight`.*n = 2.*Received: shape \(1,\)"),
    ("softmax_cross_entropy", LOSS_LABELS, {"sample_weight": X23}, ValueError, r"`sample_weight`"),
    ("softmax_cross_entropy", LOSS_LABELS, {"gradient": False, "out": X23.copy()}, ValueError,
     r"`out` must be None where no gradient"),
    ("categorical_crossentropy", (X23, [0, 3]), {}, ValueError, r"Received: 3 in row 1"),
    ("categorical_crossentropy", (B4, [0]), {}, ValueError, r"`probabilities`.*Received"),
    ("categorical_crossentropy", LOSS_LABELS, {"epsilon": 0.0}, ValueError, r"`epsilon`.*0\.0"),
    ("binary_crossentropy", (X23, X23), {"epsilon": 0.5}, ValueError, r"`epsilon`.*below 0\.5"),
    ("binary_crossentropy", (X23, B4), {}, ValueError,
     r"`labels` must have shape \(2, 3\), that of `probabilities`\. Received: shape \(4,\)"),
    ("sigmoid_cross_entropy", (X23, X23), {"label_smoothing": -0.1}, ValueError, r"-0\.1"),
    ("mean_squared_error", (np.ones((2, 1)), np.ones(2)), {}, ValueError,
     r"`y_true` must have shape \(2, 1\), that of `y_pred`\. Received: shape \(2,\)"),
    ("mean_squared_error", (np.ones(()), np.ones(())), {}, ValueError, r"`y_pred`.*Received"),
    ("mean_squared_error", (np.ones((2, 2, 2)),) * 2, {}, ValueError, r"`y_pred`.*\(n, c\)"),
    ("mean_squared_error", (np.ones((2, 0)),) * 2, {}, ValueError, r"at least 1 column"),
    ("mean_squared_error", (np.ones(0), np.ones(0)), {}, ValueError, r"at least 1 row"),
    ("mean_absolute_error", (X23, [["a"] * 3] * 2), {}, TypeError, r"`y_true` must hold real"),
    ("categorical_hits", (X23, [0, 3]), {}, ValueError, r"Received: 3 in row 1"),
    ("categorical_hits", (B4, [0]), {}, ValueError, r"`predictions`.*Received"),
    ("binary_hits", (X23, B4), {}, ValueError, r"`labels`.*that of `predictions`"),
    ("loss", ("hubber", X23, X23), {}, ValueError, r"Unknown loss.*'huber'.*Received: 'hubber'"),
    ("loss", ("huber", X23, X23), {"gamma": 1.0}, TypeError, r"no parameter 'gamma'.*'?delta"),
    ("loss", ("huber", X23, X23), {"delta": -1.0}, ValueError, r"`delta`.*Received: -1"),
    ("loss", ("softmax_cross_entropy", X23, [0, 1]), {"delta": 1}, TypeError, r"expected none"),
    ("loss", ("dice", X23, X23), {"axis": "both"}, ValueError, r"`axis`.*Received: 'both'"),
    ("loss", ("poisson", X23, B4), {}, ValueError, r"`y_true` must have shape"),
    ("loss", ("gaussian_nll", X23, X23), {}, ValueError, r"`y_pred` must have an even number"),
    ("loss", ("circle", X23, [0.5, 1.0]), {}, ValueError, r"`y_true` must hold whole numbers"),
    ("loss", ("circle", X23, [0, 1, 2]), {}, ValueError, r"`y_true` must have shape"),
    ("loss", ("hinge", X23, X23), {"ignore_index": 1}, ValueError, r"`ignore_index` must be None"),
    ("score", ("top_hits", X23, [0, 1]), {}, ValueError, r"Unknown score.*'top_k_hits'"),
    ("score", ("top_k_hits", X23, [0, 1]), {"n": 1}, TypeError, r"no parameter 'n'.*Received: n=1"),
    ("score", ("top_k_hits", X23, [0, 7]), {}, ValueError, r"Received: 7 in row 1"),
    ("tally", ("moment", X23, X23, np.zeros(15)), {}, ValueError, r"Unknown tally.*'moments'"),
    ("tally", ("moments", X23, B4, np.zeros(15)), {}, ValueError, r"`y_true` must have shape"),
    ("tally", ("moments", X23, X23, [0.0]), {}, TypeError, r"`state` must be a NumPy array"),
    ("tally", ("moments", X23, X23, np.zeros(15, "f4")), {}, TypeError, r"`state` must have dtype"),
    ("binary_hits", (X23, X23), {"threshold": NAN}, ValueError, r"`threshold`.*Received: nan"),
    # optimizers
    ("adam_update", ([1.0], [1.0], np.ones(1), np.ones(1), 1, 0.1), {}, TypeError,
     r"`param` is updated in place.*Received: list"),
    ("adam_update", (np.ones(2), B4, np.ones(2), np.ones(2), 1, 0.1), {}, ValueError,
     r"`grad` must have shape \(2,\), that of `param`\. Received: shape \(4,\)"),
    ("adam_update", (np.ones(2), np.ones(2), B4.copy(), np.ones(2), 1, 0.1), {}, ValueError,
     r"`m` must have shape \(2,\).*Received: shape \(4,\)"),
    ("adam_update", (np.ones(2), np.ones(2), np.ones(2), np.ones(2, "float32"), 1, 0.1), {},
     TypeError, r"`v` must have dtype float64, that of `param`\. Received: dtype float32"),
    ("adam_update", (np.ones(2, "float16"),) * 4 + (1, 0.1), {}, TypeError,
     r"`param`.*float32 or float64\. Received: dtype float16"),
    ("adam_update", (np.ones(2), np.ones(2), read_only(np.ones(2)), np.ones(2), 1, 0.1), {},
     ValueError, r"`m`.*writeable\. Received: a read-only array"),
    ("adam_update", (np.ones(2, "float32"), np.ones(2), np.ones(2, "float32"),
                     np.ones(2, "float32"), 1, 0.1), {}, TypeError,
     r"`grad` must have dtype float32.*Received: dtype float64"),
    ("adam_update", (np.ones(2), ["a", "b"], np.ones(2), np.ones(2), 1, 0.1), {}, TypeError,
     r"`grad` must hold real numbers"),
    ("adam_update", (same := np.ones(2), np.ones(2), same, np.ones(2), 1, 0.1), {}, ValueError,
     r"`param` and `m` must not share memory\. Received: arrays that overlap"),
    ("adam_update", ((arena := np.ones(6))[:4], np.ones(4), np.ones(4), arena[2:], 1, 0.1), {},
     ValueError, r"`param` and `v` must not share memory"),
    *[("adam_update", (np.ones(2), np.ones(2), np.zeros(2), np.zeros(2), *rest), keywords, error,
       message)
      for rest, keywords, error, message in [
          ((0, 0.1), {}, ValueError, r"`step` must be an integer of at least 1\. Received: 0"),
          ((1.0, 0.1), {}, TypeError, r"`step`.*Received: 1\.0 of type float"),
          ((1, -0.1), {}, ValueError, r"`learning_rate`.*at least 0\. Received: -0\.1"),
          ((1, NAN), {}, ValueError, r"`learning_rate`.*Received: nan"),
          ((1, float("inf")), {}, ValueError, r"`learning_rate`.*Received: inf"),
          ((1, "0.1"), {}, TypeError, r"`learning_rate`.*Received: '0\.1'"),
          ((1, [0.1]), {}, TypeError, r"`learning_rate`.*Received: \[0\.1\]"),
          ((1, 0.1), {"beta_1": 1.0}, ValueError, r"`beta_1`.*below 1\. Received: 1\.0"),
          ((1, 0.1), {"beta_2": -0.5}, ValueError, r"`beta_2`.*Received: -0\.5"),
          ((1, 0.1), {"epsilon": NAN}, ValueError, r"`epsilon`.*Received: nan"),
          ((1, 0.1), {"weight_decay": None}, TypeError, r"`weight_decay`.*Received: None"),
      ]],
    ("adamw_update", (np.ones(2), np.ones(3), np.ones(2), np.ones(2), 1, 0.1), {}, ValueError,
     r"`grad`"),
    ("sgd_update", (np.ones(2), np.ones(2), 0.1), {"momentum": 0.9}, ValueError,
     r"`velocity` must be given.*Received: velocity=None, momentum=0\.9"),
    ("sgd_update", (np.ones(2), np.ones(2), 0.1), {"nesterov": True}, ValueError, r"nesterov=True"),
    ("sgd_update", (np.ones(2), np.ones(2), 0.1), {"velocity": np.ones(3), "momentum": 0.5},
     ValueError, r"`velocity` must have shape \(2,\)"),
    ("sgd_update", (np.ones(2), np.ones(2), 0.1), {"velocity": np.ones(2), "momentum": 1.5},
     ValueError, r"`momentum`.*at most 1\. Received: 1\.5"),
    ("sgd_update", (read_only(np.ones(2)), np.ones(2), 0.1), {}, ValueError, r"`param`.*read-only"),
    # dropout
    ("dropout", (X23, 1.0, 1), {}, ValueError, r"`rate`.*at least 0 and below 1\. Received: 1\.0"),
    ("dropout", (X23, -0.1, 1), {}, ValueError, r"`rate`.*Received: -0\.1"),
    ("dropout", (X23, NAN, 1), {}, ValueError, r"`rate`.*Received: nan"),
    ("dropout", (X23, 0.5, -1), {}, ValueError, r"`seed` must be an integer from 0.*Received: -1"),
    ("dropout", (X23, 0.5, 0.5), {}, TypeError, r"`seed`.*Received: 0\.5"),
    ("dropout", (X23, 0.5, 1), {"step": 2**32}, ValueError, r"`step`.*Received: 4294967296"),
    ("dropout", (X23, 0.5, 1), {"stream": -1}, ValueError, r"`stream`.*Received: -1"),
    ("dropout", (1.0, 0.5, 1), {}, ValueError, r"`x` must have at least 1 axis"),
]


# The updates whose doors come from their rows: made, not listed.
for _row in spec.OPTIMIZERS.values():
    if _row.name in ("sgd", "momentum", "adam"):
        continue
    _shapes = {"row": (2,), "column": (2,)}
    _full = [np.ones((2, 2)), np.ones((2, 2)),
             *(np.ones(_shapes[name] if name in _row.factored else (2, 2)) for name in _row.slots)]
    _counted = (1,) if _row.counts else ()
    _name = f"{_row.name}_update"
    REFUSED += [
        (_name, (*_full, *_counted, -0.1), {}, ValueError, r"`learning_rate`.*Received: -0\.1"),
        (_name, (*_full, *_counted, 0.1), {_row.params[0][0]: "a"}, TypeError,
         f"`{_row.params[0][0]}`.*Received: 'a'"),
        (_name, ([1.0], *_full[1:], *_counted, 0.1), {}, TypeError, "`param`.*Received: list"),
        (_name, (_full[0], np.ones(3), *_full[2:], *_counted, 0.1), {}, ValueError,
         r"`grad` must have shape \(2, 2\).*Received: shape \(3,\)"),
        (_name, (*_full[:2], *(np.ones(7) for _ in _row.slots), *_counted, 0.1), {}, ValueError,
         rf"`{_row.slots[0]}` must have shape.*Received: shape \(7,\)"),
    ]
    if _row.counts:
        REFUSED.append((_name, (*_full, 0, 0.1), {}, ValueError, r"`step`.*Received: 0"))
    if _row.kind == "variable":
        REFUSED.append((_name, tuple(np.ones((2, 2, 2)) for _ in _full) + (*_counted, 0.1), {},
                        ValueError, r"`param` must have shape.*Received: shape \(2, 2, 2\)"))
UPDATES = {row.name: row for row in spec.OPTIMIZERS.values()
           if row.name not in ("sgd", "momentum", "adam")}


def arrays_in(arguments, keywords):
    return [a for a in (*arguments, *keywords.values()) if isinstance(a, np.ndarray)]


@pytest.mark.parametrize(("name", "arguments", "keywords", "error", "message"), REFUSED)
def test_refusals_name_the_argument_and_change_nothing(name, arguments, keywords, error, message):
    given = arrays_in(arguments, keywords)
    before = [a.copy() for a in given]
    with pytest.raises(error, match=message) as caught:
        getattr(ops, name)(*arguments, **keywords)
    assert "Received" in str(caught.value)
    for a, b in zip(given, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_function_refuses_something():
    assert {case[0] for case in REFUSED} == set(ops.__all__)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="longdouble is float64 here")
def test_wider_floats_are_refused():
    with pytest.raises(TypeError, match=rf"`x` must hold real.*{np.dtype(np.longdouble)}"):
        ops.activation(np.ones(2, np.longdouble), "relu")


def test_masked_arrays_without_masked_values_are_arrays():
    x = np.ma.array([1.0, -2.0], mask=[False, False])
    np.testing.assert_array_equal(ops.activation(x, "relu"), [1.0, 0.0])


# -- the door itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", UPDATES)
def test_updates_made_from_rows(backend, name):
    """The kernel's result, in place, also for arrays that are not contiguous; and the example."""
    row, rng = UPDATES[name], np.random.default_rng(3)
    lengths = {"row": (3,), "column": (4,)}
    arrays = [rng.uniform(0.5, 2.0, lengths[slot] if slot in row.factored else (3, 4))
              for slot in ("param", "grad", *row.slots)]
    counted = (3,) if row.counts else ()
    plain, odd = [a.copy() for a in arrays], [np.array(a) for a in arrays]
    odd[0] = np.asfortranarray(odd[0])
    door = getattr(ops, f"{name}_update")
    assert door(*plain, *counted, 0.1) is None
    assert door(*odd, *counted, 0.1) is None
    expected = [a.copy() for a in arrays]
    if row.kind == "elementwise":
        expected = [a.reshape(-1) for a in expected]
    params = tuple(value for _, value in row.params)
    getattr(backend.optimizers, f"{name}_update")(*expected, *counted, 0.1, *params)
    for a, b, c in zip(plain, odd, expected, strict=True):
        np.testing.assert_array_equal(a, c.reshape(a.shape))
        np.testing.assert_array_equal(b, c.reshape(a.shape))
    assert (plain[0] != arrays[0]).any()
    examples = doctest.DocTestFinder(recurse=False).find(door, globs={})
    runner = doctest.DocTestRunner()
    assert sum(runner.run(example).attempted for example in examples) >= 6
    assert runner.failures == 0
    assert tuple(inspect.signature(door).parameters)[:2] == ("param", "grad")


@pytest.mark.parametrize("name", ["adam", "sgd", *UPDATES])
def test_defaults_of_updates_are_those_of_the_tables(name):
    parameters = inspect.signature(getattr(ops, f"{name}_update")).parameters
    for key, value in spec.OPTIMIZERS[name].params:
        assert parameters[key].default == value


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_that_is_right_is_not_copied(dtype):
    x = np.ones((3, 4), dtype)
    fixed = read_only(x)
    assert checks.float_array(x, "x") is x
    assert checks.float_array(fixed, "x") is fixed
    first, second = checks.float_arrays((x, fixed), ("a", "b"))
    assert first is x
    assert second is fixed
    assert checks.float_like(x, "x", x.dtype) is x
    labels = np.array([0, 1])
    assert checks.class_labels(labels, "labels", 2, 2) is labels
