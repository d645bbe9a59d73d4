"""CUDA kernels in shapes that Numba's simulator gets through: every row, against the oracle.

The contract's own tests go further, and run on a GPU; those marked "large" take the simulator too
long.  Here each kernel sees a few small shapes, partial tiles among them, weights in panels, and
operations of layers that only the executor calls.
"""

from __future__ import annotations

import numpy as np
import pytest
from loss_truth import ROWS, call, data, default_params
from points import DTYPES
from test_kernels import assert_written, frozen, placed, poisoned, typical_state

from fusedmlp import spec
from fusedmlp.kernels import layout
from fusedmlp.kernels.reference import join, normalization
from fusedmlp.kernels.reference import random as reference_random


def close(got, expected, factor=64.0):
    eps = float(np.finfo(got.dtype).eps)
    np.testing.assert_allclose(got, expected, rtol=factor * eps, atol=factor * eps)


def sent(array):
    """A copy on the device, as a flat array of Numba's, and what launchers take for it."""
    from fusedmlp.kernels.cuda import device

    held = device.cuda.to_device(np.ascontiguousarray(array).reshape(-1))
    rows, columns = array.shape if array.ndim == 2 else (1, array.size)
    return held, device.matrix(held, rows, columns)


# -- products ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 9), (9, 7, 4), (0, 3, 4), (3, 0, 4),
                                   (3, 4, 0)])
