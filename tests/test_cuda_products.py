"""Products by cuBLASLt: what it is asked for, held to NumPy by an interpreter of its descriptors.

The descriptors are those of the library itself, which makes them without a GPU.  What it does not
do without one, choose an algorithm and multiply, an interpreter does here: it reads everything that
it knows from the descriptors, column by column as cuBLASLt has it, and multiplies with NumPy.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from fusedmlp import backend as backends
from fusedmlp.kernels import cuda as package
from fusedmlp.kernels.cuda import cublaslt
from fusedmlp.kernels.reference.dense import bfloat16

DTYPES = ("float32", "float64")
needs_library = pytest.mark.skipif(bool(cublaslt.missing()), reason=cublaslt.missing())
simulated = pytest.mark.skipif(not package.simulated() or bool(package.missing()),
                               reason="needs Numba's simulator, whose arrays NumPy can read")


def value(kind, descriptor, attribute, of):
    """An attribute of a descriptor, a number of ctypes; the library checks its size."""
    found, size = of(), ctypes.c_size_t()
    function = getattr(cublaslt.library(), f"cublasLt{kind}GetAttribute")
    assert function(descriptor, attribute, ctypes.byref(found), ctypes.c_size_t(ctypes.sizeof(of)),
                    ctypes.byref(size)) == 0
    assert size.value == ctypes.sizeof(of)
    return found.value


def layout(descriptor):
    """Type, order, rows, columns and leading dimension."""
    kinds = (ctypes.c_uint32, ctypes.c_int32, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64)
    return [value("MatrixLayout", descriptor, k, of) for k, of in enumerate(kinds)]


class Interpreter:
    """The library, with a processor in place of the GPU; it writes down what it was told."""

    def __init__(self, real, refused=()):
        self.real, self.refused, self.products, self.preferences = real, refused, [], []

    def __getattr__(self, name):
        return getattr(self.real, name)

    def cublasLtCreate(self, handle):
        handle._obj.value = 1
        return 0

    def cublasLtMatmulAlgoGetHeuristic(self, handle, operation, a, b, c, d, preference, most,
                                       found, count):
        epilogue = value("MatmulDesc", operation, 7, ctypes.c_uint32)
        if epilogue in self.refused:
            return 15
        room = value("MatmulPreference", preference, 1, ctypes.c_uint64)
        assert value("MatmulPreference", preference, 3, ctypes.c_uint32) == 2
        self.preferences.append([value("MatmulPreference", preference, k, ctypes.c_uint32)
                                 for k in (5, 6, 7, 8)])
        count._obj.value = min(most, 3)
        for k, one in enumerate(found[: count._obj.value]):
            one.algorithm[0], one.workspace, one.state = 40 + k, min(64 * k, room), int(k == 1)
        return 0

    def cublasLtMatmul(self, handle, operation, alpha, a, of_a, b, of_b, beta, c, of_c, d, of_d,
                       algorithm, workspace, size, stream):
        assert (handle.value, alpha._obj.value, beta._obj.value) == (1, 1.0, 0.0)
        assert (c, of_c) == (d, of_d)
        assert bool(workspace) == bool(size)
        a, b, d = (self.matrix(p, of) for p, of in ((a, of_a), (b, of_b), (d, of_d)))
        if value("MatmulDesc", operation, 3, ctypes.c_int32):
            a = a.T
        if value("MatmulDesc", operation, 4, ctypes.c_int32):
            b = b.T
        compute = value("MatmulDesc", operation, 0, ctypes.c_int32)
        epilogue = value("MatmulDesc", operation, 7, ctypes.c_uint32)
        pointer = value("MatmulDesc", operation, 8, ctypes.c_void_p)
        assert bool(pointer) == bool(epilogue & (4 | 256))
        vector = pointer and np.ctypeslib.as_array(
            (np.ctypeslib.as_ctypes_type(d.dtype) * len(d)).from_address(pointer))
        if compute == 75:
            a, b = bfloat16(a), bfloat16(b)
        found = (a @ b).astype(np.float64)
        if epilogue & 4:
            found = found + vector[:, None]  # along the rows of the result
        if epilogue & 2:
            found = np.maximum(found, 0.0)
        if epilogue & 256:
            vector[:] = a.sum(axis=1)
        d[...] = found
        self.products.append((compute, epilogue, algorithm[0], found.shape, a.shape[1]))
        return 0

    @staticmethod
    def matrix(pointer, descriptor):
        kind, order, rows, columns, ld = layout(descriptor)
        assert order == 0
        assert ld >= rows
        number = {0: ctypes.c_float, 1: ctypes.c_double}[kind]
        flat = np.ctypeslib.as_array((number * (ld * (columns - 1) + rows)).from_address(pointer))
        return np.lib.stride_tricks.as_strided(flat, (rows, columns),
                                               (flat.itemsize, ld * flat.itemsize))


@pytest.fixture
def interpreter(monkeypatch):
    """A function that puts an interpreter in the library's place."""
    def make(*refused):
        found = Interpreter(cublaslt.library(), refused)
        cublaslt._handle.cache_clear()
        monkeypatch.setattr(cublaslt, "library", lambda: found)
        return found

    yield make
    cublaslt._handle.cache_clear()


