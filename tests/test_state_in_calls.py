"""What a `call`, a `compute_loss` or a `compute_metrics` of one's own does besides computing."""

import copy

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers, metrics, ops, saving

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 40)).astype("float32")
Y = RNG.normal(size=(80, 3)).astype("float32")


class Centered(layers.Layer):
    """Subtracts a moving mean of its own, and counts its calls."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = fm.Variable(0, dtype="int32", trainable=False, name="calls")

    def build(self, input_shape):
        self.mean = self.add_weight((input_shape[-1],), "zeros", trainable=False, name="mean")
        # wider than a panel of the arena, so that executors may keep copies of it
        self.outer = self.add_weight((3, input_shape[-1]), "zeros", trainable=False, name="outer")

    def call(self, x, training=False):
        self.calls.assign_add(1)
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * ops.mean(x, axis=0))
            self.outer.assign_sub(ops.ones((3, 1)) * self.mean)
        return x - self.mean


def centered():
    fm.utils.set_random_seed(1)
    model = fm.Sequential([fm.Input((40,)), Centered(name="centered"), layers.Dense(3)])
    model.compile(fm.optimizers.SGD(0.05), "mse")
    return model


def test_variables_move_within_a_call(backend):
    model = centered()
    layer = model.layers[0]
    model.fit(X, Y, batch_size=20, epochs=2, shuffle=False, verbose=0)
    mean, outer = np.zeros(40), np.zeros((3, 40))
    for step in range(8):
        mean = 0.9 * mean + 0.1 * X[step % 4 * 20 : step % 4 * 20 + 20].mean(axis=0)
        outer -= mean  # the mean that has just been assigned
    np.testing.assert_allclose(layer.mean.numpy(), mean, atol=1e-6)
    np.testing.assert_allclose(layer.outer.numpy(), outer, atol=1e-6)
    assert int(layer.calls) == 8
    model.evaluate(X, Y, batch_size=40, verbose=0)
    assert int(layer.calls) == 10
    kernel, bias = model.layers[1].get_weights()
    found = model.predict(X)
    np.testing.assert_allclose(found, (X - layer.mean.numpy()) @ kernel + bias, atol=1e-5)
    assert int(layer.calls) == 13  # batches of 32 rows
    np.testing.assert_array_equal(layer.mean.numpy(), np.float32(layer.mean.numpy()))
    assert layer(X).shape == (80, 40)
    assert int(layer.calls) == 14


def test_moved_variables_resume_exactly(tmp_path):
    whole, first = centered(), centered()
    whole.fit(X, Y, batch_size=16, epochs=4, verbose=0)
    first.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    first.save(tmp_path / "m.keras")
    again = saving.load_model(tmp_path / "m.keras", custom_objects={"Centered": Centered})
    again.fit(X, Y, batch_size=16, initial_epoch=2, epochs=4, verbose=0)
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_gradients_go_through_what_was_assigned(backend):
    class Scaled(layers.Layer):
        def build(self, input_shape):
            self.last = self.add_weight((input_shape[-1],), "zeros", trainable=False)

        def call(self, x):
            self.last.assign(ops.mean(x, axis=0))
            return x * self.last

    fm.utils.set_random_seed(1)
    model = fm.Sequential([fm.Input((40,), dtype="float64"), layers.Dense(3), Scaled()])
    model.compile(fm.optimizers.SGD(0.1), "mse")
    weights, x, y = model.get_weights(), X.astype("float64"), Y.astype("float64")
    model.train_on_batch(x, y)
    found = (weights[0] - model.get_weights()[0])[1, 2] / 0.1

    def loss(shift):
        changed = copy.deepcopy(weights)
        changed[0][1, 2] += shift
        model.set_weights(changed)
        return model.test_on_batch(x, y)

    assert found == pytest.approx((loss(1e-5) - loss(-1e-5)) / 2e-5, rel=1e-6)


def test_a_step_in_python_assigns_too():
    class Counted(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.rows = self.add_weight(dtype="int32", trainable=False)

        def call(self, x):
            x = np.asarray(x)
            self.rows.assign_add(len(x))
            return np.sort(x, axis=1)

    layer = Counted()
    model = fm.Sequential([fm.Input((40,)), layer, layers.Dense(3)])
    model.compile("sgd", "mse")
    assert int(layer.rows) == 0
    model.fit(X, Y, batch_size=30, verbose=0)
    assert int(layer.rows) == 80


@pytest.mark.parametrize(("value", "error"), [
    (lambda layer, x: layer.mean.assign(x), r"shape \(3,\).*Received.*\(None, 3\)"),
    (lambda layer, x: layer.mean.assign([1.0]), r"shape \(3,\).*Received.*\(1,\)"),
    (lambda layer, x: layer.kernel.assign_add([1.0, 1.0, 1.0]), "trainable=False"),
])
def test_what_cannot_be_assigned(value, error):
    class Wrong(layers.Layer):
        def build(self, input_shape):
            self.kernel = self.add_weight((3,), name="kernel")
            self.mean = self.add_weight((3,), "zeros", trainable=False, name="mean")

        def call(self, x):
            value(self, x)
            return x * self.kernel

    with pytest.raises(ValueError, match=error):
        Wrong()(fm.Input((3,)))


# -- metrics -------------------------------------------------------------------------------------


class Tracked(fm.Model):
    """A loss of its own with its parts as metrics, and one within a layer."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)
        self.penalty = metrics.Mean(name="penalty")
        self.miss = [metrics.MeanAbsoluteError(name="miss")]

    def call(self, x):
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        penalty = 0.1 * ops.mean(ops.square(y_pred))
        self.penalty.update_state(penalty)
        self.miss[0].update_state(y, y_pred)
        return super().compute_loss(x, y, y_pred, sample_weight) + penalty


