"""Copies of models with new weights, and models from JSON, of this package and of Keras."""

from __future__ import annotations

import json

import keras_peer
import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp.models import clone_model, model_from_json

L = fm.layers


def stack():
    model = fm.Sequential([fm.Input((3,), name="x"), L.Dense(4, activation="gelu", name="one"),
                           L.Dropout(0.5, name="drop"), L.Dense(2, name="two")], name="stack")
    model.compile("adamw", "mse", metrics=["mae"])
    return model


def graph():
    a, b = fm.Input((3,), name="a"), fm.Input((4,), name="b")
    shared = L.Dense(5, activation="tanh", name="shared")
    inner = fm.Sequential([fm.Input((5,)), L.Dense(4, name="deep")], name="inner")
    one = shared(a)
    two = shared(L.Dense(3, name="three")(b))
    out = {"sum": L.Add(name="sum")([one, 2 * two]), "inner": inner(one - two)}
    return fm.Model({"a": a, "b": b}, out, name="graph")


DATA = {"a": np.random.default_rng(0).normal(size=(6, 3)),
        "b": np.random.default_rng(1).normal(size=(6, 4))}


def same_predictions(one, two, x):
    two.set_weights(one.get_weights())
    found, expected = two.predict(x, verbose=0), one.predict(x, verbose=0)
    for key in expected if isinstance(expected, dict) else [...]:
        np.testing.assert_array_equal(found[key], expected[key])


def test_a_stack():
    model = stack()
    copy = clone_model(model)
    assert type(copy) is fm.Sequential
    assert copy.get_config() == model.get_config()
    assert copy.get_compile_config() == model.get_compile_config()
    assert not {id(layer) for layer in copy.layers} & {id(layer) for layer in model.layers}
    assert not np.array_equal(copy.get_weights()[0], model.get_weights()[0])
    same_predictions(model, copy, DATA["a"])


def test_a_stack_that_is_not_built():
    copy = clone_model(fm.Sequential([L.Dense(2, name="d")]))
    assert not copy.built
    assert [layer.name for layer in copy.layers] == ["d"]


def test_a_graph():
    model = graph()
    copy = clone_model(model)
    assert type(copy) is fm.models.Functional
    assert not copy.compiled
    assert copy.input_names == model.input_names
    assert len(copy.get_weights()) == len(model.get_weights())  # what is shared stays so
    assert copy.get_layer("inner") is not model.get_layer("inner")
    same_predictions(model, copy, DATA)


@pytest.mark.parametrize("make", [stack, graph])
def test_other_layers(make):
    def wider(layer):
        config = layer.get_config()
        if isinstance(layer, L.Dense):
            config["kernel_initializer"] = "ones"
        return type(layer).from_config(config)

    model = make()
    copy = clone_model(model, clone_function=wider)
    for layer in copy.layers:
        if isinstance(layer, L.Dense):
            assert (layer.get_weights()[0] == 1).all()
    if make is graph:
        assert not (copy.get_layer("inner").get_weights()[0] == 1).all()
        deep = clone_model(model, clone_function=wider, recursive=True)
        assert (deep.get_layer("inner").get_weights()[0] == 1).all()


def test_other_calls():
    calls = []

    def call(layer, *args, **kwargs):
        calls.append(layer.name)
        return layer(*args, **kwargs)

    model = graph()
    copy = clone_model(model, call_function=call)
    assert calls.count("shared") == 2
    assert copy.get_layer("shared").name in calls
    reused = clone_model(model, clone_function=lambda layer: layer)
    assert reused.get_layer("shared") is model.get_layer("shared")


def test_other_inputs():
    x = fm.Input((3,), name="new")
    copy = clone_model(stack(), input_tensors=x)
    assert copy.input_shape == (None, 3)
    model = graph()
    inputs = {"a": fm.Input((3,), name="c"), "b": fm.Input((4,), name="d")}
    assert clone_model(model, input_tensors=inputs).input_names == ["c", "d"]
    for given in (x, [x, x], {"a": x}, {"a": 1, "b": 2}):
        with pytest.raises(ValueError, match=r"`input_tensors`.*Received"):
            clone_model(model, input_tensors=given)
    with pytest.raises(ValueError, match="`input_tensors`"):
        clone_model(stack(), input_tensors=[x, x])


