"""Full-batch training with L-BFGS."""

from __future__ import annotations

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp.optimizers import LBFGS

scipy_optimize = pytest.importorskip("scipy.optimize")

RNG = np.random.default_rng(2)
X = RNG.normal(size=(60, 4))
Y = np.sin(X[:, :1]) + 0.3 * X[:, 1:2]


def network(dtype="float64", **arguments):
    fm.utils.set_random_seed(5)
    model = fm.Sequential([
        fm.Input((4,), dtype=dtype), fm.layers.Dense(40, activation="tanh", dtype=dtype),
        fm.layers.Dense(1, dtype=dtype)])
    model.compile(LBFGS(**arguments), "mse", metrics=["mae"])
    return model


def loss_and_gradient(weights):
    w1, b1, w2, b2 = weights
    h = np.tanh(X @ w1 + b1)
    error = h @ w2 + b2 - Y
    d = 2 * error / error.size
    dh = d @ w2.T * (1 - h**2)
    return np.mean(error**2), [X.T @ dh, dh.sum(0), h.T @ d, d.sum(0)]


def test_least_squares_are_solved(backend):
    """On a quadratic it ends at the solution of the normal equations."""
    fm.utils.set_random_seed(1)
    model = fm.Sequential([fm.Input((4,), dtype="float64"), fm.layers.Dense(1, dtype="float64")])
    model.compile(LBFGS(tolerance=1e-12), "mse")
    model.fit(X, Y, epochs=50, verbose=0)
    exact, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(60)]), Y, rcond=None)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(kernel, exact[:4], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(bias, exact[4], rtol=1e-7, atol=1e-9)


def test_each_epoch_satisfies_the_wolfe_conditions(backend):
    model = network()
    before = model.get_weights()
    losses = []
    for _ in range(15):
        logs = model.fit(X, Y, verbose=0).history
        after = model.get_weights()
        (loss, gradient), (end, slope) = loss_and_gradient(before), loss_and_gradient(after)
        moved = sum(np.vdot(g, b - a) for g, a, b in zip(gradient, before, after, strict=True))
        still = sum(np.vdot(g, b - a) for g, a, b in zip(slope, before, after, strict=True))
        assert moved < 0
        assert end <= loss + 1e-4 * moved + 1e-15
        assert abs(still) <= 0.9 * abs(moved) + 1e-15
        assert logs["loss"][0] == pytest.approx(end, rel=1e-10)
        losses.append(end)
        before = after
    assert losses[-1] < 0.02 * losses[0]
    assert model.optimizer.steps == 15


def test_as_good_as_scipy(backend):
    """After as many iterations as SciPy's L-BFGS-B, the loss is about as low."""
    model = network()
    shapes = [w.shape for w in model.get_weights()]
    sizes = np.cumsum([int(np.prod(s)) for s in shapes])[:-1]

    def function(flat):
        parts = np.split(flat, sizes)
        loss, gradient = loss_and_gradient(
            [p.reshape(s) for p, s in zip(parts, shapes, strict=True)])
        return loss, np.concatenate([g.reshape(-1) for g in gradient])

    begin = np.concatenate([w.reshape(-1) for w in model.get_weights()])
    peer = scipy_optimize.minimize(function, begin, jac=True, method="L-BFGS-B",
                                   options={"maxiter": 40, "gtol": 0.0, "ftol": 0.0})
    model.fit(X, Y, epochs=40, verbose=0)
    ours = loss_and_gradient(model.get_weights())[0]
    assert ours < 3 * peer.fun
    assert ours < 1e-3 * function(begin)[0]


def test_stops_where_nothing_is_left(backend):
    model = network(tolerance=1e-3)
    history = model.fit(X, Y, epochs=500, verbose=0)
    assert len(history.epoch) < 500
    gradient = loss_and_gradient(model.get_weights())[1]
    assert max(np.abs(g).max() for g in gradient) <= 1e-3
    assert history.history["mae"][-1] == pytest.approx(model.evaluate(X, Y, verbose=0)[1])


def test_resumes_exactly(tmp_path):
    straight, broken = network("float32"), network("float32")
    straight.fit(X, Y, epochs=4, verbose=0)
    broken.fit(X, Y, epochs=4, verbose=0)
    broken.save(tmp_path / "model.keras")
    broken = fm.saving.load_model(tmp_path / "model.keras")
    straight.fit(X, Y, epochs=8, initial_epoch=4, verbose=0)
    broken.fit(X, Y, epochs=8, initial_epoch=4, verbose=0)
    for a, b in zip(straight.get_weights(), broken.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_bits_for_any_number_of_threads(other, use_threads):
    results = []
    for threads in (1, 2, 3):
        use_threads(threads)
        model = network("float32")
        model.fit(X, Y, epochs=5, verbose=0)
        results.append(model.get_weights())
    for again in results[1:]:
        for a, b in zip(results[0], again, strict=True):
            np.testing.assert_array_equal(a, b)


def test_frozen_layers_stay():
    model = network()
    model.layers[0].trainable = False
    model.compile(LBFGS(), "mse")
    before = model.get_weights()
    model.fit(X, Y, epochs=3, verbose=0)
    after = model.get_weights()
    np.testing.assert_array_equal(before[0], after[0])
    assert (before[2] != after[2]).any()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: LBFGS(history=0), ValueError, "`history`"),
        (lambda: LBFGS(max_line_search=0), ValueError, "`max_line_search`"),
        (lambda: LBFGS(tolerance=-1.0), ValueError, "`tolerance`"),
        (lambda: network().fit(X, Y, batch_size=10, verbose=0), ValueError,
         "`batch_size`.*Received: 10 with 60 rows"),
        (lambda: network().fit(((X, Y) for _ in range(2)), verbose=0), ValueError, "`x`.*LBFGS"),
        (lambda: network().train_on_batch(X, Y), ValueError, "LBFGS.*fit"),
        (lambda: LBFGS().apply([[1.0]], [np.ones(1)]), NotImplementedError, "model.fit"),
    ],
)
def test_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_config():
    optimizer = fm.optimizers.get({"class_name": "lbfgs", "config": {"history": 3}})
    assert fm.optimizers.serialize(optimizer)["config"]["history"] == 3
    assert type(fm.optimizers.get("lbfgs")) is LBFGS
