"""The generated parts of the pages: what the package's tables and public names say, as Markdown.

Each function gives the text of one part; `PARTS` has them by the name under which pages ask for
them.  Nothing here is written about a single function: what is added to the package appears.
"""

from __future__ import annotations

import html
import inspect
import itertools
import re
from collections.abc import Callable, Iterable, Sequence

import fusedmlp as fm
from fusedmlp import spec


def summary(item: object) -> str:
    """The first sentence of a docstring."""
    text = (inspect.getdoc(item) or "").split("\n\n")[0]
    return " ".join(text.split())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def code(text: object) -> str:
    """Text as code in Markdown, where a pipe doesn't end the cell of a table."""
    return "`" + str(text).replace("`", "") + "`"


def link(module: str, name: str) -> str:
    """A link to a public name in the reference."""
    return f"[`{name}`](reference/{module}.md#fusedmlp.{module}.{name})"


def entry(facts: Iterable[tuple[str, str]], picture: str = "") -> str:
    """What is known of something, as a list of terms in HTML, with a picture beside it."""
    lines = [f"<dt>{term}</dt><dd>{text}</dd>" for term, text in facts if text]
    kind = "entry drawn" if picture else "entry"
    return (f'<div class="{kind}" markdown>\n<dl>\n' + "\n".join(lines) + "\n</dl>\n"
            + (f"\n{picture}\n\n" if picture else "") + "</div>")


def plain(text: object) -> str:
    """Text in HTML; what stands between backticks is code."""
    return re.sub("`(.+?)`", r"<code>\1</code>", html.escape(str(text), quote=False))


def formula(text: object) -> str:
    """A formula in HTML."""
    return f"<code>{html.escape(str(text), quote=False)}</code>"


def names(words: Iterable[str]) -> str:
    """Names in HTML, each as code."""
    return ", ".join(map(formula, words))


def parameters(row) -> str:
    """Parameters of a row with their defaults, and what they must not fall below."""
    lows = dict(getattr(row, "minimum", ()))
    ranges = {key: (low, high) for key, low, high in getattr(row, "limits", ())}
    words = []
    for key, value in row.params:
        text = formula(f"{key} = {value!r}" if isinstance(value, bool) else f"{key} = {value:g}")
        if key in lows:
            text += f" (at least {lows[key]:g})"
        if key in ranges:
            low, high = ranges[key]
            text += f" (at least {low:g})" if high == float("inf") else f" ({low:g} to {high:g})"
        words.append(text)
    return ", ".join(words)


def public(module: str, test: Callable[[object], bool]) -> dict[str, object]:
    """Public names of a module whose objects pass a test, by the alphabet."""
    found = {name: getattr(getattr(fm, module), name) for name in getattr(fm, module).__all__}
    return {name: found[name] for name in sorted(found, key=str.lower) if test(found[name])}


# -- activations ---------------------------------------------------------------------------------

_INPUT = {
    "elementwise": "", "slope": "", "row": "a row of any width",
    "halves": "an even number of columns, of which half as many come out",
    "pieces": "columns, of which groups give one each",
}


def precision(row: spec.Activation) -> str:
    """The bound of the compiled kernel's error."""
    if row.ulp == (0, 0):
        return "exact: the correctly rounded value"
    floor = f", a unit being at least that of {row.floor:g}" if row.floor else ""
    return f"{row.ulp[0]:g} ULP in float32, {row.ulp[1]:g} in float64{floor}"


def activation_overview() -> str:
    """One line for each activation."""
    return table(("activation", "f(x)", "range"), (
        (f"[`{row.name}`](#{row.name})", code(row.formula), code(row.range))
        for row in spec.ACTIVATIONS.values()))


