"""Weights come over from the files of others, in their order and shapes, or the misfit is named."""

from __future__ import annotations

import collections
import io
import json
import pickle
import sys
import types
import warnings
import zipfile

import keras_peer
import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import saving
from fusedmlp.saving import files, safetensors, torch_files

L = fm.layers


def network(name="net", units=(7, 3), dtype=None, columns=5):
    model = fm.Sequential([fm.Input((columns,), dtype=dtype)], name=name)
    for i, n in enumerate(units):
        model.add(L.Dense(n, activation="tanh", name=f"{name}_{i}"))
    model.set_weights([np.random.default_rng(i).normal(size=v.shape)
                       for i, v in enumerate(model.variables)])
    return model


def other(**kwargs):
    """The same network with other names and other weights."""
    model = network("other", **kwargs)
    model.set_weights([w + 1 for w in model.get_weights()])
    return model


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def unchanged(model, filepath, text, error=ValueError, **kwargs):
    before = model.get_weights()
    with pytest.raises(error, match=text):
        model.load_weights(filepath, **kwargs)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.fixture
def keras():
    module = keras_peer.load()
    pytest.importorskip("h5py")
    return module


# -- safetensors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("suffix", [".safetensors", ".weights.safetensors"])
def test_safetensors(tmp_path, dtype, suffix):
    model, again = network(dtype=dtype), other(dtype=dtype)
    model.save_weights(tmp_path / f"m{suffix}")
    again.load_weights(tmp_path / f"m{suffix}")
    assert same(model, again)
    arrays, metadata = safetensors.loads((tmp_path / f"m{suffix}").read_bytes())
    assert list(arrays) == ["net_0/kernel", "net_0/bias", "net_1/kernel", "net_1/bias"]
    assert {a.dtype.name for a in arrays.values()} == {dtype}
    assert metadata == {"format": "np", "written_by": "fusedmlp"}


def test_safetensors_against_its_library(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    arrays = {"b": np.arange(6, dtype="float32").reshape(2, 3), "a": np.array([1.5]),
              "c": np.zeros((0, 4), "float32"), "i": np.array(7),
              "h": np.array([1, 2, 3], "float16"), "flag": np.array([True, False]),
              "u": np.arange(3, dtype="uint8")}
    for content in (safetensors.dumps(arrays, {"x": "é"}), library.save(arrays, {"x": "é"})):
        for loaded in (library.load(content), safetensors.loads(content)[0]):
            assert loaded.keys() == arrays.keys()
            for name, array in loaded.items():
                assert array.dtype == arrays[name].dtype
                np.testing.assert_array_equal(array, arrays[name])
        assert safetensors.loads(content)[1] == {"x": "é"}


def test_safetensors_of_others_by_name(tmp_path):
    model, again = network(), other()
    named = dict(zip([v.path for v in again.variables], model.get_weights(), strict=True))
    (tmp_path / "w").write_bytes(safetensors.dumps(dict(sorted(named.items()))))
    again.load_weights(tmp_path / "w")
    assert same(model, again)


def test_bfloat16_is_widened():
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes([0x80, 0x3F, 0x20, 0xC0])
    array = safetensors.loads(content)[0]["x"]
    assert array.dtype == np.float32
    assert array.tolist() == [1.0, -2.5]


def entry(**changes):
    good = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return {"x": {**good, **changes}}


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (b"[1]", "no JSON object"),
        (b"{", "no JSON"),
        ({"x": 1}, "entry of 'x'"),
        (entry(dtype="F8"), "dtype 'F8'"),
        (entry(shape=[3]), "has 8 bytes"),
        (entry(shape=[-2]), "entry of 'x'"),
        (entry(data_offsets=[8, 0]), "entry of 'x'"),
        (entry(data_offsets=[0, 80]), "cut off"),
        (entry(data_offsets=[4, 12]), "does not lie where"),
        (entry(data_offsets=[0, 4], shape=[1]), "behind the last"),
    ],
)
def test_damaged_safetensors(tmp_path, header, text):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(8)
    with pytest.raises(safetensors.DamagedError, match=text):
        safetensors.loads(content)
    if files.kind(content) == "safetensors":
        (tmp_path / "w").write_bytes(content)
        unchanged(network(), tmp_path / "w", f"damaged.*{text}")


