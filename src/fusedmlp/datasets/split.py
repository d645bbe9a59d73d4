"""Reading a bundled table and dividing it into a part to train on and a part to test on.

Which samples go where is a function of the seed, the same everywhere; samples of every class are
divided in the same proportion.
"""

from __future__ import annotations

from importlib import resources

import numpy as np

from .. import checks, config, random

__all__ = ["load"]


def load(name: str, test_split: float, seed: int, classes: bool):
    """The samples of a bundled table, divided and in random order.

    Parameters
    ----------
    name : str
        Of the file, without its suffix.
    test_split : float
        Share of the samples to test on, at least 0 and below 1; rounded, in each class, to a
        whole number of samples.
    seed : int
        Decides which samples these are, and the order of all.
    classes : bool
        Whether the targets are classes, which become int64.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Features and other targets have the dtype `fusedmlp.config.floatx()`.

    Raises
    ------
    ValueError, TypeError
        If `test_split` is out of range or `seed` no integer.
    """
    test_split = checks.number(test_split, "test_split", low=0, below=1)
    seed = random.check_seed(seed)
    with (resources.files(__package__) / f"{name}.npz").open("rb") as file, \
            np.load(file, allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    x = x.astype(config.floatx())
    y = y.astype(np.int64 if classes else config.floatx())
    groups = [np.flatnonzero(y == label) for label in np.unique(y)] if classes else [
        np.arange(len(y))]
    train, test = [], []
    for number, group in enumerate(groups):
        mixed = group[random.permutation(len(group), seed, number)]
        held_out = round(test_split * len(group))
        test.append(mixed[:held_out])
        train.append(mixed[held_out:])
    parts = []
    for number, part in enumerate((train, test), len(groups)):
        rows = np.concatenate(part)
        rows = rows[random.permutation(len(rows), seed, number)]
        parts.append((x[rows], y[rows]))
    return tuple(parts)