class Own(fm.Model):
    def __init__(self, units=2):
        super().__init__()
        self.units, self.dense = units, L.Dense(units)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        return {"units": self.units}


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: clone_model("net"), TypeError, r"`model`.*'net'"),
        (lambda: clone_model(stack(), clone_function=3), TypeError, "`clone_function`"),
        (lambda: clone_model(stack(), call_function=print), ValueError, "`call_function`"),
        (lambda: clone_model(Own(), clone_function=print), ValueError, "Own"),
        (lambda: model_from_json("{"), ValueError, "`json_string` must be JSON"),
        (lambda: model_from_json(3), ValueError, "`json_string`"),
        (lambda: model_from_json("[1]"), ValueError, "class_name"),
        (lambda: model_from_json('{"class_name": "Dropout", "config": {"rate": 0.5}}'), ValueError,
         "must describe a model"),
        (lambda: model_from_json('{"class_name": "LSTM", "config": {}}'), ValueError, "'LSTM'"),
    ],
)
def test_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_class_of_ones_own():
    copy = clone_model(Own(5))
    assert type(copy) is Own
    assert copy.units == 5


@pytest.mark.parametrize("make", [stack, graph])
def test_json(make):
    model = make()
    text = model.to_json(indent=1)
    assert json.loads(text)["class_name"] == type(model).__name__
    again = model_from_json(text)
    assert again.to_json(indent=1) == text
    same_predictions(model, again, DATA if make is graph else DATA["a"])


def test_json_with_objects_of_ones_own():
    class Third(fm.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return np.full(shape, 1 / 3, dtype)

    model = fm.Sequential([fm.Input((2,)), L.Dense(1, kernel_initializer=Third())])
    assert '"Third"' in model.to_json()
    with fm.saving.custom_object_scope({"Third": Third}):
        text = model.to_json()
    with pytest.raises(ValueError, match="'Third'"):
        model_from_json(text)
    again = model_from_json(text, custom_objects={"Third": Third})
    assert again.get_weights()[0].tolist() == model.get_weights()[0].tolist()


def test_json_of_keras(tmp_path):
    keras = keras_peer.load()
    layers = keras.layers
    a, b = keras.Input((3,), name="a"), keras.Input((4,), name="b")
    shared = layers.Dense(5, activation="tanh", name="shared")
    one, two = shared(a), shared(layers.Dense(3)(b))
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4, activation="gelu")], name="inner")
    joined = layers.Concatenate()([one, two, layers.Maximum()([one, two]), inner(two)])
    out = {"p": layers.Dense(2, activation="softmax", name="p")(joined),
           "q": layers.Dense(1, name="q")(layers.Average()([one, two]))}
    theirs = keras.Model({"a": a, "b": b}, out, name="net")
    ours = model_from_json(theirs.to_json())
    assert ours.name == "net"
    theirs.save(tmp_path / "m.keras")
    theirs.save(tmp_path / "m.h5")
    theirs.save_weights(tmp_path / "m.weights.h5")
    expected = theirs.predict(DATA, verbose=0)
    pytest.importorskip("h5py")
    models = [fm.saving.load_model(tmp_path / "m.keras"), fm.saving.load_model(tmp_path / "m.h5")]
    for name in ("m.keras", "m.h5", "m.weights.h5"):
        ours.set_weights([w * 0 for w in ours.get_weights()])
        ours.load_weights(tmp_path / name)
        models.append(ours)
        for model in models:
            found = model.predict(DATA, verbose=0)
            for key in expected:
                np.testing.assert_allclose(found[key], expected[key], atol=1e-6)


def test_weights_of_a_class_of_ones_own_in_keras(tmp_path):
    """Attributes are saved in the order of their names, not in that of the calls."""
    keras = keras_peer.load()
    pytest.importorskip("h5py")

    def of(module):
        class Net(module.Model):
            def __init__(self):
                super().__init__()
                self.b = module.layers.Dense(4, activation="relu")
                self.a = module.layers.Dense(3)
                self.more = [module.layers.Dense(3), module.layers.Dense(2)]

            def call(self, x):
                x = self.a(self.b(x))
                for layer in self.more:
                    x = layer(x)
                return x

        model = Net()
        model.build((None, 3))
        return model

    x = DATA["a"].astype("float32")
    theirs, ours = of(keras), of(fm)
    theirs(x)
    theirs.save_weights(tmp_path / "one.weights.h5")
    ours.load_weights(tmp_path / "one.weights.h5")
    np.testing.assert_allclose(ours.predict(x, verbose=0), np.asarray(theirs(x)), atol=1e-6)
    ours.set_weights([w + 0.5 for w in ours.get_weights()])
    ours.save_weights(tmp_path / "two.weights.h5")
    theirs.load_weights(tmp_path / "two.weights.h5")
    np.testing.assert_allclose(ours.predict(x, verbose=0), np.asarray(theirs(x)), atol=1e-5)
