"""Layers of samples with steps, groups of columns, `InputSpec`: by hand and against Keras."""

from __future__ import annotations

import copy

import keras_peer
import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers as L

RNG = np.random.default_rng(4)
X = RNG.normal(size=(5, 6, 4)).astype("float32")


def grouped(x, groups, axis=-1, epsilon=1e-3):
    """Normalized by the mean and variance of all elements of a group's columns."""
    x = np.moveaxis(x.astype(float), axis, 1)
    parts = x.reshape(len(x), groups, -1)
    parts = (parts - parts.mean(2, keepdims=True)) / np.sqrt(
        parts.var(2, keepdims=True) + epsilon)
    return np.moveaxis(parts.reshape(x.shape), 1, axis)


@pytest.mark.parametrize(("x", "groups", "axis"), [
    (X[:, 0], 2, -1), (X[:, 0], -1, 1), (X, 2, -1), (X, 3, 1), (X, 1, -2), (X, 6, 1)])
def test_groups_by_hand(backend, x, groups, axis):
    layer = L.GroupNormalization(groups, axis, epsilon=0.1)
    expected = grouped(x, x.shape[axis] if groups == -1 else groups, axis, 0.1)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)
    gamma, beta = (RNG.normal(size=x.shape[axis]) for _ in range(2))
    layer.set_weights([gamma, beta])
    shape = [-1 if a == axis % x.ndim else 1 for a in range(x.ndim)]
    np.testing.assert_allclose(layer(x), expected * gamma.reshape(shape) + beta.reshape(shape),
                               rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("equation", "output_shape", "bias_axes", "kernel", "python"), [
    ("abc,cd->abd", (None, 3), "d", (4, 3), False),
    ("...x,xy->...y", 3, "y", (4, 3), False),
    ("abc,bcd->ad", 3, "d", (6, 4, 3), False),
    ("abc,cbd->ad", (3,), None, (4, 6, 3), False),
    ("ab...,bc->ac...", 3, None, (6, 3), False),
    ("abc,bd->acd", (4, 3), "d", (6, 3), False),
    ("ab...,bc->ac...", 3, "c", (6, 3), True),
    ("abc,cde->abde", (6, 3, 2), "de", (4, 3, 2), True),
    ("abc,bcd->abd", (6, 3), "bd", (6, 4, 3), True),
])
def test_sums_by_hand(backend, equation, output_shape, bias_axes, kernel, python):
    layer = L.EinsumDense(equation, output_shape, "tanh", bias_axes)
    layer.build((None, 6, 4))
    assert layer.kernel.shape == kernel
    weights = [RNG.normal(size=v.shape).astype("float32") for v in layer.weights]
    layer.set_weights(weights)
    expected = np.tanh(sum(weights[1:], start=np.einsum(equation, X, weights[0])))
    assert layer.compute_output_shape((None, 6, 4)) == (None, *expected.shape[1:])
    np.testing.assert_allclose(layer(X), expected, rtol=1e-4, atol=1e-6)
    model = fm.Sequential([fm.Input((6, 4)), layer, L.Flatten(), L.Dense(1)])
    model.compile("sgd", "mse")
    assert ("python" in {op.op for op in model.plan(5).ops}) == python
    again = L.EinsumDense.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def windows(x, size, stride, same, function):
    steps = x.shape[1]
    count = -(-steps // stride) if same else (steps - size) // stride + 1
    before = max((count - 1) * stride + size - steps, 0) // 2 if same else 0
    return np.stack([function(x[:, max(i * stride - before, 0) : i * stride - before + size], 1)
                     for i in range(count)], 1)


@pytest.mark.parametrize(("size", "stride", "padding"), [
    (2, None, "valid"), (3, 2, "valid"), (6, 1, "valid"), (4, 3, "same"), (1, 2, "same"),
    (3, 1, "same")])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_windows_by_hand(backend, size, stride, padding, data_format):
    for layer, function in ((L.MaxPooling1D, np.max), (L.AveragePooling1D, np.mean)):
        layer = layer(size, stride, padding, data_format)
        expected = windows(X, size, stride or size, padding == "same", function)
        x = X
        if data_format == "channels_first":
            x, expected = X.swapaxes(1, 2), expected.swapaxes(1, 2)
        assert layer.compute_output_shape((None, *x.shape[1:])) == (None, *expected.shape[1:])
        np.testing.assert_allclose(layer(x), expected, rtol=1e-6)


def test_steps_at_once_are_steps_one_by_one(backend):
    stack = fm.Sequential([L.Dense(3, activation="relu"), L.LayerNormalization()])
    for inner in (L.Dense(3, activation="softmax"), stack, L.PReLU("random_uniform"),
                  fm.Sequential([fm.Input((4,)), L.Dense(2), L.UnitNormalization()])):
        y = L.TimeDistributed(inner)(X)
        expected = np.stack([inner(X[:, i]) for i in range(X.shape[1])], 1)
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7)
    deep = RNG.normal(size=(2, 3, 4, 5)).astype("float32")
    np.testing.assert_array_equal(L.TimeDistributed(L.Flatten())(deep), deep.reshape(2, 3, 20))
    np.testing.assert_allclose(L.TimeDistributed(L.GlobalMaxPooling1D())(deep), deep.max(2))


