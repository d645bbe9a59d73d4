"""Sparse input: products that skip zeros against the dense ones, in plans, training, prediction."""

from __future__ import annotations

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers
from fusedmlp.training.compressed import CompressedRows

sp = pytest.importorskip("scipy.sparse")

ROWS, COLUMNS, CLASSES = 70, 45, 3


def matrix(seed=0, density=0.1, rows=ROWS, format="csr", dtype="float32"):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, COLUMNS)) * (rng.random((rows, COLUMNS)) < density)
    x[3] = 0  # a row without elements
    return sp.csr_matrix(x.astype(dtype)).asformat(format)


X = matrix()
Y = np.random.default_rng(1).integers(0, CLASSES, ROWS)


def network(units=20, activation="relu", front=(), dtype=None, optimizer=None):
    fm.utils.set_random_seed(1)
    model = fm.Sequential([
        layers.Input((COLUMNS,), dtype=dtype), *front,
        layers.Dense(units, activation=activation), layers.Dense(CLASSES, activation="softmax")])
    model.compile(optimizer or fm.optimizers.Adam(0.01), "sparse_categorical_crossentropy",
                  metrics=["accuracy"])
    return model


def close(a, b, **tolerance):
    for v, w in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(v, w, **{"rtol": 2e-4, "atol": 2e-5, **tolerance})


@pytest.mark.parametrize("units", [1, 5, 16, 20, 33, 100])
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", None])
def test_training_is_that_of_the_dense_matrix(backend, units, activation):
    sparse, dense = network(units, activation, dtype="float64"), network(units, activation,
                                                                         dtype="float64")
    arguments = {"epochs": 3, "batch_size": 16, "verbose": 0, "validation_split": 0.2}
    a = sparse.fit(X, Y, **arguments)
    b = dense.fit(X.toarray(), Y, **arguments)
    close(sparse, dense, rtol=1e-9, atol=1e-11)
    for name, values in b.history.items():
        np.testing.assert_allclose(a.history[name], values, rtol=1e-9)
    np.testing.assert_allclose(sparse.predict(X), dense.predict(X.toarray()), rtol=1e-9)
    np.testing.assert_allclose(sparse.evaluate(X, Y), dense.evaluate(X.toarray(), Y), rtol=1e-9)


def test_the_plan_multiplies_what_is_not_zero(backend, monkeypatch):
    from fusedmlp.training import execution

    model, plans = network(), []
    finish = execution.lower
    monkeypatch.setattr(execution, "lower",
                        lambda *a, **k: plans.append(finish(*a, **k)) or plans[-1])
    model.fit(X, Y, verbose=0)
    model.predict(X)
    names = [[op.op for op in plan.ops] for plan, _ in plans]
    assert names[0][:2] == ["gather", "sparse_dense"]
    assert "sparse_dw" in names[0]
    assert names[1] == ["gather", "sparse_dense", "dense", "activation"]
    assert not any("densify" in found for found in names)


def test_float32(backend):
    sparse, dense = network(), network()
    sparse.fit(X, Y, epochs=3, batch_size=16, verbose=0)
    dense.fit(X.toarray(), Y, epochs=3, batch_size=16, verbose=0)
    close(sparse, dense)


@pytest.mark.parametrize("front", [
    lambda: [layers.Dropout(0.3)], lambda: [layers.Rescaling(2.0)],
    lambda: [layers.Activation("tanh")],
])
def test_other_first_layers_get_the_rows_of_a_batch(backend, front):
    sparse, dense = network(front=front()), network(front=front())
    sparse.fit(X, Y, epochs=2, batch_size=16, verbose=0)
    dense.fit(X.toarray(), Y, epochs=2, batch_size=16, verbose=0)
    close(sparse, dense, rtol=0, atol=1e-6)


