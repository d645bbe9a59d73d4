"""Learning rate schedules: formulas, Keras's values, and what an optimizer makes of them."""

from __future__ import annotations

import inspect
import json
import math

import keras_peer
import numpy as np
import pytest

from fusedmlp import optimizers
from fusedmlp.optimizers import SGD, schedules

FORMS = {
    "exponential": ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7,
                                         "decay_rate": 0.6}),
    "exponential_stairs": ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7,
                                                "decay_rate": 0.6, "staircase": True}),
    "piecewise": ("PiecewiseConstantDecay", {"boundaries": [3, 10], "values": [0.5, 0.2, 0.1]}),
    "polynomial": ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 12,
                                       "power": 2.0}),
    "polynomial_cycle": ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 12,
                                             "cycle": True}),
    "inverse": ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 3,
                                     "decay_rate": 0.5}),
    "inverse_stairs": ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 3,
                                            "decay_rate": 0.5, "staircase": True}),
    "cosine": ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 20, "alpha": 0.1}),
    "cosine_warmup": ("CosineDecay", {"initial_learning_rate": 0.01, "decay_steps": 20,
                                      "warmup_target": 0.1, "warmup_steps": 5}),
    "restarts": ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 4}),
    "restarts_other": ("CosineDecayRestarts", {
        "initial_learning_rate": 0.1, "first_decay_steps": 5, "t_mul": 1.0, "m_mul": 0.8,
        "alpha": 0.05}),
}
STEPS = 45


def make(form):
    name, arguments = FORMS[form]
    return getattr(schedules, name)(**arguments)


def by_hand(form, step):
    """The rate at one step, in plain floats."""
    name, a = FORMS[form]
    rate = a.get("initial_learning_rate")
    if name == "PiecewiseConstantDecay":
        return a["values"][sum(step > b for b in a["boundaries"])]
    if name == "CosineDecayRestarts":
        length, height, begun = a["first_decay_steps"], 1.0, 0.0
        while step - begun >= length:
            begun += length
            length, height = length * a.get("t_mul", 2.0), height * a.get("m_mul", 1.0)
        cosine = height * (1 + math.cos(math.pi * (step - begun) / length)) / 2
        return rate * ((1 - a.get("alpha", 0.0)) * cosine + a.get("alpha", 0.0))
    if name == "CosineDecay":
        if "warmup_target" in a:
            if step < a["warmup_steps"]:
                return rate + (a["warmup_target"] - rate) * step / a["warmup_steps"]
            rate, step = a["warmup_target"], step - a["warmup_steps"]
        cosine = (1 + math.cos(math.pi * min(step / a["decay_steps"], 1.0))) / 2
        return rate * ((1 - a.get("alpha", 0.0)) * cosine + a.get("alpha", 0.0))
    if name == "PolynomialDecay":
        length, end = a["decay_steps"], a.get("end_learning_rate", 1e-4)
        if a.get("cycle"):
            length *= max(math.ceil(step / length), 1)
        return (rate - end) * (1 - min(step, length) / length) ** a.get("power", 1.0) + end
    share = step / a["decay_steps"]
    share = math.floor(share) if a.get("staircase") else share
    if name == "ExponentialDecay":
        return rate * a["decay_rate"] ** share
    return rate / (1 + a["decay_rate"] * share)


@pytest.mark.parametrize("form", FORMS)
def test_formula(form):
    schedule = make(form)
    expected = [by_hand(form, step) for step in range(STEPS)]
    rates = schedule.rates(0, STEPS)
    assert rates.dtype == np.float64
    assert len(set(rates.tolist())) > 2
    np.testing.assert_allclose(rates, expected, rtol=1e-13, atol=1e-16)
    np.testing.assert_array_equal(schedule.rates(13, 5), rates[13:18])
    np.testing.assert_array_equal(schedule(np.arange(STEPS)), rates)
    assert isinstance(schedule(3), float)
    assert schedule(3) == rates[3]
    assert schedule.rates(5, 0).shape == (0,)


@pytest.mark.parametrize("form", FORMS)
def test_like_keras(form):
    keras = keras_peer.load()
    name, arguments = FORMS[form]
    cls = getattr(keras.optimizers.schedules, name)
    theirs = cls(**arguments)
    assert [(p.name, p.default) for p in inspect.signature(cls).parameters.values()] == [
        (p.name, p.default)
        for p in inspect.signature(getattr(schedules, name)).parameters.values()]
    expected = keras.ops.vectorized_map(theirs, np.arange(STEPS))  # which is compiled once
    np.testing.assert_allclose(make(form).rates(0, STEPS), np.asarray(expected), rtol=2e-6,
                               atol=2e-8)
    assert make(form).get_config() == theirs.get_config()


