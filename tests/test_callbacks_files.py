"""Callbacks that steer trainings and write them down: rates, NaN, checkpoints, backups, logs."""

from __future__ import annotations

import csv
import math
import os
from types import SimpleNamespace

import keras_peer
import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import callbacks, layers

ROWS, COLUMNS = 64, 4
X = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype("float32")
Y = (X @ np.array([[1.0], [-2.0], [0.5], [0.0]], "float32")) ** 2


def network(seed=1, dropout=0.3, **kwargs):
    fm.utils.set_random_seed(seed)
    model = fm.Sequential([
        layers.Input((COLUMNS,)),
        layers.Dense(8, activation="tanh"),
        layers.Dropout(dropout),
        layers.Dense(1),
    ])
    model.compile(fm.optimizers.Adam(0.01), "mse", **{"metrics": ["mae"], **kwargs})
    return model


def train(model, epochs, *given, **kwargs):
    return model.fit(X, Y, epochs=epochs, batch_size=16, verbose=0, callbacks=list(given),
                     validation_split=0.25, **kwargs)


class Killed(Exception):
    pass


class KillAt(callbacks.Callback):
    def __init__(self, epoch=None, batch=None):
        super().__init__()
        self.epoch, self.batch = epoch, batch
        self.every_batch = batch is not None
        self._now = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._now = epoch
        if epoch == self.epoch and self.batch is None:
            raise Killed

    def on_train_batch_end(self, batch, logs=None):
        if (self._now, batch) == (self.epoch, self.batch):
            raise Killed


def same(a, b):
    pairs = zip([*a.get_weights(), *a.optimizer.slots], [*b.get_weights(), *b.optimizer.slots],
                strict=True)
    return all(np.array_equal(v, w) for v, w in pairs)


# -- learning rates ------------------------------------------------------------------------------


def test_scheduler_sets_the_rate_and_logs_it(backend, capsys):
    model = network()
    history = train(model, 3, callbacks.LearningRateScheduler(lambda e, r: r / 2, verbose=1))
    assert history.history["learning_rate"] == [0.005, 0.0025, 0.00125]
    assert model.optimizer.learning_rate == 0.00125
    assert "Epoch 2: LearningRateScheduler sets the learning rate to 0.0025" in \
        capsys.readouterr().out


def test_scheduler_of_the_epoch_alone():
    history = train(network(), 2, callbacks.LearningRateScheduler(lambda epoch: 0.1 * (epoch + 1)))
    assert history.history["learning_rate"] == [0.1, 0.2]


@pytest.mark.parametrize("rate", [None, "0.1", -1.0, math.nan, math.inf, True])
def test_scheduler_refuses_rates(rate):
    with pytest.raises(ValueError, match="must return a number"):
        train(network(), 1, callbacks.LearningRateScheduler(lambda e, r: rate))
    with pytest.raises(TypeError, match="schedule"):
        callbacks.LearningRateScheduler(0.1)


def plateau(values, cls, rate=1.0, **arguments):
    """Rates after each epoch in which the monitored number has these values."""
    optimizer = SimpleNamespace(learning_rate=rate, iterations=0)
    optimizer.learning_rates = lambda first, count: np.full(count, optimizer.learning_rate)
    model = SimpleNamespace(optimizer=optimizer, metric_directions=dict, metrics=[])
    callback = cls(monitor="val_loss", **arguments)
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"val_loss": value})
        rates.append(float(optimizer.learning_rate))
    return rates


@pytest.mark.parametrize(("values", "arguments", "rates"), [
    ([3, 2, 2, 2, 2, 2], {"patience": 2, "factor": 0.5}, [1, 1, 1, 0.5, 0.5, 0.25]),
    ([3, 3, 3, 3, 3, 3], {"patience": 1, "factor": 0.5, "cooldown": 2},
     [1, 0.5, 0.5, 0.25, 0.25, 0.125]),
    ([3, 3, 3], {"patience": 1, "factor": 0.1, "min_lr": 0.5}, [1, 0.5, 0.5]),
    ([3, 2.95, 2.9], {"patience": 1, "factor": 0.5, "min_delta": 0.07}, [1, 0.5, 0.5]),
    ([1, 2, 2], {"patience": 1, "factor": 0.5, "mode": "max"}, [1, 1, 0.5]),
])
def test_plateau(values, arguments, rates):
    assert plateau(values, callbacks.ReduceLROnPlateau, **arguments) == rates


