"""fit, evaluate and the batch methods: what they take and refuse, what they leave behind."""

from __future__ import annotations

import math
import signal
import sys
import warnings

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers, random
from fusedmlp.training import data as adapters
from fusedmlp.training.ports import Port

ROWS, COLUMNS, CLASSES = 100, 4, 3


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype("float32")


@pytest.fixture
def y(x):
    return (x @ np.random.default_rng(1).normal(size=(COLUMNS, CLASSES))).argmax(axis=1)


def classifier(optimizer=None, seed=1, dropout=0.0, dtype=None, **compile_arguments):
    fm.utils.set_random_seed(seed)
    model = fm.Sequential([
        layers.Input((COLUMNS,), dtype=dtype),
        layers.Dense(8, activation="relu", name="hidden"),
        layers.Dropout(dropout, name="drop"),
        layers.Dense(CLASSES, activation="softmax", name="scores"),
    ])
    arguments = {"loss": "sparse_categorical_crossentropy", **compile_arguments}
    model.compile(optimizer or fm.optimizers.Adam(0.01), **arguments)
    return model


def regressor(columns=1, loss="mse", optimizer="sgd", **compile_arguments):
    fm.utils.set_random_seed(1)
    model = fm.Sequential([layers.Input((COLUMNS,)), layers.Dense(columns)])
    model.compile(optimizer, loss, **compile_arguments)
    return model


def same_weights(a, b):
    return all(np.array_equal(v, w) for v, w in zip(a.get_weights(), b.get_weights(), strict=True))


def state(model):
    """Everything that training changes."""
    slots = [slot.copy() for slot in model.optimizer.slots]
    return [*model.get_weights(), *slots, model.optimizer.iterations, model._epoch]


def unchanged(before, model):
    return all(np.array_equal(a, b) for a, b in zip(before, state(model), strict=True))


# -- training --------------------------------------------------------------------------------------


def test_training_learns(backend, x, y):
    model = classifier(metrics=["accuracy"])
    history = model.fit(x, y, epochs=60, verbose=0, validation_split=0.2)
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history.history["accuracy"][-1] > 0.95
    assert history.history["loss"][-1] < history.history["loss"][0] / 2
    assert history is model.history
    assert history.epoch == list(range(60))
    assert history.params == {"verbose": 0, "epochs": 60, "steps": 3}
    assert model.optimizer.iterations == 180
    loss, accuracy = model.evaluate(x, y)
    assert accuracy == (model.predict(x).argmax(axis=1) == y).mean()
    picked = model.predict(x)[np.arange(ROWS), y].astype("float64")
    assert loss == pytest.approx(-np.log(picked).mean(), rel=1e-5)


def test_an_epoch_is_one_call(backend, x, y, monkeypatch):
    model = classifier()
    calls = watch_runs(model, monkeypatch)
    model.fit(x, y, epochs=3, batch_size=8, verbose=0)
    assert [(start, stop) for start, stop in calls] == [(0, 13)] * 3


def watch_runs(model, monkeypatch, before=None, most=10**9):
    """Record the ranges of steps that executors run, at most `most` of them in a call."""
    calls = []
    get = model._executions.get

    class Watched:
        def __init__(self, executor):
            object.__setattr__(self, "executor", executor)

        def __getattr__(self, name):
            return getattr(self.executor, name)

        def __setattr__(self, name, value):
            setattr(self.executor, name, value)

        def run(self, data, order, size, start, stop, rates, iteration, budget):
            calls.append((start, stop))
            if before is not None:
                before(start)
            stop = min(stop, start + most)
            return self.executor.run(data, order, size, start, stop, rates, iteration, budget)

    def wrapped(*args, **kwargs):
        execution = get(*args, **kwargs)
        return execution._replace(executor=Watched(execution.executor))

    monkeypatch.setattr(model._executions, "get", wrapped)
    return calls


def test_steps_one_by_one_give_the_bits_of_a_whole_epoch(backend, x, y):
    class Every(fm.callbacks.Callback):
        seen = 0

        def on_train_batch_end(self, batch, logs=None):
            self.seen += 1

    whole, single = classifier(dropout=0.3), classifier(dropout=0.3)
    every = Every()
    a = whole.fit(x, y, epochs=3, batch_size=16, verbose=0)
    b = single.fit(x, y, epochs=3, batch_size=16, verbose=0, callbacks=[every])
    assert every.seen == 21
    assert same_weights(whole, single)
    assert a.history == b.history


def test_train_on_batch_makes_the_steps_of_fit(backend, x, y):
    one, other = classifier(), classifier()
    one.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    for i in range(0, ROWS, 16):
        other.train_on_batch(x[i:i + 16], y[i:i + 16])
    assert same_weights(one, other)
    assert one.optimizer.iterations == other.optimizer.iterations == 7


def test_two_fits_of_two_epochs_are_one_of_four(backend, x, y):
    one, other = classifier(dropout=0.2), classifier(dropout=0.2)
    a = one.fit(x, y, epochs=4, verbose=0).history
    b = other.fit(x, y, epochs=2, verbose=0).history
    c = other.fit(x, y, epochs=4, initial_epoch=2, verbose=0)
    assert c.epoch == [2, 3]
    assert a["loss"] == b["loss"] + c.history["loss"]
    assert same_weights(one, other)


