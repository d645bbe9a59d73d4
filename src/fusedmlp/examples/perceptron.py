"""The perceptron: a unit step, and Rosenblatt's rule that corrects the weights at every mistake.

::

    python -m fusedmlp.examples.perceptron

The unit says 1 where w . x + b >= 0.  A row x of class t = -1 or 1 that it has wrong changes w by
t x and b by t; one that it has right changes nothing.  That is gradient descent, row by row with
rate 1, on the loss max(-t (w . x + b), 0).  Where a line divides the classes, it ends after at most
(R / margin)^2 mistakes, R the longest (x, 1) (Novikoff 1962).  scikit-learn's `Perceptron` does the
same.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.datasets import iris
from fusedmlp.examples import show

PASSES = 3


@show.in_float64
def load():
    """Sepals of setosa (-1) and versicolor (1)."""
    (x, y), _ = iris.load_data(test_split=0)
    return show.standardize(x[y < 2, :2]), np.where(y[y < 2] == 1, 1.0, -1.0)


@show.in_float64
def compute():
    """The weights after each mistake, the mistakes of each pass, and scikit-learn's weights."""
    x, t = load()
    model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(fm.optimizers.SGD(1.0), loss="perceptron")
    weights, mistakes = [np.zeros(3)], [0] * PASSES
    for i in range(PASSES):
        for row in range(len(x)):
            model.train_on_batch(x[row:row + 1], t[row:row + 1])
            now = np.concatenate([array.ravel() for array in model.get_weights()])
            if (now != weights[-1]).any():
                weights.append(now)
                mistakes[i] += 1

    def peer():
        from sklearn.linear_model import Perceptron
        other = Perceptron(shuffle=False, tol=None, max_iter=PASSES).fit(x, t)
        return np.append(other.coef_[0], other.intercept_)

    said = fm.ops.activation(model.predict(x, verbose=0), "binary_step")[:, 0]
    return {"weights": np.array(weights), "mistakes": mistakes,
            "right": int((said == (t > 0)).sum()), "scikit-learn": show.scikit_learn(peer)}


def report(numbers):
    """Print what is learned."""
    show.table(("pass over the data", "mistakes"), enumerate(numbers["mistakes"], 1))
    print(f"\nright in the end: {numbers['right']} of {len(load()[0])}\n")
    show.table(("", "w1", "w2", "b"), ((name, *row) for name, row in (
        ("fusedmlp", numbers["weights"][-1]), ("scikit-learn", numbers["scikit-learn"]))
        if row is not None), 6)


def draw(figure, numbers):
    """The flowers, and the line after each mistake."""
    axis = figure.subplots()
    show.draw_classes(axis, *load(), ("setosa", "versicolor"))
    lines = numbers["weights"][1:]
    for i, (*weights, bias) in enumerate(lines, 1):
        last = i == len(lines)
        name = "in the end" if last else "after each mistake" if i == 1 else None
        show.draw_line(axis, weights, bias, color="black" if last else show.GREY, label=name,
                       linewidth=2 if last else 1, alpha=0.3 + 0.7 * i / len(lines))
    axis.set(xlabel="sepal length, standardized", ylabel="sepal width, standardized")
    axis.legend()


main = show.program(compute, report, draw)

if __name__ == "__main__":
    main()
