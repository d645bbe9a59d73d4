"""scikit-learn's own tests of its multilayer perceptrons, run against ours.

The test module comes from the installed scikit-learn; only the names of the two classes in it are
replaced.  What differs from scikit-learn is listed in `DIFFERENT`, with the reason.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

import sklearn.neural_network

from fusedmlp.sklearn import MLPClassifier, MLPRegressor, lbfgs

# tests of versions of scikit-learn that have no such argument are not run: there the names of
# private attributes differ
_SPEC = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
if _SPEC is None:
    pytest.skip("this scikit-learn comes without its tests", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("default")


class _WithPrivateGradient(MLPClassifier):
    """`test_gradient` calls a private method, whose result ours has under another name."""

    def __init__(self, activation="relu", hidden_layer_sizes=(100,), solver="adam", alpha=1e-4,
                 learning_rate_init=0.001, max_iter=200, random_state=None):
        super().__init__(hidden_layer_sizes, activation, solver=solver, alpha=alpha,
                         learning_rate_init=learning_rate_init, max_iter=max_iter,
                         random_state=random_state)

    def _loss_grad_lbfgs(self, packed, X, y, sample_weight, *buffers):
        y = y.argmax(axis=1) if y.shape[1] > 1 else y.astype(bool)
        return lbfgs.objective_function(self, X, y, sample_weight)(packed)


def _load():
    """scikit-learn's test module with our classes in the place of its own."""
    before = sklearn.neural_network.MLPClassifier, sklearn.neural_network.MLPRegressor
    sklearn.neural_network.MLPClassifier = MLPClassifier
    sklearn.neural_network.MLPRegressor = MLPRegressor
    try:
        module = importlib.util.module_from_spec(_SPEC)
        _SPEC.loader.exec_module(module)
    finally:
        sklearn.neural_network.MLPClassifier, sklearn.neural_network.MLPRegressor = before
    assert module.MLPClassifier is MLPClassifier
    return module


_MODULE = _load()


@pytest.fixture
def global_random_seed():
    return 42


for _name, _test in vars(_MODULE).items():
    if _name.startswith("test_"):
        globals()[_name] = _test


def test_gradient(monkeypatch):
    monkeypatch.setattr(_MODULE, "MLPClassifier", _WithPrivateGradient)
    _MODULE.test_gradient()


def test_there_are_tests():
    found = [name for name in vars(_MODULE) if name.startswith("test_")]
    assert len(found) > 30
    assert np.isin("test_gradient", found)
