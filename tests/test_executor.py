"""Executors on plans that are lowered here by hand: gradients, epochs, totals, bits.

The truth is the finite difference of the loss that the executor itself reports, the agreement of
whole runs with the oracle, and plain NumPy for what a run adds up.
"""

from __future__ import annotations

import ctypes
import importlib
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import TESTED

from fusedmlp import backend as backends
from fusedmlp import plan, spec
from fusedmlp.kernels.layout import read, write

DTYPES = ("float32", "float64")


# -- networks ------------------------------------------------------------------------------------


def kernel_params(name):
    row = spec.ACTIVATIONS[name]
    return () if row.variants else tuple(float(value) for _, value in row.params)


def defaults(optimizer, **changes):
    return tuple(changes.get(key, value) for key, value in spec.OPTIMIZERS[optimizer].params)


def network(layers, *, dtype="float64", batch=8, columns=5, loss=None, labels="dense",
            weighted=False, optimizer=None, params=None, metrics=(), frozen=(), seed=1,
            penalties=(), precision=None, **attributes):
    """A lowered stack of layers with freshly drawn parameters.

    Parameters
    ----------
    layers : list
        An int is a dense layer of that many units, "prelu" a learned slope, ("dropout", rate)
        dropout, any other name an activation.
    loss : str, optional
        A row of the losses; without it the plan predicts.
    metrics : list of (name, kind, weighted)
    frozen : sequence of int
        Numbers of parameters that are not trained.
    penalties : sequence of (int, dict)
        Numbers of parameters, and the arguments of their penalty.
    precision : str, optional
        What the factors of products are rounded to.
    """
    itemsize = np.dtype(dtype).itemsize
    shapes, width = [], columns
    for layer in layers:
        if isinstance(layer, int):
            shapes += [(width, layer), (layer,)]
            width = layer
        elif layer == "prelu":
            shapes.append((width,))
        elif layer == "glu":
            width //= 2
        elif layer == "maxout":
            width //= int(kernel_params("maxout")[0])
    order = sorted(range(len(shapes)), key=lambda i: i in frozen)  # trainable ones first
    places, size = plan.layout([shapes[i] for i in order], itemsize)
    where = dict(zip(order, places, strict=True))
    trainable = sum((shapes[i][0] if len(shapes[i]) == 2 else 1) * where[i][1]
                    for i in order if i not in frozen)

    builder = plan.Builder(batch, dtype, training=loss is not None and optimizer is not None)
    h = builder.input(columns)
    number = 0

    def parameter():
        nonlocal number
        index = builder.parameter(f"p{number}", shapes[number], *where[number],
                                  trainable=number not in frozen)
        number += 1
        return index

    for layer in layers:
        if isinstance(layer, int):
            h = builder.dense(h, parameter(), parameter(), precision=precision)
        elif layer == "prelu":
            h = builder.prelu(h, parameter())
        elif isinstance(layer, tuple):
            h = builder.dropout(h, layer[1])
        else:
            h = builder.activation(h, layer, kernel_params(layer))
    for i, penalty in penalties:
        builder.penalty(builder.parameter(f"p{i}", shapes[i], *where[i],
                                          trainable=i not in frozen), **penalty)
    if loss is not None:
        classes = labels == "classes"
        y = builder.input(1 if classes else width, "y", "labels", "int64" if classes else None)
        w = builder.input(1, "w", "weight") if weighted else None
        builder.loss(loss, h, y, w, gradient=optimizer is not None, **attributes)
        for name, kind, uses_weight in metrics:
            builder.metric(name, kind, h, y, w if uses_weight else None)
    lowered = builder.finish(
        [h], optimizer=optimizer, parameter_size=size, trainable_size=trainable,
        optimizer_params=() if optimizer is None else params or defaults(optimizer))

    rng = np.random.default_rng(seed)
    arena = np.zeros(size, dtype)
    for i, shape in enumerate(shapes):
        rows = shape[0] if len(shape) == 2 else 1
        write(flat(arena, rows, *where[i]),
              rng.standard_normal((rows, shape[-1])) / np.sqrt(rows))
    slots = () if optimizer is None else spec.OPTIMIZERS[optimizer].slots
    return Network(plan=lowered, arena=arena, width=width,
                   places=[(shape, *where[i]) for i, shape in enumerate(shapes)],
                   slots=tuple(np.zeros(trainable, dtype) for _ in slots))


class Network(SimpleNamespace):
    """A plan, the arena of its parameters, and the optimizer's state."""

    @property
    def values(self):
        """The parameters as they are now, each a matrix."""
        return [read(flat(self.arena, shape[0] if len(shape) == 2 else 1, offset, step),
                     shape[0] if len(shape) == 2 else 1, shape[-1])
                for shape, offset, step in self.places]


def flat(arena, rows, offset, step):
    """What a parameter takes of an arena."""
    return arena[offset : offset + rows * step]


def executor(backend, net, seed=3):
    return backend.executor.Executor(net.plan, net.arena, net.slots, seed)