def test_masks_pass_through_steps():
    x = np.where(RNG.random((5, 6, 1)) < 0.4, 0, X).astype("float32")
    x[:, 0] = 1
    inputs = fm.Input((6, 4))
    masked = L.Masking()(inputs)
    pooled = L.GlobalAveragePooling1D()(L.TimeDistributed(L.Dense(2))(masked))
    model = fm.Model(inputs, pooled)
    kernel, bias = model.get_weights()
    keep = (x != 0).any(2, keepdims=True)
    expected = ((x @ kernel + bias) * keep).sum(1) / keep.sum(1)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("layer", "together"), [
    (lambda: L.SpatialDropout1D(0.5, seed=3), 1),
    (lambda: L.Dropout(0.5, noise_shape=(None, 1, 4)), 1),
    (lambda: L.Dropout(0.5, noise_shape=[5, 6, 1]), 2),
    (lambda: L.AlphaDropout(0.5, noise_shape=(None, None, 1)), 2)])
def test_dropped_together(backend, layer, together):
    layer, x = layer(), np.ones((200, 6, 4), "float32")
    np.testing.assert_array_equal(layer(x), x)
    y = layer(x, training=True)
    np.testing.assert_array_equal(y, np.broadcast_to(y.take([0], together), y.shape))
    kept = y.take(0, together) > 0
    assert 0.4 < kept.mean() < 0.6
    assert np.unique(y).size == 2
    if not isinstance(layer, L.AlphaDropout):
        assert y.max() == 2.0
    else:  # as where each element is drawn by itself
        np.testing.assert_allclose(np.unique(y), np.unique(
            L.AlphaDropout(0.5)(x, training=True)), rtol=1e-5)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def network(m):
    """All of them, with one output: `m` is the package or Keras."""
    inputs = m.Input((6, 4))
    x = m.layers.GroupNormalization(2, name="groups")(inputs)
    x = m.layers.TimeDistributed(m.layers.Dense(4, activation="tanh"), name="steps")(x)
    x = m.layers.GroupNormalization(3, axis=1, name="others")(x)
    a = m.layers.MaxPooling1D(2, name="largest")(x)
    b = m.layers.AveragePooling1D(3, strides=2, padding="same", name="mean")(x)
    x = m.layers.EinsumDense("abc,cd->adb", (3, 6), "tanh", "d", name="product")(x)
    x = m.layers.EinsumDense("abc,bcd->acd", (6, 4), bias_axes="cd", name="sum")(x)
    stack = m.Sequential([m.Input((3, 4)), m.layers.Flatten(), m.layers.Dense(2)])
    c = m.layers.TimeDistributed(stack, name="pairs")(m.layers.Reshape((2, 3, 4))(x))
    parts = [m.layers.Flatten()(part) for part in (a, b, c)]
    return m.Model(inputs, m.layers.Dense(1)(m.layers.Concatenate()(parts)))


Y = RNG.normal(size=(5, 1)).astype("float32")


def trained(model, start):
    model.set_weights(start)
    model.compile("sgd", "mse")
    model.fit(X, Y, epochs=3, batch_size=5, shuffle=False, verbose=0)
    return model.predict(X, verbose=0), model.get_weights()


