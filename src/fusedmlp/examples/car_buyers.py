"""What weights say about the importance of a feature: income, age and shoes of car buyers.

::

    python -m fusedmlp.examples.car_buyers

People are drawn at random; whether they buy depends on income, age and the way to work by weights
that are known here, and on the size of their shoes not at all.  One sigmoid unit learns it.  Its
weights compare features only where these have the same scale: by the euro, income looks like
nothing.  Permuting a column and seeing how much worse the loss gets says the same
without reading weights.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.examples.show import BLUE, GREY, in_float64, program, standardize, table

PEOPLE = 4000
NAMES = ("income (euros)", "age (years)", "way to work (km)", "shoe size")
TRUE_WEIGHTS, TRUE_BIAS = np.array([2.0, -0.8, 1.2, 0.0]), -0.5  # of standardized columns


def people(seed=0):
    """Features in their units, and 1 for those who buy."""
    random = np.random.default_rng(seed)
    x = np.column_stack([random.normal(35_000, 12_000, PEOPLE), random.uniform(18, 80, PEOPLE),
                         random.exponential(15, PEOPLE), random.normal(41, 2.5, PEOPLE)])
    chance = 1 / (1 + np.exp(-(standardize(x) @ TRUE_WEIGHTS + TRUE_BIAS)))
    return x, (random.random(PEOPLE) < chance).astype(float)


@in_float64
def compute(steps=200):
    """Weights by standard deviation and by unit, and what permuting each column costs."""
    x, y = people()
    scaled = standardize(x)
    model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(1, activation="sigmoid",
                                                           kernel_initializer="zeros")])
    model.compile(fm.optimizers.SGD(1.0, momentum=0.9), "binary_crossentropy",
                  metrics=["accuracy"])
    model.fit(scaled, y, batch_size=PEOPLE, epochs=steps, verbose=0)
    kernel, bias = model.get_weights()
    loss, accuracy = model.evaluate(scaled, y, verbose=0)
    random, costs = np.random.default_rng(1), []
    for column in range(4):
        shuffled = scaled.copy()
        shuffled[:, column] = random.permutation(scaled[:, column])
        costs.append(model.evaluate(shuffled, y, verbose=0)[0] - loss)
    p = model.predict(scaled, verbose=0)
    ones = np.column_stack([scaled, np.ones(PEOPLE)])
    errors = np.sqrt(np.diag(np.linalg.inv((ones * p * (1 - p)).T @ ones)))  # Fisher information
    return {"weights": kernel[:, 0], "bias": bias[0], "errors": errors, "loss": loss,
            "accuracy": accuracy, "by unit": kernel[:, 0] / x.std(axis=0), "costs": costs}


def report(numbers):
    """Print the weights beside the true ones."""
    table(("feature", "true weight", "learned", "standard error", "weight per unit",
           "loss if permuted"), (
        (name, TRUE_WEIGHTS[i], numbers["weights"][i], numbers["errors"][i], numbers["by unit"][i],
         f"{numbers['costs'][i]:+.4f}") for i, name in enumerate(NAMES)))
    print(f"\nbias {numbers['bias']:.4f} (true {TRUE_BIAS}), loss {numbers['loss']:.4f}, "
          f"right {numbers['accuracy']:.1%}")


def draw(figure, numbers):
    """Three answers to which feature matters."""
    figure.set_size_inches(11, 3.2)
    axes = figure.subplots(1, 3, sharey=True)
    names = [name.split(" (")[0] for name in NAMES]
    error = 2 * numbers["errors"][:4]
    axes[0].barh(names, numbers["weights"], color=BLUE, xerr=error, ecolor=GREY)
    axes[0].plot(TRUE_WEIGHTS, names, "k|", markersize=18, label="true")
    axes[0].legend(loc="lower right")
    axes[1].barh(names, numbers["by unit"], color=BLUE)
    axes[2].barh(names, numbers["costs"], color=BLUE)
    axes[1].locator_params(axis="x", nbins=4)
    titles = ("weight per standard deviation", "weight per unit: misleading",
              "loss gained by permuting the column")
    for axis, title in zip(axes, titles, strict=True):
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_title(title)
    axes[0].invert_yaxis()


main = program(compute, report, draw)

if __name__ == "__main__":
    main()