def train(run, data, batch, *, steps=None, order=None, rate=0.0, iteration=0, start=0):
    n = len(data[0])
    steps = -(-n // batch) if steps is None else steps
    order = np.arange(n) if order is None else order
    return run.run(data, order, batch, start, steps, np.full(steps, rate), iteration, np.inf)


def samples(net, labels, n=8, *, weighted=False, seed=5, dtype="float64", columns=5):
    """Inputs, labels of the kind asked for, and weights."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, columns)).astype(dtype)
    if labels == "classes":
        y = rng.integers(0, net.width, n)
    elif labels == "probabilities":
        y = rng.dirichlet(np.ones(net.width), n).astype(dtype)
    else:
        y = rng.uniform(0.0, 1.0, (n, net.width)).astype(dtype)
    w = (rng.uniform(0.0, 2.0, n).astype(dtype),) if weighted else ()
    return (x, y, *w)


def gradients(run, net):
    """What the last step left in the gradient arena, in the order of the parameters."""
    found = {b.offset: run.buffer(b.index) for b in net.plan.buffers
             if b.role == "parameter_gradient"}
    return [found[at] for at in sorted(found)]


# -- gradients -----------------------------------------------------------------------------------

ELEMENTWISE = [name for name in spec.ELEMENTWISE
               if name not in ("linear", "binary_step", "unit_step", "sign")]
NETWORKS = {
    **{name: ([6, name, 4], "mean_squared_error", "dense", {}) for name in ELEMENTWISE},
    **{f"{name} before dropout": ([6, name, ("dropout", 0.4), 4], "mean_squared_error", "dense",
                                  {}) for name in ("relu", "gelu", "softplus")},
    **{name: ([6, name, 4], "mean_squared_error", "dense", {})
       for name in ("softmax", "log_softmax", "sparsemax", "glu", "maxout", "prelu")},
    "activation twice": ([6, "tanh", "silu", 4], "mean_squared_error", "dense", {}),
    "dropout first": ([("dropout", 0.3), 6, ("dropout", 0.5), 4], "mean_squared_error", "dense",
                      {}),
    "linear on linear": ([6, 5, 4], "mean_absolute_error", "dense", {}),
    "one layer": ([4], "mean_squared_error", "dense", {}),
    "sum": ([6, "tanh", 4], "mean_squared_error", "dense", {"reduction": "sum"}),
    "weight": ([6, "tanh", 4], "mean_squared_error", "dense", {"weight": 0.25}),
    "classes": ([6, "tanh", 4, "softmax"], "categorical_crossentropy", "classes", {}),
    "smoothed": ([6, "tanh", 4, "softmax"], "categorical_crossentropy", "probabilities",
                 {"label_smoothing": 0.1}),
    "logits": ([6, "tanh", 4], "categorical_crossentropy", "classes",
               {"from_logits": True, "ignore_index": 2, "label_smoothing": 0.1}),
    "probabilities": ([6, "tanh", 4, "softmax", ("dropout", 0.0), "softplus"],
                      "categorical_crossentropy", "classes", {"ignore_index": 1}),
    "sigmoid": ([6, "tanh", 4, "sigmoid"], "binary_crossentropy", "dense", {}),
    "sigmoid smoothed": ([6, "tanh", 1, "sigmoid"], "binary_crossentropy", "dense",
                         {"label_smoothing": 0.2}),
    "binary": ([6, "tanh", 4, "hard_sigmoid"], "binary_crossentropy", "dense", {}),
    "penalties": ([6, "tanh", 4], "mean_squared_error", "dense",
                  {"weight": 0.5, "penalties": [(0, {"l1": 0.3}), (1, {"l2": 0.2}),
                                                (2, {"l1": 0.1, "l2": 0.4}),
                                                (2, {"l2": 3.0, "per_rows": True})]}),
}


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_finite_differences_of_the_loss(backend, name, weighted):
    layers, loss, labels, attributes = NETWORKS[name]
    net = network(layers, loss=loss, labels=labels, weighted=weighted, optimizer="sgd",
                  **attributes)
    run = executor(backend, net)
    data = samples(net, labels, 7, weighted=weighted)  # one row less than the plan has

    def value():
        run.totals[:] = 0.0
        train(run, data, 8)
        total, count = run.totals[0]
        assert count == 7
        return total / count

    value()
    found = gradients(run, net)
    assert len(found) == len(net.values)
    assert any(np.abs(g).max() > 1e-3 for g in found)
    h = 1e-4
    for parameter, gradient in zip(net.values, found, strict=True):
        assert gradient.shape == parameter.shape
        for index in np.ndindex(parameter.shape):
            kept, around = parameter[index], []
            for step in (h, -h, 2.0 * h, -2.0 * h):
                parameter[index] = kept + step
                around.append(value())
            parameter[index] = kept
            expected = (8.0 * (around[0] - around[1]) - (around[2] - around[3])) / (12.0 * h)
            assert abs(gradient[index] - expected) < 1e-8 * (1.0 + abs(expected))


@pytest.mark.parametrize("name", ["binary_step", "unit_step", "sign"])
def test_steps_let_no_gradient_through(backend, name):
    net = network([6, name, 4], loss="mean_squared_error", optimizer="sgd")
    run = executor(backend, net)
    train(run, samples(net, "dense"), 8)
    first, second = gradients(run, net)[:2], gradients(run, net)[2:]
    assert all((g == 0.0).all() for g in first)
    assert all((g != 0.0).any() for g in second)


@pytest.mark.parametrize("dtype", DTYPES)
def test_frozen_parameters_stay(backend, dtype):
    net = network([6, "relu", 4], loss="mean_squared_error", optimizer="adam", dtype=dtype,
                  frozen=(0, 1))
    before = [v.copy() for v in net.values]
    train(executor(backend, net), samples(net, "dense", dtype=dtype), 8, rate=0.1)
    for i, (value, old) in enumerate(zip(net.values, before, strict=True)):
        assert (value == old).all() == (i in (0, 1))


# -- penalties -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_penalties_join_the_loss_once_a_batch(backend, training, dtype):
    """In the total, not in the count; those per row are divided by each batch's own rows."""
    l1, l2, per_rows = {"l1": 0.5}, {"l2": 0.25}, {"l1": 2.0, "l2": 1.5, "per_rows": True}
    common = {"loss": "mean_squared_error", "dtype": dtype, "columns": 90,
              "metrics": [("mae", "mean_absolute_error", False)],
              "optimizer": "sgd" if training else None}
    bare = network([70, "relu", 3], **common)
    net = network([70, "relu", 3], penalties=[(0, l1), (1, l2), (2, per_rows)], **common)
    data = samples(net, "dense", 21, dtype=dtype, columns=90)
    sums = []
    for each in (bare, net):
        run = executor(backend, each)
        train(run, data, 8)
        sums.append(run.totals.copy())
    kernel, bias, second, _ = (v.astype(np.float64) for v in net.values)
    expected = 21 * (0.5 * np.abs(kernel).sum() + 0.25 * (bias**2).sum())
    expected += 3 * (2.0 * np.abs(second).sum() + 1.5 * (second**2).sum())
    found = sums[1] - sums[0]
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6 if dtype == "float32" else 1e-12)
    np.testing.assert_array_equal(found.reshape(-1)[1:], 0.0)


