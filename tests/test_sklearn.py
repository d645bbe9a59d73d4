"""The estimators: the same numbers as scikit-learn's, and what they can besides."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

import scipy.sparse
import sklearn
import threadpoolctl
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fusedmlp as fm
from fusedmlp import backend as backends
from fusedmlp import sklearn as ours
from fusedmlp.sklearn import (
    MLPClassifier,
    MLPRegressor,
    base,
    from_sklearn,
    holdout,
    threads,
    to_sklearn,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:.*batch_size. less than 1:UserWarning",
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread_for_blas():
    """scikit-learn's own products are small: more threads only wait for each other."""
    with threadpoolctl.threadpool_limits(1, "blas"):
        yield


# -- scikit-learn's contract -----------------------------------------------------------------------


@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100),
                          MLPRegressor(activation="silu", compat="fast", max_iter=100)])
@pytest.mark.filterwarnings("default")
def test_is_an_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_same_arguments_and_defaults(name):
    mine, other = getattr(ours, name)().get_params(), getattr(theirs, name)().get_params()
    assert {key: mine[key] for key in other} == other


# -- the same numbers ------------------------------------------------------------------------------


def digits(classes=10, rows=400):
    X, y = load_digits(n_class=classes, return_X_y=True)
    return X[:rows] / 16, y[:rows]


def regression(outputs=1, rows=150):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(rows, 7))
    y = np.sin(X @ rng.normal(size=(7, outputs))) + 0.1 * rng.normal(size=(rows, outputs))
    return X, y.squeeze()


def several_labels():
    return make_multilabel_classification(n_samples=120, n_features=8, n_classes=4, random_state=3)


def counts(outputs=1):
    X, y = regression(outputs)
    return X, np.random.default_rng(1).poisson(np.exp(y)).astype(float)


DATA = {
    "classes": ("MLPClassifier", digits),
    "two classes": ("MLPClassifier", lambda: digits(2)),
    "several labels": ("MLPClassifier", several_labels),
    "regression": ("MLPRegressor", regression),
    "several outputs": ("MLPRegressor", lambda: regression(3)),
    "counts": ("MLPRegressor", counts),
    "several counts": ("MLPRegressor", lambda: counts(2)),
}
SETTINGS = {
    "default": {},
    "batch 32, tanh": {"batch_size": 32, "activation": "tanh", "hidden_layer_sizes": (30, 20)},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05, "activation": "logistic"},
    "plain sgd": {"solver": "sgd", "momentum": 0.0, "batch_size": 17, "alpha": 0.3},
    "no nesterov": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate": "invscaling",
                    "learning_rate_init": 0.02, "power_t": 0.1},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e-2, "n_iter_no_change": 2,
                 "learning_rate_init": 0.02},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 4, "learning_rate_init": 0.01},
    "in order": {"shuffle": False, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-4, "alpha": 0.0},
    "identity": {"activation": "identity", "hidden_layer_sizes": 5},
}


def pair(name, **params):
    params = {"max_iter": 25, "random_state": 3, **params}
    return getattr(ours, name)(**params), getattr(theirs, name)(**params)


def curves_agree(mine, other, rtol):
    assert mine.n_iter_ == other.n_iter_
    assert mine.t_ == other.t_
    assert mine.out_activation_ == other.out_activation_
    np.testing.assert_allclose(mine.loss_curve_, other.loss_curve_, rtol=rtol)
    for name in ("best_loss_", "best_validation_score_"):
        if getattr(other, name) is None:
            assert getattr(mine, name) is None
        else:
            np.testing.assert_allclose(getattr(mine, name), getattr(other, name), rtol=rtol)
    if other.validation_scores_ is None:
        assert mine.validation_scores_ is None
    else:
        np.testing.assert_allclose(mine.validation_scores_, other.validation_scores_, rtol=rtol)


def weights_agree(mine, other, rtol):
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(mine, name), getattr(other, name), strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
            assert a.dtype == b.dtype


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("data", DATA)
def test_loss_curve_is_that_of_scikit_learn(data, settings, weighted):
    name, make = DATA[data]
    X, y = make()
    extra = {"loss": "poisson"} if "counts" in data else {}
    mine, other = pair(name, **SETTINGS[settings], **extra)
    weights = (np.random.default_rng(2).uniform(0.1, 3.0, len(X)),) if weighted else ()
    for estimator in (mine, other):
        estimator.fit(X, y, *weights)
    curves_agree(mine, other, 1e-9)
    weights_agree(mine, other, 1e-7)
    np.testing.assert_allclose(mine.predict(X), other.predict(X), rtol=1e-6, atol=1e-9)
    if name == "MLPClassifier":
        np.testing.assert_allclose(mine.predict_proba(X), other.predict_proba(X), rtol=1e-6,
                                   atol=1e-9)


def test_on_every_backend(backend):
    X, y = digits()
    mine, other = pair("MLPClassifier")
    curves_agree(mine.fit(X, y), other.fit(X, y), 1e-9)


@pytest.mark.parametrize("data", DATA)
def test_float32_stays_float32(data):
    name, make = DATA[data]
    X, y = make()
    mine, other = pair(name, **({"loss": "poisson"} if "counts" in data else {}))
    mine.fit(X.astype(np.float32), y)
    other.fit(X.astype(np.float32), y)
    curves_agree(mine, other, 2e-4)
    assert all(a.dtype == np.float32 for a in (*mine.coefs_, *mine.intercepts_))
    found = mine.predict(X.astype(np.float32))
    assert found.dtype == (np.float32 if name == "MLPRegressor" else y.dtype)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("data", DATA)
