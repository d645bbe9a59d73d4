"""What scripts written for Keras do besides building and fitting: held against Keras where it is.

Each was found by running such a script with both.
"""

from __future__ import annotations

import keras_peer
import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers, numeric, ops

RNG = np.random.default_rng(5)
X = RNG.normal(size=(40, 4)).astype("float32")
Y = X[:, :1] - 0.5 * X[:, 1:2]
W = RNG.normal(size=(4, 1)).astype("float32") * 0.3


def network(package=fm, optimizer="sgd", units=1, loss="mse", **compiled):
    """One Dense layer with known weights."""
    model = package.Sequential([package.Input((4,)), package.layers.Dense(units, name="out")])
    model.set_weights([np.tile(W, (1, units)), np.zeros(units, "float32")])
    model.compile(package.optimizers.get(optimizer), loss, **compiled)
    return model


# -- keras.ops -------------------------------------------------------------------------------------

A = np.array([[0.5, -1.5, 2.0], [1.0, 0.25, -0.5]], "float32")
B = np.array([[2.0, 0.5, 1.0], [-1.0, 3.0, 0.5]], "float32")
CALLS = {  # where one array, or two, is not what a function takes
    "append": (A, B), "arange": (3,), "array": (A,), "average": (A, 0),
    "bincount": (np.array([0, 1, 1]),),
    "broadcast_to": (A, (2, 2, 3)), "cast": (A, "int32"), "clip": (A, -1.0, 1.0),
    "concatenate": ([A, B], 1), "cond": (True, lambda: A, lambda: B), "convert_to_numpy": (A,),
    "diag": (A[0],), "digitize": (A, [0.0, 1.0]), "einsum": ("ij,ij->i", A, B), "empty": None,
    "empty_like": None, "expand_dims": (A, 1), "eye": (3,), "full": ((2,), 3.0),
    "full_like": (A, 2.0), "gcd": ([4, 6], [6, 9]), "histogram": None, "hstack": ([A, B],),
    "identity": (3,), "in_top_k": (np.array([0, 2]), A, 2), "isin": (A, B), "lcm": ([4, 6], [6, 9]),
    "ldexp": (A, [1, 2, 3]), "linspace": (0.0, 1.0, 5), "logspace": (0.0, 1.0, 5),
    "matmul": (A, B.T), "meshgrid": (A[0], B[0]), "moments": (A, [0]), "moveaxis": (A, 0, 1),
    "multi_hot": ([0, 2], 4), "nonzero": (A,), "one_hot": ([0, 2], 4), "ones": ((2, 2),),
    "outer": (A[0], B[0]), "pad": (A, ((0, 1), (1, 0))), "percentile": (A, 30.0, 1),
    "quantile": (A, 0.3, 1), "repeat": (A, 2, 1), "reshape": (A, (3, -1)), "roll": (A, 1),
    "saturate_cast": (A, "uint8"), "searchsorted": (np.sort(A[0]), A[1]),
    "segment_sum": (A, np.array([0, 1]), 2), "select": ([A > 0], [A], 1.0), "split": (A, 3, 1),
    "squeeze": (A[:, None], 1), "stack": ([A, B], 1), "swapaxes": (A, 0, 1), "take": (A, [0, 2], 1),
    "take_along_axis": (A, np.argsort(A, 1), 1), "tensordot": (A, B.T, 1), "tile": (A, (2, 1)),
    "top_k": (A, 2), "tri": (3,), "unravel_index": None, "vander": (A[0],), "vectorize": None,
    "vdot": (A, B), "vstack": ([A, B],), "where": (A > 0, A, B), "zeros": ((2, 2),),
    "arccosh": (np.abs(A) + 1,), "arccos": (A / 2,), "arcsin": (A / 2,), "arctanh": (A / 3,),
    "cross": (A, B), "corrcoef": (A,), "dot": (A, B.T), "inner": (A, B), "kron": (A, B),
    "argpartition": None, "median": (A, 1), "norm": (A,), "logsumexp": (A, 1),
    "normalize": (A,), "std": (A, 0), "var": (A, 0), "is_tensor": None, "dtype": None,
    "shape": (A,), "stop_gradient": (A,), "convert_to_tensor": (A,), "cumsum": (A, 1),
    "cumprod": (A, 1), "nan_to_num": (A,), "trace": (A,), "erf": (A,),
    "log": (np.abs(A),), "log10": (np.abs(A),), "log2": (np.abs(A),), "log1p": (np.abs(A),),
    "sqrt": (np.abs(A),), "rsqrt": (np.abs(A),), "power": (np.abs(A), B),
}
BINARY = {
    "add", "arctan2", "divide", "equal", "floor_divide", "greater", "greater_equal", "heaviside",
    "hypot", "isclose", "less", "less_equal", "logaddexp", "logaddexp2", "logical_and",
    "logical_or", "logical_xor", "maximum", "minimum", "mod", "multiply", "nextafter", "not_equal",
    "subtract", "true_divide",
}


