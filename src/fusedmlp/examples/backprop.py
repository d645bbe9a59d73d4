"""Backpropagation: the chain rule through one, two and three hidden layers, term by term.

::

    python -m fusedmlp.examples.backprop

With one unit in each layer, a_k = tanh(w_k a_(k-1) + b_k), an output p without tanh and the loss
L = (p - y)^2, the derivative by w_1 is the product of what lies on the way back:

    2 (p - y) . w_(n+1) . (1 - a_n^2) . w_n ... (1 - a_1^2) . x

It is held to the gradient that the library descends, and to the difference of its losses on both
sides of w_1.  With several units the factors become matrices: `backprop_matrices`.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import RED, draw_network, gradients, in_float64, number, program

X, Y = 0.8, -0.5
WEIGHTS, BIASES = (1.2, -0.9, 1.5, 0.7), (0.1, 0.3, -0.2, 0.4)
STEP = 1e-5


def by_hand(depth):
    """What the units give, and the factors of the derivative by w_1."""
    a = [X]
    for w, b in zip(WEIGHTS[:depth], BIASES[:depth], strict=True):
        a.append(np.tanh(w * a[-1] + b))
    a.append(WEIGHTS[depth] * a[-1] + BIASES[depth])
    factors = {"2 (p - y)": 2 * (a[-1] - Y)}
    for k in range(depth, 0, -1):
        factors[f"w{k + 1}"] = WEIGHTS[k]
        factors[f"(1 - a{k}^2)"] = 1 - a[k] ** 2
    return a, {**factors, "x": X}


def network(depth, w1=WEIGHTS[0]):
    """The same as a model."""
    model = fm.Sequential([fm.Input((1,)), *(fm.layers.Dense(1, activation="tanh")
                                             for _ in range(depth)), fm.layers.Dense(1)])
    model.compile(loss="mse")
    model.set_weights([array for w, b in zip((w1, *WEIGHTS[1:depth + 1]), BIASES, strict=False)
                       for array in (np.array([[w]]), np.array([b]))])
    return model


@in_float64
def compute():
    """By number of hidden layers: units, factors and their product, gradients, differences."""
    x, y, numbers = np.array([[X]]), np.array([[Y]]), {}
    for depth in (1, 2, 3):
        units, factors = by_hand(depth)
        above, below = (network(depth, WEIGHTS[0] + step).evaluate(x, y, verbose=0)
                        for step in (STEP, -STEP))
        numbers[depth] = {
            "units": units, "factors": factors, "product": np.prod(list(factors.values())),
            "gradients": [g.item() for g in gradients(network(depth), x, y)],
            "difference": (above - below) / (2 * STEP)}
    return numbers


def report(numbers):
    """Print the factors of each chain and their product, beside the library's."""
    for depth, row in numbers.items():
        print(f"{depth} hidden: dL/dw1 = " + " . ".join(row["factors"]))
        print("  = " + " . ".join(f"{value:.4f}" for value in row["factors"].values()))
        print(f"  = {row['product']:.12f}, by the library {row['gradients'][0]:.12f}, "
              f"by differences {row['difference']:.12f}")


def draw(figure, numbers):
    """The longest chain: forward in the units, back below the weights."""
    figure.set_size_inches(10, 2.2)
    axis = figure.subplots()
    row = numbers[3]
    draw_network(axis, [[value] for value in row["units"]], [[[w]] for w in WEIGHTS],
                 ("x", "$a_1$", "$a_2$", "$a_3$", "p"), (0.5, 0.5))
    for k in range(4):
        axis.text(2.4 * k + 1.2, -0.3, f"∂L/∂$w_{k + 1}$ = {number(row['gradients'][2 * k])}",
                  color=RED, ha="center")
    axis.set_title(f"Forward: x = {number(X)} to p, where $L = (p - y)^2$ = "
                   f"{(row['units'][-1] - Y) ** 2:.3f};  back: the gradients (red)")


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
