"""The examples of scikit-learn's documentation have the same scores with these estimators.

They are those that ``python -m bench sklearn`` times.  L-BFGS takes its own way from the first
rounding on, so there one row of all fits together may be wrong that was right.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the extra 'sklearn' is not installed")

from sklearn import neural_network
from threadpoolctl import threadpool_limits

from fusedmlp import sklearn as ours

ROOT = Path(__file__).parents[1]
NAMES = ("curves-iris", "curves-digits", "curves-circles", "curves-moons", "regularisation",
         "weights")
ROWS_OFF = {"regularisation": 1}  # of 600

pytestmark = pytest.mark.skipif(not (ROOT / "bench").is_dir(), reason="no source checkout")


@pytest.fixture
def examples(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    yield importlib.import_module("bench.examples").EXAMPLES
    for name in [name for name in sys.modules if name.partition(".")[0] == "bench"]:
        del sys.modules[name]


def right(model_class, run):
    with warnings.catch_warnings(), threadpool_limits(1):  # BLAS is slower with more
        warnings.simplefilter("ignore")
        model = model_class(**run.params).fit(run.x, run.y)
    X, y = run.scored
    return int((model.predict(X) == y).sum())


@pytest.mark.parametrize("name", NAMES)
def test_scores(examples, name):
    runs = examples[name]()
    mine, theirs = (np.array([right(library.MLPClassifier, run) for run in runs])
                    for library in (ours, neural_network))
    if name in ROWS_OFF:
        assert mine.sum() >= theirs.sum() - ROWS_OFF[name]
    else:
        np.testing.assert_array_equal(mine, theirs)


def test_no_example_is_left_out(examples):
    assert tuple(examples) == NAMES