def test_penalties_of_frozen_and_of_unused_parameters(backend):
    """A frozen one counts and stays; the gradient of one that the loss lacks is the penalty's."""
    builder = plan.Builder(4, "float64")
    places, size = plan.layout([(3, 2), (3, 2), (2, 2)], 8)
    used, unused, frozen = (
        builder.parameter(name, shape, *place, trainable=name != "frozen")
        for name, shape, place in zip(("used", "unused", "frozen"), [(3, 2), (3, 2), (2, 2)],
                                      places, strict=True))
    x, y = builder.input(3), builder.input(2, "y", "labels")
    h = builder.dense(builder.dense(x, used), frozen)
    for parameter in (used, unused, frozen):
        builder.penalty(parameter, l2=0.5)
    builder.penalty(unused, l1=0.25)
    builder.loss("mean_squared_error", h, y)
    lowered = builder.finish([h], optimizer="sgd", optimizer_params=(0.0,), parameter_size=size,
                             trainable_size=places[2][0])
    arena = np.zeros(size)
    values = [read(flat(arena, shape[0], *place), *shape)
              for shape, place in zip([(3, 2), (3, 2), (2, 2)], places, strict=True)]
    rng = np.random.default_rng(0)
    for value in values:
        value[...] = rng.standard_normal(value.shape)
    before = [v.copy() for v in values]
    run = backend.executor.Executor(lowered, arena, (), 0)
    data = (np.zeros((4, 3)), np.zeros((4, 2)))
    for _ in range(2):
        train(run, data, 4, rate=0.1)
    np.testing.assert_array_equal(values[2], before[2])
    np.testing.assert_allclose(values[0], 0.81 * before[0], rtol=1e-12)
    expected = before[1]
    for _ in range(2):
        expected = 0.9 * expected - 0.025 * np.sign(expected)
    np.testing.assert_allclose(values[1], expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_penalties_over_the_weights_of_a_batch(backend, dtype):
    """The sum of the weights takes the place of the number of rows, batch by batch."""
    builder = plan.Builder(4, dtype, training=True)
    ((offset, step),), size = plan.layout([(3, 2)], np.dtype(dtype).itemsize)
    kernel = builder.parameter("kernel", (3, 2), offset, step)
    x, y = builder.input(3), builder.input(2, "y", "labels")
    w = builder.input(1, "w", "weight")
    builder.penalty(kernel, l1=0.5, l2=0.25, per_rows=True, sample_weight=w)
    h = builder.dense(x, kernel)
    builder.loss("mean_squared_error", h, y)
    lowered = builder.finish([h], optimizer="sgd", optimizer_params=(0.0,), parameter_size=size,
                             trainable_size=size)
    arena = np.zeros(size, dtype)
    value = read(flat(arena, 3, offset, step), 3, 2)
    value[...] = np.random.default_rng(0).standard_normal((3, 2))
    weights = np.array([0.5, 2.0, 0.0, 1.5, 3.0, 0.25], dtype)
    run = backend.executor.Executor(lowered, arena, (), 0)
    expected, total = value.astype(np.float64), 0.0
    for rows in (weights[:4], weights[4:]):
        share = 1.0 / rows.sum(dtype=np.float64)
        total += len(rows) * share * (0.5 * np.abs(expected).sum() + 0.25 * (expected**2).sum())
        expected = expected - 0.1 * share * (0.5 * np.sign(expected) + 0.5 * expected)
    train(run, (np.zeros((6, 3), dtype), np.zeros((6, 2), dtype), weights), 4, rate=0.1)
    tolerance = 1e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(value, expected, rtol=tolerance)
    np.testing.assert_allclose(run.totals[0], [total, 6.0], rtol=tolerance)


def test_no_penalty_in_a_prediction(backend):
    net = network([6, "tanh", 4], penalties=[(0, {"l2": 1.0})])
    assert [op.op for op in net.plan.ops] == ["gather", "dense", "dense"]


def test_a_penalty_that_is_not_finite_stops_the_run(backend):
    net = network([3], loss="mean_squared_error", optimizer="sgd", frozen=(1,), batch=4,
                  penalties=[(1, {"l2": 1.0})], dtype="float64")
    net.values[1][...] = 1e200  # as are the targets, so the loss itself is 0
    run = executor(backend, net)
    x, t = samples(net, "dense", 8)
    assert train(run, (x, np.full_like(t, 1e200)), 4) == 1
    assert run.nonfinite == 0


# -- whole runs ----------------------------------------------------------------------------------

RUNS = {
    "classes, adam": ([16, "relu", 12, "gelu", 3, "softmax"], "categorical_crossentropy",
                      "classes", "adam", {}, [("accuracy", "categorical_hits", False)]),
    "dropout, nesterov": ([16, "tanh", ("dropout", 0.25), 12, "silu", ("dropout", 0.5), 3,
                           "softmax"], "categorical_crossentropy", "classes", "momentum",
                          {"nesterov": 1.0}, [("accuracy", "categorical_hits", True)]),
    "regression, sgd": ([16, "softplus", 3], "mean_squared_error", "dense", "sgd",
                        {"weight_decay": 0.01}, [("mae", "mean_absolute_error", False),
                                                 ("weighted mae", "mean_absolute_error", True)]),
    "several labels": ([17, "elu", 3, "sigmoid"], "binary_crossentropy", "dense", "adam",
                       {"weight_decay": 0.02}, [("hits", "binary_hits", False),
                                                ("weighted hits", "binary_hits", True)]),
    "penalties": ([70, "tanh", 3], "mean_squared_error", "dense", "adam",
                  {"penalties": [(0, {"l1": 0.01}), (2, {"l2": 0.02, "per_rows": True})]}, []),
    "prelu, halves": ([16, "prelu", 12, "glu", 8, "maxout", 3, "softmax"],
                      "categorical_crossentropy", "probabilities", "momentum", {},
                      [("accuracy", "categorical_hits", False)]),
}


def whole_run(backend, name, dtype, *, epochs=4, rows=83, batch=20):
    layers, loss, labels, optimizer, changes, metrics = RUNS[name]
    penalties = changes.get("penalties", ())
    net = network(layers, loss=loss, labels=labels, optimizer=optimizer, dtype=dtype, batch=batch,
                  weighted=True, metrics=metrics, params=defaults(optimizer, **changes),
                  penalties=penalties)
    run = executor(backend, net, seed=11)
    data = samples(net, labels, rows, weighted=True, dtype=dtype)
    totals, steps = [], -(-rows // batch)
    for epoch in range(epochs):
        order = np.random.default_rng([7, epoch]).permutation(rows)
        run.totals[:] = 0.0
        assert train(run, data, batch, order=order, rate=0.02, iteration=epoch * steps) == steps
        totals.append(run.totals.copy())
    return net, np.array(totals)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RUNS)
def test_a_run_agrees_with_the_oracle(oracle, other, name, dtype):
    net, totals = whole_run(other, name, dtype)
    expected, sums = whole_run(oracle, name, dtype)
    tolerance = 2e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(totals, sums, rtol=tolerance, atol=0.0)
    for value, wanted in zip(net.values, expected.values, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=tolerance, atol=tolerance)
    for slot, wanted in zip(net.slots, expected.slots, strict=True):
        np.testing.assert_allclose(slot, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_learns_and_keeps_the_padding_zero(backend, name):
    net, totals = whole_run(backend, name, "float32", epochs=12)
    losses = totals[:, 0, 0] / totals[:, 0, 1]
    assert losses[-1] < losses[0]
    used = np.zeros(net.arena.size, bool)
    for buffer in net.plan.buffers:
        if buffer.role == "parameter":
            mask = np.zeros(buffer.rows * buffer.pitch, buffer.dtype)
            write(mask, np.ones((buffer.rows, buffer.columns)))
            flat(used, buffer.rows, buffer.offset, buffer.pitch)[...] = mask != 0
    assert not used.all()
    for array in (net.arena, *net.slots):
        assert (array[~used] == 0.0).all()
        assert (array[used] != 0.0).any()


def test_one_step_is_the_kernels_in_order(backend):
    """A step written out in NumPy: the update uses the rate and the count of its own step."""
    net = network([3], loss="mean_squared_error", optimizer="adam", batch=4, columns=2)
    kernel, bias = (v.copy() for v in net.values)
    data = samples(net, "dense", 8, columns=2)
    rates = np.array([0.0, 0.5])
    m = [np.zeros_like(kernel), np.zeros_like(bias)]
    v = [np.zeros_like(kernel), np.zeros_like(bias)]
    order = np.array([3, 1, 7, 0, 2, 2, 6, 5])
    run = executor(backend, net)
    assert run.run(data, order, 4, 0, 2, rates, 9, np.inf) == 2
    for s in range(2):
        x, t = (a[order[4 * s : 4 * s + 4]] for a in data)
        d = 2.0 * (x @ kernel + bias - t) / t.size
        for i, (w, g) in enumerate(((kernel, x.T @ d), (bias, d.sum(axis=0)))):
            count = 9 + s + 1
            m[i] += 0.1 * (g - m[i])
            v[i] += 0.001 * (g * g - v[i])
            alpha = rates[s] * np.sqrt(1.0 - 0.999**count) / (1.0 - 0.9**count)
            w -= alpha * m[i] / (np.sqrt(v[i]) + 1e-7)
    np.testing.assert_allclose(net.values[0], kernel, rtol=1e-12)
    np.testing.assert_allclose(net.values[1], bias, rtol=1e-12)


def test_steps_in_pieces_are_the_steps_at_once(backend):
    """`start`, `stop` and `iteration` place a run: one call or one call a step, the same bits."""
    def trained(pieces):
        net = network([8, "relu", ("dropout", 0.5), 3, "softmax"], batch=6, optimizer="adam",
                      loss="categorical_crossentropy", labels="classes")
        data = samples(net, "classes", 40)
        order = np.random.default_rng(1).permutation(40)
        run = executor(backend, net)
        for start, stop in pieces:
            assert run.run(data, order, 6, start, stop, np.full(7, 0.05), start, np.inf) == stop
        return net.arena, run.totals

    whole, totals = trained([(0, 7)])
    single, sums = trained([(i, i + 1) for i in range(7)])
    np.testing.assert_array_equal(whole, single)
    np.testing.assert_allclose(totals, sums, rtol=1e-14)


def test_a_smaller_batch_than_the_plan_has(backend):
    def trained(planned):
        net = network([8, "tanh", 3], loss="mean_squared_error", optimizer="sgd", batch=planned)
        train(executor(backend, net), samples(net, "dense", 23), 5, rate=0.1)
        return net.arena

    np.testing.assert_allclose(trained(5), trained(16), rtol=1e-13, atol=1e-15)


# -- totals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_totals(backend, dtype):
    """Sums over all rows and counts, of a plan that only evaluates, against plain NumPy."""
    metrics = [("mae", "mean_absolute_error", False), ("weighted", "mean_absolute_error", True),
               ("hits", "binary_hits", False)]
    net = network([3], loss="mean_squared_error", weighted=True, metrics=metrics, dtype=dtype)
    x, t, w = samples(net, "dense", 21, weighted=True, dtype=dtype)
    t = np.round(t)
    run = executor(backend, net)
    before = net.arena.copy()
    assert train(run, (x, t, w), 8) == 3
    y = x @ net.values[0] + net.values[1]
    squared, absolute = ((y - t) ** 2).mean(axis=1), np.abs(y - t).mean(axis=1)
    hits = ((y > 0.5) == t).mean(axis=1)
    expected = [[(squared * w).sum(), 21], [absolute.sum(), 21], [(absolute * w).sum(), w.sum()],
                [hits.sum(), 21]]
    np.testing.assert_allclose(run.totals, expected, rtol=1e-5 if dtype == "float32" else 1e-13)
    train(run, (x, t, w), 8)  # they add up until the caller sets them to zero
    np.testing.assert_allclose(run.totals, 2.0 * np.array(expected),
                               rtol=1e-5 if dtype == "float32" else 1e-13)
    np.testing.assert_array_equal(net.arena, before)


def test_totals_of_a_summed_loss(backend):
    net = network([3], loss="mean_squared_error", reduction="sum")
    data = samples(net, "dense", 11)
    run = executor(backend, net)
    train(run, data, 8)
    rows = ((data[0] @ net.values[0] + net.values[1] - data[1]) ** 2).mean(axis=1)
    np.testing.assert_allclose(run.totals, [[8 * rows[:8].sum() + 3 * rows[8:].sum(), 11]],
                               rtol=1e-13)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_mean_is_over_rows_that_are_not_ignored(backend, weighted):
    """The same loss and gradient as for a batch without the ignored rows."""
    common = {"loss": "categorical_crossentropy", "labels": "classes", "from_logits": True,
              "optimizer": "sgd", "batch": 16, "ignore_index": 1, "weighted": weighted}
    means, steps = [], []
    for without in (False, True):
        net = network([6, "tanh", 4], **common)
        data = samples(net, "classes", 16, weighted=weighted)
        data[1][:3] = 1
        kept = data[1] != 1
        assert 4 < kept.sum() < 14
        run = executor(backend, net)
        train(run, tuple(a[kept] for a in data) if without else data, 16)
        means.append(run.totals[0, 0] / run.totals[0, 1])
        steps.append(gradients(run, net))
    np.testing.assert_allclose(*means, rtol=1e-13)
    for a, b in zip(*steps, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-15)


def test_all_rows_ignored(backend):
    net = network([4], loss="categorical_crossentropy", labels="classes", from_logits=True,
                  optimizer="sgd", ignore_index=-1)
    run = executor(backend, net)
    x, _ = samples(net, "classes")
    train(run, (x, np.full(8, -1)), 8)
    np.testing.assert_array_equal(run.totals, [[0.0, 8.0]])
    assert all((g == 0.0).all() for g in gradients(run, net))


def test_probabilities_have_no_label_to_ignore(backend):
    sums = []
    for ignored in (None, 0):
        net = network([4], loss="categorical_crossentropy", labels="probabilities",
                      from_logits=True, optimizer="sgd", ignore_index=ignored)
        run = executor(backend, net)
        x, y = samples(net, "classes")
        train(run, (x, np.eye(4)[y]), 8)
        sums.append([run.totals, *gradients(run, net)])
    for a, b in zip(*sums, strict=True):
        np.testing.assert_array_equal(a, b)


def test_hits_are_the_same_from_the_fused_loss_and_alone(backend):
    metrics = [("accuracy", "categorical_hits", False)]
    common = {"loss": "categorical_crossentropy", "labels": "classes", "metrics": metrics}
    fused = network([6, "relu", 4, "softmax"], **common)
    apart = network([6, "relu", 4, "softmax", "tanh"], **common)  # tanh keeps the order
    data = samples(fused, "classes", 30)
    sums = []
    for net in (fused, apart):
        run = executor(backend, net)
        train(run, data, 8)
        sums.append(run.totals[1].copy())
    np.testing.assert_array_equal(*sums)
    assert 0 < sums[0][0] < 30
    assert any(len(op.outputs) == 3 or op.op == "softmax_cross_entropy" for op in fused.plan.ops)
    assert any(op.attributes.get("score") == "categorical_hits" for op in apart.plan.ops)


# -- dropout -------------------------------------------------------------------------------------


def test_dropout_draws_by_step_stream_and_seed(backend, oracle):
    net = network([("dropout", 0.5), 6, ("dropout", 0.25), 4], loss="mean_squared_error",
                  optimizer="sgd")
    masks = [b.index for b in net.plan.buffers if b.role == "mask"]
    run = executor(backend, net, seed=0x1234567890)
    data = samples(net, "dense", 20)
    train(run, data, 8, iteration=100)  # the last step, with 4 rows, is number 102
    streams = [op.attributes["stream"] for op in net.plan.ops if op.op == "dropout"]
    assert len(set(streams)) == len(masks) == 2
    for index, stream, rate in zip(masks, streams, (0.5, 0.25), strict=True):
        found = run.buffer(index)
        expected = np.full_like(found, np.nan)
        oracle.random.dropout_mask(rate, 0x1234567890, stream, 102, expected)
        np.testing.assert_array_equal(found, expected)
        assert found.shape[0] == 4


def test_a_layer_with_a_seed_of_its_own(backend, oracle):
    builder = plan.Builder(4, "float64", training=True)
    x = builder.input(7)
    y = builder.input(7, "y", "labels")
    dropped = builder.dropout(x, 0.5, seed=99)
    builder.loss("mean_squared_error", dropped, y)
    lowered = builder.finish([dropped], optimizer="sgd", optimizer_params=(0.0,))
    run = backend.executor.Executor(lowered, np.zeros(0), (), 1)
    ones = np.ones((4, 7))
    train(run, (ones, ones), 4, iteration=5)
    mask = next(b.index for b in lowered.buffers if b.role == "mask")
    expected = np.empty((4, 7))
    oracle.random.dropout_mask(0.5, 99, 0, 5, expected)
    np.testing.assert_array_equal(run.buffer(mask), expected)


# -- prediction ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layers", [[9, "relu", 4, "softmax"], [9, "gelu", ("dropout", 0.5), 1],
                                    ["tanh"], [8, "prelu", 8, "glu", 3], [3, "maxout"],
                                    [40, "tanh", 33, "sigmoid", 5, "log_softmax"]],
                         ids=lambda layers: "-".join(map(str, layers)))
