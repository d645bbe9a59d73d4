"""Models that take words: lookups and hashes in front of the network, within the model."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers

RNG = np.random.default_rng(11)
ROWS = 60
DATA = {
    "age": RNG.integers(20, 80, (ROWS, 1)).astype("float32"),
    "kind": RNG.choice(["fixed", "normal", "reversible"], (ROWS, 1)),
    "number": RNG.integers(5, 9, (ROWS, 1)),
    "city": RNG.choice(["a", "b", "c"], (ROWS, 1)),
}
Y = ((DATA["age"][:, 0] > 50) & (DATA["kind"][:, 0] != "normal")).astype("float32")
WORDS = {"fixed": 1, "normal": 2, "reversible": 3}


def network():
    """Words by lookup and by hash, integers by lookup and as they are, and a number."""
    fm.utils.set_random_seed(2)
    age, number = fm.Input((1,), name="age"), fm.Input((1,), name="number", dtype="int64")
    kind = fm.Input((1,), name="kind", dtype="string")
    city = fm.Input((1,), name="city", dtype="string")
    lookup = layers.StringLookup(vocabulary=list(WORDS), output_mode="one_hot", name="look")
    crossed = layers.HashedCrossing(4, output_mode="one_hot")([kind, city])
    whole = layers.IntegerLookup(vocabulary=[5, 6, 7, 8])
    looked = layers.Flatten()(layers.Embedding(5, 2, name="table")(whole(number)))
    features = layers.concatenate([layers.Rescaling(0.02)(age), lookup(kind), crossed, looked,
                                   number])
    hidden = layers.Dense(8, activation="relu")(features)
    model = fm.Model([age, kind, number, city], layers.Dense(1, activation="sigmoid")(hidden))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def behind(data):
    """What the layers in front give, computed by hand."""
    kind = np.eye(4, dtype="float32")[[WORDS.get(str(w), 0) for w in data["kind"][:, 0]]]
    crossed = layers.HashedCrossing(4, output_mode="one_hot")([data["kind"], data["city"]])
    return kind, crossed.reshape(len(kind), 4), data["number"] - 4


def by_hand(model, data):
    kind, crossed, number = behind(data)
    table = model.get_layer("table").get_weights()[0]
    first, second = [layer for layer in model.layers if isinstance(layer, layers.Dense)]
    x = np.concatenate([0.02 * data["age"], kind, crossed, table[number[:, 0]],
                        data["number"]], 1)
    h = np.maximum(x @ first.kernel.numpy() + first.bias.numpy(), 0)
    return 1 / (1 + np.exp(-(h @ second.kernel.numpy() + second.bias.numpy())))


def test_predictions_are_those_of_the_layers_one_by_one(backend):
    model = network()
    expected = by_hand(model, DATA)
    for data in (DATA, [DATA[name] for name in ("age", "kind", "number", "city")],
                 {name: values[:, 0] for name, values in DATA.items()}):
        np.testing.assert_allclose(model.predict(data, verbose=0), expected, rtol=2e-5)
    np.testing.assert_allclose(model(DATA), expected, rtol=2e-5)
    row = {name: values[:1] for name, values in DATA.items()}
    np.testing.assert_allclose(model.predictor()(row), expected[:1], rtol=2e-5)


def test_training_in_all_ways_of_passing_data(backend):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({name: values[:, 0] for name, values in DATA.items()})

    def batches():
        for i in range(0, ROWS, 20):
            yield {name: values[i : i + 20] for name, values in DATA.items()}, Y[i : i + 20]

    results = []
    for fit in (
        lambda m: m.fit(DATA, Y, batch_size=20, epochs=1, shuffle=False, verbose=0),
        lambda m: m.fit(dict(frame), frame.age.gt(50).astype(float) * 0 + Y, batch_size=20,
                        shuffle=False, verbose=0),
        lambda m: m.fit(batches(), verbose=0),
    ):
        model = network()
        history = fit(model).history
        results.append((history["loss"], model.evaluate(DATA, Y, verbose=0),
                        model.get_weights()[-2].tolist()))
    assert results[0] == results[1] == results[2]


def test_a_share_for_validation_and_class_weights():
    model, other = network(), network()
    history = model.fit(DATA, Y, validation_split=0.25, epochs=2, verbose=0, shuffle=False,
                        class_weight={0: 1.0, 1: 3.0}).history
    cut = ROWS * 3 // 4
    front, back = ({name: values[part] for name, values in DATA.items()}
                   for part in (slice(cut), slice(cut, None)))
    expected = other.fit(front, Y[:cut], validation_data=(back, Y[cut:]), epochs=2, verbose=0,
                         shuffle=False, class_weight={0: 1.0, 1: 3.0}).history
    assert history == expected


def test_files_and_copies(tmp_path):
    model = network()
    model.fit(DATA, Y, verbose=0)
    expected = model.predict(DATA, verbose=0)
    model.save(tmp_path / "m.keras")
    cloned = fm.models.clone_model(model)
    cloned.set_weights(model.get_weights())
    for again in (fm.models.load_model(tmp_path / "m.keras"), copy.deepcopy(model),
                  pickle.loads(pickle.dumps(model)), cloned):
        np.testing.assert_array_equal(again.predict(DATA, verbose=0), expected)
    lines = []
    model.summary(print_fn=lines.append)
    assert any("look (StringLookup)" in line for line in lines)


def test_a_stack_that_begins_with_a_lookup():
    model = fm.Sequential([
        fm.Input((1,), dtype="string"), layers.StringLookup(vocabulary=["a", "b"]),
        layers.Embedding(3, 2), layers.Flatten(), layers.Dense(1)])
    table, kernel, bias = model.get_weights()
    told = model.predict(["a", "q", "b"], verbose=0)
    np.testing.assert_allclose(told, table[[1, 0, 2]] @ kernel + bias, rtol=1e-5)
    assert model.input_shape == (None, 1)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.predict(["a", "q", "b"], verbose=0), told)


def test_integers_beyond_float32_are_told_apart():
    big = 2**40 + np.arange(3)
    model = fm.Sequential([fm.Input((1,), dtype="int64"),
                           layers.IntegerLookup(vocabulary=big, output_mode="one_hot"),
                           layers.Dense(1, use_bias=False)])
    (kernel,) = model.get_weights()
    np.testing.assert_array_equal(model.predict(big, verbose=0)[:, 0], kernel[1:, 0])


@pytest.mark.parametrize(("change", "error", "match"), [
    ({"kind": np.ones((ROWS, 2))}, ValueError, r"x\['kind'\].*\(rows, 1\)"),
    ({"kind": DATA["kind"][:5]}, ValueError, "same number of rows"),
    ({"age": DATA["kind"]}, TypeError, r"x\['age'\].*real numbers"),
    ({"number": DATA["kind"]}, TypeError, r"x\['number'\].*real numbers"),
    ({"city": None}, TypeError, r"x\['city'\]"),
])
def test_wrong_data_is_named(change, error, match):
    with pytest.raises(error, match=match):
        network().predict({**DATA, **change}, verbose=0)


@pytest.mark.parametrize("value", [0.5, 1e9, np.nan])
def test_only_whole_numbers_are_looked_up_behind_other_layers(value):
    x = fm.Input((1,))
    model = fm.Model(x, layers.Hashing(3)(layers.Rescaling(1.0)(x)))
    np.testing.assert_array_equal(model.predict(np.ones((2, 1)), verbose=0),
                                  layers.Hashing(3)([[1], [1]]))
    with pytest.raises(ValueError, match=re.escape(f"Received: {value:g}")):
        model.predict(np.array([[2.0], [value]]), verbose=0)


def test_words_are_no_numbers():
    words = fm.Input((1,), dtype="string")
    with pytest.raises(TypeError, match="real numbers"):
        fm.Model(words, layers.Dense(1)(words)).predict([["a"]], verbose=0)


def test_onnx_names_the_layers_that_work_on_data():
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match=r"'look'.*behind"):
        fm.saving.to_onnx(network())
