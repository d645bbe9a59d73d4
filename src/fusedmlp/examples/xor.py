"""Why a perceptron fails at XOR while a network of two hidden units does not.

::

    python -m fusedmlp.examples.xor

XOR wants w . x + b > 0 at (0, 1) and (1, 0) and < 0 at (0, 0) and (1, 1).  Both pairs have the same
mean, (1/2, 1/2), where the sum would have to be above and below zero: no line does it, and
Rosenblatt's rule never ends.  Two hidden units move the points so that one line is enough: by
weights set by hand, OR and NOT AND and their AND, and by learned ones.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.examples import show

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([0.0, 1.0, 1.0, 0.0])
BY_HAND = (np.array([[1.0, -1.0], [1.0, -1.0]]), np.array([-0.5, 1.5]),  # OR and NOT AND
           np.array([[1.0], [1.0]]), np.array([-1.5]))  # their AND


def perceptron(passes=100):
    """How many of the four points are right after each pass of Rosenblatt's rule."""
    model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(fm.optimizers.SGD(1.0), loss="perceptron")
    right = []
    for _ in range(passes):
        model.fit(X, Y, batch_size=1, shuffle=False, verbose=0)
        said = fm.ops.activation(model.predict(X, verbose=0), "binary_step")[:, 0]
        right.append(int((said == Y).sum()))
    return right


def network(activation):
    """Two inputs, two hidden units, one output."""
    return fm.Sequential([fm.Input((2,)), fm.layers.Dense(2, activation=activation),
                          fm.layers.Dense(1, activation=activation)])


@show.in_float64
def compute(steps=600):
    """The perceptron's counts, and what both networks give."""
    by_hand = network("binary_step")
    by_hand.set_weights(BY_HAND)
    fm.utils.set_random_seed(8)
    learned = network("sigmoid")
    learned.compile(fm.optimizers.Adam(0.1), loss="binary_crossentropy")
    losses = learned.fit(X, Y, batch_size=4, epochs=steps, verbose=0).history["loss"]
    grid = np.stack(np.meshgrid(*[np.linspace(-0.4, 1.4, 91)] * 2), axis=-1).reshape(-1, 2)
    return {"perceptron": perceptron(), "by hand": by_hand.predict(X, verbose=0)[:, 0],
            "losses": losses, "last": learned.get_weights()[2:],
            "hidden": show.outputs(learned, X)[0], "learned": learned.predict(X, verbose=0)[:, 0],
            "grid": learned.predict(grid, verbose=0).reshape(91, 91)}


def report(numbers):
    """Print the truth table and what became of the perceptron."""
    right = numbers["perceptron"]
    print(f"perceptron: at most {max(right)} of 4 right in {len(right)} passes\n")
    show.table(("x1", "x2", "XOR", "by hand", "learned"), (
        (*map(int, x), int(y), int(a), b) for x, y, a, b in
        zip(X, Y, numbers["by hand"], numbers["learned"], strict=True)))


def draw(figure, numbers):
    """The learned output over the plane, and the four points as the hidden units see them."""
    figure.set_size_inches(9, 4)
    left, right = figure.subplots(1, 2)
    side = np.linspace(-0.4, 1.4, 91)
    shades = left.contourf(side, side, numbers["grid"], np.linspace(0, 1, 11), cmap="RdBu_r",
                           alpha=0.6)
    left.contour(side, side, numbers["grid"], [0.5], colors="black")
    figure.colorbar(shades, ax=left, label="output")
    show.draw_classes(left, X, Y)
    left.set(xlabel="$x_1$", ylabel="$x_2$", title="The plane of the inputs")
    show.draw_classes(right, numbers["hidden"], Y, ("0", "1"))
    for x, place in zip(X, numbers["hidden"], strict=True):
        right.annotate(f"({x[0]:g}, {x[1]:g})", place, xytext=(6, 6 if x[1] else -14),
                       textcoords="offset points", color=show.RED if x.sum() == 1 else show.BLUE)
    right.set(xlabel="first hidden unit", ylabel="second hidden unit", xlim=(-0.15, 1.2),
              ylim=(-0.15, 1.2), title="What the hidden units make of it")
    weights, bias = numbers["last"]
    show.draw_line(right, weights[:, 0], bias[0], color="black", label="output 1/2")
    right.legend(loc="lower right")


main = show.program(compute, report, draw)

if __name__ == "__main__":
    main()
