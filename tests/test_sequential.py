"""Sequential: building, weights, prediction, plans, sharing of layers, configs and copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers
from fusedmlp.spec import ACTIVATIONS


def network(*widths, activation="relu", last="softmax", dtype=None, **arguments):
    stack = [layers.Input((widths[0],), dtype=dtype)]
    stack += [layers.Dense(w, activation=activation) for w in widths[1:-1]]
    return fm.Sequential([*stack, layers.Dense(widths[-1], activation=last)], **arguments)


def inputs(rows, columns, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(dtype)


# -- building --------------------------------------------------------------------------------------


def test_built_as_layers_are_added():
    model = fm.Sequential(name="net")
    with pytest.raises(AttributeError, match="no input shape yet"):
        _ = model.input_shape
    model.add(layers.Input((4,)))
    assert not model.built
    model.add(layers.Dense(3))
    assert model.built
    assert (model.input_shape, model.output_shape) == ((None, 4), (None, 3))
    assert len(model.weights) == 2
    model.add(layers.Dense(2, use_bias=False))
    assert model.output_shape == (None, 2)
    assert model.count_params() == 15 + 6
    assert [layer.name for layer in model.layers] == [model.get_layer(index=i).name for i in (0, 1)]
    assert model.pop() is not None
    assert model.output_shape == (None, 3)
    assert model.count_params() == 15


@pytest.mark.parametrize("first", [
    lambda: layers.Dense(3, input_shape=(4,)), lambda: layers.Dense(3, input_dim=4)])
def test_input_shape_of_the_first_layer(first):
    model = fm.Sequential([first(), layers.Dense(2)])
    assert model.input_shape == (None, 4)
    assert len(model.layers) == 2
    assert len(model.weights) == 4


def test_built_by_the_first_data(backend):
    for use in ("fit", "predict", "evaluate", "train_on_batch", "call"):
        model = fm.Sequential([layers.Dense(3, activation="relu"), layers.Dense(1)])
        model.compile("sgd", "mse")
        assert not model.built
        assert model.weights == []
        x, y = inputs(6, 4), np.zeros(6)
        if use in ("predict", "call"):
            (model.predict if use == "predict" else model)(x)
        else:
            getattr(model, use)(x, y)
        assert model.input_shape == (None, 4)
        assert len(model.weights) == 4


def test_bad_data_does_not_build():
    model = fm.Sequential([layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=r"classes from 0 to 2.*Received: 3 in row 1"):
        model.fit(inputs(2, 4), [0, 3])
    assert not model.built
    assert model.weights == []


def test_build():
    model = fm.Sequential([layers.Dense(3)])
    with pytest.raises(ValueError, match="input shape"):
        model.build((4,))
    with pytest.raises(AttributeError, match="no input shape yet"):
        model.build()
    model.build((None, 4))
    model.build((32, 4))
    with pytest.raises(ValueError, match=r"input shape \(None, 4\).*Received"):
        model.build((None, 5))
    with pytest.raises(ValueError, match="before it has layers"):
        fm.Sequential().build((None, 4))


def test_add_refuses_and_stays_as_it_was():
    model = network(4, 3, 2)
    before = model.get_weights()
    shared = model.layers[0]
    other = layers.Dense(2, name=shared.name)
    for layer, message in [
        ("relu", "must be a layer"), (layers.Input((4,)), "must be the first layer"),
        (shared, "once only"), (other, "names of their own"),
        (layers.Dense(2, dtype="float64"), "one dtype"),
        (layers.Dense, "must be a layer"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            model.add(layer)
    odd = fm.Sequential([layers.Input((3,))])
    with pytest.raises(ValueError, match="multiple of 2"):
        odd.add(layers.Activation("glu"))
    assert odd.layers == []
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.predict(inputs(2, 4)).shape == (2, 2)


def test_pop_of_nothing():
    with pytest.raises(ValueError, match="no layer to take off"):
        fm.Sequential([layers.Input((4,))]).pop()


def test_get_layer():
    model = fm.Sequential([layers.Input((4,)), layers.Dense(3, name="a"), layers.Dense(2)])
    assert model.get_layer("a") is model.layers[0]
    assert model.get_layer(index=-1) is model.layers[1]
    for arguments in ({}, {"name": "a", "index": 0}, {"name": "b"}, {"index": 2}):
        with pytest.raises(ValueError, match="Received"):
            model.get_layer(**arguments)


# -- dtypes ----------------------------------------------------------------------------------------


def test_float64_by_input_by_layer_and_by_floatx(backend):
    x = inputs(5, 4, "float64")
    by_input = network(4, 3, 2, dtype="float64")
    by_layer = fm.Sequential([layers.Input((4,)), layers.Dense(3, dtype="float64"),
                              layers.Dense(2)])
    fm.config.set_floatx("float64")
    try:
        by_floatx = network(4, 3, 2)
    finally:
        fm.config.set_floatx("float32")
    for model in (by_input, by_layer, by_floatx):
        assert model.dtype == "float64"
        assert {v.dtype for v in model.weights} == {"float64"}
        assert {layer.dtype for layer in model.layers} == {"float64"}
        model.compile("adam", "mse")
        model.fit(x, np.zeros((5, 2)), verbose=0)
        assert model.predict(x).dtype == np.float64


def test_mixed_dtypes_are_refused():
    with pytest.raises(ValueError, match=r"one dtype, here 'float32'.*'float64'"):
        fm.Sequential([layers.Input((4,), dtype="float32"), layers.Dense(3, dtype="float64")])
    model = fm.Sequential([layers.Dense(3, dtype="float32"), layers.Dense(3, dtype="float64")])
    with pytest.raises(ValueError, match="one dtype"):
        model.build((None, 2))
    assert model.weights == []


# -- prediction ------------------------------------------------------------------------------------


def test_predict_is_what_the_layers_say(backend):
    model = network(4, 5, 3, activation="tanh")
    x = inputs(7, 4)
    w1, b1, w2, b2 = model.get_weights()
    z = np.tanh(x.astype("float64") @ w1 + b1) @ w2 + b2
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    for result in (model.predict(x), model(x), model.predict_on_batch(x),
                   model.predict(x, batch_size=2, verbose=0), model(x, training=True)):
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_a_row_is_predicted_alike_in_any_company(backend):
    if backend.name == "numpy":
        pytest.skip("the product of NumPy's BLAS depends on the number of rows")
    model = network(17, 33, 21, 5)
    x = inputs(1100, 17)
    whole = model.predict(x)
    for rows in (1, 2, 7, 31, 32, 500):
        parts = [model.predict(x[i:i + rows]) for i in range(0, 200, rows)]
        np.testing.assert_array_equal(np.concatenate(parts)[:200], whole[:200])
    np.testing.assert_array_equal(model.predictor(3)(x[:3]), whole[:3])


@pytest.mark.parametrize("given", [
    lambda x: x.tolist(), lambda x: x.astype("float64"), lambda x: np.asfortranarray(x),
    lambda x: np.repeat(x, 2, axis=0)[::2], lambda x: x[:, ::-1][:, ::-1],
    lambda x: x.astype(">f4"),
    lambda x: np.lib.stride_tricks.as_strided(
        np.frombuffer(b"\0" + x.tobytes(), "u1")[1:].view("f4"), x.shape, x.strides),
])
def test_any_layout_and_type_gives_the_same(backend, given):
    model = network(4, 5, 3)
    x = inputs(6, 4)
    expected = model.predict(x)
    argument = given(x)
    np.testing.assert_array_equal(model.predict(argument), expected)
    np.testing.assert_array_equal(model.predict(argument), expected)


def test_read_only_and_memory_mapped_input(backend, tmp_path):
    model = network(4, 5, 3)
    x = inputs(6, 4)
    expected = model.predict(x)
    mapped = np.memmap(tmp_path / "x", "float32", "w+", shape=x.shape)
    mapped[...] = x
    read_only = np.memmap(tmp_path / "x", "float32", "r", shape=x.shape)
    x.flags.writeable = False
    for argument in (x, mapped, read_only):
        np.testing.assert_array_equal(model.predict(argument), expected)


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "int64", "bool"])
def test_narrow_types_are_widened(backend, dtype):
    model = network(4, 5, 3)
    x = (inputs(6, 4) > 0).astype(dtype)
    np.testing.assert_array_equal(model.predict(x), model.predict(x.astype("float32")))


def test_data_frames(backend):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    model = network(4, 5, 1, last="sigmoid")
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    x = inputs(20, 4)
    frame = pandas.DataFrame(x)
    labels = pandas.Series((x[:, 0] > 0).astype(int))
    model.fit(frame, labels, verbose=0, validation_split=0.2)
    np.testing.assert_array_equal(model.predict(frame), model.predict(x))


@pytest.mark.parametrize(("x", "message"), [
    (np.ones(4), r"shape \(rows, 4\).*Received: shape \(4,\).*reshape\(1, -1\)"),
    (np.ones((2, 5)), r"shape \(rows, 4\).*Received: shape \(2, 5\)"),
    (np.ones((2, 2, 2)), r"Received: shape \(2, 2, 2\)"),
    (np.ones((0, 4)), r"at least one row.*Received: shape \(0, 4\)"),
    (np.float32(3), "Received"),
    ([["a"] * 4], "real numbers"),
    (np.ones((2, 4), complex), "real numbers"),
    (None, "Received"),
    ([[1, 2], [3]], "Received"),
    ({"x": 1}, "Received"),
])
def test_predict_refuses(x, message):
    model = network(4, 3, 2)
    model.predict(np.ones((1, 4), "float32"))  # so that the fast path is there
    for function in (model.predict, model, model.predictor(2)):
        with pytest.raises((ValueError, TypeError), match=f"`x`.*{message}"):
            function(x)


def test_one_column_may_come_without_its_axis(backend):
    model = network(1, 3, 1, last=None)
    x = inputs(5, 1)
    np.testing.assert_array_equal(model.predict(x[:, 0]), model.predict(x))
    np.testing.assert_array_equal(model.predict(x[:, :, None]), model.predict(x))


def test_predict_in_batches_with_callbacks(backend):
    class Seen(fm.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.shapes = []

        def on_predict_batch_end(self, batch, logs=None):
            self.shapes.append((batch, logs["outputs"].shape))
            if batch == stop_at:
                self.model.stop_predicting = True

    model = network(4, 3, 2)
    x = inputs(10, 4)
    seen, stop_at = Seen(), -1
    np.testing.assert_array_equal(model.predict(x, batch_size=4, callbacks=[seen]),
                                  model.predict(x))
    assert seen.shapes == [(0, (4, 2)), (1, (4, 2)), (2, (2, 2))]
    assert model.predict(x, batch_size=4, steps=2).shape == (8, 2)
    stop_at = 1
    assert model.predict(x, batch_size=4, callbacks=Seen()).shape == (8, 2)


@pytest.mark.parametrize("arguments", [
    {"batch_size": 0}, {"batch_size": 2.5}, {"steps": 0}, {"verbose": 3}, {"verbose": "loud"}])
def test_predict_refuses_arguments(arguments):
    model = network(4, 3, 2)
    with pytest.raises((ValueError, TypeError), match="Received"):
        model.predict(inputs(3, 4), **arguments)


def test_training_of_a_call_with_dropout():
    model = fm.Sequential([layers.Input((4,)), layers.Dropout(0.5, name="drop"), layers.Dense(2)])
    found = [model(inputs(20, 4), training=True) for _ in range(2)]
    assert found[0].shape == (20, 2)
    assert (found[0] != found[1]).any()
    np.testing.assert_array_equal(model(inputs(2, 4), training=False), model(inputs(2, 4)))


def test_dropout_does_nothing_in_prediction(backend):
    plain = network(4, 5, 2)
    dropped = fm.Sequential([layers.Input((4,)), layers.Dropout(0.5), plain.layers[0],
                             layers.Dropout(0.9), plain.layers[1]])
    expected = plain.predict(inputs(6, 4))
    np.testing.assert_array_equal(dropped.predict(inputs(6, 4)), expected)


# -- predictor -------------------------------------------------------------------------------------


def test_predictor_uses_its_own_buffer(backend):
    model = network(4, 5, 3)
    x = inputs(8, 4)
    p = model.predictor(batch=2)
    first = p(x[:2])
    np.testing.assert_allclose(first, model.predict(x[:2]), rtol=1e-6)
    second = p(x[2:4])
    assert np.shares_memory(first, second)
    np.testing.assert_array_equal(first, second)
    assert p(x[:1]).shape == (1, 3)
    assert p(x[:2].tolist()).shape == (2, 3)
    out = np.empty((2, 3), "float32")
    assert p(x[:2], out=out) is out
    assert not np.shares_memory(p(x[:2]), model.predictor(2)(x[:2]))


def test_predictor_refuses():
    model = network(4, 5, 3)
    p = model.predictor(2)
    with pytest.raises(ValueError, match=r"at most 2 rows.*Received"):
        p(inputs(3, 4))
    for out in (np.empty((2, 3)), np.empty((1, 3), "float32"), [[0.0] * 3] * 2):
        with pytest.raises((ValueError, TypeError), match=r"`out`.*Received"):
            p(inputs(2, 4), out=out)
    with pytest.raises(ValueError, match="`batch`"):
        model.predictor(0)
    with pytest.raises(ValueError, match="built"):
        fm.Sequential([layers.Dense(2)]).predictor()


def test_predictor_sees_weights_change_and_move(backend):
    model = network(4, 5, 3)
    x = inputs(1, 4)
    p = model.predictor()
    p(x)
    model.set_weights([w * 0.5 for w in model.get_weights()])
    np.testing.assert_allclose(p(x), model.predict(x), rtol=1e-6)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(inputs(40, 4), np.arange(40) % 3, verbose=0)
    np.testing.assert_allclose(p(x), model.predict(x), rtol=1e-6)
    fm.Sequential([layers.Input((4,)), model.layers[0]]).predict(x)  # takes the variables away
    model.layers[0].kernel.assign(np.zeros((4, 5)))
    np.testing.assert_allclose(p(x), model.predict(x), rtol=1e-6)


def test_predictions_follow_the_backend():
    from fusedmlp import backend as backends

    before = backends.current()
    model = network(4, 5, 3)
    x = inputs(3, 4)
    p = model.predictor(3)
    try:
        for name in backends.names:
            if name in backends.rejected():
                continue
            backends.choose(name)
            result = model.predict(x)
            np.testing.assert_array_equal(p(x), result)
            assert type(model._predicting.executor) is backends.kernels().executor.Executor
            assert type(p._forward.__self__) is backends.kernels().executor.Executor
    finally:
        backends.choose(before)


# -- weights ---------------------------------------------------------------------------------------


def test_weights_are_in_order_and_in_one_arena(backend):
    model = network(4, 5, 3)
    weights = model.get_weights()
    assert [w.shape for w in weights] == [(4, 5), (5,), (5, 3), (3,)]
    assert [v.path.split("/")[1] for v in model.weights] == ["kernel", "bias"] * 2
    model.predict(inputs(1, 4))
    assert all(v.arena is model.arena for v in model.weights)
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.weights[0].value[...] = 0
    model.layers[1].bias.assign([1, 0, 0])
    model.layers[1].kernel.assign(np.zeros((5, 3)))
    np.testing.assert_allclose(model.predict(inputs(1, 4))[0], [0.5761, 0.2119, 0.2119], atol=1e-4)


def test_the_same_seed_makes_the_same_network():
    def build():
        fm.utils.set_random_seed(3)
        return network(4, 5, 3)

    for a, b in zip(build().get_weights(), build().get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_set_weights_refuses():
    model = network(4, 5, 3)
    before = model.get_weights()
    wrong = [*before[:3], np.zeros(4)]
    with pytest.raises(ValueError, match=r"\(3,\).*Received.*\(4,\)"):
        model.set_weights(wrong)
    with pytest.raises(ValueError, match="must hold 4 arrays"):
        model.set_weights(before[:2])
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# -- gradients -------------------------------------------------------------------------------------

_SMOOTH = [row.name for row in ACTIVATIONS.values() if row.kind != "slope" and not (
    row.kind == "elementwise" and row.derivative == "0")]


@pytest.mark.parametrize("name", _SMOOTH)
def test_a_step_follows_the_gradient(backend, name):
    """One step of SGD with rate 1 moves each weight by minus the gradient of the loss."""
    fm.utils.set_random_seed(2)
    model = fm.Sequential([layers.Input((3,), dtype="float64"), layers.Dense(6, name),
                           layers.Dense(4), layers.Activation(name), layers.Dense(2)])
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    model.set_weights([rng.normal(scale=0.3, size=w.shape) for w in model.get_weights()])
    model.compile(fm.optimizers.SGD(1.0), "mse")
    before = model.get_weights()
    model.train_on_batch(x, y)
    gradients = [a - b for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(np.abs(g).max() > 1e-6 for g in gradients)
    h = 1e-5
    for variable, start, gradient in zip(model.weights, before, gradients, strict=True):
        for index in list(np.ndindex(variable.shape))[::3]:
            model.set_weights(before)
            losses = []
            for sign in (1, -1):
                value = start.copy()
                value[index] += sign * h
                variable.assign(value)
                losses.append(model.test_on_batch(x, y))
            assert (losses[0] - losses[1]) / (2 * h) == pytest.approx(
                gradient[index], rel=1e-5, abs=1e-8)


# -- plans and summaries ---------------------------------------------------------------------------


def test_plan_predicts_before_and_trains_after_compile():
    model = network(64, 100, 10)
    assert [op.op for op in model.plan().ops] == ["gather", "dense", "dense", "activation"]
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    plan = model.plan(batch_size=16)
    assert plan.batch_size == 16
    assert plan.totals == ("loss", "accuracy")
    assert plan.ops[-1].op == "update"
    assert plan.ops[-1].attributes["optimizer"] == "adam"
    assert "softmax_cross_entropy" in str(plan)
    with pytest.raises(ValueError, match="`batch_size`"):
        model.plan(0)
    with pytest.raises(ValueError, match="built"):
        fm.Sequential([layers.Dense(2)]).plan()


def test_summary_counts():
    model = fm.Sequential([layers.Input((64,)), layers.Dense(100, "relu", name="hidden"),
                           layers.Dropout(0.5, name="drop"), layers.Dense(10, name="out")],
                          name="net")
    lines = []
    model.summary(print_fn=lines.append)
    table = {line.split()[0]: line.split() for line in lines}
    assert lines[0] == "Model: net (float32)"
    assert table["hidden"][-3:] == ["6,500", "12,800", f"{4 * (64 + 6500 + 100):,}"]
    assert table["drop"][-3:] == ["0", "0", "0"]
    assert table["out"][2:4] == ["(None,", "10)"]
    assert table["Total"][1] == "7,510"
    assert lines[-1] == "Trainable: 7,510 parameters (29.3 KiB), other: 0"
    model.layers[0].trainable = False
    model.compile("adam", "mse")
    model.fit(inputs(4, 64), np.zeros((4, 10)), verbose=0)
    lines.clear()
    model.summary(print_fn=lines.append)
    assert lines[-2] == "Trainable: 1,010 parameters (3.9 KiB), other: 6,500"
    assert "1 updates made" in lines[-1]


def test_summary_prints(capsys):
    network(4, 3, 2).summary()
    assert "Layer (type)" in capsys.readouterr().out
    fm.Sequential([layers.Dense(2, name="wide")]).summary()
    assert "wide (Dense)  ?" in capsys.readouterr().out


# -- layers in several models ----------------------------------------------------------------------


def test_models_that_share_layers_stay_right(backend):
    base = network(4, 5, 3)
    x, y = inputs(64, 4), np.arange(64) % 3
    features = fm.Sequential([layers.Input((4,)), base.layers[0]])
    base.compile(fm.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    for _ in range(3):
        base.fit(x, y, verbose=0)
        hidden = features.predict(x)
        w, b = base.layers[0].get_weights()
        np.testing.assert_allclose(hidden, np.maximum(x @ w + b, 0), rtol=1e-4, atol=1e-5)
    assert base.optimizer.iterations == 6


def test_sharing_does_not_change_training(backend):
    x, y = inputs(64, 4), np.arange(64) % 3
    results = []
    for share in (False, True):
        fm.utils.set_random_seed(5)
        model = network(4, 5, 3)
        model.compile(fm.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
        features = fm.Sequential([layers.Input((4,)), model.layers[0]])

        class Look(fm.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None, features=features, share=share):
                if share:
                    features.predict(x)

            def on_train_batch_end(self, batch, logs=None, features=features, share=share):
                if share and batch == 1:
                    features.predict(x)

        history = model.fit(x, y, epochs=3, batch_size=16, callbacks=[Look()], verbose=0)
        results.append((history.history, model.get_weights()))
    assert results[0][0] == results[1][0]
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_nested_models(backend):
    inner = network(4, 5, 3)
    outer = fm.Sequential([inner, layers.Dense(2)])
    assert outer.input_shape == (None, 4)
    assert outer.count_params() == inner.count_params() + 8
    x, y = inputs(32, 4), np.zeros((32, 2))
    before = inner.predict(x)
    outer.compile("sgd", "mse")
    outer.fit(x, y, verbose=0)
    assert not np.array_equal(inner.predict(x), before)
    w, b = outer.layers[1].get_weights()
    np.testing.assert_allclose(outer.predict(x), inner.predict(x) @ w + b, rtol=1e-4, atol=1e-5)
    again = fm.Sequential.from_config(outer.get_config())
    again.set_weights(outer.get_weights())
    np.testing.assert_array_equal(again.predict(x), outer.predict(x))
    with pytest.raises(ValueError, match="expects the shape"):
        fm.Sequential([layers.Input((3,)), inner])


# -- configs and copies ----------------------------------------------------------------------------


def test_config_makes_an_equal_network(backend):
    model = fm.Sequential([layers.Input((4,), dtype="float64"), layers.Dense(6, "glu"),
                           layers.Dropout(0.2), layers.Dense(2, trainable=False)], name="net")
    config = model.get_config()
    other = fm.Sequential.from_config(config)
    assert other.get_config() == config
    assert other.name == "net"
    other.set_weights(model.get_weights())
    x = inputs(3, 4, "float64")
    np.testing.assert_array_equal(model.predict(x), other.predict(x))


def test_copies_and_pickles_go_on_alike(backend):
    x, y = inputs(48, 4), np.arange(48) % 3
    model = network(4, 5, 3)
    model.compile(fm.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=2, verbose=0)
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    history = model.fit(x, y, epochs=2, verbose=0).history
    for other in others:
        assert other.fit(x, y, epochs=2, verbose=0).history == history
        for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    unbuilt = pickle.loads(pickle.dumps(fm.Sequential([layers.Dense(2)])))
    assert unbuilt.predict(x).shape == (48, 2)
