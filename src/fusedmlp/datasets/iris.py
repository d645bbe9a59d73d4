"""Irises: sepals and petals of 150 flowers of three species.

Source: R. A. Fisher (1936), The use of multiple measurements in taxonomic problems, Annals of
Eugenics 7, with measurements by E. Anderson; UCI Machine Learning Repository,
https://doi.org/10.24432/C56C76, through scikit-learn's copy, which has two flowers as in Fisher's
paper where the repository's copy differs.  Licence: CC BY 4.0.
"""

from __future__ import annotations

from .split import load

__all__ = ["FEATURE_NAMES", "TARGET_NAMES", "load_data"]

FEATURE_NAMES = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
TARGET_NAMES = ("setosa", "versicolor", "virginica")


def load_data(test_split: float = 0.25, seed: int = 113):
    """The irises, divided into training and test samples.

    Parameters
    ----------
    test_split : float
        Share of each class to test on, at least 0 and below 1.
    seed : int
        Decides which samples these are, and the order of all.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x : (n, 4), `fusedmlp.config.floatx()`, centimetres; y : (n,), int64.

    Raises
    ------
    ValueError, TypeError
        If `test_split` is out of range or `seed` no integer.

    >>> (x_train, y_train), (x_test, y_test) = load_data(test_split=0.2)
    >>> x_train.shape, x_test.shape
    ((120, 4), (30, 4))
    """
    return load("iris", test_split, seed, classes=True)