def test_lbfgs_is_that_of_scikit_learn(data, weighted):
    """Rounding grows from iteration to iteration, so only few are compared."""
    name, make = DATA[data]
    X, y = make()
    extra = {"loss": "poisson"} if "counts" in data else {}
    mine, other = pair(name, solver="lbfgs", max_iter=8, alpha=0.1, **extra)
    weights = (np.random.default_rng(2).uniform(0.1, 3.0, len(X)),) if weighted else ()
    for estimator in (mine, other):
        estimator.fit(X, y, *weights)
    assert mine.n_iter_ == other.n_iter_
    np.testing.assert_allclose(mine.loss_, other.loss_, rtol=1e-9)
    weights_agree(mine, other, 1e-6)


def test_partial_fit_goes_on_as_scikit_learn(tmp_path):
    X, y = digits()
    mine, other = pair("MLPClassifier")
    for number in range(6):
        for estimator in (mine, other):
            estimator.partial_fit(X[number * 60 :], y[number * 60 :], classes=range(10))
    np.testing.assert_allclose(mine.loss_curve_, other.loss_curve_, rtol=1e-9)
    assert mine.t_ == other.t_


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_warm_start_is_that_of_scikit_learn(solver):
    X, y = digits()
    mine, other = pair("MLPClassifier", solver=solver, warm_start=True, max_iter=4)
    for _ in range(3):
        mine.fit(X, y)
        other.fit(X, y)
    curves_agree(mine, other, 1e-9)


def test_random_state_instances_go_on():
    X, y = digits()
    states = [np.random.RandomState(7), np.random.RandomState(7)]
    mine, other = (cls(max_iter=3, random_state=state) for cls, state in
                   zip((MLPClassifier, theirs.MLPClassifier), states, strict=True))
    for _ in range(2):
        mine.fit(X, y)
        other.fit(X, y)
    curves_agree(mine, other, 1e-9)
    assert states[0].randint(1 << 30) == states[1].randint(1 << 30)


@pytest.mark.parametrize("params", [
    {"alpha": -1}, {"activation": "rleu"}, {"solver": "newton"}, {"batch_size": 0},
    {"hidden_layer_sizes": (3, 0)}, {"momentum": 2}, {"tol": "small"}, {"max_fun": 0},
    {"validation_fraction": 1.0}, {"n_iter_no_change": 0}, {"learning_rate_init": 0},
], ids=str)
def test_the_same_parameters_are_refused(params):
    X, y = digits()
    messages = []
    for estimator in pair("MLPClassifier", **params):
        with pytest.raises(ValueError, match=r".") as info:
            estimator.fit(X, y)
        messages.append(str(info.value).partition(" a str among")[0].partition(" an int")[0])
    if set(params) - {"activation", "solver"}:
        assert messages[0].split(" Got")[0] == messages[1].split(" Got")[0]


def test_messages_of_bad_data_are_scikit_learns():
    X, y = digits()
    mine, other = pair("MLPClassifier")
    for data in ((X[:5], y), (X * np.nan, y), (X, np.linspace(0, 1, len(X)) * 1.5),
                 (X[:, :0], y)):
        messages = []
        for estimator in (mine, other):
            with pytest.raises(ValueError, match=r".") as info:
                estimator.fit(*data)
            messages.append(str(info.value))
        assert messages[0] == messages[1]


@pytest.mark.parametrize("verbose", [True, 5])
def test_verbose_prints_what_scikit_learn_prints(capsys, verbose):
    X, y = digits()
    printed = []
    for estimator in pair("MLPClassifier", max_iter=60, verbose=verbose, early_stopping=True,
                          n_iter_no_change=2, solver="sgd", learning_rate="adaptive"):
        estimator.fit(X, y)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "Setting learning rate to" in printed[0]


def test_convergence_warning():
    X, y = digits()
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        MLPClassifier(max_iter=2).fit(X, y)


def test_weights_of_a_batch_that_sum_to_zero():
    X, y = digits()
    weights = np.ones(len(X))
    weights[:50] = 0
    for estimator in pair("MLPClassifier", batch_size=50, shuffle=False):
        with pytest.raises(ZeroDivisionError, match="Weights sum to zero"):
            estimator.fit(X, y, weights)


# -- weights are the truth -------------------------------------------------------------------------


def test_what_is_written_into_coefs_counts():
    X, y = digits()
    model = MLPClassifier(max_iter=5, random_state=0).fit(X, y)
    model.coefs_[1][:] = 0.0
    model.intercepts_[1][:] = np.arange(10.0)
    expected = np.exp(np.arange(10.0))
    np.testing.assert_allclose(model.predict_proba(X[:3]), np.tile(expected / expected.sum(),
                                                                   (3, 1)), rtol=1e-12)
    model.coefs_ = [c.copy() for c in model.coefs_]
    before = model.coefs_[0].copy()
    model.partial_fit(X, y)
    assert np.abs(model.coefs_[1]).max() > 0  # went on from the zeros
    np.testing.assert_allclose(model.coefs_[0], before, atol=0.02)
    model.coefs_ = model.coefs_[:1]
    with pytest.raises(ValueError, match="must hold 2 arrays"):
        model.predict(X)


def test_predictions_do_not_depend_on_the_batch():
    if backends.kernels().native is None:
        pytest.skip("the promise of the compiled backend")
    X, y = digits()
    model = MLPClassifier((30, 20), max_iter=5, random_state=0).fit(X, y)
    all_at_once = model.predict_proba(X)
    for i in (0, 17, 399):
        np.testing.assert_array_equal(model.predict_proba(X[i : i + 1])[0], all_at_once[i])


# -- beyond scikit-learn ---------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["gelu", "silu", "glu", "maxout", "softsign", "leaky_relu",
                                  "swish", "log_softmax"])
def test_every_activation_of_the_table(name):
    X, y = digits()
    model = MLPClassifier(20, name, max_iter=150, learning_rate_init=0.01, random_state=0)
    model.fit(X, y)
    assert model.score(X, y) > 0.95
    assert model.coefs_[1].shape == (20, 10)  # neurons are counted behind the activation


