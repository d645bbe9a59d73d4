"""Regularizers, added losses and random numbers of one's own, and functions that are no operations.

Their derivatives are held to differences, the training with them to Keras's.
"""

from __future__ import annotations

import keras_peer
import numpy as np
import pytest
from differences import hold_step_to_differences

import fusedmlp as fm
from fusedmlp import layers, ops, tracing
from fusedmlp.expressions import Program
from fusedmlp.layers.deferred import Tracer
from fusedmlp.plan import Builder

RNG = np.random.default_rng(3)
X = RNG.normal(size=(40, 4)).astype("float32")
Y = X[:, :1] - 0.5 * X[:, 1:2]

# -- derivatives -----------------------------------------------------------------------------------

SQUARE = RNG.normal(size=(3, 3))
WIDE = RNG.normal(size=(4, 2))
EXPRESSIONS = {  # of x (3, 4), away from 0
    "arithmetic": lambda x: (2 - x) * x / (x + 7) - 3 / x + x**3 - (-x) + 2.0**x,
    "broadcast": lambda x: x[0] * x[:, :1] + x[None, :, 1:2] - WIDE[:, 0],
    "extremes": lambda x: ops.maximum(x, 0.3) + ops.minimum(x, x * x) + ops.clip(x, -0.5, 0.5),
    "exponentials": lambda x: ops.exp(x) + ops.expm1(x) + ops.exp2(x) + ops.logaddexp(x, 2 * x),
    "logarithms": lambda x: ops.log(x * x) + ops.log1p(x * x) + ops.log2(3 + x) + ops.log10(4 + x),
    "roots": lambda x: ops.sqrt(x * x + 1) + ops.rsqrt(x + 5) + ops.cbrt(x) + ops.reciprocal(x),
    "circles": lambda x: (ops.sin(x) * ops.cos(x) + ops.tan(x / 3) + ops.arcsin(x / 4)
                          + ops.arccos(x / 4) + ops.arctan(x) + ops.arctan2(x, x * x + 1)),
    "hyperbolas": lambda x: (ops.sinh(x) + ops.cosh(x) * ops.tanh(x) + ops.arcsinh(x)
                             + ops.arccosh(x + 5) + ops.arctanh(x / 4)),
    "distances": lambda x: ops.abs(x) + ops.hypot(x, 2.0) + ops.square(ops.negative(x)),
    "parts": lambda x: ops.where(x > 0, x, 0.1 * x) * ops.sign(x) + ops.floor(x) + x % 2.0,
    "sums": lambda x: (ops.sum(x) + ops.mean(x, axis=0) + ops.sum(x, axis=(0, 1), keepdims=True)
                       + ops.prod(x, axis=0) + ops.cumsum(x, axis=1)[0]),
    "moments": lambda x: (ops.var(x, axis=1) + ops.std(x, axis=1, keepdims=True)
                          + sum(ops.moments(x, [0, 1]))),
    "largest": lambda x: ops.max(x, axis=1) - ops.min(x) + ops.logsumexp(x, axis=1),
    "norms": lambda x: ops.norm(x) + ops.norm(x, axis=0)[0] + ops.sum(ops.normalize(x), axis=1),
    "products": lambda x: ops.transpose(x @ WIDE) @ SQUARE + ops.dot(ops.transpose(x), x)[:2, :3],
    "vectors": lambda x: x[0] @ x[1] + ops.dot(x, x[2]) + ops.inner(x[0], x) + x[:, 0] @ SQUARE,
    "tensors": lambda x: ops.tensordot(x, x, 2) + ops.tensordot(x, WIDE, ([1], [0])),
    "outer": lambda x: ops.outer(x[0], x[1]) + ops.vdot(x[0], x[2]),
    "einsum": lambda x: (ops.einsum("ij,kj->ik", x, x) + ops.einsum("ij,ij->i", x, x)
                         + ops.einsum("ij->", x)),
    "stacks": lambda x: ops.einsum("bij,bjk->ik", ops.stack([x, 2 * x]), ops.stack([WIDE, WIDE])),
    "shapes": lambda x: (ops.reshape(x, (2, 6)) + ops.ravel(x)[:6] + ops.moveaxis(
        ops.reshape(x, (3, 2, 2)), 0, 1)[:, 1, 0, None]),
    "joined": lambda x: ops.concatenate([x, x * x], axis=1) + ops.hstack([x, x]) + ops.vstack(
        [x, x])[:3, :1],
    "split": lambda x: sum(part * i for i, part in enumerate(ops.split(x, 2, axis=1))),
    "copies": lambda x: (ops.repeat(x, 2, axis=1) * ops.tile(x, (1, 2))
                         + ops.roll(x, 1, 0)[:, :1]),
    "turned": lambda x: (ops.flip(x, 1) + ops.transpose(ops.swapaxes(x, 0, 1))
                         + ops.broadcast_to(x, (2, 3, 4))),
    "taken": lambda x: ops.take(x, [0, 2, 2], axis=0) + ops.take_along_axis(
        x, np.array([[1], [0], [1]]), axis=1),
    "diagonals": lambda x: (ops.diagonal(x)[0] + ops.trace(x) + ops.tril(x) - ops.triu(x, 1)
                            + ops.sum(ops.diag(x[0]))),
    "padded": lambda x: ops.pad(x, ((0, 1), (1, 0))) * 2 + ops.sum(ops.sort(x, axis=1)[:, 0]),
    "matrices": lambda x: np.linalg.inv(x @ ops.transpose(x) + SQUARE @ SQUARE.T) + np.linalg.det(
        x @ ops.transpose(x)),
    "activations": lambda x: (ops.gelu(x) + ops.softmax(x) + ops.relu(x - 0.1) + ops.sigmoid(x)
                              + ops.softplus(x) + ops.softmax(x, axis=0)),
    "classes": lambda x: ops.one_hot([0, 3, 1], 4) * x + ops.average(x, axis=0, weights=x * x),
    "halted": lambda x: x * ops.stop_gradient(x),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_derivatives_are_those_of_differences(name):
    expression, x = EXPRESSIONS[name], RNG.uniform(0.3, 1.5, (3, 4)) * RNG.choice([-1, 1], (3, 4))
    variable = fm.Variable(x, dtype="float64")
    weights = RNG.normal(size=np.shape(value := expression(x)))
    tracer = Tracer(builder=Builder(1, "float64"))
    with tracing.following(tracer):
        found = expression(tracer.call(np.positive, (variable,), {}))
    assert tuple(found.shape) == np.shape(value)
    program = Program(found, [variable])
    np.testing.assert_allclose(program.run([x]), value, rtol=1e-12)
    if name == "halted":
        np.testing.assert_allclose(program.gradients([x], weights, [True])[0], weights * x)
        return
    assert program.without_derivative([True]) is None
    slope, h = np.empty_like(x), 1e-6
    for place in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[place] += h
        below[place] -= h
        slope[place] = np.sum(weights * (expression(above) - expression(below))) / (
            2 * h)
    np.testing.assert_allclose(program.gradients([x], weights, [True])[0], slope, rtol=1e-5,
                               atol=1e-7)


# -- regularizers ----------------------------------------------------------------------------------


def trained(package, model, evaluates=False, **compiled):
    """Losses of a training from given weights, of an evaluation, and the weights in the end.

    Keras compiles each of the two, which takes seconds.
    """
    numbers = np.random.default_rng(1)
    model.set_weights([numbers.normal(size=w.shape) for w in model.get_weights()])
    model.compile(package.optimizers.SGD(0.05), **compiled)
    history = model.fit(X, Y, batch_size=20, epochs=3, shuffle=False, verbose=0).history
    evaluated = model.evaluate(X, Y, batch_size=20, verbose=0) if evaluates else []
    return [*history["loss"], *np.ravel(evaluated),
            *(float(np.sum(w)) for w in model.get_weights())]


def regularized(package):
    numbers = package.ops

    class Orthonormal(package.regularizers.Regularizer):
        def __init__(self, strength):
            self.strength = strength

        def __call__(self, x):
            gram = numbers.matmul(numbers.transpose(x), x)
            return self.strength * numbers.sum(numbers.square(gram - numbers.eye(3)))

    def both(x):
        return 0.1 * numbers.mean(numbers.abs(x)) + 0.01 * numbers.sum(x**2)

    x = package.Input((4,))
    y = package.layers.Dense(
        3, "tanh", kernel_regularizer=Orthonormal(0.1), bias_regularizer=both,
        activity_regularizer=lambda y: 0.3 * numbers.sum(numbers.abs(y)))(x)
    return package.Model(x, package.layers.Dense(1, activity_regularizer=both)(y))


def test_regularizers_of_ones_own_are_those_of_keras():
    keras = keras_peer.load()
    found, expected = (trained(package, regularized(package), True, loss="mse", metrics=["mae"])
                       for package in (fm, keras))
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_regularizers_that_can_not_be_differentiated():
    def chosen(x):
        return 1.0 if x[0, 0] > 0 else 0.0

    for regularizer in (chosen, lambda x: "much"):
        model = fm.Sequential([fm.Input((4,)), layers.Dense(1, kernel_regularizer=regularizer)])
        model.compile("sgd", "mse")
        with pytest.raises(TypeError, match="A regularizer must"):
            model.fit(X, Y, verbose=0)


def test_penalties_of_a_regularizer_of_ones_own_are_listed():
    layer = layers.Dense(2, kernel_regularizer=lambda w: 0.5 * ops.sum(w * w))
    layer.build((None, 4))
    layer.kernel.assign(np.ones((4, 2)))
    assert layer.losses == [4.0]


# -- added losses ----------------------------------------------------------------------------------


def autoencoder(package, noise=0.0):
    """The variational autoencoder of Keras's guide, smaller."""
    numbers, keras_layers = package.ops, package.layers

    class Sampling(keras_layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.seed_generator = package.random.SeedGenerator(1337)

        def call(self, inputs):
            z_mean, z_log_var = inputs
            batch, dim = numbers.shape(z_mean)[0], numbers.shape(z_mean)[1]
            epsilon = package.random.normal(shape=(batch, dim), seed=self.seed_generator)
            return z_mean + numbers.exp(0.5 * z_log_var) * epsilon * noise

    class Encoder(keras_layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.hidden = keras_layers.Dense(6, activation="relu")
            self.mean, self.log_var = keras_layers.Dense(2), keras_layers.Dense(2)
            self.sampling = Sampling()

        def call(self, inputs):
            x = self.hidden(inputs)
            z_mean, z_log_var = self.mean(x), self.log_var(x)
            return z_mean, z_log_var, self.sampling((z_mean, z_log_var))

    class Autoencoder(package.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.encoder, self.decoder = Encoder(), keras_layers.Dense(4)

        def call(self, inputs):
            z_mean, z_log_var, z = self.encoder(inputs)
            kl = -0.5 * numbers.mean(
                z_log_var - numbers.square(z_mean) - numbers.exp(z_log_var) + 1)
            self.add_loss(kl)
            return self.decoder(z)

    model = Autoencoder()
    model(X[:2])
    return model


def fitted(package, noise):
    model = autoencoder(package, noise)
    numbers = np.random.default_rng(1)
    model.set_weights([0.5 * numbers.normal(size=w.shape) for w in model.get_weights()])
    model.compile(package.optimizers.SGD(0.1), package.losses.MeanSquaredError())
    history = model.fit(X, X, batch_size=20, epochs=3, shuffle=False, verbose=0)
    return model, [*history.history["loss"], *(float(np.sum(w)) for w in model.get_weights())]


def test_a_variational_autoencoder_trains_as_in_keras():
    keras = keras_peer.load()
    np.testing.assert_allclose(fitted(fm, 0.0)[1], fitted(keras, 0.0)[1], rtol=2e-4)


def test_random_numbers_within_a_call(backend):
    model, first = fitted(fm, 1.0)
    lowered = [op.op for op in model.plan(20).ops]
    assert "python" not in lowered  # drawn and differentiated in compiled code
    assert lowered.count("gaussian_noise") == 1
    assert first == fitted(fm, 1.0)[1]  # the same seed, the same numbers
    assert not np.isclose(first[2], fitted(fm, 0.0)[1][2], rtol=1e-3)
    one, two = model.predict(X, verbose=0), model.predict(X, verbose=0)
    assert not np.allclose(one, two)  # drawn anew
    latent = [model.encoder(X) for _ in range(50)]
    drawn = np.stack([(z - mean) / np.exp(0.5 * log_var) for mean, log_var, z in latent])
    assert abs(drawn.mean()) < 0.1
    assert abs(drawn.std() - 1) < 0.1


class Adding(layers.Layer):
    """Adds what a function makes of its input and its weights to the loss."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def build(self, input_shape):
        self.w = self.add_weight((input_shape[-1], 2), "ones", name="w")
        self.b = self.add_weight((2,), "ones", name="b")

    def call(self, x):
        self.add_loss(self.function(x, self.w, self.b))
        return x @ self.w + self.b


ADDED = {
    "means": (lambda x, w, b: 0.3 * ops.mean(ops.sum(x @ w, axis=1)) - ops.mean(x) / 4, False),
    "sums of means": (lambda x, w, b: ops.sum(ops.mean(x @ w, axis=0)), False),
    "squares of means": (lambda x, w, b: ops.square(ops.mean(x @ w + b)), True),
    "sums over the batch": (lambda x, w, b: 0.01 * ops.sum(ops.abs(x @ w)), True),
    "weights": (lambda x, w, b: 0.1 * ops.sum(ops.square(w)) + 0.1 * ops.max(b), True),
    "rows": (lambda x, w, b: 0.01 * ops.max(x @ w, axis=1), True),
    "several": (lambda x, w, b: [ops.mean(x @ w), ops.mean(ops.tensordot(x, x, 2) * b)], True),
}


@pytest.mark.parametrize("name", ADDED)
def test_added_losses_train(backend, name):
    function, steps = ADDED[name]
    layer = Adding(function)
    model = fm.Sequential([fm.Input((4,), dtype="float64"), layer])
    model.compile(fm.optimizers.SGD(1.0))
    x = X.astype("float64")
    assert ("python" in [op.op for op in model.plan(40).ops]) == steps
    for variable in (layer.w, layer.b):
        hold_step_to_differences(model, variable, x)
    found = layer(x)
    value = ops.sum([ops.sum(part) for part in np.atleast_1d(
        function(x, layer.w.numpy(), layer.b.numpy()))])
    np.testing.assert_allclose(found, x @ layer.w + layer.b)
    assert sum(layer.losses) == pytest.approx(float(value))


def test_losses_are_added_within_a_call_alone():
    layer = layers.Dense(1)
    for added in (1.0, np.ones(3), fm.Input((2,))):
        with pytest.raises(ValueError, match="within `call"):
            layer.add_loss(added)

    class Own(layers.Layer):
        def call(self, x):
            self.add_loss(1.0)
            return x

    with pytest.raises(ValueError, match=r"Received: 1\.0 of type float"):
        Own()(fm.Input((4,)))


def test_a_model_without_any_loss():
    model = fm.Sequential([fm.Input((4,)), layers.Dense(1)])
    model.compile("sgd")
    with pytest.raises(ValueError, match="needs a loss"):
        model.fit(X, Y, verbose=0)


# -- networks of Keras's examples ------------------------------------------------------------------


class Forest:
    """Layers of Keras's examples "neural decision forests" and "collaborative filtering"."""

    @staticmethod
    def tree(package):
        numbers, keras_layers = package.ops, package.layers

        class Tree(keras_layers.Layer):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.decision = keras_layers.Dense(4, activation="sigmoid")

            def build(self, input_shape):
                self.pi = self.add_weight(shape=(4, 1), initializer="ones", name="pi")
                self.decision.build(input_shape)

            def call(self, features):
                batch = numbers.shape(features)[0]
                decisions = numbers.expand_dims(self.decision(features), axis=2)
                decisions = numbers.concatenate([decisions, 1 - decisions], axis=2)
                mu, begin, end = numbers.ones([batch, 1, 1]), 1, 2
                for level in range(2):
                    mu = numbers.tile(numbers.reshape(mu, [batch, -1, 1]), (1, 1, 2))
                    mu = mu * decisions[:, begin:end, :]
                    begin, end = end, end + 2 ** (level + 1)
                mu = numbers.reshape(mu, [batch, 4])
                return numbers.matmul(mu, package.activations.tanh(self.pi))

        return Tree()

    @staticmethod
    def crossed(package):
        numbers = package.ops

        class Crossed(package.layers.Layer):
            def build(self, input_shape):
                self.a = self.add_weight(shape=(4, 3), initializer="ones", name="a")
                self.b = self.add_weight(shape=(4, 3), initializer="ones", name="b")

            def call(self, x):
                dot = numbers.tensordot(x @ self.a, x @ self.b, 2)  # of the whole batch
                return numbers.nn.sigmoid(0.01 * dot + x[:, :1])

        return Crossed()


@pytest.mark.parametrize("kind", ["tree", "crossed"])
def test_layers_of_examples_train_as_in_keras(kind):
    keras = keras_peer.load()
    found, expected = (
        trained(package, package.Sequential([package.Input((4,)), getattr(Forest, kind)(package)]),
                loss="mse") for package in (fm, keras))
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_dropout_within_a_call(backend):
    class Dropping(layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed_generator = fm.random.SeedGenerator(3)

        def call(self, x, training=False):
            return fm.random.dropout(x, 0.5, seed=self.seed_generator) if training else x

    model = fm.Sequential([fm.Input((4,)), layers.Dense(30), Dropping(), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert [op.op for op in model.plan(16).ops].count("dropout") == 1
    model.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(model.predict(X, verbose=0), model.predict(X, verbose=0))
    always = layers.Lambda(lambda x: fm.random.dropout(x, 0.25))(np.ones((400, 5)))
    assert set(np.unique(always.round(4))) == {0, np.float32(1.3333)}
    assert abs((always == 0).mean() - 0.25) < 0.05


# -- losses that a model computes itself -----------------------------------------------------------


def computing(package, kind):
    """A model with a `compute_loss` of one of several kinds.

    The teacher of "distilled" is no part of the model, so that arrays are needed.
    """
    numbers = package.ops
    inputs = package.Input((4,))
    x = package.layers.Dense(
        6, "tanh", kernel_regularizer=None if kind == "distilled" else "l2")(inputs)
    outputs = package.layers.Dense(3)(x)
    teacher = package.Sequential([package.Input((4,)), package.layers.Dense(3)])

    class Distilled(package.Model):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.tracker = package.metrics.Mean(name="seen")
            self.divergence = package.losses.KLDivergence()

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            if kind == "super":
                loss = super().compute_loss(x, y, y_pred, sample_weight)
                return loss + 0.1 * numbers.mean(numbers.square(y_pred))
            if kind == "own":
                weights = 1.0 if sample_weight is None else sample_weight[:, None]
                chosen = numbers.log_softmax(y_pred) * numbers.one_hot(y, 3) * weights
                return -numbers.sum(chosen) / 20 + sum(self.losses)
            soft = numbers.softmax(teacher(x) / 2, axis=1)
            return self.divergence(soft, numbers.softmax(y_pred / 2, axis=1))

    model = Distilled(inputs, outputs)
    seeds = np.random.default_rng(1)
    for part in (teacher, model):
        part.set_weights([seeds.normal(size=w.shape) for w in part.get_weights()])
    loss = package.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(package.optimizers.SGD(0.1), loss if kind == "super" else None)
    return model


CLASSES = RNG.integers(0, 3, 40)
WEIGHTS = RNG.uniform(0.5, 1.5, 40).astype("float32")


def losses_of(package, kind, weights):
    model = computing(package, kind)
    history = model.fit(X, CLASSES, sample_weight=weights, batch_size=20, epochs=3, shuffle=False,
                        verbose=0).history["loss"]
    return model, [*history, *(float(np.sum(w)) for w in model.get_weights())]


@pytest.mark.parametrize("kind", ["super", "distilled"])
def test_losses_of_models_are_those_of_keras(kind):
    keras = keras_peer.load()
    weights = None if kind == "distilled" else WEIGHTS
    found, expected = (losses_of(package, kind, weights)[1] for package in (fm, keras))
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_losses_that_are_followed_are_differentiated_once_a_step(backend):
    model, found = losses_of(fm, "own", WEIGHTS)
    assert [op.op for op in model.plan(20).ops].count("python") == 2  # forwards and backwards
    calls = []

    def watched(self, x=None, y=None, y_pred=None, sample_weight=None):
        calls.append(1)
        loss = type(self).__mro__[1].compute_loss(self, x, y, y_pred, sample_weight)
        self.tracker.update_state(float(loss))  # so that arrays are needed
        return loss

    model = computing(fm, "own")
    model.__class__ = type("Watched", (type(model),), {"compute_loss": watched})
    history = model.fit(X, CLASSES, sample_weight=WEIGHTS, batch_size=20, epochs=3, shuffle=False,
                        verbose=0).history["loss"]
    np.testing.assert_allclose(history, found[:3], rtol=1e-5)
    assert len(calls) > 3 * 20 * 3
    assert model.tracker.result() > 0


def test_metrics_are_added_by_compile_alone():
    with pytest.raises(NotImplementedError, match="give `compile`"):
        layers.Dense(1).add_metric(1.0, name="size")


@pytest.mark.parametrize("stack", [False, True])
def test_masks_given_to_a_model_within_a_model_reach_its_layers(stack):
    inner_input = fm.Input((3, 4))
    pooling = layers.GlobalAveragePooling1D()
    inner = (fm.Sequential([inner_input, pooling]) if stack
             else fm.Model(inner_input, pooling(inner_input)))
    x, y = fm.Input((3, 4)), fm.Input((3, 4))
    mask = layers.Masking().compute_mask(y)
    model = fm.Model([x, y], inner(x, mask=mask))
    data, other = np.ones((2, 3, 4), "float32"), np.ones((2, 3, 4), "float32")
    data[0, 0], other[0, 1:] = 7.0, 0.0
    found = model.predict([data, other], verbose=0)
    np.testing.assert_allclose(found[:, 0], [7.0, 1.0], rtol=1e-6)
