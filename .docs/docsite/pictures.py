"""The pictures of the site: graphs of the activations, and what the programs print and draw."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fusedmlp import ops, spec

X = np.linspace(-4, 4, 801)
LIGHT = {"#010101": "#333333", "#020202": "#cccccc", "#030303": "#2a5d9f", "#040404": "#b8322a"}
DARK = {"#010101": "#c8c8c8", "#020202": "#555555", "#030303": "#8fb5e8", "#040404": "#e08a7f"}
TEXT, LINES, VALUE, SLOPE = LIGHT  # placeholders, which become the colours of each mode
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "fusedmlp", "font.family": "DejaVu Sans",
    "font.size": 8, "axes.edgecolor": LINES,
    "axes.spines.top": False, "axes.spines.right": False, "xtick.color": TEXT, "ytick.color": TEXT,
    "xtick.labelcolor": TEXT, "ytick.labelcolor": TEXT, "text.color": TEXT,
}

# Parameters with which a graph shows more than with the defaults.
DRAWN_WITH = {
    "clipped_relu": {"negative_slope": 0.1, "max_value": 2.0, "threshold": 0.5},
    "threshold": {"threshold": 1.0, "default_value": -0.5},
}


def curve(row: spec.Activation) -> tuple[np.ndarray, np.ndarray, str]:
    """Values on X, derivatives there, and what was drawn.

    Functions of a row are drawn for the row (x, 0), their first output and its derivative by x;
    functions of two halves for x in both.
    """
    params = DRAWN_WITH.get(row.name, {})
    if row.kind == "elementwise":
        x, shown = X, ", ".join(f"{key} = {value:g}" for key, value in params.items())
        direction = np.ones_like(X)
    elif row.kind == "slope":
        y = ops.prelu(X[:, None], np.array([0.25]))[:, 0]
        return y, np.where(X > 0, 1.0, 0.25), "alpha = 0.25"
    elif row.kind == "halves":
        x, shown, direction = np.stack([X, X], axis=1), "a = b = x", np.ones((len(X), 2))
    else:
        x, shown = np.stack([X, np.zeros_like(X)], axis=1), "row (x, 0), first output"
        direction = np.stack([np.ones_like(X), np.zeros_like(X)], axis=1)
    y = ops.activation(x, row.name, **params)
    dy = np.zeros_like(y)
    dy[..., 0] = 1.0
    if row.kind == "elementwise":
        dy[:] = 1.0
    saved = {"x": x} if row.reads == "x" else {"y": y}
    slope = ops.activation_grad(dy, row.name, **saved, **params) * direction
    return (y, slope, shown) if y.ndim == 1 else (y[:, 0], slope.sum(axis=1), shown)


def graph(row: spec.Activation) -> str:
    """The graph of an activation and of its derivative as SVG, in placeholders for colours."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    y, slope, shown = curve(row)
    with rc_context(STYLE):
        figure = Figure(figsize=(3.0, 2.2), layout="constrained")
        axis = figure.subplots()
        axis.axhline(0, color=LINES, linewidth=0.6)
        axis.axvline(0, color=LINES, linewidth=0.6)
        for values, most, color, dashes in ((y, 0.3, VALUE, "-"), (slope, 0.05, SLOPE, "--")):
            jumps = np.abs(np.diff(values)) > most  # drawn with a gap
            axis.plot(X[1:], np.where(jumps, np.nan, values[1:]), dashes, color=color,
                      linewidth=1.6 if dashes == "-" else 1.1)
        axis.set(ylim=(-2.2, 3.2), xlim=(-4, 4), xticks=(-4, -2, 0, 2, 4),
                 yticks=(-2, -1, 0, 1, 2, 3))
        axis.tick_params(length=2, width=0.6)
        if shown:
            axis.text(-3.8, 2.9, shown, fontsize=7.5, va="center")
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue().replace("'DejaVu Sans'", "system-ui, sans-serif")


def graphs() -> dict[str, str]:
    """The graphs of all activations for light and dark pages, by the path of the file."""
    found = {}
    for row in spec.ACTIVATIONS.values():
        svg = graph(row)
        for mode, colors in (("light", LIGHT), ("dark", DARK)):
            text = svg
            for placeholder, color in colors.items():
                text = text.replace(placeholder, color)
            found[f"pictures/activation-{row.name}-{mode}.svg"] = text
    return found


def run(name: str) -> tuple[str, bytes | None]:
    """What a program prints, and its picture where it draws one.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", f"fusedmlp.examples.{name}"], cwd=folder, capture_output=True,
            text=True, check=False, env={**os.environ, "COLUMNS": "88"})
        if done.returncode:
            raise RuntimeError(f"fusedmlp.examples.{name} failed:\n{done.stderr}")
        lines = [line for line in done.stdout.splitlines() if not line.startswith("Picture")
                 or folder not in line]
        lines = [line.rsplit("\r", 1)[-1] for line in lines if folder not in line]
        picture, = [*Path(folder).glob("*.png")][:1] or [None]
        return "\n".join(lines).strip(), picture and picture.read_bytes()


def results(names, at_once: int = 2) -> dict[str, tuple[str, bytes | None]]:
    """What each program prints and draws, by its name."""
    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip(names, pool.map(run, names), strict=True))
