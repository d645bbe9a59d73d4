"""A neuron: the weighted sum of its inputs plus a bias, through an activation function.

::

    python -m fusedmlp.examples.neuron

For the inputs x, the weights w and the bias b it gives f(w . x + b).  The sum is the same whatever
the activation f; what becomes of it is not.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import GREY, RED, draw_network, in_float64, program, table
from fusedmlp.spec import ACTIVATIONS, ELEMENTWISE

X = np.array([0.5, -1.0, 2.0])
WEIGHTS = np.array([0.4, 0.6, 0.3])
BIAS = 0.1
DRAWN = ("binary_step", "linear", "relu", "sigmoid", "tanh")


@in_float64
def compute():
    """What one neuron gives, by activation; "linear" gives the sum itself."""
    given = {}
    for name in ELEMENTWISE:
        neuron = fm.Sequential([fm.Input((3,)), fm.layers.Dense(1, activation=name)])
        neuron.set_weights([WEIGHTS[:, None], np.array([BIAS])])
        given[name] = float(neuron(X[None])[0, 0])
    return given


def report(given):
    """Print the sum term by term, and what each activation makes of it."""
    terms = " + ".join(f"({w:g})({x:g})" for w, x in zip(WEIGHTS, X, strict=True))
    print(f"w . x + b = {terms} + {BIAS:g} = {given['linear']:.4g}\n")
    table(("activation f", "f(w . x + b)", "formula"),
          ((name, value, ACTIVATIONS[name].formula) for name, value in given.items()))


def draw(figure, given):
    """The neuron beside the functions that may end it."""
    figure.set_size_inches(9, 4)
    left, right = figure.subplots(1, 2, width_ratios=(3, 4))
    draw_network(left, [X, [given["linear"]], [given["sigmoid"]]], [WEIGHTS[:, None]],
                 ("inputs", "sum", "output"))
    left.text(2.4, -0.35, f"bias {BIAS:g}", ha="center", va="top")
    left.text(3.6, 0.1, "sigmoid", ha="center", va="bottom")
    x = np.linspace(-3, 3, 601)
    for name in DRAWN:
        line, = right.plot(x, fm.ops.activation(x, name), "--" if name == "relu" else "-",
                           label=f"{name}: {given[name]:.3f}")
        right.plot(given["linear"], given[name], "o", color=line.get_color())
    right.axvline(given["linear"], color=GREY, linestyle=":", linewidth=1)
    right.annotate("w·x + b", (given["linear"], -1.7), (0.8, -1.7), color=RED, va="center",
                   arrowprops={"arrowstyle": "->", "color": RED})
    right.set(xlabel="sum", ylabel="output", ylim=(-2, 2))
    right.legend(loc="upper left")


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