def test_training_is_the_same_on_all_backends_and_in_files(other, tmp_path):
    model = network(fm)
    start = [RNG.normal(size=w.shape).astype("float32") * 0.5 for w in model.get_weights()]
    predicted, weights = trained(model, start)
    before = fm.config.backend()
    fm.config.set_backend("numpy")
    try:
        expected, reference = trained(network(fm), start)
    finally:
        fm.config.set_backend(before)
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(weights, reference, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "model.keras")
    for again in (fm.models.load_model(tmp_path / "model.keras"), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(X, verbose=0), predicted)


def test_predictions_like_keras():
    keras = keras_peer.load()
    model, theirs = network(fm), network(keras)
    start = [RNG.normal(size=w.shape).astype("float32") * 0.5 for w in model.get_weights()]
    assert [w.shape for w in theirs.get_weights()] == [w.shape for w in start]
    model.set_weights(start)
    theirs.set_weights(start)
    np.testing.assert_allclose(model.predict(X, verbose=0), theirs.predict(X, verbose=0),
                               rtol=1e-4, atol=1e-5)


def test_gradients_are_differences():
    fm.config.set_floatx("float64")
    try:
        model = network(fm)
    finally:
        fm.config.set_floatx("float32")
    start = [RNG.normal(size=w.shape) * 0.5 for w in model.get_weights()]
    x, y = X.astype(float), Y.astype(float)
    model.set_weights(start)
    model.compile(fm.optimizers.SGD(1.0), "mse")
    model.train_on_batch(x, y)
    gradients = [a - b for a, b in zip(start, model.get_weights(), strict=True)]

    def loss(k, place, change):
        weights = [w.copy() for w in start]
        weights[k].flat[place] += change
        model.set_weights(weights)
        return np.mean((model.predict(x, verbose=0) - y) ** 2)

    for k, gradient in enumerate(gradients):
        place = int(np.abs(gradient).argmax())
        found = (loss(k, place, 1e-5) - loss(k, place, -1e-5)) / 2e-5
        np.testing.assert_allclose(gradient.flat[place], found, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("call", "match"), [
    (lambda: L.GroupNormalization(0), "`groups`"),
    (lambda: L.GroupNormalization(3)(X), "divide the number of columns, 4"),
    (lambda: L.GroupNormalization(2, axis=0)(X), "`axis`"),
    (lambda: L.GroupNormalization(2, axis=3)(X), "`axis`"),
    (lambda: L.EinsumDense("ab,bc", 3), "the form"),
    (lambda: L.EinsumDense("abb,bc->abc", 3), "once in a part"),
    (lambda: L.EinsumDense("ab,bc->ac", 3)(X), "axes of its equation"),
    (lambda: L.EinsumDense("abc,cd->bad", (6, 3))(X), "rows as first axis"),
    (lambda: L.EinsumDense("abc,cd->abd", 3)(X), "each of the axes b, d"),
    (lambda: L.EinsumDense("abc,cd->abd", (5, 3))(X), "axis 'b', 6 as in the input.*5"),
    (lambda: L.EinsumDense("abc,cd->abd", (None, None))(X), "length of axis 'd'"),
    (lambda: L.EinsumDense("abc,cd->abe", (None, 3))(X), "'d'"),
    (lambda: L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="c")(X), "`bias_axes`"),
    (lambda: L.EinsumDense("ab,bc->ac", 0), "`output_shape`"),
    (lambda: L.TimeDistributed(L.Dense(2))(X[:, 0]), r"\(None, steps, ...\)"),
    (lambda: L.MaxPooling1D(9)(X), "at most the number of steps, 6"),
    (lambda: L.MaxPooling1D(2, padding="causal"), "padding"),
    (lambda: L.AveragePooling1D((2, 2)), "`pool_size`"),
    (lambda: L.AveragePooling1D(2)(X[:, 0]), "3 axes"),
    (lambda: L.SpatialDropout1D(0.5)(X[:, 0]), "3 axes"),
    (lambda: L.Dropout(0.5, noise_shape=(1, 6, 4)), "each draws by itself"),
    (lambda: L.Dropout(0.5, noise_shape="all"), "`noise_shape`"),
    (lambda: L.Dropout(0.5, noise_shape=(None, 3, 4))(X), r"shape is \(6, 4\)"),
    (lambda: L.Dropout(0.5, noise_shape=(None, 1))(X), r"shape is \(6, 4\)"),
])
def test_what_does_not_fit_is_named(call, match):
    with pytest.raises((ValueError, TypeError), match=match):
        call()