def array(values, pitch=None):
    """What stands for an array on the device: a matrix of NumPy with a pitch."""
    rows, columns = values.shape
    held = np.full((rows, pitch or columns), 7.0, values.dtype)
    held[:, :columns] = values
    return SimpleNamespace(data=held.ctypes.data, rows=rows, columns=columns, held=held,
                           pitch=held.shape[1], dtype=values.dtype, size=values.size)


# -- the library ---------------------------------------------------------------------------------


@needs_library
def test_the_library_says_what_it_is_and_what_is_wrong():
    assert tuple(map(int, cublaslt.version().split("."))) >= cublaslt.LEAST_VERSION
    made = cublaslt._Object("MatmulDesc", 68, 0)
    with pytest.raises(RuntimeError, match=r"MatmulDescSetAttribute answers 7 \(.* parameter"):
        made.set(7, ctypes.c_uint64(1))


def test_a_missing_library_is_named_with_the_remedy(monkeypatch):
    cublaslt.library.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "cuda.pathfinder", None)
    try:
        assert cublaslt.missing() == (
            "nvidia-cublas is not installed (pip install 'fusedmlp[cublas]')")
    finally:
        cublaslt.library.cache_clear()


# -- descriptors ---------------------------------------------------------------------------------


@needs_library
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epilogue", cublaslt.EPILOGUES)
def test_descriptors_say_what_is_meant(epilogue, dtype):
    x, kernel, out = (array(np.zeros(s, dtype), pitch)
                      for s, pitch in (((5, 3), None), ((3, 4), 16), ((5, 4), None)))
    vector = array(np.zeros((1, 4), dtype)) if epilogue not in ("none", "relu") else None
    made = cublaslt.Product(x, kernel, out, (False, False), epilogue, vector)
    number = DTYPES.index(dtype)
    assert [layout(one.handle) for one in made.layouts] == [
        [number, 0, 4, 3, 16], [number, 0, 3, 5, 3], [number, 0, 4, 5, 4]]
    for attribute, expected in ((0, {"float32": 68, "float64": 70}[dtype]), (1, number), (2, 0),
                                (3, 0), (4, 0), (7, cublaslt.EPILOGUES[epilogue])):
        assert value("MatmulDesc", made.operation.handle, attribute, ctypes.c_int32) == expected
    assert value("MatmulDesc", made.operation.handle, 8, ctypes.c_void_p) == (
        vector and vector.data)
    preference = made.preference(1 << 20)
    assert value("MatmulPreference", preference.handle, 1, ctypes.c_uint64) == 1 << 20
    assert value("MatmulPreference", preference.handle, 3, ctypes.c_uint32) == 2
    turned = cublaslt.Product(out, kernel, x, (False, True)).operation.handle
    assert [value("MatmulDesc", turned, k, ctypes.c_int32) for k in (3, 4)] == [1, 0]
    turned = cublaslt.Product(x, out, kernel, (True, False)).operation.handle
    assert [value("MatmulDesc", turned, k, ctypes.c_int32) for k in (3, 4)] == [0, 1]


