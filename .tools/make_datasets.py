"""Make the data files of `fusedmlp.datasets` from the copies that scikit-learn carries.

Run by hand, once, with scikit-learn installed::

    python .tools/make_datasets.py

The values are those of scikit-learn, in the smallest type that holds them exactly, without any
scaling.  See src/fusedmlp/datasets/README.md for where the data come from and their licences.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn import datasets

FOLDER = Path(__file__).parents[1] / "src" / "fusedmlp" / "datasets"
LOADERS = {
    "breast_cancer": datasets.load_breast_cancer,
    "diabetes": lambda **kwargs: datasets.load_diabetes(scaled=False, **kwargs),
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
}


def smallest(array):
    """The array as uint8 or uint16 where that changes no value, else as float64."""
    for dtype in (np.uint8, np.uint16):
        with np.errstate(invalid="ignore"):
            if np.array_equal(array.astype(dtype), array):
                return array.astype(dtype)
    return array.astype(np.float64)


def main():
    for name, load in LOADERS.items():
        x, y = load(return_X_y=True)
        path = FOLDER / f"{name}.npz"
        np.savez_compressed(path, x=smallest(x), y=smallest(y))
        print(f"{path.name}: {x.shape[0]} x {x.shape[1]}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