def activation_gallery() -> str:
    """A section for each activation."""
    parts = []
    for row in spec.ACTIVATIONS.values():
        called = "also " + names(row.aliases) if row.aliases else ""
        variable = "input x" if row.reads == "x" else "output y"
        derivative = formula(row.derivative) + f", computed from the {variable}"
        facts = [
            ("formula", formula(row.formula)), ("derivative", derivative),
            ("takes", _INPUT[row.kind]), ("parameters", parameters(row)),
            ("range", formula(row.range)), ("error", precision(row)),
            ("gain", f"{row.gain:.4g}, by which initializers may scale" if row.gain != 1 else ""),
            ("names", called), ("Keras", "" if row.keras else "has none of this name"),
            ("source", plain(row.source)),
        ]
        shown = "".join(f"![Graph of {row.name} and of its derivative]"
                        f"(pictures/activation-{row.name}-{mode}.svg#only-{mode}){{ loading=lazy }}"
                        for mode in ("light", "dark"))
        parts.append(f"## {row.name} {{ #{row.name} }}\n\n{entry(facts, shown)}")
    return "\n\n".join(parts)


# -- losses and metrics --------------------------------------------------------------------------

_KINDS = {
    "elementwise": "from one prediction and one target each",
    "row": "from the predictions of a row",
    "distribution": "from a location and the logarithm of a variance for each target",
    "overlap": "from sums over rows, columns or both",
    "pair": "from all pairs of rows of the batch",
}


def _classes(module: str, base: type) -> dict[str, type]:
    return public(module, lambda item: inspect.isclass(item) and issubclass(item, base))


def losses() -> str:
    """A section for each row of losses that is no other's form for logits."""
    by_row: dict[str, list[str]] = {}
    for name, cls in _classes("losses", fm.losses.TableLoss).items():
        if cls.row:
            by_row.setdefault(cls.row, []).append(name)
    parts = []
    for row in spec.LOSSES.values():
        if row.instead_of:
            continue
        fused = spec.LOSSES.get(spec.LOGITS_ROWS.get(row.name, ""))
        facts = [
            ("loss", formula(row.formula)), ("derivative", formula(row.derivative)),
            ("computed", _KINDS[row.kind] + ("" if row.kind != "elementwise" or row.average
                                             else ", added up over the last axis")),
            ("parameters", parameters(row)),
            ("targets", f"{row.accepts[0]:g} to {row.accepts[1]:g}" if row.accepts else ""),
        ]
        if fused:
            facts += [
                (f"after {fused.logits_of}", f"one operation {formula(fused.name)} that reads "
                 f"logits z: {formula(fused.formula)}, with the derivative "
                 f"{formula(fused.derivative)}")]
        elif row.logits_of:
            facts += [("reads", f"logits z of {row.logits_of}")]
        facts += [("names", names((row.name, *row.aliases))), ("source", plain(row.source))]
        title = ", ".join(by_row.get(row.name, [row.name]))
        links = ", ".join(link("losses", name) for name in by_row.get(row.name, ()))
        parts.append(f"## {title} {{ #{row.name} }}\n\n"
                     + (f"Class {links}.\n\n" if links else f"In `fusedmlp.ops.loss` alone, as "
                        f"`{row.name}`.\n\n") + entry(facts))
    return "\n\n".join(parts)


def metrics() -> str:
    """One line for each class of metrics."""
    from fusedmlp.metrics import Metric

    rows = []
    for name, cls in _classes("metrics", Metric).items():
        loss = getattr(cls, "_loss_class", None)
        value = code(spec.LOSSES[loss.row].formula) if loss else ""
        rows.append((link("metrics", name), summary(cls), value))
    return table(("metric", "what it is", "formula, where it is the mean of a loss"), rows)


def scores() -> str:
    """One line for each row that metrics take the mean of."""
    return table(("score of a row", "value", "parameters"), (
        (code(row.name), plain(row.formula).replace("|", "\\|"), parameters(row))
        for row in spec.SCORES.values()))


# -- optimizers ----------------------------------------------------------------------------------

_CHOICES = {"momentum": 0.9, "amsgrad": True, "centered": True}


