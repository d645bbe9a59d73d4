"""scikit-learn's estimators: fits at equal settings that end at equal losses, a grid search, and
the examples of its documentation with their scores.
"""

from __future__ import annotations

import functools
import os
import warnings
from dataclasses import dataclass

import numpy as np

from .cases import Case
from .examples import EXAMPLES

TITLE = "Estimators"
UNIT = "ms"
HEADLINE = ("digits-32", "digits-200", "mnist")
MOST_TURNS = 5  # a turn of the grid search takes seconds

_SEED = 1
_SHORTFALL = 2e-3  # of the mean score of an example: one row in five hundred


@dataclass(frozen=True)
class Fit:
    """One fit of a classifier.

    Attributes
    ----------
    data : {"digits", "mnist"}
        The digits of scikit-learn, or as many columns as MNIST has, with drawn pixels and classes.
    hidden : tuple of int
    batch, epochs : int
    dtype : str
    solver : str
    candidates : int
        For a grid search, how many; 0 for a single fit.
    """

    data: str
    hidden: tuple
    batch: int
    epochs: int
    dtype: str = "float32"
    solver: str = "adam"
    candidates: int = 0
    quick: bool = False

    def __str__(self):
        x, _ = data(self)
        text = (f"{len(x)} rows, {'-'.join(map(str, (x.shape[1], *self.hidden, 10)))}, "
                f"{self.epochs} epochs, {self.solver}, {self.dtype}")
        if self.candidates:
            text += f"; {self.candidates} candidates, 5 folds, n_jobs=2"
        return text


FITS = {
    "digits-32": Fit("digits", (100,), 32, 20, quick=True),
    "digits-200": Fit("digits", (100,), 200, 40, quick=True),
    "mnist": Fit("mnist", (256, 128), 200, 3),
    "digits-32-float64": Fit("digits", (100,), 32, 20, "float64"),
    "digits-200-float64": Fit("digits", (100,), 200, 40, "float64"),
    "digits-lbfgs": Fit("digits", (100,), 200, 20, "float64", "lbfgs"),
    "grid-search": Fit("digits", (100,), 32, 8, candidates=12),
}
NAMES = (*FITS, *EXAMPLES)
QUICK = tuple(name for name, fit in FITS.items() if fit.quick)


@functools.cache
def data(fit):
    """Rows and classes of a fit."""
    if fit.data == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        return (x / 16).astype(fit.dtype), y
    rng = np.random.default_rng(7)
    return rng.random((6000, 784)).astype(fit.dtype), rng.integers(0, 10, 6000)


def _params(fit):
    return {"hidden_layer_sizes": fit.hidden, "batch_size": fit.batch, "max_iter": fit.epochs,
            "random_state": _SEED, "solver": fit.solver, "tol": 0.0, "n_iter_no_change": 10_000}


@functools.cache
def _expected(fit):
    """Losses of scikit-learn's own estimator in float64."""
    from sklearn.neural_network import MLPClassifier

    x, y = data(fit)
    return _losses(MLPClassifier(**_params(fit)), x.astype(np.float64), y)


def _losses(model, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
    return np.array(getattr(model, "loss_curve_", [model.loss_]))


def _contender(adapter, fit):
    x, y = data(fit)
    model = adapter.classifier()(**_params(fit))
    error = np.max(np.abs(_losses(model, x, y) / _expected(fit) - 1))
    if fit.candidates:
        return _grid_search(model, fit), error
    return (lambda: _losses(model, x, y)), error


def _grid_search(model, fit):
    from sklearn.model_selection import GridSearchCV

    x, y = data(fit)
    rates = np.geomspace(1e-4, 1e-2, fit.candidates // 3).tolist()
    search = GridSearchCV(model, {"alpha": [1e-5, 1e-3, 1e-1], "learning_rate_init": rates}, cv=5,
                          n_jobs=2, refit=False)

    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of the worker processes

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search.fit(x, y)

    return run


@functools.cache
def _runs(name):
    return EXAMPLES[name]()


def _fit_all(model_class, runs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [model_class(**run.params).fit(run.x, run.y) for run in runs]


def _score(models, runs):
    return float(np.mean([model.score(*run.scored)
                          for model, run in zip(models, runs, strict=True)]))


@functools.cache
def _expected_score(name):
    """The mean score of scikit-learn's own estimator."""
    from sklearn.neural_network import MLPClassifier

    return _score(_fit_all(MLPClassifier, _runs(name)), _runs(name))


def _example(adapter, name, scores):
    runs, model_class = _runs(name), adapter.classifier()
    score = scores[adapter.NAME] = _score(_fit_all(model_class, runs), runs)
    return (lambda: _fit_all(model_class, runs)), max(0.0, _expected_score(name) - score)


def cases(names, adapters):
    """Build and verify one case after the other."""
    able = [adapter for adapter in adapters if hasattr(adapter, "classifier")]
    for name in names:
        if name in FITS:
            fit = FITS[name]
            case = Case(name, 2e-3, str(fit))
            for adapter in able:
                case.add(adapter, _contender, fit)
        else:
            scores = {}
            case = Case(name, _SHORTFALL)
            for adapter in able:
                case.add(adapter, _example, name, scores)
            found = ", ".join(f"{library} {score:.4f}" for library, score in scores.items())
            case.note = f"{len(_runs(name))} fits of {len(_runs(name)[0].x)} rows, score {found}"
        yield case
