"""Structured data: columns of different kinds, prepared by layers of the model itself.

::

    python -m fusedmlp.examples.structured

Ages are put in five classes, the sexes become two columns of zeros and ones, and the eight
measurements are normalized, all by layers that learn from the data what they need; the model takes
the table as it is.  How far a disease is after a year comes out.  With Keras it is the same
program: only the line that imports it differs.
"""

from __future__ import annotations

import numpy as np

import fusedmlp as keras
from fusedmlp.datasets import diabetes

AGES = 5  # classes, each with a fifth of the patients
MEASURED = diabetes.FEATURE_NAMES[2:]


def load():
    """Dicts of columns, and targets, to learn from and held out."""
    def named(x, y):
        columns = {name: x[:, [i]] for i, name in enumerate(diabetes.FEATURE_NAMES[:2])}
        columns["measured"] = x[:, 2:]
        return columns, (y / 100).astype("float32")

    train, test = diabetes.load_data()
    return named(*train), named(*test)


def network():
    """A compiled model, adapted to the data that is learned from."""
    (columns, _), _ = load()
    age = keras.Input(shape=(1,), name="age")
    sex = keras.Input(shape=(1,), name="sex")
    measured = keras.Input(shape=(len(MEASURED),), name="measured")

    fifths = np.quantile(columns["age"], np.linspace(0, 1, AGES + 1)[1:-1]).tolist()
    classes = keras.layers.Discretization(bin_boundaries=fifths)(age)
    classes = keras.layers.CategoryEncoding(num_tokens=AGES, output_mode="one_hot")(classes)
    sexes = keras.layers.Rescaling(scale=1.0, offset=-1.0)(sex)  # 1 and 2 in the data
    sexes = keras.layers.CategoryEncoding(num_tokens=2, output_mode="one_hot")(sexes)
    normalization = keras.layers.Normalization()
    normalization.adapt(columns["measured"])

    features = keras.layers.concatenate([classes, sexes, normalization(measured)])
    hidden = keras.layers.Dense(32, activation="relu")(features)
    hidden = keras.layers.Dense(16, activation="relu")(hidden)
    progression = keras.layers.Dense(1, name="progression")(hidden)
    model = keras.Model(inputs=[age, sex, measured], outputs=progression)
    model.compile(optimizer=keras.optimizers.Adam(0.005), loss="mse", metrics=["mae"])
    return model


def train(model, data, epochs=40, **options):
    """Fit the network; what it reaches on the patients held out."""
    (x_train, y_train), (x_test, y_test) = data
    model.fit(x_train, y_train, epochs=epochs, batch_size=32, **options)
    return model.evaluate(x_test, y_test, verbose=0, return_dict=True)


def main():
    """Run the program."""
    keras.utils.set_random_seed(1)
    data = load()
    model = network()
    result = train(model, data, verbose=0)
    print(f"Mean error on patients held out: {100 * result['mae']:.1f} of 25 to 346")
    patient = {"age": 60.0, "sex": 1.0, "measured": [[28.0, 90.0, 180, 100, 50, 4, 4.8, 90]]}
    told = model.predict({name: np.reshape(np.asarray(value, "float32"), (1, -1))
                          for name, value in patient.items()}, verbose=0)
    print(f"Expected for a patient of 60: {100 * told[0, 0]:.0f}")


if __name__ == "__main__":
    main()