@pytest.mark.parametrize("name", numeric.__all__)
def test_ops_of_arrays_are_those_of_keras(name):
    keras = keras_peer.load()
    if not hasattr(keras.ops, name):
        pytest.skip(f"this Keras has no ops.{name}")
    arguments = CALLS.get(name, (A, B) if name in BINARY else (A,))
    if arguments is None:
        assert callable(getattr(ops, name))
        return
    found, expected = getattr(ops, name)(*arguments), getattr(keras.ops, name)(*arguments)
    several = isinstance(expected, (list, tuple))
    for mine, theirs in zip(found if several else [found], expected if several else [expected],
                            strict=True):
        assert np.shape(mine) == np.shape(theirs)
        np.testing.assert_allclose(np.asarray(mine), np.asarray(theirs), rtol=2e-5, atol=1e-6)


def test_ops_of_symbolic_tensors():
    x = fm.Input((4,))
    left, right = ops.split(x, 2, axis=-1)
    z = ops.concatenate([ops.relu(left), ops.softmax(right)], axis=-1)
    z = ops.squeeze(ops.expand_dims(z, 1), 1) * ops.exp(-ops.square(x))
    z = ops.reshape(ops.clip(z, -1.0, 1.0), (-1, 2, 2))
    model = fm.Model(x, z)
    relu, (a, b) = np.maximum(X[:, :2], 0), X[:, 2:].T
    soft = np.stack([1 / (1 + np.exp(b - a)), 1 / (1 + np.exp(a - b))], 1)
    expected = np.clip(np.concatenate([relu, soft], 1) * np.exp(-X**2), -1, 1).reshape(-1, 2, 2)
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="no operation"):
        np.add.reduce(x)
    with pytest.raises(ValueError, match="divide 4 columns"):
        ops.split(x, 3, axis=1)
    with pytest.raises(AttributeError, match="nearest"):
        ops.meann  # noqa: B018


def test_columns_of_a_symbolic_tensor_are_looked_up():
    class Factors(fm.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = layers.Embedding(5, 3), layers.Embedding(7, 3)

        def call(self, inputs):
            return ops.sum(self.one(inputs[:, 0]) * self.two(inputs[:, 1]), axis=1, keepdims=True)

    numbers = np.stack([RNG.integers(0, 5, 20), RNG.integers(0, 7, 20)], 1)
    model = Factors()
    model.compile("adam", "mse")
    model.fit(numbers, np.ones(20), epochs=2, verbose=0)
    one, two = model.get_weights()
    expected = (one[numbers[:, 0]] * two[numbers[:, 1]]).sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict(numbers, verbose=0), expected, rtol=1e-5, atol=1e-7)