def test_restarts_fall_on_their_steps():
    """Also where the logarithm of a power is a little less than the exponent."""
    for t_mul in (2.0, 3.0, 10.0):
        schedule = schedules.CosineDecayRestarts(1.0, 1, t_mul=t_mul)
        step = 0
        for restart in range(8):
            assert schedule(step) == 1.0
            step += int(t_mul**restart)


@pytest.mark.parametrize("form", FORMS)
def test_config(form):
    schedule = make(form)
    described = json.loads(json.dumps(schedules.serialize(schedule)))
    again = schedules.deserialize(described)
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    optimizer = SGD(schedule)
    again = optimizers.deserialize(json.loads(json.dumps(optimizers.serialize(optimizer))))
    np.testing.assert_array_equal(again.learning_rates(0, STEPS), schedule.rates(0, STEPS))
    assert type(schedule).__name__ in repr(schedule)


def test_an_optimizer_follows_it(backend):
    schedule = schedules.PiecewiseConstantDecay([1], [0.5, 0.25])
    optimizer, weight = SGD(schedule), np.array([10.0])
    seen = []
    for _ in range(4):
        assert optimizer.learning_rate == schedule(optimizer.steps)
        optimizer.apply([[1.0]], [weight])
        seen.append(weight[0])
    assert seen == [9.5, 9.0, 8.75, 8.5]
    with pytest.raises(TypeError, match=r"schedule.*Received: 0\.1"):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = schedules.ExponentialDecay(0.1, 1, 0.5)
    assert optimizer.learning_rate == 0.1 * 0.5**4


def test_schedules_count_steps_not_updates():
    schedule = schedules.ExponentialDecay(1.0, 1, 0.5)
    optimizer, weight = SGD(schedule, gradient_accumulation_steps=2), np.array([0.0])
    for _ in range(4):
        optimizer.apply([[-1.0]], [weight])
    assert weight[0] == 0.5 + 0.125  # the rates of the second and the fourth step


def test_own_schedule():
    class Hyperbola(schedules.LearningRateSchedule):
        def __call__(self, step):
            return 1.0 / (1.0 + step)

    np.testing.assert_allclose(SGD(Hyperbola()).learning_rates(1, 3), [1 / 2, 1 / 3, 1 / 4])
    assert "Hyperbola" in repr(SGD(Hyperbola()))
    with pytest.raises(NotImplementedError, match="get_config"):
        Hyperbola().get_config()
    with pytest.raises(NotImplementedError, match="__call__"):
        SGD(schedules.LearningRateSchedule()).learning_rates(0, 1)


def test_callable():
    rates = iter([0.5, 0.25])
    optimizer, weight = SGD(lambda: next(rates)), np.array([1.0])
    optimizer.apply([[1.0]], [weight])
    optimizer.apply([[1.0]], [weight])
    assert weight[0] == 0.25


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), ValueError, "`decay_steps`.*0"),
        (lambda: schedules.ExponentialDecay("a", 1, 0.5), TypeError, "`initial_learning_rate`"),
        (lambda: schedules.PolynomialDecay(0.1, -1), ValueError, "`decay_steps`.*-1"),
        (lambda: schedules.PiecewiseConstantDecay([1, 2], [0.1]), ValueError,
         "2 boundaries and 1 values"),
        (lambda: schedules.PiecewiseConstantDecay([2, 1], [0.1, 0.2, 0.3]), ValueError, "increase"),
        (lambda: schedules.CosineDecayRestarts(0.1, 0), ValueError, "`first_decay_steps`"),
        (lambda: schedules.CosineDecay(-0.1, 5), ValueError, "`initial_learning_rate`"),
        (lambda: schedules.deserialize({"class_name": "CosinDecay", "config": {}}), ValueError,
         "nearest: 'CosineDecay'"),
        (lambda: schedules.CosineDecai, AttributeError, "nearest: 'CosineDecay'"),
        (lambda: SGD(lambda: -1.0).learning_rate, ValueError, "gives -1.0"),
    ],
)
def test_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
