"""Drawings of networks: a box for each layer, an arrow for each tensor between two.

With `pydot` and Graphviz the drawing is theirs; without them matplotlib draws it, row by row.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from .. import checks

__all__ = ["model_to_dot", "plot_model"]


class Box(NamedTuple):
    """A layer in a drawing: its lines of text, the boxes before it, and its row."""

    key: str
    lines: tuple
    before: tuple
    row: int


def boxes(model, show_shapes=False, show_dtype=False, show_layer_names=True, expand_nested=False,
          show_layer_activations=False, show_trainable=False, prefix="") -> list[Box]:
    """The boxes of a model's layers, those that feed others in front.

    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, name="y")])
    >>> [box.lines for box in boxes(model, show_shapes=True)]
    [('y (Dense)', 'in (None, 2)', 'out (None, 1)')]
    """
    options = {"show_shapes": show_shapes, "show_dtype": show_dtype,
               "show_layer_names": show_layer_names, "expand_nested": expand_nested,
               "show_layer_activations": show_layer_activations,
               "show_trainable": show_trainable}
    graph = getattr(model, "_graph", None)
    if graph is None:
        calls = [(layer, []) for layer in model.layers]
        calls = [(layer, [calls[i - 1][0]] if i else []) for i, (layer, _) in enumerate(calls)]
    else:
        calls = [(node.operation, [] if node.is_input else [p.operation for p in node.parents])
                 for node in graph.nodes]
    found: dict[str, Box] = {}
    last: dict[int, str] = {}
    for layer, parents in calls:
        before = tuple(dict.fromkeys(last[id(p)] for p in parents if id(p) in last))
        row = 1 + max((found[key].row for key in before), default=-1)
        if expand_nested and hasattr(layer, "layers") and layer.layers:
            for inner in boxes(layer, prefix=f"{prefix}{layer.name}/", **options):
                inner = inner._replace(before=inner.before or before, row=inner.row + row)
                found[inner.key] = inner
            last[id(layer)] = inner.key
            continue
        key = f"{prefix}{layer.name}"
        if key in found:  # a layer that is called again keeps its box
            merged = tuple(dict.fromkeys((*found[key].before, *before)))
            found[key] = found[key]._replace(before=tuple(k for k in merged if k != key))
        else:
            found[key] = Box(key, _lines(layer, **options), before, row)
        last[id(layer)] = key
    return list(found.values())


def _lines(layer, show_shapes, show_dtype, show_layer_names, show_layer_activations,
           show_trainable, **_):
    kind = type(layer).__name__
    lines = [f"{layer.name} ({kind})" if show_layer_names else kind]
    activation = getattr(layer, "activation", None)
    if show_layer_activations and activation is not None:
        lines.append(f"activation {getattr(activation, '__name__', activation)}")
    if show_dtype:
        lines.append(layer.dtype)
    if show_shapes:
        lines += _shapes(layer)
    if show_trainable:
        lines.append("trainable" if layer.trainable else "not trainable")
    return tuple(lines)


def _shapes(layer):
    try:
        inputs, outputs = layer.input, layer.output
    except AttributeError:
        columns = getattr(layer, "_input_columns", None)
        if columns is None:
            return ["not built"]
        shape = (None, columns)
        return [f"in {shape}", f"out {layer.compute_output_shape(shape)}"]
    from .. import tree

    return [f"{word} {', '.join(str(t.shape) for t in tree.leaves(found))}"
            for word, found in (("in", inputs), ("out", outputs))]


def model_to_dot(model, show_shapes: bool = False, show_dtype: bool = False,
                 show_layer_names: bool = True, rankdir: str = "TB", expand_nested: bool = False,
                 dpi: int = 200, subgraph: bool = False, show_layer_activations: bool = False,
                 show_trainable: bool = False, splines: str = "ortho", **kwargs: Any):
    """A model as a graph of `pydot`.

    Parameters
    ----------
    model : Model
        Built.
    show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable : bool
        What a box says.
    rankdir : {"TB", "LR", "BT", "RL"}
        From top to bottom, from left to right, or the other way.
    expand_nested : bool
        Whether models within the model are drawn layer by layer.
    dpi : int
    subgraph : bool
        Whether to make a cluster, to be part of another graph.
    splines : str
        How Graphviz draws arrows.

    Returns
    -------
    pydot.Dot or pydot.Cluster

    Raises
    ------
    ImportError
        If `pydot` is not installed.
    ValueError, TypeError
        If the model is not built, or an argument is unknown.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> model_to_dot(fm.Sequential([fm.layers.Dense(1)], name="net"))
    Traceback (most recent call last):
    ...
    ValueError: Argument `model` must be built, by an Input or `build(input_shape)`. \