# -- moving averages -------------------------------------------------------------------------------


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_averages_change_places_as_in_keras(swap_on_epoch):
    keras = keras_peer.load()
    seen = []
    for package in (fm, keras):
        class Watch(package.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.weights.append(np.concatenate([np.ravel(w) for w in self.model.get_weights()]))

        watch = Watch()
        watch.weights = []
        model = network(package)
        model.compile(package.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "mse")
        history = model.fit(
            X, Y, epochs=3, batch_size=8, shuffle=False, verbose=0, validation_data=(X, Y),
            callbacks=[package.callbacks.SwapEMAWeights(swap_on_epoch), watch])
        seen.append([*watch.weights, history.history["loss"], history.history["val_loss"],
                     np.ravel(model.get_weights()[0])])
    for mine, theirs in zip(*seen, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_averages_are_asked_for():
    with pytest.raises(ValueError, match="use_ema=True"):
        network().fit(X, Y, verbose=0, callbacks=[fm.callbacks.SwapEMAWeights()])
    model = network()
    model.compile(fm.optimizers.SGD(0.1, use_ema=True), "mse")
    before = model.get_weights()
    model.evaluate(X, Y, verbose=0, callbacks=[fm.callbacks.SwapEMAWeights()])
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


# -- numbers of single batches, order of lists -----------------------------------------------------


def test_numbers_of_single_batches_are_those_of_keras():
    keras = keras_peer.load()
    results = []
    for package in (fm, keras):
        model = network(package, metrics=["mae"])
        told = [model.train_on_batch(X[i : i + 10], Y[i : i + 10]) for i in (0, 10)]
        model.reset_metrics()
        told += [model.test_on_batch(X[:5], Y[:5]), model.train_on_batch(X[5:20], Y[5:20])]
        result = model.get_metrics_result()
        results.append([*told, (result["loss"], result["mae"]),
                        model.evaluate(X, Y, verbose=0), model.test_on_batch(X[:5], Y[:5])])
    np.testing.assert_allclose(*results, rtol=1e-4)


def test_lists_of_an_evaluation_are_in_the_order_of_the_losses():
    keras = keras_peer.load()
    results = []
    for package in (fm, keras):
        x = package.Input((4,))
        outputs = {name: package.layers.Dense(1, name=name) for name in ("zeta", "alpha")}
        model = package.Model(x, {name: layer(x) for name, layer in outputs.items()})
        for layer in outputs.values():
            layer.set_weights([W * len(layer.name), np.zeros(1)])
        model.compile("sgd", {"zeta": "mse", "alpha": "mae"})
        results.append(model.evaluate(X, {"alpha": Y, "zeta": Y}, verbose=0))
    np.testing.assert_allclose(*results, rtol=1e-5)


# -- other things that scripts do ------------------------------------------------------------------


def test_a_learning_rate_is_a_number_that_can_be_assigned():
    model = network()
    model.optimizer.learning_rate.assign(0.25)
    rate = model.optimizer.learning_rate
    assert rate == 0.25
    assert rate.numpy() == 0.25
    assert repr(rate) == "0.25"
    assert fm.optimizers.SGD(rate).get_config()["learning_rate"] == 0.25
    schedule = fm.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    with pytest.raises(TypeError, match="follows a schedule"):
        fm.optimizers.SGD(schedule).learning_rate.assign(0.1)


@pytest.mark.parametrize("name", ["train_step", "test_step", "predict_step"])
def test_steps_of_ones_own_are_refused(name):
    cls = type("Own", (fm.Model,), {name: lambda self, *args, **kwargs: None})
    x = fm.Input((4,))
    model = cls(x, layers.Dense(1)(x))
    with pytest.raises(TypeError, match=f"must not define `{name}`"):
        model.compile("sgd", "mse")


def test_penalties_of_weights_are_listed():
    layer = layers.Dense(2, kernel_regularizer="l2", bias_regularizer=fm.regularizers.L1(0.5))
    model = fm.Sequential([fm.Input((4,)), layer, layers.Dense(1)])
    layer.set_weights([np.ones((4, 2)), np.array([1.0, -2.0])])
    assert model.losses == pytest.approx([0.08, 1.5])
    assert layer.losses == model.losses


def test_constants_may_be_arrays():
    layer = layers.Dense(2, bias_initializer=fm.initializers.Constant(np.log([2.0, 3.0])))
    layer.build((None, 4))
    np.testing.assert_allclose(layer.bias, np.log([2.0, 3.0]), rtol=1e-6)
    again = layers.deserialize(layers.serialize(layer))
    again.build((None, 4))
    np.testing.assert_array_equal(again.bias, layer.bias)
    with pytest.raises(ValueError, match=r"fit the shape \(3,\)"):
        fm.initializers.Constant([1.0, 2.0])((3,))


def test_models_come_from_configs_of_any_kind():
    x = fm.Input((4,), name="x")
    graph = fm.Model(x, layers.Dense(3, name="y")(x), name="graph")
    assert type(fm.Model.from_config(graph.get_config())) is type(graph)
    stack = fm.Model.from_config(network().get_config())
    assert isinstance(stack, fm.Sequential)
    assert stack.layers[0].name == "out"


def test_summaries_show_what_is_asked_for():
    inner = fm.Sequential([fm.Input((4,)), layers.Dense(3, name="deep")], name="inner")
    inner.trainable = False
    model = fm.Sequential([fm.Input((4,)), inner, layers.Dense(1, name="last_of_all_the_layers")])

    def lines(**arguments):
        found = []
        model.summary(print_fn=found.append, **arguments)
        return found

    assert not any("deep" in line for line in lines())
    assert any(line.startswith("  deep (Dense)") for line in lines(expand_nested=True))
    shown = lines(show_trainable=True)
    assert "Trainable" in shown[1]
    assert "no" in shown[3].split()
    assert "yes" in shown[4].split()
    assert not any(line.startswith("inner") for line in lines(layer_range=["last.*", "last.*"]))
    narrow = lines(line_length=60)
    assert max(map(len, narrow[1:-1])) <= 60 < max(map(len, lines()))
    with pytest.raises(ValueError, match=r"`layer_range`.*'nothing'"):
        model.summary(layer_range=["nothing", "inner"])
    with pytest.raises(ValueError, match="`positions`"):
        model.summary(positions=[0.5, 1.0])


def test_mixed_float16_is_computed_in_float32():
    with pytest.warns(UserWarning, match="float32"):
        layer = layers.Dense(3, dtype="mixed_float16")
    assert layer.dtype_policy.name == "mixed_float16"
    assert layer.compute_dtype == layer.variable_dtype == "float32"


def test_variables_count_in_arithmetic():
    v = fm.Variable([1.0, 2.0])
    v.assign_add([1.0, 1.0])
    v.assign_sub(0.5 * np.ones(2))
    assert (v * 2 + v).tolist() == [4.5, 7.5]
    assert (3.0 / v).tolist()[0] == 2.0
    assert v in {v}
    assert v != fm.Variable([1.5, 2.5])
    assert float(np.sum(v)) == 4.0
    with pytest.raises(ValueError, match="shape"):
        v.assign_add([1.0, 2.0, 3.0])


def test_names_of_keras_backend():
    from fusedmlp import backend

    assert backend.floatx() == "float32"
    assert backend.epsilon() == 1e-7
    assert backend.backend() == fm.config.backend()
    backend.clear_session()
    with pytest.raises(AttributeError):
        backend.placeholder  # noqa: B018


# -- a softmax or sigmoid and its cross-entropy, whichever way it is written -----------------------

ROW_WAYS = {
    "activation of Dense": lambda: [layers.Dense(3, "softmax")],
    "function": lambda: [layers.Dense(3, activation=fm.activations.softmax)],
    "layer Softmax": lambda: [layers.Dense(3), layers.Softmax()],
    "layer Activation": lambda: [layers.Dense(3), layers.Activation("softmax")],
    "Lambda": lambda: [layers.Dense(3), layers.Lambda(ops.softmax)],
    "Dropout between": lambda: [layers.Dense(3), layers.Dropout(0.0), layers.Softmax()],
    "Reshape behind": lambda: [layers.Dense(3), layers.Softmax(), layers.Reshape((3,))],
    "Identity behind": lambda: [layers.Dense(3, "softmax"), layers.Identity()],
    "logits": lambda: [layers.Dense(3)],
}
COLUMN_WAYS = {
    "activation of Dense": lambda: [layers.Dense(1, "sigmoid")],
    "layer Activation": lambda: [layers.Dense(1), layers.Activation("sigmoid")],
    "Lambda": lambda: [layers.Dense(1), layers.Lambda(ops.sigmoid)],
    "Identity behind": lambda: [layers.Dense(1, "sigmoid"), layers.Identity()],
    "logits": lambda: [layers.Dense(1)],
}


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("way", ROW_WAYS)
def test_softmax_and_cross_entropy_of_huge_logits(backend, way, functional):
    logits = np.array([[1e4, -1e4, 0.0]], "float32")
    for one_hot in (False, True):
        cls = fm.losses.CategoricalCrossentropy if one_hot else \
            fm.losses.SparseCategoricalCrossentropy
        for target, expected in ((0, 0.0), (1, 2e4), (2, 1e4)):
            stack = ROW_WAYS[way]()
            if functional:
                x = z = fm.Input((1,))
                for layer in stack:
                    z = layer(z)
                model = fm.Model(x, z)
            else:
                model = fm.Sequential([fm.Input((1,)), *stack])
            model.set_weights([logits, np.zeros(3)])
            model.compile(fm.optimizers.SGD(1.0), cls(from_logits=way == "logits"))
            y = np.eye(3)[[target]] if one_hot else np.array([target])
            assert model.evaluate(np.ones((1, 1)), y, verbose=0) == pytest.approx(expected)
            assert model.train_on_batch(np.ones((1, 1)), y) == pytest.approx(expected)
            moved = model.get_weights()[1]
            np.testing.assert_allclose(moved, np.eye(3)[target] - np.eye(3)[0], atol=1e-6)


@pytest.mark.parametrize("way", COLUMN_WAYS)
def test_sigmoid_and_cross_entropy_of_huge_logits(backend, way):
    for size in (1e4, -1e4):
        for target in (0.0, 1.0):
            model = fm.Sequential([fm.Input((1,)), *COLUMN_WAYS[way]()])
            model.set_weights([np.full((1, 1), size), np.zeros(1)])
            model.compile(fm.optimizers.SGD(1.0),
                          fm.losses.BinaryCrossentropy(from_logits=way == "logits"))
            expected = 0.0 if (size > 0) == (target > 0) else 1e4
            told = model.train_on_batch(np.ones((1, 1)), np.array([[target]]))
            assert told == pytest.approx(expected)
            assert model.get_weights()[1][0] == pytest.approx(target - (size > 0), abs=1e-6)


def test_full_batch_steps_keep_no_constraints():
    model = network(optimizer="lbfgs")
    model.layers[0].kernel.constraint = fm.constraints.NonNeg()
    with pytest.raises(ValueError, match=r"LBFGS.*'out/kernel'"):
        model.fit(X, Y, verbose=0)
    model = fm.Sequential([fm.Input((4,)), layers.Dense(1, kernel_regularizer="l2")])
    model.set_weights([W, np.zeros(1)])
    model.compile("lbfgs", "mse")
    model.fit(X, Y, epochs=30, verbose=0)
    x1 = np.c_[X, np.ones(40)].astype("float64")
    expected = np.linalg.solve(x1.T @ x1 / 40 + np.diag([0.01] * 4 + [0.0]), x1.T @ Y / 40)
    np.testing.assert_allclose(np.concatenate([np.ravel(w) for w in model.get_weights()]),
                               expected[:, 0], atol=1e-4)


# -- constraints and files -------------------------------------------------------------------------


def test_constraints_of_ones_own_hold_after_each_step():
    keras = keras_peer.load()
    results = []
    for package in (fm, keras):
        class Within(package.constraints.Constraint):
            bound = package.ops.array([[0.1], [0.2], [0.05], [0.3]])
            clip = staticmethod(package.ops.clip)

            def __call__(self, w):
                return self.clip(w, -self.bound, self.bound)

        layer = package.layers.Dense(1, kernel_constraint=Within())
        model = package.Sequential([package.Input((4,)), layer])
        model.set_weights([W * 0.1, np.zeros(1)])
        model.compile(package.optimizers.Adam(0.05), "mse")
        model.fit(X, Y, epochs=3, batch_size=8, shuffle=False, verbose=0)
        fitted = np.asarray(layer.kernel).copy()
        model.train_on_batch(X, Y)
        results.append(np.concatenate([fitted, np.asarray(layer.kernel)]))
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-6)
    assert np.isclose(np.abs(results[0][0]), 0.1).any()


def test_a_constraint_of_ones_own_must_give_the_same_shape():
    class Wrong(fm.constraints.Constraint):
        def __call__(self, w):
            return w[:1]

    model = fm.Sequential([fm.Input((4,)), layers.Dense(1, kernel_constraint=Wrong())])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"shape \(4, 1\)"):
        model.fit(X, Y, verbose=0)