def test_truncated_safetensors(tmp_path):
    model = network()
    model.save_weights(tmp_path / "w.safetensors")
    content = (tmp_path / "w.safetensors").read_bytes()
    for length in range(0, len(content), 31):
        (tmp_path / "w").write_bytes(content[:length])
        unchanged(model, tmp_path / "w", "damaged|another kind")


# -- what doesn't fit ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "weights.h5"])
def test_misfits_are_named(tmp_path, suffix):
    if suffix == "weights.h5":
        pytest.importorskip("h5py")
    path = tmp_path / f"w.{suffix}"
    network(units=(7, 3)).save_weights(path)
    unchanged(other(units=(7, 4)), path, r"'other_1/kernel' \(7, 4\) differs from '.*' \(7, 3\)")
    unchanged(other(units=(7, 3, 2)), path, r"2 of them.*'other_2/kernel' \(3, 2\) is not there")
    unchanged(other(units=(7,)), path, r"the file has '.*' \(7, 3\), which the model does not")
    unchanged(other(units=(1,) * 9), path, r"and 1\d more\. Received: filepath=")


def test_layers_that_do_not_fit_can_be_skipped(tmp_path):
    model, wider = network(units=(7, 3)), other(units=(7, 4))
    model.save_weights(tmp_path / "w")
    before = wider.get_weights()
    with pytest.warns(UserWarning, match=r"'other_1/kernel'.*left as they were") as caught:
        wider.load_weights(tmp_path / "w", skip_mismatch=True)
    assert caught[0].filename == __file__
    now = wider.get_weights()
    for i in (0, 1):
        np.testing.assert_array_equal(now[i], model.get_weights()[i])
    for i in (2, 3):
        np.testing.assert_array_equal(now[i], before[i])


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_layers_by_name(tmp_path, suffix):
    model = network("net", units=(7, 3))
    model.save_weights(tmp_path / f"w.{suffix}")
    longer = fm.Sequential([fm.Input((7,)), L.Dense(7, name="front"), L.Dense(3, name="net_1")])
    before = longer.get_weights()
    longer.load_weights(tmp_path / f"w.{suffix}", by_name=True)
    np.testing.assert_array_equal(longer.get_weights()[2], model.get_weights()[2])
    np.testing.assert_array_equal(longer.get_weights()[0], before[0])


def test_nested_models(tmp_path):
    def nested():
        inner = fm.Sequential([fm.Input((4,)), L.Dense(2, name="d"), L.Dense(4, name="e")])
        return fm.Sequential([fm.Input((3,)), L.Dense(4, name="d"), inner, L.Dense(1, name="f")])

    for suffix in ("safetensors", "npz") + (("h5",) if saving.hdf5.available() else ()):
        model, again = nested(), nested()
        assert not same(model, again)
        model.save_weights(tmp_path / f"w.{suffix}")
        again.load_weights(tmp_path / f"w.{suffix}")
        assert same(model, again)


@pytest.mark.parametrize(("suffix", "text"), [(".onnx", "export_onnx"), (".pt", "torch.save")])
def test_suffixes_of_other_functions(tmp_path, suffix, text):
    with pytest.raises(ValueError, match=f"`filepath`.*{text}.*Received"):
        network().save_weights(tmp_path / f"w{suffix}")
    assert not list(tmp_path.iterdir())


# -- HDF5 ------------------------------------------------------------------------------------------


def test_hdf5_layout(tmp_path):
    h5py = pytest.importorskip("h5py")
    model, again = network(), other()
    model.save_weights(tmp_path / "m.weights.h5")
    again.load_weights(tmp_path / "m.weights.h5")
    assert same(model, again)
    with h5py.File(tmp_path / "m.weights.h5") as file:
        assert set(file["layers"]) == {"dense", "dense_1"}
        np.testing.assert_array_equal(file["layers/dense_1/vars/0"], model.get_weights()[2])
        assert file["layers/dense/vars"].attrs["name"] == "net_0"


