"""Preprocessing layers: alone, in models, adapted to data, against Keras and golden values.

Vocabularies and hashes have no peer here without TensorFlow; their golden values are those that
Keras's documentation states.
"""

from __future__ import annotations

import keras_peer
import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers
from fusedmlp.layers.preprocessing.base import encode
from fusedmlp.layers.preprocessing.fingerprints import farmhash64, siphash64

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(60, 4)) * [1, 10, 0.1, 3] + [0, 100, -5, 2]).astype("float32")
BINS = RNG.integers(-1, 6, size=(60, 3)).astype("float32")


def adapted(layer, data=X):
    layer.adapt(data)
    return layer


def in_model(layer, x, dtype="float32"):
    model = fm.Sequential([fm.Input(x.shape[1:], dtype=dtype), layer])
    return model.predict(x)


# -- numbers -------------------------------------------------------------------------------------

NUMERIC = {
    "adapted": lambda: adapted(layers.Normalization()),
    "adapted inverse": lambda: adapted(layers.Normalization(invert=True)),
    "one moment": lambda: adapted(layers.Normalization(axis=None)),
    "given": lambda: layers.Normalization(mean=[1, 2, 3, 4.0], variance=[1, 4, 9, 16.0]),
    "given once": lambda: layers.Normalization(mean=3.0, variance=2.0),
    "given inverse": lambda: layers.Normalization(mean=3.0, variance=2.0, invert=True),
    "rescaled": lambda: layers.Rescaling(1 / 255, offset=-0.5),
    "rescaled columns": lambda: layers.Rescaling([1.0, 2.0, 3.0, 0.5], offset=[0, 1, 0, 1]),
    "rescaled by one": lambda: layers.Rescaling(2.0, offset=[0, 1, 0, 1]),
    "bins": lambda: layers.Discretization([-5.0, 0.0, 2.0, 100.0]),
    "bins counted": lambda: layers.Discretization([-5.0, 0.0, 2.0], output_mode="count"),
    "bins found": lambda: adapted(layers.Discretization(num_bins=5, output_mode="multi_hot")),
}


@pytest.mark.parametrize("name", NUMERIC)
def test_a_layer_in_a_model_is_the_layer(backend, name):
    layer = NUMERIC[name]()
    out = in_model(layer, X)
    # constants are combined once in a plan
    np.testing.assert_allclose(out, layer(X), rtol=3e-6 if "given" in name else 2e-7, atol=1e-6)
    assert layer.compute_output_shape((None, 4)) == (None, *layer(X).shape[1:])


@pytest.mark.parametrize("name", NUMERIC)
def test_configs_make_equal_layers(name):
    layer = NUMERIC[name]()
    layer(X)
    again = layers.deserialize(layers.serialize(layer))
    if layer.variables:
        again.build((None, 4))
        again.set_weights(layer.get_weights())
    assert np.array_equal(again(X), layer(X))


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
def test_codes_in_a_model(backend, mode):
    layer = layers.CategoryEncoding(5, output_mode=mode)
    column = BINS[:, :1] if mode == "one_hot" else BINS
    out = in_model(layer, column)
    assert np.array_equal(out, layer(column))
    expected = np.zeros((60, 5))
    for row, values in zip(expected, column.astype(int), strict=True):
        for v in values:
            if 0 <= v < 5:
                row[v] = row[v] + 1 if mode == "count" else 1
    assert np.array_equal(out, expected)


