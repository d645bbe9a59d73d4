"""Losses and their gradients: squared error, cross-entropy, and the softmax fused with it.

::

    python -m fusedmlp.examples.losses

A linear unit is to tell cars (1) from motorbikes (0) by wheels, height and weight: at zero weights
the gradient of the mean squared error is -2/n sum y x, largest in the column of large numbers.
Cross-entropy -sum p log2 q counts the bits that q needs to say what p does.  Which of both is the
truth p matters: of (0.6, 0.4) and the guess (0.9, 0.1) it is 1.42 bits, the other way around 0.80.

The softmax has the Jacobian p_i (1 - p_i), -p_i p_k; with it the gradient -y/p of the cross-entropy
becomes p - y, in which nothing can overflow.  That of (1.1, 2.2, 0.2, -1.7) is often given as
(0.224, 0.672, 0.091, 0.013); its last is 0.0136, so that the four add up to 1.
"""

import numpy as np

import fusedmlp as fm
from fusedmlp.examples import show

VEHICLES = np.array([[4, 6, 500], [4, 5.5, 600], [4, 5, 550],
                     [2, 3, 200], [2, 3.5, 150], [2, 4, 250]])
IS_CAR = np.array([1.0, 1, 1, 0, 0, 0])
TRUTH, GUESS = np.array([0.6, 0.4]), np.array([0.9, 0.1])
LOGITS = np.array([1.1, 2.2, 0.2, -1.7])
LABEL = 0


def descent(x, steps=200):
    """Gradient at zero weights, and losses of descent with half the rate at which it diverges."""
    model = fm.Sequential([fm.Input((3,)), fm.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(loss="mse")
    gradient = np.concatenate([array.ravel() for array in show.gradients(model, x, IS_CAR)])
    largest = np.linalg.norm(np.column_stack([x, np.ones(6)]), 2) ** 2 / 6
    model.compile(fm.optimizers.SGD(0.5 / largest), "mse")
    history = model.fit(x, IS_CAR, batch_size=6, epochs=steps, verbose=0).history
    return {"gradient": gradient, "losses": history["loss"]}


def bits(p, q):
    """Cross-entropy of the guess q where p is true."""
    return float(fm.losses.categorical_crossentropy(p, q)) / np.log(2)


@show.in_float64
def compute():
    """All numbers."""
    p = fm.ops.softmax(LOGITS)
    jacobian = np.array([fm.ops.activation_grad(row, "softmax", y=p) for row in np.eye(4)])
    fused_loss, fused = fm.ops.softmax_cross_entropy(LOGITS[None], np.array([LABEL]))
    return {"vehicles": {"as measured": descent(VEHICLES),
                         "standardized": descent(show.standardize(VEHICLES))},
            "bits": {"H(p, q)": bits(TRUTH, GUESS), "H(q, p)": bits(GUESS, TRUTH),
                     "H(p)": bits(TRUTH, TRUTH)},
            "softmax": p, "jacobian": jacobian, "chained": jacobian.T @ (-np.eye(4)[LABEL] / p),
            "fused loss": float(fused_loss), "fused": fused[0],
            "far": fm.ops.softmax_cross_entropy(np.array([[0.0, 2000.0]]), np.array([0]))}


def report(numbers):
    """Print all of them."""
    show.table(
        ("vehicles", "MSE", "d/d wheels", "d/d height", "d/d weight", "d/d bias", "MSE in the end"),
        ((name, row["losses"][0], *row["gradient"], row["losses"][-1])
         for name, row in numbers["vehicles"].items()))
    print(f"\np = {TRUTH}, q = {GUESS}, in bits: "
          + ", ".join(f"{name} = {value:.4f}" for name, value in numbers["bits"].items()))
    print(f"\nsoftmax of {LOGITS}: {np.round(numbers['softmax'], 4)}")
    print(f"its Jacobian:\n{np.round(numbers['jacobian'], 4)}")
    print(f"cross-entropy {numbers['fused loss']:.4f} of class {LABEL}, its gradient")
    print(f"  through the Jacobian: {np.round(numbers['chained'], 4)}")
    print(f"  fused, p - y:         {np.round(numbers['fused'], 4)}")
    print("logits (0, 2000), where p is 0: fused loss {:g}, gradient {}".format(*numbers["far"]))


def draw(figure, numbers):
    """Descent on the vehicles, cross-entropy by guess, and the Jacobian."""
    figure.set_size_inches(12, 3.8)
    left, middle, right = figure.subplots(1, 3)
    for name, row in numbers["vehicles"].items():
        left.plot(row["losses"], label=name)
    left.set(xlabel="step", ylabel="mean squared error", title="Car or motorbike", yscale="log")
    left.legend()
    q = np.linspace(0.01, 0.99, 197)
    middle.plot(q, [bits(TRUTH, np.array([v, 1 - v])) for v in q])
    for guess, color in ((TRUTH, show.GREEN), (GUESS, show.RED)):
        middle.plot(guess[0], bits(TRUTH, guess), "o", color=color,
                    label=f"({guess[0]:g}, {guess[1]:g}): {bits(TRUTH, guess):.2f}")
    middle.legend(loc="upper center")
    middle.set(xlabel="first probability of the guess q", ylabel="bits", ylim=(0, 4),
               title="Cross-entropy, truth (0.6, 0.4)")
    show.draw_matrix(right, numbers["jacobian"], "Jacobian of the softmax")


main = show.program(compute, report, draw)

if __name__ == "__main__":
    main()
