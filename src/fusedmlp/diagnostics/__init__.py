"""Looks into a network: what flows through it while it trains, drawn and put into words.

>>> import fusedmlp as fm
>>> fm.diagnostics.Thresholds().dead
0.25
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .. import spec

if TYPE_CHECKING:
    from .flow import GradientFlow, gradient_flow
    from .plots import (
        plot_activation,
        plot_decision_boundary,
        plot_gradient_flow,
        plot_history,
        plot_weights,
    )
    from .report import GradientFlowReport
    from .verdicts import Finding, Thresholds

_PLACES = {
    "Finding": "verdicts",
    "GradientFlow": "flow",
    "GradientFlowReport": "report",
    "Thresholds": "verdicts",
    "gradient_flow": "flow",
    "plot_activation": "plots",
    "plot_decision_boundary": "plots",
    "plot_gradient_flow": "plots",
    "plot_history": "plots",
    "plot_weights": "plots",
}

__all__ = ["Finding", "GradientFlow", "GradientFlowReport", "Thresholds", "gradient_flow",
           "plot_activation", "plot_decision_boundary", "plot_gradient_flow", "plot_history",
           "plot_weights"]


def __getattr__(name: str) -> Any:
    """Load a public name on first use; it is then an ordinary attribute."""
    if name in _PLACES:
        value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
        globals()[name] = value
        return value
    message = f"module {__name__!r} has no attribute {name!r}"
    if not name.startswith("_"):
        message += f". {spec.nearest(name, __all__, 'name')}"
    raise AttributeError(message)
