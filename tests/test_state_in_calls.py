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


# -- random numbers ------------------------------------------------------------------------------


class Noisy(layers.Layer):
    """Draws that are no operations."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = fm.random.SeedGenerator(7)

    def call(self, x, training=False):
        if not training:
            return x
        shape = ops.shape(x)
        factor = fm.random.uniform(shape, 0.5, 1.5, seed=self.seed_generator)
        chosen = fm.random.randint(shape, 0, 2, seed=self.seed_generator)
        return x * factor * chosen + fm.random.truncated_normal(shape, stddev=0.1)


def noisy():
    fm.utils.set_random_seed(3)
    model = fm.Sequential([fm.Input((40,)), Noisy(), layers.Dense(3)])
    model.compile(fm.optimizers.Adam(0.01), "mse")
    return model


def test_draws_follow_from_the_step(tmp_path, backend):
    whole, first = noisy(), noisy()
    history = whole.fit(X, Y, batch_size=16, epochs=4, verbose=0).history["loss"]
    assert len(set(history)) == 4
    first.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    first.save(tmp_path / "m.keras")
    again = saving.load_model(tmp_path / "m.keras", custom_objects={"Noisy": Noisy})
    fm.utils.set_random_seed(99)  # which training does not look at
    again.fit(X, Y, batch_size=16, initial_epoch=2, epochs=4, verbose=0)
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_draws_are_those_of_every_backend(backend):
    DRAWN.append(noisy().fit(X, Y, batch_size=16, epochs=2, verbose=0).history["loss"])
    np.testing.assert_allclose(DRAWN[-1], DRAWN[0], rtol=1e-4)


DRAWN: list = []  # of the backends so far


# -- training=True -------------------------------------------------------------------------------


def test_dropout_in_predictions(backend):
    fm.utils.set_random_seed(1)
    x = fm.Input((40,))
    y = layers.Dropout(0.5)(x, training=True)
    model = fm.Model(x, layers.Dense(3)(y))
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    one, two = model.predict(X), model.predict(X)
    assert (one != two).any(axis=1).all()
    fm.utils.set_random_seed(5)
    three = model.predict(X)
    fm.utils.set_random_seed(5)
    np.testing.assert_array_equal(model.predict(X), three)
    assert model.evaluate(X, Y) != model.evaluate(X, Y)
    mean = np.mean([model.predict(X) for _ in range(400)], axis=0)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(mean, X @ kernel + bias, atol=0.4)
    again = fm.models.clone_model(model)
    assert (again.predict(X) != again.predict(X)).any()
    assert model.predictor(4)(X[:4]).shape == (4, 3)


def test_models_called_as_in_training(backend):
    fm.utils.set_random_seed(1)
    model = fm.Sequential([fm.Input((40,)), layers.BatchNormalization(), layers.Dropout(0.5)])
    one, two = model(X, training=True), model(X, training=True)
    assert (one != two).any()
    kept = np.flatnonzero(one[0])
    standard = (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0) + 1e-3)
    np.testing.assert_allclose(one[0, kept], 2 * standard[0, kept], rtol=1e-4, atol=1e-4)
    assert (model.layers[0].moving_mean.numpy() != 0).all()
    np.testing.assert_array_equal(model(X), model(X, training=False))


def test_layers_called_on_arrays_see_all_rows():
    class Deviation(layers.Layer):
        def call(self, x):
            return x - ops.mean(x, axis=0, keepdims=True)

    layer, x = Deviation(), RNG.normal(size=(300, 4)).astype("float32")
    for rows in (300, 200, 50):
        np.testing.assert_allclose(layer(x[:rows]), x[:rows] - x[:rows].mean(axis=0), atol=1e-5)
