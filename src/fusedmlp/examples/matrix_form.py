"""A network is a product of matrices: three inputs, four hidden units, two outputs, no biases.

::

    python -m fusedmlp.examples.matrix_form

With the weights W (3, 4) and V (4, 2) and the sigmoid s of each element, it gives s(s(x^T W) V).
For x = (1, 0, 1) the product x^T W is the sum of the first and the third row of W.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import draw_matrix, draw_network, in_float64, outputs, program

X = np.array([1.0, 0.0, 1.0])
W = np.array([[0.2, -0.5, 0.1, 1.0],
              [0.7, 0.3, -0.9, 0.4],
              [0.6, 0.8, -1.1, -0.3]])
V = np.array([[1.0, -0.6],
              [-0.4, 0.9],
              [0.5, 0.2],
              [-1.2, 0.7]])


def s(z):
    """The sigmoid function of each element."""
    return 1 / (1 + np.exp(-z))


@in_float64
def compute():
    """The hidden units and the outputs, by hand and by the model."""
    hidden = s(X @ W)
    model = fm.Sequential([
        fm.Input((3,)),
        fm.layers.Dense(4, activation="sigmoid", use_bias=False),
        fm.layers.Dense(2, activation="sigmoid", use_bias=False),
    ])
    model.set_weights([W, V])
    return {"sum": X @ W, "hidden": hidden, "output": s(hidden @ V),
            "model": [layer[0] for layer in outputs(model, X[None])]}


def report(numbers):
    """Print each product."""
    print(f"x^T            = {X}")
    print(f"W              =\n{W}\nV              =\n{V}\n")
    print(f"x^T W          = {numbers['sum']}  (first row of W + third row)")
    print(f"s(x^T W)       = {numbers['hidden']}\ns(s(x^T W) V)  = {numbers['output']}")
    print(f"by the model   = {numbers['model'][1]}")
    difference = np.abs(numbers["output"] - numbers["model"][1]).max()
    print(f"largest difference {difference:.1e}")


def draw(figure, numbers):
    """The network over its two matrices."""
    figure.set_size_inches(8, 6)
    above, below = figure.subfigures(2, 1, height_ratios=(5, 3))
    draw_network(above.subplots(), [X, *numbers["model"]], (), ("x", "s(xᵀW)", "s(s(xᵀW) V)"))
    for axis, matrix, name in zip(below.subplots(1, 2, width_ratios=(4, 2)), (W, V), "WV",
                                  strict=True):
        draw_matrix(axis, matrix, f"${name}$", 2.5)


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
