"""Plans that are graphs: buffers that several operations read, parameters used more than once,
several losses, operations that join and cut.

The truth is the finite difference of the loss that the executor reports, and plain NumPy.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fusedmlp import plan
from fusedmlp.kernels.layout import read, write

ROWS, COLUMNS, WIDTH = 7, 6, 4


class Net:
    """A builder with parameters that are made as they are asked for."""

    def __init__(self, training, dtype="float64", batch=8):
        self.builder = plan.Builder(batch, dtype, training=training)
        self.dtype, self.shapes, self.at = dtype, [], 0
        self.places, self.inputs = [], 0

    def input(self, columns=COLUMNS):
        self.inputs += 1
        return self.builder.input(columns, f"x{self.inputs}")

    def parameter(self, rows, columns=None, trainable=True):
        shape = (rows,) if columns is None else (rows, columns)
        ((_, pitch),), size = plan.layout([shape], np.dtype(self.dtype).itemsize)
        index = self.builder.parameter(f"p{len(self.shapes)}", shape, self.at, pitch, trainable)
        self.places.append((shape, self.at, pitch))
        self.shapes.append(shape)
        self.at += size
        return index

    def dense(self, x, units=WIDTH, activation=None, parameters=None):
        if parameters is None:
            parameters = (self.parameter(self.builder.columns(x), units), self.parameter(units))
        y = self.builder.dense(x, *parameters)
        return y if activation is None else self.builder.activation(y, activation)

    def finish(self, outputs, optimizer, frozen=0):
        return self.builder.finish(
            outputs, optimizer=optimizer, parameter_size=self.at,
            optimizer_params=() if optimizer is None else (0.0,), trainable_size=self.at)


def residual(net, x):
    h = net.dense(x, activation="tanh")
    inner = net.dense(net.dense(h, activation="silu"))
    return net.builder.activation(net.builder.combine("add", h, inner), "sigmoid")


def add_of_linear_and_dropout(net, x):
    """The gradient that both summands share is read by a product and written over by a mask."""
    b = net.builder
    return b.combine("add", net.dense(x), b.dropout(net.dense(x), 0.3))


def dropout_and_linear(net, x):
    b = net.builder
    kept = b.dropout(net.dense(x), 0.3)
    return b.combine("add", kept, net.dense(x))


def add_of_activations(net, x):
    b = net.builder
    h = net.dense(x)
    return b.combine("add", b.activation(h, "tanh"), b.combine("add", b.activation(h, "gelu"), h))


def twice_the_same(net, x):
    h = net.dense(x)
    return net.builder.activation(net.builder.combine("add", h, h), "tanh")


def shared_dense(net, x):
    parameters = (net.parameter(COLUMNS, COLUMNS), net.parameter(COLUMNS))
    h = net.dense(x, activation="tanh", parameters=parameters)
    return net.dense(net.dense(h, activation="tanh", parameters=parameters), WIDTH)


def shared_wide(net, x):
    """Weights in several panels, used twice."""
    widen = net.dense(x, 70, "tanh")
    parameters = (net.parameter(70, 70), net.parameter(70))
    h = net.dense(widen, activation="tanh", parameters=parameters)
    return net.dense(net.dense(h, activation="tanh", parameters=parameters), WIDTH)


def shared_slope(net, x):
    h, alpha = net.dense(x), net.parameter(WIDTH)
    b = net.builder
    return b.combine("subtract", b.prelu(h, alpha), b.prelu(b.affine(h, -2.0, 0.1), alpha))


def chain_of_adds(net, x):
    b = net.builder
    parts = [net.dense(x, activation="tanh") for _ in range(3)]
    first = b.combine("add", parts[0], parts[1])
    second = b.combine("add", first, parts[2])
    return b.combine("add", b.combine("add", first, second), parts[0])


def elementwise(function):
    def build(net, x):
        b = net.builder
        a, c = net.dense(x), net.dense(x, activation="exponential")
        return b.combine(function, a, c)
    return build


def column_against_all(net, x):
    b = net.builder
    gate = net.dense(x, 1, "sigmoid")
    return b.combine("divide", b.combine("multiply", gate, net.dense(x)),
                     b.affine(b.activation(net.dense(x, 1), "softplus"), 1.0, 0.5))


def side_by_side(net, x):
    b = net.builder
    wide = b.concatenate([net.dense(x, 3, "tanh"), x, net.dense(x, 5), net.dense(x, 1, "relu")])
    return net.dense(wide, activation="tanh")


def side_by_side_in_groups(net, x):
    b = net.builder
    wide = b.concatenate([net.dense(x, 4, "tanh"), net.dense(x, 6)], groups=2)
    return b.slice(wide, 1, 2, groups=2)


def pieces(net, x):
    b = net.builder
    h = net.dense(x, 9, "tanh")
    return b.combine("multiply", b.slice(h, 0, WIDTH), b.slice(h, 5, WIDTH))


def powers(net, x):
    b = net.builder
    h = b.activation(net.dense(x), "softplus")
    return b.combine("add", b.power(h, 0.5), b.combine(
        "subtract", b.power(h, 2.0), b.combine("add", b.power(h, -1.0), b.log(h))))


def products_of_rows(net, x):
    b = net.builder
    a, c = net.dense(x, 5, "tanh"), net.dense(x, 5)
    norm = b.power(b.affine(b.row_dot(a, a), 1.0, 0.3), -0.5)
    mean = b.row_sum(c, 1.0 / 5)
    return b.concatenate([b.row_dot(b.scale_rows(a, norm), c), mean, b.scale_rows(mean, norm),
                          norm])


GRAPHS = {f.__name__: f for f in (
    residual, add_of_linear_and_dropout, dropout_and_linear, add_of_activations, twice_the_same,
    shared_dense, shared_slope, chain_of_adds, column_against_all, side_by_side,
    side_by_side_in_groups, pieces, powers, products_of_rows)}
GRAPHS.update({name: elementwise(name) for name in
               ("add", "subtract", "multiply", "divide", "maximum", "minimum")})


MORE = {**GRAPHS, "shared_wide": shared_wide}


def prepared(graph, dtype="float64", losses=(("mean_squared_error", 1.0),), seed=2):
    """A plan that trains, its arena, and data."""
    net = Net(True, dtype)
    x = net.input()
    y = graph(net, x)
    outputs = [y] if isinstance(y, int) else list(y)
    rng = np.random.default_rng(seed)
    data = [rng.standard_normal((ROWS, COLUMNS)).astype(dtype)]
    for output, (name, weight) in zip(outputs, losses, strict=True):
        columns = net.builder.columns(output)
        labels = net.builder.input(columns, "y", "labels")
        net.builder.loss_total = f"out{len(data)}_loss" if len(losses) > 1 else None
        net.builder.loss(name, output, labels, weight=weight)
        data.append(rng.uniform(0.1, 0.9, (ROWS, columns)).astype(dtype))
    lowered = net.finish(outputs, "sgd")
    arena = np.zeros(net.at, dtype)
    values = []
    for shape, at, pitch in net.places:
        rows = shape[0] if len(shape) == 2 else 1
        flat = arena[at:at + rows * pitch]
        write(flat, rng.standard_normal((rows, shape[-1])) / np.sqrt(rows))
        values.append(read(flat, rows, shape[-1]))  # a view of what is in one panel
    return SimpleNamespace(plan=lowered, arena=arena, values=values, data=tuple(data))


def step(run, net, rate=0.0):
    run.totals[...] = 0.0
    run.run(net.data, np.arange(ROWS), ROWS, 0, 1, np.full(1, rate), 0, np.inf)
    return run.totals[0, 0] / run.totals[0, 1]


def arena_gradients(run, net):
    """Gradients in the order of the parameters, without those of further uses."""
    found = {b.offset: run.buffer(b.index) for b in net.plan.buffers
             if b.role == "parameter_gradient" and b.offset < net.plan.trainable_size}
    return [found[at] for at in sorted(found)]


def check_gradients(backend, net):
    run = backend.executor.Executor(net.plan, net.arena, (), 3)
    step(run, net)
    found = arena_gradients(run, net)
    assert len(found) == len(net.values)
    assert any(np.abs(g).max() > 1e-3 for g in found)
    h = 1e-4
    for parameter, gradient in zip(net.values, found, strict=True):
        for index in np.ndindex(parameter.shape):
            kept, around = parameter[index], []
            for shift in (h, -h, 2.0 * h, -2.0 * h):
                parameter[index] = kept + shift
                around.append(step(run, net))
            parameter[index] = kept
            expected = (8.0 * (around[0] - around[1]) - (around[2] - around[3])) / (12.0 * h)
            assert abs(gradient[index] - expected) < 2e-8 * (1.0 + abs(expected))


@pytest.mark.parametrize("name", GRAPHS)
def test_gradients_are_finite_differences(backend, name):
    check_gradients(backend, prepared(GRAPHS[name]))


def test_several_losses(backend):
    def graph(net, x):
        trunk = net.dense(x, activation="tanh")
        head = net.dense(trunk, 3, "softmax")
        return head, net.dense(trunk, 1, "sigmoid"), net.builder.combine("add", trunk, trunk)

    net = prepared(graph, losses=(("categorical_crossentropy", 0.5), ("binary_crossentropy", 2.0),
                                  ("mean_squared_error", 1.0)))
    assert [op.op for op in net.plan.ops].count("softmax_cross_entropy") == 1
    assert "activation" not in [op.op for op in net.plan.ops]  # softmax and sigmoid are fused
    check_gradients(backend, net)
    run = backend.executor.Executor(net.plan, net.arena, (), 3)
    loss = step(run, net)
    assert net.plan.totals == ("loss", "out1_loss", "out2_loss", "out3_loss")
    parts = run.totals[1:, 0] / run.totals[1:, 1]
    np.testing.assert_allclose(loss, parts @ [0.5, 2.0, 1.0], rtol=1e-12)


def test_an_output_that_others_read(backend):
    """The softmax is fused with its cross-entropy, and another head reads it."""
    def graph(net, x):
        p = net.dense(x, 3, "softmax")
        return p, net.dense(p, 2, "tanh")

    net = prepared(graph, losses=(("categorical_crossentropy", 1.0), ("mean_squared_error", 3.0)))
    assert [op.op for op in net.plan.ops].count("softmax_cross_entropy") == 1
    check_gradients(backend, net)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MORE)
def test_backends_agree(oracle, other, name, dtype):
    found = []
    for kernels in (oracle, other):
        net = prepared(MORE[name], dtype)
        run = kernels.executor.Executor(net.plan, net.arena, (), 3)
        losses = [step(run, net, 0.002) for _ in range(3)]
        found.append((losses, net.arena))
    tolerance = 2e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=tolerance)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MORE)
def test_the_same_bits_for_any_number_of_threads(other, use_threads, name):
    arenas = []
    for threads in (1, 2, 3):
        use_threads(threads)
        net = prepared(MORE[name], "float32")
        run = other.executor.Executor(net.plan, net.arena, (), 3)
        losses = [step(run, net, 0.002) for _ in range(4)]
        arenas.append((losses, net.arena))
    for losses, arena in arenas[1:]:
        assert np.isfinite(losses).all()
        assert losses == arenas[0][0]
        assert np.array_equal(arena, arenas[0][1])


def test_several_inputs_and_outputs_in_a_prediction(backend):
    net = Net(False, "float32")
    b = net.builder
    one, two = net.input(3), net.input(2)
    lowered = net.finish([b.concatenate([one, two]), b.combine("multiply", two, two), one], None)
    x, z = np.arange(600, dtype="float32").reshape(200, 3), np.ones((200, 2), "float32") * 3
    run = backend.executor.Executor(lowered, np.zeros(8, "float32"), (), 0)
    outs = tuple(np.empty((200, c), "float32") for c in (5, 2, 3))
    run.forward((x, z), outs)
    assert np.array_equal(outs[0], np.hstack([x, z]))
    assert np.array_equal(outs[1], z * z)
    assert np.array_equal(outs[2], x)


def test_extremes_where_both_are_equal(backend):
    """Half of the gradient to each, as in Keras with JAX and PyTorch."""
    def graph(net, x):
        h = net.dense(x)
        return net.builder.combine("maximum", h, net.builder.affine(h))

    net = prepared(graph)
    run = backend.executor.Executor(net.plan, net.arena, (), 3)
    step(run, net)
    plain = prepared(lambda net, x: net.dense(x))
    expected = backend.executor.Executor(plain.plan, plain.arena, (), 3)
    step(expected, plain)
    for one, two in zip(arena_gradients(run, net), arena_gradients(expected, plain), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)


def test_nan_is_the_extreme(backend):
    net = Net(False, "float64")
    one, two = net.input(2), net.input(2)
    lowered = net.finish([net.builder.combine("maximum", one, two),
                          net.builder.combine("minimum", one, two)], None)
    run = backend.executor.Executor(lowered, np.zeros(8), (), 0)
    outs = (np.empty((1, 2)), np.empty((1, 2)))
    run.forward((np.array([[np.nan, 1.0]]), np.array([[1.0, np.nan]])), outs)
    assert np.isnan(outs).all()


def test_the_derivative_of_an_activation_is_fused_across_other_branches():
    def graph(net, x):
        h = net.dense(x, activation="tanh")
        return net.dense(h, activation="relu"), net.dense(x)

    ops = [op.op for op in prepared(graph, losses=(("mean_squared_error", 1.0),) * 2).plan.ops]
    assert ops.count("dense_dx") == 1
    assert ops.count("activation_grad") == 1  # of the relu at the end


def test_a_single_column_or_as_many():
    net = Net(False)
    with pytest.raises(ValueError, match=r"Only a single column.*Received.*3 columns"):
        net.builder.combine("add", net.input(3), net.input(4))
