"""Dtype policies: in which dtype a layer computes, and in which its variables lie.

``float32`` and ``float64`` do both in one dtype.  ``mixed_bfloat16`` multiplies bfloat16 numbers in
the matrix products of dense layers, forward and backward, where the processor can (AVX512_BF16, and
the NumPy backend by rounding); sums, biases, activations, losses, variables and the optimizer stay
float32, and so do the arrays that come out.  Where the processor can't, products are float32 and a
warning says so.  ``mixed_float16``, which scripts written for GPUs ask for, is computed in float32,
as a warning says: its range is too small to train without scaling the loss, and CPUs gain nothing
by it.  This module knows no layer.

Keras 3's ``mixed_bfloat16`` also rounds what layers pass on; here only factors of products are
rounded, so results are a little nearer to float32.

>>> DTypePolicy("mixed_bfloat16").compute_dtype, DTypePolicy("mixed_bfloat16").variable_dtype
('bfloat16', 'float32')
"""

from __future__ import annotations

import warnings
from typing import Any

from . import config

__all__ = ["DTypePolicy", "FloatDTypePolicy", "dtype_policy", "get", "set_dtype_policy"]

_COMPUTE = {"float32": "float32", "float64": "float64", "mixed_bfloat16": "bfloat16",
            "mixed_float16": "float32"}
_WHY_NOT = {
    "float16": "its range is too small to train without scaling the loss",
    "bfloat16": "variables in bfloat16 would lose small updates",
}

_current: DTypePolicy | None = None


class DTypePolicy:
    """The dtypes that a layer computes in and keeps its variables in.

    Parameters
    ----------
    name : {"float32", "float64", "mixed_bfloat16", "mixed_float16"}, optional
        By default that of the policy of layers that name none.

    Attributes
    ----------
    name, compute_dtype, variable_dtype : str

    Raises
    ------
    ValueError
        If the name is another.

    Warns
    -----
    UserWarning
        For "mixed_float16", which is computed in float32.

    References
    ----------
    Keras 3, keras.DTypePolicy.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> layer = fm.layers.Dense(3, dtype="mixed_bfloat16")
    >>> layer.compute_dtype, layer.variable_dtype
    ('bfloat16', 'float32')
    """

    def __init__(self, name: str | None = None):
        if name is None:
            name = dtype_policy().name
        if name not in _COMPUTE:
            reason = _WHY_NOT.get(name) if isinstance(name, str) else None
            raise ValueError(
                f"Argument `name` must be one of {', '.join(map(repr, _COMPUTE))}"
                + (f" ({name!r} is not offered: {reason})" if reason else "")
                + f". Received: {name!r}"
            )
        if name == "mixed_float16":
            warnings.warn("The dtype policy 'mixed_float16' is computed in float32; "
                          "'mixed_bfloat16' is the one that is faster here", stacklevel=2)
        self._name = name

    @property
    def name(self) -> str:
        """The policy's name."""
        return self._name

    @property
    def compute_dtype(self) -> str:
        """The dtype of the factors of products."""
        return _COMPUTE[self._name]

    @property
    def variable_dtype(self) -> str:
        """The dtype of variables, and of everything but those factors."""
        return "float32" if self._name.startswith("mixed_") else self._name

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal policy."""
        return {"name": self._name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicy:
        """The policy of a configuration."""
        return cls(**config)

    def __eq__(self, other):
        return isinstance(other, DTypePolicy) and other.name == self._name

    def __hash__(self):
        return hash(self._name)

    def __repr__(self):
        return f"<DTypePolicy {self._name!r}>"


FloatDTypePolicy = DTypePolicy


def get(identifier) -> DTypePolicy:
    """A policy from one, its name, a NumPy dtype, or a configuration.

    Raises
    ------
    ValueError
        If it is none of these.

    >>> get("float64").variable_dtype
    'float64'
    """
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, dict):
        return DTypePolicy(**identifier.get("config", identifier))
    if isinstance(identifier, str) and identifier in (*_COMPUTE, *_WHY_NOT):
        return DTypePolicy(identifier)
    from .variable import float_dtype  # which reads the settings, as this module does

    return DTypePolicy(float_dtype(identifier))


def dtype_policy() -> DTypePolicy:
    """The policy of layers that name none: that of `fusedmlp.config.floatx()` at first.

    >>> dtype_policy().name
    'float32'
    """
    return _current or DTypePolicy(config.floatx())


def set_dtype_policy(policy) -> None:
    """Set the policy of layers that are made from now on and name none.

    Parameters
    ----------
    policy : DTypePolicy, str or None
        None: that of `fusedmlp.config.floatx()` again.

    Raises
    ------
    ValueError
        If it is unknown; nothing changes then.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.mixed_precision.set_dtype_policy("mixed_bfloat16")
    >>> fm.layers.Dense(2).compute_dtype
    'bfloat16'
    >>> fm.mixed_precision.set_dtype_policy(None)
    """
    global _current
    _current = None if policy is None else get(policy)


def asked() -> DTypePolicy | None:
    """The policy that was set for layers that name none, if one was."""
    return _current
