"""Backpropagation: the chain rule through one, two and three hidden layers, term by term.

::

    python -m fusedmlp.examples.backprop

With one unit in each layer, a_k = tanh(w_k a_(k-1) + b_k), an output p without tanh and the loss
(p - y)^2, the derivative by w_1 is the product of what lies on the way back:

    2 (p - y) . w_(n+1) . (1 - a_n^2) . w_n ... (1 - a_1^2) . x

With several units the factors become matrices.  Both are held to the gradients that the library
descends, and to finite differences of its loss.
"""

from __future__ import annotations

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import RED, draw_network, gradients, in_float64, number, program, table

X, Y = 0.8, -0.5
WEIGHTS, BIASES = (1.2, -0.9, 1.5, 0.7), (0.1, 0.3, -0.2, 0.4)


def chain(depth):
    """The units of a chain with so many hidden layers, and the factors of the derivative by w_1."""
    weights, biases = WEIGHTS[:depth + 1], BIASES[:depth + 1]
    a = [X]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        a.append(np.tanh(w * a[-1] + b))
    a.append(weights[-1] * a[-1] + biases[-1])
    factors = {"2 (p - y)": 2 * (a[-1] - Y)}
    for k in range(depth, 0, -1):
        factors[f"w{k + 1}"] = weights[k]
        factors[f"1 - a{k}^2"] = 1 - a[k] ** 2
    return a, {**factors, "x": X}


def network(sizes):
    """A network of these sizes, tanh but for the output."""
    model = fm.Sequential([fm.Input((sizes[0],)), *(fm.layers.Dense(n, activation="tanh")
                                                    for n in sizes[1:-1]), fm.layers.Dense(1)])
    model.compile(loss="mse")
    return model


def by_matrices(weights, x, y):
    """Gradients of the mean of (p - y)^2 by kernels and biases, layer by layer from behind."""
    kernels, biases = weights[::2], weights[1::2]
    a = [x]
    for kernel, bias in zip(kernels, biases, strict=True):
        z = a[-1] @ kernel + bias
        a.append(z if kernel is kernels[-1] else np.tanh(z))
    delta = 2 * (a[-1] - y) / len(x)
    found = []
    for kernel, below in zip(kernels[::-1], a[-2::-1], strict=True):
        found = [below.T @ delta, delta.sum(axis=0), *found]
        delta = (delta @ kernel.T) * (1 - below**2)
    return found


def by_differences(model, x, y, step=1e-5):
    """The same from the loss on both sides of each weight."""
    weights = model.get_weights()
    found = [np.empty_like(array) for array in weights]
    for array, slopes in zip(weights, found, strict=True):
        for place, value in np.ndenumerate(array):
            sides = []
            for array[place] in (value + step, value - step):
                model.set_weights(weights)
                sides.append(model.evaluate(x, y, verbose=0))
            array[place] = value
            slopes[place] = (sides[0] - sides[1]) / (2 * step)
    model.set_weights(weights)
    return found


@in_float64
def compute():
    """By depth: units, factors and gradients of the chain, and how close the three ways are."""
    random, numbers = np.random.default_rng(0), {}
    for depth in (1, 2, 3):
        one = network((1,) * (depth + 2))
        one.set_weights([array for w, b in zip(WEIGHTS[:depth + 1], BIASES, strict=False)
                         for array in (np.array([[w]]), np.array([b]))])
        units, factors = chain(depth)
        x, y = random.standard_normal((5, 2)), random.standard_normal((5, 1))
        model = network((2, *(3,) * depth, 1))
        ours, hand = gradients(model, x, y), by_matrices(model.get_weights(), x, y)
        numbers[depth] = {
            "units": units, "factors": factors, "product": np.prod(list(factors.values())),
            "chain": [g.item() for g in gradients(one, np.array([[X]]), np.array([[Y]]))],
            "matrices": max(np.abs(a - b).max() for a, b in zip(ours, hand, strict=True)),
            "differences": max(np.abs(a - b).max() for a, b in zip(
                ours, by_differences(model, x, y), strict=True))}
    return numbers


def report(numbers):
    """Print the factors of each chain, and how far apart the three ways are."""
    for depth, row in numbers.items():
        print(f"{depth} hidden: dL/dw1 = " + " . ".join(row["factors"]) + "\n  = " + " . ".join(
            f"({value:.4f})" for value in row["factors"].values())
            + f" = {row['product']:.12f}; the library: {row['chain'][0]:.12f}")
    print()
    table(("hidden layers of 3 units", "library - matrices", "library - differences"), (
        (depth, f"{row['matrices']:.1e}", f"{row['differences']:.1e}")
        for depth, row in numbers.items()))


def draw(figure, numbers):
    """The longest chain: forward above, gradients below."""
    figure.set_size_inches(10, 2.2)
    axis = figure.subplots()
    row = numbers[3]
    draw_network(axis, [[value] for value in row["units"]], [[[w]] for w in WEIGHTS],
                 ("x", "$a_1$", "$a_2$", "$a_3$", "p"), (0.5, 0.5))
    for k in range(4):
        axis.text(2.4 * k + 1.2, -0.3, f"∂L/∂$w_{k + 1}$ = {number(row['chain'][2 * k])}",
                  color=RED, ha="center")
    axis.set_title(f"Forward: x = {number(X)} to p, where $L = (p - y)^2$ = "
                   f"{(row['units'][-1] - Y) ** 2:.3f};  back: the gradients (red)")


def main(argv=None):
    """Run the program."""
    program(compute, report, draw, argv)


if __name__ == "__main__":
    main()
