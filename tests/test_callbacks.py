"""Callbacks: when they are called and with what, and what the built-in ones do."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import callbacks, layers
from fusedmlp.training import progress

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = X[:, :1] * 2 + 1


def regressor(rate=0.05, **arguments):
    fm.utils.set_random_seed(1)
    model = fm.Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile(fm.optimizers.SGD(rate), "mse", **arguments)
    return model


class Recorder(callbacks.Callback):
    """Writes down every call."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def names(self):
        return [name for name, _, _ in self.calls]


def _recording(name):
    def method(self, *args, logs=None):
        if args and (args[-1] is None or isinstance(args[-1], dict)):
            *args, logs = args
        self.calls.append((name, tuple(args), logs))

    return method


MOMENTS = [n for n in dir(callbacks.Callback) if n.startswith("on_")]
for _name in MOMENTS:
    if not _name.startswith("on_batch"):
        setattr(Recorder, _name, _recording(_name))


# -- when they are called --------------------------------------------------------------------------


def test_moments_of_fit(backend):
    model, seen = regressor(metrics=["mae"]), Recorder()
    history = model.fit(X, Y, epochs=2, batch_size=20, validation_split=0.5, verbose=0,
                        callbacks=[seen])
    epoch = ["on_epoch_begin", "on_train_batch_begin", "on_train_batch_end", "on_test_begin",
             "on_test_batch_begin", "on_test_batch_end", "on_test_end", "on_epoch_end"]
    assert seen.names() == ["on_train_begin", *epoch, *epoch, "on_train_end"]
    by_name = {name: (args, logs) for name, args, logs in seen.calls}
    assert by_name["on_epoch_end"][0] == (1,)
    assert by_name["on_epoch_end"][1] == {k: v[-1] for k, v in history.history.items()}
    assert by_name["on_train_end"][1] == by_name["on_epoch_end"][1]
    assert set(by_name["on_train_batch_end"][1]) == {"loss", "mae"}
    assert by_name["on_train_batch_end"][0] == (0,)
    assert seen.model is model
    assert seen.params == {"verbose": 0, "epochs": 2, "steps": 1}


def test_moments_of_evaluate_and_predict(backend):
    model, seen = regressor(), Recorder()
    model.evaluate(X, Y, batch_size=20, callbacks=[seen])
    batch = ["on_test_batch_begin", "on_test_batch_end"]
    assert seen.names() == ["on_test_begin", *batch, *batch, "on_test_end"]
    seen.calls.clear()
    model.predict(X, batch_size=20, callbacks=[seen])
    batch = ["on_predict_batch_begin", "on_predict_batch_end"]
    assert seen.names() == ["on_predict_begin", *batch, *batch, "on_predict_end"]
    assert seen.calls[2][2]["outputs"].shape == (20, 1)


def test_logs_of_batches_are_means_so_far(backend):
    model, seen = regressor(0.0), Recorder()
    model.fit(X, Y, batch_size=15, shuffle=False, verbose=0, callbacks=[seen])
    losses = [logs["loss"] for name, _, logs in seen.calls if name == "on_train_batch_end"]
    squares = ((model.predict(X).astype("float64") - Y) ** 2).ravel()
    np.testing.assert_allclose(losses, [squares[:n].mean() for n in (15, 30, 40)], rtol=1e-5)


