"""What goes on beside a training: other threads, forks, callbacks that interfere, frozen parts."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import fusedmlp as fm

pytestmark = pytest.mark.usefixtures("backend")

ROWS = 96


def data(columns=6, classes=3, rows=ROWS):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    return x, rng.integers(0, classes, rows)


def model(optimizer="adam", hidden="relu"):
    fm.utils.set_random_seed(3)
    made = fm.Sequential([fm.Input((6,)), fm.layers.Dense(8, activation=hidden),
                          fm.layers.Dense(3, activation="softmax")])
    made.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


@pytest.mark.parametrize("part", ["kernel", "bias"])
def test_one_variable_of_a_layer_frozen(part):
    x, y = data()
    trained = model()
    frozen = trained.layers[-1] if trained.layers[-1].units == 3 else trained.layers[1]
    getattr(frozen, part).trainable = False
    trained.compile("adam", "sparse_categorical_crossentropy")
    before = [np.array(v.value) for v in (frozen.kernel, frozen.bias)]
    trained.fit(x, y, batch_size=32, epochs=2, verbose=0)
    moved = [not np.array_equal(a, v.value)
             for a, v in zip(before, (frozen.kernel, frozen.bias), strict=True)]
    assert moved == [part != "kernel", part != "bias"]


def test_a_frozen_prelu_slope_gets_no_gradient():
    from fusedmlp.plan import Builder

    builder = Builder(4, "float32", training=True)
    x = builder.input(3)
    kernel = builder.parameter("kernel", (3, 2), 0, 16)
    alpha = builder.parameter("alpha", (2,), 48, 16, trainable=False)
    out = builder.prelu(builder.dense(x, kernel), alpha)
    builder.loss("mean_squared_error", out, builder.input(2, "y", "labels"))
    plan = builder.finish([out], optimizer="sgd", optimizer_params=(0.0,), parameter_size=64,
                          trainable_size=48)
    (op,) = [op for op in plan.ops if op.op == "prelu_grad"]
    assert len(op.outputs) == 1


def test_a_gradient_beyond_the_trainable_part_is_refused():
    from fusedmlp.plan import Builder

    builder = Builder(4, "float32", training=True)
    kernel = builder.parameter("kernel", (3, 2), 0, 16)
    out = builder.dense(builder.input(3), kernel)
    builder.loss("mean_squared_error", out, builder.input(2, "y", "labels"))
    with pytest.raises(ValueError, match=r"`trainable_size`.*at least 48.*Received: 16"):
        builder.finish([out], optimizer="sgd", optimizer_params=(0.0,), parameter_size=48,
                       trainable_size=16)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_another_thread_predicts():
    x, _ = data(rows=20_000)
    used = model()
    expected = used.predict(x[:5])
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            used.predict(x)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                same = np.array_equal(used.predict(x[:5]), expected)
                os._exit(0 if same else 1)
            waiting = threading.Timer(20.0, os.kill, (child, 9))
            waiting.start()
            status = os.waitpid(child, 0)[1]
            waiting.cancel()
            assert status == 0
    finally:
        stop.set()
        busy.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_after_the_parent_used_threads(backend):
    x, y = data()
    used = model()
    if backend == "cython":
        from fusedmlp.kernels.cpu import native

        native.set_threads(2, always=True)
    try:
        used.fit(x, y, batch_size=32, verbose=0)
        twin = model()
        twin.set_weights(used.get_weights())
        twin.fit(x, y, batch_size=32, verbose=0)
        child = os.fork()
        if child == 0:
            again = model()
            again.set_weights(used.get_weights())
            again.fit(x, y, batch_size=32, verbose=0)
            same = all(np.array_equal(a, b)
                       for a, b in zip(again.get_weights(), twin.get_weights(), strict=True))
            os._exit(0 if same else 1)
        waiting = threading.Timer(20.0, os.kill, (child, 9))
        waiting.start()
        status = os.waitpid(child, 0)[1]
        waiting.cancel()
        assert status == 0
    finally:
        if backend == "cython":
            native.set_threads(native.max_threads())


def test_several_threads_evaluate_one_model():
    x, y = data(rows=2_000)
    used = model()
    expected = used.evaluate(x, y, verbose=0)
    found = []

    def evaluate():
        found.extend(used.evaluate(x, y, verbose=0) for _ in range(20))

    threads = [threading.Thread(target=evaluate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 60


def test_a_batch_callback_that_trains_leaves_the_epochs_sums_alone():
    x, y = data()
    plain, nested = model(fm.optimizers.SGD(0.0)), model(fm.optimizers.SGD(0.0))

    class Nested(fm.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.train_on_batch(x[:32], y[:32])

    arguments = {"batch_size": 32, "shuffle": False, "verbose": 0}
    a = plain.fit(x, y, **arguments)
    b = nested.fit(x, y, callbacks=[Nested()], **arguments)
    assert a.history == b.history
    assert (plain.optimizer.iterations, nested.optimizer.iterations) == (3, 4)


def test_a_callback_changes_the_weight_decay():
    x, y = data()
    changed, still = model(fm.optimizers.AdamW(0.01)), model(fm.optimizers.AdamW(0.01))

    def set_decay(epoch, logs):
        changed.optimizer.weight_decay = 0.5

    callback = fm.callbacks.LambdaCallback(on_epoch_end=set_decay)
    changed.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
    still.fit(x, y, epochs=2, verbose=0)
    assert np.abs(changed.get_weights()[0]).sum() < np.abs(still.get_weights()[0]).sum()


def test_exact_resume_in_the_middle_of_a_pass(tmp_path):
    x, y = data()
    arguments = {"batch_size": 16, "steps_per_epoch": 2, "verbose": 0}
    whole = model()
    whole.fit(x, y, epochs=5, **arguments)
    first = model()
    first.fit(x, y, epochs=2, **arguments)
    first.save(tmp_path / "half.keras")
    second = fm.models.load_model(tmp_path / "half.keras")
    second.fit(x, y, epochs=5, initial_epoch=2, **arguments)
    for a, b in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_activation_is_not_changed_behind_a_plans_back():
    used = model()
    with pytest.raises(AttributeError, match=r"`activation` of layer .*Received: 'linear'"):
        used.layers[-1].activation = "linear"
    layer = fm.layers.Dense(3, activation="relu")
    layer.activation = "tanh"
    assert layer.activation is fm.activations.tanh


def test_state_of_other_variables_is_refused():
    x, y = data()
    fm.utils.set_random_seed(1)
    same = fm.Sequential([fm.Input((6,)), fm.layers.Dense(6), fm.layers.Dense(6),
                          fm.layers.Dense(3, activation="softmax")])
    adam = fm.optimizers.Adam()
    first, second = [layer for layer in same.layers if getattr(layer, "units", 0) == 6]
    first.trainable = False
    same.compile(adam, "sparse_categorical_crossentropy")
    same.fit(x, y, verbose=0)
    first.trainable, second.trainable = True, False
    same.compile(adam, "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="state of other variables"):
        same.fit(x, y, verbose=0)
