"""The operations of layers besides products and activations, in whole plans on every backend."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from test_executor import DTYPES, Network, defaults, flat, gradients, train

from fusedmlp import plan
from fusedmlp.kernels.layout import read, write


def network(shapes, build, *, columns=5, shape=None, dtype="float64", batch=8, optimizer="sgd",
            training=True, loss="mean_squared_error", frozen=(), seed=1, scale=None, sparse=False,
            observe=0, slots=None):
    """A plan of what `build(builder, x, p)` emits, and its parameters; `p` are buffers.

    Parameters
    ----------
    shapes : list of tuple
        Of the parameters; the numbers of those that training leaves alone are in `frozen`.
    optimizer : str or callable
        A row of the optimizers, or what appends the updates to a builder, with `slots` arrays.
    sparse : bool
        Whether the data is a matrix in compressed rows.
    observe : int
        Steps from one that is observed to the next; 0 for none.
    """
    itemsize = np.dtype(dtype).itemsize
    order = sorted(range(len(shapes)), key=lambda i: i in frozen)
    places, size = plan.layout([shapes[i] for i in order], itemsize)
    where = dict(zip(order, places, strict=True))
    trainable = plan.layout([shapes[i] for i in order if i not in frozen], itemsize)[1]
    builder = plan.Builder(batch, dtype, training=training and optimizer is not None)
    x = builder.input(columns, shape=shape, sparse=sparse)
    p = [builder.parameter(f"p{i}", shapes[i], *where[i], trainable=i not in frozen)
         for i in range(len(shapes))]
    h = build(builder, x, p)
    width = builder.size(h)
    if loss is not None:
        builder.loss(loss, h, builder.input(width, "y", "labels"),
                     gradient=optimizer is not None)
    trained = optimizer if loss is not None else None
    lowered = builder.finish(
        [h], optimizer=trained, parameter_size=size, trainable_size=trainable,
        optimizer_params=defaults(trained) if isinstance(trained, str) else (), observe=observe,
        below=lambda name, params: 1e-3)
    rng = np.random.default_rng(seed)
    arena = np.zeros(size, dtype)
    for i, shape in enumerate(shapes):
        rows = shape[0] if len(shape) == 2 else 1
        value = rng.standard_normal((rows, shape[-1])) / np.sqrt(rows)
        if scale is not None and i in scale:
            value = scale[i](value)
        write(flat(arena, rows, *where[i]), value)
    count = {"adam": 2}.get(trained, 0) if slots is None else slots
    slots = tuple(np.zeros(trainable, dtype) for _ in range(count))
    places = [(shape, *where[i]) for i, shape in enumerate(shapes)]
    return Network(plan=lowered, arena=arena, width=width, slots=slots, places=places,
                   trainable=[place for i, place in enumerate(places) if i not in frozen])


def assign(net, place, value):
    """Store a parameter, of the place that is `net.places[i]`."""
    shape, offset, step = place
    write(flat(net.arena, shape[0] if len(shape) == 2 else 1, offset, step), value)


def value_of(net, place):
    shape, offset, step = place
    rows = shape[0] if len(shape) == 2 else 1
    return read(flat(net.arena, rows, offset, step), rows, shape[-1])


def executor(backend, net, seed=3):
    return backend.executor.Executor(net.plan, net.arena, net.slots, seed)


def normals(net, n, columns=5, dtype="float64", seed=5):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, columns)).astype(dtype), \
        rng.standard_normal((n, net.width)).astype(dtype)


def numbers(net, n, columns=3, count=7, dtype="float64", seed=5):
    """Rows of a table for each column, some of them more than once, and targets."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, count, (n, columns)).astype(dtype), \
        rng.standard_normal((n, net.width)).astype(dtype)


def ordinary(shapes, build, **more):
    return SimpleNamespace(shapes=shapes, build=build, data=normals, columns=5, **more)


def tables(shapes, build, **more):
    return SimpleNamespace(shapes=shapes, build=build, data=numbers, columns=3, **more)


def between(middle):
    """`middle` behind a dense layer of six, and another one of four behind it."""
    def build(b, x, p):
        h = b.activation(b.dense(x, p[0], p[1]), "tanh")
        return b.dense(middle(b, h, p[4:]), p[2], p[3])
    return build


