"""What hidden layers make of their input: a network of digits, layer by layer.

::

    python -m fusedmlp.examples.representation

Each layer moves the digits so that those of a class come together.  How far is told by the share of
the variance that lies between the means of the classes, 1 where each class is one point, and by how
many held-out digits are nearest to the mean of their own class.  The picture shows the plane of
largest variance of each layer, and what the units of the first layer look for.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import in_float64, outputs, program, table
from fusedmlp.examples.softmax_regression import load

LAYERS = ("pixels", "hidden 1", "hidden 2", "hidden 3", "output")


def between(x, y):
    """The share of the variance of x that lies between the classes of y."""
    means = np.array([x[y == k].mean(axis=0) for k in range(10)])
    return np.sum((means[y] - x.mean(axis=0)) ** 2) / np.sum((x - x.mean(axis=0)) ** 2)


def nearest(x, y, x_test, y_test):
    """The share of test rows that lie nearest to the mean of their class."""
    means = np.array([x[y == k].mean(axis=0) for k in range(10)])
    distances = ((x_test[:, None, :] - means) ** 2).sum(axis=-1)
    return np.mean(distances.argmin(axis=1) == y_test)


def plane(x):
    """Coordinates in the plane of largest variance."""
    centred = x - x.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return centred @ directions[:2].T


@in_float64
def compute(epochs=30):
    """By layer the two shares and the plane of held-out digits; the first weights."""
    (x, y), (x_test, y_test) = load()
    fm.utils.set_random_seed(1)
    hidden = [fm.layers.Dense(32, activation="tanh", kernel_regularizer=fm.regularizers.L2(1e-3))
              for _ in range(3)]
    model = fm.Sequential([fm.Input((64,)), *hidden, fm.layers.Dense(10, activation="softmax")])
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)
    numbers = {"layers": {}, "weights": model.get_weights()[0], "labels": y_test,
               "accuracy": model.evaluate(x_test, y_test, verbose=0)[1]}
    for name, seen, test in zip(LAYERS, (x, *outputs(model, x)), (x_test, *outputs(model, x_test)),
                                strict=True):
        numbers["layers"][name] = {"between": between(test, y_test), "plane": plane(test),
                                   "nearest": nearest(seen, y, test, y_test)}
    return numbers


def report(numbers):
    """Print both shares by layer."""
    table(("layer", "variance between classes", "nearest to the mean of its class"), (
        (name, f"{row['between']:.1%}", f"{row['nearest']:.1%}")
        for name, row in numbers["layers"].items()))
    print(f"\nthe network itself reads {numbers['accuracy']:.1%} right")


def draw(figure, numbers):
    """The planes of the layers above, the weights of the first below."""
    figure.set_size_inches(12, 6)
    above, below = figure.subfigures(2, 1, height_ratios=(3, 2))
    above.suptitle("Held-out digits in the plane of largest variance, "
                   "and the share of the variance between classes")
    for axis, (name, row) in zip(above.subplots(1, 5), numbers["layers"].items(), strict=True):
        points = axis.scatter(*row["plane"].T, c=numbers["labels"], cmap="tab10", vmin=-0.5,
                              vmax=9.5, s=7)
        axis.set(title=f"{name}: {row['between']:.0%}", xticks=[], yticks=[])
    above.colorbar(points, ax=above.axes, ticks=range(10), label="digit", aspect=30)
    below.suptitle("What the 32 units of the first layer look for (blue: ink, red: none)")
    most = np.abs(numbers["weights"]).max()
    for axis, weights in zip(below.subplots(2, 16).flat, numbers["weights"].T, strict=True):
        axis.imshow(weights.reshape(8, 8), cmap="RdBu", vmin=-most, vmax=most)
        axis.set_axis_off()


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