def test_state_resumes_exactly(backend, x, y):
    """Weights, optimizer and `_state` are all that training goes on from."""
    straight, first = classifier(dropout=0.2), classifier(dropout=0.2)
    straight.fit(x, y, epochs=4, verbose=0)
    first.fit(x, y, epochs=2, verbose=0)
    second = classifier(dropout=0.2, seed=77)
    second.set_weights(first.get_weights())
    second._set_state(first._state())
    second.place()
    second.optimizer.build(second.trained_variables())
    for slot, saved in zip(second.optimizer.slots, first.optimizer.slots, strict=True):
        slot[...] = saved
    second.optimizer.iterations = first.optimizer.iterations
    second.fit(x, y, epochs=4, initial_epoch=2, verbose=0)
    assert same_weights(straight, second)


def test_saved_training_resumes_exactly(backend, x, y, tmp_path):
    straight, first = (classifier(dropout=0.2, metrics=["accuracy"]) for _ in range(2))
    expected = straight.fit(x, y, epochs=4, verbose=0, validation_split=0.1).history
    first.fit(x, y, epochs=2, verbose=0, validation_split=0.1)
    path = tmp_path / "model.keras"
    first.save(path)
    second = fm.models.load_model(path)
    history = second.fit(x, y, epochs=4, initial_epoch=2, verbose=0, validation_split=0.1).history
    assert same_weights(straight, second)
    for name, values in history.items():
        assert values == expected[name][2:]


def test_order_is_a_function_of_seed_and_epoch(backend, x, y, monkeypatch):
    model = classifier()
    orders = []
    original = random.permutation
    monkeypatch.setattr(random, "permutation",
                        lambda *a, **k: orders.append(original(*a, **k)) or orders[-1])
    model.fit(x, y, epochs=3, verbose=0)
    assert len(orders) == 3
    for epoch, order in enumerate(orders):
        np.testing.assert_array_equal(order, original(ROWS, model.seed, epoch))
        assert sorted(order) == list(range(ROWS))
    assert not np.array_equal(orders[0], orders[1])
    model.fit(x, y, epochs=2, verbose=0, shuffle=False)
    assert len(orders) == 3


def test_seeds_decide_everything(backend, x, y):
    runs = [classifier(seed=s, dropout=0.5).fit(x, y, epochs=2, verbose=0).history
            for s in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_backends_agree(x, y):
    from fusedmlp import backend as backends

    before = backends.current()
    results = []
    try:
        for name in backends.names:
            if name not in backends.rejected():
                backends.choose(name)
                model = classifier(dropout=0.4, metrics=["accuracy"])
                history = model.fit(x, y, epochs=3, batch_size=16, verbose=0, validation_split=0.2)
                results.append((history.history, model.get_weights()))
    finally:
        backends.choose(before)
    reference, weights = results[-1]
    for history, others in results[:-1]:
        for name, values in reference.items():
            np.testing.assert_allclose(history[name], values, rtol=1e-5)
        for a, b in zip(others, weights, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_backend_may_change_between_fits(x, y):
    from fusedmlp import backend as backends

    before = backends.current()
    model = classifier()
    try:
        for name in (*backends.names, *backends.names):
            if name not in backends.rejected():
                backends.choose(name)
                model.fit(x, y, verbose=0)
                assert model.predict(x[:2]).shape == (2, CLASSES)
        assert model.evaluate(x, y, verbose=0) < 1.5
    finally:
        backends.choose(before)


def test_dropout_changes_training_step_by_step(backend, x):
    """With rate 0 nothing moves, so each step's loss shows its mask alone."""
    model = regressor(optimizer=fm.optimizers.SGD(0.0))
    plain = model.evaluate(x, np.zeros(ROWS))
    dropped = fm.Sequential([layers.Input((COLUMNS,)), layers.Dropout(0.5), model.layers[0]])
    dropped.compile(fm.optimizers.SGD(0.0), "mse")
    losses = [dropped.train_on_batch(x, np.zeros(ROWS)) for _ in range(3)]
    assert len(set(losses)) == 3
    assert dropped.evaluate(x, np.zeros(ROWS)) == pytest.approx(plain, rel=1e-6)
    seeded = [fm.Sequential([layers.Input((COLUMNS,)), layers.Dropout(0.5, seed=s),
                             layers.Dense(1, kernel_initializer="ones")]) for s in (3, 3, 4)]
    for m in seeded:
        m.compile(fm.optimizers.SGD(0.0), "mse")
    first, second, third = (m.train_on_batch(x, np.zeros(ROWS)) for m in seeded)
    assert first == second != third


def test_float64_is_trained_in_float64(backend, x, y):
    single = classifier(fm.optimizers.SGD(0.1))
    double = classifier(fm.optimizers.SGD(0.1), dtype="float64")
    a = single.fit(x, y, epochs=3, verbose=0).history["loss"]
    b = double.fit(x.astype("float64"), y, epochs=3, verbose=0).history["loss"]
    np.testing.assert_allclose(a, b, rtol=1e-5)
    assert a != b
    assert double.optimizer.slots == ()
    assert {v.dtype for v in double.weights} == {"float64"}


# -- targets and weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [
    lambda y: y[:, None], lambda y: y.tolist(), lambda y: y.astype("uint8"),
    lambda y: y.astype("int32")[:, None], lambda y: y.astype("float64"),
    lambda y: np.repeat(y, 2)[::2],
])
def test_classes_in_any_form(backend, x, y, convert):
    one, other = classifier(metrics=["accuracy"]), classifier(metrics=["accuracy"])
    assert one.fit(x, y, verbose=0).history == other.fit(x, convert(y), verbose=0).history


