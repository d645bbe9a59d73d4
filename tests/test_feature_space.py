"""`utils.FeatureSpace`: on data, within models, in files.

Keras's needs TensorFlow: the numbers here are what it gives on TensorFlow 2 for the same calls.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp.utils import FeatureSpace

DATA = {"age": [20.0, 30.0, 40.0, 60.0], "kind": ["a", "b", "a", "c"], "floor": [3, 1, 2, 3],
        "rooms": [1.0, 2.0, 3.0, 4.0], "city": ["x", "y", "x", "zz"], "number": [7, 107, 7, 8]}
AGE = [-1.183216, -0.50709254, 0.16903086, 1.5212777]
# age (1), city (3), floor (3), kind (4), number (4), rooms (2), kind_X_floor (6), rooms_X_kind (5)
ONES = [[3, 5, 8, 11, 15, 20, 26], [3, 4, 10, 14, 16, 21, 24], [3, 6, 8, 11, 16, 20, 24],
        [2, 5, 9, 14, 16, 17, 25]]


def space():
    return FeatureSpace(
        {"age": "float_normalized", "kind": "string_categorical",
         "floor": FeatureSpace.integer_categorical(max_tokens=3, num_oov_indices=1),
         "rooms": FeatureSpace.float_discretized(num_bins=2),
         "city": FeatureSpace.string_hashed(3), "number": "integer_hashed"},
        crosses=[("kind", "floor"), FeatureSpace.cross(("rooms", "kind"), 5)],
        crossing_dim=6, hashing_dim=4)


def expected():
    result = np.zeros((4, 28), "float32")
    result[:, 0] = AGE
    for row, ones in zip(result, ONES, strict=True):
        row[ones] = 1
    return result


def adapted(data=DATA):
    found = space()
    found.adapt(data)
    return found


def frames():
    yield DATA
    yield {key: np.array(v)[:, None] for key, v in {**DATA, "left out": [1] * 4}.items()}
    yield pytest.importorskip("pandas").DataFrame(DATA)
    yield pytest.importorskip("polars").DataFrame(DATA)
    yield pytest.importorskip("pyarrow").table(DATA)


def test_data_of_any_form():
    for data in frames():
        np.testing.assert_allclose(adapted(data)(data), expected(), rtol=1e-6)
    halves = [{key: v[part] for key, v in DATA.items()} for part in (slice(2), slice(2, None))]
    for batches in (halves, iter(halves), ((half, [0, 1]) for half in halves)):
        np.testing.assert_allclose(adapted(batches)(DATA), expected(), rtol=1e-6)
    one = adapted()({key: v[1] for key, v in DATA.items()})
    np.testing.assert_allclose(one, expected()[1], rtol=1e-6)


def test_a_dict_of_numbers():
    found = FeatureSpace(
        {"kind": FeatureSpace.string_categorical(output_mode="int"),
         "floor": FeatureSpace.integer_categorical(output_mode="int"),
         "number": FeatureSpace.integer_hashed(9, output_mode="int")},
        crosses=[FeatureSpace.cross(("kind", "floor"), 32, output_mode="int")],
        output_mode="dict")
    found.adapt(DATA)
    given = found(DATA)
    assert {key: v.ravel().tolist() for key, v in given.items()} == {
        "floor": [1, 3, 2, 1], "kind": [1, 3, 1, 2], "number": [7, 6, 7, 4],
        "kind_X_floor": [9, 1, 13, 20]}
    assert all(v.shape == (4, 1) and v.dtype == "int64" for v in given.values())
    assert found({key: v[3] for key, v in DATA.items()})["kind_X_floor"].tolist() == [20]


def test_within_a_model(backend, tmp_path):
    fm.utils.set_random_seed(3)
    found = adapted()
    encoded = found.get_encoded_features()
    assert encoded.shape == (None, 28)
    assert found.get_encoded_features() is encoded
    model = fm.Model(found.get_inputs(), fm.layers.Dense(1)(encoded))
    (kernel, bias) = model.get_weights()[-2:]
    told = model.predict(DATA, verbose=0)
    np.testing.assert_allclose(told, found(DATA) @ kernel + bias, rtol=1e-5, atol=1e-6)
    model.compile("adam", "mse")
    model.fit(DATA, np.arange(4.0), verbose=0)
    model.save(tmp_path / "model.keras")
    again = fm.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(DATA, verbose=0), model.predict(DATA, verbose=0))
    # before the model, for the same numbers
    x = fm.Input((28,))
    plain = fm.Model(x, fm.layers.Dense(1)(x))
    plain.set_weights([kernel, bias])
    np.testing.assert_allclose(plain.predict(found(DATA), verbose=0), told, rtol=1e-5, atol=1e-6)


def test_files_and_copies(tmp_path):
    found = adapted()
    found.save(tmp_path / "space.keras")
    more = {key: [*v, v[0]] for key, v in DATA.items()}
    wanted = adapted(more)(more)
    for again in (fm.models.load_model(tmp_path / "space.keras"), copy.deepcopy(found),
                  pickle.loads(pickle.dumps(found))):
        np.testing.assert_array_equal(again(DATA), found(DATA))
        assert again.get_config() == found.get_config()
        assert again.get_encoded_features().shape == (None, 28)
        again.adapt(more)
        np.testing.assert_array_equal(again(more), wanted)
    new = FeatureSpace.from_config(space().get_config())
    with pytest.raises(ValueError, match="must be adapted"):
        new(DATA)


def test_layers_of_ones_own():
    texts = {"text": ["a b", "b", "c c"], "size": [1.0, 2.0, 3.0]}
    found = FeatureSpace({
        "text": FeatureSpace.feature("string", fm.layers.TextVectorization(output_mode="count"),
                                     "float"),
        "size": FeatureSpace.float_rescaled(10.0, 1.0),
    })
    found.adapt(texts)
    assert found.preprocessors["text"].get_vocabulary() == ["[UNK]", "c", "b", "a"]
    assert found(texts).tolist() == [[11, 0, 0, 1, 1], [21, 0, 0, 1, 0], [31, 0, 2, 0, 0]]
    model = fm.Model(found.get_inputs(), found.get_encoded_features())
    np.testing.assert_array_equal(model.predict(texts, verbose=0), found(texts))
    known = FeatureSpace({"x": "float", "y": FeatureSpace.float_discretized(None, [0.0, 2.0])})
    assert known({"x": [5, 6], "y": [1, 3]}).tolist() == [[5, 0, 1, 0], [6, 0, 0, 1]]


@pytest.mark.parametrize(("call", "error", "match"), [
    (lambda: FeatureSpace({}), ValueError, "`features`"),
    (lambda: FeatureSpace({"a": "floats"}), ValueError, "'float'"),
    (lambda: FeatureSpace({"a": 3}), ValueError, "3 for 'a'"),
    (lambda: FeatureSpace({"a": "float"}, output_mode="list"), ValueError, "output_mode"),
    (lambda: FeatureSpace({"a": FeatureSpace.string_categorical(output_mode="int")}), ValueError,
     "'a' must be encoded"),
    (lambda: FeatureSpace({"a": FeatureSpace.feature("float32", fm.layers.Rescaling(1.0),
                                                     "one_hot")}), ValueError, "known range"),
    (lambda: FeatureSpace.feature("float32", "scale", "float"), TypeError, "`preprocessor`"),
    (lambda: FeatureSpace.string_hashed(3, output_mode="float_hot"), ValueError, "output_mode"),
    (lambda: FeatureSpace({"a": "float", "b": "string_hashed"}, crosses=[("a", "b")]),
     ValueError, "'a', which Identity makes"),
    (lambda: FeatureSpace({"a": "string_hashed"}, crosses=[("a", "c")]), ValueError, "'c'"),
    (lambda: FeatureSpace({"a": "string_hashed"}, crosses=["a"]), ValueError, "two names"),
    (lambda: space()(DATA), ValueError, r"call `adapt\(dataset\)`"),
    (lambda: space().get_inputs(), ValueError, "must be adapted"),
    (lambda: adapted()([1.0]), ValueError, "`data` must be a dict.*list"),
    (lambda: adapted({"age": [1.0]}), ValueError, "`dataset` must have 'kind'"),
    (lambda: adapted({key: [] for key in DATA}), ValueError, "at least one row"),
    (lambda: adapted({**DATA, "age": ["old"] * 4}), TypeError, "age.*must hold numbers"),
    (lambda: adapted({**DATA, "age": [1.0]}), ValueError, "1 of 'age'"),
    (lambda: adapted()({**DATA, "age": np.ones((4, 2))}), ValueError, r"\(rows, 1\).*\(4, 2\)"),
])
def test_what_does_not_fit_is_named(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_lookups_are_adapted_again_after_a_file():
    layer = fm.layers.StringLookup()
    layer.adapt(["a", "b", "b"])
    again = fm.layers.StringLookup.from_config(layer.get_config())
    assert again.get_vocabulary() == layer.get_vocabulary()
    again.adapt(["c"])
    assert again.get_vocabulary() == ["[UNK]", "c"]
    text = fm.layers.TextVectorization()
    text.adapt(["a b"])
    other = fm.layers.TextVectorization.from_config(text.get_config())
    other.adapt(["c"])
    assert other.get_vocabulary() == ["", "[UNK]", "c"]
