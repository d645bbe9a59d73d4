"""Optimizers follow their equations, keep their state, and give Keras's numbers."""

from __future__ import annotations

import copy
import inspect
import json
import math
import pickle

import keras_peer
import numpy as np
import pytest

from fusedmlp import optimizers, registry, spec
from fusedmlp.optimizers import SGD, Adam, AdamW
from fusedmlp.variable import Variable

# Every optimizer in the forms that have equations of their own.
FORMS = {
    "sgd": (SGD, {"learning_rate": 0.1}),
    "sgd_decay": (SGD, {"learning_rate": 0.1, "weight_decay": 0.05}),
    "momentum": (SGD, {"learning_rate": 0.1, "momentum": 0.9}),
    "momentum_decay": (SGD, {"learning_rate": 0.1, "momentum": 0.8, "weight_decay": 0.05}),
    "nesterov": (SGD, {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    "nesterov_without_momentum": (SGD, {"learning_rate": 0.1, "nesterov": True}),
    "adam": (Adam, {"learning_rate": 0.01}),
    "adam_other": (Adam, {"learning_rate": 0.02, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3}),
    "adam_decay": (Adam, {"learning_rate": 0.01, "weight_decay": 0.1}),
    "adamw": (AdamW, {"learning_rate": 0.01}),
}
SHAPES = [(3, 4), (4,), (1, 1)]


def make(form):
    cls, arguments = FORMS[form]
    return cls(**arguments)


def problem(steps=6, dtype="float64"):
    rng = np.random.default_rng(4)
    weights = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
    grads = [[rng.normal(size=shape).astype(dtype) for shape in SHAPES] for _ in range(steps)]
    return weights, grads


def reference(form, weights, grads):
    """The equations of the papers, one element after the other, in plain Python floats."""
    cls, arguments = FORMS[form]
    rate = arguments["learning_rate"]
    decay = arguments.get("weight_decay", 0.004 if cls is AdamW else 0.0)
    results = []
    for index, weight in enumerate(weights):
        flat = []
        for position, w in enumerate(weight.reshape(-1).tolist()):
            m = v = 0.0
            for t, step in enumerate(grads, 1):
                g = float(step[index].reshape(-1)[position])
                w -= rate * decay * w
                if cls is SGD:
                    momentum = arguments.get("momentum", 0.0)
                    v = momentum * v - rate * g
                    w += momentum * v - rate * g if arguments.get("nesterov") else v
                else:
                    b1, b2 = arguments.get("beta_1", 0.9), arguments.get("beta_2", 0.999)
                    m = b1 * m + (1 - b1) * g
                    v = b2 * v + (1 - b2) * g * g
                    hat = rate * math.sqrt(1 - b2**t) / (1 - b1**t)
                    w -= hat * m / (math.sqrt(v) + arguments.get("epsilon", 1e-7))
            flat.append(w)
        results.append(np.reshape(flat, weight.shape))
    return results


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 2e-5)])
def test_equations(backend, form, dtype, rtol):
    weights, grads = problem(dtype=dtype)
    expected = reference(form, weights, grads)
    optimizer = make(form)
    for count, step in enumerate(grads, 1):
        optimizer.apply(step, weights)
        assert optimizer.iterations == count
    for weight, truth in zip(weights, expected, strict=True):
        assert weight.dtype == dtype
        np.testing.assert_allclose(weight, truth, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("form", FORMS)
def test_like_keras(form):
    keras = keras_peer.load()
    weights, grads = problem(dtype="float32")
    theirs = [keras.Variable(w) for w in weights]
    ours = make(form)
    peer = getattr(keras.optimizers, type(ours).__name__)(**FORMS[form][1])
    for step in grads:
        ours.apply(step, weights)
        peer.apply(step, theirs)
    for mine, other in zip(weights, theirs, strict=True):
        np.testing.assert_allclose(mine, np.asarray(other), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("form", FORMS)
def test_one_call_does_what_many_do(form):
    """Arrays side by side in one flat array are updated as they are on their own."""
    weights, grads = problem()
    joined = [np.concatenate([w.reshape(-1) for w in weights])]
    apart, together = make(form), make(form)
    for step in grads:
        apart.apply(step, weights)
        together.apply([np.concatenate([g.reshape(-1) for g in step])], joined)
    np.testing.assert_array_equal(joined[0], np.concatenate([w.reshape(-1) for w in weights]))
    for a, b in zip(apart.slots, together.slots, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("form", FORMS)
def test_state(form):
    optimizer = make(form)
    row = spec.OPTIMIZERS[optimizer.row]
    assert not optimizer.built
    assert optimizer.slots == ()
    optimizer.build(10, "float64")
    assert optimizer.built
    assert optimizer.iterations == 0
    assert len(optimizer.slots) == len(row.slots)
    for slot in optimizer.slots:
        assert slot.shape == (10,)
        assert slot.dtype == np.float64
        assert not slot.any()
        assert slot.ctypes.data % 64 == 0
    assert len(optimizer.kernel_params()) == len(row.params)
    assert all(type(value) is float for value in optimizer.kernel_params())


def test_rows_and_kernel_params():
    assert (SGD().row, SGD(momentum=0.5).row, Adam().row, AdamW().row) == (
        "sgd", "momentum", "adam", "adam")
    assert SGD(weight_decay=0.1).kernel_params() == (0.1,)
    assert SGD(momentum=0.5, nesterov=True).kernel_params() == (0.5, 1.0, 0.0)
    assert Adam().kernel_params() == (0.9, 0.999, 1e-7, 0.0)
    assert AdamW().kernel_params() == (0.9, 0.999, 1e-7, 0.004)


def test_every_row_has_an_optimizer():
    assert {make(form).row for form in FORMS} == set(spec.OPTIMIZERS)


def test_resuming_from_the_state_is_exact():
    weights, grads = problem()
    straight = make("adam")
    for step in grads[:3]:
        straight.apply(step, weights)
    copies = [w.copy() for w in weights]
    resumed = Adam.from_config(straight.get_config())
    resumed.apply([np.zeros_like(w) for w in copies], [w.copy() for w in copies])
    resumed.iterations = straight.iterations
    for slot, saved in zip(resumed.slots, straight.slots, strict=True):
        slot[:] = saved
    for step in grads[3:]:
        straight.apply(step, weights)
        resumed.apply(step, copies)
    for a, b in zip(weights, copies, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_stand_alone(copied):
    weights, grads = problem()
    optimizer = make("adam")
    optimizer.apply(grads[0], weights)
    other, others = copied(optimizer), [w.copy() for w in weights]
    assert all(slot.ctypes.data % 64 == 0 for slot in other.slots)
    optimizer.apply(grads[1], weights)
    assert other.iterations == 1
    other.apply(grads[1], others)
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_array_equal(a, b)


def test_learning_rate():
    optimizer = SGD(0.5)
    weight = np.array([1.0])
    optimizer.apply([[1.0]], [weight])
    optimizer.learning_rate = 0.25
    optimizer.apply([[1.0]], [weight])
    assert weight.tolist() == [0.25]
    rates = optimizer.learning_rates(3, 4)
    assert rates.dtype == np.float64
    assert rates.tolist() == [0.25] * 4
    with pytest.raises(ValueError, match="`learning_rate`"):
        optimizer.learning_rate = -1
    assert optimizer.learning_rate == 0.25


def test_variables_and_strided_arrays():
    variable = Variable(np.ones((2, 2)))
    base = np.ones((3, 4))
    part = base[:, ::2]
    optimizer = SGD(0.5, momentum=0.5)
    for _ in range(2):
        optimizer.apply([np.ones((2, 2)), np.ones((3, 2))], [variable, part])
    assert variable.numpy().tolist() == [[-0.25, -0.25]] * 2
    assert base[:, ::2].tolist() == [[-0.25, -0.25]] * 3
    assert base[:, 1::2].tolist() == [[1.0, 1.0]] * 3


def test_apply_gradients_takes_pairs():
    weight = np.array([1.0, 2.0])
    optimizer = SGD(1.0)
    assert optimizer.apply_gradients(zip([[1.0, 1.0]], [weight], strict=True)) == 1
    assert weight.tolist() == [0.0, 1.0]


def test_gradient_that_is_the_variable():
    weight = np.array([1.0, 2.0])
    SGD(0.5).apply([weight], [weight])
    assert weight.tolist() == [0.5, 1.0]


def test_nothing_to_do():
    optimizer = Adam()
    optimizer.apply([], [])
    assert optimizer.iterations == 0
    assert not optimizer.built


@pytest.mark.parametrize("form", FORMS)
def test_config(form):
    optimizer = make(form)
    described = json.loads(json.dumps(optimizers.serialize(optimizer)))
    again = optimizers.deserialize(described)
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    assert again.kernel_params() == optimizer.kernel_params()
    assert again.row == optimizer.row
    assert type(optimizer).__name__ in repr(optimizer)


@pytest.mark.parametrize("name", ["sgd", "SGD", "Sgd", "adam", "Adam", "ADAM", "adamw", "AdamW"])
def test_get(name):
    optimizer = optimizers.get(name)
    assert type(optimizer).__name__.lower() == name.lower()
    assert type(optimizers.get({"class_name": name, "config": {"learning_rate": 0.5}})) is type(
        optimizer)
    assert optimizers.get(optimizer) is optimizer
    assert type(optimizers.get(type(optimizer))) is type(optimizer)
    assert optimizers.get(None) is None


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: optimizers.get("adamx"), ValueError, "nearest:.*'Adam'.*Received: 'adamx'"),
        (lambda: optimizers.get(3), TypeError, "Received: 3"),
        (lambda: optimizers.get(print), TypeError, "`optimizer`"),
        (lambda: SGD("a"), TypeError, "`learning_rate`"),
        (lambda: SGD(-0.1), ValueError, "`learning_rate`"),
        (lambda: SGD(math.nan), ValueError, "`learning_rate`"),
        (lambda: SGD(momentum=1.5), ValueError, "`momentum`"),
        (lambda: SGD(momentum=-0.5), ValueError, "`momentum`"),
        (lambda: SGD(nesterov="yes"), ValueError, "`nesterov`"),
        (lambda: SGD(weight_decay=-1), ValueError, "`weight_decay`"),
        (lambda: Adam(beta_1=1.0), ValueError, "`beta_1`"),
        (lambda: Adam(beta_2=-0.1), ValueError, "`beta_2`"),
        (lambda: Adam(epsilon=-1e-7), ValueError, "`epsilon`"),
        (lambda: AdamW(weight_decay=None), ValueError, "`weight_decay`"),
        (lambda: SGD().build(-1), ValueError, "`size`"),
        (lambda: SGD().build(3, "float16"), ValueError, "`dtype`"),
        (lambda: SGD(clipnorm=1.0), TypeError, "clipnorm"),
    ],
)
def test_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda g, w: (g[:1], w), ValueError, "equally many.*1 gradients and 2"),
        (lambda g, w: ([g[0], g[1][:2]], w), ValueError, r"`grads`.*position 1"),
        (lambda g, w: (g, [w[0], w[1].astype("float32")]), ValueError, "one dtype"),
        (lambda g, w: (g, [w[0], w[1].tolist()]), TypeError, "`trainable_variables`"),
        (lambda g, w: (g, [w[0], w[1].astype(int)]), TypeError, "`trainable_variables`"),
        (lambda g, w: ([g[0], ["a"] * 3], w), TypeError, "`grads`"),
        (lambda g, w: (g, [w[0], np.broadcast_to(w[1][:1], 3)]), ValueError, "read-only"),
    ],
)
def test_refused_before_anything_changes(change, error, text):
    weights = [np.ones((2, 2)), np.ones(3)]
    grads = [np.ones((2, 2)), np.ones(3)]
    optimizer = SGD(0.5, momentum=0.5)
    with pytest.raises(error, match=text):
        optimizer.apply(*change(grads, weights))
    assert all((w == 1).all() for w in weights)
    assert optimizer.iterations == 0