def test_without_h5py(tmp_path, monkeypatch):
    model, again = network(), other()
    monkeypatch.setattr(saving.hdf5, "available", lambda: False)
    with pytest.warns(UserWarning, match=r"fusedmlp\[h5\]"):
        model.save_weights(tmp_path / "m.weights.h5")
    again.load_weights(tmp_path / "m.weights.h5")
    assert same(model, again)
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "real.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    unchanged(model, tmp_path / "real.h5", r"'h5py'.*fusedmlp\[h5\]", ImportError)


def test_damaged_hdf5(tmp_path):
    pytest.importorskip("h5py")
    (tmp_path / "w.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    unchanged(network(), tmp_path / "w.h5", "damaged")


def test_more_than_ten_layers_keep_their_order(tmp_path):
    pytest.importorskip("h5py")
    model, again = network(units=(5,) * 1), None
    model = fm.Sequential([fm.Input((2,))] + [L.Dense(2) for _ in range(12)])
    again = fm.Sequential([fm.Input((2,))] + [L.Dense(2) for _ in range(12)])
    model.save_weights(tmp_path / "w.h5")
    again.load_weights(tmp_path / "w.h5")
    assert same(model, again)


def keras_network(keras):
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((5,)), layers.Dense(7, activation="relu", name="hidden"), layers.Dropout(0.2),
        layers.Dense(6, activation=keras.activations.gelu, kernel_initializer="he_normal"),
        layers.Activation("tanh"), layers.Dense(3, activation="softmax", use_bias=False),
    ], name="net")
    model.compile(keras.optimizers.AdamW(0.003, weight_decay=0.01),
                  "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = np.random.default_rng(0).normal(size=(20, 5)).astype("float32")
    y = np.arange(20) % 3
    model.fit(x, y, verbose=0)
    return model, x, y


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_models_of_keras(keras, tmp_path, suffix):
    theirs, x, y = keras_network(keras)
    theirs.save(tmp_path / f"m.{suffix}")
    ours = saving.load_model(tmp_path / f"m.{suffix}")
    assert isinstance(ours, fm.Sequential)
    assert ours.name == "net"
    assert [type(a).__name__ for a in ours.layers] == [type(a).__name__ for a in theirs.layers]
    assert [a.name for a in ours.layers] == [a.name for a in theirs.layers]
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=1e-6)
    np.testing.assert_allclose(ours.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0),
                               rtol=1e-5)
    assert type(ours.optimizer) is fm.optimizers.AdamW
    assert ours.optimizer.learning_rate == pytest.approx(0.003)
    assert ours.optimizer.weight_decay == 0.01
    assert not saving.load_model(tmp_path / f"m.{suffix}", compile=False).compiled


@pytest.mark.parametrize("suffix", ["keras", "h5", "weights.h5"])
def test_weights_of_keras(keras, tmp_path, suffix):
    theirs, x, _ = keras_network(keras)
    path = tmp_path / f"m.{suffix}"
    (theirs.save_weights if suffix == "weights.h5" else theirs.save)(path)
    ours = fm.Sequential([
        fm.Input((5,)), L.Dense(7, activation="relu", name="hidden"),
        L.Dense(6, activation="gelu"), L.Activation("tanh"),
        L.Dense(3, activation="softmax", use_bias=False),
    ])
    ours.load_weights(path)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=1e-6)
    unchanged(network(units=(7, 6, 3)), path, r"'net_2/bias' \(3,\) is not there")
    one = fm.Sequential([fm.Input((5,)), L.Dense(7, name="hidden")])
    unchanged(one, path, r"3 of them.*which the model does not")
    if suffix == "h5":
        one.load_weights(path, by_name=True)
        np.testing.assert_array_equal(one.get_weights()[0], theirs.get_weights()[0])
    else:
        unchanged(one, path, "`by_name`", by_name=True)


def test_keras_reads_our_weights(keras, tmp_path):
    theirs, x, _ = keras_network(keras)
    theirs.save(tmp_path / "m.keras")
    ours = saving.load_model(tmp_path / "m.keras")
    ours.set_weights([w + 0.1 for w in ours.get_weights()])
    ours.save_weights(tmp_path / "w.weights.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file holds no optimizer
        theirs.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=1e-6)


