"""Several inputs and several outputs: a functional model of two parts of a digit and two questions.

::

    python -m fusedmlp.examples.several

The upper and the lower half of the image go in separately; which digit it is and whether it is odd
come out, each with a loss and a weight of its own.  With Keras it is the same program: only the
line that imports it differs.
"""

from __future__ import annotations

import fusedmlp as keras
from fusedmlp.datasets import digits


def load():
    """Dicts of inputs and of targets by their names, to learn from and held out."""
    def named(x, y):
        x = x.astype("float32") / 16
        return ({"upper": x[:, :32], "lower": x[:, 32:]},
                {"digit": y, "odd": (y % 2).astype("float32")})

    train, test = digits.load_data()
    return named(*train), named(*test)


def network():
    """A compiled model."""
    upper = keras.Input(shape=(32,), name="upper")
    lower = keras.Input(shape=(32,), name="lower")
    above = keras.layers.Dense(32, activation="relu")(upper)
    below = keras.layers.Dense(32, activation="relu")(lower)
    both = keras.layers.concatenate([above, below])
    both = keras.layers.Dense(64, activation="relu")(both)
    digit = keras.layers.Dense(10, activation="softmax", name="digit")(both)
    odd = keras.layers.Dense(1, activation="sigmoid", name="odd")(both)

    model = keras.Model(inputs=[upper, lower], outputs={"digit": digit, "odd": odd})
    model.compile(
        optimizer="adam",
        loss={"digit": "sparse_categorical_crossentropy", "odd": "binary_crossentropy"},
        loss_weights={"digit": 1.0, "odd": 0.5},
        metrics={"digit": ["accuracy"], "odd": ["accuracy"]},
    )
    return model


def train(model, data, epochs=20, **options):
    """Fit the network; what it reaches on the data held out."""
    (x_train, y_train), (x_test, y_test) = data
    model.fit(x_train, y_train, epochs=epochs, batch_size=32, **options)
    return model.evaluate(x_test, y_test, verbose=0, return_dict=True)


def main():
    """Run the program."""
    keras.utils.set_random_seed(1)
    result = train(network(), load(), verbose=0)
    for name, value in result.items():
        print(f"{name}: {value:.4f}")


if __name__ == "__main__":
    main()
