"""Normalization, noise, activation, embedding and shape layers; regularizers and constraints.

What they compute in a plan is tested in `test_plan_layers.py`; here it is the layers themselves:
their variables, shapes, configs, errors, and their numbers against Keras where it is installed.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from keras_peer import load as load_keras

import fusedmlp as fm

pytestmark = pytest.mark.usefixtures("backend")
L = fm.layers


@pytest.fixture
def keras():
    return load_keras()


# name -> (shape of a sample, function of a library that gives the layers before the last Dense)
STACKS = {
    "batch norm": ((6,), lambda k: [
        # a bias here would have the gradient 0, whose rounding errors Adam scales up
        k.layers.Dense(9, use_bias=False), k.layers.BatchNormalization(),
        k.layers.Activation("relu")]),
    "batch norm with arguments": ((6,), lambda k: [
        k.layers.Dense(9, "tanh"), k.layers.BatchNormalization(
            momentum=0.7, epsilon=0.01, center=False, gamma_initializer="zeros",
            gamma_regularizer=k.regularizers.L2(0.03)), k.layers.Dense(5, "elu"),
        k.layers.BatchNormalization(axis=1, scale=False, beta_constraint="non_neg")]),
    "batch norm frozen": ((6,), lambda k: [
        k.layers.Dense(9), k.layers.BatchNormalization(trainable=False, momentum=0.5)]),
    "batch norm of rows": ((4, 6), lambda k: [
        k.layers.Dense(5, "tanh"), k.layers.BatchNormalization(momentum=0.6),
        k.layers.Flatten()]),
    "layer norm": ((6,), lambda k: [
        k.layers.Dense(9, "silu"), k.layers.LayerNormalization(),
        k.layers.Dense(40), k.layers.LayerNormalization(epsilon=0.1, scale=False)]),
    "layer norm of rows": ((4, 6), lambda k: [
        k.layers.LayerNormalization(), k.layers.Dense(3), k.layers.Softmax(),
        k.layers.Flatten()]),
    "rms norm": ((6,), lambda k: [
        k.layers.Dense(9, "silu"), k.layers.RMSNormalization(),
        k.layers.RMSNormalization(epsilon=0.5)]),
    "unit norm": ((6,), lambda k: [k.layers.Dense(9, "silu"), k.layers.UnitNormalization()]),
    "spectral norm": ((6,), lambda k: [
        k.layers.SpectralNormalization(k.layers.Dense(9, "tanh")),
        k.layers.SpectralNormalization(k.layers.Dense(5), power_iterations=3)]),
    "relus": ((6,), lambda k: [
        k.layers.Dense(9), k.layers.ReLU(max_value=0.9, negative_slope=0.1, threshold=0.2),
        k.layers.Dense(9), k.layers.LeakyReLU(), k.layers.Dense(9), k.layers.ELU(alpha=0.7),
        k.layers.Dense(9), k.layers.ReLU()]),
    "prelu": ((6,), lambda k: [
        k.layers.Dense(9), k.layers.PReLU(alpha_regularizer="l2"), k.layers.Dense(7),
        k.layers.PReLU(shared_axes=[1], alpha_initializer="ones")]),
    "prelu of rows": ((4, 6), lambda k: [
        k.layers.Dense(5), k.layers.PReLU(shared_axes=1), k.layers.PReLU(shared_axes=[1, 2]),
        k.layers.Flatten()]),
    "softmax": ((6,), lambda k: [k.layers.Dense(9), k.layers.Softmax(), k.layers.Identity()]),
    "regularizers": ((6,), lambda k: [
        k.layers.Dense(9, "tanh", kernel_regularizer="l2",
                       bias_regularizer=k.regularizers.L1(0.02)),
        k.layers.Dense(7, kernel_regularizer=k.regularizers.L1L2(0.01, 0.02)),
        k.layers.Dense(5, kernel_regularizer=k.regularizers.OrthogonalRegularizer(0.1)),
        k.layers.Dense(4, kernel_regularizer=k.regularizers.OrthogonalRegularizer(
            0.1, mode="columns")),
        k.layers.Dense(4, trainable=False, kernel_regularizer="l2")]),
    "activity": ((6,), lambda k: [
        k.layers.Dense(9, "tanh", activity_regularizer=k.regularizers.L2(0.05)),
        k.layers.ActivityRegularization(l1=0.02, l2=0.01),
        k.layers.Dense(9, activity_regularizer="l1")]),
    "activity of rows": ((4, 6), lambda k: [
        k.layers.Dense(3, "tanh", activity_regularizer="l2"), k.layers.Flatten()]),
    "constraints": ((6,), lambda k: [
        k.layers.Dense(40, "tanh", kernel_constraint=k.constraints.MaxNorm(0.8)),
        k.layers.Dense(9, "tanh", kernel_constraint="unit_norm",
                       bias_constraint=k.constraints.MaxNorm(0.01)),
        k.layers.Dense(7, "tanh", kernel_constraint=k.constraints.MaxNorm(0.5, axis=1)),
        k.layers.Dense(9, kernel_constraint=k.constraints.MinMaxNorm(0.3, 0.6, rate=0.7)),
        k.layers.Dense(5, kernel_constraint=k.constraints.MaxNorm(0.9, axis=[0, 1])),
        k.layers.Dense(5, kernel_constraint="non_neg", bias_constraint="NonNeg")]),
    "shapes": ((12,), lambda k: [
        k.layers.Reshape((2, -1)), k.layers.Permute((2, 1)), k.layers.Dense(5, "tanh"),
        k.layers.Permute((2, 1)), k.layers.Flatten(), k.layers.RepeatVector(3),
        k.layers.Dense(4, "tanh"), k.layers.Reshape((-1,))]),
    "channels first": ((2, 3), lambda k: [
        k.layers.Dense(4), k.layers.Flatten(data_format="channels_first")]),
    "three axes": ((2, 3, 4), lambda k: [
        k.layers.Dense(5, "tanh"), k.layers.LayerNormalization(), k.layers.Permute((3, 1, 2)),
        k.layers.Dense(4), k.layers.Flatten()]),
}
TABLES = {
    "embedding": ((3,), lambda k: [k.layers.Embedding(7, 4), k.layers.Flatten()]),
    "wide embedding": ((2,), lambda k: [
        k.layers.Embedding(7, 40, embeddings_regularizer="l2",
                           embeddings_constraint=k.constraints.MaxNorm(0.3, axis=1)),
        k.layers.LayerNormalization(), k.layers.Flatten()]),
    "embedding, last axis": ((3,), lambda k: [
        k.layers.Embedding(7, 4), k.layers.Dense(5, "relu"), k.layers.BatchNormalization(),
        k.layers.Flatten()]),
}
CASES = {**STACKS, **TABLES}


def model_of(k, name, dtype=None, seed=9):
    shape, layers = CASES[name]
    more = {} if dtype is None else {"dtype": dtype}
    model = k.Sequential([k.layers.Input(shape, **more), *layers(k), k.layers.Dense(2)])
    rng = np.random.default_rng(seed)
    weights = []
    for w, value in zip(model.weights, model.get_weights(), strict=True):
        drawn = rng.normal(scale=0.4, size=value.shape)
        weights.append(np.abs(drawn) + 0.1 if "variance" in w.name else drawn)
    model.set_weights([w.astype("float32") for w in weights])
    return model


def data_of(name, rows=40):
    rng = np.random.default_rng(3)
    shape = CASES[name][0]
    x = rng.integers(0, 7, (rows, *shape)) if name in TABLES else rng.normal(size=(rows, *shape))
    return x.astype("float32"), rng.normal(size=(rows, 2)).astype("float32")


@pytest.mark.parametrize("name", CASES)
def test_training_follows_keras(keras, name, monkeypatch):
    """Loss of each epoch, evaluation, predictions, all variables and their names."""
    if name == "spectral norm" and keras.backend.backend() == "jax":
        pytest.skip("JAXTrainer.train_step updates the kernel from before the forward pass, which "
                    "assigned the normalized one: see test_spectral_norm_of_a_call_follows_keras")
    x, y = data_of(name, 32)  # JAX compiles for each number of rows, which is always 16 here
    # With JAX, Keras tells the penalties of layers by their id(): one whose id an older, freed
    # penalty of another layer had is dropped, and two runs differ.  Kept, none is freed.
    add_loss, kept = keras.layers.Layer.add_loss, []
    monkeypatch.setattr(keras.layers.Layer, "add_loss",
                        lambda layer, loss: (kept.append(loss), add_loss(layer, loss))[1])
    models, histories = [], []
    for k in (fm, keras):
        model = model_of(k, name)
        model.compile(k.optimizers.Adam(0.01), "mse")
        histories.append(model.fit(x, y, epochs=3, batch_size=16, shuffle=False, verbose=0,
                                   validation_data=(x[:16], y[:16])).history)
        models.append(model)
    ours, theirs = models
    for key, values in histories[1].items():
        np.testing.assert_allclose(histories[0][key], values, rtol=1e-4, atol=1e-6, err_msg=key)
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    for a, b, w in zip(ours.get_weights(), theirs.get_weights(), ours.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4, err_msg=w.path)
    np.testing.assert_allclose(ours.predict(x, verbose=0),
                               theirs.predict(x, batch_size=16, verbose=0), rtol=1e-3, atol=2e-4)
    assert [len(layer.trainable_variables) for layer in ours.layers] == [
        len(layer.trainable_variables) for layer in theirs.layers]


def test_spectral_norm_of_a_call_follows_keras(keras):
    """A forward pass in training replaces the kernel and its singular vector, with any trainer."""
    ours, theirs = (model_of(k, "spectral norm") for k in (fm, keras))
    x, y = data_of("spectral norm")
    ours.compile(fm.optimizers.SGD(0.0), "mse")
    for _ in range(3):
        ours.train_on_batch(x, y)
        theirs(x, training=True)
        for a, b, w in zip(ours.get_weights(), theirs.get_weights(), ours.weights, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=w.path)
    assert not np.allclose(ours.get_weights()[0], model_of(fm, "spectral norm").get_weights()[0])


@pytest.mark.parametrize("name", CASES)
def test_layers_by_themselves_follow_keras(keras, name):
    """Each layer called on an array, and the shape that it says it gives."""
    a, _ = data_of(name, 6)
    ours, theirs = (model_of(k, name) for k in (fm, keras))
    every = keras.Model(theirs.inputs, [layer.output for layer in theirs.layers])  # compiled once
    for mine, b in zip(ours.layers, every.predict(a, verbose=0), strict=True):
        shape = mine.compute_output_shape((None, *a.shape[1:]))
        a = mine(a)
        assert shape == (None, *a.shape[1:])
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=mine.name)


@pytest.mark.parametrize("name", CASES)
def test_configs_are_those_of_keras_and_make_equal_layers(keras, name):
    ours, theirs = (model_of(k, name) for k in (fm, keras))
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        config, wanted = mine.get_config(), other.get_config()
        missing = set(config) - set(wanted) - {"input_shape"}
        assert not missing, missing
        again = type(mine).from_config(copy.deepcopy(config))
        assert again.get_config() == config
        for key in set(config) & set(wanted) - {"dtype", "layer", "axis", "name"}:
            value = wanted[key]
            if isinstance(value, dict) and "class_name" in value:
                assert config[key]["class_name"] == value["class_name"]
            elif not key.endswith("initializer") and key != "activation":
                assert config[key] == value or list(config[key]) == list(value), key


# -- without Keras -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_save_copy_pickle(name, tmp_path):
    """A model that comes back computes, and goes on training, with the same bits."""
    x, y = data_of(name)
    model = model_of(fm, name)
    model.compile(fm.optimizers.Adam(0.01), "mse")
    model.fit(x, y, epochs=1, batch_size=16, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = fm.models.load_model(tmp_path / "model.keras")
    assert [w.path for w in loaded.weights] == [w.path for w in model.weights]
    for other in (loaded, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(x), model.predict(x))
    for each in (model, loaded):
        each.fit(x, y, epochs=1, batch_size=16, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    again = fm.Sequential.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_functional_models_take_them():
    """Layers of all kinds in a graph, one of them shared."""
    a, b = fm.Input((3,)), fm.Input((4, 2))
    shared = L.LayerNormalization()
    h = L.Flatten()(shared(L.Embedding(5, 6)(a)))
    g = L.Flatten()(L.GaussianNoise(0.1)(shared(L.Dense(6, activity_regularizer="l2")(b))))
    y = L.Dense(2)(L.BatchNormalization()(L.Concatenate()([h, g])))
    model = fm.Model([a, b], y)
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x = [rng.integers(0, 5, (60, 3)), rng.normal(size=(60, 4, 2))]
    t = rng.normal(size=(60, 2))
    history = model.fit(x, t, epochs=20, batch_size=10, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]


def test_residual_blocks_of_several_axes():
    """The same buffer in both its forms: elementwise layers work on either."""
    x = fm.Input((3, 4))
    h = L.Dense(4, "tanh")(x)
    y = L.Dense(2)(L.Flatten()(L.LayerNormalization()(L.Add()([x, h]))))
    model = fm.Model(x, y)
    rng = np.random.default_rng(0)
    data = rng.normal(size=(5, 3, 4)).astype("float32")
    kernel, bias, gamma, beta, last, shift = model.get_weights()
    z = data + np.tanh(data @ kernel + bias)
    mean, var = z.mean(axis=-1, keepdims=True), z.var(axis=-1, keepdims=True)
    expected = ((z - mean) / np.sqrt(var + 1e-3) * gamma + beta).reshape(5, 12) @ last + shift
    np.testing.assert_allclose(model.predict(data), expected, rtol=1e-4, atol=1e-5)


def test_training_by_the_batch_ends_where_the_data_is():
    """Standardized by moving statistics, the training data has mean 0 and variance 1."""
    rng = np.random.default_rng(1)
    x = (3.0 + 2.0 * rng.normal(size=(256, 5))).astype("float32")
    layer = L.BatchNormalization(momentum=0.8)
    model = fm.Sequential([fm.Input((5,)), layer])
    model.compile(fm.optimizers.SGD(0.0), "mse")
    model.fit(x, np.zeros_like(x), epochs=40, batch_size=64, verbose=0)
    np.testing.assert_allclose(layer.moving_mean.numpy(), x.mean(axis=0), atol=0.2)
    out = model.predict(x)
    np.testing.assert_allclose(out.mean(axis=0), 0.0, atol=0.1)
    np.testing.assert_allclose(out.std(axis=0), 1.0, atol=0.1)


def test_a_frozen_batch_normalization_keeps_its_statistics():
    layer = L.BatchNormalization(trainable=False)
    model = fm.Sequential([fm.Input((5,)), L.Dense(3), layer])
    model.compile("sgd", "mse")
    before = layer.get_weights()
    rng = np.random.default_rng(1)
    model.fit(rng.normal(size=(32, 5)), rng.normal(size=(32, 3)), verbose=0)
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not layer.differs_in_training
    layer.trainable = True
    model.compile("sgd", "mse")
    model.fit(rng.normal(size=(32, 5)), rng.normal(size=(32, 3)), verbose=0)
    assert (layer.moving_mean.numpy() != before[2]).any()


@pytest.mark.parametrize("make", [lambda: L.GaussianNoise(0.5), lambda: L.GaussianDropout(0.4),
                                  lambda: L.AlphaDropout(0.3), lambda: L.Dropout(0.3)])
def test_noise_is_for_training_alone(make):
    """Evaluation is exact; training draws anew at each step, the same with the same seed."""
    x = np.ones((64, 4), "float32")
    results = []
    for _ in range(2):
        fm.utils.set_random_seed(3)
        model = fm.Sequential([fm.Input((4,)), make(), L.Dense(1, kernel_initializer="ones")])
        model.compile(fm.optimizers.SGD(0.0), "mse")
        losses = [model.train_on_batch(x, np.full((64, 1), 4.0)) for _ in range(3)]
        assert model.evaluate(x, np.full((64, 1), 4.0), verbose=0) == 0.0
        assert len(set(losses)) == 3
        assert min(losses) > 0.01
        results.append(losses)
    assert results[0] == results[1]
    assert make().differs_in_training


def test_maxout_is_the_largest_of_its_pieces():
    x = np.random.default_rng(0).normal(size=(6, 12)).astype("float32")
    np.testing.assert_array_equal(L.Maxout(4)(x), x.reshape(6, 4, 3).max(axis=2))
    rows = x.reshape(3, 2, 12)
    np.testing.assert_array_equal(L.Maxout(2)(rows), rows.reshape(3, 2, 2, 6).max(axis=3))
    with pytest.raises(ValueError, match="multiple of 5 columns"):
        fm.Sequential([fm.Input((12,)), L.Maxout(5)])


def test_embedding_with_weights_and_numbers_out_of_range():
    table = np.arange(12.0).reshape(4, 3)
    for weights in (table, [table]):
        layer = L.Embedding(4, 3, weights=weights)
        np.testing.assert_array_equal(layer(np.array([[3, 0]])), [[table[3], table[0]]])
    out = layer(np.array([[1, 4], [-1, 2]]))
    np.testing.assert_array_equal(np.isnan(out[..., 0]), [[False, True], [True, False]])
    model = fm.Sequential([fm.Input((2,), dtype="int32"), layer, L.Flatten(), L.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.warns(RuntimeWarning, match=layer.name):
        model.fit(np.array([[1, 4], [0, 2]]), np.zeros(2), verbose=0)


def test_penalties_are_seen_in_loss_and_validation_but_not_of_frozen_layers():
    x, y = np.zeros((8, 3), "float32"), np.zeros((8, 2), "float32")
    layer = L.Dense(2, kernel_initializer="ones", kernel_regularizer=fm.regularizers.L2(0.5))
    model = fm.Sequential([fm.Input((3,)), layer])
    model.compile(fm.optimizers.SGD(0.0), "mse", metrics=["mae"])
    logs = model.fit(x, y, batch_size=3, validation_data=(x, y), verbose=0).history
    assert logs["loss"] == logs["val_loss"] == [3.0]
    assert logs["mae"] == [0.0]
    layer.trainable = False
    model.compile(fm.optimizers.SGD(0.0), "mse")
    assert model.evaluate(x, y, verbose=0) == 0.0


ERRORS = {
    "axis": (lambda: fm.Sequential([fm.Input((3, 4)), L.BatchNormalization(axis=1)]),
             "must be the last axis"),
    "renorm": (lambda: L.BatchNormalization(renorm=True), "`renorm`.*not supported"),
    "momentum": (lambda: L.BatchNormalization(momentum=1.5), "`momentum`.*Received: 1.5"),
    "epsilon": (lambda: L.LayerNormalization(epsilon=-1), "`epsilon`"),
    "rms_scaling": (lambda: L.LayerNormalization(rms_scaling=True), "RMSNormalization"),
    "rate": (lambda: L.GaussianDropout(1.0), "`rate`.*Received: 1.0"),
    "stddev": (lambda: L.GaussianNoise(2), "`stddev`.*Received: 2.0"),
    "noise_shape": (lambda: L.AlphaDropout(0.5, (1, 3)), "`noise_shape`"),
    "seed": (lambda: L.GaussianNoise(0.5, seed="one"), "`seed`.*'one'"),
    "slope": (lambda: L.LeakyReLU(-0.5), "`negative_slope`"),
    "max_value": (lambda: L.ReLU(max_value=-1), "`max_value`"),
    "softmax": (lambda: fm.Sequential([fm.Input((3, 4)), L.Softmax(axis=1)]), "last axis"),
    "shared_axes": (lambda: fm.Sequential([fm.Input((3, 4)), L.PReLU()]), "`shared_axes`"),
    "no axis": (lambda: fm.Sequential([fm.Input((3,)), L.PReLU(shared_axes=[2])]), "from 1 to 1"),
    "input_dim": (lambda: L.Embedding(0, 3), "`input_dim`.*Received: 0"),
    "too many": (lambda: L.Embedding(2**25, 1).build(), "float64"),
    "weights": (lambda: L.Embedding(2, 3, weights=np.zeros((3, 2))), r"\(2, 3\)"),
    "target_shape": (lambda: L.Reshape((-1, -1)), "`target_shape`"),
    "reshape": (lambda: fm.Sequential([fm.Input((5,)), L.Reshape((2, 3))]), r"\(2, 3\)"),
    "dims": (lambda: L.Permute((1, 3)), "`dims`"),
    "permute": (lambda: fm.Sequential([fm.Input((5,)), L.Permute((2, 1))]), "2 axes"),
    "repeat": (lambda: fm.Sequential([fm.Input((2, 5)), L.RepeatVector(2)]), r"\(None, columns\)"),
    "n": (lambda: L.RepeatVector(0), "`n`"),
    "data_format": (lambda: L.Flatten("first"), "`data_format`"),
    "no kernel": (lambda: fm.Sequential([fm.Input((3,)),
                                         L.SpectralNormalization(L.LayerNormalization())]),
                  "`kernel`"),
    "iterations": (lambda: L.SpectralNormalization(L.Dense(2), 0), "`power_iterations`"),
    "l1": (lambda: fm.regularizers.L1(-1.0), "`l1`.*Received: -1.0"),
    "mode": (lambda: fm.regularizers.OrthogonalRegularizer(mode="both"), "'rows', 'columns'"),
    "regularizer": (lambda: L.Dense(2, kernel_regularizer="l3"), "nearest.*'l1'|nearest.*'l2'"),
    "constraint": (lambda: L.Dense(2, kernel_constraint="max"), "nearest.*max_norm"),
    "norm axis": (lambda: fm.constraints.MaxNorm(axis=2), "`axis`"),
    "norms": (lambda: fm.constraints.MinMaxNorm(2.0, 1.0), "`max_value`"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_bad_arguments(name):
    make, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [
    lambda: L.Dense(2, kernel_regularizer=3), lambda: L.Wrapper("dense"),
    lambda: L.Dense(2, kernel_constraint=lambda w: w), lambda: L.RepeatVector(1.5)])
def test_bad_types(make):
    with pytest.raises(TypeError, match="Received"):
        make()


def test_an_activity_regularizer_must_be_of_single_elements():
    layer = L.Dense(2, activity_regularizer=fm.regularizers.OrthogonalRegularizer())
    model = fm.Sequential([fm.Input((3,)), layer])
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="OrthogonalRegularizer"):
        model.fit(np.zeros((4, 3)), np.zeros((4, 2)), verbose=0)


REGULARIZERS = {
    "l1": lambda m: m.L1(0.3), "l2": lambda m: m.L2(0.3), "l1_l2": lambda m: m.L1L2(0.2, 0.4),
    "rows": lambda m: m.OrthogonalRegularizer(0.3),
    "columns": lambda m: m.OrthogonalRegularizer(0.3, "columns"),
}
CONSTRAINTS = {
    "max_norm": lambda m: m.MaxNorm(0.9), "norms of rows": lambda m: m.MaxNorm(0.9, axis=1),
    "whole": lambda m: m.MaxNorm(0.9, axis=[0, 1]), "non_neg": lambda m: m.NonNeg(),
    "unit_norm": lambda m: m.UnitNorm(), "min_max": lambda m: m.MinMaxNorm(0.8, 1.2, 0.5),
}


@pytest.mark.parametrize("name", [*REGULARIZERS, *CONSTRAINTS])
def test_numbers_and_configs_of_regularizers_and_constraints(keras, name):
    for kind, table in (("regularizers", REGULARIZERS), ("constraints", CONSTRAINTS)):
        if name not in table:
            continue
        ours, theirs = (table[name](getattr(k, kind)) for k in (fm, keras))
        w = np.random.default_rng(2).normal(size=(5, 3)).astype("float32")
        expected = keras.ops.convert_to_numpy(theirs(keras.ops.convert_to_tensor(w)))
        np.testing.assert_allclose(ours(w), expected, rtol=1e-5)
        for key, value in theirs.get_config().items():
            found = ours.get_config()[key]
            assert found == value or abs(found - value) < 1e-7
        module = getattr(fm, kind)
        again = module.deserialize(module.serialize(ours))
        np.testing.assert_array_equal(again(w), ours(w))
        assert module.get(module.serialize(ours)).get_config() == ours.get_config()


def test_signatures_are_those_of_keras(keras):
    """Names, order and defaults of the arguments; what is only here is named."""
    import inspect

    ours_alone = {"rms_scaling"}
    left_out = {"lora_rank", "lora_alpha", "quantization_config"}
    for name in ("Dense", "BatchNormalization", "LayerNormalization", "RMSNormalization",
                 "UnitNormalization", "SpectralNormalization", "Dropout", "AlphaDropout",
                 "GaussianDropout", "GaussianNoise", "ActivityRegularization", "ReLU", "LeakyReLU",
                 "PReLU", "ELU", "Softmax", "Embedding", "Flatten", "Reshape", "Permute",
                 "RepeatVector", "Identity"):
        mine, theirs = (
            [(p.name, p.default) for p in inspect.signature(getattr(k.layers, name)).parameters
             .values() if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in left_out | ours_alone]
            for k in (fm, keras))
        assert mine == theirs, name