def test_whatever_turns_into_an_array(backend, x, y):
    """Data frames, tensors and the like say by `__array__` what they hold."""

    class Frame:
        def __init__(self, values):
            self.values = values

        def __array__(self, dtype=None, copy=None):
            return np.array(self.values, dtype)

    one, other = classifier(metrics=["accuracy"]), classifier(metrics=["accuracy"])
    weight = np.linspace(0, 1, ROWS)
    a = one.fit(x, y, sample_weight=weight, validation_split=0.2, verbose=0).history
    b = other.fit(Frame(x), Frame(y), sample_weight=Frame(weight), validation_split=0.2,
                  verbose=0).history
    assert a == b
    np.testing.assert_array_equal(one.predict(Frame(x)), other.predict(x))


@pytest.mark.parametrize("convert", [
    lambda t: t[:, None], lambda t: t.tolist(), lambda t: t.astype("bool"),
    lambda t: t.astype("int64"), lambda t: t.astype("float16")[:, None],
])
def test_one_column_in_any_form(backend, x, convert):
    target = (x[:, 0] > 0).astype("float32")
    runs = []
    for values in (target, convert(target)):
        model = regressor(loss=fm.losses.BinaryCrossentropy(from_logits=True),
                          metrics=[fm.metrics.BinaryAccuracy(threshold=0.0)])
        runs.append(model.fit(x, values, verbose=0).history)
    assert runs[0] == runs[1]
    assert list(runs[0]) == ["loss", "binary_accuracy"]


def test_classes_and_columns_together(backend, x, y):
    """A loss on one-hot rows and a metric on classes can't both be served by one `y`."""
    model = classifier(metrics=["mse"])
    with pytest.raises(ValueError, match=r"`y`.*\(rows, 3\).*metric 'mse'.*Received"):
        model.fit(x, y)
    model = classifier(loss="categorical_crossentropy", metrics=["sparse_categorical_accuracy"])
    with pytest.raises(ValueError, match=r"`y`.*metric 'sparse_categorical_accuracy'"):
        model.fit(x, fm.utils.to_categorical(y))


def test_ignored_class(backend, x, y):
    loss = fm.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    model = classifier(loss=loss)
    marked = y.copy()
    marked[::3] = -1
    model.fit(x, marked, verbose=0)
    marked[0] = -2
    with pytest.raises(ValueError, match="Received: -2 in row 0"):
        model.fit(x, marked)


def test_sample_and_class_weights_multiply(backend, x, y):
    weight = np.random.default_rng(2).uniform(0.1, 2, ROWS)
    by_class = {0: 2.0, 2: 0.5}
    product = weight * np.array([2.0, 1.0, 0.5])[y]
    runs = [classifier(weighted_metrics=["accuracy"]).fit(x, y, epochs=2, verbose=0, **a).history
            for a in ({"sample_weight": weight, "class_weight": by_class},
                      {"sample_weight": product}, {"sample_weight": product[:, None].tolist()})]
    for name, values in runs[0].items():
        np.testing.assert_allclose(runs[1][name], values, rtol=1e-6)
    assert runs[1] == runs[2]