def test_plateau_like_keras():
    keras = keras_peer.load()
    rng = np.random.default_rng(0)
    for _ in range(30):
        values = rng.integers(0, 5, size=25).astype(float).tolist()
        arguments = {"patience": int(rng.integers(1, 4)), "cooldown": int(rng.integers(0, 3)),
                     "factor": 0.5, "min_delta": float(rng.choice([0, 0.5, 1.5])),
                     "mode": str(rng.choice(["min", "max"])),
                     "min_lr": float(rng.choice([0.0, 0.1]))}
        assert plateau(values, callbacks.ReduceLROnPlateau, **arguments) == pytest.approx(
            plateau(values, keras.callbacks.ReduceLROnPlateau, **arguments))


def test_plateau_in_training(backend, capsys):
    model = network()
    history = train(model, 4, callbacks.ReduceLROnPlateau(
        "val_mae", min_delta=1e9, patience=2, factor=0.5, verbose=1))
    assert history.history["learning_rate"] == [0.01, 0.01, 0.01, 0.005]
    assert model.optimizer.learning_rate == 0.005
    assert "Epoch 3: ReduceLROnPlateau lowers" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "value"), [
    ("factor", 1.0), ("factor", -0.1), ("patience", 1.5), ("cooldown", -1), ("min_lr", -1.0),
    ("mode", "up"), ("monitor", 3),
])
def test_plateau_refuses(name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        callbacks.ReduceLROnPlateau(**{name: value})


def test_a_number_that_is_not_there_is_told():
    with pytest.warns(UserWarning, match="ReduceLROnPlateau monitors 'val_loss'"):
        network().fit(X, Y, verbose=0, callbacks=[callbacks.ReduceLROnPlateau()])


# -- NaN -----------------------------------------------------------------------------------------


def test_terminate_on_nan_ends_at_the_step(backend, capsys):
    x = X.copy()
    x[20] = np.nan
    model = network()
    with pytest.warns(RuntimeWarning, match="not finite"):
        history = model.fit(x, Y, batch_size=8, shuffle=False, epochs=5, verbose=0,
                            callbacks=[callbacks.TerminateOnNaN()])
    assert model.optimizer.iterations == 3
    assert history.epoch == [0]
    assert capsys.readouterr().out == "Batch 2: the loss is nan, training ends\n"


def test_terminate_on_nan_with_an_error(backend):
    class End(callbacks.Callback):
        called = False

        def on_train_end(self, logs=None):
            self.called = True

    end, x = End(), np.full_like(X, np.inf)
    with pytest.warns(RuntimeWarning), pytest.raises(RuntimeError, match="at batch 0"):
        network().fit(x, Y, verbose=0, callbacks=[end, callbacks.TerminateOnNaN(True)])
    assert not end.called


# -- checkpoints ---------------------------------------------------------------------------------


def test_checkpoints_are_the_model_of_their_epoch(backend, tmp_path):
    model = network()
    path = tmp_path / "deep" / "{epoch:02d}-{val_loss:.3f}.keras"
    history = train(model, 3, callbacks.ModelCheckpoint(path))
    names = sorted(os.listdir(tmp_path / "deep"))
    assert names == [f"{e + 1:02d}-{v:.3f}.keras" for e, v in
                     enumerate(history.history["val_loss"])]
    again = fm.saving.load_model(tmp_path / "deep" / names[1])
    train(again, 3, initial_epoch=2)
    assert same(model, again)


def test_only_the_best_is_kept(tmp_path, capsys):
    model = network()
    values = iter([3.0, 2.0, 2.5, 1.0])
    put = callbacks.LambdaCallback(on_epoch_end=lambda e, logs: logs.update(made_up=next(values)))
    train(model, 4, put, callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.keras", "made_up", save_best_only=True, mode="min", verbose=1))
    assert sorted(os.listdir(tmp_path)) == ["1.keras", "2.keras", "4.keras"]
    out = capsys.readouterr().out
    assert "Epoch 3: made_up did not improve from 2.00000\n" in out
    assert "Epoch 4: made_up improved from 2.00000 to 1.00000\n" in out
    assert f"Epoch 4: model saved to {tmp_path / '4.keras'}\n" in out


def test_a_threshold_to_begin_with(tmp_path):
    train(network(), 2, callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.keras", save_best_only=True, initial_value_threshold=0.0))
    assert os.listdir(tmp_path) == []


def test_weights_alone(tmp_path):
    model, path = network(), tmp_path / "{epoch}.weights.npz"
    train(model, 2, callbacks.ModelCheckpoint(path, save_weights_only=True))
    other = network(seed=2)
    other.load_weights(tmp_path / "2.weights.npz")
    assert all(np.array_equal(a, b) for a, b in
               zip(model.get_weights(), other.get_weights(), strict=True))


def test_checkpoints_by_steps(tmp_path):
    # 3 steps an epoch
    train(network(), 3, callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}.keras", save_freq=2))
    assert sorted(os.listdir(tmp_path)) == ["1-2.keras", "2-1.keras", "2-3.keras", "3-2.keras"]


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"filepath": "model.h5"}, ValueError, "must end in '.keras'"),
    ({"filepath": "model.keras", "save_freq": 0}, ValueError, "save_freq"),
    ({"filepath": "model.keras", "save_freq": "batch"}, TypeError, "save_freq"),
    ({"filepath": "model.keras", "mode": "up"}, ValueError, "mode"),
])
def test_checkpoints_refuse(arguments, error, message):
    with pytest.raises(error, match=message):
        callbacks.ModelCheckpoint(**arguments)


