"""Gradients through ten layers: where they vanish or explode, and what changes that.

::

    python -m fusedmlp.examples.deep_chain

On its way back each layer multiplies the gradient by its weights and by the derivative of its
activation, at most 1/4 for the sigmoid.  Ten such factors decide whether the first layer learns:
weights that are too large or too small compound; an initialisation made for the activation keeps
the size; normalization of every layer makes up for weights of the wrong size.  Neither is enough
for the sigmoid.  Shown is the gradient by the sums of each layer, which for one row of data is
that by its biases.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import gradients, in_float64, program, table

LAYERS, WIDTH = 10, 128
MADE_FOR = {"sigmoid": "glorot_normal", "tanh": "glorot_normal", "relu": "he_normal",
            "elu": "he_normal", "selu": "lecun_normal"}
SETTINGS = {"variance 1/(4n)": (0.5, False), "variance 9/n": (3.0, False),
            "made for the activation": (None, False), "9/n, and normalization": (3.0, True)}


def network(activation, scale, normalized):
    """Ten layers and an output; `scale` is the deviation of weights times sqrt(n)."""
    kernel = MADE_FOR[activation] if scale is None else fm.initializers.RandomNormal(
        stddev=scale / WIDTH**0.5)
    model = fm.Sequential([fm.Input((WIDTH,))])
    for _ in range(LAYERS):
        model.add(fm.layers.Dense(WIDTH, kernel_initializer=kernel))
        if normalized:
            model.add(fm.layers.LayerNormalization())
        model.add(fm.layers.Activation(activation))
    model.add(fm.layers.Dense(1))
    model.compile(loss="mse")
    return model


@in_float64
def compute():
    """By setting and activation the norm of the gradient at each layer, that of the tenth as 1."""
    random = np.random.default_rng(0)
    x, y = random.standard_normal((1, WIDTH)), np.array([[5.0]])
    numbers = {}
    for setting, (scale, normalized) in SETTINGS.items():
        for activation in MADE_FOR:
            fm.utils.set_random_seed(1)
            model = network(activation, scale, normalized)
            biases = [variable.name == "bias" for variable in model.trainable_variables]
            norms = np.array([np.linalg.norm(found) for found, is_bias in zip(
                gradients(model, x, y), biases, strict=True) if is_bias][:LAYERS])
            numbers.setdefault(setting, {})[activation] = norms / norms[-1]
    return numbers


def report(numbers):
    """Print how many times as long the gradient of the first layer is as that of the tenth."""
    print("Norm of the gradient at the first layer / at the tenth")
    table(("weights", *MADE_FOR), ((setting, *(f"{norms[0]:.1e}" for norms in row.values()))
                            for setting, row in numbers.items()))


def draw(figure, numbers):
    """The norms by layer, a panel for each setting."""
    figure.set_size_inches(11, 3.6)
    for axis, (setting, row) in zip(figure.subplots(1, 4, sharey=True), numbers.items(),
                                    strict=True):
        for activation, norms in row.items():
            axis.plot(range(1, LAYERS + 1), norms, "o-", markersize=3, label=activation)
        axis.set(title=setting, xlabel="layer", yscale="log", xticks=(1, 4, 7, 10))
    figure.axes[0].set_ylabel("gradient, relative to the tenth layer's")
    figure.axes[2].legend(loc="lower right")


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
