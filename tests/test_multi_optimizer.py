"""Several optimizers in one model: each variable is updated as by its own."""

from __future__ import annotations

import copy

import keras_peer
import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import optimizers as O

RNG = np.random.default_rng(2)
X = RNG.normal(size=(32, 4)).astype("float32")
Y = X.sum(1)


def network(m=fm):
    return m.Sequential([m.Input((4,)), m.layers.Dense(40, "tanh", name="body"),
                         m.layers.Dense(3, name="mid"), m.layers.Dense(1, name="head")])


START = [RNG.normal(size=v.shape).astype("float32") * 0.4 for v in network().variables]

RULES = {
    "rates": lambda o: (o.SGD(0.05), o.SGD(0.01), o.SGD(0.1)),
    "rules": lambda o: (o.SGD(0.05, momentum=0.9), o.Adam(0.01, weight_decay=0.1),
                        o.RMSprop(0.001)),
    "matrices": lambda o: (o.Adam(0.01), o.Muon(0.02), o.Adafactor(0.01)),
    "clipped": lambda o: (o.SGD(0.5, clipnorm=0.1), o.AdamW(0.01, clipnorm=0.1),
                          o.Lion(0.01, clipnorm=0.1)),
}


def multi(o, rules):
    default, body, mid = rules
    return o.MultiOptimizer(o.OptimizerMap(default, {".*body/.*": body, ".*mid/.*": mid}))


def trained(model, optimizer, epochs=3):
    model.set_weights(START)
    model.compile(optimizer, "mse")
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("name", RULES)
def test_each_variable_follows_its_own(backend, name):
    found = trained(network(), multi(O, RULES[name](O)))
    default, body, mid = RULES[name](O)
    probe = network()
    probe.compile(O.SGD(1.0), "mse")
    weights = [w.copy() for w in START]
    for step in range(12):
        rows = slice(step % 4 * 8, step % 4 * 8 + 8)
        probe.set_weights(weights)
        probe.train_on_batch(X[rows], Y[rows])
        grads = [a - b for a, b in zip(weights, probe.get_weights(), strict=True)]
        for k, optimizer in enumerate((body, mid, default)):
            optimizer.apply(grads[2 * k : 2 * k + 2], weights[2 * k : 2 * k + 2])
    for a, b in zip(found.get_weights(), weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_training_goes_on_from_files_and_copies(backend, tmp_path):
    model = trained(network(), multi(O, RULES["matrices"](O)))
    model.save(tmp_path / "model.keras")
    others = [fm.models.load_model(tmp_path / "model.keras"), copy.deepcopy(model)]
    for one in (model, *others):
        one.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    for other in others:
        assert [v.name for v in other.optimizer.variables] == [
            v.name for v in model.optimizer.variables]
        for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_rates_are_those_of_the_optimizers(backend):
    frozen, moving = O.SGD(0.1), O.SGD(0.1)
    model = trained(network(), O.MultiOptimizer(O.OptimizerMap(moving, {"body/.*": frozen})))
    assert (frozen.iterations, moving.iterations, model.optimizer.iterations) == (12, 12, 12)
    before = model.get_weights()
    frozen.learning_rate = 0.0
    model.fit(X, Y, verbose=0)
    after = model.get_weights()
    same = [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert same == [True, True, False, False, False, False]
    with pytest.raises(AttributeError, match="has no learning rate"):
        model.optimizer.learning_rate  # noqa: B018
    with pytest.raises(AttributeError, match="has no learning rate"):
        model.optimizer.learning_rate = 0.1


def test_one_schedule_for_all(backend):
    schedule = O.schedules.ExponentialDecay(0.1, 4, 0.5)
    found = trained(network(), multi(O, [O.SGD(schedule) for _ in range(3)]))
    expected = trained(network(), O.SGD(schedule))
    for a, b in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="same schedule"):
        trained(network(), multi(O, [O.SGD(schedule), O.SGD(0.1), O.SGD(0.1)]))


def test_a_function_of_variables():
    made = []

    def choose(variable):
        made.append(O.SGD(0.1 if variable.path.endswith("bias") else 0.05))
        return made[-1]

    optimizer = O.MultiOptimizer(choose)
    model = trained(network(), optimizer)
    assert optimizer.optimizers == made
    assert len(made) == 6
    bias = O.OptimizerMap(O.SGD(0.05), {".*bias": O.SGD(0.1)})
    for a, b in zip(model.get_weights(), trained(network(), O.MultiOptimizer(bias)).get_weights(),
                    strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="is an OptimizerMap"):
        optimizer.get_config()


def test_maps():
    one, two = O.SGD(), O.Adam()
    rules = O.OptimizerMap(one, {"encoder/.*": two})
    rules["head"] = two
    assert (rules["encoder/a/kernel"], rules["head"], rules["head/kernel"]) == (two, two, one)
    assert (list(rules), len(rules), rules.default_optimizer) == (["encoder/.*", "head"], 2, one)
    again = O.OptimizerMap.from_config(rules.get_config())
    assert again.get_config() == rules.get_config()
    optimizer = O.MultiOptimizer(rules)
    assert O.deserialize(O.serialize(optimizer)).get_config() == optimizer.get_config()
    del rules["head"]
    rules["enc.*"] = one
    with pytest.raises(ValueError, match=r"must match 'encoder/b'.*'enc\.\*'"):
        rules["encoder/b"]


@pytest.mark.parametrize(("call", "error", "match"), [
    (lambda: O.OptimizerMap("sgd"), TypeError, "`default_optimizer`"),
    (lambda: O.OptimizerMap(O.SGD(), [O.SGD()]), TypeError, "`optimizer_map`"),
    (lambda: O.OptimizerMap(O.SGD(), {3: O.SGD()}), ValueError, "a string"),
    (lambda: O.OptimizerMap(O.SGD(), {"a": "sgd"}), ValueError, "'sgd' for key 'a'"),
    (lambda: O.OptimizerMap(O.SGD(), {"a": O.SGD()}).__setitem__("a", O.SGD()), ValueError,
     "already"),
    (lambda: O.OptimizerMap(O.SGD(), {"a": O.SGD(use_ema=True)}), ValueError, "use_ema"),
    (lambda: O.OptimizerMap(O.SGD(), {"a": O.LBFGS()}), ValueError, "LBFGS"),
    (lambda: O.MultiOptimizer(O.OptimizerMap(O.SGD(global_clipnorm=1.0))), ValueError,
     "global_clipnorm"),
    (lambda: O.MultiOptimizer(O.SGD()), TypeError, "`optimizer_map`"),
    (lambda: trained(network(), O.MultiOptimizer(lambda v: "sgd")), ValueError, "'body/kernel'"),
    (lambda: trained(network(), multi(O, [O.SGD(clipnorm=1.0), O.SGD(), O.SGD()])), ValueError,
     "clip gradients alike"),
])
def test_what_does_not_fit_is_named(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_like_keras():
    keras = keras_peer.load()
    found = trained(network(), multi(O, RULES["rules"](O)), 1).get_weights()
    theirs = trained(network(keras), multi(keras.optimizers, RULES["rules"](keras.optimizers)), 1)
    for a, b in zip(found, theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
