"""A `compute_loss` of a model's own without targets or for several outputs; losses of triplets.

Expected numbers are those of Keras 3 with JAX for the same weights.
"""

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers, metrics, ops

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype("float32")
NEAR = X + 0.1 * RNG.normal(size=X.shape).astype("float32")
FAR = RNG.normal(size=X.shape).astype("float32")


def trained(model, *data, loss=None, **kwargs):
    """The history of a model with weights that depend on nothing but their shapes."""
    model(data[0])
    numbers = np.random.default_rng(5)
    model.set_weights([numbers.normal(size=w.shape) * 0.4 for w in model.get_weights()])
    model.compile(fm.optimizers.SGD(0.05), loss)
    return model.fit(*data, batch_size=16, epochs=2, shuffle=False, verbose=0, **kwargs).history


class Autoencoder(fm.Model):
    """A variational one, which draws nothing, and returns one of several structures."""

    def __init__(self, kind):
        super().__init__()
        x = fm.Input((6,))
        h = layers.Dense(5, "tanh")(x)
        self.encoder = fm.Model(x, [layers.Dense(2)(h), layers.Dense(2)(h)])
        self.decoder = fm.Sequential([fm.Input((2,)), layers.Dense(6)])
        self.total, self.divergence = metrics.Mean(name="total"), metrics.Mean(name="kl")
        self.kind = kind

    def call(self, x):
        mean, scale = self.encoder(x)
        decoded = self.decoder(mean + 0.1 * ops.exp(0.5 * scale))
        if self.kind == "one":
            return decoded
        if self.kind == "list":
            return decoded, mean, scale
        return {"decoded": decoded, "mean": mean, "scale": scale}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self.kind == "dict":
            decoded, mean, scale = y_pred["decoded"], y_pred["mean"], y_pred["scale"]
        elif self.kind == "list":
            decoded, mean, scale = y_pred
        else:
            decoded, (mean, scale) = y_pred, self.encoder(x)
        error = ops.sum(ops.square((x if y is None else y) - decoded), axis=-1)
        if sample_weight is not None:
            error = error * sample_weight
        kl = -0.5 * ops.mean(ops.sum(1 + scale - ops.square(mean) - ops.exp(scale), axis=1))
        loss = ops.mean(error) + kl
        self.total.update_state(loss)
        self.divergence.update_state(kl)
        return loss


@pytest.mark.parametrize("kind", ["one", "list", "dict"])
@pytest.mark.parametrize("targets", [False, True])
def test_variational_autoencoders(kind, targets, backend):
    model, y = Autoencoder(kind), (X,) if targets else ()
    found = trained(model, X, *y, validation_data=(X[:20], *(part[:20] for part in y)))
    expected = {"loss": [6.95569, 5.95191], "total": [7.14661, 6.18301], "kl": [1.00649, 0.81046],
                "val_loss": [5.5241, 4.9744], "val_total": [6.0378, 5.41166],
                "val_kl": [0.77883, 0.69342]}
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=2e-5)
    logs = model.evaluate(X, *y, batch_size=40, return_dict=True)
    assert model.test_on_batch(X, *y) == pytest.approx(list(logs.values()))
    held = model.fit(X, *y, validation_split=0.5, verbose=0).history["val_loss"]
    assert held[-1] == pytest.approx(model.evaluate(X[20:], *(part[20:] for part in y))[0])


def test_weights_of_rows_for_several_outputs():
    weights = np.linspace(0, 2, 40)
    found = trained(Autoencoder("list"), X, sample_weight=weights)["loss"]
    assert found == trained(Autoencoder("dict"), X, X, sample_weight=weights)["loss"]
    assert found != trained(Autoencoder("list"), X)["loss"]
    with pytest.raises(ValueError, match=r"`sample_weight` must be one array.*Received: a list"):
        trained(Autoencoder("list"), X, sample_weight=[weights] * 3)


def test_what_does_not_fit_the_outputs():
    model = Autoencoder("list")
    with pytest.raises(ValueError, match=r"list of 3.*Received: a list of 2"):
        trained(model, X, [X, X])
    with pytest.raises(ValueError, match=r"same number of rows.*Received: 40 and 20"):
        trained(model, X, X[:20])
    model.compile("sgd", metrics={"output_1": "mse"})
    with pytest.raises(ValueError, match=r"targets of output.*Received: None"):
        model.fit(X, verbose=0)


def test_losses_of_several_outputs_that_look_at_values():
    class Looking(Autoencoder):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            if float(ops.sum(y_pred["mean"])) == np.inf:
                return 0.0
            assert y.shape == x.shape
            return super().compute_loss(x, y, y_pred, sample_weight)

    found, expected = (trained(cls("dict"), X[:16], X[:16])["loss"]
                       for cls in (Looking, Autoencoder))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