def test_old_names_of_batch_methods(backend):
    class Old(callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.calls = []

        def on_batch_begin(self, batch, logs=None):
            self.calls.append(("begin", batch))

        def on_batch_end(self, batch, logs=None):
            self.calls.append(("end", batch, sorted(logs)))

    old = Old()
    regressor().fit(X, Y, batch_size=20, verbose=0, callbacks=old)
    assert old.calls == [("begin", 0), ("end", 0, ["loss"]), ("begin", 1), ("end", 1, ["loss"])]


def test_steps_per_execution(backend):
    model, seen = regressor(steps_per_execution=3), Recorder()
    model.fit(X, Y, batch_size=10, verbose=0, callbacks=[seen])
    assert [a for n, a, _ in seen.calls if n == "on_train_batch_end"] == [(2,), (3,)]


def test_logs_are_each_callbacks_own(backend):
    class Spoil(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            logs.clear()

    seen = Recorder()
    regressor().fit(X, Y, verbose=0, callbacks=[Spoil(), seen])
    assert all(logs for name, _, logs in seen.calls if name == "on_train_batch_end")


def test_a_callback_may_add_to_the_logs(backend):
    add = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(extra=epoch * 2.0))
    history = regressor().fit(X, Y, epochs=3, verbose=0, callbacks=[add])
    assert history.history["extra"] == [0, 2, 4]


@pytest.mark.parametrize("moment", ["on_train_batch_end", "on_epoch_end", "on_epoch_begin"])
def test_stop_training(backend, moment):
    def stop(number, logs=None):
        if number == 1:
            model.stop_training = True

    model = regressor()
    history = model.fit(X, Y, epochs=5, batch_size=10, verbose=0,
                        callbacks=[callbacks.LambdaCallback(**{moment: stop})])
    expected = {"on_train_batch_end": (1, 2), "on_epoch_end": (2, 8), "on_epoch_begin": (2, 5)}
    assert (len(history.epoch), model.optimizer.iterations) == expected[moment]
    assert model.fit(X, Y, verbose=0).epoch == [0]


def test_a_rate_set_in_a_batch_takes_effect_at_once(backend):
    def off(batch, logs=None):
        if batch == 0:
            model.optimizer.learning_rate = 0.0

    model, reference = regressor(), regressor()
    model.fit(X, Y, batch_size=10, shuffle=False, verbose=0,
              callbacks=[callbacks.LambdaCallback(on_train_batch_end=off)])
    reference.train_on_batch(X[:10], Y[:10])
    np.testing.assert_array_equal(model.get_weights()[0], reference.get_weights()[0])


def test_weights_set_in_a_callback_count(backend):
    zero = callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: model.set_weights([np.zeros((3, 1)), np.zeros(1)]))
    model = regressor(0.0)
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[zero])
    np.testing.assert_allclose(history.history["loss"], (Y**2).mean(), rtol=1e-6)


def test_exceptions_pass_through_and_leave_the_model_usable(backend):
    def fail(epoch, logs):
        raise RuntimeError("enough")

    model = regressor()
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(X, Y, verbose=1, callbacks=[callbacks.LambdaCallback(on_epoch_end=fail)])
    assert model.fit(X, Y, verbose=0).epoch == [0]


