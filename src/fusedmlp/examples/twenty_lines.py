"""The classic network of twenty lines of NumPy, and the same in three of this library.

::

    python -m fusedmlp.examples.twenty_lines

64 rows of 1000 random numbers, 100 sigmoid units, 10 outputs, summed squared error, 2000 steps of
plain gradient descent with the rate 1e-4.  The library's mean squared error is that sum divided by
64 * 10, so its rate is 64 * 10 times as high.  Both compute in float64 and get the same losses, and
almost the same in float32, the library's default.  The times are measured.
"""

import time

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import in_float64, program, table

N, D_IN, H, D_OUT = 64, 1000, 100, 10
STEPS, RATE = 2000, 1e-4


def by_numpy(x, y, w1, w2):
    """The losses of the program of twenty lines."""
    losses = []
    for _ in range(STEPS):
        h = 1 / (1 + np.exp(-x.dot(w1)))
        y_pred = h.dot(w2)
        losses.append(np.square(y_pred - y).sum())
        grad_y_pred = 2 * (y_pred - y)
        grad_w2 = h.T.dot(grad_y_pred)
        grad_h = grad_y_pred.dot(w2.T)
        grad_w1 = x.T.dot(grad_h * h * (1 - h))
        w1 = w1 - RATE * grad_w1
        w2 = w2 - RATE * grad_w2
    return losses


def by_library(x, y, w1, w2):
    """The losses of the same network; three lines but for setting the weights."""
    model = fm.Sequential([fm.Input((D_IN,)), fm.layers.Dense(H, "sigmoid", use_bias=False),
                           fm.layers.Dense(D_OUT, use_bias=False)])
    model.set_weights([w1, w2])
    model.compile(fm.optimizers.SGD(RATE * N * D_OUT), loss="mse")
    history = model.fit(x, y, batch_size=N, epochs=STEPS, verbose=0)
    return [N * D_OUT * loss for loss in history.history["loss"]]


@in_float64
def compute():
    """Losses by step and seconds, by program and dtype."""
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape)
              for shape in ((N, D_IN), (N, D_OUT), (D_IN, H), (H, D_OUT))]
    numbers = {}
    for name, run, dtype in (("NumPy", by_numpy, "float64"), ("fusedmlp", by_library, "float64"),
                             ("fusedmlp, float32", by_library, "float32")):
        fm.config.set_floatx(dtype)
        start = time.perf_counter()
        losses = run(*arrays)
        numbers[name] = {"losses": np.array(losses), "seconds": time.perf_counter() - start}
    return numbers


def report(numbers):
    """Print losses at some steps, how far they are apart, and the times."""
    theirs = numbers["NumPy"]
    steps = [step for step in (0, 1, 10, 100, 1000, STEPS - 1) if step < STEPS]
    table(("loss at step", *numbers), (
        (step, *(row["losses"][step] for row in numbers.values())) for step in steps), 10)
    print(f"\nbackend {fm.config.backend()}, up to {fm.config.threads()} threads")
    table(("", "seconds", "us per step", "times as fast", "losses differ by"), (
        (name, row["seconds"], int(1e6 * row["seconds"] / STEPS),
         f"{theirs['seconds'] / row['seconds']:.1f}",
         f"{np.abs(row['losses'] / theirs['losses'] - 1).max():.0e}")
        for name, row in numbers.items()))


def draw(figure, numbers):
    """The losses of both by step, one on the other."""
    axis = figure.subplots()
    axis.plot(numbers["NumPy"]["losses"], linewidth=5, color="0.75", label="NumPy, twenty lines")
    axis.plot(numbers["fusedmlp"]["losses"], label="fusedmlp, three lines")
    axis.set(xlabel="step of gradient descent", ylabel="summed squared error", yscale="log")
    axis.legend()


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