def test_forward_takes_any_number_of_rows(backend, oracle, layers, dtype):
    columns = 6
    layers = [4, *layers[1:]] if layers == [3, "maxout"] else layers
    net = network(layers, dtype=dtype, columns=columns, batch=32)
    expected_net = network(layers, dtype=dtype, columns=columns, batch=32)
    run, reference = executor(backend, net), executor(oracle, expected_net)
    rng = np.random.default_rng(4)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    for n in (0, 1, 2, 31, 32, 33, 64, 100, 150):
        x = rng.standard_normal((n, columns)).astype(dtype)
        x.flags.writeable = False
        out, expected = (np.full((n, net.width), np.nan, dtype) for _ in range(2))
        run.forward(x, out)
        reference.forward(x, expected)
        np.testing.assert_allclose(out, expected, rtol=tolerance, atol=tolerance)
        assert not np.isnan(out).any()


def test_forward_follows_the_parameters(backend):
    """The arena stays the caller's: what is written there counts in the next call."""
    net = network([3], columns=2)
    run = executor(backend, net)
    x, out = np.eye(2), np.empty((2, 3))
    for scale in (1.0, 2.0):
        net.values[0][...] = scale * np.arange(6.0).reshape(2, 3)
        net.values[1][...] = scale
        run.forward(x, out)
        np.testing.assert_array_equal(out, scale * (np.arange(6.0).reshape(2, 3) + 1.0))