@needs_library
@pytest.mark.parametrize(("precision", "compute"), [(None, 68), ("tensorfloat32", 77),
                                                    ("bfloat16", 75)])
def test_float32_is_rounded_only_when_asked_for(precision, compute):
    one = array(np.zeros((2, 2), "float32"))
    made = cublaslt.Product(one, one, one, precision=precision)
    assert value("MatmulDesc", made.operation.handle, 0, ctypes.c_int32) == compute


@needs_library
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_those_of_rows(interpreter, dtype):
    """All three, with padded weights; what is between the columns is left alone."""
    told = interpreter()
    rng = np.random.default_rng(3)
    x, kernel, bias, dz = (rng.standard_normal(s).astype(dtype)
                           for s in ((5, 3), (3, 4), (1, 4), (5, 4)))
    on_x, on_dz, on_bias = map(array, (x, dz, bias))
    on_kernel = array(kernel, 16)
    out, dx, dkernel, dbias = (array(np.full(s, np.nan, dtype), pitch) for s, pitch in (
        ((5, 4), None), ((5, 3), None), ((3, 4), 16), ((1, 4), None)))
    for made in (cublaslt.Product(on_x, on_kernel, out, (False, False), "relu_bias", on_bias),
                 cublaslt.Product(on_dz, on_kernel, dx, (False, True)),
                 cublaslt.Product(on_x, on_dz, dkernel, (True, False), "column_sums", dbias)):
        found = made.algorithms(8, 1000)
        assert [(one.data[0], one.workspace) for one in found] == [(40, 0), (42, 128)]
        made.enqueue(0, found[0], 0)
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12}
    np.testing.assert_allclose(out.held, np.maximum(x @ kernel + bias, 0.0), **close)
    np.testing.assert_allclose(dx.held, dz @ kernel.T, **close)
    np.testing.assert_allclose(dkernel.held[:, :4], x.T @ dz, **close)
    np.testing.assert_array_equal(dkernel.held[:, 4:], 7.0)
    np.testing.assert_allclose(dbias.held[0], dz.sum(axis=0), **close)
    assert all(each in (16, 32, 64, 128, 256) for one in told.preferences for each in one)


@needs_library
def test_a_product_that_the_library_lacks_has_no_algorithms(interpreter):
    interpreter(1)
    one = array(np.zeros((2, 2)))
    assert cublaslt.Product(one, one, one).algorithms(4, 0) == []


# -- the choice ----------------------------------------------------------------------------------


@pytest.fixture
def chooser(interpreter, monkeypatch):
    """A function that lets products be timed by a table of microseconds, by name."""
    from fusedmlp.kernels.cuda import products

    monkeypatch.setattr(products, "_choices", {})
    monkeypatch.setattr(products, "least_flops", 0)
    monkeypatch.setattr(cublaslt, "aligned", lambda pointer: 16)  # NumPy's differ from run to run

    def make(times, *refused):
        def timed(stream, calls):
            for call in calls.values():
                call()
            return {name: times.get(name, 50.0) for name in calls}

        monkeypatch.setattr(products, "_microseconds", timed)
        return products, interpreter(*refused)

    return make


def sent(values):
    from fusedmlp.kernels.cuda import device

    held = device.cuda.to_device(np.array(values).reshape(-1))
    rows, columns = values.shape if values.ndim == 2 else (1, values.size)
    return held, device.matrix(held, rows, columns)