STACK = [(5, 6), (6,), (6, 4), (4,)]
MOVING = [(6,), (6,)]


def batch_norm(gamma, beta, **more):
    def middle(b, h, p):
        mean, variance, *rest = p
        rest = list(rest)
        return b.batch_norm(h, mean, variance, rest.pop(0) if gamma else None,
                            rest.pop(0) if beta else None, momentum=0.9, epsilon=1e-3, **more)
    return middle


def row_norm(kind, gamma, beta):
    def middle(b, h, p):
        p = list(p)
        return b.row_norm(h, kind, 1e-3, p.pop(0) if gamma else None, p.pop(0) if beta else None)
    return middle


POSITIVE = {5: np.abs}  # a variance
CASES = {
    "batch norm": ordinary(STACK + MOVING + [(6,), (6,)], between(batch_norm(True, True)),
                           frozen=(4, 5)),
    "batch norm, gamma alone": ordinary(STACK + MOVING + [(6,)], between(batch_norm(True, False)),
                                        frozen=(4, 5)),
    "batch norm, beta alone": ordinary(STACK + MOVING + [(6,)], between(batch_norm(False, True)),
                                       frozen=(4, 5)),
    "batch norm, neither": ordinary(STACK + MOVING, between(batch_norm(False, False)),
                                    frozen=(4, 5)),
    "batch norm, gamma frozen": ordinary(STACK + MOVING + [(6,), (6,)],
                                         between(batch_norm(True, True)), frozen=(4, 5, 6)),
    "batch norm frozen": ordinary(STACK + MOVING + [(6,), (6,)],
                                  between(batch_norm(True, True, batch=False)),
                                  frozen=(4, 5, 6, 7), scale=POSITIVE),
    "batch norm first": ordinary(
        [(5,), (5,), (5,), (5,), (5, 4)],
        lambda b, x, p: b.dense(b.batch_norm(x, p[0], p[1], p[2], p[3], momentum=0.9,
                                             epsilon=1e-3), p[4]), frozen=(0, 1)),
    "layer norm": ordinary([*STACK, (6,), (6,)], between(row_norm("layer", True, True))),
    "layer norm, bare": ordinary(STACK, between(row_norm("layer", False, False))),
    "layer norm, beta alone": ordinary([*STACK, (6,)], between(row_norm("layer", False, True))),
    "rms norm": ordinary([*STACK, (6,)], between(row_norm("rms", True, False))),
    "unit norm": ordinary(STACK, between(row_norm("unit", False, False))),
    "alpha dropout": ordinary(STACK, between(lambda b, h, p: b.alpha_dropout(h, 0.3))),
    "gaussian dropout": ordinary(STACK, between(lambda b, h, p: b.gaussian_dropout(h, 0.5))),
    "gaussian noise": ordinary(STACK, between(lambda b, h, p: b.gaussian_noise(h, 0.5))),
    "noise first": ordinary([(5, 4)], lambda b, x, p: b.dense(b.gaussian_noise(x, 0.5), p[0])),
    "permuted": ordinary(STACK, between(
        lambda b, h, p: b.view(b.take_columns(b.view(h, (2, 3)), (0, 3, 1, 4, 2, 5), (3, 2)),
                               (6,)))),
    "taken several times": ordinary(
        [(5, 6), (6,), (9, 4), (4,)],
        between(lambda b, h, p: b.take_columns(h, (5, 0, 0, 3, 5, 5, 1, 0, 2), (9,)))),
    "activity penalty": ordinary(STACK, between(
        lambda b, h, p: b.activity_penalty(h, l1=0.2, l2=0.3) or h)),
    "activity penalty on a sample of rows": ordinary(
        [(5, 6), (6,), (8, 4), (4,), (3, 4)], between(lambda b, h, p: penalized(b, h, p[0]))),
    "orthogonal penalty": ordinary(STACK, between(lambda b, h, p: h)),
    "embedding": tables([(7, 4), (12, 2), (2,)], lambda b, x, p: b.dense(
        b.view(b.embedding(x, p[0]), (12,)), p[1], p[2])),
    "embedding, last axis": tables(
        [(7, 4), (4, 5), (5,), (15, 2)],
        lambda b, x, p: b.dense(b.view(b.activation(b.dense(b.embedding(x, p[0]), p[1], p[2]),
                                                    "silu"), (15,)), p[3])),
    "wide embedding": tables([(7, 40), (120, 2)], lambda b, x, p: b.dense(
        b.view(b.embedding(x, p[0]), (120,)), p[1])),
    "norms of the last axis": tables(
        [(7, 4), (4,), (4,), (4,), (4,), (4,), (12, 2)],
        lambda b, x, p: b.dense(b.view(b.row_norm(b.batch_norm(
            b.embedding(x, p[0]), p[1], p[2], p[3], momentum=0.5, epsilon=1e-3), "layer", 1e-3,
            p[4], p[5]), (12,)), p[6]), frozen=(1, 2)),
    "softmax of the last axis": tables([(7, 4), (12, 2)], lambda b, x, p: b.dense(
        b.view(b.activation(b.embedding(x, p[0]), "softmax"), (12,)), p[1])),
    "prelu of the last axis": tables([(7, 4), (4,), (12, 2)], lambda b, x, p: b.dense(
        b.view(b.prelu(b.embedding(x, p[0]), p[1]), (12,)), p[2])),
    "data of several dimensions": SimpleNamespace(
        shapes=[(2, 3), (3,), (9, 4)], data=normals, columns=6, shape=(3, 2),
        build=lambda b, x, p: b.dense(b.view(b.activation(b.dense(x, p[0], p[1]), "tanh"), (9,)),
                                      p[2])),
    "predictions of several dimensions": SimpleNamespace(
        shapes=[(2, 3), (3,)], data=normals, columns=6, shape=(3, 2),
        build=lambda b, x, p: b.dense(x, p[0], p[1])),
}


