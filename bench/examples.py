"""The examples on multilayer perceptrons of scikit-learn's documentation, as lists of fits.

Sources, below examples/neural_networks: plot_mlp_training_curves.py, plot_mlp_alpha.py,
plot_mnist_filters.py (whose MNIST, which has to be downloaded, is replaced by the digits).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["EXAMPLES", "Run"]


@dataclass
class Run:
    """One fit: parameters of the classifier, data to fit, data to score."""

    params: dict
    x: np.ndarray
    y: np.ndarray
    scored: tuple = field(default=())


_CONSTANT, _FALLING = {"learning_rate": "constant"}, {"learning_rate": "invscaling"}
_PLAIN = {"momentum": 0}
_MOMENTUM = {"momentum": 0.9, "nesterovs_momentum": False}
_NESTEROV = {"momentum": 0.9, "nesterovs_momentum": True}
_SETTINGS = [
    *({"solver": "sgd", "learning_rate_init": 0.2, **rule, **momentum}
      for rule in (_CONSTANT, _FALLING) for momentum in (_PLAIN, _MOMENTUM, _NESTEROV)),
    {"solver": "adam", "learning_rate_init": 0.01},
]


def _curves(name):
    """Seven ways to train, scored on the data that they are fitted to."""
    from sklearn import datasets
    from sklearn.preprocessing import MinMaxScaler

    x, y = {
        "iris": lambda: datasets.load_iris(return_X_y=True),
        "digits": lambda: datasets.load_digits(return_X_y=True),
        "circles": lambda: datasets.make_circles(noise=0.2, factor=0.5, random_state=1),
        "moons": lambda: datasets.make_moons(noise=0.3, random_state=0),
    }[name]()
    x = MinMaxScaler().fit_transform(x)
    epochs = 15 if name == "digits" else 400
    return [Run({"random_state": 0, "max_iter": epochs, **setting}, x, y, (x, y))
            for setting in _SETTINGS]


def _regularisation():
    """Five strengths of the penalty on three sets of points in the plane."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    x, y = datasets.make_classification(n_features=2, n_redundant=0, n_informative=2,
                                        random_state=0, n_clusters_per_class=1)
    x += 2 * np.random.RandomState(2).uniform(size=x.shape)
    runs = []
    for points in (datasets.make_moons(noise=0.3, random_state=0),
                   datasets.make_circles(noise=0.2, factor=0.5, random_state=1), (x, y)):
        train_x, test_x, train_y, test_y = train_test_split(*points, test_size=0.4, random_state=42)
        scaler = StandardScaler().fit(train_x)
        train_x, test_x = scaler.transform(train_x), scaler.transform(test_x)
        runs += [Run({"solver": "lbfgs", "alpha": alpha, "random_state": 1, "max_iter": 2000,
                      "early_stopping": True, "hidden_layer_sizes": [10, 10]},
                     train_x, train_y, (test_x, test_y)) for alpha in np.logspace(-1, 1, 5)]
    return runs


def _weights():
    """The network whose first weights are shown as pictures."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    x, y = datasets.load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(x / 16, y, random_state=0, test_size=0.7)
    return [Run({"hidden_layer_sizes": (40,), "max_iter": 8, "alpha": 1e-4, "solver": "sgd",
                 "random_state": 1, "learning_rate_init": 0.2}, train_x, train_y, (test_x, test_y))]


EXAMPLES = {
    **{f"curves-{name}": lambda name=name: _curves(name)
       for name in ("iris", "digits", "circles", "moons")},
    "regularisation": _regularisation,
    "weights": _weights,
}
