"""Whether a layer's own `call` is being followed on symbolic tensors, and who follows it.

While it is, arithmetic with variables alone, random numbers and added losses are noted down by a
tracer (`fusedmlp.layers.deferred`) instead of being computed.  This module knows none of them.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["SymbolicError", "current", "exact", "exactly", "following", "latest",
           "symbolic"]

_current: contextvars.ContextVar[Any] = contextvars.ContextVar("tracer", default=None)
_exact: contextvars.ContextVar[bool] = contextvars.ContextVar("exact", default=False)


class SymbolicError(TypeError, AttributeError):
    """Something was asked of a symbolic tensor that only an array can do."""


def current() -> Any:
    """The tracer at work; None where arrays are computed, as they are outside of a `call`."""
    return _current.get()


def symbolic(x: Any) -> Any:
    """A variable as a symbolic tensor while a `call` is followed; anything else as it is."""
    tracer = current()
    return tracer.call(np.positive, (x,), {}) if tracer is not None and hasattr(x, "watch") else x


def latest(x: Any) -> Any:
    """A variable, or what the `call` that is followed has assigned to it; anything else as it is.
    """
    tracer = current()
    return tracer.latest(x) if tracer is not None and hasattr(x, "watch") else x


def exact() -> bool:
    """Whether losses are computed in float64 because differences of them are taken."""
    return _exact.get()


@contextlib.contextmanager
def exactly() -> Iterator[None]:
    """Within this block they are."""
    token = _exact.set(True)
    try:
        yield
    finally:
        _exact.reset(token)


@contextlib.contextmanager
def following(tracer: Any) -> Iterator[None]:
    """Within this block `tracer` notes down what happens; None lets it happen."""
    token = _current.set(tracer)
    try:
        yield
    finally:
        _current.reset(token)