def test_models_of_keras_that_are_not_dense(keras, tmp_path):
    layers = keras.layers
    model = keras.Sequential([keras.Input((4, 4)), layers.Conv1D(3, 1), layers.LSTM(3),
                              layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"m\.keras.*Received: 'Conv1D', 'LSTM'$"):
        saving.load_model(tmp_path / "m.keras")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, activation=lambda x: x * 2)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"m\.keras"):
        saving.load_model(tmp_path / "m.keras")


def test_weights_alone_are_no_model(keras, tmp_path):
    keras_network(keras)[0].save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ValueError, match="weights alone"):
        saving.load_model(tmp_path / "m.weights.h5")


# -- PyTorch ---------------------------------------------------------------------------------------


STATE = {
    "0.weight": np.arange(6, dtype="float32").reshape(2, 3), "0.bias": np.float32([7, 8]),
    "2.weight": np.float32([[1, 2]]), "2.bias": np.float32([9]),
}


def small(activation="relu"):
    return fm.Sequential([fm.Input((3,)), L.Dense(2, activation=activation), L.Dense(1)])


def test_state_dict_both_ways():
    model = small()
    saving.load_torch_weights(model, STATE)
    np.testing.assert_array_equal(model.get_weights()[0], STATE["0.weight"].T)
    state = saving.torch_state_dict(model)
    assert list(state) == list(STATE)
    for name, array in state.items():
        np.testing.assert_array_equal(array, STATE[name])
        assert array.flags.c_contiguous


def test_state_dict_with_names():
    model = small("linear")
    assert list(saving.torch_state_dict(model)) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    names = ["body.fc", "head"]
    state = saving.torch_state_dict(model, names)
    assert list(state) == ["body.fc.weight", "body.fc.bias", "head.weight", "head.bias"]
    swapped = dict(reversed(state.items()))
    again = small("linear")
    with pytest.raises(ValueError, match="do not fit"):
        saving.load_torch_weights(again, swapped)
    saving.load_torch_weights(again, swapped, names)
    assert same(model, again)
    with pytest.raises(ValueError, match=r"`names`.*2 layers"):
        saving.torch_state_dict(model, ["one"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"2.weight": np.ones((1, 3))}, r"'.*kernel' \(2, 1\) differs from '2\.weight' \(3, 1\)"),
        ({"2.bias": None}, r"'.*bias' \(1,\) is not there as '2\.bias'"),
        ({"3.weight": np.ones((1, 3))}, r"the file has '3\.weight' \(1, 3\), which the model"),
        ({"2.scale": np.ones(2)}, r"the file has '2\.scale'"),
        ({"2.bias": np.array(["x"])}, r"which holds <U1"),
    ],
)
def test_state_dicts_that_do_not_fit(change, text):
    model = small()
    before = model.get_weights()
    state = {name: a for name, a in {**STATE, **change}.items() if a is not None}
    with pytest.raises(ValueError, match=text):
        saving.load_torch_weights(model, state)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_source_that_is_none():
    with pytest.raises(TypeError, match=r"`source`.*Received: 3"):
        saving.load_torch_weights(small(), 3)


def test_safetensors_of_torch(tmp_path):
    """Their library sorts by name, so "10" comes before "2"."""
    layers = [L.Dense(2, activation="relu") for _ in range(7)]
    model = fm.Sequential([fm.Input((2,)), *layers])
    saving.save_torch_weights(model, tmp_path / "t.safetensors")
    state, metadata = safetensors.loads((tmp_path / "t.safetensors").read_bytes())
    assert metadata == {"format": "pt"}
    assert "12.weight" in state
    (tmp_path / "s.safetensors").write_bytes(safetensors.dumps(dict(sorted(state.items()))))
    for load in (lambda m, p: m.load_weights(p), saving.load_torch_weights):
        again = fm.models.Sequential.from_config(model.get_config())
        load(again, tmp_path / "s.safetensors")
        assert same(model, again)
    with pytest.raises(ValueError, match=r"'\.safetensors'"):
        saving.save_torch_weights(model, tmp_path / "t.pt")


class _Storage:
    def __init__(self, name, array):
        self.name, self.array = name, array


