"""`GradientFlowReport`: what was observed in a training, as arrays, a table and words."""

from __future__ import annotations

import numpy as np

from ..training.observing import Observed, no_slope, slopes
from .verdicts import Finding, Thresholds, find

__all__ = ["GradientFlowReport"]

_FAR = 30.0  # so far out, an activation that becomes flat is flat
_HEAD = ("Layer", "activation", "error", "dead", "saturated", "weight", "gradient", "update/weight")


class GradientFlowReport:
    """What activations, errors, gradients and updates were like in the steps that were observed.

    ``print(report)`` shows a table of medians over the steps and, below, what is wrong in words.
    Made by `gradient_flow` and by the callback `GradientFlow`.

    Attributes
    ----------
    every : int
        Steps from one that was observed to the next.
    steps : ndarray of int64, shape (steps,)
        Numbers of the updates, counted from 1.
    rows : int
        Rows of data in these steps.
    activation_rms : dict of str to ndarray (steps,)
        Root mean square of each layer's output.
    error_rms : dict of str to ndarray (steps,)
        Root mean square of the gradient of the loss with respect to the outputs of a layer's
        product, before its activation, for each layer that is a product.
    dead : dict of str to ndarray (steps,)
        Share of a layer's units whose activation had slope 0 in all rows of that step.
    saturated : dict of str to ndarray (steps,)
        Share of a layer's outputs where its activation is flat, for activations that are flat on
        both sides.
    dead_units : dict of str to ndarray of bool (units,)
        The units that had slope 0 in every row of all steps.
    weight_norm, gradient_norm, update_norm, update_ratio : dict of str to ndarray (steps,)
        Euclidean norms, by the names of the parameters ("hidden.kernel"): before the update, of the
        loss's gradient before clipping, of what the step changed, and the last by the first.
    layer_of : dict of str to str
        The layer of a parameter.
    parameter_shapes : dict of str to tuple
        (rows, columns) of a parameter; rows is 1 for a vector.
    findings : list of Finding
        What is wrong, the gravest first; empty for a healthy network.
    healthy : bool
        Whether nothing was found.

    Notes
    -----
    A slope counts as 0 if it is at most a twentieth of the steepest one in [-1, 1].  A layer that
    is called several times has a row for each call: "name", "name (2)", ...  The outputs of a
    softmax or sigmoid that is fused with its loss are not computed in training; such a layer's row
    is about what goes into it.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> from fusedmlp.diagnostics import gradient_flow
    >>> fm.utils.set_random_seed(1)
    >>> x = np.random.default_rng(1).normal(size=(64, 8))
    >>> model = fm.Sequential([
    ...     fm.Input((8,)),
    ...     fm.layers.Dense(16, activation="relu", bias_initializer=fm.initializers.Constant(-9.0),
    ...                     name="hidden"),
    ...     fm.layers.Dense(1, name="value"),
    ... ])
    >>> model.compile("sgd", "mse")
    >>> report = gradient_flow(model, x, x[:, :1])
    >>> problems = [finding.problem for finding in report.findings]
    >>> problems, int(report.dead_units["hidden"].sum())
    (['vanishing', 'dead'], 16)
    """

    def __init__(self, observed: list[Observed], thresholds: Thresholds | None = None,
                 every: int = 1):
        first, self.every = observed[0], every
        steps, parts = zip(*(part.every(every) for part in observed), strict=True)
        self.steps, records = np.concatenate(steps), np.concatenate(parts)
        self.layer_of: dict[str, str] = {}
        self.parameter_shapes: dict[str, tuple] = {}
        self.activation_rms, self.error_rms = {}, {}
        self.dead, self.saturated, self.dead_units = {}, {}, {}
        self.weight_norm, self.gradient_norm = {}, {}
        self.update_norm, self.update_ratio = {}, {}
        self.rows = 0
        self._layers: list[str] = []
        units = np.sum([part.units for part in observed], axis=0)
        with np.errstate(all="ignore"):
            for number, observation in enumerate(first.observations):
                getattr(self, f"_add_{observation.kind}")(observation, records[:, number], units)
        self.thresholds = thresholds or Thresholds()
        self.findings: list[Finding] = find(self, self.thresholds) if len(self.steps) else []

    # -- from records --------------------------------------------------------------------------

    def _add_activation(self, observation, records, units):
        squares, elements, flat, dead = records.T
        name = _free(observation.layer, self.activation_rms)
        self._listed(name)
        self.activation_rms[name] = np.sqrt(squares / elements)
        # samples of several dimensions have several rows each
        self.rows = max(self.rows, int(elements.sum()) // observation.columns)
        if observation.activation == "linear":
            return
        if flat_on_both_sides(observation.activation, observation.params):
            self.saturated[name] = flat / elements
            return
        self.dead[name] = dead / observation.columns
        self.dead_units[name] = units[observation.units :][: observation.columns] == 0

    def _add_error(self, observation, records, units):
        name = _free(observation.layer, self.error_rms)
        self._listed(name)
        self.error_rms[name] = np.sqrt(records[:, 0] / records[:, 1])

    def _add_parameter(self, observation, records, units):
        name = _free(observation.name, self.weight_norm)
        weight, gradient, update = np.sqrt(records[:, :3].T)
        self._listed(observation.layer)
        self.layer_of[name] = observation.layer
        size = int(records[0, 3]) if len(records) else 0
        self.parameter_shapes[name] = (size // observation.columns, observation.columns)
        self.weight_norm[name], self.gradient_norm[name] = weight, gradient
        self.update_norm[name], self.update_ratio[name] = update, update / weight

    def _listed(self, name):
        if name not in self._layers:
            self._layers.append(name)

    # -- showing -------------------------------------------------------------------------------

    @property
    def layers(self) -> list[str]:
        """Names of the layers, from the input on."""
        return list(self._layers)

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def kernel_of(self, layer: str) -> str | None:
        """The name of a layer's largest parameter; None for a layer without."""
        own = [name for name, owner in self.layer_of.items() if owner == layer]
        return max(own, key=lambda name: np.prod(self.parameter_shapes[name]), default=None)

    def to_dict(self) -> dict:
        """Everything as plain lists, dicts and numbers, for JSON."""
        numbers = ("activation_rms", "error_rms", "dead", "saturated", "dead_units", "weight_norm",
                   "gradient_norm", "update_norm", "update_ratio")
        return {
            "steps": self.steps.tolist(), "rows": self.rows,
            **{key: {name: values.tolist() for name, values in getattr(self, key).items()}
               for key in numbers},
            "findings": [{"problem": f.problem, "layers": list(f.layers),
                          "values": list(f.values), "text": f.text} for f in self.findings],
        }

    def __str__(self):
        if not len(self.steps):
            return (f"No step was observed: there was none whose number is a multiple of "
                    f"every={self.every}")
        rows = [_HEAD]
        for layer in self._layers:
            kernel = self.kernel_of(layer)
            dead = self.dead_units.get(layer)
            rows.append((
                layer,
                _number(self.activation_rms.get(layer)),
                _number(self.error_rms.get(layer)),
                "" if dead is None else f"{dead.mean():.0%}",
                _number(self.saturated.get(layer), "{:.0%}"),
                _number(self.weight_norm.get(kernel)),
                _number(self.gradient_norm.get(kernel)),
                _number(self.update_ratio.get(kernel)),
            ))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) if i else cell.ljust(width)
                      for i, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
            for row in rows
        ]
        lines.insert(1, "-" * len(max(lines, key=len)))
        counted = "1 step" if len(self.steps) == 1 else f"{len(self.steps)} steps"
        lines.append(f"Medians over {counted} with {self.rows:,} rows: root mean square of "
                     "activation and error, norms of weight and gradient")
        lines += [""] + [str(finding) for finding in self.findings] if self.findings else [
            "", "Nothing wrong was found."]
        return "\n".join(lines)

    def __repr__(self):
        problems = ", ".join(finding.problem for finding in self.findings) or "healthy"
        return (f"<GradientFlowReport of {len(self._layers)} layers, {len(self.steps)} steps: "
                f"{problems}>")


def flat_on_both_sides(activation: str, params: tuple = ()) -> bool:
    """Whether an activation saturates: flat far out on both sides, and not around 0.

    >>> [flat_on_both_sides(name) for name in ("tanh", "hard_sigmoid", "relu", "relu6", "gelu")]
    [True, True, False, False, False]
    """
    limit = no_slope(activation, params)
    left, low, high, right = slopes(activation, params, [-_FAR, -0.4, 0.4, _FAR]) <= limit
    return bool(left and right and not low and not high)


def _free(name, taken):
    """The name, or "name (2)" and so on where it is taken."""
    count, found = 1, name
    while found in taken:
        count += 1
        found = f"{name} ({count})"
    return found


def _number(values, form="{:.2g}"):
    if values is None:
        return ""
    with np.errstate(all="ignore"):
        return form.format(float(np.median(values)))
