"""What the programs share: float64, gradients, tables of numbers, pictures and their style.

It is no program itself.  Matplotlib is imported only where a picture is drawn.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import fusedmlp as fm

BLUE, RED, GREEN, ORANGE, GREY = "#2a5d9f", "#b8322a", "#3b7d3b", "#d07a1c", "#8a8a8a"
STYLE = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11,
    "axes.labelsize": 10, "font.size": 10, "legend.frameon": False, "legend.fontsize": 9,
    "lines.linewidth": 1.6, "mathtext.fontset": "cm", "figure.titlesize": 12,
    "axes.prop_cycle": f"cycler('color', {[BLUE, RED, GREEN, ORANGE, '#6d4a94', GREY]})",
}


def in_float64(function: Callable) -> Callable:
    """The function with float64 as the dtype of data and layers, in which NumPy computes, too."""
    @functools.wraps(function)
    def inner(*args, **kwargs):
        before = fm.config.floatx()
        fm.config.set_floatx("float64")
        try:
            return function(*args, **kwargs)
        finally:
            fm.config.set_floatx(before)
    return inner


def gradients(model: Any, x, y) -> list[np.ndarray]:
    """What the library takes as gradients of a model's loss, one array per trainable weight.

    A step of plain gradient descent subtracts learning rate times gradient; with a rate of 1 the
    difference of the weights before and after is the gradient.  The model keeps its weights.
    """
    model.compile(fm.optimizers.SGD(1.0), model.loss)
    weights = model.get_weights()
    before = [variable.numpy() for variable in model.trainable_variables]
    model.train_on_batch(x, y)
    found = [old - variable.numpy()
             for old, variable in zip(before, model.trainable_variables, strict=True)]
    model.set_weights(weights)
    return found


def outputs(model: Any, x) -> list[np.ndarray]:
    """What each layer of a model gives for x."""
    return fm.Model(model.inputs, [layer.output for layer in model.layers]).predict(x, verbose=0)


def standardize(x: np.ndarray, *others: np.ndarray) -> Any:
    """Columns with mean 0 and deviation 1; others by the same mean and deviation."""
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    scaled = [(array - mean) / deviation for array in (x, *others)]
    return scaled if others else scaled[0]


def scikit_learn(fit: Callable) -> Any:
    """What a function gives that uses scikit-learn; None where it is not installed."""
    try:
        return fit()
    except ImportError:
        print("scikit-learn is not there to compare with: pip install 'fusedmlp[sklearn]'\n")
        return None


def table(head: Sequence[str], rows: Iterable[Sequence], digits: int = 4) -> None:
    """Print rows in columns: numbers with so many digits to the right, texts to the left."""
    def text(value):
        if isinstance(value, (float, np.floating)):
            return f"{value:.{digits}f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else (
                f"{value:.{digits - 1}e}")
        return str(value)

    rows = [list(row) for row in rows]
    lines = [list(head), *([text(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = [isinstance(value, str) for value in rows[0]]
    for line in lines:
        print("  ".join(value.ljust(width) if first else value.rjust(width)
                        for value, width, first in zip(line, widths, left, strict=True)).rstrip())


def program(compute: Callable, report: Callable, draw: Callable) -> Callable:
    """The `main` of a program: compute its numbers, print them, draw them into a file.

    Parameters
    ----------
    compute : callable
        Without arguments; returns the numbers.
    report, draw : callable
        ``report(numbers)`` prints; ``draw(figure, numbers)`` fills a Matplotlib figure.

    Returns
    -------
    callable
        ``main(argv=None)`` with arguments of the command line, those of the process by default.
    """
    def main(argv: Sequence[str] | None = None) -> None:
        """Run the program."""
        module = sys.modules[compute.__module__]
        name = Path(module.__file__).stem
        parser = argparse.ArgumentParser(prog=f"python -m fusedmlp.examples.{name}",
                                         description=module.__doc__.splitlines()[0])
        parser.add_argument("--output", type=Path, default=Path(f"{name}.png"),
                            help="where the picture goes (default: %(default)s)")
        path = parser.parse_args(argv).output
        if not path.resolve().parent.is_dir():
            parser.error(f"--output must lie in a folder that exists. Received: {path}")
        numbers = compute()
        report(numbers)
        if picture(lambda figure: draw(figure, numbers), path):
            print(f"\nPicture: {path.resolve()}")
        else:
            print("\nNo picture without matplotlib: pip install 'fusedmlp[plot]'")

    return main


def picture(draw: Callable, path: Path) -> bool:
    """Draw a figure into a file; False where there is no Matplotlib."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return False
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        draw(figure)
        figure.savefig(path, dpi=150)
    return True


