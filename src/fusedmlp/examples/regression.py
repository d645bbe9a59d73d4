"""Regression with standardized columns: the progress of diabetes, with early stopping.

::

    python -m fusedmlp.examples.regression

With Keras it is the same program: only the line that imports it differs.
"""

from __future__ import annotations

import fusedmlp as keras
from fusedmlp.datasets import diabetes


def load():
    """Standardized measurements and the targets as they are, to learn from and held out."""
    (x_train, y_train), (x_test, y_test) = diabetes.load_data()
    mean, deviation = x_train.mean(axis=0), x_train.std(axis=0)
    return (((x_train - mean) / deviation).astype("float32"), y_train.astype("float32")), (
        ((x_test - mean) / deviation).astype("float32"), y_test.astype("float32"))


def network(columns=10):
    """A compiled network with one number."""
    model = keras.Sequential([
        keras.Input(shape=(columns,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(1),
    ])
    model.compile(loss="mean_absolute_error", optimizer=keras.optimizers.Adam(0.001),
                  metrics=["mean_squared_error"])
    return model


def train(model, data, epochs=200, **options):
    """Fit the network until it gets no better; what it reaches on the data held out."""
    (x_train, y_train), (x_test, y_test) = data
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=10,
                                         restore_best_weights=True)
    history = model.fit(x_train, y_train, validation_split=0.2, epochs=epochs, callbacks=[stop],
                        **options)
    error, square = model.evaluate(x_test, y_test, verbose=0)
    return {"loss": error, "mean_squared_error": square, "epochs": len(history.history["loss"])}


def main():
    """Run the program."""
    keras.utils.set_random_seed(1)
    data = load()
    result = train(network(), data, verbose=0)
    (_, y_train), (_, y_test) = data
    print(f"Mean absolute error after {result['epochs']} epochs: {result['loss']:.1f} "
          f"(of the mean {abs(y_test - y_train.mean()).mean():.1f})")


if __name__ == "__main__":
    main()