def test_forward_from_many_threads_at_once(backend):
    net = network([64, "tanh", 32, "relu", 5], columns=20, batch=16)
    run = executor(backend, net)
    xs = [np.random.default_rng(i).standard_normal((70, 20)) for i in range(4)]
    expected = [np.empty((70, 5)) for _ in xs]
    for x, out in zip(xs, expected, strict=True):
        run.forward(x, out)
    found = [np.full((70, 5), np.nan) for _ in xs]

    def work(i):
        for _ in range(20):
            run.forward(xs[i], found[i])

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


# -- stopping ------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run(backend):
    net = network([4, "tanh", 3], loss="mean_squared_error", optimizer="sgd", batch=4)
    x, t = samples(net, "dense", 16)
    x[9] = np.nan  # in step 2
    run = executor(backend, net)
    assert run.nonfinite == -1
    assert train(run, (x, t), 4, rate=0.1) == 3
    assert run.nonfinite == 2
    run.nonfinite = -1
    run.check_finite = False
    assert train(run, (x, t), 4, rate=0.1) == 4
    assert run.nonfinite == -1


def test_the_budget_ends_a_run_early(backend):
    net = network([64, "tanh", 64, "tanh", 3], loss="mean_squared_error", optimizer="sgd",
                  batch=32, columns=64)
    data = samples(net, "dense", 32, columns=64)
    steps = 200_000
    order = np.zeros(32 * steps, np.int64)
    run = executor(backend, net)
    arguments = (data, order, 32, 0, steps, np.zeros(steps), 0)
    started = time.monotonic()
    reached = run.run(*arguments, 0.02)
    assert time.monotonic() - started < 5.0
    assert 0 < reached < steps
    assert run.totals[0, 1] == 32 * reached
    assert 0 < run.run(*arguments, 0.0) <= reached  # at least one step, whatever the budget