def test_cuda_products(oracle, cuda, shape, dtype):
    n, d, m = shape
    rng = np.random.default_rng(1)
    x, kernel, bias, dz = (frozen(rng.standard_normal(s), dtype)
                           for s in ((n, d), (d, m), (m,), (n, m)))
    for activation in ("relu", "gelu"):  # one fused into the sums, one behind them
        results = []
        for kernels in (cuda, oracle):
            out = [poisoned(s, dtype) for s in ((n, m), (n, m), (n, d), (d, m), (m,))]
            kernels.dense.dense(x, kernel, bias, activation, (), out[0], out[1])
            kernels.dense.dense_grad(dz, x, kernel, *out[2:])
            assert_written(*out)
            results.append(out)
        for got, expected in zip(*results, strict=True):
            close(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_products_of_padded_weights(oracle, cuda, dtype):
    """A matrix in an arena on the device, and its gradient, with their padding."""
    from fusedmlp.kernels.cuda import device

    n, d, m = 3, 4, 39
    pitch = layout.padded(m, np.dtype(dtype).itemsize)
    rng = np.random.default_rng(2)
    x, kernel, dz, saved = (rng.standard_normal(s).astype(dtype)
                            for s in ((n, d), (d, m), (n, m), (n, d)))
    arena = np.zeros((d, pitch), dtype)
    arena[:, :m] = kernel
    held = device.cuda.to_device(arena.reshape(-1))
    gradient = device.cuda.to_device(np.zeros(arena.size, dtype))
    weights, dweights = (device.matrix(a, d, m, 0, pitch) for a in (held, gradient))
    arrays = [sent(a) for a in (x, dz, saved, np.zeros((n, m), dtype), np.zeros((n, d), dtype))]
    (_, on_x), (_, on_dz), (_, on_saved), (y, on_y), (dx, on_dx) = arrays
    cuda.dense.enqueue_dense(0, on_x, weights, None, "linear", (), on_y, None)
    cuda.dense.enqueue_dense_dx(0, on_dz, weights, on_saved, "tanh", (), on_dx)
    cuda.dense.enqueue_dense_dw(0, on_x, on_dz, dweights, None)
    close(y.copy_to_host().reshape(n, m), x @ kernel)
    expected = np.empty((n, d), dtype)
    oracle.activations.activation_grad("tanh", dz @ kernel.T, saved, (), expected)
    close(dx.copy_to_host().reshape(n, d), expected, 256.0)
    found = gradient.copy_to_host().reshape(d, pitch)
    close(found[:, :m], x.T @ dz)
    assert not found[:, m:].any()  # padding stays 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_panels_end_on_the_device(cuda, dtype):
    """Of two parameters the second is in panels; there and back, each as NumPy has it."""
    from fusedmlp.kernels.cuda import device, panels

    (_, second), size = layout.layout([(2, 3), (3, 43)], np.dtype(dtype).itemsize)
    values = np.arange(129.0).reshape(3, 43) + 1
    arena = np.zeros(size, dtype)
    arena[:second[0]] = 7.0
    layout.write(arena[second[0]:], values)
    source, target = device.cuda.to_device(arena), device.cuda.to_device(arena)
    parts = [(second[0], 3, second[1])]
    panels.unpack(0, source, target, parts)
    found = target.copy_to_host()
    np.testing.assert_array_equal(found[:second[0]], 7.0)
    matrix = found[second[0]:].reshape(3, second[1])
    np.testing.assert_array_equal(matrix[:, :43], values)
    assert not matrix[:, 43:].any()
    back = device.cuda.to_device(np.full(size, 7.0, dtype))
    panels.pack(0, target, back, parts)
    np.testing.assert_array_equal(back.copy_to_host(), arena)


# -- four numbers at a time ------------------------------------------------------------------------


def in_quads(arrays, fetched):
    """What kernels that read and write four numbers at a time give, by name; each in its order."""
    from fusedmlp.kernels.cuda import (
        activations,
        arithmetic,
        losses,
        optimizers,
        parameters,
        random,
        steps,
    )

    def launched(function, *arguments, changed):
        function(0, *arguments)
        return [fetched(array) for array in changed]

    x, dy, y, row, column, logits, labels, rates, clock, sums = arrays(
        (3, 8), (3, 8), (3, 8), (8,), (3, 1), (3, 8), np.array([7, 0, 2]), np.array([0.1, 1.0]),
        np.array([0, 0, -1]), np.zeros(4))
    *slots, total, mean = arrays((24,), (24,), (24,), (24,))
    w, g = (array._replace(rows=1, columns=24) for array in (x, dy))
    yield "activation", launched(activations.enqueue_activation, "tanh", x, (), y, changed=[y])
    yield "slope", launched(activations.enqueue_activation_grad, "silu", dy, x, (), y,
                            changed=[y])
    for name in ("softmax", "log_softmax"):
        yield name, launched(activations.enqueue_activation, name, x, (), y, changed=[y])
        yield f"{name} slope", launched(activations.enqueue_activation_grad, name, dy, logits, (),
                                        y, changed=[y])
    for name, inputs in (("add", (x, dy)), ("multiply", (x, column)), ("kept", (x, column)),
                         ("scale_shift", (x, row, row)), ("maximum", (x, row))):
        yield name, launched(arithmetic.enqueue_map, name, inputs, y, changed=[y])
    for name, target in (("classes", labels), ("probabilities", dy)):
        for smoothing in (0.0, 0.25):
            yield name, launched(
                losses.enqueue_softmax_cross_entropy, logits, target, None, smoothing, None, 0.5,
                column, y, None, changed=[column, y])
    yield "squares", launched(losses.enqueue_elementwise_loss, "mean_squared_error", x, dy, (),
                              None, 0.0, 0.5, column, y, changed=[column, y])
    yield "dropout", launched(random.enqueue_dropout, x, 0.4, 7, 3, rates, 2.0, (0.0, 0.0), y,
                              logits, changed=[y, logits])
    yield "mask", launched(random.enqueue_dropout, None, 0.4, 7, 3, rates, 2.0, (0.0, 0.0), None,
                           logits, changed=[logits])
    order, = arrays(np.array([2, 0, 1]))
    yield "rows", launched(steps.gather, dy, order, clock, 3, 3, y, changed=[y])
    yield "copy", launched(steps.put, x, y, changed=[y])
    yield "clipped", launched(parameters.clip_values, g, rates, 1, 0.5, changed=[g])
    yield "sums", launched(parameters.squares, g, rates, sums, 1, 0, changed=[sums])
    yield "norms", launched(parameters.clip_norms, g, rates, sums, 1, 0, 1, True, 0.5,
                            changed=[g])
    for every in (1, 2, 3):
        yield f"collected {every}", launched(parameters.collect, g, total, rates, every,
                                             changed=[g, total])
    for overwrite in (0, 2):
        yield "averaged", launched(parameters.average, w, mean, rates, 1, 0.5, overwrite,
                                   changed=[w, mean])
    for optimizer in ("sgd", "momentum", "adam", "amsgrad"):
        row = spec.OPTIMIZERS[optimizer]
        held = [*slots, total][: len(row.slots)]
        yield optimizer, launched(optimizers.enqueue_update, optimizer, w, g, held, rates, 1.0, 1,
                                  [value for _, value in row.params], changed=[w, *held])


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_quads(cuda, dtype):
    """Where arrays don't begin at 16 bytes elements go one by one, and give the same."""
    from fusedmlp.kernels.cuda import device, quads

    results = []
    for offset in (0, 1):
        rng, made = np.random.default_rng(5), []

        def arrays(*given, rng=rng, offset=offset, made=made):
            for one in given:
                value = one if isinstance(one, np.ndarray) else np.abs(
                    rng.standard_normal(one)).astype(dtype)
                held = device.cuda.to_device(np.concatenate(
                    [np.zeros(offset, value.dtype), value.reshape(-1)]))
                rows, columns = value.shape if value.ndim == 2 else (1, value.size)
                array = device.matrix(held, rows, columns, offset)
                made.append((array.data, held))
                assert quads.count(8, array) == (2 if offset == 0 else 0)
                assert quads.count(8, array, columns=6) == 0
                yield array

        def fetched(array, offset=offset, made=made):
            held = next(held for data, held in made if data is array.data)
            return held.copy_to_host()[offset : offset + array.size]

        results.append(list(in_quads(arrays, fetched)))
    for (name, found), (_, expected) in zip(*results, strict=True):
        for a, b in zip(found, expected, strict=True):
            assert np.isfinite(a).all(), name
            np.testing.assert_allclose(a, b, rtol=1e-6 if dtype == "float32" else 1e-14,
                                       err_msg=name)


# -- rows, losses, optimizers, random numbers ------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", [row for row in spec.ACTIVATIONS.values()
                                 if row.kind in ("row", "halves", "pieces")],
                         ids=lambda row: row.name)