def test_a_field_that_is_not_there(tmp_path):
    with pytest.raises(KeyError, match="has the field 'val_acc', which is not among epoch, loss"):
        train(network(), 1, callbacks.ModelCheckpoint(tmp_path / "{val_acc}.keras"))
    with pytest.raises(ValueError, match="`monitor` of ModelCheckpoint"):
        train(network(), 1, callbacks.ModelCheckpoint(tmp_path / "a.keras", "val_acc",
                                                      save_best_only=True))


# -- backups -------------------------------------------------------------------------------------


def watchers():
    return [callbacks.EarlyStopping("val_loss", min_delta=1e9, patience=7,
                                    restore_best_weights=True),
            callbacks.ReduceLROnPlateau("val_loss", min_delta=1e9, patience=2, factor=0.5)]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("killed", [1, 3, 6])
def test_a_killed_training_goes_on_bit_for_bit(backend, tmp_path, killed, first):
    def with_backup(*more):
        backup = callbacks.BackupAndRestore(tmp_path / "backup")
        return [backup, *watchers(), *more] if first else [*watchers(), backup, *more]

    whole, broken, resumed = network(), network(), network(seed=99)
    a = train(whole, 20, *watchers())
    with pytest.raises(Killed):
        train(broken, 20, *with_backup(KillAt(killed)))
    b = train(resumed, 20, *with_backup())
    assert same(whole, resumed)
    assert b.epoch == a.epoch[killed:]
    assert {k: v[killed:] for k, v in a.history.items()} == b.history
    assert whole.optimizer.learning_rate == resumed.optimizer.learning_rate < 0.01
    assert not (tmp_path / "backup").exists()


def test_a_pass_that_steps_have_begun_goes_on(backend, tmp_path):
    whole, broken, resumed = network(), network(), network(seed=99)
    train(whole, 9, steps_per_epoch=1)
    backup = callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(Killed):
        train(broken, 9, backup, KillAt(4), steps_per_epoch=1)
    train(resumed, 9, backup, steps_per_epoch=1)
    assert same(whole, resumed)


def test_backups_by_steps(tmp_path):
    broken, resumed = network(), network(seed=99)
    backup = callbacks.BackupAndRestore(tmp_path / "backup", save_freq=2)
    with pytest.raises(Killed):
        train(broken, 4, backup, KillAt(2, 1))
    history = train(resumed, 4, backup)
    assert history.epoch == [2, 3]
    assert resumed.optimizer.iterations == 8 + 6  # 4 steps twice were seen, 6 and 7 were lost


def test_the_copy_before_the_last_serves(backend, tmp_path):
    backup = callbacks.BackupAndRestore(tmp_path, double_checkpoint=True, delete_checkpoint=False)
    train(network(), 3, backup)
    latest = tmp_path / "latest.keras"
    latest.write_bytes(latest.read_bytes()[:100])
    assert train(network(), 4, backup).epoch == [2, 3]
    (tmp_path / "previous.keras").unlink()
    latest.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"damaged|file of"):
        train(network(), 5, backup)


def test_backups_refuse(tmp_path):
    with pytest.raises(ValueError, match="backup_dir"):
        callbacks.BackupAndRestore("")
    with pytest.raises(ValueError, match="save_freq"):
        callbacks.BackupAndRestore(tmp_path, save_freq=0)
    model = fm.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    backup = callbacks.BackupAndRestore(tmp_path / "b", delete_checkpoint=False)
    train(network(), 1, backup)
    other = fm.Sequential([layers.Input((COLUMNS,)), layers.Dense(1)])
    other.compile("sgd", "mse")
    before = other.get_weights()
    with pytest.raises(ValueError, match="must hold a training of"):
        other.fit(X, Y, verbose=0, callbacks=[backup])
    assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights(), strict=True))