def test_activations_per_layer_are_the_network():
    X, y = regression()
    model = MLPRegressor(hidden_layer_sizes=(6, 5), activation=["tanh", "elu"], max_iter=3,
                         random_state=0, output_activation="softplus").fit(X, y)
    (a, b, c), (p, q, r) = model.coefs_, model.intercepts_
    h = np.tanh(X @ a + p) @ b + q
    h = np.where(h > 0, h, np.expm1(h)) @ c + r
    np.testing.assert_allclose(model.predict(X), np.log1p(np.exp(h)).ravel(), rtol=1e-10)
    assert model.out_activation_ == "softplus"


def test_dropout_trains_and_does_not_predict():
    X, y = digits()
    models = [MLPClassifier(max_iter=8, random_state=0, dropout=rate).fit(X, y)
              for rate in (0.5, 0.5, 0.0)]
    assert models[0].loss_curve_ == models[1].loss_curve_ != models[2].loss_curve_
    assert models[0].loss_ > models[2].loss_
    np.testing.assert_array_equal(models[0].predict_proba(X), models[0].predict_proba(X))
    with pytest.raises(ValueError, match=r"lbfgs.*dropout"):
        MLPClassifier(solver="lbfgs", dropout=0.5).fit(X, y)
    with pytest.raises(ValueError, match="one value per hidden layer, 1"):
        MLPClassifier(dropout=[0.1, 0.2]).fit(X, y)
    with pytest.raises(ValueError, match="dropout"):
        MLPClassifier(dropout=[1.5]).fit(X, y)


@pytest.mark.parametrize("data", ["classes", "two classes", "several labels", "several outputs"])
def test_to_onnx(data, tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    name, make = DATA[data]
    X, y = make()
    model = getattr(ours, name)(hidden_layer_sizes=(20, 10), activation=["gelu", "relu"],
                                max_iter=5, dtype="float32")
    model.fit(X, y)
    expected = model.predict(X) if name == "MLPRegressor" else model.predict_proba(X)
    if data == "two classes":
        expected = expected[:, 1:]
    model.to_onnx(tmp_path / "model.onnx")
    for graph in (model.to_onnx(), onnx.load(tmp_path / "model.onnx")):
        run = ReferenceEvaluator(graph)
        (found,) = run.run(None, {run.input_names[0]: X.astype(np.float32)})
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif("BatchNormalization" not in fm.layers.__all__, reason="no such layers yet")
@pytest.mark.parametrize("params", [
    {"normalization": "batch"}, {"normalization": "layer"}, {"activation": "prelu"},
    {"normalization": [None, "batch"], "activation": ["gelu", "prelu"], "dropout": [0.1, 0.0]},
], ids=str)
def test_layers_with_weights_of_their_own(params):
    X, y = digits()
    model = MLPClassifier((30, 20), max_iter=40, random_state=0, learning_rate_init=0.01, **params)
    model.fit(X, y, X_val=X, y_val=y)
    assert model.score(X, y) == model.validation_scores_[-1] > 0.95
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    for each in (again, model):
        each.partial_fit(X, y)
    assert again.loss_curve_ == model.loss_curve_
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    best = MLPClassifier((30, 20), random_state=0, early_stopping=True, n_iter_no_change=2,
                         **params).fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    assert best.best_validation_score_ == best.score(X[300:], y[300:])


def test_class_weight_is_a_weight_of_rows():
    X, y = digits(3)
    weight = {0: 1.0, 1: 5.0, 2: 0.2}
    by_class = MLPClassifier(max_iter=5, random_state=0, class_weight=weight).fit(X, y)
    rows = np.array([weight[label] for label in y])
    by_row = MLPClassifier(max_iter=5, random_state=0).fit(X, y, rows)
    assert by_class.loss_curve_ == by_row.loss_curve_
    both = MLPClassifier(max_iter=5, random_state=0, class_weight=weight).fit(X, y, rows)
    assert both.loss_curve_ == MLPClassifier(max_iter=5, random_state=0).fit(
        X, y, rows * rows).loss_curve_
    with pytest.raises(ValueError, match="not supported for partial_fit"):
        MLPClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])


@pytest.mark.parametrize("solver", ["adamw", fm.optimizers.Adam(0.003),
                                    fm.optimizers.SGD(0.1)],
                         ids=["adamw", "Adam", "SGD"])
def test_optimizers_of_the_library(solver):
    X, y = digits()
    before = repr(solver)
    model = MLPClassifier(solver=solver, max_iter=40, random_state=0, learning_rate_init=0.002)
    assert model.fit(X, y).score(X, y) > 0.9
    assert repr(solver) == before
    assert not isinstance(solver, fm.optimizers.Optimizer) or solver.iterations == 0


_ALL_OPTIMIZERS = sorted(base.OPTIMIZERS - {"lbfgs"})
_SLOW = {"adadelta": 1.0, "ftrl": 1.0, "adagrad": 0.05, "sgd": 0.1}