# -- InputSpec -------------------------------------------------------------------------------------


class Picky(L.Layer):
    """A layer that takes what its spec says."""

    def __init__(self, spec):
        super().__init__(name="picky")
        self.input_spec = spec

    def call(self, inputs):
        parts = inputs.values() if isinstance(inputs, dict) else inputs
        return sum(parts) if isinstance(inputs, (dict, list)) else 1.0 * inputs


@pytest.mark.parametrize(("spec", "good", "bad", "match"), [
    ({"ndim": 2}, [(3, 2)], (3, 2, 2), "have 2 axes. Received: shape"),
    ({"min_ndim": 3}, [(3, 2, 2), (3, 2, 2, 2)], (3, 2), "at least 3 axes"),
    ({"max_ndim": 2}, [(3, 2)], (3, 2, 2), "at most 2 axes"),
    ({"axes": {-1: 2}}, [(3, 2), (3, 5, 2)], (3, 4), "length 2 along axis -1"),
    ({"axes": {3: 2}}, [(3, 1, 1, 2)], (3, 4), "length 2 along axis 3"),
    ({"shape": (None, 2)}, [(3, 2)], (3, 3), r"have the shape \(None, 2\)"),
    ({"shape": (3, None)}, [(3, 2)], (2, 3), r"have the shape \(3, None\)"),
    ({"shape": (None, 2, 1), "allow_last_axis_squeeze": True}, [(3, 2), (3, 2, 1)], (3, 3),
     "have the shape"),
    ({"dtype": "float32"}, [(3, 2)], None, None),
])
def test_inputs_are_what_the_spec_says(spec, good, bad, match):
    spec = L.InputSpec(**spec)
    for shape in good:
        assert Picky(spec)(np.ones(shape)).shape == shape
        assert Picky(spec)(fm.Input(shape[1:])).shape[1:] == shape[1:]
    if bad is not None:
        with pytest.raises(ValueError, match=f"Input 0 of layer 'picky' must.*{match}"):
            Picky(spec)(np.ones(bad))
    again = L.InputSpec.from_config(spec.get_config())
    assert again.get_config() == spec.get_config()
    assert repr(again) == repr(spec)


def test_several_inputs_and_specs_of_a_build():
    two = [L.InputSpec(ndim=2), L.InputSpec(axes={-1: 3})]
    assert Picky(two)([np.ones((2, 3)), np.ones((2, 3))]).tolist() == [[2.0] * 3] * 2
    with pytest.raises(ValueError, match=r"takes 2 input\(s\). Received: 1"):
        Picky(two)(np.ones((2, 3)))
    with pytest.raises(ValueError, match="Input 1 of layer 'picky' must have length 3"):
        Picky(two)([fm.Input((3,)), fm.Input((2,))])
    named = [L.InputSpec(ndim=2, name="b"), L.InputSpec(shape=(None, 1), name="a")]
    assert Picky(named)({"a": np.ones((2, 1)), "b": np.ones((2, 1))}).tolist() == [[2.0], [2.0]]
    with pytest.raises(ValueError, match=r"Input 1 \('a'\) of layer"):
        Picky(named)({"a": np.ones((2, 2)), "b": np.ones((2, 2))})
    with pytest.raises(ValueError, match="without 'b'"):
        Picky(named)({"a": np.ones((2, 1))})

    class Built(Picky):
        def build(self, input_shape):
            self.input_spec = L.InputSpec(axes={-1: input_shape[-1]})

    layer = Built(None)
    assert layer(np.ones((2, 3))).shape == (2, 3)
    with pytest.raises(ValueError, match="length 3 along axis -1"):
        layer(np.ones((2, 4)))
    with pytest.raises(ValueError, match="length 3 along axis -1"):
        fm.Sequential([fm.Input((4,)), layer])


@pytest.mark.parametrize(("arguments", "error", "match"), [
    ({"axes": {"last": 2}}, TypeError, "integers"), ({"axes": 3}, TypeError, "`axes`"),
    ({"axes": {2: 3}, "ndim": 2}, ValueError, "below 2"), ({"ndim": "two"}, TypeError, "`ndim`"),
])
def test_specs_that_are_none(arguments, error, match):
    with pytest.raises(error, match=match):
        fm.InputSpec(**arguments)
