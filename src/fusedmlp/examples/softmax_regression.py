"""Softmax regression: one linear unit for each class, and the cross-entropy of their softmax.

::

    python -m fusedmlp.examples.softmax_regression

Ten units read a digit: each has a weight for each pixel, which can be looked at as an image.  With
the penalty |W|^2 / (2 C n) the minimum is that of scikit-learn's `LogisticRegression(C=C)`.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.datasets import digits
from fusedmlp.examples.show import in_float64, program, scikit_learn, table

C = 0.1


@in_float64
def load():
    """Pixels from 0 to 1 and digits, to learn from and held out."""
    (x, y), (x_test, y_test) = digits.load_data()
    return (x / 16, y), (x_test / 16, y_test)


@in_float64
def compute(steps=400):
    """Weights and probabilities of held-out digits, and those of scikit-learn."""
    (x, y), (x_test, y_test) = load()
    model = fm.Sequential([fm.Input((64,)), fm.layers.Dense(
        10, activation="softmax", kernel_initializer="zeros",
        kernel_regularizer=fm.regularizers.L2(1 / (2 * C * len(x))))])
    model.compile(fm.optimizers.SGD(1.0, momentum=0.95, nesterov=True),
                  loss="sparse_categorical_crossentropy")
    losses = model.fit(x, y, batch_size=len(x), epochs=steps, verbose=0).history["loss"]
    probabilities = model.predict(x_test, verbose=0)

    def peer():
        from sklearn.linear_model import LogisticRegression
        other = LogisticRegression(C=C, tol=1e-8, max_iter=10_000).fit(x, y)
        return {"weights": other.coef_.T, "probabilities": other.predict_proba(x_test)}

    return {"losses": losses, "weights": model.get_weights()[0], "probabilities": probabilities,
            "right": probabilities.argmax(axis=1) == y_test, "scikit-learn": scikit_learn(peer)}


def report(numbers):
    """Print the accuracy by digit and how close scikit-learn is."""
    _, (_, y_test) = load()
    table(("digit", "held out", "right"), (
        (str(k), int((y_test == k).sum()), int(numbers["right"][y_test == k].sum()))
        for k in range(10)))
    print(f"\nfirst loss {numbers['losses'][0]:.4f} = log 10, last {numbers['losses'][-1]:.4f}; "
          f"right {numbers['right'].mean():.1%}")
    other = numbers["scikit-learn"]
    if other is not None:
        print("largest difference from scikit-learn's "
              + ", ".join(f"{name}: {np.abs(numbers[name] - other[name]).max():.1e}"
                          for name in ("weights", "probabilities")))


def draw(figure, numbers):
    """The weights of each digit as an image."""
    figure.set_size_inches(9, 4.2)
    most = np.abs(numbers["weights"]).max()
    for k, axis in enumerate(figure.subplots(2, 5).flat):
        image = axis.imshow(numbers["weights"][:, k].reshape(8, 8), cmap="RdBu", vmin=-most,
                            vmax=most)
        axis.set(title=f"{k}", xticks=[], yticks=[], frame_on=False)
    figure.colorbar(image, ax=figure.axes, shrink=0.7,
                    label="weight: blue speaks for the digit, red against")


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
