"""Data sets, progress bars, downloads and settings under `fusedmlp.utils` and `fusedmlp.config`."""

from __future__ import annotations

import copy
import hashlib
import io
import logging
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import utils

X = np.arange(40, dtype="float32").reshape(20, 2)
Y = X.sum(1)


def model():
    made = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


# -- halves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left", "right", "sizes"), [
    (0.8, None, (16, 4)), (None, 0.25, (15, 5)), (3, None, (3, 17)), (None, 3, (17, 3)),
    (0.5, 0.2, (10, 4)), (5, 6, (5, 6)), (0.33, None, (7, 13))])
def test_sizes_of_halves(left, right, sizes):
    parts = utils.split_dataset((X, Y), left, right)
    assert tuple(map(len, parts)) == sizes
    x, y = parts[0].batch(100)[0]
    np.testing.assert_array_equal(x, X[: sizes[0]])
    np.testing.assert_array_equal(y, Y[: sizes[0]])
    np.testing.assert_array_equal(parts[1].batch(100)[0][0], X[20 - sizes[1] :])
    row = parts[1][0]
    assert row[0].shape == (2,)
    assert row[1] == Y[20 - sizes[1]]


def test_shuffled_halves_are_those_of_keras():
    # the order of Python's `random`, seeded
    left, right = utils.split_dataset(np.arange(10), left_size=0.5, shuffle=True, seed=7)
    assert [int(v) for v in left] == [8, 3, 1, 4, 7]
    assert [int(v) for v in right] == [0, 9, 6, 2, 5]


def test_halves_of_structures_and_batches():
    data = {"x": X, "y": [Y, Y + 1]}
    left, _ = utils.split_dataset(data, left_size=4)
    found = left.batch(3)[1]
    np.testing.assert_array_equal(found["y"][1], Y[3:4] + 1)
    batched = utils.split_dataset((X, Y), left_size=16)[0].batch(5)
    for source in (batched, ((X[i : i + 5], Y[i : i + 5]) for i in range(0, 16, 5))):
        one, two = utils.split_dataset(source, right_size=6)
        assert (one.batch_size, two.batch_size) == (5, 5)
        assert len(two) == 2
    pandas = pytest.importorskip("pandas")
    rows = utils.split_dataset(pandas.DataFrame({"a": [1, 2], "b": [3, 4]}), left_size=1)[0]
    assert next(iter(rows)).tolist() == [1, 3]


def test_halves_train(backend):
    left, right = utils.split_dataset((X / 40, Y / 40), left_size=0.75)
    trained = model()
    history = trained.fit(left.batch(5), validation_data=right.batch(5), epochs=2, verbose=0)
    assert sorted(history.history) == ["loss", "val_loss"]
    assert trained.optimizer.iterations == 6


# -- time series -----------------------------------------------------------------------------------


def test_windows_are_those_of_keras():
    # Keras's own example: indices 0 to 98, windows of 10 steps, every second one, 3 apart
    data = utils.timeseries_dataset_from_array(
        np.arange(99), None, sequence_length=10, sampling_rate=2, sequence_stride=3, batch_size=7)
    rows = np.concatenate(list(data))
    np.testing.assert_array_equal(rows[1], range(3, 23, 2))
    np.testing.assert_array_equal(rows[-1], range(78, 98, 2))
    assert rows.shape == (27, 10)
    assert len(data) == 4


def test_targets_and_parts_of_a_series():
    series = np.arange(30.0).reshape(15, 2)
    data = utils.timeseries_dataset_from_array(series[:-4], series[4:, 0], 4, start_index=2,
                                               end_index=9, batch_size=3)
    windows, targets = data[0]
    np.testing.assert_array_equal(windows[0], series[2:6])
    np.testing.assert_array_equal(targets, series[6:9, 0])
    assert [len(w) for w, _ in data] == [3, 1]
    singly = utils.timeseries_dataset_from_array(series, None, 4, batch_size=None)
    assert singly[0].shape == (4, 2)
    assert len(singly) == 12