def test_metrics_of_a_models_own_loss(backend):
    model = Tracked()
    model.compile(fm.optimizers.SGD(0.05), "mse", metrics=["mae"])
    history = model.fit(X, Y, batch_size=20, epochs=3, verbose=0,
                        validation_data=(X[:40], Y[:40])).history
    assert list(history) == ["loss", "mae", "penalty", "miss", "val_loss", "val_mae",
                             "val_penalty", "val_miss"]
    np.testing.assert_allclose(history["miss"], history["mae"], rtol=1e-5)
    assert history["miss"][2] < history["miss"][0]
    predicted = model.predict(X)
    found = model.evaluate(X, Y, batch_size=40, return_dict=True)
    assert found["penalty"] == pytest.approx(0.1 * np.mean(predicted**2), rel=1e-5)
    assert model.metrics_names == ["loss", "mae", "penalty", "miss"]
    assert model.evaluate(X, Y, batch_size=40) == list(found.values())
    assert model.train_on_batch(X, Y, return_dict=True)["penalty"] == pytest.approx(
        found["penalty"], rel=1e-5)
    best = fm.callbacks.EarlyStopping("val_miss", patience=5)
    seen = model.fit(X, Y, verbose=0, epochs=3, validation_data=(X, Y), callbacks=[best])
    assert best.best == min(seen.history["val_miss"])


def test_metrics_of_layers():
    class Watched(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.share = metrics.Mean(name="share")

        def call(self, x):
            self.share.update_state(ops.cast(x > 0, "float32"))
            return ops.relu(x)

    model = fm.Sequential([fm.Input((40,)), Watched(), layers.Dense(3)])
    model.compile("sgd", "mse")
    history = model.fit(X, Y, batch_size=16, epochs=2, verbose=0).history
    np.testing.assert_allclose(history["share"], (X > 0).mean(), rtol=1e-6)
    assert [m.name for m in model.metrics] == ["share"]
    model.predict(X)
    assert model.get_metrics_result()["share"] == history["share"][-1]


def test_metrics_that_a_model_names():
    class Named(Tracked):
        @property
        def metrics(self):
            return [self.penalty]

    class Beside(Tracked):
        @property
        def metrics(self):
            return [*super().metrics, self.penalty]

    for cls, names in ((Named, ["penalty"]), (Beside, ["loss", "mae", "penalty", "miss"])):
        model = cls()
        model.compile("sgd", "mse", metrics=["mae"])
        assert list(model.fit(X, Y, verbose=0).history) == names
        assert model.metrics_names == names


def test_compute_metrics(backend):
    class Rooted(Tracked):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            found = super().compute_metrics(x, y, y_pred, sample_weight)
            assert x.shape == (len(y), 40)
            return {"loss": found["loss"], "root": found["mse"] ** 0.5, "top": ops.max(y_pred)}

    model = Rooted()
    model.compile(fm.optimizers.SGD(0.05), "mse", metrics=["mse"])
    history = model.fit(X, Y, batch_size=20, epochs=2, verbose=0, shuffle=False).history
    assert list(history) == ["loss", "root", "top"]
    found = model.evaluate(X, Y, batch_size=40, return_dict=True)
    predicted = model.predict(X)
    assert found["root"] == pytest.approx(np.sqrt(np.mean((predicted - Y) ** 2)), rel=1e-5)
    assert found["top"] == pytest.approx(predicted[40:].max())
    Rooted.compute_metrics = lambda self, x, y, y_pred, sample_weight=None: 1.0
    model = Rooted()
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match=r"must return a dict.*Received: 1\.0"):
        model.fit(X, Y, verbose=0)
