"""The layer `TextVectorization`: alone, in models, in files.

Keras's needs TensorFlow: the numbers here are what it gives on TensorFlow 2 for the same calls.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers

TEXTS = ["foo bar", "bar baz", "baz bada boom"]
OTHERS = ["Bar, foo BAR!", "zz  top\tfoo", ""]
HALF = 0.8270333611


def adapted(*args, **kwargs):
    layer = layers.TextVectorization(*args, **kwargs)
    layer.adapt(TEXTS)
    return layer


@pytest.mark.parametrize(("arguments", "vocabulary", "expected"), [
    ({}, ["", "[UNK]", "baz", "bar", "foo", "boom", "bada"], [[3, 4, 3], [1, 1, 4], [0, 0, 0]]),
    ({"output_sequence_length": 2}, None, [[3, 4], [1, 1], [0, 0]]),
    ({"output_sequence_length": 4}, None, [[3, 4, 3, 0], [1, 1, 4, 0], [0, 0, 0, 0]]),
    ({"max_tokens": 4}, ["", "[UNK]", "baz", "bar"], [[3, 1, 3], [1, 1, 1], [0, 0, 0]]),
    ({"standardize": None}, None, [[1, 4, 1], [1, 1, 4], [0, 0, 0]]),
    ({"standardize": "lower"}, None, [[1, 4, 1], [1, 1, 4], [0, 0, 0]]),
    ({"standardize": "strip_punctuation"}, None, [[1, 4, 1], [1, 1, 4], [0, 0, 0]]),
    ({"split": None}, ["", "[UNK]", "foo bar", "baz bada boom", "bar baz"], [1, 1, 0]),
    ({"ngrams": 2, "output_mode": "count"},
     ["[UNK]", "baz", "bar", "foo bar", "foo", "boom", "baz bada", "bar baz", "bada boom", "bada"],
     [[1, 0, 2, 1, 1, 0, 0, 0, 0, 0], [4, 0, 0, 0, 1, 0, 0, 0, 0, 0], [0] * 10]),
    ({"ngrams": (2,)}, ["", "[UNK]", "foo bar", "baz bada", "bar baz", "bada boom"],
     [[1, 2], [1, 1], [0, 0]]),
    ({"output_mode": "multi_hot"}, ["[UNK]", "baz", "bar", "foo", "boom", "bada"],
     [[0, 0, 1, 1, 0, 0], [1, 0, 0, 1, 0, 0], [0] * 6]),
    ({"output_mode": "multi_hot", "max_tokens": 8, "pad_to_max_tokens": True}, None,
     [[0, 0, 1, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0, 0, 0], [0] * 8]),
    ({"output_mode": "count"}, None, [[0, 0, 2, 1, 0, 0], [2, 0, 0, 1, 0, 0], [0] * 6]),
    ({"output_mode": "tf_idf"}, None,
     [[0, 0, 2 * np.log(2), np.log(2.5), 0, 0], [2 * HALF, 0, 0, np.log(2.5), 0, 0], [0] * 6]),
])
def test_numbers_of_texts(arguments, vocabulary, expected):
    layer = adapted(**arguments)
    if vocabulary is not None:
        assert layer.get_vocabulary() == vocabulary
        assert layer.vocabulary_size() == len(vocabulary)
    for texts in (OTHERS, np.array(OTHERS, object), np.array(OTHERS, "S")):
        found = layer(texts)
        assert found.dtype == ("int64" if layer._output_mode == "int" else "float32")
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    again = layers.TextVectorization.from_config(layer.get_config())
    np.testing.assert_array_equal(again(OTHERS), found)
    assert again.get_config() == layer.get_config()


def test_characters_and_what_is_not_ascii():
    layer = layers.TextVectorization(split="character")
    layer.adapt(["hello"])
    assert layer.get_vocabulary() == ["", "[UNK]", "l", "o", "h", "e"]
    assert layer([["hell"]]).tolist() == [[4, 5, 2, 2]]
    words = layers.TextVectorization(vocabulary=["caf\u00c9", "\u00abfoo\u00bb", "a\u00a0b"])
    assert words(["CAF\u00c9 \u00abfoo\u00bb a\u00a0b"]).tolist() == [[2, 3, 4]]


def test_texts_of_several_shapes():
    layer = layers.TextVectorization(vocabulary=["a", "b"])
    assert layer("b a").tolist() == [3, 2]
    assert layer([["b a"], ["a"]]).tolist() == [[3, 2], [2, 0]]
    assert layers.TextVectorization(vocabulary=["a", "b"], split=None)(
        [["a", "b"], ["", "c"]]).tolist() == [[2, 3], [0, 1]]
    assert layer([""]).shape == (1, 0)


def test_counting_batch_by_batch():
    layer = layers.TextVectorization(output_mode="tf_idf")
    for part in (TEXTS[:1], TEXTS[1:]):
        layer.update_state(np.array(part))
    layer.finalize_state()
    whole, batches = adapted(output_mode="tf_idf"), layers.TextVectorization(output_mode="tf_idf")
    batches.adapt((np.array([text]) for text in [*TEXTS, "left out"]), steps=3)
    for other in (whole, batches):
        np.testing.assert_array_equal(layer(OTHERS), other(OTHERS))
    layer.reset_state()
    layer.finalize_state()
    assert layer.get_vocabulary() == whole.get_vocabulary()


def shout(texts):
    return np.char.upper(texts)


def on_dashes(texts):
    return [text.split("-") for text in texts]


def test_functions_of_ones_own_and_their_files(tmp_path):
    layer = layers.TextVectorization(standardize=shout, split=on_dashes, output_mode="multi_hot",
                                     vocabulary=["A", "B"])
    assert layer(["a-c", "b"]).tolist() == [[1, 1, 0], [0, 0, 1]]
    model = fm.Sequential([fm.Input((1,), dtype="string"), layer, layers.Dense(1)])
    model.save(tmp_path / "model.keras")
    again = fm.models.load_model(tmp_path / "model.keras",
                                 {"shout": shout, "on_dashes": on_dashes})
    np.testing.assert_array_equal(again.predict(["a-c", "b"], verbose=0),
                                  model.predict(["a-c", "b"], verbose=0))
    with pytest.raises(ValueError, match="must be registered"):
        layers.TextVectorization(standardize=lambda x: x).get_config()


def test_a_bag_of_words_learns(backend, tmp_path):
    fm.utils.set_random_seed(1)
    texts = np.array(["a good film", "really good", "so bad", "bad, bad film"] * 10)
    labels = np.array([1, 1, 0, 0] * 10)
    layer = layers.TextVectorization(output_mode="tf_idf")
    layer.adapt(texts)
    text = fm.Input((1,), dtype="string")
    model = fm.Model(text, layers.Dense(1, activation="sigmoid")(layer(text)))
    model.compile(fm.optimizers.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    model.fit(texts, labels, epochs=10, verbose=0)
    assert model.evaluate(texts, labels, verbose=0)[1] == 1.0
    told = model.predict(texts[:4], verbose=0)
    (kernel, bias) = model.get_weights()
    np.testing.assert_allclose(told, 1 / (1 + np.exp(-(layer(texts[:4]) @ kernel + bias))),
                               rtol=1e-5)
    model.save(tmp_path / "model.keras")
    for again in (fm.models.load_model(tmp_path / "model.keras"), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(texts[:4], verbose=0), told)


def test_numbers_go_into_an_embedding(backend):
    layer = layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=3)
    model = fm.Sequential([fm.Input((1,), dtype="string"), layer,
                           layers.Embedding(4, 2, mask_zero=True),
                           layers.GlobalAveragePooling1D()])
    (table,) = model.get_weights()
    np.testing.assert_allclose(model.predict(["a b", "b c a a"], verbose=0),
                               [table[[2, 3]].mean(0), table[[3, 1, 2]].mean(0)], rtol=1e-6)


@pytest.mark.parametrize(("call", "error", "match"), [
    (lambda: layers.TextVectorization(standardize="upper"), ValueError, "standardize.*'upper'"),
    (lambda: layers.TextVectorization(split=3), ValueError, "`split`.*3"),
    (lambda: layers.TextVectorization(ngrams=[1, 2]), ValueError, "`ngrams`"),
    (lambda: layers.TextVectorization(ngrams=0), ValueError, "`ngrams`.*0"),
    (lambda: layers.TextVectorization(output_mode="one"), ValueError, "output_mode.*'one'"),
    (lambda: layers.TextVectorization(output_mode="count", output_sequence_length=3), ValueError,
     "output_mode='int' alone"),
    (lambda: layers.TextVectorization(output_sequence_length=0), ValueError, "sequence_length"),
    (lambda: layers.TextVectorization(ragged=True), ValueError, "filled up"),
    (lambda: layers.TextVectorization(sparse=True), ValueError, "`sparse`"),
    (lambda: layers.TextVectorization(vocabulary=["a"]).adapt(["b"]), ValueError, "can't be adapt"),
    (lambda: layers.TextVectorization()(["a"]), RuntimeError, "no vocabulary yet"),
    (lambda: adapted()([["a", "b"]]), ValueError, r"\(rows, 1\).*\(1, 2\)"),
    (lambda: adapted()([1.0]), TypeError, "must hold texts"),
    (lambda: adapted()(fm.Input((1,), dtype="string")), ValueError, "output_sequence_length"),
    (lambda: adapted(standardize=lambda x: x[:1]), ValueError, "array of the shape"),
    (lambda: adapted(split=lambda x: [["a"]]), ValueError, "for each of 3 texts"),
    (lambda: layers.TextVectorization(pad_to_max_tokens=True), ValueError, "max_tokens"),
])
def test_what_does_not_fit_is_named(call, error, match):
    with pytest.raises(error, match=match):
        call()