def test_models_under_the_older_suffix(tmp_path):
    model = network(optimizer="adam")
    model.fit(X, Y, verbose=0)
    with pytest.warns(UserWarning, match="no HDF5 file"):
        model.save(tmp_path / "model.h5")
    again = fm.models.load_model(tmp_path / "model.h5")
    again.fit(X, Y, verbose=0)
    model.fit(X, Y, verbose=0)
    assert all((a == b).all()
               for a, b in zip(model.get_weights(), again.get_weights(), strict=True))


# -- losses that a model computes itself -----------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_a_model_that_computes_its_loss_trains_as_in_keras(weighted):
    keras = keras_peer.load()
    weights = np.linspace(0.5, 1.5, 40).astype("float32") if weighted else None
    results = []
    for package in (fm, keras):
        class Own(package.Model):
            numbers = package.ops

            def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
                loss = super().compute_loss(x, y, y_pred, sample_weight)
                extra = self.numbers.mean(self.numbers.square(y_pred - x[:, :2]))
                return loss + 0.3 * extra

        inputs = package.Input((4,))
        model = Own(inputs, package.layers.Dense(2)(inputs))
        model.set_weights([np.concatenate([W, -W], 1), np.zeros(2)])
        model.compile(package.optimizers.SGD(0.1), "mse", metrics=["mae"])
        history = model.fit(X, X[:, 2:], sample_weight=weights, batch_size=16, epochs=2,
                            shuffle=False, verbose=0)
        results.append([history.history["loss"], history.history["mae"],
                        model.evaluate(X, X[:, 2:], verbose=0)])
    np.testing.assert_allclose(*results, rtol=2e-4)


