"""Pictures of a training, of weights, of decisions and of activations, by matplotlib.

Each function draws into the axes that it is given, or into new ones, and returns them.  Nothing is
shown or saved: that is ``matplotlib.pyplot.show()`` or ``axes.figure.savefig(path)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, ops, spec
from .report import GradientFlowReport

__all__ = ["plot_activation", "plot_decision_boundary", "plot_gradient_flow", "plot_history",
           "plot_weights"]

_FLOWS = {
    "gradient_norm": "norm of the gradient",
    "update_ratio": "norm of the update / norm of the weight",
    "weight_norm": "norm of the weight",
    "update_norm": "norm of the update",
    "activation_rms": "root mean square of the activation",
    "error_rms": "root mean square of the error",
    "dead": "share of dead units",
    "saturated": "share of saturated outputs",
}


def _axes(ax, **size):
    """The axes to draw into; ImportError that names the extra."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "The plots of fusedmlp.diagnostics need matplotlib: pip install 'fusedmlp[plot]'"
        ) from error
    return plt.subplots(layout="constrained", **size)[1]


def plot_history(history, metrics=None, *, ax=None):
    """Draw what `fit` returned: a line for each number, that of the held-out data dashed.

    Parameters
    ----------
    history : History or dict of str to list
        As `Model.fit` returns it, or its `history`.
    metrics : str or list of str, optional
        Names without "val_"; all by default.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError, TypeError
        If there is no such metric, nothing to draw, or `history` is none.

    Examples
    --------
    >>> from fusedmlp.diagnostics import plot_history
    >>> ax = plot_history({"loss": [0.9, 0.5, 0.4], "val_loss": [0.9, 0.7, 0.6]})
    >>> len(ax.lines), ax.get_xlabel()
    (2, 'epoch')
    """
    numbers = getattr(history, "history", history)
    if not isinstance(numbers, dict):
        raise TypeError(
            "Argument `history` must be what `fit` returned, or a dict of str to list. "
            f"Received: {history!r}"
        )
    names = [name for name in numbers if not name.startswith("val_")]
    if metrics is not None:
        wanted = [metrics] if isinstance(metrics, str) else list(metrics)
        for name in wanted:
            if name not in names:
                raise ValueError(f"Argument `metrics`: {spec.nearest(str(name), names, 'metric')}")
        names = wanted
    if not any(len(numbers[name]) for name in names):
        raise ValueError("Argument `history` must hold the numbers of an epoch. Received: none")
    ax = _axes(ax, figsize=(6, 4))
    for name in names:
        epochs = np.arange(1, len(numbers[name]) + 1)
        alone = {"marker": "o"} if len(epochs) == 1 else {}  # a line of one point is none
        (line,) = ax.plot(epochs, numbers[name], label=name, **alone)
        held_out = numbers.get(f"val_{name}")
        if held_out:
            # where it is evaluated now and then alone, at the right epochs
            every = max(len(numbers[name]) // len(held_out), 1)
            alone = {"marker": "o"} if len(held_out) == 1 else {}
            ax.plot(every * np.arange(1, len(held_out) + 1), held_out, "--",
                    color=line.get_color(), label=f"val_{name}", **alone)
    ax.set_xlabel("epoch")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    return ax


def plot_gradient_flow(report, kind: str = "gradient_norm", *, ax=None):
    """Draw one of the numbers of a report over the steps, a line for each layer.

    Parameters
    ----------
    report : GradientFlowReport or GradientFlow
    kind : {"gradient_norm", "update_ratio", "weight_norm", "update_norm", "activation_rms", \
"error_rms", "dead", "saturated"}
        Of parameters, the kernels are drawn.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError, TypeError
        If there is no such kind, `report` is none, or no step was observed.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(8, "relu"), fm.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> report = fm.diagnostics.gradient_flow(model, np.ones((64, 4)), np.ones(64))
    >>> len(fm.diagnostics.plot_gradient_flow(report).lines)
    2
    """
    report = getattr(report, "report", report)
    if not isinstance(report, GradientFlowReport):
        raise TypeError(f"Argument `report` must be a GradientFlowReport. Received: {report!r}")
    if kind not in _FLOWS:
        raise ValueError(f"Argument `kind`: {spec.nearest(str(kind), list(_FLOWS), 'kind')}")
    if not len(report.steps):
        raise ValueError(
            "Argument `report` must be of at least one step that was observed. Received: none, "
            f"with every={report.every}"
        )
    numbers = getattr(report, kind)
    if kind in ("gradient_norm", "update_ratio", "weight_norm", "update_norm"):
        kernels = [report.kernel_of(layer) for layer in report.layers]
        numbers = {name: numbers[name] for name in kernels if name is not None}
    ax = _axes(ax, figsize=(6.5, 4))
    few = len(report.steps) < 2
    for k, (name, values) in enumerate(numbers.items()):
        shade = 0.9 * k / max(len(numbers) - 1, 1)  # from the input on
        ax.plot(report.steps, values, "o-" if few else "-", label=name, color=_map()(shade))
    if kind not in ("dead", "saturated"):
        ax.set_yscale("log")
    else:
        ax.set_ylim(-0.02, 1.02)
    if kind == "update_ratio":
        limits = report.thresholds
        ax.axhspan(limits.ratio_low, limits.ratio_high, color="tab:green", alpha=0.08, lw=0)
    ax.set_xlabel("update")
    ax.set_ylabel(_FLOWS[kind])
    if numbers:
        ax.legend(fontsize="small")
    return ax


def _map():
    from matplotlib import colormaps

    return colormaps["viridis"]


def plot_weights(model, layer: str | int | None = None, *, ax=None):
    """Draw the kernel of a layer as a picture: inputs from top to bottom, units side by side.

    Parameters
    ----------
    model : Model
        Built.
    layer : str, int or Layer, optional
        Name or place of a layer, or one itself; by default the first that has a kernel.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Blue is negative, red positive, white 0.

    Raises
    ------
    ValueError, TypeError
        If there is no such layer, it has no weights of two dimensions, or `model` is none.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(8, name="hidden")])
    >>> ax = fm.diagnostics.plot_weights(model)
    >>> ax.get_title(), ax.images[0].get_array().shape
    ('hidden.kernel', (4, 8))
    """
    if not hasattr(model, "layers"):
        raise TypeError(f"Argument `model` must be a model. Received: {model!r}")
    known = list(model.layers)
    layers = known if layer is None else [
        one for place, one in enumerate(known) if one is layer or (
            one.name == layer if isinstance(layer, str)
            else isinstance(layer, (int, np.integer)) and layer in (place, place - len(known)))]
    if not layers:
        raise ValueError(
            f"Argument `layer` must be one of {', '.join(repr(one.name) for one in known)}, or a "
            f"place of one. Received: {layer!r}"
        )
    found = [(one, v) for one in layers for v in one.weights if len(v.shape) == 2]
    if not found:
        raise ValueError(
            "Argument `layer` must be a layer with weights of two dimensions, of a model that is "
            f"built. Received: {layer!r}"
        )
    owner, variable = found[0]
    values = variable.numpy()
    most = float(np.abs(values).max()) or 1.0
    ax = _axes(ax, figsize=(6, 4))
    image = ax.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto",
                      interpolation="nearest")
    ax.figure.colorbar(image, ax=ax)
    ax.set_title(f"{owner.name}.{variable.name}")
    ax.set_xlabel("unit")
    ax.set_ylabel("input")
    return ax


