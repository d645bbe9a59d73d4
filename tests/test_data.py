"""What data may be: frames, tables, files, generators, loaders; the truth is plain arrays."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers
from fusedmlp.training import stored

ROWS, COLUMNS, CLASSES = 50, 4, 3


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype("float32")


@pytest.fixture
def y(x):
    return (x @ np.random.default_rng(1).normal(size=(COLUMNS, CLASSES))).argmax(axis=1)


def network(built=True, dtype=None):
    fm.utils.set_random_seed(1)
    model = fm.Sequential([
        *([layers.Input((COLUMNS,), dtype=dtype)] if built else []),
        layers.Dense(8, activation="tanh"),
        layers.Dense(CLASSES, activation="softmax"),
    ])
    model.compile(fm.optimizers.Adam(0.01), "sparse_categorical_crossentropy",
                  metrics=["accuracy"])
    return model


def autoencoder():
    fm.utils.set_random_seed(1)
    model = fm.Sequential([layers.Input((COLUMNS,)), layers.Dense(COLUMNS)])
    model.compile("sgd", "mse")
    return model


def same(a, b):
    return all(np.array_equal(v, w) for v, w in zip(a.get_weights(), b.get_weights(), strict=True))


def slices(x, y, size, *weights):
    for i in range(0, len(x), size):
        yield tuple(a[i : i + size] for a in (x, y, *weights))


# -- frames and tables ---------------------------------------------------------------------------


def _pandas(x):
    return pytest.importorskip("pandas").DataFrame(x, columns=list("abcd"))


def _pandas_nullable(x):
    return _pandas(x).astype("Float32")


def _polars(x):
    return pytest.importorskip("polars").DataFrame(x, schema=list("abcd"))


def _lazy(x):
    return _polars(x).lazy()


def _arrow(x):
    pa = pytest.importorskip("pyarrow")
    return pa.table({name: x[:, i] for i, name in enumerate("abcd")})


def _record_batch(x):
    return _arrow(x).to_batches()[0]


def _torch(x):
    return pytest.importorskip("torch").tensor(x, requires_grad=True)


FRAMES = (_pandas, _pandas_nullable, _polars, _lazy, _arrow, _record_batch, _torch)


@pytest.mark.parametrize("convert", FRAMES)
def test_frames_train_as_arrays_do(x, y, convert):
    plain, other = network(), network()
    plain.fit(x, y, epochs=2, verbose=0)
    other.fit(convert(x), y, epochs=2, verbose=0)
    assert same(plain, other)
    assert np.array_equal(plain.predict(x), other.predict(convert(x)))
    assert plain.evaluate(x, y) == other.evaluate(convert(x), y)


@pytest.mark.parametrize("series", [
    lambda y: pytest.importorskip("pandas").Series(y),
    lambda y: pytest.importorskip("pandas").Series(y, dtype="Int64"),
    lambda y: pytest.importorskip("pandas").DataFrame({"y": y}),
    lambda y: pytest.importorskip("polars").Series(y),
    lambda y: pytest.importorskip("pyarrow").array(y),
    lambda y: pytest.importorskip("pyarrow").chunked_array([y[:7], y[7:]]),
])
def test_series_are_targets(x, y, series):
    plain, other = network(), network()
    plain.fit(x, y, verbose=0)
    other.fit(x, series(y), verbose=0)
    assert same(plain, other)


@pytest.mark.parametrize("frame", [
    lambda d: pytest.importorskip("pandas").DataFrame(d).astype({"n": "Int64"}),
    lambda d: pytest.importorskip("polars").DataFrame(d),
    lambda d: pytest.importorskip("pyarrow").table(d),
])
def test_missing_values_are_nan_and_columns_keep_their_order(frame):
    from fusedmlp import frames

    found = frames.convert(frame({"b": [True, False, True], "n": [1, None, 3],
                                  "a": [0.5, 1.5, None]}), "x")
    assert np.array_equal(found, [[1, 1, 0.5], [0, np.nan, 1.5], [1, 3, np.nan]], equal_nan=True)


@pytest.mark.parametrize("frame", [
    lambda d: pytest.importorskip("pandas").DataFrame(d),
    lambda d: pytest.importorskip("polars").DataFrame(d),
    lambda d: pytest.importorskip("pyarrow").table(d),
])
def test_a_column_of_words_is_named(frame):
    data = frame({"a": [1.0, 2.0], "colour": ["red", "blue"]})
    with pytest.raises(TypeError, match="Column 'colour' of argument `x` must hold real numbers"):
        network().predict(data)


# -- files ---------------------------------------------------------------------------------------


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(stored, "_BLOCK_BYTES", 200)


@pytest.fixture
def on_disk(tmp_path):
    def save(array, name="x"):
        path = tmp_path / f"{name}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    return save


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "float32"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_mapped_arrays_train_as_those_in_memory(backend, y, on_disk, small_blocks, dtype, shuffle):
    x = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)) * 5
    mapped = on_disk(x.astype(dtype))
    whole, blocks = network(), network()
    arguments = {"epochs": 3, "batch_size": 7, "shuffle": shuffle, "verbose": 0,
                 "validation_split": 0.2}
    a = whole.fit(np.array(mapped), y, **arguments)
    b = blocks.fit(mapped, y, **arguments)
    assert same(whole, blocks)
    assert a.history == b.history
    assert np.array_equal(whole.predict(np.array(mapped)), blocks.predict(mapped))
    assert whole.evaluate(np.array(mapped), y) == blocks.evaluate(mapped, y)


def test_only_blocks_are_read(on_disk, y, small_blocks, monkeypatch):
    read = []
    for name in ("take", "read"):
        method = getattr(stored.Stored, name)
        monkeypatch.setattr(stored.Stored, name, lambda *a, method=method: read.append(
            len(out := method(*a))) or out)
    mapped = on_disk(np.ones((ROWS, COLUMNS), "float16"))
    model = network()
    model.fit(mapped, y, batch_size=5, verbose=0)
    assert read == [10] * 5
    model.predict(mapped)
    model.evaluate(mapped, y)
    assert max(read) <= stored.Stored(mapped, np.dtype("float32"), "x").block_rows == 12


def test_a_mapped_array_of_the_models_dtype_is_read_in_place(on_disk, x):
    mapped = on_disk(x)
    assert not stored.is_stored(mapped, np.dtype("float32"))
    from fusedmlp.training import data

    assert np.shares_memory(data.features(mapped, "x", COLUMNS, np.dtype("float32")), mapped)


@pytest.mark.parametrize("view", [lambda m: m[::2], lambda m: m[:, 1:], lambda m: m[5:]])
def test_views_of_mapped_arrays(on_disk, view, small_blocks):
    mapped = view(on_disk(np.random.default_rng(0).normal(size=(ROWS, COLUMNS + 1))))
    assert stored.is_stored(mapped, np.dtype("float32"))
    memory = np.array(mapped)[:, :COLUMNS]
    whole, blocks = autoencoder(), autoencoder()
    whole.fit(memory, memory, epochs=2, verbose=0)
    blocks.fit(mapped[:, :COLUMNS], mapped[:, :COLUMNS], epochs=2, verbose=0)
    assert same(whole, blocks)


def test_mapped_targets_are_checked_before_training(on_disk, x, small_blocks):
    y = np.full((ROWS, CLASSES), 0.25)
    y[ROWS - 1, 1] = 1.5
    model = network()
    model.compile("sgd", "categorical_crossentropy")
    before = model.get_weights()
    with pytest.raises(ValueError, match="must hold targets from 0 to 1"):
        model.fit(x, on_disk(y), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    with pytest.raises(ValueError, match=r"must have shape \(rows, 3\)"):
        model.fit(x, on_disk(y[:, :2]), verbose=0)


def test_class_weights_of_mapped_targets(on_disk, x, y, small_blocks):
    one_hot = np.eye(CLASSES)[y]
    whole, blocks = network(), network()
    for model, targets in ((whole, one_hot), (blocks, on_disk(one_hot))):
        model.compile("sgd", "categorical_crossentropy")
        model.fit(x, targets, class_weight={1: 4.0}, verbose=0)
    assert same(whole, blocks)


def test_hdf5_datasets(tmp_path, x, y, small_blocks):
    h5py = pytest.importorskip("h5py")
    whole, blocks = network(), network()
    whole.fit(x, y, epochs=2, validation_split=0.1, verbose=0)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"], file["y"] = x.astype("float64"), y
        blocks.fit(file["x"], file["y"], epochs=2, validation_split=0.1, verbose=0)
        assert np.array_equal(whole.predict(x), blocks.predict(file["x"]))
    assert same(whole, blocks)


def test_batches_of_mapped_arrays(on_disk, x, y):
    whole, blocks = network(), network()
    mapped = on_disk(x.astype("float64"))
    assert whole.train_on_batch(x, y) == blocks.train_on_batch(mapped, y)
    assert whole.test_on_batch(x, y) == blocks.test_on_batch(mapped, y)


# -- batches -------------------------------------------------------------------------------------


class Slices(fm.utils.PyDataset):
    def __init__(self, x, y, size, weight=None, **kwargs):
        super().__init__(**kwargs)
        self.arrays, self.size = (x, y) if weight is None else (x, y, weight), size
        self.moments, self.asked = [], []
        self.threads = set()

    def __len__(self):
        return -(-len(self.arrays[0]) // self.size)

    def __getitem__(self, index):
        self.asked.append(index)
        self.threads.add(threading.get_ident())
        return tuple(a[index * self.size : (index + 1) * self.size] for a in self.arrays)

    def on_epoch_begin(self):
        self.moments.append("begin")

    def on_epoch_end(self):
        self.moments.append("end")


class Loader:
    """What data loaders look like: batches as lists, a length, and as many passes as one likes."""

    def __init__(self, x, y, size):
        self.x, self.y, self.size = x, y, size

    def __len__(self):
        return -(-len(self.x) // self.size)

    def __iter__(self):
        return (list(batch) for batch in slices(self.x, self.y, self.size))


def _generator(x, y, size):
    while True:
        yield from slices(x, y, size)


BATCHES = {
    "dataset": lambda x, y, size: Slices(x, y, size),
    "loader": Loader,
    "generator": _generator,
    "duck": lambda x, y, size: type("Duck", (), {
        "__len__": lambda self: -(-len(x) // size),
        "__getitem__": lambda self, i: (x[i * size : (i + 1) * size], y[i * size : (i + 1) * size]),
    })(),
}


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("kind", BATCHES)
def test_batches_make_the_steps_of_arrays(backend, x, y, kind, built):
    whole, single = network(built), network(built)
    a = whole.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
    b = single.fit(BATCHES[kind](x, y, 16), epochs=3, shuffle=False, verbose=0,
                   steps_per_epoch=4 if kind == "generator" else None)
    assert same(whole, single)
    assert a.history == b.history
    assert b.params["steps"] == 4
    assert single.evaluate(BATCHES[kind](x, y, 16), steps=4) == whole.evaluate(x, y)
    assert np.allclose(single.predict(BATCHES[kind](x, y, 16), steps=4), whole.predict(x))


def test_torch_loaders(x, y):
    data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")
    dataset = data.TensorDataset(torch.tensor(x), torch.tensor(y))
    whole, single = network(), network()
    whole.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    single.fit(data.DataLoader(dataset, batch_size=16), epochs=2, verbose=0)
    assert same(whole, single)
    with pytest.raises(TypeError, match="DataLoader"):
        single.fit(dataset)


def test_batches_of_many_sizes_share_an_epoch(backend, x, y):
    cuts = [0, 3, 20, 21, ROWS]
    model, other = network(), network()
    batches = [(x[a:b], y[a:b]) for a, b in itertools.pairwise(cuts)]
    history = model.fit(iter(batches), verbose=0)
    logs = []
    for batch in batches:
        logs.append(other.train_on_batch(*batch))
    assert same(model, other)
    sizes = np.diff(cuts)
    assert history.history["loss"][0] == pytest.approx(
        sum(n * loss for n, (loss, _) in zip(sizes, logs, strict=True)) / ROWS, rel=1e-6)


def test_weights_in_batches(backend, x, y):
    weight = np.random.default_rng(3).random(ROWS)
    whole, single = network(), network()
    whole.fit(x, y, batch_size=16, sample_weight=weight, class_weight={0: 3.0}, shuffle=False,
              verbose=0)
    single.fit(slices(x, y, 16, weight), class_weight={0: 3.0}, verbose=0)
    assert same(whole, single)


def test_a_dataset_is_told_of_epochs_and_shuffled(x, y):
    dataset = Slices(x, y, 5)
    model = network()
    model.fit(dataset, epochs=2, verbose=0)
    assert dataset.moments == ["begin", "end"] * 2
    first, second = dataset.asked[1:11], dataset.asked[11:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    again = Slices(x, y, 5)
    network().fit(again, epochs=2, verbose=0)
    assert again.asked == dataset.asked
    dataset.asked.clear()
    model.fit(dataset, shuffle=False, verbose=0)
    assert dataset.asked == [0, *range(10)]


@pytest.mark.parametrize("workers", [{"workers": 3, "max_queue_size": 2},
                                     {"workers": 1, "use_multiprocessing": True}])
def test_workers_make_the_same_batches(x, y, workers):
    plain, ahead = network(), network()
    dataset = Slices(x, y, 7, **workers)
    plain.fit(Slices(x, y, 7), epochs=2, verbose=0)
    ahead.fit(dataset, epochs=2, verbose=0)
    assert same(plain, ahead)
    if "max_queue_size" in workers:
        assert len(dataset.threads - {threading.get_ident()}) >= 1


def test_a_worker_that_fails_is_heard(x, y):
    class Broken(Slices):
        def __getitem__(self, index):
            if index == 3:
                raise RuntimeError("no such file")
            return super().__getitem__(index)

    with pytest.raises(RuntimeError, match="no such file"):
        network().fit(Broken(x, y, 5, workers=2), verbose=0)


def test_steps_go_on_in_a_generator(backend, x, y):
    taken = []

    def batches():
        for i, batch in enumerate(slices(x, y, 5)):
            taken.append(i)
            yield batch

    model = network()
    with pytest.warns(UserWarning, match="data is used up") as record:
        history = model.fit(batches(), epochs=5, steps_per_epoch=4, verbose=0)
    assert taken == list(range(10))
    assert model.optimizer.iterations == 10
    assert history.epoch == [0, 1, 2]
    assert [str(w.message).split(",")[0] for w in record] == [
        "Epoch 3 ends after 2 of `steps_per_epoch` = 4 steps",
        "Training ends before epoch 4 of 5"]


def test_steps_of_a_dataset_end_with_its_pass(x, y):
    dataset = Slices(x, y, 5)
    with pytest.warns(UserWarning, match="Epoch 2 ends after 4"):
        network().fit(dataset, epochs=3, steps_per_epoch=6, shuffle=False, verbose=0)
    assert dataset.asked == [0, *range(10), *range(6)]


def test_no_batch_is_taken_that_nobody_asked_for(x, y):
    source = _generator(x, y, 5)
    model = network()
    model.predict(batch[0] for batch in [next(source)])
    taken = []
    watched = (taken.append(1) or batch for batch in source)
    model.evaluate(watched, steps=3)
    model.predict(watched, steps=2)
    assert len(taken) == 5


def test_validation_batches(backend, x, y):
    whole, single = network(), network()
    a = whole.fit(x, y, epochs=2, validation_data=(x[:20], y[:20]), verbose=0)
    b = single.fit(x, y, epochs=2, validation_data=Slices(x[:20], y[:20], 8), verbose=0)
    assert a.history["val_accuracy"] == b.history["val_accuracy"]
    assert a.history["val_loss"] == pytest.approx(b.history["val_loss"], rel=1e-6)
    endless = network()
    c = endless.fit(x, y, epochs=2, validation_data=_generator(x[:20], y[:20], 5),
                    validation_steps=4, verbose=0)
    assert c.history["val_loss"] == pytest.approx(a.history["val_loss"], rel=1e-6)


def test_callbacks_see_every_batch(backend, x, y):
    seen = []
    every = fm.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append((batch, set(logs))))
    network().fit(Loader(x, y, 16), verbose=0, callbacks=[every])
    assert seen == [(i, {"loss", "accuracy"}) for i in range(4)]


def test_stopping_ends_the_pass(x, y):
    class Stop(fm.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    dataset = Slices(x, y, 5, workers=2, max_queue_size=1)
    before = threading.active_count()
    network().fit(dataset, epochs=3, verbose=0, callbacks=[Stop()])
    assert dataset.moments == ["begin", "end"]
    assert threading.active_count() == before


class Endless(fm.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return np.full((2, COLUMNS), index % 5, "float32"), np.zeros(2, "int64")


REFUSED = {
    "targets beside": (lambda x, y: ({"x": Loader(x, y, 5), "y": y}), ValueError,
                       "Argument `y` must be None where `x` comes as batches"),
    "weights beside": (lambda x, y: ({"x": Loader(x, y, 5), "sample_weight": y}), ValueError,
                       "Argument `sample_weight` must be None"),
    "split": (lambda x, y: ({"x": Loader(x, y, 5), "validation_split": 0.1}), ValueError,
              "`validation_split` can't be used"),
    "empty": (lambda x, y: ({"x": iter(())}), ValueError, "at least one batch"),
    "length": (lambda x, y: ({"x": iter([(x, y, y, y)])}), ValueError, "of length 4"),
    "no targets": (lambda x, y: ({"x": iter([(x,)])}), ValueError,
                   r"`y` must hold the targets.*Received: None \(batch 0 of the data\)"),
    "width": (lambda x, y: ({"x": iter([(x, y), (x[:, :2], y)])}), ValueError,
              r"\(rows, 4\). Received: shape \(50, 2\) \(batch 1 of the data\)"),
    "weights in one": (lambda x, y: ({"x": iter([(x, y), (x, y, y)])}), ValueError,
                       "Batches must be alike"),
    "endless": (lambda x, y: ({"x": Endless()}), ValueError, "`steps_per_epoch` must be given"),
    "workers": (lambda x, y: ({"x": Slices(x, y, 5, workers=-1)}), ValueError, "workers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(x, y, name):
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        network().fit(**make(x, y), verbose=0)


def test_endless_data_needs_steps():
    model = network()
    model.fit(Endless(), steps_per_epoch=3, epochs=2, verbose=0)
    assert model.optimizer.iterations == 6
    with pytest.raises(ValueError, match="Argument `steps` must be given"):
        model.predict(Endless())
    with pytest.raises(ValueError, match="Argument `steps` must be given"):
        model.evaluate(Endless())
    assert model.predict(Endless(), steps=2).shape == (4, CLASSES)


def test_compile_within_fit_is_refused(x, y):
    class Again(fm.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.compile("sgd", "mse")

    model = network()
    with pytest.raises(RuntimeError, match="while `fit\\(\\)` is running"):
        model.fit(x, y, verbose=0, callbacks=[Again()])
    assert model.loss == "sparse_categorical_crossentropy"
    model.compile("sgd", "sparse_categorical_crossentropy")  # afterwards it may


def test_compile_at_the_end_of_fit(x, y):
    class Then(fm.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.compile("sgd", "sparse_categorical_crossentropy")

    model = network()
    model.fit(x, y, verbose=0, callbacks=[Then()])
    assert type(model.optimizer).__name__ == "SGD"