def test_shuffled_windows_come_in_another_order_each_time():
    data = utils.timeseries_dataset_from_array(np.arange(50), None, 5, shuffle=True, seed=3,
                                               batch_size=8)
    first = np.concatenate(list(data))[:, 0]
    data.on_epoch_end()
    second = np.concatenate(list(data))[:, 0]
    assert sorted(first) == sorted(second) == list(range(46))
    assert first.tolist() != second.tolist()
    again = utils.timeseries_dataset_from_array(np.arange(50), None, 5, shuffle=True, seed=3)
    np.testing.assert_array_equal(again[0][:, 0], first)
    expected = np.arange(46)
    np.random.RandomState(3).shuffle(expected)
    np.testing.assert_array_equal(first, expected)


def test_series_that_are_read_in_pieces_train(backend, tmp_path):
    h5py = pytest.importorskip("h5py")
    series = np.sin(np.arange(200) / 5).astype("float32")
    with h5py.File(tmp_path / "series.h5", "w") as file:
        file["series"] = series
        stored = utils.timeseries_dataset_from_array(file["series"], file["series"], 8,
                                                     sequence_stride=2, batch_size=32)
        plain = utils.timeseries_dataset_from_array(series, series, 8, sequence_stride=2,
                                                    batch_size=32)
        for one, two in zip(stored, plain, strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])
    trained = fm.Sequential([fm.Input((8,)), fm.layers.Dense(1)])
    trained.compile(fm.optimizers.Adam(0.1), "mse")
    losses = trained.fit(plain, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


# -- texts -----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for name, texts in (("good", ["good", "fine", "very nice"]), ("bad", ["so bad", "poor"])):
        (tmp_path / "data" / name / "deep").mkdir(parents=True)
        for i, text in enumerate(texts):
            place = "deep" if text == "poor" else "."
            (tmp_path / "data" / name / place / f"{i}.txt").write_text(text)
        (tmp_path / "data" / name / "notes.md").write_text("left out")
    return tmp_path / "data"


def test_texts_of_folders(folder, capsys):
    data = utils.text_dataset_from_directory(folder, batch_size=4, shuffle=False)
    assert capsys.readouterr().out == "Found 5 files belonging to 2 classes.\n"
    assert data.class_names == ["bad", "good"]
    (texts, labels), (last, _) = data
    assert texts.tolist() == ["so bad", "poor", "good", "fine"]
    assert labels.tolist() == [0, 0, 1, 1]
    assert labels.dtype == "int32"
    assert last.tolist() == ["very nice"]


def test_texts_in_other_forms(folder, capsys):
    def read(**how):
        return utils.text_dataset_from_directory(folder, shuffle=False, verbose=False, **how)

    assert read(label_mode="binary")[0][1].tolist() == [[0.0], [0.0], [1.0], [1.0], [1.0]]
    assert read(label_mode="categorical")[0][1].tolist()[0] == [1.0, 0.0]
    assert read(class_names=["good", "bad"])[0][1].tolist() == [0, 0, 0, 1, 1]
    assert read(labels=[4, 3, 2, 1, 0])[0][1].tolist() == [4, 3, 2, 1, 0]
    assert read(labels=[4, 3, 2, 1, 0]).class_names == ["0", "1", "2", "3", "4"]
    for alone in (read(labels=None), read(label_mode=None)):
        assert sorted(alone[0]) == ["fine", "good", "poor", "so bad", "very nice"]
    assert read(max_length=3)[0][0].tolist() == ["so ", "poo", "goo", "fin", "ver"]
    assert read(batch_size=None)[1] == ("poor", 0)
    assert not capsys.readouterr().out
    both = utils.text_dataset_from_directory(folder, validation_split=0.4, subset="both", seed=1)
    assert "Using 3 files for training" in capsys.readouterr().out
    parts = [utils.text_dataset_from_directory(folder, validation_split=0.4, seed=1, subset=part,
                                               verbose=False)
             for part in ("training", "validation")]
    for some in (both, parts):
        assert [len(part[0][0]) for part in some] == [3, 2]
        assert len({*some[0][0][0], *some[1][0][0]}) == 5


def test_texts_train_a_model(folder):
    data = utils.text_dataset_from_directory(folder, batch_size=2, verbose=False, seed=1)
    layer = fm.layers.TextVectorization(output_mode="multi_hot")
    layer.adapt(texts for texts, _ in data)
    made = fm.Sequential([fm.Input((1,), dtype="string"), layer,
                          fm.layers.Dense(1, activation="sigmoid")])
    made.compile("adam", "binary_crossentropy")
    assert np.isfinite(made.fit(data, epochs=2, verbose=0).history["loss"]).all()


# -- progress --------------------------------------------------------------------------------------


def test_a_bar_averages(capsys):
    bar = utils.Progbar(4, verbose=1, interval=0, stateful_metrics=["rate"])
    bar.update(1, [("loss", 1.0), ("rate", 0.1)])
    bar.add(1, [("loss", 3.0), ("rate", 0.2)])
    bar.add(2, [("loss", 7.0), ("rate", 0.3)])
    lines = capsys.readouterr().out.split("\r")
    assert lines[1].startswith("1/4 \u2501")
    assert "loss: 2.0000 - rate: 0.2000" in lines[2]
    assert "loss: 7.0000 - rate: 0.3000" in lines[3]  # at the end as they are
    assert lines[3].endswith("\n")
    plain = utils.Progbar(None, stateless_metrics=["loss"], interval=0)
    plain.update(3, [("loss", 2.0), ("count", 5)])
    assert "3/Unknown" in capsys.readouterr().out
    utils.Progbar(2, verbose=0).update(2)
    utils.Progbar(2, interval=1e9).update(1)
    assert len(capsys.readouterr().out.split("\r")) == 2


def test_what_is_said_goes_to_a_log(capsys, caplog):
    utils.disable_interactive_logging()
    try:
        assert not fm.config.is_interactive_logging_enabled()
        with caplog.at_level(logging.INFO, "fusedmlp"):
            model().fit(X / 40, Y / 40, verbose=2)
            model().fit(X / 40, Y / 40, verbose=1)
        assert caplog.text.count("loss:") == 2
        assert not capsys.readouterr().out
    finally:
        utils.enable_interactive_logging()
    model().fit(X / 40, Y / 40, verbose=2)
    assert "loss:" in capsys.readouterr().out


# -- limits ----------------------------------------------------------------------------------------


@pytest.fixture
def limits():
    yield fm.config
    fm.config.set_max_epochs(None)
    fm.config.set_max_steps_per_epoch(None)


def test_limits_of_epochs_and_steps(backend, limits):
    fm.config.set_max_epochs(2)
    made = model()
    pairs = utils.split_dataset((X / 40, Y / 40), left_size=19)[0].batch(4)
    with pytest.warns(UserWarning, match="Only 2 of 5 epochs"):
        history = made.fit(X / 40, Y / 40, batch_size=4, epochs=5, verbose=0)
    assert len(history.epoch) == 2
    assert made.optimizer.iterations == 10
    fm.config.set_max_steps_per_epoch(3)
    with pytest.warns(UserWarning, match="At most 3 steps"):
        made.fit(X / 40, Y / 40, batch_size=4, verbose=0)
    assert made.optimizer.iterations == 13
    with pytest.warns(UserWarning, match="At most 3 steps"):
        made.fit(pairs, verbose=0)
    assert made.optimizer.iterations == 16
    with pytest.warns(UserWarning, match="At most 3 steps"):
        assert made.predict(X, batch_size=4).shape == (12, 1)
    with pytest.warns(UserWarning, match="At most 3 steps"):
        assert len(made.predict(pairs)) == 12
    with pytest.warns(UserWarning, match="At most 3 steps"):
        found = made.evaluate(X / 40, Y / 40, batch_size=4, verbose=0)
    limits.set_max_steps_per_epoch(None)
    limits.set_max_epochs(None)
    assert found == pytest.approx(made.evaluate(X[:12] / 40, Y[:12] / 40, verbose=0))
    assert made.predict(X).shape == (20, 1)
    assert len(made.fit(X, Y, epochs=3, verbose=0).epoch) == 3


def test_limits_come_from_the_environment():
    code = ("import fusedmlp as fm; print(fm.config.max_epochs(), fm.config.max_steps_per_epoch());"
            "fm.config.set_max_epochs(None); print(fm.config.max_epochs())")
    environment = {**os.environ, "FUSEDMLP_MAX_EPOCHS": "3"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                         text=True, check=True)
    assert run.stdout.split() == ["3", "None", "None"]


# -- settings --------------------------------------------------------------------------------------


def test_settings():
    found = utils.Config(rate=0.1, units=3)
    found.name = "a"
    found["deep"] = [1, 2]
    found.update(units=4, more=None)
    assert found.units == found["units"] == found.get("units") == 4
    assert (len(found), "name" in found, list(found)) == (
        5, True, ["deep", "more", "name", "rate", "units"])
    assert found.pop("more") is None
    assert found.to_json() == '{"rate": 0.1, "units": 4, "name": "a", "deep": [1, 2]}'
    assert dict(found.items()) == found.as_dict() == dict(zip(found.keys(), found.values(),
                                                              strict=True))
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert other.as_dict() == found.as_dict()
    found.freeze()
    for change in (lambda: setattr(found, "rate", 1), lambda: found.pop("rate"),
                   lambda: found.update(rate=1), lambda: found.__setitem__("rate", 1),
                   lambda: found.__delitem__("rate")):
        with pytest.raises(ValueError, match="frozen: 'rate'"):
            change()
    found.unfreeze()
    del found["rate"]
    with pytest.raises(AttributeError, match="Did you mean 'units'"):
        found.unit  # noqa: B018
    with pytest.raises(AttributeError, match="is a method"):
        found.keys = 3


# -- downloads -------------------------------------------------------------------------------------


def archives(folder):
    """A tar and a zip file with the same content."""
    (folder / "there").mkdir()
    with tarfile.open(folder / "there" / "texts.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("texts/a.txt")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))
    with zipfile.ZipFile(folder / "there" / "texts.zip", "w") as archive:
        archive.writestr("texts/a.txt", "hello")
    return folder / "there"


def test_files_are_fetched_once(tmp_path, capsys):
    there = tmp_path / "numbers.csv"
    there.write_text("1,2")
    right = hashlib.sha256(b"1,2").hexdigest()
    path = utils.get_file(origin=there.as_uri(), cache_dir=tmp_path, file_hash=right)
    assert Path(path) == tmp_path / "datasets" / "numbers.csv"
    assert Path(path).read_text() == "1,2"
    assert "Downloading data from file:" in capsys.readouterr().out
    there.write_text("3,4")
    assert Path(utils.get_file(origin=there.as_uri(), cache_dir=tmp_path)).read_text() == "1,2"
    other = hashlib.md5(b"3,4").hexdigest()
    again = utils.get_file(origin=there.as_uri(), cache_dir=tmp_path, md5_hash=other)
    assert Path(again).read_text() == "3,4"
    assert "is fetched again" in capsys.readouterr().out
    there.write_text("5,6")
    assert Path(utils.get_file("b.csv", there.as_uri(), cache_dir=tmp_path, cache_subdir="x",
                               force_download=True)) == tmp_path / "x" / "b.csv"
    with pytest.raises(ValueError, match="sha256 hash"):
        utils.get_file("c.csv", there.as_uri(), cache_dir=tmp_path, file_hash=right)
    assert not list(tmp_path.glob("datasets/*c.csv*"))


@pytest.mark.parametrize("name", ["texts.tar.gz", "texts.zip"])
def test_archives_are_unpacked(tmp_path, name):
    origin = (archives(tmp_path) / name).as_uri()
    path = utils.get_file(origin=origin, cache_dir=tmp_path, extract=True)
    assert Path(path, "texts", "a.txt").read_text() == "hello"
    assert Path(path).name == name
    named = utils.get_file("some.tar", origin, cache_dir=tmp_path, extract=True)
    assert Path(named).name == "some_extracted"
    assert Path(named, "texts", "a.txt").read_text() == "hello"


def test_archives_stay_in_their_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../outside.txt", "hello")
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        info = tarfile.TarInfo("/tmp/outside.txt")
        archive.addfile(info, io.BytesIO(b""))
    for name in ("bad.zip", "bad.tar"):
        with pytest.raises(ValueError, match=r"its own folder alone.*outside\.txt"):
            utils.get_file(origin=(tmp_path / name).as_uri(), cache_dir=tmp_path, extract=True)
    with pytest.warns(UserWarning, match="no archive"):
        utils.get_file("x", (tmp_path / "bad.zip").as_uri(), untar=True, cache_dir=tmp_path)


@pytest.mark.parametrize(("call", "error", "match"), [
    (lambda: utils.get_file("a.txt"), ValueError, "`origin`"),
    (lambda: utils.get_file(origin="file:///"), ValueError, "`fname`"),
    (lambda: utils.get_file("a/b", "file:///a"), ValueError, "without folders"),
    (lambda: utils.get_file(origin="file:///a", hash_algorithm="sha1"), ValueError, "sha256"),
    (lambda: utils.get_file(origin="file:///a", archive_format="7z"), ValueError, "'tar', 'zip'"),
    (lambda: utils.split_dataset(X), ValueError, "At least one"),
    (lambda: utils.split_dataset(X, left_size=1.5), ValueError, "left_size"),
    (lambda: utils.split_dataset(X, left_size=20), ValueError, "left_size"),
    (lambda: utils.split_dataset(X, 0.7, 0.7), ValueError, "divide 20 rows"),
    (lambda: utils.split_dataset((X, Y[:3]), 0.7), ValueError, "20, 3"),
    (lambda: utils.split_dataset(3, 0.7), TypeError, "`dataset`"),
    (lambda: utils.split_dataset(iter([]), 0.7), ValueError, "at least one batch"),
    (lambda: utils.timeseries_dataset_from_array(X, None, 30), ValueError, "at least one window"),
    (lambda: utils.timeseries_dataset_from_array(X, None, 3, start_index=20), ValueError,
     "start_index"),
    (lambda: utils.timeseries_dataset_from_array(X, None, 3, start_index=5, end_index=5),
     ValueError, "end_index"),
    (lambda: utils.timeseries_dataset_from_array(X, None, 3, sampling_rate=20), ValueError,
     "sampling_rate"),
    (lambda: utils.timeseries_dataset_from_array(X, None, 3, sequence_stride=0), ValueError,
     "sequence_stride"),
    (lambda: utils.timeseries_dataset_from_array(X, None, 3, format="csv"), ValueError, "format"),
    (lambda: utils.timeseries_dataset_from_array(X, None, 3)[1], IndexError, "1 batches"),
    (lambda: utils.Progbar(3, stateful_metrics=["a"], stateless_metrics=["b"]), ValueError,
     "Only one"),
    (lambda: utils.Progbar(3, verbose=3), ValueError, "`verbose`"),
    (lambda: fm.config.set_max_epochs(0), ValueError, "max_epochs"),
    (lambda: fm.config.set_max_steps_per_epoch("3"), TypeError, "max_steps_per_epoch"),
    (lambda: utils.get_source_inputs(X), TypeError, "`tensor`"),
])
def test_what_does_not_fit_is_named(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize(("arguments", "match"), [
    ({"labels": "none"}, "`labels`"), ({"labels": [1]}, "each of 5 files"),
    ({"label_mode": "float"}, "label_mode"), ({"class_names": ["ugly"]}, "'ugly'"),
    ({"labels": None, "class_names": ["bad"]}, "`class_names`"),
    ({"subset": "training"}, "given together"), ({"validation_split": 0.5}, "given together"),
    ({"validation_split": 0.5, "subset": "both"}, "`seed`"),
    ({"validation_split": 0.1, "subset": "validation", "seed": 1}, "for validation"),
    ({"label_mode": "binary", "class_names": ["bad"]}, "two classes"),
])
def test_texts_that_do_not_fit_are_named(folder, arguments, match):
    with pytest.raises(ValueError, match=match):
        utils.text_dataset_from_directory(folder, verbose=False, **arguments)
