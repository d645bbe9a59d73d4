"""Imbalanced classes: one positive in twenty, with class weights so that they count alike.

::

    python -m fusedmlp.examples.imbalanced

The malignant tumours of the breast cancer data become rare, and missing one is what must not
happen.  With Keras it is the same program: only the line that imports it differs.
"""

from __future__ import annotations

import numpy as np

import fusedmlp as keras
from fusedmlp.datasets import breast_cancer


def load(share=20):
    """Standardized measurements, and 1 for malignant: one in `share` where one learns."""
    (x_train, y_train), (x_test, y_test) = breast_cancer.load_data()
    y_train, y_test = 1 - y_train, 1 - y_test  # the data set has 0 for malignant
    rare = np.flatnonzero(y_train == 1)
    kept = np.sort(np.r_[np.flatnonzero(y_train == 0), rare[: np.sum(y_train == 0) // share]])
    x_train, y_train = x_train[kept], y_train[kept]
    mean, deviation = x_train.mean(axis=0), x_train.std(axis=0)
    return (((x_train - mean) / deviation).astype("float32"), y_train.astype("float32")), (
        ((x_test - mean) / deviation).astype("float32"), y_test.astype("float32"))


def network(columns=30):
    """A compiled network with one probability."""
    model = keras.Sequential([
        keras.Input(shape=(columns,)),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ])
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy",
                  metrics=["accuracy"])
    return model


def class_weights(y):
    """Weights under which both classes count alike."""
    positive = float(np.mean(y))
    return {0: 0.5 / (1 - positive), 1: 0.5 / positive}


def train(model, data, epochs=30, weighted=True, **options):
    """Fit the network; how many of the positive and the negative it recognizes, held out."""
    (x_train, y_train), (x_test, y_test) = data
    history = model.fit(x_train, y_train, batch_size=32, epochs=epochs,
                        class_weight=class_weights(y_train) if weighted else None, **options)
    found = model.predict(x_test, verbose=0)[:, 0] > 0.5
    return {"loss": history.history["loss"][-1],
            "recall": float(np.mean(found[y_test == 1])),
            "specificity": float(np.mean(~found[y_test == 0]))}


def main():
    """Run the program."""
    data = load()
    y = data[0][1]
    print(f"{int(y.sum())} of {len(y)} to learn from are malignant")
    for weighted in (False, True):
        keras.utils.set_random_seed(1)
        result = train(network(), data, weighted=weighted, verbose=0)
        print(f"{'with' if weighted else 'without'} class weights: recognizes "
              f"{result['recall']:.1%} of the malignant, {result['specificity']:.1%} of the benign")


if __name__ == "__main__":
    main()
