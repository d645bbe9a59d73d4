"""Masks: what gives, passes on and loses them, and what losses and metrics make of them."""

import warnings

import numpy as np
import pytest
from keras_peer import load as load_keras

import fusedmlp as fm
from fusedmlp import backend as backends
from fusedmlp import layers as L
from fusedmlp import plan


@pytest.fixture
def keras():
    return load_keras()


@pytest.fixture(autouse=True)
def executor(backend):
    """Everything here runs on each backend."""


RNG = np.random.default_rng(5)
WORDS = RNG.integers(0, 6, (24, 5))
WORDS[:, 1] = 3  # at least one of each sample counts
STEPS = RNG.normal(size=(24, 4, 3)).astype("float32")
STEPS[RNG.random((24, 4)) < 0.4] = 0.0
STEPS[:, 2] = 1.0
NUMBERS = RNG.normal(size=(24, 5)).astype("float32")
NUMBERS[::3] = 0.0


def merged(k, join):
    a, b = k.Input((4, 3)), k.Input((4, 3))
    masked = k.layers.Masking()
    out = k.layers.Dense(2)(join(k)([masked(a), k.layers.Dense(3)(masked(b))]))
    return k.Model([a, b], out)


def one_masked(k):
    a = k.Input((4, 3))
    out = k.layers.Concatenate(axis=1)([k.layers.Masking()(a), k.layers.Dense(3)(a)])
    return k.Model(a, k.layers.Dense(2)(out))


def stack(k, shape, *layers):
    return k.Sequential([k.Input(shape), *layers])


def nested(k):
    inner = k.Sequential([k.Input((5, 4)), k.layers.Dense(3, "tanh"), k.layers.Dropout(0.0)])
    x = k.Input((5,))
    return k.Model(x, k.layers.Dense(2)(inner(k.layers.Embedding(6, 4, mask_zero=True)(x))))


# model, data, shape of the targets
MODELS = {
    "embedding, pooled": (lambda k: stack(
        k, (5,), k.layers.Embedding(6, 4, mask_zero=True), k.layers.Dense(4, "relu"),
        k.layers.GlobalAveragePooling1D(), k.layers.Dense(2)), WORDS, (2,)),
    "embedding, steps": (lambda k: stack(
        k, (5,), k.layers.Embedding(6, 4, mask_zero=True), k.layers.Dense(4),
        k.layers.Activation("tanh"), k.layers.Dense(2)), WORDS, (5, 2)),
    "masking": (lambda k: stack(
        k, (4, 3), k.layers.Masking(), k.layers.Dense(4, "tanh"), k.layers.LayerNormalization(),
        k.layers.LeakyReLU(), k.layers.Dense(2)), STEPS, (4, 2)),
    "batch norm": (lambda k: stack(
        k, (4, 3), k.layers.Masking(), k.layers.Dense(4, use_bias=False),
        k.layers.BatchNormalization(momentum=0.6), k.layers.Dense(2)), STEPS, (4, 2)),
    "masking, pooled": (lambda k: stack(
        k, (4, 3), k.layers.Dense(3, use_bias=False), k.layers.Masking(),
        k.layers.GlobalAveragePooling1D(), k.layers.Dense(2)), STEPS, (2,)),
    "rows": (lambda k: stack(
        k, (5,), k.layers.Masking(), k.layers.Dense(3, "tanh"), k.layers.Dense(2)), NUMBERS, (2,)),
    "one column": (lambda k: stack(
        k, (4, 3), k.layers.Masking(), k.layers.Dense(1)), STEPS, (4, 1)),
    "max": (lambda k: stack(
        k, (4, 3), k.layers.Dense(4, "relu"), k.layers.GlobalMaxPooling1D(), k.layers.Dense(2)),
        STEPS, (2,)),
    "added": (lambda k: merged(k, lambda k: k.layers.Add()), [STEPS, np.roll(STEPS, 3, 0)], (4, 2)),
    "side by side": (lambda k: merged(k, lambda k: k.layers.Concatenate()),
                     [STEPS, np.roll(STEPS, 3, 0)], (4, 2)),
    "one masked": (one_masked, STEPS, (8, 2)),
    "nested": (nested, WORDS, (5, 2)),
}


