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
from optimizer_truth import trajectory

from fusedmlp import optimizers, registry, spec
from fusedmlp.kernels.layout import write
from fusedmlp.optimizers import SGD, Adam, AdamW
from fusedmlp.variable import Variable

# Every optimizer in the forms that have equations of their own.
FORMS = {
    "sgd": ("SGD", {"learning_rate": 0.1}),
    "sgd_decay": ("SGD", {"learning_rate": 0.1, "weight_decay": 0.05}),
    "momentum": ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    "momentum_decay": ("SGD", {"learning_rate": 0.1, "momentum": 0.8, "weight_decay": 0.05}),
    "nesterov": ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    "nesterov_without_momentum": ("SGD", {"learning_rate": 0.1, "nesterov": True}),
    "adam": ("Adam", {"learning_rate": 0.01}),
    "adam_other": ("Adam", {"learning_rate": 0.02, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3}),
    "adam_decay": ("Adam", {"learning_rate": 0.01, "weight_decay": 0.1}),
    "amsgrad": ("Adam", {"learning_rate": 0.01, "beta_2": 0.6, "amsgrad": True}),
    "adamw": ("AdamW", {"learning_rate": 0.01}),
    "rmsprop": ("RMSprop", {"learning_rate": 0.01}),
    "rmsprop_momentum": ("RMSprop", {"learning_rate": 0.01, "momentum": 0.7, "rho": 0.8}),
    "rmsprop_centered": ("RMSprop", {"learning_rate": 0.01, "centered": True, "epsilon": 1e-3}),
    "rmsprop_centered_momentum": ("RMSprop", {"learning_rate": 0.01, "centered": True,
                                              "momentum": 0.7, "weight_decay": 0.1}),
    "adagrad": ("Adagrad", {"learning_rate": 0.1}),
    "adagrad_other": ("Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.0,
                                  "epsilon": 1e-3, "weight_decay": 0.1}),
    "adadelta": ("Adadelta", {"learning_rate": 1.0}),
    "adadelta_other": ("Adadelta", {"learning_rate": 0.5, "rho": 0.7, "epsilon": 1e-3}),
    "adamax": ("Adamax", {"learning_rate": 0.01}),
    "adamax_other": ("Adamax", {"learning_rate": 0.01, "beta_1": 0.5, "beta_2": 0.6}),
    "nadam": ("Nadam", {"learning_rate": 0.01}),
    "nadam_other": ("Nadam", {"learning_rate": 0.01, "beta_1": 0.5, "weight_decay": 0.1}),
    "ftrl": ("Ftrl", {"learning_rate": 0.1}),
    "ftrl_other": ("Ftrl", {"learning_rate": 0.1, "learning_rate_power": -0.7, "beta": 0.1,
                            "l1_regularization_strength": 0.2, "l2_regularization_strength": 0.1,
                            "l2_shrinkage_regularization_strength": 0.05}),
    "lion": ("Lion", {"learning_rate": 0.01}),
    "lion_decay": ("Lion", {"learning_rate": 0.01, "beta_1": 0.6, "weight_decay": 0.1}),
    "lamb": ("Lamb", {"learning_rate": 0.01}),
    "lamb_decay": ("Lamb", {"learning_rate": 0.01, "beta_1": 0.6, "weight_decay": 0.1}),
    "adafactor": ("Adafactor", {"learning_rate": 0.05}),
    "adafactor_other": ("Adafactor", {"learning_rate": 0.05, "clip_threshold": 0.5,
                                      "beta_2_decay": -0.5, "weight_decay": 0.1}),
    "muon": ("Muon", {"learning_rate": 0.01}),
    "muon_other": ("Muon", {"learning_rate": 0.01, "momentum": 0.8, "nesterov": False,
                            "ns_steps": 3, "rms_rate": None, "adam_lr_ratio": 0.5}),
    "schedule_free": ("ScheduleFreeAdamW", {"learning_rate": 0.01}),
    "schedule_free_warmup": ("ScheduleFreeAdamW", {"learning_rate": 0.01, "warmup_steps": 4,
                                                   "beta_1": 0.7, "weight_decay": 0.1}),
    "radam": ("RAdam", {"learning_rate": 0.01}),
    "radam_other": ("RAdam", {"learning_rate": 0.01, "beta_2": 0.9}),
    "rprop": ("Rprop", {"learning_rate": 0.01}),
    "rprop_other": ("Rprop", {"learning_rate": 0.01, "etas": (0.3, 1.5),
                              "step_sizes": (0.005, 0.02)}),
}
SHAPES = [(3, 4), (4,), (1, 1), (5, 2)]
# What float32 is off by where a result is the difference of nearly equal numbers, or after the
# steps of Newton and Schulz, which blow up small singular values.
LOOSE = {"ftrl": 2e-4, "ftrl_other": 2e-4, "muon": 2e-4, "muon_other": 2e-4,
         "rmsprop_centered": 5e-5, "rmsprop_centered_momentum": 5e-5}


