"""The gallery of activation functions: each with derivative, formula, range and stated precision.

::

    python -m fusedmlp.examples.activations

The derivative is what backpropagation multiplies by.  Where it is zero, as on one whole half of
ReLU, nothing is learned; leaky ReLU keeps a slope there (`dying_relu` shows what that changes).
Precision is the bound of the compiled kernels in units in the last place (ULP).
"""

import numpy as np

from fusedmlp import ops
from fusedmlp.examples.show import BLUE, RED, program, table
from fusedmlp.spec import ACTIVATIONS, ELEMENTWISE

X = np.linspace(-4, 4, 801)


def slope(name, x):
    """The derivative of an activation, from its input or its output as its row says."""
    saved = {"x": x} if ACTIVATIONS[name].reads == "x" else {"y": ops.activation(x, name)}
    return ops.activation_grad(np.ones_like(x), name, **saved)


def compute():
    """Values and derivatives on X, by the name of the elementwise activation."""
    return {name: (ops.activation(X, name), slope(name, X)) for name in ELEMENTWISE}


def report(curves):
    """Print values and derivatives at -2 and 2 where there is one input, then the formulas."""
    places = np.searchsorted(X, (-2, 2))

    def row(entry):
        points = [f"{column[i]:.4f}" for column in curves.get(entry.name, ()) for i in places]
        return (entry.name, *(points or "----"), entry.range, *map("{:g}".format, entry.ulp))

    table(("activation", "f(-2)", "f(2)", "f'(-2)", "f'(2)", "range", "ULP float32", "float64"),
          map(row, ACTIVATIONS.values()))
    print()
    table(("activation", "f(x)", "f'(x), where y = f(x)"),
          ((entry.name, entry.formula, entry.derivative) for entry in ACTIVATIONS.values()))


def draw(figure, curves):
    """A panel for each: the function and its derivative."""
    figure.set_size_inches(11, 11)
    figure.set_layout_engine("none")
    axes = figure.subplots(6, 6, sharex=True, sharey=True, gridspec_kw={
        "left": 0.03, "right": 0.99, "bottom": 0.03, "top": 0.94, "hspace": 0.25}).flat
    for axis, (name, (values, slopes)) in zip(axes, curves.items(), strict=False):
        jumps = np.abs(np.diff(values)) > 0.4  # drawn with a gap
        axis.plot(X[1:], np.where(jumps, np.nan, values[1:]), color=BLUE)
        axis.plot(X[1:], np.where(np.abs(np.diff(slopes)) > 0.05, np.nan, slopes[1:]), color=RED,
                  linestyle="--", linewidth=1.2)
        axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axis.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        axis.set(title=name, ylim=(-2.2, 3.2), xticks=(-4, 0, 4))
    for axis in figure.axes[len(curves) - 6: len(curves)]:
        axis.tick_params(labelbottom=True)
    for axis in figure.axes[len(curves):]:
        axis.set_axis_off()
    figure.suptitle("Activation functions (blue) and their derivatives (red)", y=0.985)


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
