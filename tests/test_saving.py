"""Saved models come back equal, go on training exactly, and never leave half a file."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import saving
from fusedmlp.saving import archive


def data(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5)).astype("float32")
    return x, (x[:, 0] + x[:, 1] ** 2 > 1).astype("int64")


def network(optimizer="adam", dtype=None, compiled=True):
    model = fm.Sequential([
        fm.Input((5,), dtype=dtype),
        fm.layers.Dense(7, activation=functools.partial(fm.activations.relu, max_value=4.0),
                        kernel_initializer=fm.initializers.HeNormal(seed=3), name="hidden"),
        fm.layers.Dropout(0.25),
        fm.layers.Dense(3, activation="tanh", use_bias=False),
        fm.layers.Dense(2, activation="softmax", name="scores"),
    ], name="net")
    if compiled:
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


OPTIMIZERS = {
    "sgd": lambda: fm.optimizers.SGD(0.05),
    "momentum": lambda: fm.optimizers.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda: fm.optimizers.Adam(0.01),
    "adamw": lambda: fm.optimizers.AdamW(0.01),
}


def equal(a, b):
    return all(np.array_equal(x, y) and x.dtype == y.dtype
               for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


@pytest.fixture(autouse=True)
def seeded():
    fm.utils.set_random_seed(11)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.keras"


# -- round trips -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_goes_on_as_if_never_interrupted(backend, path, name, dtype):
    x, y = data()
    model = network(OPTIMIZERS[name](), dtype)
    model.fit(x, y, batch_size=16, epochs=3, verbose=0)
    model.save(path)
    fm.utils.set_random_seed(999)  # nothing may depend on it
    loaded = fm.models.load_model(path)
    assert equal(loaded, model)
    assert loaded.dtype == dtype
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert loaded.optimizer.iterations == model.optimizer.iterations == 12
    first = model.fit(x, y, batch_size=16, epochs=3, verbose=0).history
    second = loaded.fit(x, y, batch_size=16, epochs=3, verbose=0).history
    assert first == second
    assert equal(loaded, model)
    for a, b in zip(loaded.optimizer.slots, model.optimizer.slots, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_state_matters_for_that(path):
    """The test above would fail without each part of the state."""
    x, y = data()
    model = network()
    model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    model.save(path)
    model.fit(x, y, batch_size=16, epochs=1, verbose=0)
    without = {}
    for part in ("seed", "epoch", "iterations", "slots"):
        loaded = saving.load_model(path)
        if part in ("seed", "epoch"):
            loaded._set_state({**loaded._state(), part: 0})
        elif part == "iterations":
            loaded.optimizer.iterations = 0
        else:
            loaded.optimizer.slots[0][:] = 0
        loaded.fit(x, y, batch_size=16, epochs=1, verbose=0)
        without[part] = equal(loaded, model)
    assert without == dict.fromkeys(without, False)


def test_everything_is_described(path):
    model = network(OPTIMIZERS["momentum"]())
    model.layers[0].trainable = False
    model.compile(model.optimizer, fm.losses.SparseCategoricalCrossentropy(ignore_class=1),
                  loss_weights=0.5, metrics=["accuracy"],
                  weighted_metrics=[fm.metrics.SparseCategoricalCrossentropy(name="ce")])
    model.save(path)
    loaded = saving.load_model(path)
    assert loaded.get_config() == model.get_config()
    assert loaded.get_compile_config() == model.get_compile_config()
    assert loaded.name == "net"
    assert [layer.trainable for layer in loaded.layers] == [False, True, True, True]
    assert loaded.layers[0].activation.keywords == {"max_value": 4.0}
    assert type(loaded.optimizer) is fm.optimizers.SGD
    assert loaded._state() == model._state()


def test_frozen_layers_have_no_state(backend, path):
    x, y = data()
    model = network(compiled=False)
    model.layers[0].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=2, verbose=0)
    model.save(path)
    with zipfile.ZipFile(path) as outer, np.load(io.BytesIO(outer.read("optimizer.npz"))) as slots:
        paths = [v.path for v in model.trainable_variables]
        assert len(paths) == 3
        assert [name.split("/", 2)[2] for name in slots.files] == 2 * paths
    loaded = saving.load_model(path)
    for net in (model, loaded):
        net.fit(x, y, epochs=2, verbose=0)
    assert equal(loaded, model)


def test_not_compiled(path):
    model = network(compiled=False)
    model.save(path)
    loaded = saving.load_model(path)
    assert equal(loaded, model)
    assert not loaded.compiled


def test_compile_false(path):
    x, y = data()
    model = network()
    model.fit(x, y, verbose=0)
    model.save(path)
    loaded = saving.load_model(path, compile=False)
    assert not loaded.compiled
    assert equal(loaded, model)
    assert loaded._state() == model._state()


def test_not_built(path):
    model = fm.Sequential([fm.layers.Dense(3)])
    model.compile("sgd", "mse")
    model.save(path)
    loaded = saving.load_model(path)
    assert not loaded.built
    assert loaded.get_config() == model.get_config()
    loaded.fit(np.ones((4, 2), "float32"), np.ones((4, 3), "float32"), verbose=0)
    assert loaded.input_shape == (None, 2)


def test_built_by_data(path):
    model = fm.Sequential([fm.layers.Dense(3)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 2), "float32"), np.ones((4, 3), "float32"), verbose=0)
    model.save(path)
    loaded = saving.load_model(path)
    assert equal(loaded, model)


def test_nested_models_with_equal_names(path):
    inner = fm.Sequential([fm.Input((5,)), fm.layers.Dense(4, name="same")], name="inner")
    model = fm.Sequential([fm.Input((5,)), inner, fm.layers.Dense(4, name="same")])
    assert [v.path for v in model.variables].count("same/kernel") == 2
    model.save(path)
    loaded = saving.load_model(path)
    assert equal(loaded, model)
    saving.load_weights(loaded, path)
    assert equal(loaded, model)


def test_special_values_survive(path):
    model = network("sgd")
    weights = model.get_weights()
    weights[0][0, :4] = np.nan, np.inf, -0.0, 1e-45
    model.set_weights(weights)
    model.save(path)
    loaded = saving.load_model(path).get_weights()[0]
    assert loaded.tobytes() == weights[0].tobytes()


def test_file_is_what_it_is_said_to_be(path):
    x, y = data()
    model = network()
    model.fit(x, y, verbose=0)
    model.save(path)
    with zipfile.ZipFile(path) as outer:
        assert sorted(outer.namelist()) == ["config.json", "metadata.json", "optimizer.npz",
                                            "state.json", "weights.npz"]
        metadata = json.loads(outer.read("metadata.json"))
        with np.load(io.BytesIO(outer.read("weights.npz")), allow_pickle=False) as weights:
            assert weights.files == [f"{i}/{v.path}" for i, v in enumerate(model.variables)]
            np.testing.assert_array_equal(weights["0/hidden/kernel"], model.get_weights()[0])
    assert metadata == {"format": "fusedmlp", "format_version": 1, "version": fm.__version__}


def test_same_model_same_bytes(tmp_path):
    model = network()
    model.save(tmp_path / "a.keras")
    time.sleep(0.01)
    saving.load_model(tmp_path / "a.keras").save(tmp_path / "b.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()


# -- objects of one's own --------------------------------------------------------------------------


class Third(fm.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return np.full(shape, 1 / 3, dtype)


def test_own_objects(path):
    model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer=Third())])
    model.save(path)
    with pytest.raises(ValueError, match=r"Unknown initializer.*'Third'"):
        saving.load_model(path)
    assert equal(saving.load_model(path, custom_objects={"Third": Third}), model)
    assert "Third" not in saving.get_custom_objects()


def test_initializers_that_are_arrays(path):
    kernel = np.arange(6, dtype="float32").reshape(2, 3)
    model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(3, kernel_initializer=kernel)])
    model.save(path)
    assert saving.load_model(path).get_weights()[0].tolist() == kernel.tolist()


# -- weights alone ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["w.weights.h5", "w.npz", "w"])
def test_weights(tmp_path, name):
    one, two = network(), network()
    assert not equal(one, two)
    saving.save_weights(one, tmp_path / name)
    saving.load_weights(two, str(tmp_path / name))
    assert equal(one, two)


def test_weights_by_method(tmp_path):
    one, two = network(), network()
    one.save_weights(tmp_path / "w.weights.h5")
    two.load_weights(tmp_path / "w.weights.h5")
    assert equal(one, two)
    with pytest.raises(ValueError, match="`overwrite`"):
        one.save_weights(tmp_path / "w.weights.h5", overwrite=False)


def test_weights_are_seen_by_what_runs(backend, tmp_path):
    x, _ = data()
    one, two = network(), network()
    predict = two.predictor(batch=60)
    predict(x)
    two.predict(x, verbose=0)
    saving.save_weights(one, tmp_path / "w")
    saving.load_weights(two, tmp_path / "w")
    np.testing.assert_array_equal(two.predict(x, verbose=0), one.predict(x, verbose=0))
    np.testing.assert_array_equal(predict(x), one.predict(x, verbose=0))


def test_weights_of_a_model_file_and_the_other_way(tmp_path):
    one, two = network(), network()
    one.save(tmp_path / "model.keras")
    saving.load_weights(two, tmp_path / "model.keras")
    assert equal(one, two)
    saving.save_weights(one, tmp_path / "w")
    with pytest.raises(ValueError, match="weights alone"):
        saving.load_model(tmp_path / "w")


def test_weights_that_do_not_fit(tmp_path):
    saving.save_weights(network(), tmp_path / "w")
    other = fm.Sequential([fm.Input((5,)), fm.layers.Dense(7)])
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"3 of them.*the file has 'dense.*which the model"):
        saving.load_weights(other, tmp_path / "w")
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="must be built"):
        saving.load_weights(fm.Sequential([fm.layers.Dense(2)]), tmp_path / "w")
    with pytest.raises(ValueError, match="must be built"):
        saving.save_weights(fm.Sequential([fm.layers.Dense(2)]), tmp_path / "v")


# -- the file as a whole ---------------------------------------------------------------------------


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_failure_leaves_the_old_file(path, monkeypatch, function):
    old = network()
    old.save(path)
    content = path.read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(OSError, match="No space left"):
            network().save(path)
    assert path.read_bytes() == content
    assert leftovers(path.parent) == [path.name]


def test_interrupt_leaves_the_old_file(path, monkeypatch):
    network().save(path)
    content = path.read_bytes()

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            network().save(path)
    assert path.read_bytes() == content
    assert leftovers(path.parent) == [path.name]


def test_content_is_on_the_disk_before_it_has_the_name(path, monkeypatch):
    calls = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle):
        info = os.fstat(handle)
        calls.append(("fsync", stat.S_ISDIR(info.st_mode), info.st_size))
        real_fsync(handle)

    def replace(source, target):
        calls.append(("replace", os.path.getsize(source)))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    network().save(path)
    size = path.stat().st_size
    assert calls[:2] == [("fsync", False, size), ("replace", size)]
    if os.name == "posix":
        assert calls[2][:2] == ("fsync", True)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_while_saving(path):
    """Whenever the process dies, there is a whole file."""
    script = (
        "import sys, numpy as np, fusedmlp as fm\n"
        "model = fm.Sequential([fm.Input((300,)), fm.layers.Dense(300)])\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    model.set_weights([np.full((300, 300), n), np.full(300, n)])\n"
        "    model.save(sys.argv[1])\n"
        "    if n == 1: print('ready', flush=True)\n"
    )
    for wait in (0.0, 0.003, 0.01, 0.031):
        process = subprocess.Popen([sys.executable, "-c", script, str(path)],
                                   stdout=subprocess.PIPE)
        try:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(wait)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        kernel, bias = saving.load_model(path).get_weights()
        assert kernel.min() == kernel.max() == bias.min() == bias.max() >= 1


def test_overwrite(path):
    network().save(path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=r"`overwrite`.*exists"):
        network().save(path, overwrite=False)
    assert path.read_bytes() == content
    path.unlink()
    network().save(path, overwrite=False)
    assert path.exists()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions and links")
def test_permissions_and_links(tmp_path):
    target, link = tmp_path / "target.keras", tmp_path / "link.keras"
    network().save(target)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask
    link.symlink_to(target)
    model = network()
    model.save(link)
    assert link.is_symlink()
    assert equal(saving.load_model(target), model)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda d: saving.load_model(d / "none.keras"), FileNotFoundError, "none.keras"),
        (lambda d: saving.load_model(d), FileNotFoundError, "must be a file"),
        (lambda d: saving.load_model(3), TypeError, "`filepath`.*Received: 3"),
        (lambda d: saving.save_model(network(), 3), TypeError, "`filepath`.*Received: 3"),
        (lambda d: saving.save_model(network(), d), ValueError, "folder"),
        (lambda d: saving.save_model(network(), d / "no" / "m.keras"), FileNotFoundError, "folder"),
        (lambda d: saving.save_model(network(), d / "m.pt"), ValueError, r"suffix.*m\.pt"),
        (lambda d: saving.save_model("net", d / "m.keras"), TypeError, "`model`"),
        (lambda d: saving.load_weights("net", d / "m.keras"), TypeError, "`model`"),
    ],
)
def test_refused(tmp_path, call, error, text):
    with pytest.raises(error, match=text):
        call(tmp_path)
    assert leftovers(tmp_path) == []


# -- files of others, and damaged ones -------------------------------------------------------------


def zipped(**members):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "."), content)
    return target.getvalue()


FOREIGN = {
    "pickle": (pickle.dumps([1, 2]), "another kind of file"),
    "text": (b"hello", "another kind of file"),
    "empty": (b"", "another kind of file"),
    "npz": (zipped(w__npy=b""), "without metadata.json"),
    "other_archive": (zipped(metadata__json=b'{"format": "x"}'), "another format"),
    "keras_without_weights": (zipped(metadata__json=b'{"keras_version": "3.15.1"}',
                                     config__json=b"{}"), r"model\.weights|another format"),
    "later": (zipped(metadata__json=b'{"format": "fusedmlp", "format_version": 2,'
                                    b' "version": "9.0"}'), r"format 1 or earlier.*9\.0"),
    "no_version": (zipped(metadata__json=b'{"format": "fusedmlp"}'), "damaged"),
    "no_dict": (zipped(metadata__json=b"[]"), "damaged"),
    "no_json": (zipped(metadata__json=b"{"), "damaged"),
    "no_text": (zipped(metadata__json=b"\xff\xfe\xfa"), "damaged"),
    "no_members": (zipped(metadata__json=b'{"format": "fusedmlp", "format_version": 1}'),
                   "damaged: it has no"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files(path, kind):
    content, text = FOREIGN[kind]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=text):
        saving.load_model(path)
    model = network()
    before = model.get_weights()
    with pytest.raises(ValueError, match=text):
        saving.load_weights(model, path)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_pickles_are_not_read(path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(path.with_name("exploded")),)

    objects = io.BytesIO()
    np.savez(objects, **{"0/hidden/kernel": np.array([Bomb()], dtype=object)})
    network().save(path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, objects.getvalue() if name == "weights.npz" else content)
    with pytest.raises(ValueError, match=r"damaged.*weights\.npz"):
        saving.load_model(path)
    assert not path.with_name("exploded").exists()


def test_every_truncation_is_told(path):
    network().save(path)
    content = path.read_bytes()
    for length in range(4, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"damaged|another kind|cut off"):
            saving.load_model(path)


def test_flipped_bits_are_told_or_harmless(path):
    x, y = data()
    model = network()
    model.fit(x, y, verbose=0)
    model.save(path)
    content = path.read_bytes()
    told = 0
    for position in range(0, len(content), 61):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        path.write_bytes(bytes(damaged))
        try:
            loaded = saving.load_model(path)
        except ValueError:
            told += 1
        else:
            assert equal(loaded, model)
            assert loaded.get_config() == model.get_config()
            assert loaded._state() == model._state()
            for a, b in zip(loaded.optimizer.slots, model.optimizer.slots, strict=True):
                np.testing.assert_array_equal(a, b)
    assert told > 0.8 * len(content) / 61


def test_optimizer_state_that_is_missing(path):
    x, y = data()
    model = network()
    model.fit(x, y, verbose=0)
    model.save(path)
    wanted = ("config.json", "state.json", "weights.npz")
    archive.write(path, archive.read(path, wanted))
    with pytest.raises(ValueError, match=r"damaged.*'m'.*hidden/kernel"):
        saving.load_model(path)
    assert equal(saving.load_model(path, compile=False), model)


def test_optimizer_of_another_model_is_not_saved(path):
    x, y = data()
    model = network()
    model.fit(x, y, verbose=0)
    model.layers[0].trainable = False
    model.compile(model.optimizer, model.loss)
    with pytest.warns(UserWarning, match="other variables"):
        model.save(path)
    loaded = saving.load_model(path)
    assert equal(loaded, model)
    assert not loaded.optimizer.built