def test_no_steps(backend):
    net = network([3], loss="mean_squared_error", optimizer="sgd")
    run = executor(backend, net)
    assert run.run(samples(net, "dense"), np.arange(8), 8, 1, 1, np.zeros(1), 0, 1.0) == 1
    np.testing.assert_array_equal(run.totals, np.zeros((1, 2)))


# -- buffers -------------------------------------------------------------------------------------


def test_buffers_hold_the_last_step(backend):
    net = network([6, "gelu", 4, "softmax"], loss="categorical_crossentropy", labels="classes",
                  weighted=True, optimizer="sgd")
    x, t, w = samples(net, "classes", 13, weighted=True)
    run = executor(backend, net)
    train(run, (x, t, w), 8)  # the last step has 5 rows
    named = {b.name: run.buffer(b.index) for b in net.plan.buffers}
    np.testing.assert_array_equal(named["x"], x[8:])
    np.testing.assert_array_equal(named["y"], t[8:])
    np.testing.assert_array_equal(named["w"], w[8:])
    np.testing.assert_array_equal(named["p0"], net.values[0])
    np.testing.assert_array_equal(named["p3"], net.values[3])
    z = next(b for b in net.plan.buffers if b.name == "dense" and b.columns == 6)
    np.testing.assert_allclose(run.buffer(z.index), x[8:] @ net.values[0] + net.values[1],
                               rtol=1e-12)
    named["p0"][...] = 0.0  # copies: nothing else changes
    assert (net.values[0] != 0.0).all()
    for buffer in net.plan.buffers:
        shape = run.buffer(buffer.index).shape
        rows = 5 if buffer.rows is None else buffer.rows
        one = buffer.role in ("row", "weight") or buffer.dtype == "int64"
        assert shape == ((rows,) if one else (rows, buffer.columns))