def penalized(b, h, kernel):
    """Six as two rows of three, eight as two rows of four, with a penalty on them."""
    h = b.dense(b.view(h, (2, 3)), kernel)
    b.activity_penalty(h, l2=0.3)
    return b.view(h, (8,))


def lowered(name, **more):
    case = CASES[name]
    shapes, build = case.shapes, case.build
    if name == "orthogonal penalty":
        def build(b, x, p):
            b.orthogonal_penalty(p[0], 0.5)
            b.orthogonal_penalty(p[2], 0.7, "columns")
            b.penalty(p[2], l2=0.1)
            return case.build(b, x, p)
    keys = ("frozen", "scale", "shape")
    options = {key: getattr(case, key) for key in keys if hasattr(case, key)}
    return network(shapes, build, columns=case.columns, **{**options, **more})


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_finite_differences_of_the_loss(backend, name):
    net = lowered(name)
    run = executor(backend, net)
    data = CASES[name].data(net, 7, CASES[name].columns)

    def value():
        run.totals[:] = 0.0
        train(run, data, 8)
        total, count = run.totals[0]
        assert count == 7
        return total / count

    value()
    found = gradients(run, net)
    assert len(found) == len(net.trainable)
    assert any(np.abs(g).max() > 1e-3 for g in found)
    h = 1e-4
    for place, gradient in zip(net.trainable, found, strict=True):
        parameter = value_of(net, place).copy()
        assert gradient.shape == parameter.shape
        for index in np.ndindex(parameter.shape):
            around = []
            for step in (h, -h, 2.0 * h, -2.0 * h):
                moved = parameter.copy()
                moved[index] += step
                assign(net, place, moved)
                around.append(value())
            assign(net, place, parameter)
            expected = (8.0 * (around[0] - around[1]) - (around[2] - around[3])) / (12.0 * h)
            assert abs(gradient[index] - expected) < 1e-8 * (1.0 + abs(expected))


