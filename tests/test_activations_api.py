"""The public activation functions: one per row of the table, with Keras's names and defaults."""

from __future__ import annotations

import doctest
import functools
import inspect
import math
import pickle

import keras_peer
import numpy as np
import pytest
import truth

from fusedmlp import activations, registry, spec

ROWS = list(spec.ACTIVATIONS.values())
ELEMENTWISE = [row for row in ROWS if row.kind == "elementwise"]
# Arguments that leave the defaults, for every row that has any.
OTHER = {
    "relu": {"negative_slope": 0.1, "max_value": 3.0, "threshold": 0.5},
    "clipped_relu": {"negative_slope": 0.25, "max_value": 2.0, "threshold": -0.5},
    "leaky_relu": {"negative_slope": 0.01},
    "elu": {"alpha": 0.5},
    "celu": {"alpha": 2.0},
    "gelu": {"approximate": True},
    "squareplus": {"b": 1.0},
    "threshold": {"threshold": 0.75, "default_value": -3.0},
    "hard_shrink": {"threshold": 1.0},
    "soft_shrink": {"threshold": 1.5},
    "maxout": {"pieces": 3},
}


def names(row):
    return (row.name, *row.aliases)


def test_every_row_has_other_arguments_in_this_file():
    assert set(OTHER) == {row.name for row in ROWS if row.params}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_function(row):
    function = getattr(activations, row.name)
    for name in names(row):
        assert getattr(activations, name) is function
        assert activations.get(name) is function
        assert name in activations.__all__
    assert function.__name__ == row.name
    assert function.__module__ == "fusedmlp.activations"
    assert pickle.loads(pickle.dumps(function)) is function
    assert row.formula in function.__doc__
    assert row.derivative in function.__doc__
    parameters = list(inspect.signature(function).parameters.values())
    assert parameters[0].name == "x"
    defaults = {p.name: p.default for p in parameters[1:]}
    assert defaults.pop("axis", -1) == -1
    if row.kind == "slope":
        assert defaults.pop("alpha") is inspect.Parameter.empty
    assert defaults == {k: None if v == math.inf else v for k, v in row.params}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_docstring_example(row):
    function = getattr(activations, row.name)
    test = doctest.DocTestParser().get_doctest(function.__doc__, vars(activations), row.name,
                                               None, None)
    assert len(test.examples) == 1
    assert doctest.DocTestRunner().run(test).failed == 0


def calls(rows):
    """Every row with its defaults, and with other arguments where it takes any."""
    both = [(row, {}) for row in rows]
    both += [(row, OTHER[row.name]) for row in rows if row.params]
    return pytest.mark.parametrize(("row", "params"), both, ids=[
        row.name + "".join(f",{k}={v}" for k, v in params.items()) for row, params in both])


