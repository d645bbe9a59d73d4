"""Forward propagation by hand: multiply, add, apply the activation; layer by layer.

::

    python -m fusedmlp.examples.forward_by_hand

A unit with the weights (3, 3) gives f(3 x1 + 3 x2).  Networks that are small enough to be computed
on paper, each with the numbers of all its units:

- x = (2, 3), weights (1, 1) and (-1, 1), output (2, -1), tanh: 2 tanh 5 - tanh 1;
- x = (-1, 2), weights (3, 3) and (1, 5), output (2, -1), tanh: 2 tanh 3 - tanh 9;
- two deeper networks of ReLU, where all numbers are whole.

The 1.2382242525694254 that is often given belongs to the first; the second's numbers give
0.99010953783342.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import draw_network, in_float64, number, outputs, program

# Inputs, activation, and for each layer the weights of each of its units.
NETWORKS = {
    "tanh, x = (2, 3)": ((2, 3), "tanh", [[(1, 1), (-1, 1)], [(2, -1)]]),
    "tanh, x = (-1, 2)": ((-1, 2), "tanh", [[(3, 3), (1, 5)], [(2, -1)]]),
    "ReLU, one more layer": ((3, 5), "relu", [[(2, 4), (4, -5)], [(-1, 1), (2, 2)], [(-3, 7)]]),
    "ReLU, other weights": ((3, 5), "relu", [[(2, 4), (4, -5)], [(-1, 2), (1, 2)], [(2, 7)]]),
}
BY_HAND = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}


def by_hand(x, activation, layers):
    """What the units of each layer give; the output has no activation."""
    values = np.array(x, dtype=float)
    given = []
    for weights in layers:
        values = np.array([sum(w * v for w, v in zip(unit, values, strict=True))
                           for unit in weights])
        if weights is not layers[-1]:
            values = BY_HAND[activation](values)
        given.append(values)
    return given


@in_float64
def by_model(x, activation, layers):
    """The same by a model; a kernel holds the weights of a unit in a column."""
    model = fm.Sequential([fm.Input((len(x),))] + [
        fm.layers.Dense(len(weights), None if weights is layers[-1] else activation,
                        use_bias=False) for weights in layers])
    model.set_weights([np.array(weights, dtype=float).T for weights in layers])
    return [layer[0] for layer in outputs(model, np.array([x], dtype=float))]


def compute():
    """By network what each layer gives, by hand and by the model."""
    return {name: (by_hand(*network), by_model(*network)) for name, network in NETWORKS.items()}


def report(numbers):
    """Print each layer of each network."""
    for name, (ours, model) in numbers.items():
        print(name)
        for i, (hand, given) in enumerate(zip(ours, model, strict=True), 1):
            what = "output" if i == len(ours) else f"layer {i}"
            print(f"  {what}: by hand {', '.join(repr(float(v)) for v in hand)}; "
                  f"by the model {', '.join(repr(float(v)) for v in given)}")


def draw(figure, numbers):
    """The networks with what each unit gives."""
    figure.set_size_inches(10, 5.5)
    for axis, (name, (x, _, layers)) in zip(figure.subplots(2, 2).flat, NETWORKS.items(),
                                            strict=True):
        draw_network(axis, [x, *numbers[name][1]], [np.transpose(unit) for unit in layers])
        axis.set_title(number(f"{name}: {float(numbers[name][1][-1][0])!r}"))


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
