"""The "cuda" kernels on inputs that nobody has seen before, of sizes that fill a GPU.

Each run draws other numbers, from a seed that is printed with a failure;
``FUSEDMLP_TEST_SEED=<seed>`` draws them again.  What is expected comes from the oracle in float64,
outputs are poisoned, and in the simulator everything is a few elements large.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from loss_truth import ROWS, call, data
from points import DTYPES, ELEMENTWISE, kernel_params
from test_kernels import POISON, frozen, placed, poisoned, typical_state

from fusedmlp import spec
from fusedmlp.kernels import cuda as package

SMALL = package.simulated()
SEED = int(os.environ.get("FUSEDMLP_TEST_SEED") or np.random.SeedSequence().entropy % 2**32)
PRODUCTS = [(3, 2, 5)] if SMALL else [
    (1, 1, 1), (1, 784, 10), (17, 54, 7), (128, 784, 256), (129, 257, 131), (1000, 100, 100),
    (4096, 64, 10), (512, 1024, 1024)]
LENGTHS = [5] if SMALL else [1, 4, 255, 257, 100_003, 3_000_001]
LOGITS = [(3, 4)] if SMALL else [(1, 1), (257, 10), (1024, 1000), (64, 1025), (5, 32_000)]
PREDICTIONS = (3, 4) if SMALL else (5000, 34)


@pytest.fixture
def rng(request):
    """Random numbers that differ from test to test and from run to run."""
    name = request.node.name.encode()
    print(f"FUSEDMLP_TEST_SEED={SEED}")
    return np.random.default_rng([SEED, *name])


def hold(got, expected, units, scale=None):
    """Every element is written, and off by at most so many units of the largest of `scale`."""
    assert not (got == POISON).any(), "an element was not written"
    eps = float(np.finfo(got.dtype).eps)
    expected = np.asarray(expected, np.float64)
    scale = np.abs(expected) if scale is None else scale
    error = np.abs(got - expected)
    allowed = units * eps * np.maximum(scale, 1e-3 * np.max(scale, initial=0.0))
    allowed = np.maximum(allowed, float(np.finfo(got.dtype).tiny))
    worst = np.max(error / allowed, initial=0.0)
    assert worst <= 1.0, f"{worst * units:.3g} units, allowed {units:.3g}"


# -- products ------------------------------------------------------------------------------------


def gradients(dz, x, kernel, saved, activation):
    """dx, dkernel and dbias in float64, and the largest that rounding may do to each."""
    derivative = {"relu": saved > 0, "tanh": 1.0 - saved * saved}[activation]
    sizes = (np.abs(dz) @ np.abs(kernel.T), np.abs(x.T) @ np.abs(dz), np.abs(dz).sum(axis=0))
    return ((dz @ kernel.T) * derivative, x.T @ dz, dz.sum(axis=0)), sizes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", PRODUCTS, ids=str)
@pytest.mark.parametrize("library", ["tiles", "auto", "cublaslt"])
def test_fresh_products(cuda, rng, library, shape, dtype, monkeypatch):
    """As an executor launches them, with padded weights: each way that the library may choose."""
    from fusedmlp.kernels.cuda import cublaslt, device, memory, products

    if library != "tiles" and (SMALL or cublaslt.missing()):
        pytest.skip("the simulator has no cuBLASLt" if SMALL else cublaslt.missing())
    monkeypatch.setattr(package, "_matmul", {"precision": "float32", "library": library})
    monkeypatch.setattr(products, "least_flops", 0)
    n, d, m = shape
    pitch = -(-m // 16) * 16
    x, kernel, bias, dz, saved = (rng.standard_normal(s).astype(dtype) for s in (
        (n, d), (d, m), (m,), (n, m), (n, d)))
    padded = np.zeros((d, pitch), dtype)
    padded[:, :m] = kernel
    stream = memory.stream()

    def there(values, length=None):
        held = device.cuda.to_device(np.ascontiguousarray(values).reshape(-1))
        return held, (device.vector(held, length) if length else device.matrix(held, *values.shape))

    held = [there(x), there(dz), there(saved), there(bias, m)]
    (_, on_x), (_, on_dz), (_, on_saved), (_, on_bias) = held
    weights = device.cuda.to_device(padded.reshape(-1))
    on_kernel = device.matrix(weights, d, m, 0, pitch)
    room = device.cuda.to_device(np.zeros(1 if SMALL else 32 << 20, np.uint8))
    rest = {"workspace": None if library == "tiles" else device.vector(room, len(room))}
    bound = d + 8
    for activation in ("relu", "tanh"):
        outputs = [np.full(s, POISON, dtype) for s in ((n, m), (n, d), (d, pitch), (1, m))]
        (y, on_y), (dx, on_dx), (dw, _), (db, _) = map(there, outputs)
        on_dw, on_db = device.matrix(dw, d, m, 0, pitch), device.vector(db, m)
        products.enqueue_dense(stream, on_x, on_kernel, on_bias, activation, (), on_y, None, **rest)
        products.enqueue_dense_dx(stream, on_dz, on_kernel, on_saved, activation, (), on_dx, **rest)
        products.enqueue_dense_dw(stream, on_x, on_dz, on_dw, on_db, **rest)
        memory.synchronize(stream)
        found = [one.copy_to_host().reshape(out.shape)
                 for one, out in zip((y, dx, dw, db), outputs, strict=True)]
        wide = [array.astype(np.float64) for array in (x, kernel, bias, dz, saved)]
        z = wide[0] @ wide[1] + wide[2]
        size = np.abs(wide[0]) @ np.abs(wide[1]) + np.abs(wide[2])
        hold(found[0], np.maximum(z, 0.0) if activation == "relu" else np.tanh(z), bound,
             np.maximum(size, 1.0))
        expected, sizes = gradients(wide[3], wide[0], wide[1], wide[4], activation)
        hold(found[1], expected[0], m + 16, np.maximum(sizes[0], 1.0) * (1.0 + wide[4] ** 2))
        hold(np.ascontiguousarray(found[2][:, :m]), expected[1], n + 8, sizes[1])
        assert (found[2][:, m:] == POISON).all()  # nothing between the columns
        hold(found[3][0], expected[2], n + 8, sizes[2])
        del held[4:]


def test_fresh_products_pass_nan_on(cuda, monkeypatch):
    """Also through an epilogue: a training that goes astray must show."""
    from fusedmlp.kernels.cuda import cublaslt, device, memory, products

    if SMALL or cublaslt.missing():
        pytest.skip("the simulator has no cuBLASLt" if SMALL else cublaslt.missing())
    monkeypatch.setattr(package, "_matmul", {"precision": "float32", "library": "cublaslt"})
    monkeypatch.setattr(products, "least_flops", 0)
    x, kernel = np.ones((64, 64), "float32"), np.ones((64, 64), "float32")
    x[5, 7] = np.nan
    arrays = [device.cuda.to_device(a.reshape(-1)) for a in (x, kernel, 0 * x, kernel[0])]
    on_x, on_kernel, on_y = (device.matrix(a, 64, 64) for a in arrays[:3])
    room, stream = device.cuda.to_device(np.zeros(32 << 20, np.uint8)), memory.stream()
    products.enqueue_dense(stream, on_x, on_kernel, device.vector(arrays[3], 64), "relu", (), on_y,
                           None, workspace=device.vector(room, len(room)))
    memory.synchronize(stream)
    y = arrays[2].copy_to_host().reshape(64, 64)
    assert np.isnan(y[5]).all()
    assert (np.delete(y, 5, axis=0) == 65.0).all()


# -- elementwise, rows, losses, updates ----------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ELEMENTWISE, ids=lambda row: row.name)
def test_fresh_activations(oracle, cuda, rng, row, dtype):
    params = kernel_params(row)
    for length in LENGTHS:
        x = frozen(rng.uniform(*row.domain, length), dtype)
        dy = frozen(rng.standard_normal(length), dtype)
        y, dx = poisoned(length, dtype), poisoned(length, dtype)
        cuda.activations.activation(row.name, x, params, y)
        saved = x if row.reads == "x" else frozen(y)
        cuda.activations.activation_grad(row.name, dy, saved, params, dx)
        expected, slope = np.empty(length), np.empty(length)
        rounded = tuple(float(np.dtype(dtype).type(p)) for p in params)
        oracle.activations.activation(row.name, x.astype(float), rounded, expected)
        oracle.activations.activation_grad(row.name, dy.astype(float), saved.astype(float), rounded,
                                           slope)
        hold(y, expected, 32.0, np.maximum(np.abs(expected), 1e-2))
        hold(dx, slope, 64.0, np.maximum(np.abs(slope), np.abs(dy)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", LOGITS, ids=str)
def test_fresh_softmax_cross_entropy(oracle, cuda, rng, shape, dtype):
    n, c = shape
    z = frozen(4.0 * rng.standard_normal(shape), dtype)
    labels = rng.integers(0, c, n)
    weight = frozen(rng.uniform(0.1, 2.0, n), dtype)
    out = [poisoned(s, dtype) for s in ((n,), (n, c), (n,))]
    cuda.losses.softmax_cross_entropy(z, labels, weight, 0.0, None, 0.5, *out)
    expected = [np.empty(s) for s in ((n,), (n, c), (n,))]
    oracle.losses.softmax_cross_entropy(z.astype(float), labels, weight.astype(float), 0.0, None,
                                        0.5, *expected)
    hold(out[0], expected[0], 64.0, np.abs(expected[0]) + 16.0)
    hold(out[1], expected[1], 256.0, np.abs(expected[1]) + 1e-2)
    np.testing.assert_array_equal(out[2], expected[2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_fresh_losses(oracle, cuda, rng, row, dtype):
    n, c = PREDICTIONS
    if row.kind == "pair":
        n = min(n, 300)
    p, labels = data(row, n, c, dtype, seed=rng)
    results = []
    for kernels in (cuda, oracle):
        losses, d = poisoned((n,), dtype), poisoned(p.shape, dtype)
        call(kernels, row, p, labels, losses, d)
        results.append((losses, d))
    for got, expected in zip(*results, strict=True):
        hold(got, expected, 512.0, np.abs(expected) + np.mean(np.abs(expected)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", spec.OPTIMIZERS.values(), ids=lambda row: row.name)
def test_fresh_updates(oracle, cuda, rng, row, dtype):
    params = tuple(0.125 if key == "weight_decay" else value for key, value in row.params)
    if row.kind == "elementwise":
        shapes = [(length,) for length in LENGTHS]
    else:
        shapes = [(3, 4)] if SMALL else [(1, 300), (257, 129), (300, 7)]
    for shape in shapes:
        state = typical_state(row, shape, dtype, rng)
        results = []
        for kernels in (cuda, oracle):
            arrays = [placed(state[0]), frozen(state[1]), *map(placed, state[2:])]
            getattr(kernels.optimizers, f"{row.name}_update")(
                *arrays, *((3,) if row.counts else ()), 0.0625, *params)
            results.append(arrays)
        for got, expected in zip(*results, strict=True):
            hold(got, expected, 1e5 if row.name == "muon" else 256.0, np.abs(expected) + 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fresh_random_numbers_are_those_of_the_oracle(oracle, cuda, rng, dtype):
    for shape in [(3, 5)] if SMALL else [(1, 1), (1000, 33), (128, 256)]:
        seed, step, stream = (int(rng.integers(0, 2**k)) for k in (63, 32, 31))
        results = []
        for kernels in (cuda, oracle):
            out = poisoned(shape, dtype)
            kernels.random.dropout_mask(0.3, seed, stream, step, out)
            results.append(out)
        np.testing.assert_array_equal(*results)
