"""The stack of dense layers that every tutorial begins with, on the digits that ship.

::

    python -m fusedmlp.examples.mnist_style

With Keras it is the same program: only the line that imports it differs.
"""

from __future__ import annotations

import fusedmlp as keras
from fusedmlp.datasets import digits


def load():
    """Pixels from 0 to 1 and one-hot classes, to learn from and held out."""
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    x_train, x_test = x_train.astype("float32") / 16, x_test.astype("float32") / 16
    y_train = keras.utils.to_categorical(y_train, 10)
    y_test = keras.utils.to_categorical(y_test, 10)
    return (x_train, y_train), (x_test, y_test)


def network():
    """A compiled network."""
    model = keras.Sequential([
        keras.Input(shape=(64,)),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(10, activation="softmax"),
    ])
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def train(model, data, epochs=30, **options):
    """Fit the network; what it reaches on the data held out."""
    (x_train, y_train), (x_test, y_test) = data
    model.fit(x_train, y_train, batch_size=32, epochs=epochs, validation_split=0.1, **options)
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    return {"loss": loss, "accuracy": accuracy}


def main():
    """Run the program."""
    keras.utils.set_random_seed(1)
    model = network()
    model.summary()
    result = train(model, load(), verbose=0)
    print(f"Test loss: {result['loss']:.4f}\nTest accuracy: {result['accuracy']:.4f}")


if __name__ == "__main__":
    main()
