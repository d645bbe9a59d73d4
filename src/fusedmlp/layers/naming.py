"""Names for layers and models that were given none, counted per kind as Keras counts them."""

from __future__ import annotations

from collections import Counter

from ..registry import snake_case

__all__ = ["auto_name", "reset_names"]

_counts: Counter[str] = Counter()


def auto_name(kind: str) -> str:
    """The next free name for a class called `kind`.

    >>> reset_names()
    >>> auto_name("Dense"), auto_name("Dense"), auto_name("InputLayer")
    ('dense', 'dense_1', 'input_layer')
    """
    base = snake_case(kind.lstrip("_"))
    number = _counts[base]
    _counts[base] += 1
    return f"{base}_{number}" if number else base


def reset_names() -> None:
    """Count from the beginning again."""
    _counts.clear()
