"""Adaline: a linear unit that descends the squared error (Widrow and Hoff 1960).

::

    python -m fusedmlp.examples.adaline

Like the perceptron it tells two classes t = -1 and 1 apart by the sign of z = w . x + b, but it
learns from z itself: the gradient of the mean of (z - t)^2 is the mean of 2 (z - t) x.  With all
rows at once, gradient descent reaches the least squares if its rate is below 1 / lambda, where
lambda is the largest eigenvalue of the mean of x x^T (with a 1 for the bias), and diverges above.
Row by row it is the rule of Widrow and Hoff, scikit-learn's `SGDClassifier(loss="squared_error")`.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.examples import show
from fusedmlp.examples.perceptron import load

EPOCHS, ROWS_RATE = 30, 0.005


def train(x, t, rate, batch_size):
    """Losses after each epoch, and the weights."""
    model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(fm.optimizers.SGD(rate), loss="mse")
    losses = model.fit(x, t, batch_size=batch_size, epochs=EPOCHS, shuffle=False,
                       verbose=0).history["loss"]
    return losses, np.concatenate([array.ravel() for array in model.get_weights()])


@show.in_float64
def compute():
    """Losses and weights below and above the critical rate and row by row; least squares."""
    x, t = load()
    ones = np.column_stack([x, np.ones(len(x))])
    critical = 1 / np.linalg.eigvalsh(ones.T @ ones / len(x)).max()
    runs = {f"all rows, rate {factor:g} / lambda": train(x, t, factor * critical, len(x))
            for factor in (0.1, 0.5, 1.05)}
    runs["row by row"] = train(x, t, ROWS_RATE, 1)

    def peer():
        from sklearn.linear_model import SGDClassifier
        other = SGDClassifier(loss="squared_error", penalty=None, learning_rate="constant",
                              eta0=2 * ROWS_RATE,  # of (z - t)^2 / 2
                              shuffle=False, tol=None, max_iter=EPOCHS).fit(x, t)
        return np.append(other.coef_[0], other.intercept_)

    return {"critical": critical, "runs": runs, "scikit-learn": show.scikit_learn(peer),
            "least squares": np.linalg.lstsq(ones, t, rcond=None)[0]}


def report(numbers):
    """Print losses and weights."""
    print(f"critical rate 1 / lambda = {numbers['critical']:.4f}\n")
    rows = [(name, f"{losses[-1]:.4f}", *weights)
            for name, (losses, weights) in numbers["runs"].items()]
    if numbers["scikit-learn"] is not None:
        rows.append(("scikit-learn, row by row", "", *numbers["scikit-learn"]))
    rows.append(("least squares", "", *numbers["least squares"]))
    show.table(("", "last loss", "w1", "w2", "b"), rows)


def draw(figure, numbers):
    """Losses by epoch, and the line between the classes."""
    figure.set_size_inches(9, 4)
    left, right = figure.subplots(1, 2)
    for name, (losses, _) in numbers["runs"].items():
        left.plot(range(1, EPOCHS + 1), losses, label=name.replace("lambda", "λ"))
    left.set(xlabel="epoch", ylabel="mean squared error", yscale="log", ylim=(0.1, 30))
    left.legend()
    show.draw_classes(right, *load(), ("setosa", "versicolor"))
    show.draw_line(right, numbers["least squares"][:2], numbers["least squares"][2], color="black")
    right.set(xlabel="sepal length, standardized", ylabel="sepal width, standardized",
              title="w·x + b = 0 of the least squares")
    right.legend(loc="upper left")


main = show.program(compute, report, draw)

if __name__ == "__main__":
    main()