def test_stop_evaluating(backend):
    class Stop(callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            self.model.stop_evaluating = True

    model = regressor()
    assert model.evaluate(X, Y, batch_size=10, callbacks=[Stop()]) == pytest.approx(
        model.evaluate(X[:10], Y[:10]))


# -- CallbackList ----------------------------------------------------------------------------------


def test_list_adds_what_is_missing():
    own = callbacks.History()
    found = callbacks.CallbackList([own], add_history=True, add_progbar=True, verbose=0, epochs=1,
                                   steps=1)
    assert found.history is own
    assert [type(c) for c in found.callbacks] == [callbacks.History, callbacks.ProgbarLogger]
    assert callbacks.CallbackList(own).callbacks == [own]


@pytest.mark.parametrize("given", [3, [None], [callbacks.History], "history"])
def test_list_refuses(given):
    with pytest.raises(TypeError, match=r"`callbacks`.*Received"):
        callbacks.CallbackList(given)


def test_list_knows_who_wants_batches():
    class Silent(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            pass

    class Sometimes(callbacks.Callback):
        every_batch = False

        def on_train_batch_end(self, batch, logs=None):
            pass

    class Tests(callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            pass

    def wants(*given, kind="train"):
        return callbacks.CallbackList(given).wants_batches(kind)

    assert not wants(Silent(), callbacks.History(), callbacks.ProgbarLogger(), Sometimes())
    assert not wants(Tests())
    assert wants(Tests(), kind="test")
    assert wants(callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: None))
    assert wants(callbacks.LambdaCallback(on_batch_end=lambda batch, logs: None))


def test_a_list_may_be_passed(backend):
    given = callbacks.CallbackList([Recorder()])
    model = regressor()
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=given)
    assert history is given.history
    assert len(history.history["loss"]) == 2
    assert given.callbacks[0].names()[-1] == "on_train_end"


def test_lambda_callback():
    with pytest.raises(TypeError, match=r"`on_epoch_end` must be a function.*Received: 3"):
        callbacks.LambdaCallback(on_epoch_end=3)
    seen = []
    given = callbacks.LambdaCallback(on_test_end=lambda logs: seen.append(logs), note="mine")
    assert given.note == "mine"
    regressor().evaluate(X, Y, callbacks=[given])
    assert list(seen[0]) == ["loss"]


def test_public_face():
    from fusedmlp.training import callbacks as base
    from fusedmlp.training import checkpoints, loggers, monitors, steering

    found = {name: getattr(module, name)
             for module in (base, checkpoints, loggers, monitors, steering)
             for name in module.__all__ if name not in ("say", "MonitorCallback")}
    assert sorted(callbacks.__all__) == sorted(found)
    for name, item in found.items():
        assert getattr(callbacks, name) is item


# -- EarlyStopping ---------------------------------------------------------------------------------


def stop_on(values, epochs=None, **arguments):
    """Feed the values of a made-up number to EarlyStopping; returns it and the model."""
    model = regressor(0.0)
    made_up = callbacks.LambdaCallback(on_epoch_end=lambda e, logs: (
        logs.update(made_up=values[e]),
        model.set_weights([np.full((3, 1), float(e)), np.zeros(1)])))
    stop = callbacks.EarlyStopping("made_up", **{"mode": "min", **arguments})
    history = model.fit(X, Y, epochs=epochs or len(values), verbose=0, callbacks=[made_up, stop])
    return stop, model, len(history.epoch)


@pytest.mark.parametrize(("values", "arguments", "epochs", "best"), [
    ([5, 4, 3, 3, 2], {}, 4, 2),
    ([5, 4, 4, 4, 1], {"patience": 2}, 4, 1),
    ([5, 4, 4, 4, 4, 1], {"patience": 3}, 5, 1),
    ([1, 2, 3, 3, 9], {"mode": "max"}, 4, 2),
    ([5, 4.5, 4.4, 3], {"min_delta": 0.3}, 3, 1),
    ([5, 4.5, 4.4, 3], {"min_delta": -0.3}, 3, 1),
    ([1, 9, 9, 9, 9], {"start_from_epoch": 2, "patience": 1}, 4, 2),
    ([5, 4, 3, 2], {"baseline": 1, "patience": 2}, 4, 3),
    ([9, 9, 9, 9], {"baseline": 5, "patience": 2}, 2, 0),
    ([9, 8, 7, 6], {"baseline": 5, "patience": 9}, 4, 3),
    ([3, 4], {"patience": 0}, 2, 0),
])
def test_early_stopping(values, arguments, epochs, best):
    stop, _, ran = stop_on(values, **arguments)
    assert (ran, stop.best_epoch) == (epochs, best)
    assert stop.best == values[best]


@pytest.mark.parametrize("restore", [False, True])
def test_restore_best_weights(restore, capsys):
    stop, model, ran = stop_on([5, 3, 4, 6], patience=2, restore_best_weights=restore, verbose=1)
    assert ran == 4
    assert model.get_weights()[0][0, 0] == (1 if restore else 3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Epoch 4: early stopping"
    assert len(lines) == 1 + restore
    assert stop.stopped_epoch == 3


def test_best_weights_are_restored_without_stopping():
    _, model, ran = stop_on([5, 3, 4], patience=9, restore_best_weights=True)
    assert ran == 3
    assert model.get_weights()[0][0, 0] == 1


def test_early_stopping_can_be_used_again():
    model = regressor(0.0)
    stop = callbacks.EarlyStopping("loss", patience=2)
    for _ in range(2):
        assert len(model.fit(X, Y, epochs=9, verbose=0, callbacks=[stop]).epoch) == 3


def test_direction_of_metrics(backend):
    model = regressor(0.0, metrics=["mae"])
    stop = callbacks.EarlyStopping("val_mae", patience=1)
    assert len(model.fit(X, Y, epochs=9, verbose=0, validation_split=0.5,
                         callbacks=[stop]).epoch) == 2
    fm.utils.set_random_seed(1)
    classifier = fm.Sequential([layers.Input((3,)), layers.Dense(2, "softmax")])
    classifier.compile(fm.optimizers.SGD(0.5), "sparse_categorical_crossentropy",
                       metrics=["accuracy"])
    stop = callbacks.EarlyStopping("accuracy", patience=3)
    classifier.fit(X, (X[:, 0] > 0).astype(int), epochs=30, verbose=0, callbacks=[stop])
    assert stop.best > 0.9


def test_what_early_stopping_can_not_know():
    model = regressor()
    before = model.get_weights()
    message = (r"`monitor`.* one of 'val_mse', 'val_loss', 'mse', 'loss' .*mode='min'.*"
               r"Received: 'val_mae'")
    model.compile("sgd", "mse", metrics=["mse"])
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, verbose=0, callbacks=[callbacks.EarlyStopping("val_mae")])
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.optimizer.iterations == 0
    with pytest.warns(UserWarning, match=r"'val_loss'.*Available: loss"):
        model.fit(X, Y, verbose=0, callbacks=[callbacks.EarlyStopping()])


@pytest.mark.parametrize(("name", "value", "error"), [
    ("monitor", None, TypeError), ("mode", "best", ValueError), ("mode", None, ValueError),
    ("patience", -1, ValueError), ("patience", 1.5, TypeError), ("patience", None, TypeError),
    ("min_delta", "0.1", TypeError), ("min_delta", float("nan"), ValueError),
    ("baseline", "low", TypeError), ("baseline", float("inf"), ValueError),
    ("start_from_epoch", -1, ValueError), ("start_from_epoch", "2", TypeError),
])
def test_early_stopping_checks_its_arguments(name, value, error):
    with pytest.raises(error, match=f"`{name}`.*Received: {value!r}"):
        callbacks.EarlyStopping(**{name: value})


# -- progress --------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def open_terminal(monkeypatch):
    """A function that makes standard output a terminal; pytest sets its own before each phase."""

    def open_now():
        stream = Terminal()
        monkeypatch.setattr(sys, "stdout", stream)
        return stream

    return open_now


def test_auto_is_silent_in_a_pipe(capsys):
    model = regressor()
    model.fit(X, Y, epochs=2)
    model.evaluate(X, Y)
    model.predict(X)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize("verbose", [1, "auto"])
def test_bar_on_a_terminal(open_terminal, verbose):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    model = regressor()
    terminal = open_terminal()
    model.fit(X, Y, epochs=2, batch_size=10, validation_split=0.5, verbose=verbose)
    text = terminal.getvalue()
    for part in ("Epoch 1/2: 100%", "Epoch 2/2: 100%", "2/2", "val_loss: "):
        assert part in text
    model.evaluate(X, Y, verbose=verbose)
    assert "100%" in terminal.getvalue()[len(text):]


def test_lines_without_tqdm(open_terminal, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    terminal = open_terminal()
    regressor().fit(X, Y, epochs=2, batch_size=10, verbose=1)
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("Epoch 2/2 - 4/4 - ")


def test_one_line_per_epoch(capsys):
    model = regressor(metrics=["mae"])
    history = model.fit(X, Y, epochs=2, batch_size=10, verbose=2).history
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert f"loss: {history['loss'][1]:.4f} - mae: {history['mae'][1]:.4f}" in lines[1]
    assert "/step - " in lines[1]
    model.evaluate(X, Y, batch_size=10, verbose=2)
    line = capsys.readouterr().out
    assert line.startswith("4/4 - ")
    assert "mae: " in line
    model.predict(X, verbose=2, batch_size=10)
    assert capsys.readouterr().out.startswith("4/4 - ")


def test_a_long_epoch_moves_the_bar(monkeypatch):
    """The bar is told of each chunk that the executor runs, without one call per batch."""
    shown = []

    class Bar:
        def __init__(self, total, title, verbose):
            self.total = total

        def update(self, done, logs=None):
            shown.append((done, sorted(logs)))

        def finish(self, done, logs=None):
            shown.append("end")

        def close(self):
            pass

    monkeypatch.setattr("fusedmlp.training.callbacks.Progress", Bar)
    model = regressor()
    model.fit(X, Y, epochs=1, batch_size=10, verbose=1)
    assert shown == [(4, ["loss"]), "end"]


def test_resolve_verbose(monkeypatch):
    assert [progress.resolve_verbose(v) for v in (0, 1, 2, False, True)] == [0, 1, 2, 0, 1]
    for value in (3, -1, "loud", None, 1.5):
        with pytest.raises(ValueError, match="`verbose`"):
            progress.resolve_verbose(value)
    monkeypatch.setattr(sys, "stdout", None)
    assert progress.resolve_verbose("auto") == 0