@pytest.mark.parametrize("solver", _ALL_OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(solver):
    X, y = digits()
    rate = _SLOW.get(solver, 0.01)
    model = MLPClassifier(20, solver=solver, max_iter=30, random_state=0, learning_rate_init=rate)
    curve = model.fit(X, y).loss_curve_
    assert np.isfinite(curve).all()
    assert curve[-1] < 0.99 * curve[0]
    again = pickle.loads(pickle.dumps(model))
    assert again.partial_fit(X, y).loss_curve_ == model.partial_fit(X, y).loss_curve_


@pytest.mark.parametrize("solver", ["sgd", "rmsprop"])
def test_learning_rate_schedules(solver):
    X, y = digits()
    falling = fm.optimizers.schedules.PiecewiseConstantDecay([19], [0.01, 0.0])
    model = MLPClassifier(solver=solver, learning_rate=falling, max_iter=4, random_state=0,
                          momentum=0, batch_size=40)
    curve = model.fit(X, y).loss_curve_
    assert curve[1] < curve[0]
    assert curve[-1] == pytest.approx(curve[-2], rel=1e-9)
    rested = [w.copy() for w in model.coefs_]
    model.partial_fit(X, y)
    for before, after in zip(rested, model.coefs_, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("params", [{"activation": "prelu"}, {"normalization": "layer"}], ids=str)
def test_lbfgs_trains_whatever_is_trained(params):
    X, y = digits()
    model = MLPClassifier(20, solver="lbfgs", max_iter=10, random_state=0, **params)
    before = model.set_params(max_iter=1).fit(X, y)._network.others()
    after = model.set_params(max_iter=10).fit(X, y)._network.others()
    assert all((a != b).any() for a, b in zip(before, after, strict=True))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_lbfgs_of_the_library():
    """An epoch is one iteration over all rows; state, pickles and early stopping as elsewhere."""
    X, y = digits()
    solver = fm.optimizers.LBFGS()
    whole = MLPClassifier(20, solver=solver, max_iter=12, random_state=0).fit(X, y)
    assert whole.loss_curve_[-1] < 0.1 * whole.loss_curve_[0]
    assert whole.n_iter_ == len(whole.loss_curve_) == 12
    parts = MLPClassifier(20, solver=solver, max_iter=6, random_state=0, warm_start="state")
    parts = pickle.loads(pickle.dumps(parts.fit(X, y)))
    assert parts.fit(X, y).loss_curve_ == whole.loss_curve_
    sparse = MLPClassifier(20, solver=solver, max_iter=12, random_state=0)
    sparse.fit(scipy.sparse.csr_array(X), y)
    assert sparse.loss_ == pytest.approx(whole.loss_, rel=1e-3)
    stopped = MLPClassifier(20, solver=solver, max_iter=100, tol=1e-3, early_stopping=True,
                            n_iter_no_change=3, random_state=0).fit(X, y)
    assert stopped.early_stopped_
    assert stopped.n_iter_ < 100
    with pytest.raises(ValueError, match=r"'batch_size' must be 'auto'.*Received: 32"):
        MLPClassifier(solver=solver, batch_size=32).fit(X, y)


@pytest.mark.parametrize("loss", ["mse", "crossentropy",
                                  fm.losses.CategoricalCrossentropy(label_smoothing=0.1)], ids=str)
def test_losses_of_the_library(loss):
    X, y = digits()
    model = MLPClassifier(loss=loss, max_iter=60, random_state=0, learning_rate_init=0.01)
    assert model.fit(X, y).score(X, y) > 0.95
    two = MLPClassifier(loss="mse", max_iter=60, random_state=0).fit(X, y < 5)
    assert two.score(X, y < 5) > 0.9


def test_a_loss_of_the_library_is_scikit_learns_up_to_its_factor():
    X, y = regression()
    half = MLPRegressor(max_iter=9, random_state=0, alpha=0.0).fit(X, y)
    whole = MLPRegressor("mean_squared_error", max_iter=9, random_state=0, alpha=0.0)
    whole.fit(X, y)  # Adam hardly sees the factor of the gradient
    np.testing.assert_allclose(whole.loss_curve_, 2 * np.array(half.loss_curve_), rtol=1e-4)


def test_a_loss_of_ones_own():
    def squares(y_true, y_pred):
        return ((y_true - y_pred) ** 2).mean(axis=-1)

    for estimator, (X, y) in ((MLPClassifier, digits()), (MLPRegressor, regression(2))):
        known = {"max_iter": 4, "random_state": 0}
        own = estimator(loss=squares, **known).fit(X, y)
        np.testing.assert_allclose(own.loss_curve_, estimator(loss="mse", **known).fit(
            X, y).loss_curve_, rtol=1e-6)
        clone(own).set_params(loss="mse")


@pytest.mark.parametrize(("loss", "message"), [
    ("sparse_categorical_crossentropy", "single column"), ("kl_divergence", "single column"),
    ("categorical_focal_crossentropy", "single column"), ("gaussian_nll", "MLPRegressor takes it"),
    ("circle", "each other: train a fusedmlp.Sequential"),
])
def test_losses_that_two_classes_can_not_have(loss, message):
    X, y = digits(2)
    with pytest.raises(ValueError, match=message):
        MLPClassifier(loss=loss).fit(X, y)


@pytest.mark.parametrize(("loss", "outputs", "message"), [
    ("binary_crossentropy", 1, "from 0 to 1"), ("categorical_crossentropy", 1, "single column"),
    ("sparse_categorical_crossentropy", 2, "one class per row"),
])
def test_losses_that_do_not_fit_the_targets(loss, outputs, message):
    X, y = regression(outputs)
    with pytest.raises(ValueError, match=message):
        MLPRegressor(loss).fit(X, y)


def test_a_loss_that_is_not_finite_is_told():
    X, y = regression()
    with pytest.warns(ConvergenceWarning, match="another output activation"):
        MLPRegressor(fm.losses.Poisson(), max_iter=2, random_state=0).fit(X, y)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_loss_with_variances(outputs, solver):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (1000, 1))
    scale = np.where(X[:, 0] > 0, 0.5, 0.05)
    y = np.column_stack([X[:, 0], -X[:, 0]]) + rng.normal(0, 1, (1000, 2)) * scale[:, None]
    y = y[:, 0] if outputs == 1 else y
    model = MLPRegressor("gaussian_nll", 30, learning_rate_init=0.02, random_state=0,
                         solver=solver, early_stopping=solver == "adam")
    mean, std = model.fit(X, y).predict(X, return_std=True)
    assert mean.shape == std.shape == ((1000,) if outputs == 1 else (1000, outputs))
    np.testing.assert_array_equal(mean, model.predict(X))
    assert model.n_outputs_ == outputs
    assert model.coefs_[-1].shape == (30, 2 * outputs)
    assert 0.3 < std[X[:, 0] > 0.2].mean() < 0.7
    assert std[X[:, 0] < -0.2].mean() < 0.2
    with pytest.raises(ValueError, match="columns for"):
        to_sklearn(model)
    with pytest.raises(ValueError, match=r"loss='gaussian_nll'. Received: loss='squared_error'"):
        MLPRegressor(max_iter=1).fit(X, y).predict(X, return_std=True)


def test_an_unknown_loss_is_named():
    X, y = regression()
    with pytest.raises(ValueError, match="mean_squared_error"):
        MLPRegressor("mean_square_error").fit(X, y)
    with pytest.raises(ValueError, match="loss='poisson' needs the exponential"):
        MLPRegressor("poisson", output_activation="relu").fit(X, y)


def test_own_validation_set():
    X, y = digits()
    model = MLPClassifier(max_iter=7, random_state=0)
    model.fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    assert len(model.validation_scores_) == 7
    assert model.validation_scores_[-1] == model.score(X[300:], y[300:])
    plain = MLPClassifier(max_iter=7, random_state=0).fit(X[:300], y[:300])
    assert plain.loss_curve_ == model.loss_curve_
    stopped = MLPClassifier(max_iter=200, random_state=0, early_stopping=True,
                            n_iter_no_change=3).fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    assert stopped.early_stopped_
    assert stopped.n_iter_ < 200
    assert stopped.best_validation_score_ == stopped.score(X[300:], y[300:])
    weights = np.linspace(0.1, 1.0, 100)
    model.fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:], sample_weight_val=weights)
    assert model.validation_scores_[-1] == pytest.approx(
        accuracy_score(y[300:], model.predict(X[300:]), sample_weight=weights))
    for kwargs, message in (({"X_val": X}, "together"), ({"X_val": X, "y_val": y[:5]}, "400 and 5"),
                            ({"sample_weight_val": y}, "X_val and y_val")):
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, **kwargs)
    with pytest.raises(ValueError, match="classes not in"):
        model.fit(X, y, X_val=X, y_val=y + 5)