def optimizer_rows(cls: type) -> dict[str, str]:
    """The rows that a class uses, each with the arguments that choose it."""
    known = inspect.signature(cls).parameters
    choices = [key for key in _CHOICES if key in known and not known[key].default]
    found: dict[str, str] = {}
    for count in range(len(choices) + 1):
        for chosen in itertools.combinations(choices, count):
            row = getattr(cls(**{key: _CHOICES[key] for key in chosen}), "row", None)
            if row is not None:
                found.setdefault(row, " and ".join(f"`{key}`" for key in chosen))
    return found


def optimizers() -> str:
    """A section for each optimizer with the updates that it makes."""
    base = fm.optimizers.Optimizer
    parts = []
    for name, cls in _classes("optimizers", base).items():
        if cls in (base, fm.optimizers.MultiOptimizer):  # which have no update of their own
            continue
        text = f"## {name} {{ #{name.lower()} }}\n\n{summary(cls)}  See {link('optimizers', name)}."
        for row_name, condition in optimizer_rows(cls).items():
            row = spec.OPTIMIZERS[row_name]
            updates = "<br>".join(map(formula, row.equations))
            doors = [f"{known}_update" for known in (row.name, *row.aliases)]
            facts = [
                ("update", updates), ("state", names(row.slots) or "none"),
                ("parameters", parameters(row)),
                ("kernel", names(f"ops.{door}" for door in doors if door in fm.ops.__all__)),
                ("source", plain(row.source)),
            ]
            heading = f"\n\nWith {condition}:" if condition else ""
            text += f"{heading}\n\n{entry(facts)}"
        parts.append(text)
    return "\n\n".join(parts)


def schedules() -> str:
    """One line for each learning rate schedule."""
    module = fm.optimizers.schedules
    return table(("schedule", "what it is"), (
        (f"[`{name}`](reference/optimizers.schedules.md#fusedmlp.optimizers.schedules.{name})",
         summary(getattr(module, name)))
        for name in sorted(module.__all__) if inspect.isclass(getattr(module, name))))


# -- names with their summaries --------------------------------------------------------------------

def layers() -> str:
    """One line for each layer, with its other names."""
    also: dict[type, list[str]] = {}
    bases = (fm.layers.Layer, fm.layers.InputSpec)
    for name, cls in _classes("layers", bases).items():
        also.setdefault(cls, []).extend([code(name)] if name != cls.__name__ else [])
    return table(("layer", "what it does"), (
        (", also ".join((link("layers", cls.__name__), *others)), summary(cls))
        for cls, others in sorted(also.items(), key=lambda pair: pair[0].__name__.lower())))


def callbacks() -> str:
    """One line for each callback."""
    return table(("callback", "what it does"), (
        (link("callbacks", name), summary(cls))
        for name, cls in public("callbacks", inspect.isclass).items()))


def more_than_sklearn() -> str:
    """Arguments of the estimators that scikit-learn's have not."""
    from sklearn import neural_network

    rows: dict[str, list[str]] = {}
    for name in ("MLPClassifier", "MLPRegressor"):
        ours = inspect.signature(getattr(fm.sklearn, name)).parameters
        theirs = inspect.signature(getattr(neural_network, name)).parameters
        for key in [key for key in ours if key not in theirs]:
            rows.setdefault(key, []).append(name)
    def text(key):
        doc = inspect.getdoc(getattr(fm.sklearn, rows[key][0]))
        found = re.search(rf"^{key} : (.*)\n((?:    .*\n)*)", doc, re.MULTILINE)
        return (code(key), found[1], " ".join(found[2].split()).replace("|", "\\|"),
                ", ".join(rows[key]) if len(rows[key]) == 1 else "both")
    return table(("argument", "type, default", "meaning", "of"), map(text, rows))


PARTS = {part.__name__: part for part in (
    activation_overview, activation_gallery, losses, metrics, scores, optimizers, schedules, layers,
    callbacks, more_than_sklearn)}
