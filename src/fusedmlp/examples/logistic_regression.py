"""Logistic regression: a sigmoid unit and the binary cross-entropy.

::

    python -m fusedmlp.examples.logistic_regression

Is a tumour benign?  The unit gives a probability; its loss is the mean of -log of the probability
given to what is true.  With the penalty |w|^2 / (2 C n) it has the minimum of scikit-learn's
`LogisticRegression(C=C)`.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.datasets import breast_cancer
from fusedmlp.examples import show

C = 1.0


@show.in_float64
def load():
    """Standardized measurements, and 1 for benign, to learn from and held out."""
    (x, y), (x_test, y_test) = breast_cancer.load_data()
    x, x_test = show.standardize(x, x_test)
    return (x, y), (x_test, y_test)


@show.in_float64
def compute(steps=800):
    """Weights and probabilities of held-out tumours, and those of scikit-learn."""
    (x, y), (x_test, y_test) = load()
    model = fm.Sequential([fm.Input((30,)), fm.layers.Dense(
        1, activation="sigmoid", kernel_initializer="zeros",
        kernel_regularizer=fm.regularizers.L2(1 / (2 * C * len(x))))])
    model.compile(fm.optimizers.SGD(1.0, momentum=0.9, nesterov=True), loss="binary_crossentropy")
    losses = model.fit(x, y, batch_size=len(x), epochs=steps, verbose=0).history["loss"]
    kernel, bias = model.get_weights()
    probabilities = model.predict(x_test, verbose=0)[:, 0]

    def peer():
        from sklearn.linear_model import LogisticRegression
        other = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(x, y)
        return {"weights": other.coef_[0], "bias": other.intercept_[0],
                "probabilities": other.predict_proba(x_test)[:, 1]}

    return {"losses": losses, "weights": kernel[:, 0], "bias": bias[0],
            "logits": (x_test @ kernel + bias)[:, 0], "probabilities": probabilities,
            "accuracy": np.mean((probabilities > 0.5) == y_test),
            "scikit-learn": show.scikit_learn(peer)}


def report(numbers):
    """Print the largest weights side by side, and the accuracy."""
    other = numbers["scikit-learn"]
    columns = [numbers] + [other] * (other is not None)
    largest = np.argsort(-np.abs(numbers["weights"]))[:8]
    show.table(("largest weights", "fusedmlp", "scikit-learn")[:1 + len(columns)], [
        *((breast_cancer.FEATURE_NAMES[i], *(column["weights"][i] for column in columns))
          for i in largest), ("bias", *(column["bias"] for column in columns))], 6)
    print(f"\nright of {len(numbers['logits'])} held-out tumours: {numbers['accuracy']:.1%}")
    if other is not None:
        difference = np.abs(numbers["probabilities"] - other["probabilities"]).max()
        print(f"largest difference of a probability from scikit-learn's: {difference:.1e}")


def draw(figure, numbers):
    """Each held-out tumour at its sum, on the sigmoid, with what it is."""
    figure.set_size_inches(8, 4)
    axis = figure.subplots()
    z = np.linspace(-12, 12, 481)
    axis.plot(z, fm.ops.activation(z, "sigmoid"), color=show.GREY, zorder=1,
              label=r"$1 / (1 + e^{-z})$")
    _, (_, y_test) = load()
    for value, color, name in ((0, show.RED, "malignant"), (1, show.BLUE, "benign")):
        chosen = (y_test == value) & (np.abs(numbers["logits"]) < 12)
        axis.plot(numbers["logits"][chosen], numbers["probabilities"][chosen], "o", color=color,
                  markersize=5, alpha=0.7, label=name)
    axis.axvline(0, color="0.8", linewidth=1, zorder=0)
    axis.axhline(0.5, color="0.8", linewidth=1, zorder=0)
    axis.set(xlabel="z = w·x + b", ylabel="probability of benign", xlim=(-12, 12))
    axis.legend(loc="upper left")


main = show.program(compute, report, draw)

if __name__ == "__main__":
    main()
