"""Helpers of `utils`: sequences, norms, batches, objects as plain data, drawings."""

from __future__ import annotations

import sys

import keras_peer
import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers, utils
from fusedmlp.diagnostics import drawing

SEQUENCES = [[1], [2, 3], [4, 5, 6], []]


@pytest.mark.parametrize("arguments", [
    {}, {"maxlen": 2}, {"padding": "post"}, {"truncating": "post", "maxlen": 2},
    {"value": -1.5, "dtype": "float32"}, {"maxlen": 5, "padding": "post", "dtype": "int64"},
])
def test_padded_sequences_like_keras(arguments):
    keras = keras_peer.load()
    found, wanted = (m.utils.pad_sequences(SEQUENCES, **arguments) for m in (fm, keras))
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted)


def test_padded_sequences():
    assert utils.pad_sequences(SEQUENCES, maxlen=2, padding="post", truncating="post").tolist() \
        == [[1, 0], [2, 3], [4, 5], [0, 0]]
    assert utils.pad_sequences([[[1, 2]], [[3, 4], [5, 6]]]).shape == (2, 2, 2)
    for arguments, message in (({"padding": "left"}, "padding"), ({"truncating": 1}, "truncating")):
        with pytest.raises(ValueError, match=message):
            utils.pad_sequences(SEQUENCES, **arguments)
    with pytest.raises(ValueError, match="list of sequences"):
        utils.pad_sequences([1, 2])


@pytest.mark.parametrize(("axis", "order"), [(-1, 2), (0, 1), (1, np.inf)])
def test_normalize(axis, order):
    x = np.random.default_rng(0).normal(size=(3, 4))
    norm = np.linalg.norm(utils.normalize(x, axis, order), order, axis)
    np.testing.assert_allclose(norm, 1.0)
    with pytest.raises(ValueError, match="axis"):
        utils.normalize(x, axis=2)


def test_packed_batches():
    for parts in ((1,), (1, 2), (1, 2, 3)):
        packed = utils.pack_x_y_sample_weight(*parts)
        assert utils.unpack_x_y_sample_weight(packed) == (*parts, None, None)[:3]
    assert utils.unpack_x_y_sample_weight([1, 2]) == (1, 2, None)
    with pytest.raises(ValueError, match="length 4"):
        utils.unpack_x_y_sample_weight((1, 2, 3, 4))


def test_names_begin_again():
    utils.clear_session()
    assert layers.Dense(1).name == "dense"
    utils.clear_session()
    assert layers.Dense(1).name == "dense"


def test_unknown_names_are_told_with_near_ones():
    with pytest.raises(AttributeError, match="to_categorical"):
        utils.to_categoric  # noqa: B018


# -- objects as plain data -----------------------------------------------------------------------