def test_other_variables_are_refused():
    optimizer = Adam()
    optimizer.apply([[1.0]], [np.array([1.0])])
    weight = np.ones(2)
    with pytest.raises(ValueError, match=r"\[\(1,\)\].*Received: shapes \[\(2,\)\]"):
        optimizer.apply([[1.0, 1.0]], [weight])
    assert weight.tolist() == [1.0, 1.0]
    optimizer.build(2, "float64")
    with pytest.raises(ValueError, match="`trainable_variables`"):
        optimizer.apply([[1.0, 1.0]], [weight])


def test_own_optimizer():
    class Signed(optimizers.Optimizer):
        @property
        def row(self):
            return "sgd"

        def update_step(self, param, grad, slots, learning_rate):
            param -= learning_rate * np.sign(grad)

    weight = np.array([1.0, 1.0])
    with registry.custom_object_scope({"Signed": Signed}):
        optimizer = optimizers.get({"class_name": "Signed", "config": {"learning_rate": 0.5}})
    optimizer.apply([[3.0, -3.0]], [weight])
    assert weight.tolist() == [0.5, 1.5]


@pytest.mark.parametrize("cls", [SGD, Adam, AdamW])
def test_defaults_like_keras(cls):
    keras = keras_peer.load()
    theirs = inspect.signature(getattr(keras.optimizers, cls.__name__)).parameters
    for name, parameter in inspect.signature(cls).parameters.items():
        assert parameter.default == theirs[name].default, name
    config = getattr(keras.optimizers, cls.__name__)().get_config()
    for key, value in cls().get_config().items():
        if key == "learning_rate":  # Keras keeps it in float32
            assert np.float32(value) == np.float32(config[key])
        elif key != "name":
            assert value == config[key], key