def test_weights_of_zero_take_rows_out(backend, x, y):
    weight = np.ones(ROWS)
    weight[50:] = 0
    model, half = (classifier(fm.optimizers.SGD(0.1, momentum=0.5)) for _ in range(2))
    model.fit(x, y, sample_weight=2 * weight, batch_size=ROWS, epochs=5, verbose=0)
    half.fit(x[:50], y[:50], batch_size=50, epochs=5, verbose=0)
    for a, b in zip(model.get_weights(), half.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_class_weights_of_one_hot_and_of_one_column():
    one_hot = np.eye(3)[[0, 2, 1]]
    dtype = np.dtype("float64")
    assert adapters.class_weights(one_hot, {2: 5.0}, dtype, 3).tolist() == [1, 5, 1]
    assert adapters.class_weights(np.array([[0.0], [1.0]]), {1: 5}, dtype, 1).tolist() == [1, 5]
    for weight, values, message in [
        ([1, 2], one_hot, "must be a dict"),
        ({"a": 1.0}, one_hot, "keys of `class_weight`.*from 0 to 2.*Received: key 'a'"),
        ({-1: 1.0}, one_hot, "keys of `class_weight`.*from 0 to 2.*Received: key -1"),
        ({3: 1.0}, one_hot, "keys of `class_weight`.*from 0 to 2.*Received: key 3"),
        ({0: -1.0}, one_hot, r"class_weight\[0\]`.*at least 0.*Received: -1"),
        ({0: np.nan}, one_hot, r"class_weight\[0\]`.*at least 0.*Received: nan"),
        ({0: "b"}, one_hot, r"class_weight\[0\]"),
        ({0: 1.0}, np.array([0.5]), "no whole numbers"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            adapters.class_weights(values, weight, dtype, 3)
    with pytest.raises(ValueError, match=r"integers from 0 to 1.*Received: key 2"):
        adapters.class_weights(np.array([0, 1]), {2: 1.0}, dtype, 1)


@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 1)])
def test_classes_stay_as_they_were_checked(backend, x, y, shape):
    """A callback that edits the targets in place can't lead a kernel out of its arrays."""
    class Edit(fm.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            given[...] = 10**9

    given = y.astype(np.int64).reshape(shape)
    edited, plain = (classifier().fit(x, targets, epochs=2, verbose=0, callbacks=[callback])
                     for targets, callback in ((given, Edit()), (y, fm.callbacks.Callback())))
    assert given.max() == 10**9
    assert edited.history == plain.history


def test_targets_that_are_copied_and_that_are_not(x, y):
    bind, ports = classifier()._objective.bind, [Port("y", (None, CLASSES))]
    samples, _ = adapters.prepare((x,), y.astype(np.int32), ("x", "y", "w"), bind, ports)
    assert samples.arrays[1].dtype == np.int64
    wide = y.astype(np.int64)
    samples, _ = adapters.prepare((x,), wide, ("x", "y", "w"), bind, ports)
    assert samples.arrays[0] is x
    assert not np.shares_memory(samples.arrays[1], wide)
    assert samples.arrays[1].tolist() == wide.tolist()


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(("loss", "columns"), [
    (fm.losses.BinaryCrossentropy, 1), (fm.losses.BinaryCrossentropy, 3),
    (fm.losses.CategoricalCrossentropy, 3),
])
def test_targets_of_crossentropies_are_probabilities(x, loss, columns, from_logits):
    model = regressor(columns, loss(from_logits=from_logits))
    good = np.random.default_rng(1).uniform(size=(ROWS, columns))
    good[0], good[1] = 0.0, 1.0 + 1e-7  # the rounding of an average
    model.fit(x, good, verbose=0)
    before = state(model)
    for value in (-1.0, 1.5, np.nan, np.inf):
        wrong = good.copy()
        wrong[[7, 9], -1] = value
        message = f"`y` must hold targets from 0 to 1 for loss '.*'.*Received: {value} in row 7"
        for call in (model.fit, model.evaluate, model.train_on_batch):
            with pytest.raises(ValueError, match=message):
                call(x, wrong)
        with pytest.raises(ValueError, match=r"`validation_data\[1\]`.*in row 7"):
            model.fit(x, good, validation_data=(x, wrong))
    assert unchanged(before, model)


@pytest.mark.parametrize("loss", ["mse", "mae", lambda t, p: abs(t - p).sum(axis=-1)])
def test_targets_of_other_losses_are_any_numbers(loss):
    (bound,) = regressor(loss=loss)._objective.bind([(ROWS, 1)], [Port("y", (None, 1))]).outputs
    assert bound.interval("dense") is None
    assert bound.interval("classes") is None


# -- what is refused -------------------------------------------------------------------------------

BAD_FITS = {
    "rank": ({"x": np.ones(ROWS)}, r"`x` must have shape \(rows, 4\).*Received"),
    "width": ({"x": np.ones((ROWS, 5))}, r"`x`.*Received: shape \(100, 5\)"),
    "empty": ({"x": np.ones((0, 4)), "y": []}, r"`x` must have at least one row.*Received"),
    "strings": ({"x": [["a"] * 4] * ROWS}, "`x` must hold real numbers.*Received"),
    "none": ({"x": None}, "`x`.*Received"),
    "no targets": ({"y": None}, "`y` must hold the targets.*None"),
    "rows": ({"y": np.zeros(99, int)}, "`x` and `y`.*same number of rows.*100 and 99"),
    "target rank": ({"y": np.zeros((ROWS, 1, 1))}, "`y` must have shape"),
    "one-hot": ({"y": np.eye(3)[np.zeros(ROWS, int)]}, "one class per row.*categorical_cross"),
    "high class": ({"y": np.arange(ROWS)}, "classes from 0 to 2.*Received: 3 in row 3"),
    "low class": ({"y": -np.arange(ROWS)}, "Received: -1 in row 1"),
    "half class": ({"y": np.arange(ROWS) / 2}, r"whole numbers.*Received: 0\.5 in row 1"),
    "NaN class": ({"y": np.full(ROWS, np.nan)}, "Received: nan in row 0"),
    "named class": ({"y": ["a"] * ROWS}, "`y` must hold real numbers"),
    "weight rows": ({"sample_weight": np.ones(99)}, r"`sample_weight`.*\(100,\).*Received"),
    "weight rank": ({"sample_weight": np.ones((ROWS, 2))}, "`sample_weight`.*Received"),
    "weight type": ({"sample_weight": ["a"] * ROWS}, "`sample_weight`.*Received"),
    "negative weight": ({"sample_weight": np.arange(ROWS) * -1.0},
                        r"`sample_weight` must hold finite.*Received: -1\.0 in row 1"),
    "NaN weight": ({"sample_weight": [1.0] * 5 + [np.nan] * 95},
                   "`sample_weight` must hold finite.*Received: nan in row 5"),
    "infinite weight": ({"sample_weight": [np.inf] * ROWS},
                        "`sample_weight` must hold finite.*Received: inf in row 0"),
    "class weight": ({"class_weight": [1, 2]}, "`class_weight` must be a dict"),
    "class weight key": ({"class_weight": {0: 1.0, 3: 1.0}},
                         "keys of `class_weight`.*from 0 to 2.*Received: key 3"),
    "negative class weight": ({"class_weight": {1: -2.0}}, r"`class_weight\[1\]`.*Received: -2"),
    "batch": ({"batch_size": 0}, "`batch_size`.*Received: 0"),
    "batch type": ({"batch_size": "32"}, "`batch_size`.*Received: '32'"),
    "epochs": ({"epochs": -1}, "`epochs`.*Received: -1"),
    "epochs type": ({"epochs": 1.5}, r"`epochs`.*Received: 1\.5"),
    "initial": ({"initial_epoch": -1}, "`initial_epoch`"),
    "verbose": ({"verbose": 3}, "`verbose`.*Received: 3"),
    "shuffle": ({"shuffle": "batch"}, "`shuffle`.*Received: 'batch'"),
    "steps": ({"steps_per_epoch": 0}, "`steps_per_epoch`"),
    "split": ({"validation_split": 1.0}, "`validation_split`"),
    "small split": ({"validation_split": 0.5, "x": np.ones((1, 4)), "y": [0]},
                    "`validation_split`.*rows on both sides"),
    "frequency": ({"validation_freq": 0, "validation_split": 0.5}, "`validation_freq`"),
    "validation": ({"validation_data": np.ones((2, 4))}, "`validation_data` must be a tuple"),
    "validation length": ({"validation_data": (1, 2, 3, 4)}, "`validation_data`.*length 4"),
    "validation width": ({"validation_data": (np.ones((2, 5)), [0, 1])},
                         r"`validation_data\[0\]`.*Received: shape \(2, 5\)"),
    "validation class": ({"validation_data": (np.ones((2, 4)), [0, 3])},
                         r"`validation_data\[1\]`.*Received: 3 in row 1"),
    "validation weight": ({"validation_data": (np.ones((2, 4)), [0, 1], [1.0])},
                          r"`validation_data\[2\]`.*Received"),
    "callback": ({"callbacks": [fm.callbacks.History]}, "`callbacks`.*Received"),
}


@pytest.mark.parametrize("name", BAD_FITS)
def test_fit_refuses_and_changes_nothing(backend, x, y, name):
    model = classifier()
    model.fit(x, y, verbose=0)
    before = state(model)
    changed, message = BAD_FITS[name]
    with pytest.raises((ValueError, TypeError), match=f"(?s){message}"):
        model.fit(**{"x": x, "y": y, "verbose": 0, **changed})
    assert unchanged(before, model)
    model.fit(x, y, verbose=0)


@pytest.mark.parametrize("name", ["rank", "rows", "high class", "weight rows", "no targets"])
def test_the_others_refuse_alike(x, y, name):
    model = classifier()
    model.fit(x, y, verbose=0)
    before = state(model)
    changed, message = BAD_FITS[name]
    arguments = {"x": x, "y": y, **changed}
    for method in (model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises((ValueError, TypeError), match=message):
            method(**arguments)
    assert unchanged(before, model)


@pytest.mark.parametrize(("y", "message"), [
    (np.zeros(10), r"`y` must have shape \(rows, 2\).*mean_squared_error.*Received: shape \(10,\)"),
    (np.zeros((10, 1)), r"Received: shape \(10, 1\)"),
    (np.zeros((10, 3)), r"Received: shape \(10, 3\)"),
])
def test_targets_of_another_width(y, message):
    with pytest.raises(ValueError, match=message):
        regressor(2).fit(np.ones((10, COLUMNS)), y)


def test_integer_targets_for_a_categorical_loss(x, y):
    model = classifier(loss="categorical_crossentropy")
    with pytest.raises(ValueError, match=r"sparse_categorical_crossentropy.*to_categorical"):
        model.fit(x, y)


def test_compile_refuses_and_changes_nothing(x, y):
    model = classifier(metrics=["accuracy"])
    model.fit(x, y, verbose=0)
    before, optimizer = state(model), model.optimizer
    for arguments, message in [
        ({"optimizer": "adm"}, "nearest.*adam"), ({"optimizer": 3}, "Received: 3"),
        ({"loss": "mean_squared_eror"}, "nearest.*mean_squared_error"),
        ({"loss": ["mse", "mae"]}, "one output"), ({"loss": 3}, "Received"),
        ({"metrics": "accuracy"}, "`metrics` must be a list"),
        ({"metrics": ["acuracy"]}, "nearest.*accuracy"),
        ({"metrics": [None]}, "None"),
        ({"weighted_metrics": 3}, "`weighted_metrics`"),
        ({"loss_weights": "a"}, "`loss_weights`"),
        ({"steps_per_execution": 0}, "`steps_per_execution`"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            model.compile(**{"optimizer": "sgd", "loss": "mse", **arguments})
    assert model.optimizer is optimizer
    assert unchanged(before, model)
    model.fit(x, y, verbose=0)
    assert model.metrics_names == ["loss", "accuracy"]


def test_what_needs_compile_says_so(x, y):
    model = fm.Sequential([layers.Input((COLUMNS,)), layers.Dense(1)])
    assert not model.compiled
    assert model.metrics == model.metrics_names == []
    for method in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=r"Call `compile\(\)` before"):
            method(x, y)
    model.compile("sgd")
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="needs a loss"):
            method(x, y)
    model.compile(None, "mse")
    assert model.evaluate(x, np.zeros(ROWS)) >= 0
    with pytest.raises(ValueError, match="needs an optimizer"):
        model.fit(x, np.zeros(ROWS))


# -- optimizer and trainable variables -------------------------------------------------------------


def test_an_optimizer_belongs_to_one_model(x, y):
    optimizer = fm.optimizers.Adam()
    one, other = classifier(optimizer), classifier(optimizer)
    one.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="no other model trains with"):
        other.fit(x, y, verbose=0)
    one.fit(x, y, verbose=0)


def test_compiling_again_with_the_optimizer_keeps_its_state(backend, x, y):
    one, other = classifier(), classifier()
    for model in (one, other):
        model.fit(x, y, verbose=0)
    other.compile(other.optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    for model in (one, other):
        model.fit(x, y, verbose=0)
    assert other.optimizer.iterations == 8
    assert same_weights(one, other)


def test_hyperparameters_may_change_between_fits(backend, x, y):
    model = classifier(fm.optimizers.Adam(0.01, beta_1=0.9))
    model.fit(x, y, verbose=0)
    before = model.get_weights()
    model.optimizer.learning_rate = 0.0
    model.fit(x, y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    fresh = classifier(fm.optimizers.Adam(0.01, beta_1=0.5))
    fresh.set_weights(before)
    model.optimizer.learning_rate, model.optimizer.beta_1 = 0.01, 0.5
    model.fit(x, y, verbose=0)
    assert not same_weights(model, fresh)


def test_momentum_can_not_be_turned_on_later(x, y):
    model = classifier(fm.optimizers.SGD(0.1))
    model.fit(x, y, verbose=0)
    model.optimizer.momentum = 0.9
    with pytest.raises(ValueError, match="holds the state of other"):
        model.fit(x, y, verbose=0)


def test_layers_added_after_training_want_a_new_optimizer(x, y):
    model = classifier()
    model.fit(x, y, verbose=0)
    model.pop()
    model.add(layers.Dense(5))
    model.add(layers.Dense(CLASSES, activation="softmax"))
    with pytest.raises(ValueError, match=r"give 'sequential.*' a new one"):
        model.fit(x, y, verbose=0)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, verbose=0)


def test_frozen_layers_stay(backend, x, y):
    model = classifier()
    model.layers[0].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.fit(x, y, epochs=2, verbose=0)
    after = model.get_weights()
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [
        True, True, False, False]
    assert model.optimizer.slots[0].size == model.updated_size < model.arena.size
    reference = fm.Sequential([layers.Input((8,)), layers.Dense(CLASSES, "softmax")])
    reference.set_weights(before[2:])
    reference.compile("adam", "sparse_categorical_crossentropy")
    reference._set_state(model._state() | {"epoch": 0})
    w, b = before[:2]
    reference.fit(np.maximum(x @ w + b, 0), y, epochs=2, verbose=0)
    for a, c in zip(after[2:], reference.get_weights(), strict=True):
        np.testing.assert_allclose(a, c, rtol=1e-4, atol=1e-5)


def test_a_front_layer_is_trained_behind_a_frozen_one(backend, x, y):
    model = classifier()
    model.layers[-1].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights()
    history = model.fit(x, y, epochs=20, verbose=0).history["loss"]
    assert [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)] == [
        False, False, True, True]
    assert history[-1] < history[0]


def test_trainable_counts_when_compile_is_called(backend, x, y):
    model = classifier()
    before = model.layers[0].get_weights()[0]
    model.layers[0].trainable = False
    with pytest.warns(UserWarning, match="`trainable` has been changed.*'hidden'"):
        model.fit(x, y, verbose=0)
    assert not np.array_equal(model.layers[0].get_weights()[0], before)
    model.fit(x, y, verbose=0)  # told once
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.layers[0].get_weights()[0]
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], before)


