"""Breast cancer: shapes of cell nuclei in 569 samples of tissue, malignant or benign.

Source: W. Wolberg, O. Mangasarian, N. Street and W. Street (1993), Breast Cancer Wisconsin
(Diagnostic), UCI Machine Learning Repository, https://doi.org/10.24432/C5DW2B, through
scikit-learn's copy.  Licence: CC BY 4.0.
"""

from __future__ import annotations

from .split import load

__all__ = ["FEATURE_NAMES", "TARGET_NAMES", "load_data"]

_MEASURED = ("radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity",
             "concave points", "symmetry", "fractal dimension")
FEATURE_NAMES = (
    *(f"mean {name}" for name in _MEASURED),
    *(f"{name} error" for name in _MEASURED),
    *(f"worst {name}" for name in _MEASURED),
)
TARGET_NAMES = ("malignant", "benign")


def load_data(test_split: float = 0.25, seed: int = 113):
    """The samples of tissue, divided into training and test samples.

    Parameters
    ----------
    test_split : float
        Share of each class to test on, at least 0 and below 1.
    seed : int
        Decides which samples these are, and the order of all.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x : (n, 30), `fusedmlp.config.floatx()`, of very different scales; y : (n,), int64, 0 for
        malignant and 1 for benign.

    Raises
    ------
    ValueError, TypeError
        If `test_split` is out of range or `seed` no integer.

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, x_test.shape
    ((427, 30), (142, 30))
    """
    return load("breast_cancer", test_split, seed, classes=True)