# -- logs ----------------------------------------------------------------------------------------


def test_csv(backend, tmp_path):
    path = tmp_path / "log.csv"
    history = train(network(), 2, callbacks.CSVLogger(path))
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "loss", "mae", "val_loss", "val_mae"]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [float(row["val_mae"]) for row in rows] == history.history["val_mae"]
    train(network(), 1, callbacks.CSVLogger(path, separator=";", append=True))
    assert path.read_text().splitlines()[-1].count(";") == 4
    assert path.read_text().count("epoch") == 1


def test_csv_without_validation_at_first(tmp_path):
    path = tmp_path / "log.csv"
    train(network(metrics=None), 2, callbacks.CSVLogger(path), validation_freq=2)
    first, second, third = path.read_text().splitlines()
    assert first == "epoch,loss,val_loss"
    assert second.endswith(",NA")
    assert not third.endswith(",NA")
    with pytest.raises(ValueError, match="separator"):
        callbacks.CSVLogger(path, separator="")


def test_csv_like_keras(tmp_path):
    keras = keras_peer.load()
    texts = []
    for module, name in ((fm, "ours"), (keras, "theirs")):
        logger = module.callbacks.CSVLogger(str(tmp_path / name))
        logger.on_train_begin()
        logger.on_epoch_end(0, {"loss": 1.5, "acc": 0.25})
        logger.on_epoch_end(1, {"loss": 1.0, "val_loss": 2.0, "acc": np.array([1, 2]),
                                "other": 3.0} if module is fm else
                            {"loss": 1.0, "val_loss": 2.0, "acc": np.array([1, 2])})
        logger.on_train_end()
        texts.append((tmp_path / name).read_text().replace('"""', "").replace('"', ""))
    assert texts[0] == texts[1]


def assert_close(found, wanted):
    np.testing.assert_allclose(found, list(wanted), rtol=1e-6)


@pytest.mark.parametrize("package", ["tensorboard", "tensorboardX"])
def test_tensorboard(tmp_path, monkeypatch, package):
    pytest.importorskip(package)
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from fusedmlp.training import loggers

    cls = {"tensorboard": loggers._TensorboardWriter,
           "tensorboardX": loggers._TensorboardXWriter}[package]
    monkeypatch.setattr(loggers, "_writer", lambda: cls)
    model = network()
    history = train(model, 2, callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq=2,
                                                    write_steps_per_second=True))
    numbers = {}
    for part in ("train", "validation"):
        events = reader.EventAccumulator(
            str(tmp_path / part), {"scalars": 0, "tensors": 0, "histograms": 0})
        events.Reload()
        tags = events.Tags()
        for tag in tags["scalars"]:
            numbers[part, tag] = [(e.step, e.value) for e in events.Scalars(tag)]
        for tag in tags["tensors"]:
            found = events.Tensors(tag)
            if "histogram" not in tag and "text" not in tag and tag != "model":
                numbers[part, tag] = [(e.step, e.tensor_proto.float_val[0]) for e in found]
            else:
                numbers[part, tag] = [(e.step, None) for e in found]
        for tag in tags["histograms"]:
            numbers[part, tag] = [(e.step, None) for e in events.Histograms(tag)]
    logs = history.history
    assert_close(numbers["train", "epoch_loss"], enumerate(logs["loss"]))
    assert_close(numbers["validation", "epoch_mae"], enumerate(logs["val_mae"]))
    assert_close(numbers["train", "epoch_learning_rate"], [(0, 0.01), (1, 0.01)])
    assert [s for s, _ in numbers["train", "batch_loss"]] == [2, 4, 6]
    assert_close(numbers["validation", "evaluation_loss_vs_iterations"],
                 zip([3, 6], logs["val_loss"], strict=True))
    for variable in model.variables:
        assert [s for s, _ in numbers["train", f"{variable.path}/histogram"]] == [0, 1]
    assert any("model" in tag for _, tag in numbers)


def test_tensorboard_refuses(monkeypatch):
    from fusedmlp.training import loggers

    monkeypatch.setattr(loggers, "_writer", lambda: None)
    for name, value in (("write_images", True), ("profile_batch", 2), ("embeddings_freq", 1)):
        with pytest.raises(ValueError, match=name):
            callbacks.TensorBoard(**{name: value})
    with pytest.raises(ValueError, match="update_freq"):
        callbacks.TensorBoard(update_freq=0)


def test_tensorboard_says_what_is_missing(monkeypatch):
    import sys

    for name in ("tensorboard", "tensorboardX"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(ImportError, match=r"pip install 'fusedmlp\[tensorboard\]'"):
        callbacks.TensorBoard()