def torch_archive(state, monkeypatch, tweak=None):
    """What torch.save writes: a pickle that names storages, and their bytes beside it."""
    for name in ("torch", "torch._utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    torch, utils = sys.modules["torch"], sys.modules["torch._utils"]

    def _rebuild_tensor_v2():
        raise AssertionError

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    for name in ("FloatStorage", "DoubleStorage", "LongStorage", "BFloat16Storage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    blobs = {}

    class Tensor:
        def __init__(self, array, kind="FloatStorage", offset=0, strides=None):
            self.array, self.kind, self.offset = array, kind, offset
            self.strides = strides or tuple(s // array.itemsize for s in array.strides)

        def __reduce__(self):
            storage = _Storage(self.kind, self.array)
            return _rebuild_tensor_v2, (storage, self.offset, self.array.shape, self.strides,
                                        False, collections.OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            if not isinstance(item, _Storage):
                return None
            key = str(len(blobs))
            blobs[key] = item.array.tobytes("A")
            return "storage", getattr(torch, item.name), key, "cpu", item.array.size

    target, text = io.BytesIO(), io.BytesIO()
    content = {name: a if isinstance(a, (dict, int)) else Tensor(a) for name, a in state.items()}
    Pickler(text, protocol=2).dump(collections.OrderedDict(tweak(content, Tensor)
                                                           if tweak else content))
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("archive/data.pkl", text.getvalue())
        file.writestr("archive/byteorder", "little")
        for key, blob in blobs.items():
            file.writestr(f"archive/data/{key}", blob)
    return target.getvalue()


def test_pt_files_without_torch(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        content = torch_archive(STATE, patch)
    (tmp_path / "m.pt").write_bytes(content)
    for load in (lambda m, p: m.load_weights(p), saving.load_torch_weights):
        model = small()
        load(model, tmp_path / "m.pt")
        np.testing.assert_array_equal(model.get_weights()[0], STATE["0.weight"].T)
        np.testing.assert_array_equal(model.get_weights()[3], STATE["2.bias"])


def test_pt_files_with_views_and_other_dtypes(tmp_path, monkeypatch):
    def tweak(content, tensor):
        transposed = np.asfortranarray(STATE["0.weight"])
        content["0.weight"] = tensor(transposed)
        bits = np.array([0x4110], "uint16")  # 9 in bfloat16
        content["2.bias"] = tensor(bits, "BFloat16Storage")
        content["2.weight"] = tensor(STATE["2.weight"].astype("float64"), "DoubleStorage")
        content["1.num_batches_tracked"] = tensor(np.array(3), "LongStorage")
        return {"epoch": 3, "state_dict": content}

    with monkeypatch.context() as patch:
        (tmp_path / "m.pt").write_bytes(torch_archive(STATE, patch, tweak))
    model = small()
    model.load_weights(tmp_path / "m.pt")
    for ours, theirs in zip(model.get_weights(), STATE.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs.T)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize(
    ("tweak", "text"),
    [
        (lambda c, t: {**c, "x": Bomb()}, r"builtin.*\.exec"),
        (lambda c, t: {**c, "x": collections.Counter()}, r"collections\.Counter"),
        (lambda c, t: {"epoch": 3}, "no state dict"),
        (lambda c, t: {**c, "x": t(np.zeros(2, "float32"), offset=1)}, "reaches beyond"),
        (lambda c, t: {**c, "x": t(np.zeros(2, "float32"), strides=(9,))}, "reaches beyond"),
        (lambda c, t: {**c, "x": t(np.zeros(2, "float32"), strides=(-1,))}, "reaches beyond"),
    ],
)
def test_pt_files_that_are_refused(tmp_path, monkeypatch, tweak, text):
    with monkeypatch.context() as patch:
        (tmp_path / "m.pt").write_bytes(torch_archive(STATE, patch, tweak))
    unchanged(small(), tmp_path / "m.pt", text)
    with pytest.raises(ValueError, match=text):
        saving.load_torch_weights(small(), tmp_path / "m.pt")


def test_damaged_pt_files(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        content = torch_archive(STATE, patch)
    for length in range(0, len(content), 37):
        (tmp_path / "m.pt").write_bytes(content[:length])
        with pytest.raises(ValueError, match="state dict"):
            saving.load_torch_weights(small(), tmp_path / "m.pt")


def test_against_torch(tmp_path):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    theirs = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Dropout(0.1), nn.Linear(7, 3), nn.Tanh(),
                           nn.Linear(3, 2)).eval()
    ours = fm.Sequential([
        fm.Input((5,)), L.Dense(7, activation="gelu"), L.Dropout(0.1),
        L.Dense(3, activation="tanh"), L.Dense(2),
    ])
    x = np.random.default_rng(0).normal(size=(11, 5)).astype("float32")
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    torch.save(theirs.state_dict(), tmp_path / "m.pt")
    torch.save({"model": theirs.state_dict(), "epoch": 1}, tmp_path / "checkpoint.pt")
    torch.save({k: v.double() for k, v in theirs.state_dict().items()}, tmp_path / "double.pt")
    for source in (theirs, theirs.state_dict(), tmp_path / "m.pt", str(tmp_path / "checkpoint.pt"),
                   tmp_path / "double.pt"):
        ours.set_weights([w * 0 for w in ours.get_weights()])
        saving.load_torch_weights(ours, source)
        np.testing.assert_allclose(ours.predict(x, verbose=0), expected, atol=1e-6)
    ours.set_weights([w + 0.5 for w in ours.get_weights()])
    theirs.load_state_dict({k: torch.from_numpy(v)
                            for k, v in saving.torch_state_dict(ours).items()})
    np.testing.assert_allclose(theirs(torch.from_numpy(x)).detach().numpy(),
                               ours.predict(x, verbose=0), atol=1e-6)
    torch.save(theirs, tmp_path / "whole.pt")
    with pytest.raises(ValueError, match=r"torch\.save\(module\.state_dict\(\)"):
        saving.load_torch_weights(ours, tmp_path / "whole.pt")
    low = {k: v.bfloat16() for k, v in theirs.state_dict().items()}
    torch.save(low, tmp_path / "low.pt")
    for source in (low, tmp_path / "low.pt"):
        saving.load_torch_weights(ours, source)
        np.testing.assert_array_equal(ours.get_weights()[1], low["0.bias"].float().numpy())


def test_layers_without_counterpart():
    class Shift(L.Layer):
        def build(self, input_shape):
            self.shift = self.add_weight((input_shape[1],), "zeros", name="shift")
            super().build(input_shape)

        def lower(self, builder, x):
            return x

    model = fm.Sequential([fm.Input((2,)), Shift(name="mine")])
    with pytest.raises(ValueError, match=r"Dense.*'mine' of type Shift"):
        saving.torch_state_dict(model)


def test_names_of_state_dicts():
    assert torch_files.looks_like(["net.1.running_mean", "net.1.num_batches_tracked"])
    assert not torch_files.looks_like(["net_7/kernel", "0.weight"])


# -- scikit-learn ----------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_from_sklearn(backend, activation):
    mlp = pytest.importorskip("sklearn.neural_network")
    x = np.random.default_rng(0).normal(size=(60, 4))
    targets = {"binary": x[:, 0] > 0, "classes": np.arange(60) % 3, "several": x[:, :2] > 0,
               "one": x[:, 0], "columns": x[:, :3]}
    for kind, y in targets.items():
        regressor = kind in ("one", "columns")
        cls = mlp.MLPRegressor if regressor else mlp.MLPClassifier
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator = cls(hidden_layer_sizes=(6, 5), activation=activation, max_iter=3,
                            random_state=0).fit(x, y)
        model = saving.from_sklearn(estimator, name="net")
        assert model.name == "net"
        assert model.dtype == "float64"
        expected = estimator.predict(x) if regressor else estimator.predict_proba(x)
        if kind == "binary":
            expected = expected[:, 1]
        got = model.predict(x, verbose=0)
        np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-9, atol=1e-12)


def test_from_sklearn_refuses():
    with pytest.raises(TypeError, match=r"MLPClassifier.*Received: 3"):
        saving.from_sklearn(3)
    fresh = types.SimpleNamespace(activation="relu")
    with pytest.raises(ValueError, match=r"fitted.*coefs_"):
        saving.from_sklearn(fresh)
    odd = types.SimpleNamespace(activation="swish", out_activation_="identity",
                                coefs_=[np.ones((1, 1))], intercepts_=[np.ones(1)])
    with pytest.raises(ValueError, match=r"`activation`.*'swish'"):
        saving.from_sklearn(odd)
