"""Models of graphs: calls on symbolic tensors, several inputs and outputs, shared parts, merges,
models within models, models and layers of one's own `call`, steps in Python.

The truth is plain NumPy on the models' own weights, the same network built otherwise, finite
differences, and Keras where it is installed.
"""

from __future__ import annotations

import copy
import pickle

import keras_peer
import numpy as np
import pytest
from differences import hold_step_to_differences

import fusedmlp as fm
from fusedmlp import layers
from fusedmlp.layers.tensor import SymbolicError

pytestmark = pytest.mark.usefixtures("backend")

ROWS = 48


@pytest.fixture
def data():
    rng = np.random.default_rng(4)
    one, two = rng.normal(size=(ROWS, 5)), rng.normal(size=(ROWS, 3))
    value = (one[:, :1] * two[:, :1]).astype("float32")
    kind = rng.integers(0, 4, ROWS)
    return [one.astype("float32"), two.astype("float32")], [value, kind]


def two_headed(library=fm):
    """Two inputs, a shared layer, a residual branch, two outputs."""
    one = library.Input((5,), name="one")
    two = library.Input((3,), name="two")
    dense = library.layers.Dense
    widen = dense(5, activation="tanh", name="widen")
    shared = dense(6, activation="relu", name="shared")
    left, right = shared(one), shared(widen(two))
    both = library.layers.concatenate([left, right], name="both")
    trunk = dense(12, activation="gelu", name="trunk")(both)
    joined = library.layers.add([trunk, both], name="joined")
    value = dense(1, name="value")(joined)
    kind = dense(4, activation="softmax", name="kind")(
        library.layers.multiply([joined, trunk], name="product"))
    return library.Model([one, two], [value, kind], name="two_headed")


def seeded(build=two_headed, seed=5):
    fm.utils.set_random_seed(seed)
    return build()


# -- networks ------------------------------------------------------------------------------------


