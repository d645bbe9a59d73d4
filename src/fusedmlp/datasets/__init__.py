"""Small real data that come with the package: nothing is downloaded.

>>> from fusedmlp.datasets import digits
>>> (x_train, y_train), (x_test, y_test) = digits.load_data()
>>> x_train.shape
(1347, 64)
"""

from . import breast_cancer, diabetes, digits, iris, wine

__all__ = ["breast_cancer", "diabetes", "digits", "iris", "wine"]