def plot_decision_boundary(model, x, y=None, *, resolution: int = 200, ax=None):
    """Draw what a classifier of two features says in the plane, and the points beside it.

    Parameters
    ----------
    model : Model or estimator
        Anything whose `predict` takes (rows, 2) and gives probabilities (rows, 1) or (rows,
        classes), or classes (rows,).
    x : array_like, shape (rows, 2)
        The points, which say what part of the plane is drawn.
    y : array_like, shape (rows,), optional
        Their classes, as colours.
    resolution : int
        Points of the plane that are asked for in each direction.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError, TypeError
        If the points have not two features, or an argument is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> x = np.random.default_rng(1).normal(size=(50, 2))
    >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, "sigmoid")])
    >>> ax = fm.diagnostics.plot_decision_boundary(model, x, x[:, 0] > 0)
    >>> len(ax.images), len(ax.collections) > 0
    (1, True)
    """
    if not hasattr(model, "predict"):
        raise TypeError(
            f"Argument `model` must be a model or estimator, with `predict`. Received: {model!r}")
    x = np.asarray(x, dtype=np.float64)
    resolution = checks.integer(resolution, "resolution", 2)
    if x.ndim != 2 or x.shape[1] != 2 or not len(x):
        raise ValueError(f"Argument `x` must have shape (rows, 2). Received: shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("Argument `x` must be finite numbers. Received: infinities or NaN")
    if y is not None and np.shape(y)[:1] != x.shape[:1]:
        raise ValueError(
            f"Argument `y` must have a class for each of {len(x)} rows of `x`. Received: shape "
            f"{np.shape(y)}"
        )
    low, high = x.min(axis=0), x.max(axis=0)
    margin = 0.08 * np.where(high > low, high - low, 1.0)
    low, high = low - margin, high + margin
    across, up = (np.linspace(low[k], high[k], resolution) for k in (0, 1))
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    given = np.asarray(model.predict(grid))
    classes = int(given.shape[1]) if given.ndim == 2 else 0
    ax = _axes(ax, figsize=(5, 4.5))
    extent = (low[0], high[0], low[1], high[1])
    if classes == 1:  # the probability of the second class, and where it is a half
        field = given.reshape(resolution, resolution)
        ax.imshow(field, extent=extent, origin="lower", aspect="auto", cmap="RdBu_r", vmin=0.0,
                  vmax=1.0, alpha=0.6)
        if field.min() < 0.5 < field.max():
            ax.contour(across, up, field, levels=[0.5], colors="black", linewidths=1.2)
        colours: dict[str, Any] = {"cmap": "RdBu_r", "vmin": 0, "vmax": 1}
    else:
        names, field = np.unique(given.argmax(axis=1) if classes else given, return_inverse=True)
        last = max((classes or len(names)) - 1, int(0 if y is None else len(np.unique(y)) - 1), 1)
        shown = names[field] if classes else field
        colours = {"cmap": "tab10", "vmin": 0, "vmax": max(last, 9)}
        ax.imshow(shown.reshape(resolution, resolution), extent=extent, origin="lower",
                  aspect="auto", alpha=0.35, interpolation="nearest", **colours)
    values = None
    if y is not None:
        values = np.asarray(y).reshape(len(x), -1)
        values = values.argmax(axis=1) if values.shape[1] > 1 else values[:, 0]
        if values.dtype.kind not in "iufb" or (classes == 0):
            values = np.unique(values, return_inverse=True)[1]
    if values is None:
        ax.scatter(x[:, 0], x[:, 1], s=16, color="black")
    else:
        ax.scatter(x[:, 0], x[:, 1], c=values.astype(float), s=22, edgecolors="black",
                   linewidths=0.6, **colours)
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(low[1], high[1])
    return ax


def plot_activation(name: str, low: float = -4.0, high: float = 4.0, *, ax=None, **params):
    """Draw an activation function and its derivative.

    Parameters
    ----------
    name : str
        Of an elementwise activation; see `fusedmlp.activations`.
    low, high : float
        Interval.
    ax : matplotlib.axes.Axes, optional
    **params
        Parameters of the function, such as ``negative_slope=0.1``.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError, TypeError
        If there is no such function of single numbers, or a parameter is wrong.

    Examples
    --------
    >>> from fusedmlp.diagnostics import plot_activation
    >>> ax = plot_activation("leaky_relu", negative_slope=0.1)
    >>> [line.get_label() for line in ax.get_legend().get_lines()]
    ['leaky_relu', 'derivative']
    """
    low = checks.number(low, "low")
    high = checks.number(high, "high")
    if not low < high:
        raise ValueError(f"Argument `low` must be below `high`. Received: {low!r} and {high!r}")
    row = spec.activation(name)
    if row.kind != "elementwise":
        raise ValueError(
            f"Argument `name` must be an activation of single numbers. Received: {name!r}")
    x = np.linspace(low, high, 801)
    y = ops.activation(x, name, **params)
    saved = {"x": x} if row.reads == "x" else {"y": y}
    slope = ops.activation_grad(np.ones_like(x), name, **saved, **params)
    ax = _axes(ax, figsize=(5, 4))
    ax.axhline(0.0, color="0.8", lw=0.8)
    ax.axvline(0.0, color="0.8", lw=0.8)
    ax.plot(x, y, label=row.name)
    ax.plot(x, slope, "--", label="derivative")
    ax.set_title(row.formula)
    ax.set_xlabel("x")
    ax.legend()
    return ax