def test_predictions_are_those_of_numpy(data):
    model = seeded()
    w = {v.path: v.numpy() for v in model.variables}
    (one, two), _ = data

    def dense(x, name):
        return x @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    def shared(x):
        return np.maximum(dense(x, "shared"), 0)

    both = np.hstack([shared(one), shared(np.tanh(dense(two, "widen")))])
    trunk = fm.activations.gelu(dense(both, "trunk"))
    joined = trunk + both
    logits = dense(joined * trunk, "kind")
    value, kind = model.predict([one, two])
    np.testing.assert_allclose(value, dense(joined, "value"), rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(kind, fm.activations.softmax(logits), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("how", ["list", "tuple", "dict"])
def test_data_as_list_tuple_and_dict(data, how):
    model = seeded()
    x, y = data
    expected = model.predict(x)
    if how == "tuple":
        x = tuple(x)
    elif how == "dict":
        x = {"two": x[1], "one": x[0]}
        y = {"kind": y[1], "value": y[0]}
    for got, wanted in zip(model.predict(x), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    losses = {"value": "mse", "kind": "sparse_categorical_crossentropy"}
    model.compile("sgd", losses)
    history = model.fit(x, y, epochs=2, verbose=0).history
    again = seeded()
    again.compile("sgd", [losses["value"], losses["kind"]])
    assert again.fit(*data, epochs=2, verbose=0).history == history


def test_names_shapes_and_parts():
    model = seeded()
    assert model.input_names == ["one", "two"]
    assert model.output_names == ["value", "kind"]
    assert model.input_shape == [(None, 5), (None, 3)]
    assert model.output_shape == [(None, 1), (None, 4)]
    assert [layer.name for layer in model.layers] == [
        "two", "one", "widen", "shared", "both", "trunk", "joined", "product", "value", "kind"]
    assert model.get_layer("both").output.shape == (None, 12)
    assert model.count_params() == sum(v.size for v in model.variables)
    assert len({id(v) for v in model.variables}) == len(model.variables) == 10
    lines = []
    model.summary(print_fn=lines.append)
    assert any("Connected to" in line for line in lines)
    assert any("both (Concatenate)" in line and "shared, shared" in line for line in lines)


def test_a_chain_is_the_sequential_model(data):
    x, y = data[0][0], data[1][1]

    def functional():
        inputs = fm.Input((5,))
        hidden = layers.Dropout(0.3)(layers.Dense(7, activation="relu")(inputs))
        return fm.Model(inputs, layers.Dense(4, activation="softmax")(hidden))

    def sequential():
        return fm.Sequential([fm.Input((5,)), layers.Dense(7, activation="relu"),
                              layers.Dropout(0.3), layers.Dense(4, activation="softmax")])

    one, other = seeded(functional), seeded(sequential)
    assert [op.op for op in one.plan().ops] == [op.op for op in other.plan().ops]
    histories = []
    for model in (one, other):
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        histories.append(model.fit(x, y, epochs=3, batch_size=16, verbose=0).history)
    assert histories[0] == histories[1]
    np.testing.assert_array_equal(one.predict(x), other.predict(x))
    assert [op.op for op in one.plan().ops] == [op.op for op in other.plan().ops]


def test_a_part_shares_its_weights(data):
    model = seeded()
    x, y = data
    part = fm.Model(model.input, model.get_layer("trunk").output)
    before = part.predict(x)
    model.compile("adam", ["mse", "sparse_categorical_crossentropy"])
    model.fit(x, y, epochs=2, verbose=0)
    after = part.predict(x)
    assert np.abs(after - before).max() > 1e-4
    half = fm.Model(model.get_layer("joined").output, model.outputs[0])
    joined = fm.Model(model.input, model.get_layer("joined").output).predict(x)
    np.testing.assert_allclose(half.predict(joined), model.predict(x)[0], rtol=1e-5)
    assert half.layers[1] is model.get_layer("value")
    model.fit(x, y, epochs=1, verbose=0)  # goes on with its own optimizer's state
    arena = model.arena
    np.testing.assert_array_equal(part.predict(x), fm.Model(
        model.input, model.get_layer("trunk").output).predict(x))
    assert part.arena is arena  # a part that only predicts moves nothing
    assert model.arena is arena
    assert model.optimizer.iterations == 6


def test_models_within_models(data):
    x = data[0][0]
    inner = seeded(lambda: fm.Sequential([fm.Input((5,)), layers.Dense(5, activation="tanh")]))
    inputs = fm.Input((5,))
    middle = fm.Model(inputs, layers.add([inputs, inner(inputs)]))
    twice = fm.Sequential([fm.Input((5,)), middle, layers.Dense(2)])
    again = fm.Model(inputs, twice(middle(inputs)))
    w = inner.layers[0]

    def residual(a):
        return a + np.tanh(a @ w.kernel.numpy() + w.bias.numpy())

    last = twice.layers[1]
    expected = residual(residual(x)) @ last.kernel.numpy() + last.bias.numpy()
    np.testing.assert_allclose(again.predict(x), expected, rtol=2e-5, atol=1e-6)
    assert len(again.variables) == 4
    again.compile("sgd", "mse")
    before = inner.get_weights()
    again.fit(x, np.ones((ROWS, 2)), verbose=0)
    assert not np.array_equal(before[0], inner.get_weights()[0])
    assert middle.predict(x).shape == (ROWS, 5)


def test_gradients_of_shared_layers_add_up(data):
    x = data[0][0].astype("float64")[:6]
    y = np.linspace(0.0, 1.0, 6).reshape(6, 1)
    inputs = fm.Input((5,), dtype="float64")
    shared = layers.Dense(5, activation="tanh")
    model = fm.Model(inputs, layers.Dense(1)(shared(shared(inputs))))
    model.compile(fm.optimizers.SGD(1.0), "mse")
    hold_step_to_differences(model, shared.kernel, x, y, h=1e-5, atol=1e-8)


def test_frozen_layers_and_dead_branches(data):
    x, y = data
    inputs = fm.Input((5,))
    frozen, free = layers.Dense(4, activation="tanh"), layers.Dense(1)
    frozen.trainable = False
    hidden = frozen(inputs)
    dead = layers.Dense(9, name="dead")(hidden)
    model = fm.Model(inputs, [free(hidden), dead])
    model.compile("adam", ["mse", None])
    before = [v.numpy() for v in model.variables]
    model.fit(x[0], [y[0], None], verbose=0)
    moved = [not np.array_equal(a, v.numpy()) for a, v in zip(before, model.variables, strict=True)]
    names = [v.path.split("/")[0] for v in model.variables]
    assert moved == [name == free.name for name in names]
    assert all("dead" not in plan_name for plan_name in
               (b.name for b in model._executions.get(
                   model, 32, model._objective.latest, (False, False), model.optimizer)
                .plan.buffers))


@pytest.mark.parametrize(("layer", "function"), [
    (layers.Add(), lambda a, b: a + b), (layers.Subtract(), lambda a, b: a - b),
    (layers.Multiply(), lambda a, b: a * b), (layers.Average(), lambda a, b: (a + b) / 2),
    (layers.Maximum(), np.maximum), (layers.Minimum(), np.minimum),
    (layers.Concatenate(), lambda a, b: np.hstack([a, b])),
    (layers.Dot(axes=1), lambda a, b: (a * b).sum(axis=1, keepdims=True)),
    (layers.Dot(axes=-1, normalize=True), lambda a, b: (
        (a / np.linalg.norm(a, axis=1, keepdims=True))
        * (b / np.linalg.norm(b, axis=1, keepdims=True))).sum(axis=1, keepdims=True)),
], ids=lambda p: getattr(p, "name", ""))
def test_merges(layer, function):
    rng = np.random.default_rng(3)
    a, b = (rng.normal(size=(17, 6)).astype("float32") for _ in range(2))
    expected = function(a, b)
    np.testing.assert_allclose(layer([a, b]), expected, rtol=1e-5, atol=1e-6)
    one, two = fm.Input((6,)), fm.Input((6,))
    model = fm.Model([one, two], layer([one, two]))
    assert model.output_shape == (None, expected.shape[1])
    np.testing.assert_allclose(model.predict([a, b]), expected, rtol=1e-5, atol=1e-6)
    again = layers.deserialize(layers.serialize(layer))
    np.testing.assert_array_equal(again([a, b]), layer([a, b]))


def test_merges_of_one_column_and_of_many():
    a, b = np.arange(6.0).reshape(3, 2), np.array([[1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(layers.multiply([a, b]), a * b)
    np.testing.assert_array_equal(layers.add([b, a, a]), 2 * a + b)
    np.testing.assert_array_equal(layers.concatenate([a, b, a]), np.hstack([a, b, a]))
    cube = np.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(layers.concatenate([cube, 10 * cube]),
                                  np.concatenate([cube, 10 * cube], axis=-1))
    np.testing.assert_array_equal(layers.concatenate([cube, cube[:, :1]], axis=1),
                                  np.concatenate([cube, cube[:, :1]], axis=1))


@pytest.mark.parametrize(("call", "message"), [
    (lambda x: layers.Add()(x), "list of tensors"),
    (lambda x: layers.Subtract()([x, x, x]), "exactly 2"),
    (lambda x: layers.Add()([x, fm.Input((4,))]), "same shape"),
    (lambda x: layers.Concatenate(axis=0)([x, x]), "rows"),
    (lambda x: layers.Dot(axes=1)([x, fm.Input((4,))]), "equally many columns"),
    (lambda x: layers.Dot(axes=0), "`axes`"),
    (lambda x: layers.Dense(3)("text"), "array or a symbolic"),
    (lambda x: fm.Model(x, 3), "`outputs`"),
    (lambda x: fm.Model("x", x), "`inputs`"),
    (lambda x: fm.Model(fm.Input((2,)), layers.Dense(1)(x)), "every Input"),
    (lambda x: fm.Model([x, x], layers.Dense(1)(x)), "occur once"),
    (lambda x: fm.Model(x, layers.Dense(1, name="b")(layers.Dense(1, name="b")(x))), "'b'"),
    (lambda x: np.add.accumulate(x), "no operation"),
    (lambda x: bool(x), "truth value"),
    (lambda x: x.mean(), "attribute of arrays"),
    (lambda x: x["a"], "index of type str"),
    (lambda x: x[0, 7], "out of bounds"),
    (lambda x: np.matmul(x, np.ones((4, 2))), "can't be applied to tensors of shape"),
    (lambda x: layers.Dense(2)(x, mask=3), "`mask`"),
])
def test_what_is_refused(call, message):
    with pytest.raises((ValueError, TypeError, IndexError), match=message):
        call(fm.Input((3,)))


def test_arithmetic_on_tensors():
    x = np.random.default_rng(1).uniform(0.5, 2.0, (9, 4)).astype("float32")
    cases = [
        lambda a: a + 2 * a - 1, lambda a: (1 - a) / (2 + a), lambda a: 3 / a,
        lambda a: abs(-a) ** 0.5, lambda a: -a[:, 1:3], lambda a: a / 4 + np.float32(2) * a**-1,
        lambda a: np.exp(a) * np.log(a), lambda a: np.maximum(a, 1.0) - np.minimum(1.5, a),
        lambda a: a - np.mean(a, axis=-1, keepdims=True),
        lambda a: np.concatenate([a, np.square(a)], axis=1),
        lambda a: np.sqrt(a) * np.sum(a, axis=1, keepdims=True),
    ]
    inputs = fm.Input((4,))
    for case in cases:
        model = fm.Model(inputs, case(inputs))
        np.testing.assert_allclose(model.predict(x), case(x), rtol=3e-6, atol=1e-6)
        assert {type(layer) for layer in model.layers} <= {layers.InputLayer, layers.Concatenate}
        again = type(model).from_config(model.get_config())
        np.testing.assert_array_equal(again.predict(x), model.predict(x))
    assert fm.activations.relu(inputs - 1).shape == (None, 4)


def test_structures_of_outputs(data):
    x = data[0][0]
    inputs = fm.Input((5,), name="x")
    a, b = layers.Dense(2, name="a")(inputs), layers.Dense(3, name="b")(inputs)
    model = fm.Model({"x": inputs}, {"second": b, "first": a})
    found = model.predict({"x": x})
    assert {key: value.shape for key, value in found.items()} == {"first": (ROWS, 2),
                                                                  "second": (ROWS, 3)}
    model.compile("sgd", {"first": "mse", "second": "mae"})
    history = model.fit({"x": x}, {"first": x[:, :2], "second": x[:, :3]}, verbose=0).history
    assert set(history) == {"loss", "first_loss", "second_loss"}
    nested = fm.Model(inputs, [a, (b, a)])
    one, (two, three) = nested(x)
    np.testing.assert_array_equal(one, three)
    assert two.shape == (ROWS, 3)


# -- training of several outputs -------------------------------------------------------------------


def compiled(model, **more):
    model.compile(fm.optimizers.Adam(0.01),
                  {"value": "mse", "kind": "sparse_categorical_crossentropy"},
                  loss_weights={"value": 0.5, "kind": 2.0},
                  metrics={"kind": ["accuracy"], "value": ["mae"]}, **more)
    return model


def test_losses_weights_and_names(data):
    x, y = data
    model = compiled(seeded())
    history = model.fit(x, y, epochs=2, batch_size=16, verbose=0, validation_split=0.25).history
    names = ["loss", "value_loss", "kind_loss", "value_mae", "kind_accuracy"]
    assert set(history) == set(names) | {f"val_{name}" for name in names}
    np.testing.assert_allclose(
        history["loss"], 0.5 * np.array(history["value_loss"])
        + 2.0 * np.array(history["kind_loss"]), rtol=1e-6)
    assert model.metrics_names == ["loss", "value_loss", "kind_loss", "kind_accuracy", "value_mae"]
    value, kind = model.predict(x)
    numbers = dict(zip(model.metrics_names, model.evaluate(x, y, verbose=0), strict=True))
    np.testing.assert_allclose(numbers["value_loss"], np.mean((value - y[0]) ** 2), rtol=1e-5)
    np.testing.assert_allclose(numbers["kind_accuracy"], np.mean(kind.argmax(1) == y[1]))
    assert model.evaluate(x, y, verbose=0, return_dict=True).keys() == set(names)
    assert model.train_on_batch(x, y, return_dict=True).keys() == set(names)
    assert len(model.test_on_batch(x, y)) == 5


def test_class_and_sample_weights_of_several_outputs(data):
    x, y = data
    weights = np.linspace(0.0, 2.0, ROWS).astype("float32")
    by_class = {0: 0.5, 2: 3.0}
    model = compiled(seeded())
    model.fit(x, y, verbose=0, shuffle=False, sample_weight={"value": weights},
              class_weight={"kind": by_class})
    factor = np.ones(ROWS, "float32")
    for key, value in by_class.items():
        factor[y[1] == key] = value
    other = compiled(seeded())
    other.fit(x, y, verbose=0, shuffle=False, sample_weight=[weights, factor])
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    one = compiled(seeded())
    one.fit(x, y, verbose=0, shuffle=False, sample_weight=weights)
    both = compiled(seeded())
    both.fit(x, y, verbose=0, shuffle=False, sample_weight=[weights, weights])
    assert np.array_equal(one.get_weights()[0], both.get_weights()[0])
    with pytest.raises(ValueError, match=r"`class_weight`.*names of outputs"):
        model.fit(x, y, class_weight=by_class, verbose=0)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"x": lambda x, y: x[0]}, "list of 2 or a dict"),
    ({"x": lambda x, y: [x[0]]}, "list of 2"),
    ({"x": lambda x, y: {"one": x[0], "tow": x[1]}}, "nearest.*'two'"),
    ({"x": lambda x, y: {"one": x[0]}}, "without 'two'"),
    ({"x": lambda x, y: [x[0], x[1][:-1]]}, "same number of rows"),
    ({"x": lambda x, y: [x[1], x[0]]}, r"x\[0\].*\(rows, 5\)"),
    ({"y": lambda x, y: y[0]}, "`y` must be a list of 2"),
    ({"y": lambda x, y: [y[0], None]}, "'kind'"),
    ({"y": lambda x, y: [y[0], y[1][:-1]]}, "same number of rows"),
    ({"sample_weight": lambda x, y: {"other": y[1]}}, "'value', 'kind'"),
])
def test_data_that_does_not_fit(data, arguments, message):
    x, y = data
    model = compiled(seeded())
    before = model.get_weights()
    given = {"x": x, "y": y, **{key: make(x, y) for key, make in arguments.items()}}
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(**given, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"loss": ["mse"] * 3}, "one element for each of the outputs"),
    ({"loss": {"vlue": "mse"}}, "nearest.*'value'"),
    ({"loss": "mse", "loss_weights": [1.0, 2.0, 3.0]}, "`loss_weights`"),
    ({"loss": "mse", "metrics": ["mae"] * 3}, "`metrics`"),
    ({"loss": "mse", "metrics": {"other": ["mae"]}}, "output"),
])
def test_compile_says_what_does_not_fit(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        seeded().compile("sgd", **arguments)


def test_batches_with_several_arrays(data):
    x, y = data

    def batches():
        for start in range(0, ROWS, 16):
            part = slice(start, start + 16)
            yield [a[part] for a in x], [a[part] for a in y]

    one, other = compiled(seeded()), compiled(seeded())
    one.fit(batches(), verbose=0)
    other.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    found = one.predict(batches())
    for a, b in zip(found, one.predict(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_predictor_of_several(data):
    x, _ = data
    model = seeded()
    serve = model.predictor(batch=4)
    for rows in (4, 2):
        for a, b in zip(serve([a[:rows] for a in x]), model.predict([a[:rows] for a in x]),
                        strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(ValueError, match="at most 4 rows"):
        serve(x)


# -- configs, files, copies ------------------------------------------------------------------------


def test_configs_make_equal_models(data):
    x, _ = data
    model = seeded()
    again = type(model).from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert [v.path for v in again.variables] == [v.path for v in model.variables]
    again.set_weights(model.get_weights())
    for a, b in zip(again.predict(x), model.predict(x), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.get_layer("shared") is not model.get_layer("shared")


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(data, how):
    x, y = data
    model = compiled(seeded())
    model.fit(x, y, verbose=0)
    again = how(model)
    for a, b in zip(again.predict(x), model.predict(x), strict=True):
        np.testing.assert_array_equal(a, b)
    again.fit(x, y, verbose=0)
    model.fit(x, y, verbose=0)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    part = fm.Model(again.inputs, again.get_layer("both").output)
    assert part.predict(x).shape == (ROWS, 12)


def test_files(data, tmp_path):
    x, y = data
    model = compiled(seeded())
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = fm.models.load_model(tmp_path / "model.keras")
    model.fit(x, y, epochs=2, verbose=0)
    again.fit(x, y, epochs=2, verbose=0)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.metrics_names == model.metrics_names


# -- models and layers of one's own ----------------------------------------------------------------


class Wide(fm.Model):
    def __init__(self, units=6):
        super().__init__()
        self.hidden = [layers.Dense(units, activation="relu") for _ in range(2)]
        self.drop = layers.Dropout(0.4)
        self.out = layers.Dense(1)

    def call(self, inputs, training=False):
        deep, wide = inputs["deep"], inputs["wide"]
        for layer in self.hidden:
            deep = layer(deep)
        if training:
            deep = self.drop(deep)
        return self.out(layers.concatenate([deep, wide]))


def test_a_subclassed_model_is_the_functional_one(data):
    (deep, wide), (y, _) = data

    def functional():
        one, two = fm.Input((5,), name="deep"), fm.Input((3,), name="wide")
        hidden = layers.Dense(6, activation="relu")(layers.Dense(6, activation="relu")(one))
        hidden = layers.Dropout(0.4)(hidden)
        return fm.Model([one, two], layers.Dense(1)(layers.concatenate([hidden, two])))

    own, other = seeded(Wide), seeded(functional)
    x = {"deep": deep, "wide": wide}
    own.predict(x)
    own.set_weights(other.get_weights())
    own.seed = other.seed
    histories = []
    for model in (own, other):
        model.compile("adam", "mse")
        histories.append(model.fit(x, y, epochs=3, verbose=0).history["loss"])
    assert histories[0] == histories[1]
    assert "dropout" in [op.op for op in own.plan().ops]
    np.testing.assert_array_equal(own.predict(x), other.predict(x))
    assert [layer.name for layer in own.layers] == [
        own.hidden[0].name, own.hidden[1].name, own.drop.name, own.out.name]
    assert len(own.trainable_variables) == 6


class Residual(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = layers.Dense(units, activation="tanh")

    def call(self, x):
        return x + self.dense(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_a_layer_made_of_layers(data):
    x, y = data[0][0], data[1][0]
    model = seeded(lambda: fm.Sequential([fm.Input((5,)), Residual(5), Residual(5),
                                          layers.Dense(1)]))
    first = model.layers[0].dense
    hidden = x + np.tanh(x @ first.kernel.numpy() + first.bias.numpy())
    np.testing.assert_allclose(model.layers[0](x), hidden, rtol=1e-5, atol=1e-6)
    assert len(model.variables) == 6
    model.compile("adam", "mse")
    history = model.fit(x, y, epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert "python" not in [op.op for op in model.plan().ops]
    model.layers[0].trainable = False
    assert len(model.trainable_variables) == 4
    with fm.saving.custom_object_scope({"Residual": Residual}):
        again = fm.Sequential.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


class Linear(layers.Layer):
    """A dense layer and a gain for each column, by arithmetic with weights."""

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.w = self.add_weight((input_shape[-1], self.units), "glorot_uniform", name="w")
        self.b = self.add_weight((self.units,), "zeros", name="b")
        self.gain = self.add_weight((self.units,), "ones", name="gain")

    def call(self, x):
        return fm.activations.tanh(np.matmul(x, self.w) + self.b) * self.gain - self.b


def test_arithmetic_with_weights(data):
    x, y = data[0][0].astype("float64"), data[1][0].astype("float64")
    inputs = fm.Input((5,), dtype="float64")
    layer = Linear()
    model = fm.Model(inputs, layers.Dense(1)(layer(inputs)))
    w, b, gain = (v.numpy() for v in layer.variables)
    np.testing.assert_allclose(layer(x), np.tanh(x @ w + b) * gain - b, rtol=1e-12, atol=1e-12)
    ops = [op.op for op in model.plan().ops]
    assert "python" not in ops
    assert len(model.plan().ops[1].inputs) == 3  # the addition became the product's bias
    model.compile(fm.optimizers.SGD(1.0), "mse")
    for variable in layer.variables:
        hold_step_to_differences(model, variable, x, y)
    with pytest.raises(ValueError, match="as many columns"):
        fm.Input((3,)) @ layer.w


class Sorted(layers.Layer):
    """Sorts each row; its derivative is the permutation."""

    def call(self, x):
        return np.sort(x, axis=1)

    def backward(self, dy, x, y):
        dx = np.empty_like(dy)
        np.put_along_axis(dx, np.argsort(x, axis=1), dy, axis=1)
        return dx


class Scaled(layers.Layer):
    """A step in Python with weights of its own."""

    python_step = True

    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), "ones", name="scale")

    def call(self, x):
        return x * self.scale

    def backward(self, dy, x, y):
        return dy * np.asarray(self.scale), [(dy * x).sum(axis=0)]


def test_steps_in_python_train(data):
    x, y = data[0][0].astype("float64"), data[1][0].astype("float64")
    inputs = fm.Input((5,), dtype="float64")
    scaled = Scaled()
    dense = layers.Dense(5)
    model = fm.Model(inputs, layers.Dense(1)(scaled(Sorted()(dense(inputs)))))
    assert [op.op for op in model.plan().ops].count("python") == 2
    model.compile(fm.optimizers.SGD(1.0), "mse")
    for variable in (dense.kernel, scaled.scale):
        hold_step_to_differences(model, variable, x, y)


def test_what_comes_after_a_step_in_python_trains_without_its_gradient(data):
    x, y = data[0][0], data[1][0]
    model = fm.Sequential([fm.Input((5,)), layers.Lambda(lambda a: np.partition(a, 2, 1)),
                           layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    plain = seeded(lambda: fm.Sequential([fm.Input((5,)), layers.Dense(1)]))
    plain.compile("sgd", "mse")
    plain.set_weights(model.get_weights())
    np.testing.assert_allclose(model.predict(x), plain.predict(np.partition(x, 2, 1)), rtol=1e-6)
    assert history[-1] < history[0]
    blocked = fm.Sequential([fm.Input((5,)), layers.Dense(5),
                             layers.Lambda(lambda a: np.partition(a, 2, 1))])
    blocked.compile("sgd", "mse")
    assert blocked.predict(x).shape == (ROWS, 5)
    with pytest.raises(ValueError, match=r"partition.*says nothing of its gradient.*`backward`"):
        blocked.fit(x, x, verbose=0)
    blocked.layers[0].trainable = False
    blocked.compile("sgd", "mse")


def test_an_error_in_a_step_leaves_the_model_usable(data):
    x, y = data[0][0], data[1][0]
    calls = []

    def fails(a):
        calls.append(len(a))
        if len(calls) == 4:
            raise RuntimeError("not now")
        return np.sort(a, axis=1)

    model = fm.Sequential([fm.Input((5,)), layers.Lambda(fails), layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(RuntimeError, match="not now"):
        model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    assert np.isfinite(model.predict(x)).all()
    before = model.optimizer.iterations
    model.fit(x, y, batch_size=8, verbose=0)
    assert model.optimizer.iterations == before + 6


@pytest.mark.parametrize("make", [
    lambda: lambda x: np.maximum(x, 0.25 * x), lambda: lambda x: np.log1p(np.exp(x)),
    lambda: lambda x: x * fm.activations.sigmoid(x),
], ids=["traced", "python", "of ours"])
def test_activations_of_ones_own(data, make):
    x, y = data[0][0].astype("float64"), data[1][0].astype("float64")
    function = make()
    inputs = fm.Input((5,), dtype="float64")
    hidden = layers.Dense(6, activation=function)
    model = fm.Model(inputs, layers.Dense(1)(hidden(inputs)))
    model.compile(fm.optimizers.SGD(1.0), "mse")
    z = x @ hidden.kernel.numpy() + hidden.bias.numpy()
    np.testing.assert_allclose(hidden(x), function(z), rtol=1e-12, atol=1e-12)
    before = hidden.bias.numpy()
    slope = np.empty_like(before)
    for i in range(6):
        around = []
        for h in (1e-6, -1e-6):
            changed = before.copy()
            changed[i] += h
            hidden.bias.assign(changed)
            around.append(model.evaluate(x, y, verbose=0))
        slope[i] = (around[0] - around[1]) / 2e-6
    hidden.bias.assign(before)
    model.train_on_batch(x, y)
    np.testing.assert_allclose(before - hidden.bias.numpy(), slope, atol=1e-7)


def test_an_activation_that_mixes_elements_must_say_its_gradient(data):
    def centred(x):
        return np.asarray(x) - np.asarray(x).mean(axis=1, keepdims=True)

    model = fm.Sequential([fm.Input((5,)), layers.Dense(5, activation=centred)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="each element by itself"):
        model.fit(data[0][0], data[0][0], verbose=0)
    centred.backward = lambda dy, x, y: dy - dy.mean(axis=1, keepdims=True)
    model = fm.Sequential([fm.Input((5,)), layers.Dense(5, activation=centred)])
    model.compile("sgd", "mse")
    history = model.fit(data[0][0], data[0][0], epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]


def huberish(y_true, y_pred):
    error = np.abs(y_true - y_pred)
    return np.where(error < 1, 0.5 * error**2, error - 0.5).mean(axis=-1)


def squared(y_true, y_pred):
    return ((y_true - y_pred) ** 2).mean(axis=-1)


def exact(y_true, y_pred):
    return squared(y_true, y_pred)


exact.gradient = lambda y_true, y_pred: 2 * (y_pred - y_true) / y_pred.shape[1]


@pytest.mark.parametrize("loss", [squared, exact], ids=["differences", "exact"])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_of_ones_own(data, loss, weighted):
    x = data[0][0]
    y = np.stack([x.sum(axis=1), x.prod(axis=1)], axis=1)
    weights = np.linspace(0.5, 2.0, ROWS) if weighted else None
    results = []
    for which in (loss, "mse"):
        model = seeded(lambda: fm.Sequential([fm.Input((5,)), layers.Dense(6, "tanh"),
                                              layers.Dense(2)]))
        model.compile("adam", which, metrics=["mae", huberish], loss_weights=0.5)
        history = model.fit(x, y, epochs=3, batch_size=16, verbose=0, sample_weight=weights,
                            validation_split=0.25).history
        results.append((history, model))
    for name in results[1][0]:
        np.testing.assert_allclose(results[0][0][name], results[1][0][name], rtol=2e-5)
    model = results[0][1]
    expected = huberish(y, model.predict(x).astype("float64")).mean()
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    np.testing.assert_allclose(found["huberish"], expected, rtol=1e-5)


def test_losses_of_ones_own_that_can_not_be(data):
    x = data[0][0]

    def scalar(t, p):
        return np.mean(np.square(np.asarray(t) - np.asarray(p)))

    def ranks(t, p):
        return (p - p.mean(axis=0)).sum(axis=1) ** 2

    for loss, message in ((scalar, "one number for each row"), (ranks, "depends on other rows")):
        model = fm.Sequential([fm.Input((5,)), layers.Dense(5)])
        model.compile("sgd", loss)
        with pytest.raises(ValueError, match=message):
            model.fit(x, x, verbose=0)


def test_a_metric_of_ones_own_keeps_what_it_adds_up(data):
    x, y = data[0][0], data[1][0]

    class Largest(fm.metrics.Metric):
        def __init__(self, name="largest"):
            super().__init__(name=name)
            self.worst = self.add_variable(shape=(), initializer="zeros", name="worst")

        def update_state(self, y_true, y_pred, sample_weight=None):
            worst = np.abs(np.asarray(y_true) - y_pred).max()
            self.worst.assign(np.maximum(self.worst, worst))

        def result(self):
            return self.worst

    model = fm.Sequential([fm.Input((5,)), layers.Dense(1)])
    model.compile(fm.optimizers.SGD(0.0), "mse", metrics=[Largest()])
    expected = np.abs(model.predict(x) - y).max()
    history = model.fit(x, y, epochs=2, batch_size=16, verbose=0, validation_data=(x[:9], y[:9]))
    np.testing.assert_allclose(history.history["largest"], expected, rtol=1e-5)
    np.testing.assert_allclose(history.history["val_largest"],
                               np.abs(model.predict(x[:9]) - y[:9]).max(), rtol=1e-5)


def test_steps_in_python_resume_with_the_same_bits(data, tmp_path):
    x, y = data[0][0], data[1][0]

    def build():
        model = fm.Sequential([fm.Input((5,)), layers.Dense(5, "tanh"), Sorted(),
                               layers.Dropout(0.2), layers.Dense(1)])
        model.compile("adam", "mse")
        return model

    whole = seeded(build)
    whole.fit(x, y, epochs=4, batch_size=16, verbose=0)
    parts = seeded(build)
    parts.fit(x, y, epochs=2, batch_size=16, verbose=0)
    with fm.saving.custom_object_scope({"Sorted": Sorted}):
        parts.save(tmp_path / "half.keras")
        again = fm.models.load_model(tmp_path / "half.keras")
    again.fit(x, y, epochs=2, batch_size=16, verbose=0)
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_layers_on_arrays():
    x = np.arange(6.0).reshape(3, 2)
    layer = layers.Dense(2, kernel_initializer="ones", activation="relu")
    np.testing.assert_array_equal(layer(x - 3), np.maximum((x - 3) @ np.ones((2, 2)), 0))
    assert layer(x).dtype == np.float32
    assert layers.Dropout(0.5)(x).tolist() == x.tolist()
    wide = np.ones((400, 50))
    one, two = (layers.Dropout(0.5)(wide, training=True) for _ in range(2))
    assert set(np.unique(one)) == {0.0, 2.0}
    assert 0.4 < one.mean() / 2 < 0.6
    assert not np.array_equal(one, two)
    assert not np.array_equal(one[:96], one[96:192])
    with pytest.raises(ValueError, match="same number of rows"):
        layers.Add()([x, x[:2]])
    model = fm.Sequential([fm.Input((2,)), layer])
    np.testing.assert_array_equal(layer(x), model.predict(x))
    layer.kernel.assign(np.zeros((2, 2)))
    np.testing.assert_array_equal(layer(x), np.zeros((3, 2)))


def test_symbolic_errors_are_both():
    assert issubclass(SymbolicError, (TypeError, AttributeError))


# -- Keras -----------------------------------------------------------------------------------------


def test_the_same_training_as_keras(data):
    keras = keras_peer.load()
    x, y = data
    ours, theirs = seeded(), two_headed(keras)
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    theirs.set_weights(ours.get_weights())
    arguments = {
        "loss": {"value": "mse", "kind": "sparse_categorical_crossentropy"},
        "loss_weights": {"value": 0.5, "kind": 2.0},
        "metrics": {"value": ["mae"], "kind": ["accuracy"]},
    }
    weight = np.linspace(0.5, 1.5, ROWS).astype("float32")
    found = []
    for library, model in ((fm, ours), (keras, theirs)):
        model.compile(optimizer=library.optimizers.Adam(0.01), **arguments)
        history = model.fit(x, y, epochs=3, batch_size=16,
                            shuffle=False, verbose=0, sample_weight=[weight, weight])
        found.append((history.history, model.evaluate(x, y, verbose=0),
                      model.predict(x, verbose=0)))
    (one, numbers, predictions), (two, wanted, expected) = found
    assert set(one) == set(two)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(numbers, wanted, rtol=2e-4, atol=1e-5)
    for a, b in zip(predictions, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_the_same_config_as_keras():
    keras = keras_peer.load()
    ours, theirs = two_headed().get_config(), two_headed(keras).get_config()
    assert set(ours) == set(theirs)
    assert ours["input_layers"] == theirs["input_layers"]
    assert ours["output_layers"] == theirs["output_layers"]
    assert [c["name"] for c in ours["layers"]] == [c["name"] for c in theirs["layers"]]
    for one, other in zip(ours["layers"], theirs["layers"], strict=True):
        assert len(one["inbound_nodes"]) == len(other["inbound_nodes"])
