"""Every kernel alone through `fusedmlp.ops`, for pytest-benchmark: which one became slower?

Run from the root of the repository, before and after a change::

    pytest bench --benchmark-only --benchmark-autosave
    pytest bench --benchmark-only --benchmark-compare --benchmark-compare-fail=median:10%

These are no tests of correctness and no part of the test suite; `python -m bench` has the peers.
"""

from __future__ import annotations

import numpy as np
import pytest

from fusedmlp import ops, spec

ELEMENTS = 100_000
DTYPES = ("float32", "float64")
# (rows, inputs, outputs): the layers of the workloads that take longest, and a ragged one
DENSE = ((32, 4, 16), (200, 64, 100), (256, 256, 128), (128, 784, 256), (512, 1024, 1024),
         (97, 101, 53))
ROWS = {"softmax": (1000, 100), "log_softmax": (1000, 100), "sparsemax": (1000, 100),
        "glu": (1000, 100), "maxout": (1000, 100)}
XENT = ((256, 10), (1024, 1000), (128, 32_000))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _inputs(rng, row, shape, dtype):
    return rng.uniform(*row.domain, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", DENSE, ids=lambda s: "x".join(map(str, s)))
class TestDense:
    def test_forward(self, benchmark, rng, shape, dtype):
        n, d, m = shape
        x, kernel = rng.standard_normal((n, d)), rng.standard_normal((d, m))
        x, kernel, bias = x.astype(dtype), kernel.astype(dtype), np.ones(m, dtype)
        benchmark(ops.dense, x, kernel, bias, "relu", out=np.empty((n, m), dtype))

    def test_gradients(self, benchmark, rng, shape, dtype):
        n, d, m = shape
        x, kernel, dy = (rng.standard_normal(s).astype(dtype) for s in ((n, d), (d, m), (n, m)))
        y = np.maximum(x @ kernel, 0)
        benchmark(ops.dense_grad, dy, x, kernel, y=y, activation="relu")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", spec.ELEMENTWISE)
class TestElementwise:
    def test_function(self, benchmark, rng, name, dtype):
        x = _inputs(rng, spec.ACTIVATIONS[name], ELEMENTS, dtype)
        benchmark(ops.activation, x, name, out=np.empty_like(x))

    def test_derivative(self, benchmark, rng, name, dtype):
        row = spec.ACTIVATIONS[name]
        x = _inputs(rng, row, ELEMENTS, dtype)
        saved = {"x": x} if row.reads == "x" else {"y": ops.activation(x, name)}
        benchmark(ops.activation_grad, np.ones_like(x), name, out=np.empty_like(x), **saved)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROWS)
def test_row_function(benchmark, rng, name, dtype):
    benchmark(ops.activation, _inputs(rng, spec.ACTIVATIONS[name], ROWS[name], dtype), name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", XENT, ids=lambda s: "x".join(map(str, s)))
def test_softmax_cross_entropy(benchmark, rng, shape, dtype):
    logits = rng.standard_normal(shape).astype(dtype)
    labels = rng.integers(0, shape[1], shape[0])
    benchmark(ops.softmax_cross_entropy, logits, labels, out=np.empty_like(logits))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["mean_squared_error", "sigmoid_cross_entropy"])
def test_elementwise_loss(benchmark, rng, loss, dtype):
    prediction = rng.standard_normal((1000, 100)).astype(dtype)
    target = rng.uniform(0, 1, (1000, 100)).astype(dtype)
    benchmark(getattr(ops, loss), prediction, target)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam(benchmark, rng, dtype):
    w, g = (rng.standard_normal(ELEMENTS).astype(dtype) for _ in range(2))
    benchmark(ops.adam_update, w, g, np.zeros_like(w), np.zeros_like(w), 1, 1e-3)


def test_call_of_few_elements(benchmark):
    """What a call costs beside its elements."""
    x = np.ones(16, np.float32)
    benchmark(ops.activation, x, "relu", out=np.empty_like(x))


@pytest.mark.parametrize("name", ["relu", "sigmoid"])
def test_function_beyond_the_caches(benchmark, rng, name):
    x = rng.standard_normal(8_000_000).astype(np.float32)
    benchmark(ops.activation, x, name, out=np.empty_like(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_momentum(benchmark, rng, dtype):
    w, g = (rng.standard_normal(ELEMENTS).astype(dtype) for _ in range(2))
    benchmark(ops.sgd_update, w, g, 1e-2, momentum=0.9, velocity=np.zeros_like(w), nesterov=True)