def trained(backend, name, dtype, rows=83, batch=20, threads=None, epochs=3):
    net = lowered(name, dtype=dtype, batch=batch, optimizer="adam")
    data = CASES[name].data(net, rows, CASES[name].columns, dtype=dtype)
    run = executor(backend, net, seed=11)
    if threads is not None:
        threads[0](threads[1])
    steps = -(-rows // batch)
    totals = []
    for epoch in range(epochs):
        order = np.random.default_rng([7, epoch]).permutation(rows)
        run.totals[:] = 0.0
        train(run, data, batch, order=order, rate=0.02, iteration=epoch * steps)
        totals.append(run.totals.copy())
    return net, np.array(totals)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_a_run_agrees_with_the_oracle(oracle, other, name, dtype):
    net, totals = trained(other, name, dtype)
    expected, sums = trained(oracle, name, dtype)
    tolerance = 1e-3 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(totals, sums, rtol=tolerance, atol=0.0)
    for value, wanted in zip(net.values, expected.values, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=tolerance, atol=tolerance)
    assert totals[-1, 0, 0] < totals[0, 0, 0]
    assert len(totals) == 3


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_for_any_number_of_threads(other, use_threads, name):
    first, totals = trained(other, name, "float32", threads=(use_threads, 1), epochs=1)
    for count in (2, 3):
        again, sums = trained(other, name, "float32", threads=(use_threads, count), epochs=1)
        np.testing.assert_array_equal(again.arena, first.arena)
        np.testing.assert_array_equal(sums, totals)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_fewer_rows_than_threads(other, oracle, use_threads, rows):
    """Statistics of a batch of one, and threads without a row of their own."""
    names = ("batch norm", "layer norm", "embedding, last axis", "norms of the last axis")
    for name in names:
        first, totals = trained(other, name, "float64", rows, 2, threads=(use_threads, 1))
        again, sums = trained(other, name, "float64", rows, 2, threads=(use_threads, 3))
        expected, _ = trained(oracle, name, "float64", rows, 2)
        np.testing.assert_array_equal(again.arena, first.arena)
        np.testing.assert_array_equal(sums, totals)
        np.testing.assert_allclose(first.arena, expected.arena, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in CASES if "penalty" not in name])
def test_predictions(backend, oracle, name, dtype):
    """Any number of rows, the same bits for any batch where that is promised."""
    net, reference = (lowered(name, dtype=dtype, loss=None, training=False, batch=32,
                              **({"scale": {CASES[name].frozen[1]: np.abs}}
                                 if "norms of" in name or "batch norm" in name else {}))
                      for _ in range(2))
    run, expected = executor(backend, net), executor(oracle, reference)
    x, _ = CASES[name].data(net, 70, CASES[name].columns, dtype=dtype)
    x.flags.writeable = False
    whole, wanted = (np.full((70, net.width), np.nan, dtype) for _ in range(2))
    run.forward(x, whole)
    expected.forward(x, wanted)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(whole, wanted, rtol=tolerance, atol=tolerance)
    assert np.isfinite(whole).all()
    if backend is not oracle:
        for start, stop in ((0, 1), (3, 10), (33, 70)):
            part = np.full((stop - start, net.width), np.nan, dtype)
            run.forward(x[start:stop], part)
            np.testing.assert_array_equal(part, whole[start:stop])