@pytest.mark.parametrize("units", [20, 100])
def test_bits_depend_on_neither_threads_nor_batch(other, use_threads, units):
    before = fm.config.backend()
    fm.config.set_backend(other.name)
    try:
        results = []
        for threads in (1, 2):
            use_threads(threads)
            model = network(units)
            model.fit(X, Y, epochs=3, batch_size=16, verbose=0)
            results.append((model.get_weights(), model.predict(X)))
        for a, b in zip(*(r[0] for r in results), strict=True):
            assert np.array_equal(a, b)
        assert np.array_equal(results[0][1], results[1][1])
        single = np.concatenate([model.predict(X[i]) for i in range(ROWS)])
        assert np.array_equal(single, results[1][1])
    finally:
        fm.config.set_backend(before)


def test_backends_agree():
    before = fm.config.backend()
    found = []
    try:
        for name in ("numpy", before):
            fm.config.set_backend(name)
            model = network(40, dtype="float64")
            model.fit(X, Y, epochs=2, batch_size=16, verbose=0)
            found.append(model)
        close(*found, rtol=1e-9, atol=1e-12)
    finally:
        fm.config.set_backend(before)


@pytest.mark.parametrize("format", ["csr", "csc", "coo", "lil", "bsr"])
@pytest.mark.parametrize("dtype", ["float64", "int32", "bool"])
def test_formats_and_types(format, dtype):
    x = matrix(format=format, dtype=dtype)
    model = network()
    np.testing.assert_allclose(model.predict(x), model.predict(x.toarray()), rtol=1e-5)


def test_sparse_arrays_and_repeated_elements(backend):
    x = sp.csr_array((np.ones(3, "float32"), np.array([1, 1, 2]), np.array([0, 2, 3])),
                     shape=(2, COLUMNS))
    model = network()
    np.testing.assert_allclose(model.predict(x), model.predict(x.toarray()), rtol=1e-6)
    model.train_on_batch(x, [0, 1])
    model.test_on_batch(x, [0, 1])


def test_one_model_takes_both(backend):
    model = network()
    dense = X.toarray()
    first = model.predict(dense)
    np.testing.assert_allclose(model.predict(X), first, rtol=1e-5)
    assert np.array_equal(model.predict(dense), first)
    np.testing.assert_allclose(model.predictor(8)(X[:8]), first[:8], rtol=1e-6)


def test_batches_of_sparse_rows(backend):
    whole, single = network(), network()
    whole.fit(X, Y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    batches = [(X[i : i + 16], Y[i : i + 16]) for i in range(0, ROWS, 16)]
    single.fit(iter(batches * 2), verbose=0)
    for a, b in zip(whole.get_weights(), single.get_weights(), strict=True):
        assert np.array_equal(a, b)
    with pytest.raises(ValueError, match="Batches must be alike"):
        single.fit(iter([batches[0], (X[:4].toarray(), Y[:4])]), verbose=0)


def test_several_inputs_of_which_one_is_sparse(backend):
    def functional():
        fm.utils.set_random_seed(1)
        a, b = fm.Input((COLUMNS,), name="a"), fm.Input((2,), name="b")
        joined = layers.Concatenate()([layers.Dense(8, activation="relu")(a), b])
        model = fm.Model([a, b], layers.Dense(CLASSES, activation="softmax")(joined))
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    b = np.random.default_rng(5).normal(size=(ROWS, 2)).astype("float32")
    sparse, dense = functional(), functional()
    sparse.fit([X, b], Y, batch_size=16, epochs=2, verbose=0)
    dense.fit([X.toarray(), b], Y, batch_size=16, epochs=2, verbose=0)
    close(sparse, dense)
    np.testing.assert_allclose(sparse.predict({"a": X, "b": b}), dense.predict([X.toarray(), b]),
                               rtol=1e-4)


def test_refused():
    model = network()
    with pytest.raises(ValueError, match=r"must have shape \(rows, 45\)"):
        model.predict(X[:, :10])
    with pytest.raises(TypeError, match="real numbers"):
        model.predict(X.astype("complex64"))
    with pytest.raises(ValueError, match="same number of rows"):
        model.fit(X, Y[:10], verbose=0)


def test_rows_are_taken_in_any_order():
    x = CompressedRows.of(X, "x", np.dtype("float32"))
    order = np.random.default_rng(2).permutation(ROWS)
    assert np.array_equal(x.take(order).dense(), X.toarray()[order])
    assert np.array_equal(x[5:9].dense(), X.toarray()[5:9])
