"""Backpropagation in matrices, held to the library and to finite differences.

::

    python -m fusedmlp.examples.backprop_matrices

Forward a_k = tanh(a_(k-1) W_k + b_k); back from d = 2 (p - y) / n, layer by layer: the gradient by
W_k is a_(k-1)^T d, that by b_k the sum of the rows of d, and d W_k^T (1 - a_(k-1)^2) goes on.  The
difference of the losses on both sides of a weight, divided by 2 h, is off by the order of h^2,
until rounding, divided by h, takes over.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import GREY, gradients, in_float64, program, table

STEPS = 10.0 ** -np.arange(1, 11)


def by_matrices(weights, x, y):
    """Gradients of the mean of (p - y)^2 by kernels and biases, layer by layer from behind."""
    kernels, biases = weights[::2], weights[1::2]
    a = [x]
    for kernel, bias in zip(kernels, biases, strict=True):
        z = a[-1] @ kernel + bias
        a.append(z if kernel is kernels[-1] else np.tanh(z))
    d = 2 * (a[-1] - y) / len(x)
    found = []
    for kernel, below in zip(kernels[::-1], a[-2::-1], strict=True):
        found = [below.T @ d, d.sum(axis=0), *found]
        d = d @ kernel.T * (1 - below**2)
    return found


def by_differences(model, x, y, step):
    """The gradient by the first kernel, from the losses on both sides of each weight."""
    weights = model.get_weights()
    found = np.empty_like(weights[0])
    for place, value in np.ndenumerate(weights[0]):
        sides = []
        for weights[0][place] in (value + step, value - step):
            model.set_weights(weights)
            sides.append(model.evaluate(x, y, verbose=0))
        weights[0][place] = value
        found[place] = (sides[0] - sides[1]) / (2 * step)
    model.set_weights(weights)
    return found


@in_float64
def compute():
    """By number of hidden layers: how far matrices and differences are from the library."""
    random, numbers = np.random.default_rng(0), {}
    x, y = random.standard_normal((5, 2)), random.standard_normal((5, 1))
    for depth in (1, 2, 3):
        fm.utils.set_random_seed(depth)
        model = fm.Sequential([fm.Input((2,)), *(fm.layers.Dense(3, activation="tanh")
                                                 for _ in range(depth)), fm.layers.Dense(1)])
        model.compile(loss="mse")
        ours, hand = gradients(model, x, y), by_matrices(model.get_weights(), x, y)
        numbers[depth] = {
            "matrices": max(np.abs(a - b).max() for a, b in zip(ours, hand, strict=True)),
            "differences": np.array([np.abs(by_differences(model, x, y, step) - ours[0]).max()
                                     for step in STEPS])}
    return numbers


def report(numbers):
    """Print the largest differences."""
    print("Largest difference from the library's gradients")
    table(("hidden layers", "matrices", *(f"h = {step:.0e}" for step in STEPS[::2])), (
        (str(depth), f"{row['matrices']:.1e}", *(f"{off:.1e}" for off in row["differences"][::2]))
        for depth, row in numbers.items()))


def draw(figure, numbers):
    """How far finite differences are off, by their step."""
    axis = figure.subplots()
    for depth, row in numbers.items():
        axis.plot(STEPS, row["differences"], "o-", markersize=4, label=f"{depth} hidden")
    axis.plot(STEPS[:5], STEPS[:5] ** 2, color=GREY, linestyle="--", label="$h^2$")
    axis.plot(STEPS[4:], 1e-16 / STEPS[4:], color=GREY, linestyle=":", label="$10^{-16} / h$")
    axis.set(xscale="log", yscale="log", xlabel="step h",
             ylabel="finite differences − library", title="Too large a step, too small a step")
    axis.legend()


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