def test_two_models_train_parts_of_one_network(backend):
    """As in adversarial training: each model updates its own half of the shared layers."""
    fm.utils.set_random_seed(3)
    judge = fm.Sequential([layers.Input((2,)), layers.Dense(4, "tanh"), layers.Dense(1, "sigmoid")])
    judge.compile("adam", "binary_crossentropy")
    maker = fm.Sequential([layers.Input((3,)), layers.Dense(2)])
    judge.trainable = False
    both = fm.Sequential([maker, judge])
    both.compile("adam", "binary_crossentropy")
    noise, real = np.ones((8, 3), "float32"), np.full((8, 2), 0.5, "float32")
    for _ in range(2):
        fixed = judge.get_weights()
        made = maker.get_weights()
        both.train_on_batch(noise, np.ones(8))
        assert all(np.array_equal(a, b) for a, b in zip(fixed, judge.get_weights(), strict=True))
        assert not np.array_equal(made[0], maker.get_weights()[0])
        made = maker.get_weights()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            judge.train_on_batch(real, np.zeros(8))
        assert not np.array_equal(fixed[0], judge.get_weights()[0])
        np.testing.assert_array_equal(made[0], maker.get_weights()[0])


def test_a_network_without_weights_can_be_judged(backend, x):
    model = fm.Sequential([layers.Input((COLUMNS,)), layers.Activation("tanh")])
    model.compile("sgd", "mse")
    expected = (np.tanh(x.astype("float64")) ** 2).mean()
    assert model.evaluate(x, np.zeros_like(x)) == pytest.approx(expected, rel=1e-5)
    model.fit(x, np.zeros_like(x), verbose=0)