def test_a_loss_of_a_models_own_without_one_in_compile(backend):
    class Own(fm.Model):
        def __init__(self):
            super().__init__()
            self.out = layers.Dense(3)

        def call(self, x):
            return self.out(x)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            assert y.shape == (len(x),)  # classes stay classes
            return np.mean(np.square(y_pred - np.eye(3)[y]))

    y = RNG.integers(0, 3, 40)
    model, other = Own(), network(units=3, optimizer=fm.optimizers.SGD(0.5))
    model.compile(fm.optimizers.SGD(0.5))
    model.build((None, 4))
    model.set_weights(other.get_weights())
    found = model.fit(X, y, batch_size=8, shuffle=False, epochs=3, verbose=0).history["loss"]
    expected = other.fit(X, np.eye(3)[y], batch_size=8, shuffle=False, epochs=3, verbose=0)
    np.testing.assert_allclose(found, expected.history["loss"], rtol=1e-5)
    assert model.get_compile_config()["loss"] is None
    with pytest.raises(ValueError, match="give `compile"):
        fm.Model.compute_loss(model, X, y, model.predict(X))


def test_a_loss_of_a_models_own_must_be_a_number():
    class Own(fm.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return y_pred

    x = fm.Input((4,))
    model = Own(x, layers.Dense(1)(x))
    model.compile("sgd")
    with pytest.raises(ValueError, match="must return a number"):
        model.fit(X, Y, verbose=0)