OBJECTS = {
    "layer": lambda: layers.Dense(3, activation="relu"),
    "loss": lambda: fm.losses.BinaryCrossentropy(from_logits=True),
    "metric": lambda: fm.metrics.BinaryCrossentropy(from_logits=True),
    "optimizer": lambda: fm.optimizers.SGD(0.5, momentum=0.9),
    "initializer": lambda: fm.initializers.RandomNormal(stddev=2.0),
    "activation": lambda: fm.activations.relu,
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_come_back(kind):
    obj = OBJECTS[kind]()
    config = utils.serialize_keras_object(obj)
    again = utils.deserialize_keras_object(config)
    assert type(again) is type(obj)
    if kind == "activation":
        assert again is obj
    else:
        assert again.get_config() == obj.get_config()
    nested = {"a": [obj, (1, "x", None)], "b": np.array([1.5, 2.0])}
    back = utils.deserialize_keras_object(utils.serialize_keras_object(nested))
    assert type(back["a"][0]) is type(obj)
    assert back["a"][1] == (1, "x", None)
    assert np.array_equal(back["b"], nested["b"])


def test_objects_of_ones_own():
    class Mine(layers.Dense):
        pass

    with pytest.raises(ValueError, match="'Mine'"):
        utils.deserialize_keras_object(utils.serialize_keras_object(Mine(2)))
    with utils.custom_object_scope({"Mine": Mine}):
        config = utils.serialize_keras_object(Mine(2))
        assert type(utils.deserialize_keras_object(config)) is Mine
    assert type(utils.deserialize_keras_object(config, custom_objects={"Mine": Mine})) is Mine
    with pytest.raises(ValueError, match="Mine"):
        utils.deserialize_keras_object(config)
    with pytest.raises(TypeError, match="plain data"):
        utils.serialize_keras_object(object())


def test_registered_names():
    @utils.register_keras_serializable(package="tests")
    class Thing:
        def get_config(self):
            return {}

    try:
        assert utils.get_registered_name(Thing) == "tests>Thing"
        assert utils.get_registered_object("tests>Thing") is Thing
        again = utils.deserialize_keras_object(utils.serialize_keras_object(Thing()))
        assert type(again) is Thing
    finally:
        for name in ("tests>Thing", "Thing"):
            del utils.get_custom_objects()[name]
    assert utils.get_registered_object("tests>Thing") is None


# -- drawings ------------------------------------------------------------------------------------


def forked():
    a, b = fm.Input((4,), name="a"), fm.Input((3,), name="b")
    joined = layers.Concatenate(name="join")([layers.Dense(5, name="front")(a), b])
    return fm.Model([a, b], [layers.Dense(2, name="y")(joined), layers.Dense(1, name="z")(joined)])


def test_boxes_of_a_graph():
    found = {box.key: box for box in drawing.boxes(forked(), show_shapes=True)}
    assert set(found) == {"a", "b", "front", "join", "y", "z"}
    assert set(found["join"].before) == {"front", "b"}
    assert [found[key].row for key in ("a", "front", "join", "y")] == [0, 1, 2, 3]
    assert found["join"].lines == ("join (Concatenate)", "in (None, 5), (None, 3)",
                                   "out (None, 8)")


def test_nested_models_layer_by_layer():
    inner = fm.Sequential([fm.Input((4,)), layers.Dense(3, name="one"),
                           layers.Dense(2, name="two")], name="inner")
    outer = fm.Sequential([fm.Input((4,)), inner, layers.Dense(1, name="last")])
    assert [box.key for box in drawing.boxes(outer)] == ["inner", "last"]
    found = drawing.boxes(outer, expand_nested=True)
    assert [box.key for box in found] == ["inner/one", "inner/two", "last"]
    assert found[2].before == ("inner/two",)


@pytest.mark.parametrize("rankdir", ["TB", "LR"])
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_drawing_is_written(tmp_path, rankdir, suffix, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(drawing.shutil, "which", lambda name: None)
    path = tmp_path / f"net.{suffix}"
    utils.plot_model(forked(), path, show_shapes=True, show_layer_names=True, rankdir=rankdir,
                     dpi=50, show_dtype=True, show_trainable=True, show_layer_activations=True)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    if suffix == "svg":
        assert content.count(b"<!-- front (Dense)") == 1
        assert b"<!-- in (None, 5), (None, 3) -->" in content


def test_drawings_refuse(tmp_path, monkeypatch):
    model = forked()
    with pytest.raises(ValueError, match="rankdir"):
        utils.plot_model(model, rankdir="XY")
    with pytest.raises(TypeError, match="layer_range"):
        utils.plot_model(model, layer_range=[0, 1])
    with pytest.raises(ValueError, match="must be built"):
        utils.plot_model(fm.Sequential([layers.Dense(1)]))
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(ImportError, match="pip install pydot"):
        utils.model_to_dot(model)


def test_graphs_of_pydot():
    pytest.importorskip("pydot")
    graph = utils.model_to_dot(forked(), show_shapes=True)
    assert len(graph.get_edges()) == 5
    assert {node.get_name().strip('"') for node in graph.get_nodes()} >= {"a", "join", "z"}
