"""scikit-learn's multilayer perceptrons: the same arguments, numbers and attributes, faster.

`MLPClassifier` and `MLPRegressor` are estimators of scikit-learn in every respect, and do more (see
their docstrings).  They need scikit-learn, which is loaded with this module and not before:
``pip install 'fusedmlp[sklearn]'``.

>>> from fusedmlp import datasets
>>> from fusedmlp.sklearn import MLPClassifier
>>> (x, y), (x_test, y_test) = datasets.digits.load_data()
>>> model = MLPClassifier(batch_size=32, tol=1e-2, random_state=1).fit(x / 16, y)
>>> model.score(x_test / 16, y_test) > 0.95
True
"""

try:
    from sklearn.utils.validation import validate_data as _probe  # noqa: F401  (from 1.6 on)
except ImportError as error:
    raise ImportError(
        "fusedmlp.sklearn needs scikit-learn 1.6 or later: pip install 'fusedmlp[sklearn]'"
    ) from error

from .classifier import MLPClassifier
from .convert import from_sklearn, to_sklearn
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn", "to_sklearn"]