def make(form, **changes):
    name, arguments = FORMS[form]
    return getattr(optimizers, name)(**{**arguments, **changes})


def problem(steps=9, dtype="float64"):
    rng = np.random.default_rng(4)
    weights = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
    grads = [[rng.normal(size=shape).astype(dtype) for shape in SHAPES] for _ in range(steps)]
    return weights, grads


def reference(form, weights, grads, rates=None):
    name, arguments = FORMS[form]
    signature = inspect.signature(getattr(optimizers, name)).parameters
    defaults = {key: signature[key].default for key in
                ("learning_rate", "weight_decay", "adam_weight_decay") if key in signature}
    return trajectory(name, arguments, defaults, weights, grads, rates=rates)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-11), ("float32", 2e-5)])
def test_equations(backend, form, dtype, rtol):
    weights, grads = problem(dtype=dtype)
    expected = reference(form, weights, grads)
    optimizer = make(form)
    for count, step in enumerate(grads, 1):
        optimizer.apply(step, weights)
        assert optimizer.iterations == count
    rtol = LOOSE.get(form, rtol) if dtype == "float32" else rtol
    for weight, truth in zip(weights, expected, strict=True):
        assert weight.dtype == dtype
        np.testing.assert_allclose(weight, truth, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("form", [form for form, (name, _) in FORMS.items()
                                  if name not in ("RAdam", "Rprop")])
def test_like_keras(form):
    keras = keras_peer.load()
    weights, grads = problem(dtype="float32")
    theirs = [keras.Variable(w) for w in weights]
    ours = make(form)
    peer = getattr(keras.optimizers, FORMS[form][0])(**FORMS[form][1])
    for step in grads:
        ours.apply(step, weights)
        peer.apply(step, theirs)
    tolerance = LOOSE.get(form, 2e-5)
    for mine, other in zip(weights, theirs, strict=True):
        np.testing.assert_allclose(mine, np.asarray(other), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("form", "arguments"),
    [("radam", {"lr": 0.01}), ("radam_other", {"lr": 0.01, "betas": (0.9, 0.9)}),
     ("rprop", {"lr": 0.01}),
     ("rprop_other", {"lr": 0.01, "etas": (0.3, 1.5), "step_sizes": (0.005, 0.02)})])
def test_like_torch(form, arguments):
    torch = pytest.importorskip("torch")
    weights, grads = problem(dtype="float32")
    theirs = [torch.nn.Parameter(torch.tensor(w)) for w in weights]
    ours, peer = make(form), getattr(torch.optim, FORMS[form][0])(theirs, **arguments)
    for step in grads:
        ours.apply(step, weights)
        for parameter, grad in zip(theirs, step, strict=True):
            parameter.grad = torch.tensor(grad)
        peer.step()
    for mine, other in zip(weights, theirs, strict=True):
        np.testing.assert_allclose(mine, other.detach().numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("form", [form for form in FORMS
                                  if spec.OPTIMIZERS[make(form).row].kind == "elementwise"])
def test_one_call_does_what_many_do(form):
    """Arrays side by side in one flat array are updated as they are on their own."""
    weights, grads = problem()
    joined = [np.concatenate([w.reshape(-1) for w in weights])]
    apart, together = make(form), make(form)
    for step in grads:
        apart.apply(step, weights)
        together.apply([np.concatenate([g.reshape(-1) for g in step])], joined)
    np.testing.assert_array_equal(joined[0], np.concatenate([w.reshape(-1) for w in weights]))


@pytest.mark.parametrize("form", FORMS)
def test_state(form):
    optimizer = make(form, use_ema=True, gradient_accumulation_steps=2)
    row = spec.OPTIMIZERS[optimizer.row]
    assert not optimizer.built
    assert optimizer.slots == optimizer.slot_names == ()
    variables = [Variable(np.full(shape, 0.5), name=f"v{k}") for k, shape in enumerate(SHAPES)]
    optimizer.build(variables)
    assert optimizer.built
    assert optimizer.iterations == 0
    extra = ("velocity",) if form.startswith("muon") else ()
    assert len(optimizer.slot_names) == len(row.slots) + len(extra) + 2
    assert optimizer.slot_names[-2:] == ("average", "gradient_accumulator")
    initial = dict(row.initial)
    for number, (name, slot) in enumerate(zip(optimizer.slot_names, optimizer.slots, strict=True)):
        assert slot.dtype == np.float64
        assert slot.ctypes.data % 64 == 0
        begins = initial.get(name, 0.0)
        wanted = 0.5 if begins == "param" else getattr(optimizer, str(begins), 0.0)
        for k in optimizer.state.parts(number):
            part = optimizer.state.read(number, k)
            assert part.shape == optimizer.state.shape(number, k)
            assert (part == wanted).all()
    assert len(optimizer.kernel_params()) == len(row.params)
    assert all(type(value) is float for value in optimizer.kernel_params())
    sizes = sum(len(optimizer.state.parts(n)) for n in range(len(optimizer.slots)))
    assert len(optimizer.variables) == 2 + sizes


def test_rows_and_kernel_params():
    assert (SGD().row, SGD(momentum=0.5).row, Adam().row, AdamW().row) == (
        "sgd", "momentum", "adam", "adam")
    assert SGD(weight_decay=0.1).kernel_params() == (0.1,)
    assert SGD(momentum=0.5, nesterov=True).kernel_params() == (0.5, 1.0, 0.0)
    assert Adam().kernel_params() == (0.9, 0.999, 1e-7, 0.0)
    assert AdamW().kernel_params() == (0.9, 0.999, 1e-7, 0.004)


def test_every_row_has_an_optimizer():
    assert {make(form).row for form in FORMS} == set(spec.OPTIMIZERS)
    assert {FORMS[form][0] for form in FORMS} | {"LBFGS"} == {
        cls.__name__ for cls in optimizers._BUILT_IN}


@pytest.mark.parametrize("form", FORMS)
def test_resuming_from_the_state_is_exact(form):
    weights, grads = problem()
    straight = make(form, use_ema=True, gradient_accumulation_steps=2)
    for step in grads[:3]:
        straight.apply(step, weights)
    copies = [w.copy() for w in weights]
    resumed = type(straight).from_config(straight.get_config())
    resumed.build(copies)
    resumed.steps = straight.steps
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


@pytest.mark.parametrize("name", ["sgd", "SGD", "Sgd", "adam", "Adam", "ADAM", "adamw", "AdamW",
                                  "rmsprop", "scheduleFreeAdamW", "ftrl", "rprop"])
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
        (lambda: optimizers.get("adamx"), ValueError,
         "`optimizer`.*nearest:.*'adam'.*Received: 'adamx'"),
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
        (lambda: SGD().build([np.ones(3, "float16")]), TypeError, "float32 or float64"),
        (lambda: SGD().build([3]), TypeError, "Received: 3"),
        (lambda: SGD(clipnorm=-1.0), ValueError, "`clipnorm`"),
        (lambda: SGD(clipnorm=1.0, clipvalue=2.0), ValueError, "Only one.*clipvalue=2.0"),
        (lambda: SGD(use_ema=2), ValueError, "`use_ema`"),
        (lambda: SGD(ema_momentum=1.5), ValueError, "`ema_momentum`"),
        (lambda: SGD(ema_overwrite_frequency=0), ValueError, "`ema_overwrite_frequency`"),
        (lambda: SGD(gradient_accumulation_steps=1), ValueError, "`gradient_accumulation_steps`"),
        (lambda: SGD(loss_scale_factor=0), ValueError, "`loss_scale_factor`"),
        (lambda: SGD(momentom=0.5), ValueError, "nearest: 'momentum'.*Received: 'momentom'"),
        (lambda: optimizers.Lion(beta_1=0.0), ValueError, "`beta_1`"),
        (lambda: optimizers.Ftrl(learning_rate_power=0.5), ValueError, "`learning_rate_power`"),
        (lambda: optimizers.Rprop(etas=0.5), ValueError, "`etas`"),
        (lambda: optimizers.Rprop(etas=(1.5, 2.0)), ValueError, "`eta_minus`"),
        (lambda: optimizers.Rprop(step_sizes=(2.0, 1.0)), ValueError, "`step_sizes`"),
        (lambda: optimizers.Muon(rms_rate=0.0), ValueError, "`rms_rate`"),
        (lambda: optimizers.RMSProp, AttributeError, "nearest: 'RMSprop'"),
        (lambda: Adam().exclude_from_weight_decay(var_names="bias"), TypeError, "`var_names`"),
        (lambda: Adam().apply([[1.0]]), ValueError, "`trainable_variables`"),
        (lambda: Adam().apply([None], [np.ones(1)]), ValueError, "at least one gradient"),
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
    optimizer.build([np.ones(3)])
    with pytest.raises(ValueError, match="`trainable_variables`"):
        optimizer.apply([[1.0, 1.0]], [weight])


def test_own_optimizer():
    """A subclass chooses a row and its hyperparameters."""
    class Slow(optimizers.Optimizer):
        @property
        def row(self):
            return "momentum"

        momentum, nesterov = 0.5, True

    weight = np.array([1.0, 1.0])
    with registry.custom_object_scope({"Slow": Slow}):
        optimizer = optimizers.get({"class_name": "Slow", "config": {"learning_rate": 0.5}})
    optimizer.apply([[2.0, -2.0]], [weight])
    assert weight.tolist() == [-0.5, 2.5]


@pytest.mark.parametrize("cls", [cls for cls in optimizers._BUILT_IN
                                 if cls.__name__ not in ("RAdam", "Rprop", "LBFGS")])
def test_signature_and_defaults_like_keras(cls):
    keras = keras_peer.load()
    peer = getattr(keras.optimizers, cls.__name__)
    theirs = inspect.signature(peer).parameters
    ours = inspect.signature(cls).parameters
    assert list(ours) == [name for name in theirs if name != "kwargs"]
    for name, parameter in ours.items():
        assert parameter.default == theirs[name].default, name
    config = peer().get_config()
    assert set(cls().get_config()) == set(config)
    for key, value in cls().get_config().items():
        if key == "learning_rate":  # Keras keeps it in float32
            assert np.float32(value) == np.float32(config[key])
        elif key != "name":
            assert value == config[key], key


# -- properties that every optimizer has ---------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("epsilon", [None, 0.0])
def test_gradients_that_are_always_zero(backend, form, epsilon):
    """What is 0 stays 0, and nothing becomes NaN, whatever epsilon; other elements stay, too."""
    arguments = FORMS[form][1]
    if epsilon == 0.0 and "epsilon" not in inspect.signature(
            getattr(optimizers, FORMS[form][0])).parameters:
        pytest.skip("no epsilon")
    changes = {} if epsilon is None else {"epsilon": epsilon}
    if "decay" not in form and "weight_decay" not in arguments:
        changes["weight_decay"] = 0.0
    if form.startswith("muon"):
        changes["adam_weight_decay"] = 0.0
    weights = [np.zeros((3, 4)), np.array([0.0, 1.0, -2.0])]
    optimizer = make(form, **changes)
    for _ in range(3):
        optimizer.apply([np.zeros((3, 4)), np.zeros(3)], weights)
    assert (weights[0] == 0).all()
    assert weights[1][0] == 0
    assert np.isfinite(weights[1]).all()
    if "weight_decay" not in arguments and not form.startswith("ftrl"):
        np.testing.assert_allclose(weights[1], [0.0, 1.0, -2.0], rtol=1e-15)


@pytest.mark.parametrize("form", FORMS)
def test_scale_of_gradients(form):
    row = spec.OPTIMIZERS[make(form).row]
    # so small that it counts for nothing beside gradients of either scale
    small = {"epsilon": 1e-30} if "epsilon" in dict(row.params) else {}
    if form.startswith("muon"):
        small = {"epsilon": 1e-30}
    if form.startswith("adafactor"):
        small = {"epsilon_1": 1e-60}
    results = []
    for scale in (1.0, 1e3):
        weights, grads = problem()
        optimizer = make(form, **small)
        for step in grads:
            optimizer.apply([scale * g for g in step], weights)
        results.append(np.concatenate([w.reshape(-1) for w in weights]))
    same = np.allclose(*results, rtol=1e-6, atol=1e-7)
    if row.scale_free:
        assert same
    elif row.name in ("sgd", "momentum", "ftrl", "radam"):
        assert not same


@pytest.mark.parametrize("form", FORMS)
def test_padding_stays_zero(backend, form):
    """Nothing but the elements of the variables ever changes in the arena."""
    weights, grads = problem()
    optimizer = make(form, use_ema=True, global_clipnorm=0.5)
    for step in grads:
        optimizer.apply(step, weights)
    arena, inside = optimizer._alone.arena, np.zeros(optimizer.state.size)
    for place in optimizer.state.places:
        write(inside[place.offset:place.offset + place.size],
              np.ones((place.rows, place.shape[-1])))
    inside = inside != 0
    assert (~inside).any()
    assert (arena[~inside] == 0).all()
    assert (arena[inside] != 0).any()


@pytest.mark.parametrize("form", ["adam", "momentum", "lamb", "adafactor", "muon", "ftrl"])
@pytest.mark.parametrize("clip", [{}, {"clipnorm": 0.3}, {"global_clipnorm": 0.3},
                                  {"clipvalue": 0.1}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_for_any_number_of_threads(other, use_threads, form, clip, dtype):
    rng = np.random.default_rng(5)
    shapes = [(203, 157), (157,), (97, 203), (3, 2), (1, 500)]
    begin = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    grads = [[rng.normal(size=shape).astype(dtype) for shape in shapes] for _ in range(5)]
    results = []
    for threads in (1, 2, 3):
        use_threads(threads)
        weights = [w.copy() for w in begin]
        optimizer = make(form, use_ema=True, gradient_accumulation_steps=2, **clip)
        for step in grads:
            optimizer.apply(step, weights)
        results.append([*weights, *optimizer.slots])
    assert any((a != b).any() for a, b in zip(results[0], begin, strict=False))
    for again in results[1:]:
        for a, b in zip(results[0], again, strict=True):
            np.testing.assert_array_equal(a, b)


# -- the arguments that all have -----------------------------------------------------------------


def clipped(grads, kind, limit):
    if kind == "clipvalue":
        return [np.clip(g, -limit, limit) for g in grads]
    norms = [np.linalg.norm(g) for g in grads]
    if kind == "global_clipnorm":
        norms = [np.linalg.norm(norms)] * len(grads)
    return [g * limit / max(norm, limit) for g, norm in zip(grads, norms, strict=True)]


@pytest.mark.parametrize("form", ["momentum", "adam", "lamb", "adafactor", "muon"])
@pytest.mark.parametrize("kind", ["clipvalue", "clipnorm", "global_clipnorm"])
@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_clipping(backend, form, kind, limit):
    weights, grads = problem()
    copies = [w.copy() for w in weights]
    one, other = make(form, **{kind: limit}), make(form)
    for step in grads:
        one.apply(step, weights)
        other.apply(clipped(step, kind, limit), copies)
    for a, b in zip(weights, copies, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_clipping_of_gradients_that_are_not_finite(backend):
    for kind, expected in (("clipnorm", [np.nan, np.inf]), ("global_clipnorm", [np.nan, np.nan])):
        bad, good = np.ones(2), np.ones(2)
        SGD(1.0, **{kind: 1.0}).apply([[np.nan, 1.0], [0.3, 0.4]], [bad, good])
        assert np.isnan(bad).all()
        assert np.isnan(good).all() == np.isnan(expected[1])


@pytest.mark.parametrize("form", FORMS)
def test_accumulation(backend, form):
    """One update by the mean of the gradients; parameters stay in between."""
    weights, grads = problem(steps=12)
    copies = [w.copy() for w in weights]
    one, other = make(form, gradient_accumulation_steps=3), make(form)
    for count, step in enumerate(grads, 1):
        before = [w.copy() for w in weights]
        one.apply(step, weights)
        assert one.steps == count
        assert one.iterations == count // 3
        if count % 3:
            for a, b in zip(weights, before, strict=True):
                np.testing.assert_array_equal(a, b)
        else:
            other.apply([np.mean([grads[count - 3 + i][k] for i in range(3)], axis=0)
                         for k in range(len(weights))], copies)
    for a, b in zip(weights, copies, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("frequency", [None, 1, 3])
def test_moving_average(backend, frequency):
    weights, grads = problem()
    copies, averages = [w.copy() for w in weights], [0.0] * len(weights)
    one = make("momentum", use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=frequency)
    other = make("momentum")
    for count, step in enumerate(grads, 1):
        one.apply(step, weights)
        other.apply(step, copies)
        keep = 0.0 if count == 1 else 0.8
        averages = [keep * a + (1 - keep) * w for a, w in zip(averages, copies, strict=True)]
        if frequency and count % frequency == 0:
            for w, a in zip(copies, averages, strict=True):
                w[...] = a
        for a, b in zip(weights, copies, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    one.finalize_variable_values(weights)
    for a, b in zip(weights, averages, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


COMMON = {
    "clipnorm": {"clipnorm": 0.7}, "clipvalue": {"clipvalue": 0.2},
    "global": {"global_clipnorm": 0.5}, "scale": {"loss_scale_factor": 3.0},
    "average": {"use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 2},
    "accumulation": {"gradient_accumulation_steps": 2, "clipnorm": 0.7, "weight_decay": 0.1,
                     "use_ema": True, "ema_overwrite_frequency": 3},
}


@pytest.mark.parametrize("form", ["momentum", "adam", "muon"])
@pytest.mark.parametrize("common", COMMON)
def test_common_arguments_like_keras(form, common):
    keras = keras_peer.load()
    weights, grads = problem(dtype="float32")
    theirs = [keras.Variable(w) for w in weights]
    ours = make(form, **COMMON[common])
    peer = getattr(keras.optimizers, FORMS[form][0])(**{**FORMS[form][1], **COMMON[common]})
    tolerance = LOOSE.get(form, 2e-5)
    for step in grads:
        ours.apply(step, weights)
        peer.apply(step, theirs)
        for mine, other in zip(weights, theirs, strict=True):
            np.testing.assert_allclose(mine, np.asarray(other), rtol=tolerance, atol=tolerance)
    ours.finalize_variable_values(weights)
    peer.finalize_variable_values(theirs)
    for mine, other in zip(weights, theirs, strict=True):
        np.testing.assert_allclose(mine, np.asarray(other), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("form", ["adamw", "lamb_decay", "muon", "momentum_decay"])
def test_exclusion_from_weight_decay(backend, form):
    weights, grads = problem()
    variables = [Variable(w, name=name) for w, name in
                 zip(weights, ("kernel", "bias", "gamma", "other"), strict=True)]
    optimizer = make(form, weight_decay=0.5)
    optimizer.exclude_from_weight_decay([variables[3]], ["bias", "gam"])
    for step in grads:
        optimizer.apply(step, variables)
    with_decay, without = [w.copy() for w in weights], [w.copy() for w in weights]
    changes = {"adam_weight_decay": 0.0} if form == "muon" else {}
    one, other = make(form, weight_decay=0.5), make(form, weight_decay=0.0, **changes)
    for step in grads:
        one.apply(step, with_decay)
        other.apply(step, without)
    np.testing.assert_array_equal(variables[0].numpy(), with_decay[0])
    for k in (1, 2, 3):
        np.testing.assert_array_equal(variables[k].numpy(), without[k])
    with pytest.raises(ValueError, match="before"):
        optimizer.exclude_from_weight_decay(var_names=["kernel"])


def test_gradients_that_are_missing(backend):
    weights = [np.ones(2), np.ones(3)]
    optimizer = SGD(0.5, weight_decay=0.1, momentum=0.5)
    with pytest.warns(UserWarning, match=r"positions \[1\]"):
        optimizer.apply([[1.0, 1.0], None], weights)
    assert weights[1].tolist() == [1.0] * 3
    optimizer.apply([[1.0, 1.0], np.ones(3)], weights)
    assert (weights[1] < 1).all()


def test_built_without_variables_in_apply():
    weight = Variable([1.0, 2.0])
    optimizer = SGD(0.5)
    optimizer.build([weight])
    optimizer.apply([[1.0, 1.0]])
    assert weight.numpy().tolist() == [0.5, 1.5]


def test_arrays_of_other_ranks():
    cube, number = np.ones((2, 3, 4)), np.array(2.0)
    optimizer = Adam(0.1)
    optimizer.apply([np.ones((2, 3, 4)), 1.0], [cube, number])
    np.testing.assert_allclose(cube, 0.9, rtol=1e-6)
    np.testing.assert_allclose(number, 1.9, rtol=1e-6)