def model_of(k, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of models that do pass masks on
        model = MODELS[name][0](k)
    rng = np.random.default_rng(9)
    model.set_weights([rng.normal(scale=0.4, size=w.shape).astype("float32")
                       for w in model.get_weights()])
    return model


def trained(k, name, loss="mse", weights=None, y=None, metrics=("mae",), epochs=1):
    model, data = model_of(k, name), MODELS[name][1]
    model.compile(k.optimizers.SGD(0.1), loss, metrics=list(metrics),
                  weighted_metrics=[] if weights is None else list(metrics))
    y = np.random.default_rng(2).normal(size=(24, *MODELS[name][2])) if y is None else y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = model.fit(data, y, sample_weight=weights, batch_size=12, epochs=epochs,
                            shuffle=False, verbose=0).history["loss"]
        numbers = model.evaluate(data, y, sample_weight=weights, batch_size=12, verbose=0)
    return model, history, numbers, model.get_weights()


KNOWN = {}  # what Keras gave before


def assert_equal(keras, run, *key):
    """What a function of a library gives, of ours and of Keras."""
    if key not in KNOWN:
        KNOWN[key] = run(keras)[1:]
    (history, numbers, weights), expected = run(fm)[1:], KNOWN[key]
    np.testing.assert_allclose(history, expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(numbers, expected[1], rtol=1e-4, atol=1e-6)
    for a, b in zip(weights, expected[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_training_follows_keras(keras, name):
    assert_equal(keras, lambda k: trained(k, name), name)


LOSSES = {
    "sum": lambda k: (k.losses.MeanSquaredError(reduction="sum"), None),
    "weighted mean": lambda k: (k.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
                                None),
    "classes": lambda k: (k.losses.SparseCategoricalCrossentropy(from_logits=True), "classes"),
    "ignored": lambda k: (k.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
                          "classes"),
    "one-hot": lambda k: (k.losses.CategoricalCrossentropy(from_logits=True), "one-hot"),
    "cosine": lambda k: (k.losses.CosineSimilarity(), None),
    "own": lambda k: ((lambda t, p: ((t - p) ** 2).mean(axis=-1)) if k is fm else "mse", None),
}


@pytest.mark.parametrize(("loss", "weights"), [
    *((loss, "steps") for loss in LOSSES), ("sum", "samples"), ("weighted mean", "samples"),
    ("ignored", None), ("weighted mean", None)])
def test_losses_follow_keras(keras, loss, weights):
    """Also weights of samples and of steps beside the mask."""
    def run(k):
        made, kind = LOSSES[loss](k)
        rng = np.random.default_rng(4)
        y = rng.integers(0, 2, (24, 4))
        y = {"classes": y, "one-hot": np.eye(2)[y], None: None}[kind]
        given = {None: None, "samples": rng.random((24, 1)), "steps": rng.random((24, 4))}[weights]
        if k is fm and weights == "samples":
            given = given[:, 0]
        return trained(k, "masking", made, given, y, metrics=())

    assert_equal(keras, run, loss, weights)


@pytest.mark.parametrize("masked", [True, False])
def test_metrics_of_steps_follow_keras(keras, masked):
    """Means of functions heed the mask, counts of hits over thresholds don't."""
    rng = np.random.default_rng(6)
    classes, hits = rng.integers(0, 3, (24, 4)), rng.integers(0, 2, (24, 4, 1))

    def numbers(k, columns, activation, loss, metrics, y):
        front = [k.layers.Masking()] if masked else []
        model = stack(k, (4, 3), *front, k.layers.Dense(columns, activation))
        model.set_weights([np.random.default_rng(1).normal(size=w.shape)
                           for w in model.get_weights()])
        model.compile("sgd", loss, metrics=[m(k) for m in metrics])
        return model.evaluate(STEPS, y, batch_size=12, verbose=0)

    several = (3, "softmax", "sparse_categorical_crossentropy",
               [lambda k: "accuracy",
                lambda k: k.metrics.SparseTopKCategoricalAccuracy(2),
                lambda k: k.metrics.SparseCategoricalCrossentropy()], classes)
    single = (1, "sigmoid", "binary_crossentropy",
              [lambda k: "accuracy", lambda k: k.metrics.Precision(), lambda k: "mse",
               lambda k: k.metrics.MeanMetricWrapper(lambda t, p: abs(t - p)[..., 0])], hits)
    for case in (several, single):
        np.testing.assert_allclose(numbers(fm, *case), numbers(keras, *case), rtol=1e-5, atol=1e-6)


def test_masks_of_keras(keras):
    """`compute_mask` of arrays, and which layers support masks."""
    ours, theirs = L.Masking(1.0), keras.layers.Masking(1.0)
    np.testing.assert_array_equal(ours.compute_mask(STEPS), theirs.compute_mask(STEPS))
    np.testing.assert_array_equal(ours(STEPS), theirs(STEPS))
    for zero in (True, False):
        ours, theirs = (k.layers.Embedding(6, 2, mask_zero=zero) for k in (fm, keras))
        a, b = ours.compute_mask(WORDS), theirs.compute_mask(WORDS)
        assert (a is None and b is None) or (np.asarray(b) == a).all()
        assert ours.supports_masking == theirs.supports_masking == zero
    made = {
        "Dense": (2,), "Activation": ("relu",), "Dropout": (0.5,), "AlphaDropout": (0.5,),
        "GaussianDropout": (0.5,), "GaussianNoise": (0.5,), "ReLU": (), "LeakyReLU": (), "ELU": (),
        "PReLU": (), "Softmax": (), "LayerNormalization": (), "BatchNormalization": (),
        "UnitNormalization": (), "RMSNormalization": (), "Identity": (), "Flatten": (),
        "Reshape": ((1, 1),), "Permute": ((1,),), "RepeatVector": (2,), "Add": (), "Subtract": (),
        "Multiply": (), "Average": (), "Maximum": (), "Minimum": (), "Concatenate": (),
        "Dot": (1,), "Masking": (), "GlobalAveragePooling1D": (), "GlobalMaxPooling1D": (),
        "ActivityRegularization": (), "Rescaling": (2.0,), "Normalization": (),
        "CategoryEncoding": (3,), "Discretization": ([0.0],), "Layer": (),
    }
    for name, arguments in made.items():
        ours, theirs = (getattr(k.layers, name)(*arguments) for k in (fm, keras))
        assert ours.supports_masking == theirs.supports_masking, name


@pytest.mark.parametrize("name", ["GlobalAveragePooling1D", "GlobalMaxPooling1D"])
def test_pooling_by_itself_follows_keras(keras, name):
    for arguments in ({}, {"keepdims": True}, {"data_format": "channels_first"},
                      {"data_format": "channels_first", "keepdims": True}):
        ours, theirs = (getattr(k.layers, name)(**arguments) for k in (fm, keras))
        np.testing.assert_allclose(ours(STEPS), theirs(STEPS), rtol=1e-5, atol=1e-7)
        assert ours.compute_output_shape((None, 4, 3)) == theirs.compute_output_shape((None, 4, 3))


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_masked_softmax_follows_keras(keras, shape):
    rng = np.random.default_rng(3)
    x, mask = rng.normal(size=(5, *shape)).astype("float32"), rng.random((5, *shape)) < 0.6
    mask[0] = False
    expected = keras.layers.Softmax()(x, mask=mask)
    np.testing.assert_allclose(L.Softmax()(x, mask=mask), expected, rtol=1e-5, atol=1e-7)


# -- without Keras -------------------------------------------------------------------------------


def test_loss_and_metric_by_hand():
    """Means over the steps that count, within each batch, weighted by its rows."""
    model = model_of(fm, "masking")
    model.compile("sgd", "mse", metrics=["mae"])
    y = RNG.normal(size=(24, 4, 2)).astype("float32")
    p, mask = model.predict(STEPS, verbose=0), (STEPS != 0).any(axis=2)
    loss, mae = model.evaluate(STEPS, y, batch_size=12, verbose=0)
    square, mean = ((p - y) ** 2).mean(axis=2), abs(p - y).mean(axis=2)
    expected = np.mean([square[part][mask[part]].mean() for part in (slice(12), slice(12, 24))])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(mae, mean[mask].mean(), rtol=1e-5)


def test_nothing_left():
    """A batch without a step that counts has the loss 0, and moves nothing."""
    model = model_of(fm, "masking")
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(np.zeros((6, 4, 3)), np.ones((6, 4, 2)), verbose=0)
    assert model.history.history["loss"] == [0.0]
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_bits_for_any_number_of_threads():
    if backends.current() == backends.names[-1]:
        pytest.skip("NumPy's products are its own")
    before, found = fm.config.threads(), []
    try:
        for threads in (1, 2, 5):
            fm.config.set_threads(threads)
            model, history, *_ = trained(fm, "embedding, steps")
            found.append((history, model.get_weights()))
    finally:
        fm.config.set_threads(before)
    for history, weights in found[1:]:
        assert history == found[0][0]
        np.testing.assert_equal(weights, found[0][1])


def test_layers_without_support_lose_the_mask_with_a_warning():
    x = L.Embedding(6, 4, mask_zero=True)(fm.Input((5,)))
    assert x._keras_mask.shape == (None, 5)
    for layer in (L.Flatten(), L.Reshape((20,)), L.RMSNormalization(), L.GlobalMaxPooling1D()):
        with pytest.warns(UserWarning, match=f"{layer.name}.*does not support masking"):
            assert layer(x)._keras_mask is None
    assert L.GlobalAveragePooling1D()(x)._keras_mask is None
    assert (x + 1.0)._keras_mask is None
    assert L.Embedding(6, 4)(fm.Input((5,)))._keras_mask is None


class Scaled(L.Layer):
    """Takes the mask that comes with its input."""

    def call(self, x, mask=None):
        self.seen = mask
        return 2.0 * x

    def compute_mask(self, inputs, mask=None):
        return mask


class Counted(L.Layer):
    """A step in Python that reads the mask, which is an array of truth values there."""

    python_step = True

    def call(self, x, mask=None):
        return x * 1.0 if mask is None else x * mask.sum(axis=1, keepdims=True)[..., None]

    def backward(self, dy, x, y):
        return np.where(x == 0, 0, dy * y / np.where(x == 0, 1, x))

    def compute_output_shape(self, shape):
        return shape


def test_layers_of_ones_own():
    x = fm.Input((5,))
    scaled = Scaled()
    h = scaled(L.Embedding(6, 4, mask_zero=True)(x))
    assert scaled.supports_masking
    assert scaled.seen.dtype == "bool"
    assert h._keras_mask is not None
    counted = Counted()
    counted.supports_masking = True
    model = fm.Model(x, L.Dense(2)(counted(L.Dense(4)(h))))
    assert model.outputs[0]._keras_mask.shape == (None, 5)
    model.compile("sgd", "mse")
    first = model.evaluate(WORDS, np.zeros((24, 5, 2)), batch_size=24, verbose=0)
    weights = model.get_weights()
    table, (kernel, bias), (last, end) = weights[0], weights[1:3], weights[3:]
    mask = WORDS != 0
    hidden = (2 * table[WORDS] @ kernel + bias) * mask.sum(axis=1)[:, None, None]
    expected = ((hidden @ last + end) ** 2).mean(axis=2)[mask].mean()
    np.testing.assert_allclose(first, expected, rtol=1e-5)
    model.fit(WORDS, np.zeros((24, 5, 2)), verbose=0)


def test_masks_that_are_given():
    """`mask=` of arrays, of symbolic tensors, and of a Lambda."""
    x = np.arange(6.0).reshape(1, 3, 2)
    mask = np.array([[True, False, True]])
    np.testing.assert_array_equal(L.GlobalAveragePooling1D()(x, mask=mask), [[2.0, 3.0]])
    a = fm.Input((3, 2))
    masking = L.Masking(5.0)
    y = L.GlobalAveragePooling1D()(L.Dense(2, use_bias=False)(a), mask=masking.compute_mask(a))
    model = fm.Model(a, y)
    model.set_weights([np.eye(2)])
    data = np.array([[[1.0, 2.0], [5.0, 5.0], [3.0, 5.0]]])
    np.testing.assert_allclose(model.predict(data, verbose=0), [[2.0, 3.5]])
    again = fm.Model.from_config(model.get_config())
    again.set_weights([np.eye(2)])
    np.testing.assert_allclose(again.predict(data, verbose=0), [[2.0, 3.5]])
    kept = L.Lambda(lambda t, mask=None: t if mask is None else 3.0 * t,
                    mask=lambda inputs, mask: mask)
    z = kept(L.Masking()(a))
    assert z._keras_mask is not None
    np.testing.assert_allclose(fm.Model(a, z).predict(data, verbose=0), 3.0 * data)
    with pytest.raises(ValueError, match="`mask`"):
        L.Dense(2)(a, mask=3)


def test_models_with_masks_are_saved_and_copied(tmp_path):
    model, _, numbers, *_ = trained(fm, "nested")
    model.save(tmp_path / "m.keras")
    loaded = fm.models.load_model(tmp_path / "m.keras")
    y = np.random.default_rng(2).normal(size=(24, 5, 2))
    assert loaded.evaluate(WORDS, y, batch_size=12, verbose=0) == numbers
    clone = fm.models.clone_model(model)
    clone.set_weights(model.get_weights())
    clone.compile("sgd", "mse", metrics=["mae"])
    assert clone.evaluate(WORDS, y, batch_size=12, verbose=0) == numbers


def test_bad_masks_and_targets_are_named():
    model = model_of(fm, "masking")
    model.compile("sgd", "sparse_categorical_crossentropy")
    for y in (np.zeros((24,)), np.zeros((24, 3)), np.zeros((24, 4, 3))):
        with pytest.raises(ValueError, match="`y`"):
            model.fit(STEPS, y, verbose=0)
    with pytest.raises(ValueError, match=r"`sample_weight`.* 4 steps"):
        model.fit(STEPS, np.zeros((24, 4)), sample_weight=np.ones((24, 3)), verbose=0)
    with pytest.raises(TypeError, match="`mask_value`"):
        L.Masking("0")
    with pytest.raises(ValueError, match="steps, columns"):
        L.GlobalAveragePooling1D()(fm.Input((3,)))
    with pytest.raises(ValueError, match="must have the shape of its input"):
        L.Softmax()(STEPS, mask=np.ones((24, 4), bool))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_operations_in_both_forms(dtype):
    x = STEPS.astype(dtype).reshape(24, 12)
    mask = (STEPS != 0).any(axis=2)
    expected = {
        "mask": mask, "kept": STEPS * mask[..., None],
        "mean": (STEPS * mask[..., None]).sum(axis=1) / mask.sum(axis=1)[:, None],
        "max": STEPS.max(axis=1),
    }
    for form in (12, 3):
        for name, want in expected.items():
            b = plan.Builder(7, dtype)
            i = b.affine(b.formed(b.input(12, shape=(4, 3)), form), 1.0)
            m = b.step_mask(i, 0.0, 4)
            out = {"mask": lambda m=m: m, "kept": lambda b=b, i=i, m=m: b.keep_steps(i, m),
                   "mean": lambda b=b, i=i, m=m: b.pool(i, "mean", m),
                   "max": lambda b=b, i=i: b.pool(i, "max")}[name]()
            run = backends.executor(b.finish([out]), np.zeros(0, dtype), (), 0)
            got = np.empty((24, want[0].size), dtype)
            run.forward(x, got)
            np.testing.assert_allclose(got, want.reshape(24, -1), rtol=1e-6, atol=1e-7)
