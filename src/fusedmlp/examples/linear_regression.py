"""Linear regression: a unit without activation, and the mean squared error.

::

    python -m fusedmlp.examples.linear_regression

How far diabetes is after a year, from ten measurements.  Gradient descent with momentum reaches
what scikit-learn's `LinearRegression` solves for at once.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.datasets import diabetes
from fusedmlp.examples import show


@show.in_float64
def load():
    """Standardized measurements and the targets, to learn from and held out."""
    (x, y), (x_test, y_test) = diabetes.load_data()
    x, x_test = show.standardize(x, x_test)
    return (x, y), (x_test, y_test)


@show.in_float64
def compute(steps=1000):
    """Weights, bias and scores on held-out patients, and those of scikit-learn."""
    (x, y), (x_test, y_test) = load()
    model = fm.Sequential([fm.Input((10,)), fm.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(fm.optimizers.SGD(0.1, momentum=0.95, nesterov=True), loss="mse")
    losses = model.fit(x, y, batch_size=len(x), epochs=steps, verbose=0).history["loss"]
    predicted = model.predict(x_test, verbose=0)[:, 0]
    kernel, bias = model.get_weights()

    def peer():
        from sklearn.linear_model import LinearRegression
        other = LinearRegression().fit(x, y)
        return {"weights": other.coef_, "bias": other.intercept_, "r2": other.score(x_test, y_test)}

    return {"losses": losses, "weights": kernel[:, 0], "bias": bias[0], "predicted": predicted,
            "r2": 1 - np.mean((predicted - y_test) ** 2) / np.var(y_test),
            "scikit-learn": show.scikit_learn(peer)}


def report(numbers):
    """Print the weights side by side."""
    columns = [numbers] + [numbers["scikit-learn"]] * (numbers["scikit-learn"] is not None)
    rows = [(name, *(column["weights"][i] for column in columns))
            for i, name in enumerate(diabetes.FEATURE_NAMES)]
    show.table(("", "fusedmlp", "scikit-learn")[:1 + len(columns)], [
        *rows, ("bias", *(column["bias"] for column in columns)),
        ("R2, held out", *(column["r2"] for column in columns))], 6)


def draw(figure, numbers):
    """Predictions against the truth, and the weights."""
    figure.set_size_inches(9, 4)
    left, right = figure.subplots(1, 2)
    _, (_, y_test) = load()
    left.plot(y_test, numbers["predicted"], "o", color=show.BLUE, markersize=4)
    left.axline((150, 150), slope=1, color=show.GREY, linestyle="--", linewidth=1)
    left.set(xlabel="progression, measured", ylabel="progression, predicted",
             title=f"110 held-out patients, $R^2$ = {numbers['r2']:.3f}")
    names = diabetes.FEATURE_NAMES[::-1]
    weights = numbers["weights"][::-1]
    right.barh(names, weights, color=np.where(weights > 0, show.BLUE, show.RED))
    right.axvline(0, color="black", linewidth=0.8)
    right.set(xlabel="weight of the standardized measurement")


main = show.program(compute, report, draw)

if __name__ == "__main__":
    main()
