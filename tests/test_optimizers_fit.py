"""Optimizers within `fit`: the same numbers as `apply` and Keras, saved and resumed exactly."""

from __future__ import annotations

import keras_peer
import numpy as np
import pytest
from test_optimizers import COMMON, FORMS, LOOSE, make

import fusedmlp as fm
from fusedmlp.optimizers import schedules

X = np.random.default_rng(1).normal(size=(48, 5)).astype("float32")
Y = (X[:, :2] @ np.array([[1.0, -0.5], [0.3, 0.8]]) + 0.1).astype("float32")


def network(optimizer, dtype="float32", units=40):
    """Two layers, the first one wider than a panel of the arena."""
    fm.utils.set_random_seed(3)
    model = fm.Sequential([
        fm.Input((5,), dtype=dtype), fm.layers.Dense(units, activation="tanh", dtype=dtype),
        fm.layers.Dense(2, dtype=dtype)])
    model.compile(optimizer, "mse")
    return model


def gradients(weights, x, y):
    """Of the mean squared error, by hand."""
    w1, b1, w2, b2 = (w.astype(np.float64) for w in weights)
    h = np.tanh(x @ w1 + b1)
    d = 2 * (h @ w2 + b2 - y) / y.size
    dh = d @ w2.T * (1 - h**2)
    return [x.T @ dh, dh.sum(0), h.T @ d, d.sum(0)]


@pytest.mark.parametrize("form", FORMS)
def test_fit_is_apply(backend, form):
    changes = {"global_clipnorm": 0.2, "use_ema": True, "ema_overwrite_frequency": 3,
               "gradient_accumulation_steps": 2}
    model = network(make(form, **changes), "float64")
    weights, other = model.get_weights(), make(form, **changes)
    for start in range(0, 48, 8):
        other.apply(gradients(weights, X[start:start + 8], Y[start:start + 8]), weights)
    other.finalize_variable_values(weights)
    model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    assert model.optimizer.steps == 6
    assert model.optimizer.iterations == 3
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("form", "common"), [
    ("adam", "average"), ("momentum", "accumulation"), ("adafactor", "global"),
    ("lamb", "clipnorm"), ("muon", "clipvalue"), ("schedule_free_warmup", "scale"),
    ("rmsprop", "average"), ("nadam", "accumulation")])
def test_fit_like_keras(form, common):
    keras = keras_peer.load()
    ours = network(make(form, **COMMON[common]))
    theirs = keras.Sequential([keras.Input((5,)), keras.layers.Dense(40, activation="tanh"),
                               keras.layers.Dense(2)])
    theirs.set_weights(ours.get_weights())
    name, arguments = FORMS[form]
    theirs.compile(getattr(keras.optimizers, name)(**{**arguments, **COMMON[common]}), "mse")
    for model in (ours, theirs):
        model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    tolerance = max(LOOSE.get(form, 0.0), 1e-4)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_schedule_in_fit(backend):
    schedule = schedules.CosineDecay(0.0, 10, warmup_target=0.1, warmup_steps=4)
    model = network(fm.optimizers.SGD(schedule, momentum=0.9), "float64")
    weights, other = model.get_weights(), fm.optimizers.SGD(schedule, momentum=0.9)
    for _ in range(3):
        for start in range(0, 48, 8):
            other.apply(gradients(weights, X[start:start + 8], Y[start:start + 8]), weights)
    model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_saved_and_resumed_exactly(backend, form, tmp_path):
    """In the middle of an accumulation, with a moving average and a schedule."""
    changes = {"use_ema": True, "gradient_accumulation_steps": 4,
               "learning_rate": schedules.ExponentialDecay(0.01, 3, 0.9)}
    if form.startswith("rprop"):  # whose first step is the rate
        del changes["learning_rate"]
    straight, broken = network(make(form, **changes)), network(make(form, **changes))
    straight.fit(X, Y, batch_size=8, epochs=1, verbose=0)
    broken.fit(X, Y, batch_size=8, epochs=1, verbose=0)
    path = tmp_path / "model.keras"
    broken.save(path)
    broken = fm.saving.load_model(path)
    assert broken.optimizer.steps == 6
    assert broken.optimizer.slot_names == straight.optimizer.slot_names
    for a, b in zip(broken.optimizer.slots, straight.optimizer.slots, strict=True):
        np.testing.assert_array_equal(a, b)
    straight.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    broken.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    for a, b in zip(broken.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_file_of_another_optimizer(tmp_path):
    model = network("adam")
    model.fit(X, Y, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    model.optimizer.amsgrad = True  # asks for more state than there is
    with pytest.raises(ValueError, match="state of other variables or other hyperparameters"):
        model.fit(X, Y, verbose=0)
    other = network("rmsprop")
    other.fit(X, Y, verbose=0)
    from fusedmlp.saving.model import _optimizer_slots, _restore
    with pytest.raises(ValueError, match=r"state of RMSprop.*expected.*'velocity'.*found.*'m'"):
        _restore(other, {"steps": 2}, _optimizer_slots(network_like(model)), path)


def network_like(model):
    again = network("adam")
    again.set_weights(model.get_weights())
    again.fit(X, Y, verbose=0)
    return again


def test_trainable_changed_since_compile(tmp_path):
    """What training updates is saved with the model, so that it goes on from a file."""
    straight = network("adam")
    straight.fit(X, Y, verbose=0)
    straight.layers[0].trainable = False
    path = tmp_path / "model.keras"
    straight.save(path)
    loaded = fm.saving.load_model(path)
    assert loaded.layers[0].trainable is False
    for a, b in zip(loaded.optimizer.slots, straight.optimizer.slots, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.any()
    with pytest.warns(UserWarning, match="trainable"):
        straight.fit(X, Y, verbose=0)
    loaded.fit(X, Y, verbose=0)
    for a, b in zip(loaded.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_apply_between_fits(backend):
    """`apply` for a model's variables goes on with the state of `fit`, and the other way round."""
    one, other = network("adam", "float64"), network("adam", "float64")
    for model in (one, other):
        model.fit(X[:16], Y[:16], batch_size=16, verbose=0)
    one.fit(X[16:32], Y[16:32], batch_size=16, verbose=0)
    other.optimizer.apply(gradients(other.get_weights(), X[16:32], Y[16:32]),
                          other.trainable_variables)
    for model in (one, other):
        model.fit(X[32:], Y[32:], batch_size=16, verbose=0)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_plan_shows_what_the_optimizer_does():
    model = network(fm.optimizers.Muon(global_clipnorm=1.0, use_ema=True,
                                       gradient_accumulation_steps=2))
    shown = str(model.plan())
    names = [op.op for op in model.plan().ops if op.phase == "update"]
    assert names == ["collect", "clip", "update", "update", "average"]
    for text in ("clip [global_norm]", "update [muon]", "update [adam]"):
        assert text in shown
    plain = [op.op for op in network("sgd").plan().ops if op.phase == "update"]
    assert plain == ["update"]