def test_cuda_row_activations(oracle, cuda, row, dtype):
    params = (3.0,) if row.kind == "pieces" else ()
    x = frozen(3.0 * np.random.default_rng(3).standard_normal((5, 6)), dtype)
    width = {"halves": 3, "pieces": 2}.get(row.kind, 6)
    results = []
    for kernels in (cuda, oracle):
        y, dx = poisoned((5, width), dtype), poisoned((5, 6), dtype)
        kernels.activations.activation(row.name, x, params, y)
        dy = frozen(np.linspace(-1.0, 1.0, y.size).reshape(y.shape), dtype)
        kernels.activations.activation_grad(row.name, dy, x if row.reads == "x" else y, params, dx)
        assert_written(y, dx)
        results.append((y, dx))
    for got, expected in zip(*results, strict=True):
        close(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_cuda_losses(oracle, cuda, row, weighted, dtype):
    params = (4.0, 0.4, 1.0) if row.name == "circle" else default_params(row)
    smoothing = 0.125 if row.kind in ("row", "elementwise") and row.labels != "signs" else 0.0
    weight = np.linspace(0.0, 3.0, 5).astype(dtype) if weighted else None
    for axis in ("rows", "all", "columns", "columns_sum") if row.kind == "overlap" else ("rows",):
        for classes in (False, True) if row.kind == "row" and row.labels == "classes" else (False,):
            p, labels = data(row, 5, 4, dtype, seed=3, classes=classes)
            results = []
            for kernels in (cuda, oracle):
                losses, d = poisoned((5,), dtype), poisoned(p.shape, dtype)
                call(kernels, row, p, labels, losses, d, params=params, weight=weight,
                     smoothing=smoothing, scale=0.375, axis=axis)
                assert_written(losses, d)
                results.append((losses, d))
            for got, expected in zip(*results, strict=True):
                close(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ignore", [None, 1])
@pytest.mark.parametrize("kind", ["classes", "probabilities"])
def test_cuda_softmax_cross_entropy(oracle, cuda, kind, ignore, dtype):
    rng = np.random.default_rng(5)
    for n, c in ((6, 4), (3, 1), (2, 13)):
        z = frozen(5.0 * rng.standard_normal((n, c)), dtype)
        labels = rng.integers(0, c, n) if kind == "classes" else rng.random((n, c)).astype(dtype)
        weight = np.linspace(0.5, 3.0, n).astype(dtype)
        results = []
        for kernels in (cuda, oracle):
            out = [poisoned(s, dtype) for s in ((n,), (n, c), (n,))]
            kernels.losses.softmax_cross_entropy(z, labels, weight, 0.1, ignore, 0.5, *out)
            assert_written(*out)
            results.append(out)
        for got, expected in zip(*results, strict=True):
            close(got, expected, 256.0)
        np.testing.assert_array_equal(results[0][2], results[1][2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", spec.OPTIMIZERS.values(), ids=lambda row: row.name)
def test_cuda_optimizers(oracle, cuda, row, dtype):
    params = tuple(0.125 if key == "weight_decay" else value for key, value in row.params)
    shapes = [(11,)] if row.kind == "elementwise" else [(5, 3), (3, 6), (1, 4)]
    for shape in shapes:
        for t in (1, 9):
            state = typical_state(row, shape, dtype, [*shape, t])
            results = []
            for kernels in (cuda, oracle):
                arrays = [placed(state[0]), frozen(state[1]), *map(placed, state[2:])]
                getattr(kernels.optimizers, f"{row.name}_update")(
                    *arrays, *((t,) if row.counts else ()), 0.0625, *params)
                assert_written(arrays[0], *arrays[2:])
                results.append(arrays)
            for got, expected in zip(*results, strict=True):
                close(got, expected, 2e3 if row.name == "muon" else 64.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_random_numbers(oracle, cuda, dtype):
    for shape in ((3, 4), (2, 7), (5, 1)):
        got, expected = poisoned(shape, dtype), poisoned(shape, dtype)
        for kernels, out in ((cuda, got), (oracle, expected)):
            kernels.random.dropout_mask(0.3, 2**64 - 1, 3, 2**32 - 1, out)
        np.testing.assert_array_equal(got, expected)
        x = np.ones(shape, dtype)
        (_, on_x), (y, on_y) = sent(x), sent(np.zeros(shape, dtype))
        held, _ = sent(np.array([0.0, 9.0]))
        from fusedmlp.kernels.cuda import device

        cuda.random.enqueue_normal(0, on_x, 0.5, 2.0, 77, 2, device.vector(held, 2), False, on_y,
                                   None)
        reference_random.normal(0.5, 2.0, 77, 2, 9, expected)
        close(y.copy_to_host().reshape(shape), x + expected)


# -- operations of layers --------------------------------------------------------------------------


def operate(operations, name, arrays, shapes, dtype, **attributes):
    """What an operation makes of arrays: outputs of these shapes."""
    inputs = [sent(np.asarray(array, dtype)) for array in arrays]
    outputs = [sent(np.full(shape, 7.0, dtype)) for shape in shapes]
    operations[name](0, [one for _, one in inputs], [one for _, one in outputs], **attributes)
    return [held.copy_to_host()[: int(np.prod(shape))].reshape(shape)
            for (held, _), shape in zip(outputs, shapes, strict=True)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_arithmetic(cuda, dtype):
    from fusedmlp.kernels.cuda.arithmetic import OPERATIONS

    rng = np.random.default_rng(7)
    a, b, c = rng.uniform(0.5, 2.0, (3, 4, 6)).astype(dtype)
    column, row = b[:, :1], c[:1]
    expected = {
        "add": a + b, "subtract": a - b, "multiply": a * b, "divide": a / b,
        "maximum": np.maximum(a, b), "minimum": np.minimum(a, b), "accumulate": a + b,
        "log": np.log(a), "scale_rows": a * column, "scale_columns": a * row,
        "scale_shift": a * row + row, "repeat": np.tile(row, (4, 1)), "reshape": a,
        "maximum_grad": a * (b > c), "minimum_grad": a * (b < c),
    }
    inputs = {"log": [a], "scale_rows": [a, column], "scale_columns": [a, row],
              "scale_shift": [a, row, row], "repeat": [row], "reshape": [a],
              "maximum_grad": [a, b, c], "minimum_grad": [a, b, c]}
    for name, value in expected.items():
        (got,) = operate(OPERATIONS, name, inputs.get(name, [a, b]), [(4, 6)], dtype)
        close(got, value)
    close(operate(OPERATIONS, "affine", [a], [(4, 6)], dtype, factor=3.0, shift=-1.0)[0], 3 * a - 1)
    close(operate(OPERATIONS, "broadcast", [column], [(4, 6)], dtype, factor=0.5)[0],
          np.tile(column / 2, 6))
    close(operate(OPERATIONS, "power", [a], [(4, 6)], dtype, exponent=1.5)[0], a**1.5)
    close(operate(OPERATIONS, "row_sum", [a], [(4, 1)], dtype, factor=2.0)[0],
          2 * a.sum(axis=1, keepdims=True))
    close(operate(OPERATIONS, "row_dot", [a, b], [(4, 1)], dtype)[0],
          (a * b).sum(axis=1, keepdims=True))
    whole, part, back = (np.empty(s, dtype) for s in ((4, 12), (4, 4), (4, 6)))
    join.concatenate([a, b], 2, whole)
    close(operate(OPERATIONS, "concatenate", [a, b], [(4, 12)], dtype, groups=2)[0], whole)
    join.cut(a, 1, 2, part)
    close(operate(OPERATIONS, "slice", [a], [(4, 4)], dtype, start=1, groups=2)[0], part)
    join.place(part, 1, 2, back)
    close(operate(OPERATIONS, "place", [part], [(4, 6)], dtype, start=1, groups=2)[0], back)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_embedding(cuda, dtype):
    from fusedmlp.kernels.cuda.arithmetic import OPERATIONS

    table = np.arange(15.0).reshape(5, 3)
    indices = np.array([[0.0, 4.0], [4.0, -1.0], [2.0, 5.0]])
    (y,) = operate(OPERATIONS, "embedding", [indices, table], [(3, 6)], dtype)
    none = [np.nan] * 3
    np.testing.assert_array_equal(
        y, [[*table[0], *table[4]], [*table[4], *none], [*table[2], *none]])
    dy = np.arange(18.0).reshape(3, 6)
    (dtable,) = operate(OPERATIONS, "embedding_grad", [indices, dy], [(5, 3)], dtype)
    expected = np.zeros((5, 3))
    expected[0], expected[4], expected[2] = dy[0, :3], dy[0, 3:] + dy[1, :3], dy[2, :3]
    np.testing.assert_array_equal(dtable, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_normalization_of_columns(cuda, dtype):
    from fusedmlp.kernels.cuda.normalization import OPERATIONS

    rng = np.random.default_rng(8)
    x, dy = rng.standard_normal((2, 7, 3)).astype(dtype)
    gamma, beta, moving, spread = rng.uniform(0.5, 2.0, (4, 3)).astype(dtype)
    mean, inv = np.empty((2, 3), dtype)
    normalization.batch_statistics(x, moving.copy(), spread.copy(), 0.9, 1e-3, mean, inv)
    for got, expected in zip(
            operate(OPERATIONS, "batch_statistics", [x, moving, spread], [(3,), (3,)], dtype,
                    momentum=0.9, epsilon=1e-3), (mean, inv), strict=True):
        close(got, expected)
    out, dgamma, dbeta = np.empty((7, 3), dtype), *np.empty((2, 3), dtype)
    normalization.standardize(x, mean, inv, gamma, beta, out)
    close(operate(OPERATIONS, "standardize", [x, mean, inv, gamma, beta], [(7, 3)], dtype,
                  scale=True, center=True)[0], out)
    normalization.batch_norm_sums(dy, x, mean, inv, dgamma, dbeta)
    for got, expected in zip(operate(OPERATIONS, "batch_norm_sums", [dy, x, mean, inv],
                                     [(3,), (3,)], dtype), (dgamma, dbeta), strict=True):
        close(got, expected)
    normalization.batch_norm_dx(dy, x, mean, inv, dgamma, dbeta, gamma, out)
    close(operate(OPERATIONS, "batch_norm_dx", [dy, x, mean, inv, dgamma, dbeta, gamma], [(7, 3)],
                  dtype, scale=True)[0], out)
    a, b = np.empty((2, 3), dtype)
    normalization.fold_statistics(moving, spread, None, beta, 1e-3, a, b)
    for got, expected in zip(operate(OPERATIONS, "fold_statistics", [moving, spread, beta],
                                     [(3,), (3,)], dtype, epsilon=1e-3, scale=False, center=True),
                             (a, b), strict=True):
        close(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["layer", "rms", "unit"])
def test_cuda_normalization_of_rows(cuda, kind, dtype):
    from fusedmlp.kernels.cuda.normalization import OPERATIONS

    rng = np.random.default_rng(9)
    x, dy = rng.standard_normal((2, 4, 5)).astype(dtype)
    gamma = rng.uniform(0.5, 2.0, 5).astype(dtype)
    y, dx, inv, mean = (np.empty(s, dtype) for s in ((4, 5), (4, 5), (4,), (4,)))
    if kind != "layer":
        mean = None
    normalization.row_norm(x, kind, 1e-3, gamma, None, y, inv, mean)
    shapes = [(4, 5), (4,), (4,)][: 3 if kind == "layer" else 2]
    got = operate(OPERATIONS, "row_norm", [x, gamma], shapes, dtype, kind=kind, epsilon=1e-3,
                  scale=True, center=False)
    for one, expected in zip(got, (y, inv, mean), strict=False):
        close(one, expected)
    kept = [inv] if mean is None else [inv, mean]
    normalization.row_norm_grad(dy, x, inv, mean, gamma, kind, dx)
    close(operate(OPERATIONS, "row_norm_grad", [dy, x, *kept, gamma], [(4, 5)], dtype, kind=kind,
                  scale=True, epsilon=1e-3)[0], dx)
    dgamma = np.empty(5, dtype)
    normalization.gamma_grad(dy, x, inv, mean, dgamma)
    close(operate(OPERATIONS, "gamma_grad", [dy, x, *kept], [(5,)], dtype)[0], dgamma)
