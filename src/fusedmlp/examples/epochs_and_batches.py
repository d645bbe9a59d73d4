"""Epochs and batches: what a batch costs and what it brings.

::

    python -m fusedmlp.examples.epochs_and_batches

An epoch goes once through all n rows, in ceil(n / b) steps with batches of b.  The gradient of a
batch is that of all rows plus noise, whose mean square is s^2 / b (n - b) / (n - 1) for rows drawn
without replacement, s^2 that of single rows.  Small batches are noisy and bring many steps for one
look at the data, large ones are exact and bring few.
"""

import time

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import gradients, in_float64, program, table
from fusedmlp.examples.softmax_regression import load

ROWS, EPOCHS = 1280, 15
BATCHES = (8, 32, 128, 1280)


def network():
    """The same network each time, for plain gradient descent."""
    fm.utils.set_random_seed(1)
    model = fm.Sequential([fm.Input((64,)), fm.layers.Dense(32, activation="tanh"),
                           fm.layers.Dense(10, activation="softmax")])
    model.compile(fm.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")
    return model


def noise(x, y, batch_size):
    """Mean square distance of the gradients of batches from that of all rows, and their mean's."""
    model = network()
    whole = np.concatenate([g.ravel() for g in gradients(model, x, y)])
    found = np.array([np.concatenate([g.ravel() for g in gradients(model, x[rows], y[rows])])
                      for rows in np.split(np.arange(len(x)), len(x) // batch_size)])
    return np.mean(np.sum((found - whole) ** 2, axis=1)), np.abs(found.mean(axis=0) - whole).max()


@in_float64
def compute():
    """By batch size: steps, losses, seconds of an epoch, and noise of the gradient."""
    (x, y), _ = load()
    x, y = x[:ROWS], y[:ROWS]
    single, _ = noise(x, y, 1)
    numbers = {}
    for b in BATCHES:
        model = network()
        start = time.perf_counter()
        losses = model.fit(x, y, batch_size=b, epochs=EPOCHS, verbose=0).history["loss"]
        seconds = (time.perf_counter() - start) / EPOCHS
        measured, apart = noise(x, y, b)
        numbers[b] = {"steps": int(model.optimizer.iterations) // EPOCHS, "losses": losses,
                      "seconds": seconds, "noise": measured, "apart": apart,
                      "expected": single / b * (ROWS - b) / (ROWS - 1)}
    return numbers


def report(numbers):
    """Print what a batch costs and brings."""
    print(f"{ROWS} digits, {EPOCHS} epochs; apart: mean gradient of all batches - that of all rows")
    table(("batch", "steps per epoch", "ms per epoch", "last loss", "noise of gradient",
           "s^2/b (n-b)/(n-1)", "apart"), (
        (str(b), row["steps"], f"{1e3 * row['seconds']:.2f}", row["losses"][-1],
         *(f"{row[key]:.5f}" for key in ("noise", "expected")), f"{row['apart']:.0e}")
        for b, row in numbers.items()))


def draw(figure, numbers):
    """Losses by epoch and by step, and the noise by batch size."""
    figure.set_size_inches(11, 3.8)
    left, middle, right = figure.subplots(1, 3)
    epochs = np.arange(1, EPOCHS + 1)
    for b, row in numbers.items():
        left.plot(epochs, row["losses"], label=b)
        middle.plot(epochs * row["steps"], row["losses"])
    left.set(xlabel="epoch", ylabel="loss", xticks=(1, 5, 10, 15), title="By epoch, at one rate")
    middle.set(xlabel="step", xscale="log", ylabel="loss", title="By step")
    left.legend(title="batch")
    sizes = [b for b in BATCHES if b < ROWS]
    for key, style, name in (("noise", "o", "measured"), ("expected", "-", "formula")):
        right.plot(sizes, [numbers[b][key] for b in sizes], style, label=name)
    right.set(xlabel="batch", ylabel="mean square", title="Noise of the gradient")
    right.set_xscale("log", base=2)
    right.set_yscale("log", base=2)
    right.legend()


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
