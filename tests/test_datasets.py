"""The bundled data are the real ones, and their division is fair and depends on the seed alone."""

from __future__ import annotations

import importlib
from importlib import resources

import numpy as np
import pytest

from fusedmlp import config, datasets

TABLES = {  # samples, features, samples per class, and sums of x and y as scikit-learn has them
    "breast_cancer": (569, 30, (212, 357), 1056474.4596356, 357.0),
    "diabetes": (442, 10, None, 276404.2336, 67243.0),
    "digits": (1797, 64, (178, 182, 177, 183, 181, 182, 181, 179, 174, 180), 561718.0, 8070.0),
    "iris": (150, 4, (50, 50, 50), 2078.7, 150.0),
    "wine": (178, 13, (59, 71, 48), 159975.295999, 167.0),
}
CLASSIFIED = [name for name, table in TABLES.items() if table[2] is not None]


def module(name):
    return getattr(datasets, name)


def whole(name):
    (x, y), _ = module(name).load_data(test_split=0.0)
    return x, y


def rows(x, y):
    """Samples in an order of their own, to compare sets of them."""
    table = np.column_stack([x, y])
    return table[np.lexsort(table.T)]


def test_all_modules_are_tested():
    assert set(TABLES) == set(datasets.__all__)


@pytest.mark.parametrize("name", TABLES)
def test_content(name):
    samples, features, classes, sum_x, sum_y = TABLES[name]
    x, y = whole(name)
    assert x.shape == (samples, features)
    assert y.shape == (samples,)
    assert x.dtype == np.float32
    assert y.dtype == (np.float32 if classes is None else np.int64)
    assert x.astype(np.float64).sum() == pytest.approx(sum_x, rel=1e-6)
    assert y.sum(dtype=np.float64) == pytest.approx(sum_y, rel=1e-6)
    if classes is not None:
        assert tuple(np.bincount(y)) == classes
        assert len(module(name).TARGET_NAMES) == len(classes)
    assert len(module(name).FEATURE_NAMES) == features
    assert len(set(module(name).FEATURE_NAMES)) == features


@pytest.mark.parametrize("name", TABLES)
def test_same_as_in_scikit_learn(name):
    sklearn = pytest.importorskip("sklearn.datasets")
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(sklearn, f"load_{name}")(**options)
    config.set_floatx("float64")
    try:
        x, y = whole(name)
    finally:
        config.set_floatx("float32")
    np.testing.assert_array_equal(rows(x, y), rows(bunch.data, bunch.target))
    assert list(module(name).FEATURE_NAMES) == list(bunch.feature_names)
    if name != "diabetes":
        assert list(module(name).TARGET_NAMES) == [str(t) for t in bunch.target_names]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("test_split", [0.25, 0.1, 0.5])
def test_division(name, test_split):
    samples, _, classes, _, _ = TABLES[name]
    (x_train, y_train), (x_test, y_test) = module(name).load_data(test_split)
    both = rows(np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test]))
    np.testing.assert_array_equal(both, rows(*whole(name)))
    if classes is None:
        assert len(x_test) == round(test_split * samples)
    else:
        assert tuple(np.bincount(y_test)) == tuple(round(test_split * n) for n in classes)


@pytest.mark.parametrize("name", TABLES)
def test_seed(name):
    load = module(name).load_data
    (x, _), (x_test, y_test) = load(0.25, 113)
    (again, _), (again_test, _) = load()
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(x_test, again_test)
    (other, _), (other_test, _) = load(seed=114)
    assert not np.array_equal(x, other)
    assert not np.array_equal(rows(x_test, y_test), rows(other_test, y_test))


@pytest.mark.parametrize("name", CLASSIFIED)
def test_order_is_mixed(name):
    (_, y_train), (_, y_test) = module(name).load_data()
    for y in (y_train, y_test):
        changes = (y[1:] != y[:-1]).mean()
        assert changes > 0.3


def test_digits_are_pictures_of_digits():
    """The mean picture of each class is nearer to its own samples than another class's."""
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    assert x.min() == 0
    assert x.max() == 16
    means = np.stack([x[y == d].mean(axis=0) for d in range(10)])
    distances = ((x_test[:, None, :] - means) ** 2).sum(axis=-1)
    assert (distances.argmin(axis=1) == y_test).mean() > 0.85


def test_floatx():
    config.set_floatx("float64")
    try:
        (x, _), _ = datasets.iris.load_data()
        (_, y), _ = datasets.diabetes.load_data()
    finally:
        config.set_floatx("float32")
    assert x.dtype == y.dtype == np.float64


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"test_split": 1.0}, ValueError, "`test_split`"),
        ({"test_split": -0.1}, ValueError, "`test_split`"),
        ({"test_split": "a"}, TypeError, "`test_split`"),
        ({"seed": 1.5}, ValueError, "`seed`"),
        ({"seed": None}, ValueError, "`seed`"),
    ],
)
def test_refused(arguments, error, text):
    with pytest.raises(error, match=rf"{text}.*Received"):
        datasets.iris.load_data(**arguments)


def test_files_are_small_and_their_licences_stated():
    folder = resources.files("fusedmlp.datasets")
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".npz")]
    assert sorted(f.name for f in files) == [f"{name}.npz" for name in sorted(TABLES)]
    assert sum(len(f.read_bytes()) for f in files) < 200_000
    text = (folder / "README.md").read_text(encoding="utf-8")
    for name in TABLES:
        assert f"`{name}.npz`" in text
        doc = importlib.import_module(f"fusedmlp.datasets.{name}").__doc__
        assert "Source:" in doc
        assert "licence" in doc.lower()
