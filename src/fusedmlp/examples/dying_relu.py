"""ReLU against leaky ReLU: a unit that is off for all data learns nothing, unless it leaks.

::

    python -m fusedmlp.examples.dying_relu

One unit learns y = max(x, 0) from a start where w x + b < 0 for every x.  There ReLU gives 0 with
the derivative 0: the gradient is zero, and stays so.  Leaky ReLU has the slope 0.2, and gets away.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import gradients, in_float64, program, table

X = np.linspace(-1, 1, 41)[:, None]
Y = np.maximum(X, 0)
START = [np.array([[0.5]]), np.array([-1.5])]


@in_float64
def compute(epochs=300):
    """By activation: the gradient at the start, the losses, and what the unit gives at the end."""
    numbers = {}
    for name in ("relu", "leaky_relu"):
        model = fm.Sequential([fm.Input((1,)), fm.layers.Dense(1, activation=name)])
        model.compile(loss="mse")
        model.set_weights(START)
        first = [float(g.item()) for g in gradients(model, X, Y)]
        model.compile(fm.optimizers.SGD(0.5), "mse")
        losses = model.fit(X, Y, batch_size=len(X), epochs=epochs, verbose=0).history["loss"]
        numbers[name] = {"gradient": first, "losses": losses,
                         "weights": [float(w.item()) for w in model.get_weights()],
                         "output": model.predict(X, verbose=0)}
    return numbers


def report(numbers):
    """Print gradients, losses and the weights in the end."""
    table(("activation", "dL/dw at start", "dL/db at start", "first loss", "last loss", "w", "b"), (
        (name, *row["gradient"], row["losses"][0], row["losses"][-1], *row["weights"])
        for name, row in numbers.items()))


def draw(figure, numbers):
    """Losses by step, and what each unit gives in the end."""
    left, right = figure.subplots(1, 2)
    right.plot(X, Y, "k.", markersize=4, label="data")
    for name, row in numbers.items():
        left.plot(row["losses"], label=name)
        right.plot(X, row["output"], label=name)
    left.set(xlabel="step of gradient descent", ylabel="mean squared error", yscale="log")
    right.set(xlabel="x", ylabel="output in the end")
    left.legend()
    right.legend()


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
