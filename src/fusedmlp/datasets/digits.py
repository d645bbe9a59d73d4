"""Handwritten digits: 1797 images of 8 x 8 pixels, ten classes.

Each pixel counts the dark dots in a block of 4 x 4 dots of the scan, from 0 to 16.  These are the
1797 digits of the test set of "Optical Recognition of Handwritten Digits", written by 13 people.

Source: E. Alpaydin and C. Kaynak (1998), UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, through scikit-learn's copy.  Licence: CC BY 4.0.
"""

from __future__ import annotations

from .split import load

__all__ = ["FEATURE_NAMES", "TARGET_NAMES", "load_data"]

FEATURE_NAMES = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))
TARGET_NAMES = tuple("0123456789")


def load_data(test_split: float = 0.25, seed: int = 113):
    """The digits, divided into training and test samples.

    Parameters
    ----------
    test_split : float
        Share of each class to test on, at least 0 and below 1.
    seed : int
        Decides which samples these are, and the order of all.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x : (n, 64), `fusedmlp.config.floatx()`, pixels row by row, 0 to 16; y : (n,), int64.

    Raises
    ------
    ValueError, TypeError
        If `test_split` is out of range or `seed` no integer.

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, x_test.shape, float(x_train.max())
    ((1347, 64), (450, 64), 16.0)
    """
    return load("digits", test_split, seed, classes=True)