@calls(ELEMENTWISE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elementwise_values(backend, row, params, dtype):
    x = np.linspace(-5, 5, 101).astype(dtype)
    x[:3] = 0.0, -0.5, 1.0
    kernel_row, values = spec.resolve_activation(row.name, params)
    expected = truth.value(kernel_row.name, x, values)
    result = getattr(activations, row.name)(x.reshape(1, -1), **params)
    assert result.dtype == dtype
    assert result.shape == (1, 101)
    assert truth.ulps(result[0], expected, kernel_row.floor).max() <= 16


def reference_softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def reference_sparsemax(row):
    """The projection onto the simplex by bisection on the threshold tau."""
    low, high = row.min() - 1, row.max()
    for _ in range(200):
        tau = (low + high) / 2
        low, high = (tau, high) if np.maximum(row - tau, 0).sum() > 1 else (low, tau)
    return np.maximum(row - low, 0)


ALONG_AXIS = {
    "softmax": reference_softmax,
    "log_softmax": lambda x: np.log(reference_softmax(x)),
    "sparsemax": lambda x: np.apply_along_axis(reference_sparsemax, -1, x),
    "glu": lambda x: x[..., : x.shape[-1] // 2] / (1 + np.exp(-x[..., x.shape[-1] // 2 :])),
    "maxout": lambda x: x.reshape(*x.shape[:-1], -1, 2).max(axis=-1),
}


@pytest.mark.parametrize("name", ALONG_AXIS)
@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_along_an_axis(backend, name, axis):
    x = np.random.default_rng(1).normal(scale=2, size=(4, 6, 8))
    expected = np.moveaxis(ALONG_AXIS[name](np.moveaxis(x, axis, -1)), -1, axis)
    result = getattr(activations, name)(x, axis=axis)
    np.testing.assert_allclose(result, expected, rtol=1e-11, atol=1e-13)


def test_all_rows_along_an_axis_are_tested():
    assert set(ALONG_AXIS) == {r.name for r in ROWS if r.kind in ("row", "halves", "pieces")}


def test_prelu(backend):
    x = np.array([[-2.0, 3.0, -1.0], [0.0, -4.0, 5.0]])
    alpha = [0.5, 0.25, 2.0]
    assert activations.prelu(x, alpha).tolist() == [[-1.0, 3.0, -2.0], [0.0, -1.0, 5.0]]
    assert activations.prelu(x, alpha=alpha).tolist() == activations.prelu(x, alpha).tolist()
    with pytest.raises(TypeError, match="alpha"):
        activations.prelu(x)


def test_positional_arguments():
    assert activations.relu([-1.0, 5.0], 0.5, 2.0).tolist() == [-0.5, 2.0]
    assert activations.leaky_relu([-1.0], 0.5).tolist() == [-0.5]
    assert activations.softmax([[1.0, 1.0]], 0).tolist() == [[1.0, 1.0]]
    with pytest.raises(TypeError, match="unexpected keyword argument 'slope'"):
        activations.relu([1.0], slope=1)
    with pytest.raises(TypeError, match="too many positional"):
        activations.tanh([1.0], 1.0)


def test_input_is_left_alone():
    x = np.array([-1.0, 2.0])
    x.setflags(write=False)
    for row in ROWS:
        if row.kind == "slope":
            continue
        function = getattr(activations, row.name)
        result = function(x)
        assert not np.shares_memory(result, x), row.name
    assert x.tolist() == [-1.0, 2.0]


# -- get, serialize, resolve -----------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_serialize(row):
    for name in names(row):
        function = activations.get(name)
        assert activations.serialize(function) == row.name
        assert activations.deserialize(row.name) is function
        assert activations.get({"class_name": name}) is function


@pytest.mark.parametrize("name", OTHER)
def test_serialize_with_arguments(name):
    function = functools.partial(getattr(activations, name), **OTHER[name])
    described = activations.serialize(function)
    assert described == {"class_name": name, "config": OTHER[name]}
    again = activations.get(described)
    x = np.linspace(-3, 3, 9)
    np.testing.assert_array_equal(again(x), function(x))
    assert activations.resolve(again) == activations.resolve(function)
    row, values = spec.resolve_activation(name, OTHER[name])
    assert activations.resolve(function) == (row.name, values)


def test_get():
    assert activations.get(None) is activations.linear
    assert activations.get(np.tanh) is np.tanh
    assert activations.get("swish") is activations.silu
    assert activations.get("hard_swish") is activations.hard_silu


def test_resolve():
    assert activations.resolve(None) == ("linear", ())
    assert activations.resolve("swish") == ("silu", ())
    assert activations.resolve(activations.relu) == ("relu", ())
    assert activations.resolve("leaky_relu") == ("leaky_relu", (0.2,))
    assert activations.resolve("squareplus") == ("squareplus", (4.0,))
    clipped = functools.partial(activations.relu, max_value=6)
    assert activations.resolve(clipped) == ("clipped_relu", (0.0, 6.0, 0.0))
    assert activations.resolve({"class_name": "gelu", "config": {"approximate": True}}) == (
        "gelu_tanh", ())
    assert activations.resolve(functools.partial(activations.softmax, axis=-1)) == ("softmax", ())


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: activations.get("rleu"), ValueError, "nearest: 'relu'.*Received: 'rleu'"),
        (lambda: activations.get(3), TypeError, "Received: 3"),
        (lambda: activations.get({"config": {}}), ValueError, "activation"),
        (lambda: activations.rleu, AttributeError, "nearest: 'relu'"),
        (lambda: activations.serialize(np.tanh), ValueError, "register"),
        (lambda: activations.resolve(np.tanh), TypeError, "fusedmlp.activations"),
        (lambda: activations.resolve("prelu"), ValueError, "learns its slopes"),
        (lambda: activations.resolve(functools.partial(activations.softmax, axis=0)),
         ValueError, "`axis`.*-1.*Received: axis=0"),
        (lambda: activations.resolve(functools.partial(activations.relu, slope=1)),
         TypeError, "no parameter 'slope'"),
        (lambda: activations.relu([1.0], negative_slope=-1), ValueError, "`negative_slope`"),
        (lambda: activations.celu([1.0], alpha=0), ValueError, "`alpha`"),
        (lambda: activations.relu(["a"]), TypeError, "`x`"),
        (lambda: activations.relu([1j]), TypeError, "`x`"),
        (lambda: activations.glu([1.0, 2.0, 3.0]), ValueError, "multiple of 2"),
        (lambda: activations.softmax([[1.0]], axis=2), ValueError, "`axis`"),
        (lambda: activations.softmax(1.0), ValueError, "at least 1 axis"),
    ],
)
def test_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_registered_functions():
    def double(x):
        return 2 * x

    with registry.custom_object_scope({"double": double}):
        assert activations.get("double") is double
        assert activations.serialize(double) == "double"
        assert activations.deserialize("double") is double
    with pytest.raises(ValueError, match="double"):
        activations.get("double")
    assert activations.deserialize("double", {"double": double}) is double