# -- epochs, steps and validation ------------------------------------------------------------------


def test_zero_epochs(x, y):
    model = classifier()
    history = model.fit(x, y, epochs=0, verbose=0)
    assert history.history == {}
    assert model.fit(x, y, epochs=2, initial_epoch=2, verbose=0).epoch == []


def test_a_batch_larger_than_the_data(backend, x, y):
    one, other = classifier(), classifier()
    one.fit(x, y, batch_size=10**6, verbose=0)
    other.fit(x, y, batch_size=ROWS, verbose=0)
    assert same_weights(one, other)


def test_validation_does_not_touch_training(backend, x, y):
    plain, validated = classifier(dropout=0.3), classifier(dropout=0.3)
    plain.fit(x[:80], y[:80], epochs=3, verbose=0)
    history = validated.fit(x, y, epochs=3, verbose=0, validation_split=0.2).history
    assert same_weights(plain, validated)
    assert history["val_loss"][-1] == validated.evaluate(x[80:], y[80:])


def test_validation_frequency(x, y):
    model = classifier()
    history = model.fit(x, y, epochs=5, verbose=0, validation_data=[x, y], validation_freq=[1, 4])
    assert len(history.history["val_loss"]) == 2
    history = model.fit(x, y, epochs=5, verbose=0, validation_data=(x, y), validation_freq=3)
    assert len(history.history["val_loss"]) == 1