def number(value: float | str) -> str:
    """A number as it is written into a picture, with a true minus sign."""
    if not isinstance(value, str):
        value = f"{value:.{2 if abs(value) < 0.1 else 3 if abs(value) < 1 else 4}g}"
    return value.replace("-", "\N{MINUS SIGN}")


def draw_matrix(axis: Any, matrix: np.ndarray, title: str = "", most: float | None = None) -> None:
    """Draw a matrix as coloured cells with its numbers, blue above zero and red below."""
    most = 2 * np.abs(matrix).max() if most is None else most
    axis.imshow(matrix, cmap="RdBu", vmin=-most, vmax=most)
    for (i, j), value in np.ndenumerate(matrix):
        axis.text(j, i, number(value), ha="center", va="center")
    axis.set(title=title, xticks=[], yticks=[], frame_on=False)


def draw_line(axis: Any, weights: Sequence[float], bias: float, level: float = 0.0,
              **options: Any) -> None:
    """Draw where weights[0] x1 + weights[1] x2 + bias is a level; the limits stay as they are."""
    x, limits = np.array(axis.get_xlim()), axis.get_ylim()
    axis.plot(x, (level - bias - weights[0] * x) / weights[1], **options)
    axis.set(xlim=x, ylim=limits)


def draw_classes(axis: Any, x: np.ndarray, y: np.ndarray, names: Sequence[str] = ()) -> None:
    """Draw points of two columns, those of each class of y in a colour and shape of its own."""
    for value, color, marker, name in zip(np.unique(y), (BLUE, RED, GREEN), "o^s",
                                          names or ("", "", ""), strict=False):
        axis.plot(*x[y == value].T, marker, color=color, markersize=4, label=name, zorder=3)


def draw_network(axis: Any, values: Sequence[Sequence], weights: Sequence[np.ndarray] = (),
                 names: Sequence[str] = (), where: Sequence[float] = (0.3, 0.3)) -> None:
    """Draw units as circles in columns, with what they give inside and weights at their edges.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
    values : sequence of sequence of float or str
        What is written into the units of each layer.
    weights : sequence of arrays (units of a layer, units of the next)
        Not written for layers behind the last.
    names : sequence of str
        Titles of the layers.
    where : sequence of float
        How far along its edge a weight is written: for edges that go down or level, and up.
    """
    places = [[(2.4 * i, (len(column) - 1) / 2 - k) for k in range(len(column))]
              for i, column in enumerate(values)]
    for i, (left, right) in enumerate(pairwise(places)):
        for j, start in enumerate(left):
            for k, end in enumerate(right):
                axis.plot(*zip(start, end, strict=True), color="0.6", linewidth=1, zorder=1)
                if i < len(weights):
                    share = where[end[1] > start[1]]
                    x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
                    axis.text(x, y, number(weights[i][j][k]), ha="center", va="center", color=BLUE,
                              fontsize=9, zorder=2, bbox={"fc": "white", "ec": "none", "pad": 1})
    for column, units in zip(values, places, strict=True):
        for value, place in zip(column, units, strict=True):
            axis.scatter(*place, s=1300, facecolor="white", edgecolor="black", zorder=3)
            axis.text(*place, number(value), ha="center", va="center", fontsize=8, zorder=4)
    top = (max(map(len, values)) - 1) / 2 + 0.45
    for i, name in enumerate(names):
        axis.text(2.4 * i, top, number(name), ha="center", va="bottom", color="0.3")
    axis.set(xlim=(-0.6, 2.4 * (len(values) - 1) + 0.6), ylim=(-top, top + 0.3 * bool(names)))
    axis.set_axis_off()