def all_three(products, activation, dtype="float32", n=5, full=None, preactivation=False):
    """Forward, dX and dW by `products`, and what NumPy's backend makes of them."""
    from fusedmlp.kernels.cuda import device

    rng = np.random.default_rng(n)
    x, kernel, bias, dz = (rng.standard_normal(s).astype(dtype)
                           for s in ((n, 3), (3, 4), (4,), (n, 4)))
    saved = rng.standard_normal((n, 3)).astype(dtype)
    shapes = ((n, 4), (n, 4), (n, 3), (3, 4), (4,))
    (y, on_y), (z, on_z), (dx, on_dx), (dw, on_dw), (db, on_db) = (
        sent(np.full(s, np.nan, dtype)) for s in shapes)
    held = [sent(a) for a in (x, kernel, bias, dz, saved)]
    on_x, on_kernel, on_bias, on_dz, on_saved = (one for _, one in held)
    room = device.cuda.to_device(np.zeros(256, np.uint8))
    rest = {"workspace": device.vector(room, 256), "full": full}
    products.enqueue_dense(0, on_x, on_kernel, on_bias, activation, (), on_y,
                           on_z if preactivation else None, **rest)
    products.enqueue_dense_dx(0, on_dz, on_kernel, on_saved, activation, (), on_dx, **rest)
    products.enqueue_dense_dw(0, on_x, on_dz, on_dw, on_db, **rest)
    oracle = backends.load("numpy")
    expected = [np.empty(s, dtype) for s in shapes]
    oracle.dense.dense(x, kernel, bias, activation, (), *expected[:2])
    oracle.dense.dense_grad(dz, x, kernel, *expected[2:])
    oracle.activations.activation_grad(activation, expected[2].copy(), saved, (), expected[2])
    found = [one.copy_to_host() for one in (y, z, dx, dw, db)]
    for number, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        if number != 1 or preactivation:
            np.testing.assert_allclose(got, wanted.ravel(), rtol=1e-4, atol=1e-5)


@needs_library
@simulated
@pytest.mark.parametrize(("activation", "preactivation", "epilogue"), [
    ("relu", False, "relu_bias"), ("linear", False, "bias"), ("tanh", False, "bias"),
    ("gelu", True, "bias")])
def test_each_product_goes_the_fastest_way(chooser, activation, preactivation, epilogue):
    products, told = chooser({"tiles": 20.0, f"cuBLASLt {epilogue} 1": 10.0,
                              "cuBLASLt none 0": 9.0, "cuBLASLt column_sums 0": 9.1})
    all_three(products, activation, preactivation=preactivation)
    numbers = [cublaslt.EPILOGUES[name] for name in (epilogue, "none", "column_sums")]
    del told.products[:]
    all_three(products, activation, preactivation=preactivation)  # nothing is timed again
    assert [(one[1], one[2]) for one in told.products] == list(
        zip(numbers, (42, 40, 40), strict=True))
    lines = products.choices()
    assert len(lines) == 3
    assert lines[0].startswith(f"dense 5x3x4 float32 {activation}: cuBLASLt {epilogue} 1 (micro")
    assert "tiles 20.0" in lines[0]


@needs_library
@simulated
def test_the_tiles_are_taken_where_nothing_is_clearly_faster(chooser):
    products, told = chooser({"tiles": 20.0, "cuBLASLt relu_bias 0": 19.8})
    all_three(products, "relu")
    del told.products[:]
    all_three(products, "relu", dtype="float64")
    all_three(products, "relu", n=2, full=5)  # as the whole batch, without a look at the clock
    assert all(": tiles (" in line for line in products.choices())
    assert len(products.choices()) == 6
    assert {one[0] for one in told.products} == {70}


@needs_library
@simulated
def test_a_batch_that_is_not_full_goes_the_way_of_the_full_one(chooser):
    products, told = chooser({"tiles": 90.0, "cuBLASLt relu_bias 1": 10.0,
                              "cuBLASLt none 1": 10.0, "cuBLASLt column_sums 1": 10.0})
    all_three(products, "relu")
    del told.products[:]
    all_three(products, "relu", n=2, full=5)
    assert [one[2] for one in told.products] == [40, 40, 40]  # what is proposed for so many rows
    assert len(products.choices()) == 3


