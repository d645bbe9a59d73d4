"""The policy "mixed_bfloat16": rounded factors of products, float32 everywhere else.

The rounding is held to its definition, the backends to each other, training to that in float32.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import backend as backends
from fusedmlp.dtype_policies import DTypePolicy
from fusedmlp.kernels.reference.dense import bfloat16


def products():
    """Whether the backend in use has products of bfloat16."""
    return fm.config.backend() == "numpy" or backends.load("cython").native.has_bfloat16()


def announced():
    """What warns where there are none."""
    if products():
        return contextlib.nullcontext()
    return pytest.warns(UserWarning, match="AVX512_BF16")


@pytest.fixture(params=["numpy", "cython"])
def each(request):
    """The backends by name; the one in use is put back."""
    before = fm.config.backend()
    try:
        fm.config.set_backend(request.param)
    except RuntimeError as error:
        pytest.skip(str(error))
    yield request.param
    fm.config.set_backend(before)


def model(dtype, widths=(33, 10), columns=13, activation="tanh", seed=5):
    fm.utils.set_random_seed(seed)
    hidden = [fm.layers.Dense(w, activation=activation, dtype=dtype) for w in widths[:-1]]
    return fm.Sequential([fm.Input((columns,)), *hidden,
                          fm.layers.Dense(widths[-1], activation="softmax", dtype=dtype)])


def samples(rows, columns=13, classes=10):
    rng = np.random.default_rng(rows)
    return (rng.standard_normal((rows, columns)).astype("float32"),
            rng.integers(0, classes, rows))


# -- rounding ------------------------------------------------------------------------------------


def test_rounding_is_to_the_nearest_with_ties_to_even():
    step = 2.0**-7  # between 1 and 2
    cases = {1.0: 1.0, 1 + step: 1 + step, 1 + 0.49 * step: 1.0, 1 + 0.51 * step: 1 + step,
             1 + 0.5 * step: 1.0, 1 + 1.5 * step: 1 + 2 * step, -1 - 1.5 * step: -1 - 2 * step,
             0.0: 0.0, np.inf: np.inf, -np.inf: -np.inf, 3.4e38: np.inf,
             3.38e38: (2 - 2 * step) * 2.0**127}
    found = bfloat16(np.array(list(cases), "float32"))
    np.testing.assert_array_equal(found, np.array(list(cases.values()), "float32"))
    assert np.signbit(bfloat16(np.array([-0.0], "float32")))[0]
    nans = np.array([0x7F800001, 0xFFFFFFFF, 0x7FC00000], "uint32").view("float32")
    assert np.isnan(bfloat16(nans)).all()


def test_rounding_keeps_eight_bits():
    x = np.random.default_rng(0).standard_normal(10_000).astype("float32")
    rounded = bfloat16(x)
    assert (rounded.view("uint32") & 0xFFFF == 0).all()
    assert (np.abs(rounded - x) <= np.abs(x) * 2.0**-8).all()
    assert (rounded != x).mean() > 0.99


# -- predictions and training --------------------------------------------------------------------


@pytest.mark.parametrize("columns", [13, 64, 1])
def test_predictions_multiply_rounded_factors(each, columns):
    net = model("mixed_bfloat16", (33, 10), columns)
    x, _ = samples(7, columns)
    with announced():
        found = net.predict(x, verbose=0)
    rounded = bfloat16 if products() else (lambda values: values)
    h = x
    for layer, function in zip(net.layers, (np.tanh, None), strict=True):
        h = rounded(h).astype("float64") @ rounded(layer.kernel.numpy()) + layer.bias.numpy()
        h = (function(h) if function else np.exp(h) / np.exp(h).sum(axis=1, keepdims=True))
        h = h.astype("float32")
    # the last bit of a hidden unit may round the other way
    np.testing.assert_allclose(found, h, rtol=2e-4, atol=2e-4 if columns > 1 else 1e-3)
    if products():
        plain = model("float32", (33, 10), columns)
        plain.set_weights(net.get_weights())
        assert np.abs(plain.predict(x, verbose=0) - found).max() > 1e-5


@pytest.mark.filterwarnings("ignore:.*AVX512_BF16:UserWarning")
def test_a_row_is_predicted_alike_in_any_batch(each):
    if each == "numpy":
        pytest.skip("NumPy's products depend on the batch")
    net = model("mixed_bfloat16", (33, 65, 10))
    x, _ = samples(100)
    whole = net.predict(x, batch_size=100, verbose=0)
    for i in (0, 1, 57, 99):
        np.testing.assert_array_equal(net.predict(x[i : i + 1], verbose=0)[0], whole[i])


def trained(dtype, widths, rows, batch, threads=None):
    net = model(dtype, widths)
    net.compile(fm.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    x, y = samples(rows)
    history = net.fit(x, y, batch_size=batch, epochs=3, verbose=0)
    return net.get_weights(), history.history["loss"]


@pytest.mark.parametrize(("widths", "rows", "batch"), [
    ((33, 10), 90, 32), ((100, 10), 63, 31), ((64, 65, 10), 70, 1), ((7, 10), 5, 5),
])
@pytest.mark.filterwarnings("ignore:.*AVX512_BF16:UserWarning")
def test_backends_train_alike(widths, rows, batch):
    results = {}
    before = fm.config.backend()
    for name in ("numpy", "cython"):
        try:
            fm.config.set_backend(name)
        except RuntimeError as error:
            pytest.skip(str(error))
        try:
            if not products():
                pytest.skip("no products of bfloat16")
            results[name] = trained("mixed_bfloat16", widths, rows, batch)
        finally:
            fm.config.set_backend(before)
    for a, b in zip(results["numpy"][0], results["cython"][0], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-2)
        assert np.abs(a - b).mean() < 1e-3
    np.testing.assert_allclose(results["numpy"][1], results["cython"][1], rtol=1e-3)


@pytest.mark.filterwarnings("ignore:.*AVX512_BF16:UserWarning")
def test_any_number_of_threads_gives_the_same_bits():
    if fm.config.backend() != "cython":
        pytest.skip("a compiled backend's promise")
    native = backends.load("cython").native
    before = native.get_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            native.set_threads(threads, always=True)
            results.append(trained("mixed_bfloat16", (130, 67, 10), 77, 33))
    finally:
        native.set_threads(before)
    for weights, losses in results[1:]:
        assert losses == results[0][1]
        for a, b in zip(weights, results[0][0], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore:.*AVX512_BF16:UserWarning")
def test_training_ends_where_float32_does():
    (x, y), _ = fm.datasets.digits.load_data()
    x = (x.reshape(len(x), -1) / 16).astype("float32")
    losses = {}
    for dtype in ("float32", "mixed_bfloat16"):
        net = model(dtype, (100, 10), x.shape[1], "relu")
        net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        losses[dtype] = net.fit(x, y, batch_size=32, epochs=10, verbose=0).history
    final = {name: history["loss"][-1] for name, history in losses.items()}
    assert final["mixed_bfloat16"] == pytest.approx(final["float32"], rel=0.02)
    assert losses["mixed_bfloat16"]["accuracy"][-1] > 0.95


# -- the policy ----------------------------------------------------------------------------------


def test_policy_of_a_layer():
    layer = fm.layers.Dense(3, dtype=DTypePolicy("mixed_bfloat16"))
    layer.build((None, 4))
    assert (layer.dtype, layer.variable_dtype, layer.compute_dtype) == (
        "float32", "float32", "bfloat16")
    assert layer.kernel.dtype == "float32"
    assert layer.get_config()["dtype"] == "mixed_bfloat16"
    again = type(layer).from_config(layer.get_config())
    assert again.dtype_policy == layer.dtype_policy
    assert fm.layers.Dense(3).compute_dtype == "float32"


def test_policy_of_all_layers():
    try:
        fm.config.set_dtype_policy("mixed_bfloat16")
        assert fm.mixed_precision.global_policy().name == "mixed_bfloat16"
        assert fm.layers.Dense(3).compute_dtype == "bfloat16"
        assert fm.layers.Dense(3, dtype="float32").compute_dtype == "float32"
    finally:
        fm.config.set_dtype_policy(None)
    assert fm.config.dtype_policy().name == "float32"


@pytest.mark.filterwarnings("ignore:.*AVX512_BF16:UserWarning")
def test_policy_is_saved(tmp_path):
    net = model("mixed_bfloat16")
    x, _ = samples(4)
    before = net.predict(x, verbose=0)
    net.save(tmp_path / "m.fmlp")
    again = fm.models.load_model(tmp_path / "m.fmlp")
    assert [layer.compute_dtype for layer in again.layers] == ["bfloat16"] * 2
    np.testing.assert_array_equal(again.predict(x, verbose=0), before)


@pytest.mark.parametrize(("name", "reason"), [
    ("float16", "range"), ("bfloat16", "small updates"), ("mixed", "one of"), (3, "Received"),
])
def test_other_policies_are_refused(name, reason):
    with pytest.raises(ValueError, match=reason):
        DTypePolicy(name)
    with pytest.raises(ValueError, match="Received"):
        fm.config.set_dtype_policy(name)
    with pytest.raises(ValueError, match="Received"):
        fm.layers.Dense(2, dtype=name)
    assert fm.config.dtype_policy().name == "float32"