Received: <Sequential name=net, built=False>
    """
    _check(model, rankdir, kwargs)
    try:
        import pydot
    except ImportError:
        raise ImportError(
            "model_to_dot needs the package pydot (and Graphviz to draw): pip install pydot; "
            "plot_model does without, by matplotlib"
        ) from None
    graph = pydot.Cluster(model.name, label=model.name) if subgraph else pydot.Dot()
    graph.set("rankdir", rankdir)
    graph.set("dpi", str(dpi))
    graph.set("splines", splines)
    graph.set_node_defaults(shape="box")
    found = boxes(model, show_shapes, show_dtype, show_layer_names, expand_nested,
                  show_layer_activations, show_trainable)
    for box in found:
        graph.add_node(pydot.Node(_quoted(box.key), label=_quoted("\\n".join(box.lines))))
    for box in found:
        for key in box.before:
            graph.add_edge(pydot.Edge(_quoted(key), _quoted(box.key)))
    return graph


def _quoted(text):
    return '"' + text.replace('"', "'") + '"'


def plot_model(model, to_file="model.png", show_shapes: bool = False, show_dtype: bool = False,
               show_layer_names: bool = False, rankdir: str = "TB", expand_nested: bool = False,
               dpi: int = 200, show_layer_activations: bool = False, show_trainable: bool = False,
               splines: str = "ortho", **kwargs: Any) -> None:
    """Draw a model to a file, with Graphviz where it is installed and else with matplotlib.

    Parameters
    ----------
    model : Model
        Built.
    to_file : str or Path
        The suffix says the format: ``.png``, ``.svg``, ``.pdf`` and others.
    show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable : bool
        What a box says beside the kind of the layer.
    rankdir : {"TB", "LR", "BT", "RL"}
        From top to bottom, from left to right, or the other way.
    expand_nested : bool
        Whether models within the model are drawn layer by layer.
    dpi : int
        Dots per inch.
    splines : str
        How Graphviz draws arrows.

    Raises
    ------
    ImportError
        If neither Graphviz with `pydot` nor matplotlib is installed.
    ValueError, TypeError
        If the model is not built, or an argument is unknown.

    Examples
    --------
    >>> import os, tempfile
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_model(model, os.path.join(folder, "net.svg"), show_shapes=True)
    ...     os.listdir(folder)
    ['net.svg']
    """
    _check(model, rankdir, kwargs)
    options = {"show_shapes": show_shapes, "show_dtype": show_dtype,
               "show_layer_names": show_layer_names, "expand_nested": expand_nested,
               "show_layer_activations": show_layer_activations, "show_trainable": show_trainable}
    path = Path(to_file)
    if shutil.which("dot") is not None:
        try:
            graph = model_to_dot(model, rankdir=rankdir, dpi=dpi, splines=splines, **options)
        except ImportError:
            pass
        else:
            graph.write(str(path), format=path.suffix[1:] or "png")
            return
    _draw(boxes(model, **options), path, rankdir, dpi)


def _check(model, rankdir, unknown):
    if unknown:
        raise TypeError(f"Unknown arguments: {', '.join(unknown)}")
    checks.one_of(rankdir, "rankdir", ("TB", "LR", "BT", "RL"))
    if not getattr(model, "built", False):
        raise ValueError(
            "Argument `model` must be built, by an Input or `build(input_shape)`. "
            f"Received: {model!r}"
        )


def _draw(found, path, rankdir, dpi):
    """Boxes by matplotlib, in rows or columns."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "plot_model needs matplotlib, or pydot and Graphviz: pip install 'fusedmlp[plot]'"
        ) from None
    rows: dict[int, list[Box]] = {}
    for box in found:
        rows.setdefault(box.row, []).append(box)
    width = max(len(line) for box in found for line in box.lines) * 0.085 + 0.5
    height = max(len(box.lines) for box in found) * 0.22 + 0.5
    across, along = max(map(len, rows.values())), len(rows)
    sideways = rankdir in ("LR", "RL")
    size = (across * width, along * height)
    if sideways:
        size = (along * (width + 0.4), across * height)
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    places = {}
    for number, members in enumerate(rows[row] for row in sorted(rows)):
        for i, box in enumerate(members):
            side, depth = (i + 0.5) / len(members), (number + 0.5) / along
            depth = depth if rankdir in ("LR", "BT") else 1 - depth
            places[box.key] = (depth, 1 - side) if sideways else (side, depth)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    for box in found:
        x, y = places[box.key]
        axes.text(x, y, "\n".join(box.lines), ha="center", va="center", fontsize=9,
                  bbox={"boxstyle": "round,pad=0.4", "facecolor": "white"}, zorder=2)
        for key in box.before:
            axes.annotate("", (x, y), places[key], zorder=1, arrowprops={
                "arrowstyle": "-|>", "shrinkA": 16, "shrinkB": 16, "color": "0.4"})
    figure.savefig(path, dpi=dpi, format=path.suffix[1:] or "png")