@needs_library
@simulated
def test_ways_that_the_library_lacks_are_left_out(chooser, monkeypatch):
    products, _ = chooser({"tiles": 90.0}, *cublaslt.EPILOGUES.values())
    all_three(products, "relu")
    assert all(": tiles" in line for line in products.choices())
    products, told = chooser({"tiles": 90.0}, cublaslt.EPILOGUES["relu_bias"],
                             cublaslt.EPILOGUES["column_sums"])
    monkeypatch.setattr(products, "_choices", {})
    all_three(products, "relu")
    assert {one[1] for one in told.products} == {cublaslt.EPILOGUES[n] for n in ("none", "bias")}


@needs_library
@simulated
def test_one_may_ask_for_a_library_and_a_precision(chooser, monkeypatch):
    products, told = chooser({})
    monkeypatch.setattr(package, "_matmul", {"precision": "bfloat16", "library": "cublaslt"})
    with pytest.raises(AssertionError):  # factors were rounded
        all_three(products, "tanh")
    all_three(products, "tanh", dtype="float64")
    assert {one[0] for one in told.products} == {75, 70}
    assert not any("microseconds" in line for line in products.choices())


@needs_library
@simulated
def test_a_model_trains_with_products_of_the_library(chooser, monkeypatch):
    """Panels, padding, a short last batch, and the reserved workspace."""
    from test_executor import executor, network, samples, train

    products, told = chooser({"tiles": 90.0})
    monkeypatch.setattr(products, "workspace_bytes", lambda plan: 1000)
    results = []
    for name in ("numpy", "cuda"):
        net = network([35, "relu", 2], loss="mean_squared_error", optimizer="momentum", batch=3,
                      params=(0.9, 0.0, 0.01), dtype="float32", columns=3)
        run = executor(backends.load(name), net)
        run.persistent = False
        train(run, samples(net, "dense", 5, dtype="float32", columns=3), 3, rate=0.1)
        results.append((run.totals, run.gradients, *net.values))
    for got, expected in zip(*reversed(results), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert len(told.products) > 8


@simulated
def test_tiles_are_taken_alone_where_nothing_else_may_be_asked(monkeypatch):
    """Also with a workspace: reserved before a person chose the tiles, or by a benchmark."""
    from fusedmlp.kernels.cuda import products

    def fails(*arguments):
        raise AssertionError("cuBLASLt was asked")

    monkeypatch.setattr(products, "_choices", {})
    monkeypatch.setattr(products, "least_flops", 0)
    monkeypatch.setattr(products, "_fastest", fails)
    monkeypatch.setattr(cublaslt, "missing", lambda: "not there")
    all_three(products, "relu")
    monkeypatch.setattr(cublaslt, "missing", str)
    monkeypatch.setattr(package, "_matmul", {"precision": "float32", "library": "tiles"})
    all_three(products, "relu")
    assert not products.choices()


def test_executors_reserve_nothing_without_the_library(monkeypatch):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    from test_executor import network

    from fusedmlp.kernels.cuda import products

    plan = network([700], batch=3000, columns=500, dtype="float32").plan
    assert any(plan.flops(op) > products.least_flops for op in plan.ops)
    monkeypatch.setattr(products, "SIMULATED", False)
    monkeypatch.setattr(products.cuda, "get_current_device", lambda: SimpleNamespace(
        compute_capability=(8, 6)), raising=False)
    monkeypatch.setattr(cublaslt, "missing", lambda: "not there")
    assert products.workspace_bytes(plan) == 0
    monkeypatch.setattr(package, "_matmul", {"precision": "float32", "library": "cublaslt"})
    with pytest.raises(RuntimeError, match="can't be left to cuBLASLt: not there"):
        products.workspace_bytes(plan)
    monkeypatch.setattr(cublaslt, "missing", str)
    assert products.workspace_bytes(plan) == 8 << 20
    assert products.workspace_bytes(network([3], dtype="float32").plan) == 0
    monkeypatch.setattr(package, "_matmul", {"precision": "float32", "library": "tiles"})
    assert products.workspace_bytes(plan) == 0
