"""Learn to read handwritten digits, check how well, and show how long it took.

::

    python -m fusedmlp.examples.digits

A network with one hidden layer is trained on three quarters of 1797 real digits and asked for the
others.  Then the same network is trained twice more without a progress bar, with the backend in
use and with plain NumPy, to compare their times.  The program ends with an error unless at least
97 % of the digits that it has not seen are read right; with fewer epochs than by default it only
says how many.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import fusedmlp as fm

REQUIRED = 0.97
HIDDEN = 256
EPOCHS = 60


def load():
    """The digits with pixels from 0 to 1."""
    (x_train, y_train), (x_test, y_test) = fm.datasets.digits.load_data()
    return (x_train / 16, y_train), (x_test / 16, y_test)


def network(seed):
    """A network that is ready to be trained; the same one for the same seed."""
    fm.utils.set_random_seed(seed)
    model = fm.Sequential([
        fm.Input((64,)),
        fm.layers.Dense(HIDDEN, activation="relu"),
        fm.layers.Dropout(0.4),
        fm.layers.Dense(10, activation="softmax"),
    ])
    model.compile(
        optimizer=fm.optimizers.AdamW(0.002, weight_decay=0.05),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def seconds_per_epoch(backend, x, y, options):
    """Train a new network with a backend; returns the time of an epoch and the last loss."""
    before = fm.config.backend()
    fm.config.set_backend(backend)
    try:
        network(options.seed).fit(x, y, batch_size=options.batch_size, verbose=0)  # warms up
        model = network(options.seed)
        start = time.perf_counter()
        history = model.fit(x, y, batch_size=options.batch_size, epochs=options.epochs, verbose=0)
        return (time.perf_counter() - start) / options.epochs, history.history["loss"][-1]
    finally:
        fm.config.set_backend(before)


def compare(x, y, options):
    """Print the times of the backend in use and of plain NumPy for the same work."""
    in_use = fm.config.backend()
    times = {}
    print(f"\nThe same {options.epochs} epochs without progress bar and validation:")
    for backend in dict.fromkeys((in_use, "numpy")):
        times[backend], loss = seconds_per_epoch(backend, x, y, options)
        print(f"  {backend:8} {1e3 * times[backend]:9.3f} ms per epoch "
              f"{len(x) / times[backend]:12,.0f} samples per second   last loss {loss:.4f}")
    if in_use != "numpy":
        print(f"  {in_use} is {times['numpy'] / times[in_use]:.1f} times as fast as numpy")
        return
    print("  There is no other to compare it with:")
    for entry in fm.config.info()["backends"]:
        if entry["name"] != "numpy":
            print(f"  {entry['name']:8} {entry.get('reason', 'available, but not chosen')}")


def draw(history, x, y, scores, path):
    """Write learning curves and the least certain predictions as a picture; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    curves, images = figure.subfigures(2, 1, height_ratios=(3, 2))
    axes = curves.subplots(1, 2)
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        epochs = range(1, len(history[name]) + 1)
        axis.plot(epochs, history[name], label="training, with dropout")
        axis.plot(epochs, history[f"val_{name}"], label="held-out quarter")
        axis.set(xlabel="epoch", ylabel=name)
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_yscale("log")
    images.suptitle("Digits that the network is least certain of (wrong ones in red)")
    least = scores.max(axis=1).argsort()[:20]
    for axis, i in zip(images.subplots(2, 10).flat, least, strict=False):
        read, certainty = scores[i].argmax(), scores[i].max()
        axis.imshow(x[i].reshape(8, 8), cmap="gray_r")
        axis.set_title(f"{y[i]} read as {read}\n{certainty:.0%}", fontsize=8,
                       color="black" if read == y[i] else "red")
        axis.set_axis_off()
    figure.savefig(path, dpi=100)


def has_matplotlib():
    """Whether a picture can be drawn."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def parse(argv):
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m fusedmlp.examples.digits",
                                     description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("digits.png"),
                        help="where the picture goes (default: %(default)s)")
    options = parser.parse_args(argv)
    if options.epochs < 1 or options.batch_size < 1:
        parser.error("--epochs and --batch-size must be at least 1")
    if not 0 <= options.seed < 2**32:
        parser.error("--seed must be from 0 to 2**32 - 1")
    if not options.output.resolve().parent.is_dir():
        parser.error(f"--output must lie in a folder that exists, not {options.output}")
    return options


def main(argv=None) -> int:
    """Run the example; returns the exit status, 1 where too few digits were read right."""
    options = parse(argv)
    (x_train, y_train), (x_test, y_test) = load()
    backend, isa = fm.config.backend(), fm.config.instruction_set()
    print(f"fusedmlp {fm.__version__}, backend {backend}"
          + (f" ({isa})" if isa else "") + f", up to {fm.config.threads()} threads")
    print(f"{len(x_train)} digits to learn from, {len(x_test)} held out\n")
    model = network(options.seed)
    model.summary()
    print()

    start = time.perf_counter()
    history = model.fit(x_train, y_train, batch_size=options.batch_size, epochs=options.epochs,
                        validation_data=(x_test, y_test)).history
    taken = time.perf_counter() - start
    print(f"Trained {options.epochs} epochs in {taken:.2f} s, with validation: "
          f"{1e3 * taken / options.epochs:.2f} ms per epoch, "
          f"{options.epochs * len(x_train) / taken:,.0f} samples per second")

    scores = model.predict(x_test, verbose=0)
    right = int((scores.argmax(axis=1) == y_test).sum())
    accuracy = right / len(y_test)
    print(f"Read {right} of {len(y_test)} held-out digits right: {accuracy:.2%}")

    compare(x_train, y_train, options)

    if has_matplotlib():
        draw(history, x_test, y_test, scores, options.output)
        print(f"\nPicture of learning curves and predictions: {options.output.resolve()}")
    else:
        print("\nNo picture without matplotlib: pip install 'fusedmlp[plot]'")
    if accuracy < REQUIRED and options.epochs >= EPOCHS:
        print(f"Error: at least {REQUIRED:.0%} were expected", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