# -- statistics of batches -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [5, 70])
def test_moving_statistics(backend, columns, dtype):
    """Those of each batch, by hand; a batch of three is the last one."""
    net = network([(columns,), (columns,)],
                  lambda b, x, p: b.batch_norm(x, p[0], p[1], momentum=0.75, epsilon=1e-3),
                  columns=columns, frozen=(0, 1), dtype=dtype)
    assign(net, net.places[0], np.zeros(columns))
    assign(net, net.places[1], np.ones(columns))
    x, y = normals(net, 19, columns, dtype)
    x = (3.0 * x + 1.0).astype(dtype)
    mean, variance = np.zeros(columns), np.ones(columns)
    train(executor(backend, net), (x, y), 8)
    for start in (0, 8, 16):
        part = x[start : start + 8].astype(np.float64)
        mean = 0.75 * mean + 0.25 * part.mean(axis=0)
        variance = 0.75 * variance + 0.25 * part.var(axis=0)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(net.values[0][0], mean, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(net.values[1][0], variance, rtol=tolerance, atol=tolerance)


def test_a_large_mean_costs_no_precision(backend):
    """The variance is that of the distances from the mean, not a difference of large sums."""
    net = network([(3,), (3,)],
                  lambda b, x, p: b.batch_norm(x, p[0], p[1], momentum=0.0, epsilon=0.0),
                  columns=3, frozen=(0, 1), dtype="float32", batch=64)
    x = np.random.default_rng(0).integers(0, 2, (64, 3)).astype(np.float32) + 4096.0
    train(executor(backend, net), (x, np.zeros_like(x)), 64)
    np.testing.assert_allclose(net.values[1][0], x.astype(np.float64).var(axis=0), rtol=1e-6)


# -- rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 7, 33, 100])
def test_rows_by_hand(backend, columns):
    x = np.random.default_rng(1).standard_normal((6, columns))
    x[4] = 0.0
    x[5] *= 1e-20
    variance = x.var(axis=1, keepdims=True)
    squares = np.square(x)
    length = np.sqrt(squares.sum(axis=1, keepdims=True))
    expected = {
        "layer": (x - x.mean(axis=1, keepdims=True)) / np.sqrt(variance + 1e-3),
        "rms": x / np.sqrt(squares.mean(axis=1, keepdims=True) + 1e-3),
        "unit": x * np.where(length > 1e-12, 1.0 / np.maximum(length, 1e-300), 1e12),
    }
    for kind, wanted in expected.items():
        net = network([], lambda b, x, p, kind=kind: b.row_norm(x, kind, 1e-3), columns=columns,
                      loss=None)
        out = np.full_like(x, np.nan)
        executor(backend, net).forward(x, out)
        np.testing.assert_allclose(out, wanted, rtol=1e-12, atol=1e-14)


# -- random numbers ------------------------------------------------------------------------------


def drawn(backend, op, amount, *, rows=2000, columns=37, seed=None, iteration=5, dtype="float64",
          x=1.0):
    net = network([], lambda b, x, p: getattr(b, op)(x, amount, seed), columns=columns,
                  batch=rows, dtype=dtype)
    run = executor(backend, net, seed=9)
    data = np.full((rows, columns), x, dtype)
    train(run, (data, data), rows, iteration=iteration)
    buffer = next(b for b in net.plan.buffers if b.name == op)
    return run.buffer(buffer.index)


def test_gaussian_dropout_and_noise(backend, oracle):
    found = drawn(backend, "gaussian_dropout", 0.5, x=2.0)
    expected = np.empty_like(found)
    oracle.random.normal(1.0, 0.5, 9, 0, 5, expected)
    np.testing.assert_allclose(found, 2.0 * expected, rtol=1e-12, atol=1e-13)
    assert abs(found.mean() - 2.0) < 0.02
    assert abs(found.std() - 1.0) < 0.02
    noise = drawn(backend, "gaussian_noise", 0.25, x=-3.0, seed=77)
    oracle.random.normal(0.0, 0.25, 77, 0, 5, expected)
    np.testing.assert_allclose(noise, expected - 3.0, rtol=1e-12)
    single = drawn(backend, "gaussian_noise", 0.25, x=0.0, seed=77, dtype="float32")
    np.testing.assert_allclose(single, expected, rtol=3e-6, atol=1e-8)


def test_normal_numbers_are_normal(oracle):
    """Moments, and shares beyond a few distances, of a quarter of a million."""
    out = np.empty((500, 500))
    oracle.random.normal(0.0, 1.0, 3, 1, 2, out)
    assert abs(out.mean()) < 0.01
    assert abs(out.var() - 1.0) < 0.01
    assert abs((out**4).mean() - 3.0) < 0.06
    for limit, share in ((1.0, 0.3173105), (2.0, 0.0455003), (3.0, 0.0026998)):
        error = 4.0 * np.sqrt(share / out.size)
        assert abs((np.abs(out) > limit).mean() - share) < error
    assert len(np.unique(out)) > 0.999 * out.size


def test_the_quantiles_of_the_normal_distribution(oracle, monkeypatch):
    """Against the error function, to full precision, ends included."""
    mpmath = pytest.importorskip("mpmath")
    words = np.array([[0, 1, 12345, 2**28, 2**31 - 1, 2**31, 3 * 10**9, 2**32 - 1]], np.uint64)
    monkeypatch.setattr(oracle.random, "_bits", lambda *_: words)
    out = np.empty(words.shape)
    oracle.random.normal(0.0, 1.0, 0, 0, 0, out)
    with mpmath.workdps(40):
        for word, value in zip(words[0].tolist(), out[0], strict=True):
            p = (mpmath.mpf(word) + 0.5) / 2**32
            exact = mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1)
            assert abs(value - float(exact)) <= 4e-15 * abs(float(exact))