def test_own_validation_set_of_a_regressor():
    X, y = regression(2)
    model = MLPRegressor(max_iter=5, random_state=0).fit(X[:99], y[:99], X_val=X[99:],
                                                         y_val=y[99:])
    assert model.validation_scores_[-1] == pytest.approx(r2_score(y[99:], model.predict(X[99:])))


def test_partial_fit_with_early_stopping():
    X, y = digits()
    model = MLPClassifier(early_stopping=True, n_iter_no_change=3, random_state=0)
    calls = 0
    while calls == 0 or not model.early_stopped_:
        model.partial_fit(X[:300], y[:300], classes=range(10), X_val=X[300:], y_val=y[300:])
        calls += 1
        assert calls < 200
    assert len(model.validation_scores_) == calls
    assert model.score(X[300:], y[300:]) == model.best_validation_score_


def test_a_share_of_nothing_is_no_validation_set():
    X, y = digits()
    model = MLPClassifier(early_stopping=True, validation_fraction=0.0)
    with pytest.raises(ValueError, match="X_val and y_val, or a 'validation_fraction' above 0"):
        model.partial_fit(X, y, classes=range(10))
    model.set_params(validation_fraction=0.5).partial_fit(X[:99], y[:99], classes=range(10))
    model.set_params(max_iter=1, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="early_stopping=True after training that held no rows"):
        model.partial_fit(X, y)
    model.partial_fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])


def test_layers_of_other_sizes_cannot_go_on():
    X, y = digits()
    model = MLPClassifier(8, warm_start=True, max_iter=2, random_state=0).fit(X, y)
    before = model.predict_proba(X)
    for sizes in (5, (8, 8)):
        with pytest.raises(ValueError, match=rf"goes on.*hidden_layer_sizes={sizes}".replace(
                "(", r"\(").replace(")", r"\)")):
            model.set_params(hidden_layer_sizes=sizes).fit(X, y)
    np.testing.assert_array_equal(model.set_params(hidden_layer_sizes=8).predict_proba(X), before)


def pieces(X, y, size, passes=1, seed=0):
    """The rows in pieces, in another order in every pass."""
    for number in range(passes):
        order = np.random.default_rng((seed, number)).permutation(len(y))
        for start in range(0, len(y), size):
            yield X[order[start : start + size]], y[order[start : start + size]]


@pytest.mark.parametrize("container", [np.asarray, scipy.sparse.csr_array])
def test_partial_fit_holds_rows_out_by_itself(container, monkeypatch):
    """The same rows in every pass, whatever their order; it stops, with the best weights."""
    X, y = digits()
    trained = []
    epoch = fm.sklearn.network.Network.epoch

    def watched(network, objective, optimizer, x, *args):
        trained.append(x if isinstance(x, np.ndarray) else x.part(np.arange(len(x))).toarray())
        return epoch(network, objective, optimizer, x, *args)

    if container is np.asarray:
        monkeypatch.setattr(fm.sklearn.network.Network, "epoch", watched)
    model = MLPClassifier(early_stopping=True, validation_fraction=0.2, n_iter_no_change=20,
                          random_state=0)
    calls = 0
    for a, b in pieces(container(X), y, 50, passes=40):
        model.partial_fit(a, b, classes=range(10))
        calls += 1
        if calls % 8 == 0:
            model = pickle.loads(pickle.dumps(model))
        if model.early_stopped_:
            break
    assert model.early_stopped_
    assert len(model.validation_scores_) == len(model.loss_curve_) == calls
    assert model.best_validation_score_ == max(model.validation_scores_[8:]) > 0.85
    held, labels, weights = model._held.rows
    assert 0.15 * len(y) < held.shape[0] < 0.25 * len(y)
    assert model.score(held, labels, weights) == pytest.approx(model.best_validation_score_)
    if trained:
        kept = {row.tobytes() for row in held}
        assert len(kept) == len(held)
        assert not any(row.tobytes() in kept for x in trained for row in x)
        assert len({row.tobytes() for x in trained for row in x}) + len(kept) == len(
            {row.tobytes() for row in X})


