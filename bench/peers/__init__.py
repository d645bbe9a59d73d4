"""Adapters: one module per contender, all with the same few functions.

A module states `NAME`, `DISTRIBUTIONS` (what it imports), ``EPSILON_HAT = False`` where Adam's
epsilon stands beside sqrt(v_hat), and any of

``Trainer(work, x, y, layers)``
    with ``train(shuffle) -> list of float`` (the mean training loss of each epoch of one call) and
    ``layers() -> list of (kernel, bias)``;
``predictor(work, layers) -> callable(x) -> array``
    class probabilities, or plain outputs for squared error;
``bound_predictor(work, layers, rows) -> callable(x) -> array``
    the same, prepared for a number of rows;
``elementwise(name, x, out) -> callable() -> array``
    may write into `out`;
``cross_entropy(logits, labels) -> callable() -> (loss, gradient)``
``cross_entropy_out(logits, labels, out) -> callable() -> (loss, gradient)``
    the same, with the gradient in `out`;
``adam(parameters, gradient) -> (callable(), callable() -> array)``
    one update, and a look at the parameters;
``update(name, parameters, gradient)``
    the same for the other optimizers in ``UPDATES``;
``classifier() -> class``
    an estimator with the arguments of scikit-learn's ``MLPClassifier``;
``settings() -> dict``
    how the library is set, for the report.

A function raises `Unsupported` with the reason where its library has no such thing.  Contenders do
what a knowledgeable user of the library would write, in float32, with the library's own default
threads.
"""

from __future__ import annotations

import importlib
import importlib.util

from ..machine import version

__all__ = ["ADAPTERS", "Unsupported", "load", "only_float32", "settings", "versions"]

ADAPTERS = (
    "fused", "numpy_", "torch_", "keras_", "jax_step", "jax_scan", "sklearn_", "thinc_",
    "onnxruntime_",
)
"""Module names, the library that is measured first."""


class Unsupported(Exception):
    """The library has no such function; the message says what it lacks."""


def only_float32(work):
    """Of a library without mixed precision."""
    if work.policy != "float32":
        raise Unsupported(f"no {work.policy}")


def load(chosen=None):
    """Import the adapters whose libraries are installed.

    Parameters
    ----------
    chosen : sequence of str, optional
        Names without the trailing underscore; fusedmlp always takes part.  "none" means no peer.

    Returns
    -------
    adapters : list of module
    missing : dict of str to str
        Why the others are not there.

    Raises
    ------
    ValueError
        For a name that is not in `ADAPTERS`.
    """
    known = {module.rstrip("_"): module for module in ADAPTERS}
    if chosen is not None:
        for name in chosen:
            if name != "none" and name not in known:
                raise ValueError(
                    f"Unknown peer: expected some of {', '.join(known)}, or none. "
                    f"Received: {name!r}"
                )
    adapters, missing = [], {}
    for name, module in known.items():
        if chosen is not None and name not in chosen and name != "fused":
            continue
        try:
            adapters.append(importlib.import_module(f"{__name__}.{module}"))
        except ImportError as error:
            missing[name] = f"not installed ({error})"
    return adapters, missing


def versions(adapters):
    """Versions of what the adapters measure, by distribution."""
    return {name: version(name) for adapter in adapters for name in adapter.DISTRIBUTIONS}


def settings(adapters):
    """How the measured libraries are set, by name, where they say so."""
    return {a.NAME: a.settings() for a in adapters if hasattr(a, "settings")}