def test_alpha_dropout(backend, oracle):
    """The dropped ones take one value, the others are scaled so that mean and variance stay."""
    rate, low = 0.3, -1.0507009873554805 * 1.6732632423543772
    x = 0.5
    found = drawn(backend, "alpha_dropout", rate, x=x)
    mask = np.empty_like(found)
    oracle.random.dropout_mask(rate, 9, 0, 5, mask)
    a = ((1.0 - rate) * (1.0 + rate * low**2)) ** -0.5
    b = -a * low * rate
    np.testing.assert_allclose(found, a * np.where(mask == 0.0, low, x) + b, rtol=1e-13)
    assert abs((mask == 0.0).mean() - rate) < 0.01


def test_nothing_is_drawn_in_prediction(backend):
    for op in ("alpha_dropout", "gaussian_dropout", "gaussian_noise"):
        net = network([], lambda b, x, p, op=op: b.activation(getattr(b, op)(x, 0.5), "relu"),
                      loss=None, training=False)
        assert [op.op for op in net.plan.ops] == ["gather", "activation"]


# -- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [3, 50])
def test_numbers_that_name_no_row_are_nan_and_change_nothing(backend, columns):
    net = network([(4, columns)], lambda b, x, p: b.view(b.embedding(x, p[0]), (2 * columns,)),
                  columns=2, batch=8)
    table = net.values[0].copy()
    x = np.array([[0.0, 3.9], [-0.5, 4.0], [np.nan, 1e30], [-1.0, 2.0]])
    expected = np.full((4, 2, columns), np.nan)
    expected[0, 0], expected[0, 1], expected[1, 0] = table[0], table[3], table[0]
    expected[3, 1] = table[2]
    run = executor(backend, net)
    y = np.zeros((4, 2 * columns))
    run.check_finite = False
    train(run, (x, y), 8)
    out = run.buffer(net.plan.outputs[0])
    np.testing.assert_array_equal(out, expected.reshape(4, -1))
    (gradient,) = gradients(run, net)
    assert np.isfinite(gradient[1]).all()
    assert (gradient[1] == 0.0).all()
    assert (gradient[2] != 0.0).any()


def test_flatten_costs_nothing_behind_an_embedding():
    net = lowered("embedding", loss=None, training=False)
    assert [op.op for op in net.plan.ops] == ["gather", "embedding", "dense"]


def test_data_comes_in_the_form_that_is_read_first():
    net = lowered("data of several dimensions", loss=None, training=False)
    assert [op.op for op in net.plan.ops] == ["gather", "dense", "reshape", "dense"]


def test_a_loss_on_classes_wants_one_row_a_sample():
    with pytest.raises(ValueError, match=r"Flatten or Reshape .*\(3, 3\)"):
        network([(2, 3)], lambda b, x, p: b.dense(x, p[0]), columns=6, shape=(3, 2),
                loss="categorical_crossentropy")


# -- parameters ----------------------------------------------------------------------------------

