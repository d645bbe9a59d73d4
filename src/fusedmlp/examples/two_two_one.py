"""Two inputs, two hidden units, one output: the whole network as one formula, and as a model.

::

    python -m fusedmlp.examples.two_two_one

With s(z) = 1 / (1 + exp(-z)) the network gives

    s(w5 s(w1 x1 + w3 x2 + b1) + w6 s(w2 x1 + w4 x2 + b2) + b3).

A model of two layers computes nothing else.
"""

from math import exp

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import draw_network, in_float64, outputs, program, table

W1, W2, W3, W4, W5, W6 = 0.5, -1.5, 2.0, 1.0, 1.2, -0.8
B1, B2, B3 = -0.5, 0.25, 0.1
INPUTS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.3, -2.0]])


def s(z):
    """The sigmoid function."""
    return 1 / (1 + exp(-z))


def formula(x1, x2):
    """The network, written out."""
    return s(W5 * s(W1 * x1 + W3 * x2 + B1) + W6 * s(W2 * x1 + W4 * x2 + B2) + B3)


@in_float64
def network():
    """The same network as a model."""
    model = fm.Sequential([
        fm.Input((2,)),
        fm.layers.Dense(2, activation="sigmoid"),
        fm.layers.Dense(1, activation="sigmoid"),
    ])
    model.set_weights([np.array([[W1, W2], [W3, W4]]), np.array([B1, B2]),
                       np.array([[W5], [W6]]), np.array([B3])])
    return model


@in_float64
def compute():
    """What formula and model give for each input, and the hidden units for the last."""
    model = network()
    written = np.array([formula(*x) for x in INPUTS])
    return {"formula": written, "model": model(INPUTS)[:, 0],
            "layers": [layer[0] for layer in outputs(model, INPUTS[-1:])]}


def report(numbers):
    """Print both, and how many units in the last place they differ by."""
    written, given = numbers["formula"], numbers["model"]
    last_places = np.abs(written - given) / np.spacing(written)
    table(("x1", "x2", "formula", "model", "differ by (last places)"), (
        (f"{x1:g}", f"{x2:g}", a, b, int(ulp))
        for (x1, x2), a, b, ulp in zip(INPUTS, written, given, last_places, strict=True)), 16)


def draw(figure, numbers):
    """The network with its weights, and what its units give for the last input."""
    model = network()
    kernels = model.get_weights()[::2]
    figure.set_size_inches(8, 3.5)
    draw_network(figure.subplots(), [INPUTS[-1], *numbers["layers"]], kernels,
                 ("inputs", f"hidden, biases {B1:g} and {B2:g}", f"output, bias {B3:g}"))


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
