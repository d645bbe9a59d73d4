"""An autoencoder of digits: 64 pixels through 8 numbers and back, encoder and decoder of their own.

::

    python -m fusedmlp.examples.autoencoder

With Keras it is the same program: only the line that imports it differs.
"""

from __future__ import annotations

import numpy as np

import fusedmlp as keras
from fusedmlp.datasets import digits


def load():
    """Pixels from 0 to 1, to learn from and held out."""
    (x_train, _), (x_test, _) = digits.load_data()
    return x_train.astype("float32") / 16, x_test.astype("float32") / 16


def network(code=8):
    """A compiled autoencoder; its layers "encoder" and "decoder" are models of their own."""
    pixels = keras.Input(shape=(64,), name="pixels")
    hidden = keras.layers.Dense(32, activation="relu")(pixels)
    encoder = keras.Model(pixels, keras.layers.Dense(code)(hidden), name="encoder")

    numbers = keras.Input(shape=(code,), name="numbers")
    hidden = keras.layers.Dense(32, activation="relu")(numbers)
    decoder = keras.Model(numbers, keras.layers.Dense(64, activation="sigmoid")(hidden),
                          name="decoder")

    model = keras.Model(pixels, decoder(encoder(pixels)), name="autoencoder")
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.003), loss="binary_crossentropy",
                  metrics=["mse"])
    return model


def train(model, data, epochs=40, **options):
    """Fit the network to give back what it is given; what it reaches on the data held out."""
    x_train, x_test = data
    model.fit(x_train, x_train, batch_size=64, epochs=epochs, validation_data=(x_test, x_test),
              **options)
    loss, error = model.evaluate(x_test, x_test, verbose=0)
    return {"loss": loss, "mse": error}


def main():
    """Run the program."""
    keras.utils.set_random_seed(1)
    data = load()
    model = network()
    result = train(model, data, verbose=0)
    constant = np.mean((data[1] - data[0].mean(axis=0)) ** 2)
    codes = model.get_layer("encoder").predict(data[1], verbose=0)
    print(f"Mean squared error of pixels: {result['mse']:.4f} (of the mean image {constant:.4f})\n"
          f"Codes: {codes.shape}, from {codes.min():.1f} to {codes.max():.1f}")


if __name__ == "__main__":
    main()
