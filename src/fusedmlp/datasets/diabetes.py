"""Diabetes: ten measurements of 442 patients, and how far the disease was a year later.

Source: B. Efron, T. Hastie, I. Johnstone and R. Tibshirani (2004), Least Angle Regression, Annals
of Statistics 32, https://www4.stat.ncsu.edu/~boos/var.select/diabetes.html, through scikit-learn's
copy, here in the original units.  The authors published the data with their paper and state no
licence.
"""

from __future__ import annotations

from .split import load

__all__ = ["FEATURE_NAMES", "TARGET_NAMES", "load_data"]

FEATURE_NAMES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
TARGET_NAMES = ("progression",)


def load_data(test_split: float = 0.25, seed: int = 113):
    """The patients, divided into training and test samples.

    Parameters
    ----------
    test_split : float
        Share of the samples to test on, at least 0 and below 1.
    seed : int
        Decides which samples these are, and the order of all.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x : (n, 10), `fusedmlp.config.floatx()`: age in years, sex (1 or 2), body mass index, mean
        blood pressure, six serum measurements; y : (n,), of the same dtype, 25 to 346.

    Raises
    ------
    ValueError, TypeError
        If `test_split` is out of range or `seed` no integer.

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, x_test.shape
    ((332, 10), (110, 10))
    """
    return load("diabetes", test_split, seed, classes=False)