# -- Keras -----------------------------------------------------------------------------------------

KERAS = [row for row in ROWS if row.keras]


@pytest.mark.parametrize("row", KERAS, ids=lambda row: row.name)
def test_signature_like_keras(row):
    keras = keras_peer.load()
    ours = inspect.signature(getattr(activations, row.name)).parameters
    theirs = inspect.signature(getattr(keras.activations, row.name)).parameters
    assert list(ours) == list(theirs)
    for name, parameter in theirs.items():
        if parameter.default is not inspect.Parameter.empty:
            assert ours[name].default == parameter.default


def test_keras_has_no_other_functions():
    keras = keras_peer.load()
    helpers = {"get", "serialize", "deserialize"}
    theirs = {name for name in dir(keras.activations) if not name.startswith("_")} - helpers
    assert theirs <= set(activations.__all__)
    assert {row.name for row in KERAS} <= theirs


# sparsemax is left out: Keras 3.15's rows don't sum to 1 where the support has several elements.
# relu is compared away from its threshold, where Keras gives 0 against its own documentation.
@calls([row for row in KERAS if row.name != "sparsemax"])
def test_values_like_keras(row, params):
    keras = keras_peer.load()
    if row.name == "threshold":
        params = {"threshold": 0.0, "default_value": 0.0, **params}  # Keras has no defaults
    x = np.random.default_rng(2).normal(scale=2, size=(20, 12)).astype("float32")
    x[0, :3] = 0.0, 1.0, -1.0
    ours = getattr(activations, row.name)(x, **params)
    theirs = np.asarray(getattr(keras.activations, row.name)(x, **params))
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=3e-5, atol=3e-6)


@pytest.mark.parametrize("name", sorted(spec.ACTIVATIONS))
def test_the_docstring_states_the_precision_of_the_row(name):
    row = spec.ACTIVATIONS[name]
    function = getattr(activations, name, None)
    if function is None:  # a variant that only other rows lead to
        assert any(name in (target for _, target in other.variants)
                   for other in spec.ACTIVATIONS.values())
        return
    stated = "correctly rounded" if row.ulp == (0, 0) else f"within {row.ulp[0]:g} units"
    assert stated in function.__doc__
