"""What the numbers of a gradient flow say: diseases of networks, each by a stated threshold.

Every rule looks at medians or means over the steps that were observed and names the layers.  The
thresholds are data (`Thresholds`), so that somebody who knows better can pass others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Finding", "Thresholds", "find"]


@dataclass(frozen=True)
class Thresholds:
    """From where on a number counts as a sign of disease.

    Attributes
    ----------
    vanishing, exploding : float
        Ratio of the error signal of a layer (root mean square of the gradient of the loss before
        its activation) to that of the layer next to the loss.  Sound initialisation keeps it near
        1 in every depth; each sigmoid layer costs a factor of at most 1/4 (Glorot and Bengio 2010,
        "Understanding the difficulty of training deep feedforward neural networks"; Hochreiter
        1991).  Three powers of ten are far outside of what initialisation leaves.
    growth : float
        How many times larger the gradient of a parameter may be in the last quarter of the steps
        than in the first.
    dead : float
        Share of a layer's units whose slope was 0 in every observed row (a rectifier that never
        fires gets no gradient and does not come back: Maas et al. 2013; Lu et al. 2019,
        arXiv:1903.06733).  A few are harmless; a quarter is a loss of capacity that is seen.
    saturated : float
        Share of the outputs of a layer whose slope is below a twentieth of the steepest, for
        activations that are flat on both sides (Glorot and Bengio 2010, section 3).
    ratio_low, ratio_high : float
        Norm of a kernel's update by the norm of the kernel.  About 1e-3 is healthy (Stanford
        CS231n, "Neural Networks Part 3", ratio of weights and updates); the limits are two powers
        of ten to either side, because Adam's first steps are larger and late steps smaller.

    Examples
    --------
    >>> Thresholds(dead=0.5).dead
    0.5
    """

    vanishing: float = 1e-3
    exploding: float = 1e3
    growth: float = 1e3
    dead: float = 0.25
    saturated: float = 0.5
    ratio_low: float = 1e-5
    ratio_high: float = 1e-1


@dataclass(frozen=True)
class Finding:
    """One disease: its name, the layers that have it, the worst first, and a sentence.

    `problem` is one of "not finite", "vanishing", "exploding", "dead", "saturated",
    "learning rate too high" and "learning rate too low"; `values` has for each layer the number
    that was compared with the threshold.

    Examples
    --------
    >>> print(Finding("dead", ("hidden",), (0.75,), "75 % of the units of 'hidden' never fire."))
    DEAD (hidden): 75 % of the units of 'hidden' never fire.
    """

    problem: str
    layers: tuple
    values: tuple = field(compare=False)
    text: str = field(compare=False)

    def __str__(self):
        return f"{self.problem.upper()} ({', '.join(self.layers)}): {self.text}"


def find(report, limits: Thresholds) -> list[Finding]:
    """All diseases that a report shows, the gravest first."""
    found = _not_finite(report)
    found += _through_depth(report, limits)
    found += _dead(report, limits)
    found += _saturated(report, limits)
    ill = {layer for finding in found for layer in finding.layers}
    return found + _learning_rate(report, limits, ill)


def _median(values):
    """Of the finite ones; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def _worst(values, largest=True):
    """Names and numbers of a dict, the worst first."""
    order = sorted(values, key=values.get, reverse=largest)
    return tuple(order), tuple(values[name] for name in order)


def _not_finite(report):
    """Infinities and NaN: where they were first."""
    first = {}
    for numbers in (report.activation_rms, report.error_rms):
        for layer, values in numbers.items():
            bad = np.flatnonzero(~np.isfinite(values))
            if len(bad):
                first[layer] = min(int(report.steps[bad[0]]), first.get(layer, 2**62))
    for name, values in report.gradient_norm.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            layer = report.layer_of[name]
            first[layer] = min(int(report.steps[bad[0]]), first.get(layer, 2**62))
    if not first:
        return []
    layers, steps = _worst(first, largest=False)
    return [Finding("not finite", layers, steps,
                    f"Infinities or NaN arise from step {steps[0]} on, first seen in "
                    f"{layers[0]!r}. Lower the learning rate, clip gradients, or look at the data "
                    "for numbers that are not finite.")]