def test_normalization_is_the_formula(backend):
    layer = adapted(layers.Normalization())
    mean, variance = X.mean(axis=0, dtype="float64"), X.var(axis=0, dtype="float64")
    np.testing.assert_allclose(layer.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(layer.variance, variance, rtol=1e-6)
    np.testing.assert_allclose(in_model(layer, X), (X - mean) / np.sqrt(variance), rtol=2e-4,
                               atol=1e-4)


def test_moments_of_batches_are_those_of_all():
    whole = adapted(layers.Normalization())
    for data in ([X[:7], X[7:40], X[40:]], ((b,) for b in (X[:7], X[7:])), X.astype("float64")):
        np.testing.assert_allclose(adapted(layers.Normalization(), data).variance, whole.variance,
                                   rtol=1e-6)
    far = X + np.float32(1e4)
    parts = adapted(layers.Normalization(), [far[:20], far[20:]])
    np.testing.assert_allclose(parts.variance, far.var(axis=0, dtype="float64"), rtol=1e-5)


def test_constant_columns_become_0_not_infinite(backend):
    layer = adapted(layers.Normalization(), np.full((5, 2), 3.0))
    assert np.array_equal(in_model(layer, np.full((3, 2), 3.0, "float32")), np.zeros((3, 2)))


def test_adapting_again_counts_in_a_model(backend):
    layer = adapted(layers.Normalization())
    model = fm.Sequential([fm.Input((4,)), layer])
    model.predict(X)
    layer.adapt(X * 2)
    np.testing.assert_allclose(model.predict(X), layer(X), rtol=1e-6)


def test_normalization_of_more_axes():
    x = RNG.normal(size=(5, 3, 2))
    layer = adapted(layers.Normalization(axis=(1, 2)), x)
    np.testing.assert_allclose(layer(x), (x - x.mean(axis=0)) / x.std(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("front", ["adapted", "given", "rescaled columns"])
def test_gradients_pass_through(backend, front, dtype):
    """The layer in front of it learns as if there were a Dense layer with the same numbers."""
    fm.utils.set_random_seed(1)
    scaler = NUMERIC[front]() if front != "adapted" else adapted(layers.Normalization(dtype=dtype))
    model = fm.Sequential([fm.Input((4,), dtype=dtype), layers.Dense(4), scaler, layers.Dense(1)])
    x, y = X / 10, X[:, :1]
    model.compile(fm.optimizers.SGD(1e-4), "mse")
    kernel = model.layers[0].kernel.numpy().astype("float64")

    def loss(k):
        h = x.astype("float64") @ k + np.asarray(model.layers[0].bias, "float64")
        if front == "rescaled columns":
            h = h * np.array(scaler.scale) + np.array(scaler.offset)
        else:
            h = (h - scaler.mean) / np.sqrt(np.asarray(scaler.variance, "float64"))
        out = h @ np.asarray(model.layers[2].kernel, "float64")
        return float(np.mean((out - y) ** 2))

    slope = np.zeros_like(kernel)
    for place in np.ndindex(*kernel.shape):
        step = np.zeros_like(kernel)
        step[place] = 1e-4
        slope[place] = (loss(kernel + step) - loss(kernel - step)) / 2e-4
    model.fit(x, y, batch_size=60, verbose=0)
    moved = (kernel - model.layers[0].kernel.numpy()) / 1e-4
    np.testing.assert_allclose(moved, slope, rtol=2e-2 if dtype == "float32" else 1e-5, atol=2e-2)


def test_weights_of_an_adapted_layer_are_saved(tmp_path):
    model = fm.Sequential([fm.Input((4,)), adapted(layers.Normalization()), layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    again = fm.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(model.predict(X), again.predict(X))


@pytest.mark.parametrize("num_bins", [2, 3, 7])
def test_bins_hold_equally_many(num_bins):
    data = RNG.normal(size=(5000, 1))
    layer = adapted(layers.Discretization(num_bins=num_bins), data)
    assert len(layer.bin_boundaries) == num_bins - 1
    shares = np.bincount(layer(data).ravel(), minlength=num_bins) / 5000
    np.testing.assert_allclose(shares, 1 / num_bins, atol=0.02)
    parts = adapted(layers.Discretization(num_bins=num_bins), [data[:900], data[900:]])
    np.testing.assert_allclose(parts.bin_boundaries, layer.bin_boundaries, atol=0.05)


def test_edges_of_bins(backend):
    layer = layers.Discretization([0.0, 1.0])
    x = np.array([[-np.inf, -1e-9, 0.0, 0.5], [1.0, 2.0, np.inf, np.nan]], "float32")
    assert layer(x).tolist() == [[0, 0, 1, 1], [2, 2, 2, 2]]
    assert in_model(layer, x).tolist() == [[0, 0, 1, 1], [2, 2, 2, 2]]


REFUSED = [
    (lambda: layers.Normalization(mean=1.0), "given together"),
    (lambda: layers.Normalization(mean=[1.0], variance=[1.0, 2.0]), "one shape"),
    (lambda: adapted(layers.Normalization(mean=1.0, variance=1.0)), "can't be adapted"),
    (lambda: adapted(layers.Normalization(axis=5)), "axis"),
    (lambda: layers.Normalization(mean=[1.0, 2.0], variance=[1.0, 2.0])(X), "fit the shape"),
    (lambda: adapted(layers.Normalization())(X[:, :2]), "was built for"),
    (lambda: adapted(layers.Normalization(), X[:0]), "at least one value"),
    (lambda: layers.Rescaling([[1.0]]), "`scale`"),
    (lambda: in_model(layers.Rescaling([1.0, 2.0]), X), "as many elements"),
    (lambda: layers.CategoryEncoding(), "num_tokens"),
    (lambda: layers.CategoryEncoding(0), "num_tokens"),
    (lambda: layers.CategoryEncoding(3, output_mode="int"), "output_mode"),
    (lambda: layers.CategoryEncoding(3, sparse=True), "sparse"),
    (lambda: layers.CategoryEncoding(3)(BINS, count_weights=BINS), "count_weights"),
    (lambda: layers.Discretization(), "Exactly one"),
    (lambda: layers.Discretization([1.0], num_bins=2), "Exactly one"),
    (lambda: layers.Discretization([2.0, 1.0]), "ascending"),
    (lambda: layers.Discretization(num_bins=3)(X), "no boundaries yet"),
    (lambda: adapted(layers.Discretization([1.0])), "can't be adapted"),
    (lambda: layers.StringLookup(vocabulary=["a", "a"]), "each token once"),
    (lambda: layers.StringLookup(vocabulary=[]), "at least one token"),
    (lambda: layers.StringLookup(max_tokens=2, vocabulary=["a", "b"]), "at most 1"),
    (lambda: layers.StringLookup(mask_token="", vocabulary=["a", ""]), "special tokens"),
    (lambda: layers.StringLookup(vocabulary=["a"], output_mode="tf_idf"), "idf_weights"),
    (lambda: layers.StringLookup(vocabulary=["a"], num_oov_indices=0)([["b"]]), "'b'"),
    (lambda: layers.StringLookup(vocabulary=["a"], invert=True, output_mode="count"), "invert"),
    (lambda: layers.StringLookup(pad_to_max_tokens=True), "max_tokens"),
    (lambda: adapted(layers.StringLookup(vocabulary=["a"]), ["b"]), "can't be adapted"),
    (lambda: layers.IntegerLookup(vocabulary=[1], salt=3), "farmhash"),
    (lambda: layers.IntegerLookup(vocabulary=[1])([[1.5]]), "integers"),
    (lambda: layers.Hashing(0), "num_bins"),
    (lambda: layers.Hashing(3, salt="x"), "salt"),
    (lambda: layers.Hashing(3, dtype="float32"), "dtype"),
    (lambda: layers.HashedCrossing(3)([["a"]]), "at least two"),
    (lambda: layers.HashedCrossing(3)([["a"], ["a", "b"]]), "one shape"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_lookups_need_a_vocabulary():
    with pytest.raises(RuntimeError, match="no vocabulary yet"):
        layers.StringLookup()([["a"]])


# -- words and integers --------------------------------------------------------------------------


def test_vocabulary_by_frequency():
    data = ["b", "a", "b", "c", "a", "b"]
    layer = adapted(layers.StringLookup(), data)
    assert layer.get_vocabulary() == ["[UNK]", "b", "a", "c"]
    assert layer.vocabulary_size() == 4
    ties = adapted(layers.StringLookup(max_tokens=3), ["x", "y", "z"])
    assert ties.get_vocabulary(include_special_tokens=False) == ["z", "y"]
    batches = adapted(layers.StringLookup(), iter([np.array(data[:3]), np.array(data[3:])]))
    assert batches.get_vocabulary() == layer.get_vocabulary()


def test_masks_and_others():
    layer = layers.StringLookup(vocabulary=["a", "b"], mask_token="", num_oov_indices=2)
    assert layer.get_vocabulary() == ["", "[UNK]", "[UNK]", "a", "b"]
    out = layer([["a", "", "b"], ["x", "y", "z"]])
    assert out[0].tolist() == [3, 0, 4]
    assert set(out[1].tolist()) <= {1, 2}
    counted = layers.StringLookup(vocabulary=["a", "b"], mask_token="", output_mode="count")
    assert counted([["a", "", "q", "a"]]).tolist() == [[1, 2, 0]]


def test_inverted_lookups():
    words = layers.StringLookup(vocabulary=["a", "b"], invert=True)
    assert words([[1, 2, 0, 9]]).tolist() == [["a", "b", "[UNK]", "[UNK]"]]
    numbers = layers.IntegerLookup(vocabulary=[12, 36], mask_token=0, invert=True)
    assert numbers([[0, 2, 3, 1]]).tolist() == [[0, 12, 36, -1]]


def test_golden_values_of_integer_lookups():
    data = np.array([[12, 1138, 42], [42, 1000, 36]])
    vocab = [12, 36, 1138, 42]
    assert layers.IntegerLookup(vocabulary=vocab)(data).tolist() == [[1, 3, 4], [4, 0, 2]]
    two = layers.IntegerLookup(vocabulary=vocab, num_oov_indices=2)
    assert two([[12, 1138, 42], [37, 1000, 36]]).tolist() == [[2, 4, 5], [1, 0, 3]]
    one = layers.IntegerLookup(vocabulary=vocab, output_mode="one_hot")
    assert one([12, 36, 1138, 42, 7]).tolist() == np.eye(5)[[1, 2, 3, 4, 0]].tolist()
    idf = layers.IntegerLookup(vocabulary=vocab, output_mode="tf_idf",
                               idf_weights=[0.25, 0.75, 0.6, 0.4])
    np.testing.assert_allclose(idf([[12, 1138, 42, 42], [42, 7, 36, 7]]),
                               [[0.0, 0.25, 0.0, 0.6, 0.8], [1.0, 0.0, 0.75, 0.0, 0.4]])
    assert adapted(layers.IntegerLookup(), data).get_vocabulary() == [-1, 42, 1138, 1000, 36, 12]


def test_idf_found_in_data():
    layer = adapted(layers.StringLookup(output_mode="tf_idf"), [["a", "b"], ["a", "a"], ["c", "a"]])
    weights = {t: np.log(1 + 3 / (1 + n)) for t, n in (("a", 3), ("b", 1), ("c", 1))}
    vocabulary = layer.get_vocabulary(include_special_tokens=False)
    assert vocabulary == ["a", "c", "b"]
    found = layer([["a", "a", "b", "?"]])
    expected = [np.mean(list(weights.values())), 2 * weights["a"], 0, weights["b"]]
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_a_vocabulary_in_a_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("red\ngreen\n")
    layer = layers.StringLookup(vocabulary=str(path))
    assert layer([["green"]]).tolist() == [[2]]
    again = layers.deserialize(layers.serialize(layer))
    path.unlink()
    assert again.get_vocabulary() == ["[UNK]", "red", "green"]


@pytest.mark.parametrize("kind", ["pandas", "polars", "bytes", "list", "strings"])
def test_words_of_any_kind(kind):
    words = ["b", "a", "b"]
    data = {"pandas": lambda: pytest.importorskip("pandas").Series(words),
            "polars": lambda: pytest.importorskip("polars").Series(words),
            "bytes": lambda: np.array(words, "S1"), "list": lambda: words,
            "strings": lambda: np.array(words)}[kind]()
    layer = adapted(layers.StringLookup(), data)
    assert layer(data).tolist() == [1, 2, 1]


def test_golden_values_of_hashes():
    words = [["A"], ["B"], ["C"], ["D"], ["E"]]
    assert layers.Hashing(3)(words).ravel().tolist() == [1, 0, 1, 1, 2]
    assert layers.Hashing(3, mask_value="")([["A"], ["B"], [""], ["C"], ["D"]]).ravel().tolist() \
        == [1, 1, 0, 2, 2]
    assert layers.Hashing(3, salt=[133, 137])(words).ravel().tolist() == [1, 2, 1, 0, 2]
    assert layers.Hashing(3, salt=133)(words).ravel().tolist() == [0, 0, 2, 1, 0]
    crossing = layers.HashedCrossing(5)
    features = [np.array(list("ABABA")), np.array([101, 101, 101, 102, 102])]
    assert crossing(features).tolist() == [1, 4, 1, 1, 3]
    one_hot = layers.HashedCrossing(5, output_mode="one_hot")(features)
    assert np.array_equal(one_hot, np.eye(5)[[1, 4, 1, 1, 3]])


@pytest.mark.parametrize(("length", "print_"), [
    # FarmHash's Fingerprint64 of the first letters of "ab" * 100
    (0, 0x9AE16A3B2F90404F), (1, 0xB3454265B6DF75E3), (3, 0x6B3D3923081C6BD),
    (7, 0x3E040DE0D79F0583), (12, 0x280D460583BDF191), (17, 0xE991E40691D51467),
    (33, 0x52C20885F7B01E91), (65, 0x12BE5B1CB660418F), (129, 0xDA709119749EBC0A),
])
def test_fingerprints(length, print_):
    assert farmhash64(("ab" * 100)[:length].encode()) == print_


@pytest.mark.parametrize("length", [3, 7, 12, 16, 17, 32, 33, 64, 65, 128, 129, 200])
def test_fingerprints_of_all_lengths_spread(length):
    """Every byte counts, in each of the forms that depend on the length."""
    base = bytes(range(length))
    seen = {farmhash64(base), siphash64(base, (1, 2))}
    for i in range(length):
        changed = base[:i] + bytes([base[i] ^ 255]) + base[i + 1 :]
        seen |= {farmhash64(changed), siphash64(changed, (1, 2))}
    assert len(seen) == 2 * (length + 1)


def test_codes_of_out_of_range_numbers():
    assert encode(np.array([[-1, 0, 5]]), "multi_hot", 3).tolist() == [[1, 0, 0]]


# -- against Keras -------------------------------------------------------------------------------

PEERS = [
    ("Normalization", {}, X), ("Normalization", {"axis": None}, X),
    ("Normalization", {"invert": True}, X),
    ("Rescaling", {"scale": 0.5, "offset": 1.0}, X),
    ("Discretization", {"num_bins": 4, "epsilon": 0.01}, X),
    ("Discretization", {"num_bins": 3, "epsilon": 0.1}, X),
    ("Discretization", {"bin_boundaries": [0.0, 2.0], "output_mode": "one_hot"}, X),
    ("Discretization", {"bin_boundaries": [0.0, 2.0], "output_mode": "count"}, X),
    ("CategoryEncoding", {"num_tokens": 6, "output_mode": "one_hot"}, np.abs(BINS).astype(int)),
    ("CategoryEncoding", {"num_tokens": 6}, np.abs(BINS).astype(int)),
    ("CategoryEncoding", {"num_tokens": 6, "output_mode": "count"}, np.abs(BINS).astype(int)),
]


def adapt_keras(layer, batches):
    """`adapt` of Discretization asks for TensorFlow, the methods that it calls do not."""
    if not hasattr(layer, "update_state"):
        layer.adapt(batches[0])
        return
    for batch in batches:
        layer.update_state(batch)
    layer.finalize_state()


@pytest.mark.parametrize(("name", "arguments", "x"), PEERS)
def test_like_keras(name, arguments, x):
    keras = keras_peer.load()
    ours, theirs = (getattr(m.layers, name)(**arguments) for m in (fm, keras))
    if name == "Normalization" or "num_bins" in arguments:
        ours.adapt(x)
        adapt_keras(theirs, [x])
    found, wanted = ours(x), np.asarray(theirs(x))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=1e-4)
    if "num_bins" in arguments:
        np.testing.assert_allclose(ours.bin_boundaries, theirs.bin_boundaries, rtol=1e-6)


def test_sketches_like_keras():
    keras = keras_peer.load()
    data = np.random.default_rng(3).normal(size=(3000, 1)).astype("float32")
    batches = [data[:1000], data[1000:1500], data[1500:]]
    ours = layers.Discretization(num_bins=6, epsilon=0.02)
    theirs = keras.layers.Discretization(num_bins=6, epsilon=0.02)
    ours.adapt(batches)
    adapt_keras(theirs, batches)
    np.testing.assert_allclose(ours.bin_boundaries, theirs.bin_boundaries, rtol=1e-5)


# -- lookups elsewhere than in front ---------------------------------------------------------------

ANIMALS = np.array([["cat"], ["dog"], ["cow"], ["cat"]])


def _word_layers():
    return [fm.layers.StringLookup(vocabulary=["cat", "dog"]), fm.layers.Embedding(4, 2),
            fm.layers.Flatten()]


@pytest.mark.parametrize("nested", [False, True, "twice"])
def test_words_in_models_of_several_forms(nested):
    if not nested:
        model = fm.Sequential([*_word_layers(), fm.layers.Dense(1)])  # no Input says the shape
        embedding = model.layers[1]
    else:
        inner = fm.Sequential([fm.Input((1,), dtype="string"), *_word_layers()])
        embedding, x = inner.layers[1], fm.Input((1,), dtype="string")
        if nested == "twice":
            y = fm.Input((1,), dtype="string")
            middle = fm.Model(y, inner(y))
            model = fm.Model(x, fm.layers.Dense(1)(fm.layers.add([middle(x), inner(x)])))
        else:
            model = fm.Model(x, fm.layers.Dense(1)(inner(x)))
    model.compile("sgd", "mse")
    model.fit(ANIMALS, np.ones(4), verbose=0)
    rows = embedding.embeddings.numpy()[[1, 2, 0, 1]] * (2 if nested == "twice" else 1)
    kernel, bias = (w.numpy() for w in model.weights[-2:])
    np.testing.assert_allclose(model.predict(ANIMALS, verbose=0), rows @ kernel + bias, rtol=1e-5)


def test_numbers_are_looked_up_within_a_call(backend):
    class Own(fm.Model):
        def __init__(self):
            super().__init__()
            self.lookup = fm.layers.IntegerLookup(vocabulary=[10, 20, 30])
            self.embedding, self.flatten = fm.layers.Embedding(4, 2), fm.layers.Flatten()

        def call(self, x):
            return self.flatten(self.embedding(self.lookup(x)))

    model, numbers = Own(), np.array([[10], [30], [7], [20]])
    model.compile("sgd", "mse")
    model.fit(numbers, np.ones((4, 2)), verbose=0)
    found = model.embedding.embeddings.numpy()[[1, 3, 0, 2]]
    np.testing.assert_allclose(model.predict(numbers, verbose=0), found, rtol=1e-6)
    with pytest.raises(ValueError, match="whole numbers below 16777216"):
        model.predict(np.array([[2**24]]), verbose=0)