def test_the_validation_set_of_a_stream_is_bounded(monkeypatch):
    """A sample of all rows, the same in any order, that no row joins which was trained on."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4000, 3)), np.arange(4000.0)
    trained, sets = set(), []
    for seed in (0, 1):
        held = holdout.HeldOut(0.25, seed=5, most=200)
        for a, b in pieces(X, y, 300, passes=2, seed=seed):
            before = set() if held.rows is None else set(held.rows[1])
            mask, changed = held.take(a, b, None)
            now = set(held.rows[1])
            assert changed == (now != before)
            trained |= {(seed, number) for number in b[mask]}
            assert not {(seed, number) for number in now} & trained
            assert not set(b[mask]) & now
        sets.append(now)
    assert sets[0] == sets[1]
    assert len(now) == 200
    assert abs(np.mean(list(now)) - 2000) < 300
    assert len(trained) > 2 * 3500  # of a long stream hardly any row is wasted


def test_calls_of_partial_fit_with_a_single_row():
    """Of which some are held out and train nothing."""
    X, y = regression()
    model = MLPRegressor(early_stopping=True, validation_fraction=0.5, random_state=3)
    for row in range(12):
        model.partial_fit(X[row : row + 1], y[row : row + 1])
    held = len(model._held.hashes)
    assert 0 < held < 12
    assert model.t_ == 12 - held == len(model.loss_curve_)
    assert np.isfinite(model.validation_scores_[-1])
    whole = MLPRegressor(early_stopping=True, validation_fraction=0.99, random_state=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(whole.partial_fit(X[:1], y[:1]).loss_)


@pytest.mark.parametrize("params", [
    {}, {"shuffle": False}, {"compat": "fast", "dropout": 0.3}, {"early_stopping": True},
    {"solver": "sgd", "learning_rate": "invscaling", "random_state": np.random.RandomState(1)},
], ids=["adam", "in order", "fast", "early stopping", "sgd and an instance"])
def test_warm_start_with_the_state(params):
    """Ten epochs are ten epochs in bits, in one fit or, by way of a pickle, in two."""
    X, y = digits()
    kwargs = {"random_state": 0, "tol": 0.0, **copy.deepcopy(params)}
    whole = MLPClassifier(max_iter=10, **kwargs).fit(X, y)
    halves = {}
    for warm_start in (True, "state"):
        kwargs = {"random_state": 0, "tol": 0.0, **copy.deepcopy(params)}
        model = MLPClassifier(max_iter=5, warm_start=warm_start, **kwargs).fit(X, y)
        halves[warm_start] = pickle.loads(pickle.dumps(model)).fit(X, y)
    assert halves["state"].loss_curve_ == whole.loss_curve_
    assert halves["state"].validation_scores_ == whole.validation_scores_
    assert halves[True].loss_curve_ != whole.loss_curve_


def test_another_solver_goes_on_from_the_weights():
    X, y = digits()
    model = MLPClassifier(max_iter=5, solver="lbfgs", warm_start=True, random_state=0).fit(X, y)
    loss = model.loss_
    assert model.set_params(solver="adam").fit(X, y).loss_curve_[0] < 1.5 * loss


def test_callbacks():
    X, y = digits()

    class Watch(fm.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seen = []

        def on_train_begin(self, logs=None):
            self.seen.append("begin")

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(batch)

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append((epoch, sorted(logs)))
            self.model.stop_training = epoch == 1

        def on_train_end(self, logs=None):
            self.seen.append("end")

    watch = Watch()
    model = MLPClassifier(max_iter=9, random_state=0, callbacks=watch, batch_size=150)
    model.fit(X, y, X_val=X, y_val=y)
    numbers = [0, 1, 2]
    logs = ["loss", "validation_score"]
    assert watch.seen == ["begin", *numbers, (0, logs), *numbers, (1, logs), "end"]
    assert model.n_iter_ == 2
    plain = MLPClassifier(max_iter=2, random_state=0, batch_size=150).fit(X, y)
    assert plain.loss_curve_ == model.loss_curve_  # watching changes nothing
    stopping = fm.callbacks.EarlyStopping(monitor="loss", patience=1, min_delta=10.0)
    assert MLPClassifier(callbacks=[stopping], random_state=0).fit(X, y).n_iter_ == 2
    full = MLPClassifier(solver="lbfgs", callbacks=[Watch()], random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        full.fit(X, y)
    assert full.n_iter_ == 2


def test_progress_bar(capsys):
    pytest.importorskip("tqdm")
    X, y = digits()
    MLPClassifier(max_iter=2, progress_bar=True).fit(X, y)
    assert "epoch" in capsys.readouterr().out


@pytest.mark.parametrize("params", [
    {}, {"solver": "lbfgs"}, {"normalization": "batch", "early_stopping": True},
    {"activation": "prelu", "dropout": 0.2, "compat": "fast"},
], ids=str)
@pytest.mark.parametrize("container", [scipy.sparse.csr_matrix, scipy.sparse.csc_array])
def test_sparse_rows_are_the_same_rows(params, container):
    X, y = digits()
    weights = np.random.default_rng(0).uniform(0.5, 2, len(y))
    known = {"max_iter": 4, "random_state": 0, "batch_size": 64, **params}
    dense = MLPClassifier(**known).fit(X, y, weights)
    sparse = MLPClassifier(**known).fit(container(X), y, weights)
    np.testing.assert_allclose(sparse.loss_, dense.loss_, rtol=1e-7)
    np.testing.assert_allclose(sparse.predict_proba(container(X)), dense.predict_proba(X),
                               rtol=1e-5)
    found = sparse.predict_proba(container(X))
    # A row by itself.  NumPy's BLAS sums the dense second layer in another order for one row than
    # for many; the bits of the sparse first layer are the same.
    np.testing.assert_allclose(found[7:8], sparse.predict_proba(container(X[7:8])), atol=0.0,
                               rtol=0.0 if fm.config.backend() == "cython" else 1e-14)


def test_sparse_rows_are_the_same_rows_on_every_backend(backend):
    X, y = regression()
    X = np.where(X > 0, X, 0.0).astype(np.float32)
    known = {"max_iter": 3, "random_state": 0, "batch_size": 32}
    dense = MLPRegressor(**known).fit(X, y)
    sparse = MLPRegressor(**known).fit(scipy.sparse.csr_array(X), y)
    np.testing.assert_allclose(sparse.loss_curve_, dense.loss_curve_, rtol=1e-4)
    np.testing.assert_allclose(sparse.predict(scipy.sparse.csr_array(X)), dense.predict(X),
                               rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_rows_are_never_dense(solver, monkeypatch):
    """A hundred thousand columns: as dense rows they would take 0.8 GB."""
    rng = np.random.default_rng(0)
    y, columns = rng.integers(0, 2, 1000), rng.integers(1, 100_000, 5000)
    noise = scipy.sparse.csr_matrix((np.ones(5000), columns, np.arange(0, 5001, 5)),
                                    (1000, 100_000))
    X = (noise + scipy.sparse.csr_matrix((y * 3.0, (np.arange(1000), np.zeros(1000, int))),
                                         noise.shape)).tocsr()
    for name in ("toarray", "todense"):
        monkeypatch.setattr(type(X), name, None)
    model = MLPClassifier(2, solver=solver, max_iter=3, random_state=0, learning_rate_init=0.1,
                          batch_size=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    assert model.score(X, y) > 0.9
    plans = [execution.plan for execution in model._network._executions._kept.values()]
    assert len(plans) == 2  # training and prediction
    assert not any(op.op == "densify" for plan in plans for op in plan.ops)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_categorical_columns(library):
    frames = pytest.importorskip(library)
    rng = np.random.default_rng(0)
    color = rng.choice(["red", "green", "blue"], 300)
    size = rng.random(300)
    y = (color == "red") ^ (size > 0.5)
    if library == "pandas":
        X = frames.DataFrame({"size": size, "color": frames.Categorical(color)})
        unseen = frames.DataFrame({"size": [0.1], "color": ["violet"]})
    else:
        X = frames.DataFrame({"size": size, "color": color}).with_columns(
            frames.col("color").cast(frames.Categorical))
        unseen = frames.DataFrame({"size": [0.1], "color": ["violet"]})
    model = MLPClassifier(max_iter=200, learning_rate_init=0.02, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.97
    assert model.n_features_in_ == 2
    assert model.feature_names_in_.tolist() == ["size", "color"]
    assert model.coefs_[0].shape[0] == 4
    assert model.predict_proba(unseen).shape == (1, 2)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X[["color", "size"]])


def test_categorical_columns_of_arrays():
    X = np.array([[0, 3], [1, 3], [2, 5], [0, 5]] * 10, dtype=object)
    y = np.array([0, 1, 0, 0] * 10)
    for columns in ([0], [True, False]):
        model = MLPClassifier(categorical_features=columns, max_iter=2).fit(X, y)
        assert model.coefs_[0].shape[0] == 4


def test_dtype():
    X, y = digits()
    model = MLPClassifier(dtype="float32", max_iter=3, random_state=0).fit(X, y)
    assert model.coefs_[0].dtype == np.float32
    assert model.loss_curve_ == MLPClassifier(max_iter=3, random_state=0).fit(
        X.astype(np.float32), y).loss_curve_


def test_device():
    X, y = digits()
    MLPClassifier(device="cpu", max_iter=1).fit(X, y)
    if "cuda" in backends.rejected():
        with pytest.raises(ValueError, match=r"'device'.*'cuda'.*Expected 'auto' or 'cpu'"):
            MLPClassifier(device="cuda").fit(X, y)


def test_compat_fast_is_as_good():
    X, y = digits()
    exact, fast = (MLPClassifier(max_iter=30, random_state=0, compat=compat).fit(X, y)
                   for compat in ("exact", "fast"))
    assert exact.loss_curve_[1:] != fast.loss_curve_[1:]
    np.testing.assert_allclose(fast.loss_curve_, exact.loss_curve_, rtol=0.1)


def test_interrupted():
    X, y = digits()

    class Interrupt(fm.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    model = MLPClassifier(callbacks=[Interrupt()], random_state=0)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, y)
    assert model.n_iter_ == 3
    plain = MLPClassifier(max_iter=3, random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])


def test_loss_that_is_not_finite():
    X, y = regression()
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        MLPRegressor(solver="sgd", learning_rate_init=1e30).fit(X, y)


# -- copies ----------------------------------------------------------------------------------------


def test_pickles_go_on_and_do_not_grow():
    X, y = digits()
    model = MLPClassifier(max_iter=5, random_state=np.random.RandomState(0)).fit(X, y)
    sizes = []
    for _ in range(4):
        model = pickle.loads(pickle.dumps(model)).partial_fit(X, y)
        sizes.append(len(pickle.dumps(model)))
    assert max(sizes) - min(sizes) < 200  # a number of the loss curve for each
    weights = sum(a.nbytes for a in (*model.coefs_, *model.intercepts_))
    assert sizes[0] < 5 * weights  # the moments, rows of which are padded, and the random state


@pytest.mark.parametrize("make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
                         ids=["deepcopy", "pickle"])
def test_copies_train_on_by_themselves(make):
    X, y = digits()
    model = MLPClassifier(max_iter=5, random_state=0).fit(X, y)
    twin = make(model)
    np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    for each in (model, twin):
        each.partial_fit(X, y)
    assert twin.loss_curve_ == model.loss_curve_
    np.testing.assert_array_equal(twin.coefs_[0], model.coefs_[0])
    assert not np.shares_memory(twin.coefs_[0], model.coefs_[0])


def test_clone_takes_parameters_alone():
    X, y = digits()
    model = MLPClassifier(7, "gelu", dropout=0.1, solver=fm.optimizers.Adam(0.1)).fit(X, y)
    twin = clone(model)
    assert not hasattr(twin, "coefs_")
    assert repr(twin) == repr(model)


@pytest.mark.parametrize("data", ["classes", "two classes", "several labels", "regression"])
def test_from_and_to_scikit_learn(data):
    name, make = DATA[data]
    X, y = make()
    mine, other = pair(name, max_iter=5)
    other.fit(X, y)
    converted = from_sklearn(other)
    np.testing.assert_allclose(converted.predict(X), other.predict(X), rtol=1e-9, atol=1e-12)
    back = to_sklearn(converted)
    assert type(back) is type(other)
    assert back.get_params() == other.get_params()
    np.testing.assert_array_equal(back.predict(X), other.predict(X))
    assert type(from_sklearn(other)) is type(mine)
    converted.partial_fit(X, y)
    assert len(converted.loss_curve_) == 6
    assert len(other.loss_curve_) == 5
    assert not hasattr(from_sklearn(clone(other)), "coefs_")


def test_what_scikit_learn_does_not_have_is_refused():
    for params in ({"activation": "gelu"}, {"output_activation": "tanh"},
                   {"normalization": "layer"}):
        with pytest.raises(ValueError, match=f"no such network.*{next(iter(params))}"):
            to_sklearn(MLPRegressor(**params))
    for wrong in (theirs.MLPRegressor(), StandardScaler()):
        with pytest.raises(TypeError, match=r"fusedmlp\.sklearn"):
            to_sklearn(wrong)
    with pytest.raises(TypeError, match=r"sklearn\.neural_network"):
        from_sklearn(MLPClassifier())


def test_model_is_a_copy_of_the_network():
    X, y = digits()
    model = MLPClassifier(max_iter=3, random_state=0).fit(X, y)
    network = model.model_
    np.testing.assert_array_equal(network.predict(X), model.predict_proba(X))
    network.layers[0].kernel.assign(np.zeros((64, 100)))
    assert np.abs(model.coefs_[0]).max() > 0


# -- in company ------------------------------------------------------------------------------------


def test_in_a_pipeline_with_names_and_output():
    pandas = pytest.importorskip("pandas")
    X, y = digits()
    X = pandas.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(max_iter=5, random_state=0))
    pipeline.set_output(transform="pandas").fit(X, y)
    assert pipeline[-1].feature_names_in_[3] == "pixel 3"
    assert "MLPClassifier" in pipeline._repr_html_()


def test_metadata_routing():
    X, y = digits()
    weights = np.linspace(0.5, 2.0, len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        model = MLPClassifier(max_iter=5, random_state=0).set_fit_request(
            sample_weight=True, X_val=False).set_score_request(sample_weight=False)
        routed = cross_val_score(model, X, y, cv=3, params={"sample_weight": weights})
    expected = [
        MLPClassifier(max_iter=5, random_state=0).fit(X[train], y[train], weights[train]).score(
            X[held], y[held]) for train, held in StratifiedKFold(3).split(X, y)]
    assert routed.tolist() == expected
    plain = cross_val_score(MLPClassifier(max_iter=5, random_state=0), X, y, cv=3)
    assert routed.tolist() != plain.tolist()


def _threads_in_worker(n_jobs):
    return threads.allowed(n_jobs)


@pytest.mark.parametrize("kind", ["threading", "loky"])
def test_grid_search(kind):
    joblib = pytest.importorskip("joblib")
    X, y = digits(3)
    model = MLPClassifier(max_iter=4, random_state=0)
    grid = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(5,), (20,)]}
    alone = GridSearchCV(model, grid, cv=3).fit(X, y)
    with joblib.parallel_config(backend=kind), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together = GridSearchCV(model, grid, cv=3, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(together.cv_results_["mean_test_score"],
                                  alone.cv_results_["mean_test_score"])
    with joblib.parallel_config(backend=kind):
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(_threads_in_worker)(n)
                                          for n in (None, 3))
    share = max(1, joblib.cpu_count() // 2) if kind == "loky" else 1
    assert found == [share, 3]
    assert threads.allowed(None) is None


def test_limits_of_threads():
    before = backends.threads()
    with threads.limit(1):
        assert backends.threads() == 1
        with threads.limit(5):
            assert backends.threads() == 1
    assert backends.threads() == before
    with threads.limit(10_000):
        assert backends.threads() == before
    with pytest.raises(ValueError, match="n_jobs"), threads.limit(0):
        pass
    X, y = digits()
    curves = [MLPClassifier(max_iter=3, random_state=0, n_jobs=n).fit(X, y).loss_curve_
              for n in (1, 2, -1)]
    if backends.kernels().native is not None:
        assert curves[0] == curves[1] == curves[2]
    assert backends.threads() == before
