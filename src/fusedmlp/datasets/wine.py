"""Wines: chemical analyses of 178 wines of three cultivars from one region of Italy.

Source: S. Aeberhard and M. Forina (1992), Wine, UCI Machine Learning Repository,
https://doi.org/10.24432/C5PC7J, through scikit-learn's copy.  Licence: CC BY 4.0.
"""

from __future__ import annotations

from .split import load

__all__ = ["FEATURE_NAMES", "TARGET_NAMES", "load_data"]

FEATURE_NAMES = (
    "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols",
    "flavanoids", "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue",
    "od280/od315_of_diluted_wines", "proline",
)
TARGET_NAMES = ("class_0", "class_1", "class_2")


def load_data(test_split: float = 0.25, seed: int = 113):
    """The wines, divided into training and test samples.

    Parameters
    ----------
    test_split : float
        Share of each class to test on, at least 0 and below 1.
    seed : int
        Decides which samples these are, and the order of all.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x : (n, 13), `fusedmlp.config.floatx()`, of very different scales; y : (n,), int64.

    Raises
    ------
    ValueError, TypeError
        If `test_split` is out of range or `seed` no integer.

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, x_test.shape
    ((133, 13), (45, 13))
    """
    return load("wine", test_split, seed, classes=True)