# -- the same bits -------------------------------------------------------------------------------


# layers, columns, batch, rows; the small one has fewer rows than threads
PENALTIES = [(0, {"l1": 1e-3}), (1, {"l2": 1e-2}), (2, {"l1": 1e-3, "l2": 1e-2, "per_rows": True})]
LARGE = ([203, "relu", ("dropout", 0.3), 97, "gelu", 10, "softmax"], 150, 100, 330)
SMALL = ([5, "relu", ("dropout", 0.3), 1, "prelu", 3, "softmax"], 4, 2, 9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", list(spec.OPTIMIZERS))
@pytest.mark.parametrize("size", [LARGE, SMALL], ids=["large", "small"])
def test_training_has_the_same_bits_for_any_number_of_threads(other, use_threads, size, optimizer,
                                                              dtype):
    layers, columns, batch, rows = size

    def trained(count):
        net = network(layers, columns=columns, loss="categorical_crossentropy", labels="classes",
                      optimizer=optimizer, batch=batch, dtype=dtype, penalties=PENALTIES,
                      metrics=[("accuracy", "categorical_hits", False)])
        data = samples(net, "classes", rows, columns=columns, dtype=dtype)
        run = executor(other, net)
        use_threads(count)
        for epoch in range(2):
            order = np.random.default_rng(epoch).permutation(rows)
            train(run, data, batch, order=order, rate=0.01, iteration=100 * epoch)
        assert run.threads == run.threads_used == count
        return [net.arena, *net.slots, run.totals]

    first, *others = (trained(count) for count in (1, 2, 3))
    for again in others:
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_thread_updates_what_it_has_the_gradient_of(other, use_threads):
    """Of wide vectors with long sums over rows, so that a thread that takes another's would err."""
    def trained(count):
        net = network([3000, "prelu", 1], columns=1, batch=40, loss="mean_squared_error",
                      optimizer="sgd")
        data = samples(net, "dense", 400, columns=1)
        run = executor(other, net)
        use_threads(count)
        train(run, data, 40, rate=0.01)
        return net.arena

    first = trained(1)
    for count in (2, 3, 2, 3):
        np.testing.assert_array_equal(trained(count), first)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "rows"), [(64, 167), (1024, 1500), (5000, 5130)])