def test_steps_per_epoch_without_batch_size(backend, x, y, monkeypatch):
    model = classifier()
    calls = watch_runs(model, monkeypatch)
    model.fit(x, y, steps_per_epoch=3, epochs=2, verbose=0)  # 34 rows a step
    assert calls == [(0, 3)] * 2


def test_steps_per_epoch_beyond_the_data(x, y):
    model = classifier()
    with pytest.warns(UserWarning, match=r"Epoch 2 ends after 1 of `steps_per_epoch` = 3"):
        model.fit(x, y, batch_size=25, steps_per_epoch=3, epochs=2, verbose=0)
    assert model.optimizer.iterations == 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y, batch_size=25, steps_per_epoch=30, epochs=1, verbose=0)
    assert model.optimizer.iterations == 8


def test_evaluation_does_not_depend_on_the_batch(backend, x, y):
    model = classifier(metrics=["accuracy"])
    whole = model.evaluate(x, y, batch_size=ROWS)
    for size in (1, 7, 32, None):
        np.testing.assert_allclose(model.evaluate(x, y, batch_size=size), whole, rtol=1e-6)
    assert model.evaluate(x, y, return_dict=True) == dict(zip(["loss", "accuracy"], whole,
                                                              strict=True))
    some = model.evaluate(x, y, batch_size=10, steps=3)
    np.testing.assert_allclose(some, model.evaluate(x[:30], y[:30]), rtol=1e-6)
    for bad in ({"batch_size": 0}, {"steps": 0}, {"verbose": "x"}):
        with pytest.raises(ValueError, match="Received"):
            model.evaluate(x, y, **bad)


def test_metrics_are_named_and_kept(x):
    model = regressor(metrics=["mae", fm.metrics.RootMeanSquaredError(name="root")],
                      weighted_metrics=["mae"])
    logs = model.fit(x, np.zeros(ROWS), verbose=0).history
    assert list(logs) == ["loss", "mae", "root", "weighted_mae"]
    assert model.metrics_names == list(logs)
    assert [m.name for m in model.metrics][:2] == ["mae", "root"]
    result = model.evaluate(x, np.zeros(ROWS), return_dict=True)
    assert result["root"] == pytest.approx(math.sqrt(result["loss"]), rel=1e-6)


def test_compile_config_makes_an_equal_training(backend, x, y):
    model = classifier(fm.optimizers.Adam(0.02, weight_decay=0.1), metrics=["accuracy"],
                       loss=fm.losses.SparseCategoricalCrossentropy(), loss_weights=0.5)
    other = classifier()
    other.compile_from_config(model.get_compile_config())
    assert other.get_compile_config() == model.get_compile_config()
    a, b = (m.fit(x, y, verbose=0).history for m in (model, other))
    assert a == b
    assert fm.Sequential().get_compile_config() == {}


# -- losses that are not finite --------------------------------------------------------------------


def spoil(x, y, where):
    """Arguments of `fit` that make the loss NaN, and what the warning says."""
    model = classifier()
    arguments = {"x": x.copy(), "y": y, "shuffle": False, "batch_size": 25, "verbose": 0}
    if where == "x":
        arguments["x"][60, 1] = np.nan
        return model, arguments, "step 3 of epoch 1 on.*input data `x`"
    if where == "weights":
        arguments["sample_weight"] = np.where(np.arange(ROWS) == 30, 3e38, 1)
        arguments["class_weight"] = dict.fromkeys(range(CLASSES), 2.0)  # the product overflows
        return model, arguments, "step 2 of epoch 1 on.*sample weights"
    if where == "targets":
        model = regressor(CLASSES)
        arguments["y"] = np.full((ROWS, CLASSES), np.nan)
        return model, arguments, "step 1 of epoch 1 on.*targets `y`"
    layer = model.get_layer(where)
    layer.bias.assign(np.full(layer.bias.shape, np.inf))
    return model, arguments, f"step 1 of epoch 1 on.*output of layer '{where}'"


@pytest.mark.parametrize("where", ["x", "weights", "targets", "hidden", "scores"])
def test_a_loss_that_is_not_finite_is_told_once(backend, x, y, where):
    model, arguments, message = spoil(x, y, where)
    with pytest.warns(RuntimeWarning, match=message) as record:
        history = model.fit(**arguments, epochs=3)
    assert len(record) == 1
    assert record[0].filename == __file__
    assert not math.isfinite(history.history["loss"][0])
    assert len(history.history["loss"]) == 3
    assert model.optimizer.iterations == 12
    with pytest.warns(RuntimeWarning, match="not finite") as record:
        model.fit(**arguments, epochs=2)
    assert len(record) == 1


def test_evaluation_of_what_is_not_finite_is_silent(backend, x, y):
    model, _, _ = spoil(x, y, "hidden")
    assert not math.isfinite(model.evaluate(x, y))