class Beside(Autoencoder):
    """Adds something to the loss of `compile`, of all outputs or of one."""

    part = False

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self.part:
            loss = super(Autoencoder, self).compute_loss(x, x, y_pred[0], sample_weight)
        else:
            loss = super(Autoencoder, self).compute_loss(x, y, y_pred, sample_weight)
        return loss + 0.1 * ops.mean(ops.square(y_pred[1]))


@pytest.mark.parametrize("looks", [False, True])
def test_the_loss_of_compile_for_several_outputs(looks):
    class Model(Beside):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            if looks:
                assert float(ops.sum(y_pred[0])) < np.inf  # so that arrays are needed
            return super().compute_loss(x, y, y_pred, sample_weight)

    targets, weights = [X, X[:, :2], None], np.linspace(0, 2, 40)
    model = Model("list")
    model(X)
    model.compile(fm.optimizers.SGD(0.05), ["mse", "mae", None], loss_weights=[0.5, 2.0, 1.0])
    a, b, _ = model.predict(X)
    expected = (0.5 * np.mean(weights[:, None] * (a - X) ** 2)
                + 2 * np.mean(weights[:, None] * abs(b - X[:, :2])) + 0.1 * np.mean(b**2))
    found = model.test_on_batch(X, targets, weights)
    assert np.ravel(found)[0] == pytest.approx(expected, rel=1e-5)
    assert model.get_compile_config()["loss"] == ["mse", "mae", None]
    with pytest.raises(ValueError, match=r"Argument `y` must hold the targets.*Received: None"):
        model.fit(X, [X, None, None], verbose=0)
    Model.part = True
    model = Model("list")
    model.compile("sgd", "mse")
    model(X)
    a, b, _ = model.predict(X)
    found = model.evaluate(X, batch_size=40)
    assert found[0] == pytest.approx(np.mean((a - X) ** 2) + 0.1 * np.mean(b**2), rel=1e-5)


# -- triplets ------------------------------------------------------------------------------------


def network():
    return fm.Sequential([fm.Input((6,)), layers.Dense(5, "relu"), layers.Dense(4)])


def of_columns(y_true, y_pred, margin=0.5):
    a, p, n = y_pred[:, :4], y_pred[:, 4:8], y_pred[:, 8:]
    near = ops.sum(ops.square(a - p), axis=-1)
    return ops.maximum(near - ops.sum(ops.square(a - n), axis=-1) + margin, 0.0)


def of_stack(y_true, y_pred):
    return of_columns(y_true, ops.concatenate([y_pred[:, i] for i in range(3)], axis=-1))


class Siamese(fm.Model):
    """Computes its loss by `compute_loss`, of embeddings or distances, or by `add_loss`."""

    def __init__(self, kind):
        super().__init__()
        self.embed, self.kind = network(), kind

    def call(self, inputs):
        a, p, n = (self.embed(x) for x in inputs)
        if self.kind == "distances":
            return ops.sum(ops.square(a - p), axis=-1), ops.sum(ops.square(a - n), axis=-1)
        if self.kind == "added":
            self.add_loss(ops.mean(of_columns(None, ops.concatenate([a, p, n], axis=-1))))
            return a
        return [a, p, n]


class Computing(Siamese):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self.kind == "distances":
            return ops.mean(ops.maximum(y_pred[0] - y_pred[1] + 0.5, 0.0))
        return ops.mean(of_columns(None, ops.concatenate(y_pred, axis=-1)))


def joined(join):
    embed, inputs = network(), [fm.Input((6,)) for _ in range(3)]
    return fm.Model(inputs, join([embed(x) for x in inputs]))


ZEROS = np.zeros(40)


@pytest.mark.parametrize(("make", "loss", "targets"), [
    (lambda: joined(layers.Concatenate()), of_columns, [ZEROS]),
    (lambda: joined(layers.Concatenate()), of_columns, [np.zeros((40, 12))]),
    (lambda: joined(lambda parts: ops.stack(parts, axis=1)), of_stack, [ZEROS]),
    (lambda: joined(lambda parts: ops.stack(parts, axis=1)), of_stack, [ZEROS.astype(int)]),
    (lambda: Computing("embeddings"), None, []),
    (lambda: Computing("embeddings"), None, [ZEROS]),
    (lambda: Computing("distances"), None, []),
    (lambda: Computing("distances"), None, [ZEROS.astype(int)]),
    (lambda: Siamese("added"), None, []),
])
def test_losses_of_triplets(make, loss, targets, backend):
    found = trained(make(), [X, NEAR, FAR], *targets, loss=loss)["loss"]
    np.testing.assert_allclose(found, [0.05294, 0.04234], atol=2e-5)


def test_targets_of_other_shapes_are_for_functions_of_ones_own():
    model = joined(lambda parts: ops.stack(parts, axis=1))
    with pytest.raises(ValueError, match=r"Argument `y` must have shape.*Received: shape \(40,"):
        trained(model, [X, NEAR, FAR], ZEROS, loss="mse")