def test_gradients_by_groups_of_rows(other, oracle, use_threads, batch, rows, dtype):
    """Gradients of small kernels from large batches are added up of those of groups of rows.

    The last batch has other groups than the whole ones, and fewer rows than a group once.
    """
    def trained(backend, count):
        net = network([33, "tanh", 16, "relu", 2], columns=5, loss="mean_squared_error",
                      optimizer="sgd", batch=batch, dtype=dtype)
        data = samples(net, "dense", rows, dtype=dtype)
        use_threads(count)
        run = executor(backend, net)
        train(run, data, batch, rate=0.1)
        return [*gradients(run, net), net.arena, run.totals]

    first, *others = (trained(other, count) for count in (1, 2, 3, 4, 5, 7))
    for again in others:
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
    rounding = 50 * np.finfo(dtype).eps
    for ours, true in zip(first, trained(oracle, 1), strict=True):
        np.testing.assert_allclose(ours, true, rtol=rounding, atol=rounding * np.abs(true).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layers", [[37, "tanh", 10, "softmax"], [64, "gelu", 33, "silu", 3],
                                    [16, "prelu", 12, "glu", 5, "sparsemax"], [1]],
                         ids=lambda layers: "-".join(map(str, layers)))
def test_a_row_has_the_same_bits_in_any_batch_and_thread(other, use_threads, layers, dtype):
    net = network(layers, columns=29, batch=256, dtype=dtype)
    x = np.random.default_rng(9).standard_normal((700, 29)).astype(dtype)
    whole = np.full((700, net.width), np.nan, dtype)
    executor(other, net).forward(x, whole)
    for count in (1, 2, 3):
        use_threads(count)
        run = executor(other, net)
        for start, stop in ((0, 700), (0, 1), (7, 8), (699, 700), (3, 20), (100, 357), (1, 700)):
            part = np.full((stop - start, net.width), np.nan, dtype)
            run.forward(x[start:stop], part)
            np.testing.assert_array_equal(part, whole[start:stop])
        assert count == 1 or run.threads_used == count
    small = network(layers, columns=29, batch=3, dtype=dtype)
    again = np.full_like(whole, np.nan)
    executor(other, small).forward(x, again)
    np.testing.assert_array_equal(again, whole)


def test_one_row_of_a_wide_network_has_the_bits_of_a_batch():
    """Its products are handed out in pieces to the threads that are there."""
    if "cython" not in TESTED:
        pytest.skip("a compiled backend's promise")
    compiled = backends.load("cython")
    net = network([1500, "tanh", 3000, "relu", 5, "softmax"], dtype="float32", batch=16,
                  columns=700)
    x = np.random.default_rng(0).standard_normal((16, 700)).astype("float32")
    run = executor(compiled, net)
    whole = np.empty((16, 5), "float32")
    run.forward(x, whole)
    out = np.empty((1, 5), "float32")
    for threads in (1, 2, 4):
        compiled.native.set_threads(threads, always=True)
        try:
            for i in range(16):
                out[:] = np.nan
                run.forward(x[i : i + 1], out)
                np.testing.assert_array_equal(out[0], whole[i])
        finally:
            compiled.native.set_threads(compiled.native.max_threads())


# -- memory --------------------------------------------------------------------------------------


def imported(module):
    """Names that a compiled module takes from the libraries it is linked to."""
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("there is no nm to list names with")
    listed = subprocess.run([nm, "-D", "--undefined-only", module.__file__], capture_output=True,
                            text=True, check=True).stdout
    return {line.split()[-1].partition("@")[0] for line in listed.splitlines()}


@pytest.mark.skipif(sys.platform != "linux" or "cython" not in TESTED,
                    reason="reads the compiled modules of Linux")
def test_a_step_has_nothing_to_allocate_with():
    """Steps hold no lock of the interpreter, whose allocators need it; C's are not linked to."""
    kernels = backends.load("cython")
    allocators = {"malloc", "calloc", "realloc", "reallocarray", "aligned_alloc", "memalign",
                  "posix_memalign", "valloc", "mmap", "sbrk", "strdup", "PyMem_RawMalloc",
                  "PyMem_RawCalloc", "PyMem_RawRealloc"}
    assert imported(kernels.dense) & allocators == {"malloc"}  # a function outside of any step
    package = kernels.dense.__name__.rpartition(".")[0]
    for name in ("executor", "operations", "products", "optimizers", "random", "native"):
        found = imported(importlib.import_module(f"{package}.{name}"))
        assert "PyModuleDef_Init" in found, name
        assert not found & allocators, name


def test_more_steps_take_no_more_memory(other):
    """Neither while a run lasts nor behind it; C's own memory is counted where glibc tells."""
    if other.native is None:
        pytest.skip(f"backend {other.name!r} computes elsewhere")
    net = network([40, "gelu", ("dropout", 0.5), 3, "softmax"], loss="categorical_crossentropy",
                  labels="classes", optimizer="adam", dtype="float32")
    run, x = executor(other, net), samples(net, "classes", 4096, dtype="float32")
    order, rates, most = np.arange(4096), np.full(512, 1e-3), {}

    class Information(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost")]

    told = getattr(ctypes.CDLL(None), "mallinfo2", None) if sys.platform == "linux" else None
    if told is not None:
        told.restype = Information

    def in_use():
        found = told() if told is not None else Information()
        return found.uordblks + found.hblkhd

    tracemalloc.start()
    try:
        for steps in (1, 1, 512):
            tracemalloc.reset_peak()
            before, start = tracemalloc.get_traced_memory()[0], in_use()
            run.run(x, order, 8, 0, steps, rates, 0, np.inf)
            most[steps] = tracemalloc.get_traced_memory()[1] - before, in_use() - start
    finally:
        tracemalloc.stop()
    for few, many in zip(most[1], most[512], strict=True):
        assert many <= few + 2000