# -- Ctrl-C ----------------------------------------------------------------------------------------


def test_interrupt_within_a_step_waits_for_its_end(backend, x, y, monkeypatch):
    model, reference = classifier(), classifier()

    def interrupt(start):
        if start == 3:
            signal.raise_signal(signal.SIGINT)

    class Every(fm.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            pass

    watch_runs(model, monkeypatch, before=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=10, shuffle=False, epochs=5, verbose=0, callbacks=[Every()])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    reference.fit(x[:40], y[:40], batch_size=10, shuffle=False, verbose=0)
    assert model.optimizer.iterations == 4
    assert same_weights(model, reference)
    assert model.predict(x).shape == (ROWS, CLASSES)
    model.fit(x, y, verbose=0)


def test_interrupt_in_a_callback_is_immediate(backend, x, y):
    class Interrupt(fm.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                signal.raise_signal(signal.SIGINT)
                pytest.fail("the interrupt came too late")

    model = classifier()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=5, verbose=0, callbacks=[Interrupt()])
    assert model.optimizer.iterations == 8
    model.fit(x, y, verbose=0)


def test_a_long_epoch_returns_to_the_interpreter(backend, x, y, monkeypatch):
    """An executor that stops at its budget is asked to go on."""
    model, reference = classifier(), classifier()
    calls = watch_runs(model, monkeypatch, most=3)
    history = model.fit(x, y, batch_size=10, epochs=2, verbose=0)
    assert calls == [(0, 10), (3, 10), (6, 10), (9, 10)] * 2
    monkeypatch.undo()
    assert reference.fit(x, y, batch_size=10, epochs=2, verbose=0).history == history.history
    assert same_weights(model, reference)


def test_another_handler_of_interrupts_is_left_alone(x, y):
    received = []
    before = signal.signal(signal.SIGINT, lambda *a: received.append(a))
    try:
        model = classifier()
        with fm.training.interrupt.BetweenSteps():
            signal.raise_signal(signal.SIGINT)
            assert len(received) == 1
        model.fit(x, y, verbose=0)
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_in_another_thread(backend, x, y):
    import threading

    model = classifier()
    thread = threading.Thread(target=model.fit, args=(x, y), kwargs={"verbose": 0})
    thread.start()
    thread.join()
    assert model.optimizer.iterations == 4


# -- what is cached --------------------------------------------------------------------------------


def test_a_network_is_lowered_once(backend, x, y, monkeypatch):
    model = classifier(metrics=["accuracy"])
    model.fit(x, y, verbose=0, validation_split=0.2)
    model.predict(x)
    lowered = []
    monkeypatch.setattr("fusedmlp.training.execution.Builder",
                        lambda *a, **k: lowered.append(a) or pytest.fail("lowered again"))
    model.fit(x, y, epochs=2, verbose=0, validation_split=0.2)
    model.predict(x[:3])
    assert lowered == []


def test_batches_of_many_sizes(backend, x, y):
    model = classifier()
    for rows in range(1, 40):
        model.train_on_batch(x[:rows], y[:rows])
    assert len(model._executions._kept) <= 16
    assert model.optimizer.iterations == 39


def test_epochs_leave_no_arrays_behind(x, y):
    """Nothing grows with the epochs."""
    import tracemalloc

    model = classifier()
    model.fit(x, y, epochs=5, verbose=0)
    tracemalloc.start()
    try:
        model.fit(x, y, epochs=5, verbose=0)
        first = tracemalloc.get_traced_memory()[0]
        for _ in range(10):
            model.fit(x, y, epochs=5, verbose=0)
        assert tracemalloc.get_traced_memory()[0] - first < 20_000
    finally:
        tracemalloc.stop()


# -- Python around the steps ---------------------------------------------------------------------


@pytest.mark.parametrize(("name", "most"), [
    ("fit", 400), ("epoch", 100), ("train_on_batch", 280), ("evaluate", 430),
    ("test_on_batch", 230), ("predict", 10), ("predictor", 10), ("call", 20)])
def test_little_python_runs_around_the_steps(name, most):
    """Calls of Python functions, which small networks spend their time on; times are not tested."""
    if fm.config.backend() == "numpy":
        pytest.skip("the steps are Python themselves")
    net = fm.Sequential([fm.Input((4,)), layers.Dense(16, "relu"), layers.Dense(16, "relu"),
                         layers.Dense(3)])
    net.compile("adam", fm.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((32, 4)).astype("float32"), rng.integers(0, 3, 32)
    predictor = net.predictor(batch=32)
    calls = {
        "fit": lambda: net.fit(x, y, verbose=0),
        "epoch": lambda: net.fit(x, y, epochs=2, verbose=0),
        "train_on_batch": lambda: net.train_on_batch(x, y),
        "evaluate": lambda: net.evaluate(x, y, verbose=0),
        "test_on_batch": lambda: net.test_on_batch(x, y),
        "predict": lambda: net.predict(x, verbose=0),
        "predictor": lambda: predictor(x),
        "call": lambda: net(x),
    }

    def counted(function):
        count = 0

        def hook(frame, event, argument):
            nonlocal count
            count += event == "call"

        function()  # what is made once
        before = sys.getprofile()
        sys.setprofile(hook)
        try:
            function()
        finally:
            sys.setprofile(before)
        return count

    found = counted(calls[name]) - (counted(calls["fit"]) if name == "epoch" else 0)
    assert 0 < found <= most
