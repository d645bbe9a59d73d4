"""The programs under `fusedmlp.examples` learn, and are Keras programs but for one import line."""

from __future__ import annotations

import importlib
import inspect
import types

import keras_peer
import numpy as np
import pytest

import fusedmlp as fm

LINE = "import fusedmlp as keras\n"

# What each reaches at least, or at most; the same numbers hold for Keras.
REACHED = {
    "mnist_style": {"accuracy": (0.95, 1.0), "loss": (0.0, 0.25)},
    "autoencoder": {"mse": (0.0, 0.03), "loss": (0.2, 0.35)},
    "imbalanced": {"recall": (0.85, 1.0), "specificity": (0.9, 1.0)},
    "regression": {"loss": (35.0, 55.0)},
    "structured": {"mae": (0.3, 0.6), "loss": (0.2, 0.5)},
    "several": {"digit_accuracy": (0.94, 1.0), "odd_accuracy": (0.94, 1.0)},
    "wide_and_deep": {"accuracy": (0.93, 1.0)},
}
RANDOM = ("mnist_style", "wide_and_deep")  # those with dropout


def program(name, keras=None):
    """The module of a program, with another module in the place of fusedmlp."""
    module = importlib.import_module(f"fusedmlp.examples.{name}")
    if keras is None:
        return module
    source = inspect.getsource(module)
    assert source.count(LINE) == 1
    assert "keras_peer" not in source
    other = types.ModuleType(name)
    other.__dict__["keras"] = keras
    exec(compile(source.replace(LINE, ""), module.__file__, "exec"), other.__dict__)
    return other


def check(name, result):
    for key, (low, high) in REACHED[name].items():
        assert low <= result[key] <= high, (key, result)


@pytest.mark.parametrize("name", REACHED)
def test_programs_learn(name):
    fm.utils.set_random_seed(3)
    module = program(name)
    check(name, module.train(module.network(), module.load(), verbose=0))


@pytest.mark.parametrize("name", REACHED)
def test_programs_as_people_run_them(name, capsys):
    program(name).main()
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", REACHED)
def test_programs_are_those_of_keras(name):
    """From the same weights in the same order the same numbers, where nothing is random."""
    keras = keras_peer.load()
    ours, theirs = program(name), program(name, keras)
    keras.utils.set_random_seed(3)
    models = ours.network(), theirs.network()
    weights = [np.asarray(w) for w in models[1].get_weights()]
    # Keras's Normalization has its count of batches among the weights
    models[0].set_weights([w for w in weights if w.ndim])
    data = ours.load()
    for mine, other in zip(flat(data), flat(theirs.load()), strict=True):
        np.testing.assert_array_equal(mine, other)
    epochs = 3 if name not in RANDOM else 20
    results = [module.train(model, data, epochs=epochs, shuffle=False, verbose=0)
               for module, model in zip((ours, theirs), models, strict=True)]
    assert results[0].keys() == results[1].keys()
    for key, value in results[0].items():
        if name in RANDOM:
            assert value == pytest.approx(results[1][key], abs=0.06), key
        else:
            assert value == pytest.approx(results[1][key], rel=2e-3, abs=2e-3), key


def flat(data):
    if isinstance(data, dict):
        return [data[key] for key in sorted(data)]
    return [part for item in data for part in flat(item)] if isinstance(data, tuple) else [data]
