"""A support vector machine: a linear unit, the hinge loss, and a penalty on its weights.

::

    python -m fusedmlp.examples.support_vector_machine

The hinge max(1 - t z, 0) is zero for rows of class t = -1 or 1 beyond the margin, t z > 1, so only
the others, the support vectors, hold the line.  With the penalty |w|^2 / (2 C n), descent row by
row is scikit-learn's `SGDClassifier(loss="hinge")`; with a rate that falls, descent reaches the
minimum that `SVC(kernel="linear", C=C)` solves for.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.datasets import iris
from fusedmlp.examples import show

C, EPOCHS, RATE = 1.0, 20, 0.01


@show.in_float64
def load():
    """Petals of versicolor (-1) and virginica (1), which no line divides."""
    (x, y), _ = iris.load_data(test_split=0)
    return show.standardize(x[y > 0, 2:]), np.where(y[y > 0] == 2, 1.0, -1.0)


def objective(x, t, w, b):
    """What is minimized: the mean hinge and the penalty."""
    return np.mean(np.maximum(1 - t * (x @ w + b), 0)) + w @ w / (2 * C * len(x))


def train(x, t, rate, batch_size, epochs):
    """Weights and bias after descent."""
    penalty = fm.regularizers.L2(1 / (2 * C * len(x)))
    model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="zeros",
                                                           kernel_regularizer=penalty)])
    model.compile(fm.optimizers.SGD(rate), loss="hinge")
    model.fit(x, t, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0)
    kernel, bias = model.get_weights()
    return kernel[:, 0], bias[0]


@show.in_float64
def compute():
    """Weights and bias by the name of the method."""
    x, t = load()
    falling = fm.optimizers.schedules.InverseTimeDecay(1.0, decay_steps=1, decay_rate=0.02)
    found = {"all rows, falling rate": train(x, t, falling, len(x), 3000),
             "row by row": train(x, t, RATE, 1, EPOCHS)}

    def peer():
        from sklearn.linear_model import SGDClassifier
        from sklearn.svm import SVC
        solved = SVC(kernel="linear", C=C, tol=1e-8).fit(x, t)
        by_row = SGDClassifier(loss="hinge", alpha=1 / (C * len(x)), learning_rate="constant",
                               eta0=RATE, shuffle=False, tol=None, max_iter=EPOCHS).fit(x, t)
        return {f"scikit-learn, {name}": (other.coef_[0], other.intercept_[0])
                for name, other in (("SVC", solved), ("row by row", by_row))}

    return {**found, **(show.scikit_learn(peer) or {})}


def report(found):
    """Print weights, objective and the number of support vectors."""
    x, t = load()
    show.table(("", "w1", "w2", "b", "objective", "support vectors", "right"), (
        (name, *w, b, objective(x, t, w, b), int((t * (x @ w + b) < 1.01).sum()),
         f"{(t * (x @ w + b) > 0).mean():.0%}") for name, (w, b) in found.items()), 5)


def draw(figure, found):
    """The flowers, the line and its margins, and the support vectors."""
    axis = figure.subplots()
    x, t = load()
    w, b = found["all rows, falling rate"]
    show.draw_classes(axis, x, t, ("versicolor", "virginica"))
    held = t * (x @ w + b) < 1.01
    axis.plot(*x[held].T, "o", markersize=10, markerfacecolor="none", markeredgecolor="black",
              label="support vectors")
    for level, style, name in ((-1, "--", None), (0, "-", "w·x + b = 0"), (1, "--", "±1")):
        show.draw_line(axis, w, b, level, color="black", linestyle=style, linewidth=1.2, label=name)
    axis.set(xlabel="petal length, standardized", ylabel="petal width, standardized")
    axis.legend(loc="center left")


main = show.program(compute, report, draw)

if __name__ == "__main__":
    main()