def _through_depth(report, limits):
    """Errors that shrink or grow on their way from the loss to the first layers, or in time."""
    found = []
    errors = {layer: _median(values) for layer, values in report.error_rms.items()}
    layers = list(errors)
    last = errors[layers[-1]] if layers else 0.0
    if last > 0.0:
        ratios = {layer: errors[layer] / last for layer in layers[:-1]}
        gone = {layer: r for layer, r in ratios.items() if r < limits.vanishing}
        large = {layer: r for layer, r in ratios.items() if r > limits.exploding}
        if gone:
            names, values = _worst(gone, largest=False)
            found.append(Finding(
                "vanishing", names, values,
                f"The error that reaches {names[0]!r} is {values[0]:.1e} of that at "
                f"{layers[-1]!r}: it hardly learns. Use an activation that does not saturate, the "
                "initialisation that belongs to it, normalization, or shortcuts around layers."))
        if large:
            names, values = _worst(large)
            found.append(Finding(
                "exploding", names, values,
                f"The error that reaches {names[0]!r} is {values[0]:.1e} times that at "
                f"{layers[-1]!r}. Use smaller initial weights, normalization, or clip gradients."))
    quarter = max(len(report.steps) // 4, 1)
    grown = {}
    for name, values in report.gradient_norm.items():
        before, after = _median(values[:quarter]), _median(values[-quarter:])
        if before > 0.0 and after / before > limits.growth:
            layer = report.layer_of[name]
            grown[layer] = max(after / before, grown.get(layer, 0.0))
    if grown and not any(finding.problem == "exploding" for finding in found):
        names, values = _worst(grown)
        found.append(Finding(
            "exploding", names, values,
            f"The gradient of {names[0]!r} has grown {values[0]:.1e} times while it was observed: "
            "training diverges. Lower the learning rate or clip gradients."))
    return found


def _dead(report, limits):
    shares = {layer: float(units.mean()) for layer, units in report.dead_units.items()
              if units.mean() > limits.dead}
    if not shares:
        return []
    names, values = _worst(shares)
    units = report.dead_units[names[0]]
    return [Finding(
        "dead", names, values,
        f"{int(units.sum())} of the {len(units)} units of {names[0]!r} had slope 0 in each of the "
        f"{report.rows:,} rows that were observed: they learn nothing more. Lower the learning "
        "rate, look at the biases and the scale of the data, or use an activation with a slope on "
        "both sides.")]


def _saturated(report, limits):
    shares = {layer: _median(values) for layer, values in report.saturated.items()}
    shares = {layer: share for layer, share in shares.items() if share > limits.saturated}
    if not shares:
        return []
    names, values = _worst(shares)
    return [Finding(
        "saturated", names, values,
        f"{values[0]:.0%} of the outputs of {names[0]!r} are where its activation is flat, and "
        "pass next to no gradient on. Standardize the data, use smaller initial weights, or "
        "normalization in front of the activation.")]


def _learning_rate(report, limits, ill):
    """Updates too large or too small beside the weights; too small only in layers that are well."""
    ratios = {}
    for name, values in report.update_ratio.items():
        if report.parameter_shapes[name][0] > 1:  # biases begin at 0
            ratio = _median(values)
            if np.isfinite(ratio):
                ratios[name] = ratio
    high = {report.layer_of[name]: r for name, r in ratios.items() if r > limits.ratio_high}
    if high:
        names, values = _worst(high)
        return [Finding(
            "learning rate too high", names, values,
            f"A step changes the weights of {names[0]!r} by {values[0]:.0%} of their norm; about "
            "0.1 % is usual. Lower the learning rate, or clip gradients.")]
    well = {report.layer_of[name]: r for name, r in ratios.items()
            if report.layer_of[name] not in ill and _median(report.gradient_norm[name]) > 0.0}
    if well and all(ratio < limits.ratio_low for ratio in well.values()):
        names, values = _worst(well, largest=False)
        return [Finding(
            "learning rate too low", names, values,
            f"A step changes the weights of {names[0]!r} by {values[0]:.1e} of their norm; about "
            "1e-3 is usual. Raise the learning rate, unless the loss is as low as it should be.")]
    return []
