"""Layers and models of one's own: weights of any shape, variables as attributes, their configs."""

import copy

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers, ops, saving

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 5)).astype("float32")
Y = RNG.normal(size=(48, 3)).astype("float32")


class Heads(layers.Layer):
    """Several products side by side, their mean over a learned temperature."""

    def __init__(self, heads, units, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.units = heads, units
        self.calls = self.add_weight(dtype="int32", trainable=False, name="calls")

    def build(self, input_shape):
        self.kernel = self.add_weight((self.heads, input_shape[-1], self.units), name="kernel",
                                      regularizer=fm.regularizers.L2(0.01))
        self.bias = self.add_weight((self.heads, 1, self.units), "zeros", name="bias")
        self.temperature = self.add_weight(initializer="ones", name="temperature")

    def call(self, x):
        h = ops.einsum("nd,hdu->hnu", x, self.kernel) + self.bias
        return ops.mean(ops.tanh(h), axis=0) / self.temperature


def heads(dtype=None):
    model = fm.Sequential([fm.Input((5,), dtype=dtype), layers.Dense(4, "tanh"), Heads(2, 3)])
    model.compile(fm.optimizers.SGD(0.1), "mse")
    return model


def test_weights_of_any_shape_are_trained_and_saved(tmp_path):
    fm.utils.set_random_seed(1)
    model = heads()
    layer = model.layers[1]
    assert [v.shape for v in layer.weights] == [(2, 4, 3), (2, 1, 3), (), ()]
    assert (layer.calls.dtype, layer.calls.trainable) == ("int32", False)
    before = layer.temperature.numpy()
    assert layer.count_params() == 24 + 6 + 1 + 1
    loss = model.fit(X, Y, epochs=5, verbose=0).history["loss"]
    assert loss[-1] < loss[0]
    assert layer.temperature.numpy() != before
    model.save(tmp_path / "m.keras")
    again = saving.load_model(tmp_path / "m.keras", custom_objects={"Heads": Heads})
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
    further = [m.fit(X, Y, verbose=0).history["loss"] for m in (model, again)]
    assert further[0] == further[1]
    with pytest.raises(ValueError, match="'Heads'"):
        saving.load_model(tmp_path / "m.keras")


def test_gradient_of_weights_of_any_shape(backend):
    fm.utils.set_random_seed(2)
    model = heads("float64")
    weights, x, y = model.get_weights(), X.astype("float64"), Y.astype("float64")
    model.train_on_batch(x, y)
    found = [(w - v) / 0.1 for w, v in zip(weights, model.get_weights(), strict=True)]
    for place, at in ((2, (1, 2, 0)), (3, (0, 0, 1)), (4, ())):
        def loss(shift, place=place, at=at):
            changed = copy.deepcopy(weights)
            changed[place][at] += shift
            model.set_weights(changed)
            return model.test_on_batch(x, y)

        slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
        np.testing.assert_allclose(found[place][at], slope, rtol=1e-6)


def test_norms_of_three_axes():
    class Layer(layers.Layer):
        def build(self, input_shape):
            self.kernel = self.add_weight((2, input_shape[-1], 3), "ones", name="kernel",
                                          constraint=fm.constraints.UnitNorm(axis=1))

        def call(self, x):
            return ops.sum(ops.einsum("nd,hdu->nhu", x, self.kernel), axis=1)

    model = fm.Sequential([fm.Input((5,)), Layer()])
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    norms = np.linalg.norm(model.get_weights()[0], axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)


class Line(fm.Model):
    """A model whose variables are attributes of its own."""

    def __init__(self):
        super().__init__()
        self.slope = fm.Variable(np.zeros((5, 3)), name="slope")
        self.shift = fm.Variable(0.0, name="shift")
        self.fixed = fm.Variable(2.0, trainable=False, name="fixed")
        self.more = {"factors": [fm.Variable([0.5, 0.5, 0.5])], "count": 3}
        self.dense = layers.Dense(3, kernel_initializer="ones")

    def call(self, x):
        return (ops.matmul(x, self.slope) + self.shift * self.fixed
                + self.more["factors"][0] * self.dense(x))


def test_variables_of_a_model(tmp_path):
    model = Line()
    model.compile(fm.optimizers.Adam(0.05), "mse")
    loss = model.fit(X, Y, epochs=20, verbose=0).history["loss"]
    assert loss[-1] < 0.8 * loss[0]
    assert len(model.trainable_variables) == 5
    assert [v.name for v in model.weights[:4]] == ["slope", "shift", "variable", "fixed"]
    assert float(model.shift) != 0
    assert float(model.fixed) == 2
    for name in ("w.weights.h5", "w.safetensors"):
        if name.endswith("h5") and not saving.hdf5.available():
            continue
        model.save_weights(tmp_path / name)
        other = Line()
        other.build((None, 5))
        other.load_weights(tmp_path / name)
        np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_variables_take_the_dtype_of_their_model():
    class Scaled(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.scale = fm.Variable(np.ones(5))  # float64, as NumPy has it

        def call(self, x):
            return x * self.scale

    model = fm.Sequential([fm.Input((5,)), Scaled(), layers.Dense(3)])
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    assert model.dtype == model.layers[0].scale.dtype == "float32"
    assert (model.layers[0].scale.numpy() != 1).any()


def test_a_config_without_get_config():
    class Block(layers.Layer):
        def __init__(self, units, kinds=("relu", "tanh"), **kwargs):
            super().__init__(**kwargs)
            self.parts = [layers.Dense(units, kind) for kind in kinds]

        def call(self, x):
            return ops.concatenate([part(x) for part in self.parts], axis=-1)

    class Whole(fm.Model):
        def __init__(self, units):
            super().__init__()
            self.block = Block(units, name="block")
            self.last = layers.Dense(3)

        def call(self, x):
            return self.last(self.block(x))

    block = Block(4, ["elu"], name="b")
    assert block.get_config() == {"name": "b", "trainable": True, "dtype": None, "units": 4,
                                  "kinds": ["elu"]}
    model = fm.Sequential([fm.Input((5,)), block])
    assert fm.models.clone_model(model).output_shape == (None, 4)
    whole = fm.models.clone_model(Whole(2))
    assert whole.get_config() == {"units": 2}
    assert whole(X).shape == (48, 3)
    with pytest.raises(NotImplementedError, match=r"Block.*get_config"):
        Block(2, [np.tanh]).get_config()


# -- losses of one's own -------------------------------------------------------------------------


def likelihood(y_true, y_pred):
    """One number for the whole batch, of targets with half as many columns."""
    scale = ops.softplus(y_pred[:, 1:]) + 1e-3
    return ops.mean(ops.log(scale) + 0.5 * ops.square((y_true - y_pred[:, :1]) / scale))


def quantiles(y_true, y_pred):
    """A number for each row, of targets with a third of the columns."""
    miss, shares = y_true - y_pred, np.array([0.1, 0.5, 0.9])
    return ops.mean(ops.maximum(shares * miss, (shares - 1) * miss), axis=-1)


def split_by_class(y_true, y_pred):
    """Compares targets with `==`."""
    return ops.mean(ops.where(y_true == 1, -ops.log(y_pred), -ops.log(1 - y_pred)), axis=-1)


@pytest.mark.parametrize(("loss", "columns", "activation"), [
    (likelihood, 2, None), (quantiles, 3, None), (split_by_class, 1, "sigmoid")])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_of_ones_own_are_differentiated(loss, columns, activation, weighted, backend):
    fm.utils.set_random_seed(1)
    model = fm.Sequential([fm.Input((5,), dtype="float64"),
                           layers.Dense(columns, activation=activation)])
    model.compile(fm.optimizers.SGD(0.1), loss)
    x, y = X.astype("float64"), (Y[:, :1] > 0 if activation else Y[:, :1]).astype("float64")
    weight = RNG.random(48) if weighted else None
    before = model.get_weights()
    model.train_on_batch(x, y, weight)
    found = (before[0] - model.get_weights()[0]) / 0.1

    def value(shift):
        model.set_weights([before[0] + shift, before[1]])
        return model.test_on_batch(x, y, weight)

    for place in np.ndindex(2, columns):
        shift = np.zeros_like(before[0])
        shift[place] = 1e-5
        slope = (value(shift) - value(-shift)) / 2e-5
        assert found[place] == pytest.approx(slope, rel=1e-5, abs=1e-9)
    model.set_weights(before)
    expected = float(np.mean(np.asarray(loss(y, model.predict(x))) * (
        1 if weight is None else weight)))
    assert value(0) == pytest.approx(expected)


def test_losses_of_several_outputs_of_ones_own():
    x = fm.Input((5,))
    model = fm.Model(x, [layers.Dense(2, name="a")(x), layers.Dense(3, name="b")(x)])
    model.compile("adam", {"a": likelihood, "b": quantiles}, loss_weights={"b": 0.5})
    target = Y[:, :1]
    found = model.evaluate(X, {"a": target, "b": target}, batch_size=48, return_dict=True)
    a, b = model.predict(X)
    assert found["a_loss"] == pytest.approx(float(likelihood(target, a)), rel=1e-5)
    assert found["b_loss"] == pytest.approx(float(np.mean(quantiles(target, b))), rel=1e-5)
    assert found["loss"] == pytest.approx(found["a_loss"] + 0.5 * found["b_loss"], rel=1e-5)


def test_gradient_of_the_largest(backend):
    class Largest(layers.Layer):
        def call(self, x):
            values, places = ops.top_k(x, 2)
            assert places.dtype == "int32"
            return ops.softmax(values) + ops.erf(values)

    fm.utils.set_random_seed(1)
    model = fm.Sequential([fm.Input((5,), dtype="float64"), layers.Dense(5), Largest()])
    model.compile(fm.optimizers.SGD(0.1), "mse")
    before, x, y = model.get_weights(), X.astype("float64"), Y[:, :2].astype("float64")
    model.train_on_batch(x, y)
    found = ((before[0] - model.get_weights()[0]) / 0.1)[1, 3]

    def value(shift):
        kernel = before[0].copy()
        kernel[1, 3] += shift
        model.set_weights([kernel, before[1]])
        return model.test_on_batch(x, y)

    assert found == pytest.approx((value(1e-6) - value(-1e-6)) / 2e-6, rel=1e-5)


def test_layers_that_return_numbers_and_variables():
    class Total(layers.Layer):
        def __init__(self):
            super().__init__()
            self.total = self.add_weight((5,), "zeros", trainable=False)

        def call(self, x):
            self.total.assign_add(ops.sum(x, axis=0))
            return self.total

    layer = Total()
    np.testing.assert_allclose(layer(X), X.sum(axis=0), rtol=1e-4)
    np.testing.assert_allclose(layer(X), 2 * X.sum(axis=0), rtol=1e-4)


def test_gradients_of_functions_whose_arguments_are_named(backend):
    class Gated(layers.Layer):
        def call(self, x):
            x = ops.expand_dims(x, axis=-1)
            a, b = ops.split(ops.concatenate([x, 2 * x], axis=-1), indices_or_sections=2, axis=2)
            a = ops.swapaxes(a, axis1=1, axis2=2)
            return ops.squeeze(ops.swapaxes(a, axis1=1, axis2=2) * b, axis=-1)

    model = fm.Sequential([fm.Input((5,)), layers.Dense(3, kernel_initializer="ones"), Gated()])
    model.compile(fm.optimizers.SGD(1e-3), "mse")
    before = model.get_weights()[0]
    model.train_on_batch(X, Y)
    h = X @ before
    slope = X.T @ (2 * (2 * h**2 - Y) / Y.size * 4 * h)
    found = (before - model.get_weights()[0]) / 1e-3
    np.testing.assert_allclose(found, slope, rtol=0.02, atol=0.02)


def test_what_a_file_leaves_out_is_said(tmp_path):
    class Keeper(layers.Layer):
        def save_own_variables(self, store):
            raise AssertionError("not called")

        def call(self, x):
            return x * 2.0

    model = fm.Sequential([fm.Input((2,)), Keeper(), layers.Dense(1)])
    for save in (model.save, model.save_weights):
        suffix = "model.keras" if save == model.save else "model.weights.h5"
        with pytest.warns(UserWarning, match="Keeper.save_own_variables of one's own are not call"):
            save(tmp_path / suffix)
