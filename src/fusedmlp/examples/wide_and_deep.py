"""Wide and deep: a linear model of crossed columns and a deep network, learned together.

::

    python -m fusedmlp.examples.wide_and_deep

The wide part sees which fifth of its values each of five measurements lies in, and each pair of
them, as zeros and ones; the deep part sees the measurements themselves (Cheng et al. (2016),
arXiv:1606.07792).  With Keras it is the same program: only the line that imports it differs.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

import fusedmlp as keras
from fusedmlp.datasets import breast_cancer

PARTS = 5
CHOSEN = (0, 1, 4, 6, 7)  # radius, texture, smoothness, concavity, concave points


def crossed(x, edges):
    """Zeros and ones: the part that each chosen column lies in, and each pair of neighbours."""
    parts = [np.digitize(x[:, column], edges[column]) for column in CHOSEN]
    single = [np.eye(PARTS, dtype="float32")[part] for part in parts]
    pairs = [np.eye(PARTS * PARTS, dtype="float32")[PARTS * a + b]
             for a, b in pairwise(parts)]
    return np.concatenate(single + pairs, axis=1)


def load():
    """Dicts of inputs, and targets, to learn from and held out."""
    (x_train, y_train), (x_test, y_test) = breast_cancer.load_data()
    edges = np.quantile(x_train, np.linspace(0, 1, PARTS + 1)[1:-1], axis=0).T
    mean, deviation = x_train.mean(axis=0), x_train.std(axis=0)

    def named(x):
        return {"wide": crossed(x, edges), "deep": ((x - mean) / deviation).astype("float32")}

    return (named(x_train), y_train.astype("float32")), (named(x_test), y_test.astype("float32"))


def network(columns=30):
    """A compiled model."""
    wide = keras.Input(shape=(len(CHOSEN) * PARTS + (len(CHOSEN) - 1) * PARTS * PARTS,),
                       name="wide")
    deep = keras.Input(shape=(columns,), name="deep")
    hidden = keras.layers.Dense(64, activation="relu")(deep)
    hidden = keras.layers.Dropout(0.3)(hidden)
    hidden = keras.layers.Dense(32, activation="relu")(hidden)
    merged = keras.layers.concatenate([wide, hidden])
    benign = keras.layers.Dense(1, activation="sigmoid", name="benign")(merged)
    model = keras.Model(inputs=[wide, deep], outputs=benign)
    model.compile(optimizer=keras.optimizers.Adam(0.002), loss="binary_crossentropy",
                  metrics=["accuracy"])
    return model


def train(model, data, epochs=20, **options):
    """Fit the network; what it reaches on the data held out."""
    (x_train, y_train), (x_test, y_test) = data
    model.fit(x_train, y_train, epochs=epochs, batch_size=32, **options)
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    return {"loss": loss, "accuracy": accuracy}


def main():
    """Run the program."""
    keras.utils.set_random_seed(1)
    result = train(network(), load(), verbose=0)
    print(f"Test accuracy: {result['accuracy']:.4f}")


if __name__ == "__main__":
    main()