LIMITS = {
    "max norm": ({"kind": "norm", "low": 0.0, "high": 0.7, "epsilon": 1e-7},
                 lambda n: np.clip(n, 0.0, 0.7) / (1e-7 + n)),
    "unit norm": ({"kind": "norm", "low": 1.0, "high": 1.0, "epsilon": 1e-7},
                  lambda n: 1.0 / (1e-7 + n)),
    "half way": ({"kind": "norm", "low": 0.5, "high": 0.8, "rate": 0.5, "epsilon": 1e-7},
                 lambda n: (0.5 * np.clip(n, 0.5, 0.8) + 0.5 * n) / (1e-7 + n)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("columns", [4, 75])
@pytest.mark.parametrize("name", LIMITS)
def test_norms_are_constrained_after_the_update(backend, name, columns, axis, dtype):
    attributes, factor = LIMITS[name]

    def build(b, x, p):
        b.constrain(p[0], axis=axis, **attributes)
        b.constrain(p[1], "non_negative")
        b.constrain(p[2], "non_negative")
        return b.dense(b.dense(x, p[0], p[1]), p[2])

    shapes = [(5, columns), (columns,), (columns, 3)]
    nets = [network(shapes, build, dtype=dtype),
            network(shapes, lambda b, x, p: b.dense(b.dense(x, p[0], p[1]), p[2]), dtype=dtype)]
    data = normals(nets[0], 8, dtype=dtype)
    for net in nets:
        train(executor(backend, net), data, 8, rate=0.1)
    kernel = nets[1].values[0].astype(np.float64)
    norms = np.sqrt(np.square(kernel).sum(axis=axis, keepdims=True))
    tolerance = 1e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(nets[0].values[0], kernel * factor(norms), rtol=tolerance,
                               atol=tolerance)  # a GPU may compute the one net otherwise
    for number in (1, 2):
        np.testing.assert_allclose(nets[0].values[number], np.maximum(nets[1].values[number], 0.0),
                                   rtol=tolerance, atol=tolerance)
        assert (nets[1].values[number] < 0.0).any()


def test_the_next_step_sees_what_was_constrained(backend):
    """Two steps at once are two runs of one: copies of the parameter follow the projection."""
    def build(b, x, p):
        b.constrain(p[1], "norm", high=0.1, epsilon=1e-7)
        return b.dense(b.activation(b.dense(x, p[0]), "tanh"), p[1])

    arenas = []
    for pieces in ([(0, 4)], [(i, i + 1) for i in range(4)]):
        net = network([(5, 40), (40, 3)], build, optimizer="adam")
        data = normals(net, 32)
        run = executor(backend, net)
        for start, stop in pieces:
            run.run(data, np.arange(32), 8, start, stop, np.full(4, 0.1), start, np.inf)
        arenas.append(net.arena)
    np.testing.assert_array_equal(*arenas)


def test_constraints_and_penalties_have_the_same_bits_for_any_number_of_threads(other,
                                                                                use_threads):
    def build(b, x, p):
        for number, axis in ((0, 0), (1, 1), (2, None)):
            b.constrain(p[number], "norm", high=0.5, epsilon=1e-7, axis=axis)
            b.orthogonal_penalty(p[number], 0.01)
        b.spectral_norm(p[3], p[4], 2, 1e-7)
        h = b.activation(b.dense(x, p[0]), "tanh")
        return b.dense(b.dense(b.dense(h, p[1]), p[2]), p[3])

    arenas = []
    for threads in (1, 2, 3):
        net = network([(5, 70), (70, 20), (20, 9), (9, 3), (3,)], build, frozen=(4,))
        use_threads(threads)
        train(executor(other, net), normals(net, 40), 8, rate=0.1)
        arenas.append(net.arena)
    np.testing.assert_array_equal(arenas[1], arenas[0])
    np.testing.assert_array_equal(arenas[2], arenas[0])


@pytest.mark.parametrize("columns", [4, 60])
def test_spectral_norm(backend, columns):
    """The kernel is divided by the estimate of the power iteration before the step."""
    def build(b, x, p):
        b.spectral_norm(p[0], p[1], 3, 1e-7)
        return b.dense(b.dense(x, p[0]), p[2])

    net = network([(5, columns), (columns,), (columns, 2)], build, frozen=(1,))
    kernel, u = net.values[0].copy(), net.values[1][0].copy()
    run = executor(backend, net)
    train(run, normals(net, 8), 8)
    for _ in range(3):
        v = kernel @ u
        v /= np.linalg.norm(v)
        u = v @ kernel
        u /= np.linalg.norm(u)
    sigma = v @ kernel @ u
    np.testing.assert_allclose(net.values[0], kernel / sigma, rtol=1e-12)
    np.testing.assert_allclose(net.values[1][0], u, rtol=1e-12)
    train(run, normals(net, 8 * 40), 8)
    assert abs(np.linalg.norm(net.values[0], 2) - 1.0) < 1e-3


def test_spectral_norm_of_zeros(backend):
    net = network([(5, 4), (4,)], lambda b, x, p: b.spectral_norm(p[0], p[1], 1, 1e-7)
                  or b.dense(x, p[0]), frozen=(1,))
    assign(net, net.places[0], np.zeros((5, 4)))
    u = net.values[1].copy()
    train(executor(backend, net), normals(net, 8), 8)
    np.testing.assert_array_equal(net.values[0], 0.0)
    np.testing.assert_array_equal(net.values[1], u)
