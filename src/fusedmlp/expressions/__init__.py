"""Expressions of NumPy functions: how they are computed, and differentiated.

Where a plan has no operation for a function that a layer, a regularizer or a loss of one's own
applies to symbolic tensors, the calls are noted down; together they become one step in Python,
which a `Program` computes and differentiates.  This package knows arrays, and nothing of layers and
plans.
"""

from __future__ import annotations

from .program import Program

__all__ = ["Program"]
