"""Layers that turn numbers into categories and categories into vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import checks
from .base import (
    MODES,
    PreprocessingLayer,
    adapted_batches,
    encode,
    encoded_shape,
    one_of_modes,
    refuse_sparse,
    values,
)

__all__ = ["CategoryEncoding", "Discretization"]


class CategoryEncoding(PreprocessingLayer):
    """Integers from 0 to ``num_tokens - 1`` as vectors; others are nowhere.

    Parameters
    ----------
    num_tokens : int
        Length of a vector.
    output_mode : {"multi_hot", "one_hot", "count"}
        "one_hot" makes a vector of each integer; the others make one of a row: what is in it, or
        how often.
    sparse : bool
        Must be False.
    **kwargs
        As `Layer` takes them.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Keras 3, keras.layers.CategoryEncoding.

    Examples
    --------
    >>> CategoryEncoding(4)(np.array([[0, 1], [3, 3]]))
    array([[1., 1., 0., 0.],
           [0., 0., 0., 1.]], dtype=float32)
    """

    def __init__(self, num_tokens: int | None = None, output_mode: str = "multi_hot",
                 sparse: bool = False, **kwargs):
        super().__init__(**kwargs)
        if num_tokens is None:
            raise ValueError(
                "Argument `num_tokens` must be given (where it is not known, IntegerLookup finds "
                "it out). Received: None"
            )
        self.num_tokens = checks.integer(num_tokens, "num_tokens", 1)
        self.output_mode = one_of_modes(output_mode, MODES[1:])
        refuse_sparse(sparse)
        self.sparse = False

    def transform(self, inputs, count_weights=None):
        if count_weights is not None and self.output_mode != "count":
            raise ValueError(
                "Argument `count_weights` has a meaning for output_mode='count' alone. "
                f"Received: output_mode={self.output_mode!r}"
            )
        return encode(checks.real_array(values(inputs), "inputs"), self.output_mode,
                      self.num_tokens, self.dtype, count_weights)

    def compute_output_shape(self, input_shape):
        return encoded_shape(input_shape, self.output_mode, self.num_tokens)

    def lower(self, builder, x):
        return builder.encode(x, self.num_tokens, self.output_mode, name=self.name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_tokens": self.num_tokens,
                "output_mode": self.output_mode}


class Discretization(PreprocessingLayer):
    """The number of the interval in which a value lies.

    Intervals are open above: with boundaries b, a value x is in interval ``sum(b <= x)``.

    Parameters
    ----------
    bin_boundaries : list of float, optional
        Ascending.
    num_bins : int, optional
        In place of it: how many intervals with equally many values `adapt` is to find.
    epsilon : float
        Precision of the quantiles that are found: what is remembered of the data are at most
        ``1 / epsilon`` values.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        The number, or vectors as `CategoryEncoding` makes them.
    sparse : bool
        Must be False.
    dtype : str, optional
    name : str, optional

    Attributes
    ----------
    bin_boundaries : list of float or None

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, or not exactly one of the first two is given.

    References
    ----------
    Keras 3, keras.layers.Discretization, whose sketch of quantiles `adapt` reproduces: sorted
    values of a batch at equal distances with their weights, merged and interpolated.

    Examples
    --------
    >>> Discretization([0.0, 1.0, 2.0])(np.array([[-1.5, 1.0], [0.5, 7.0]]))
    array([[0, 2],
           [1, 3]], dtype=int32)
    """

    def __init__(self, bin_boundaries=None, num_bins: int | None = None, epsilon: float = 0.01,
                 output_mode: str = "int", sparse: bool = False, dtype=None,
                 name: str | None = None, **kwargs):
        super().__init__(name=name, dtype=dtype, **kwargs)
        if (bin_boundaries is None) == (num_bins is None):
            raise ValueError(
                "Exactly one of the arguments `bin_boundaries` and `num_bins` must be given. "
                f"Received: bin_boundaries={bin_boundaries!r}, num_bins={num_bins!r}"
            )
        self.num_bins = None if num_bins is None else checks.integer(num_bins, "num_bins", 1)
        self.epsilon = checks.number(epsilon, "epsilon", low=1e-6, below=1)
        self.output_mode = one_of_modes(output_mode)
        refuse_sparse(sparse)
        self.sparse = False
        self.bin_boundaries: list[float] | None = None
        self.reset_state()
        if bin_boundaries is not None:
            found = checks.float_like(bin_boundaries, "bin_boundaries", np.dtype(np.float64))
            if found.ndim != 1 or not (np.diff(found) >= 0).all():
                raise ValueError(
                    "Argument `bin_boundaries` must be an ascending list of numbers. "
                    f"Received: {bin_boundaries!r}"
                )
            self.bin_boundaries = found.tolist()

    def adapt(self, data, steps: int | None = None) -> None:
        """Find boundaries with equally many values between them.

        Parameters
        ----------
        data : array_like or batches
        steps : int, optional
            Most batches to look at.

        Raises
        ------
        ValueError, TypeError
            If the layer was given boundaries, or the data is empty or holds no numbers.
        """
        self._require_adaptable()
        self.reset_state()
        for batch in adapted_batches(data, steps):
            self.update_state(batch)
        self.finalize_state()

    @property
    def _adaptable(self):
        return self.num_bins is not None

    def _require_adaptable(self):
        if self.num_bins is None:
            raise ValueError(
                f"Layer {self.name!r} was given `bin_boundaries`, so it can't be adapted: give it "
                "`num_bins` instead"
            )

    def reset_state(self) -> None:
        """Forget what `update_state` has seen; the boundaries stay."""
        self.summary = np.empty((2, 0), np.float32)  # values, and how many each stands for

    def update_state(self, data) -> None:
        """Look at a batch, for `finalize_state` to find boundaries.

        Parameters
        ----------
        data : array_like

        Raises
        ------
        ValueError, TypeError
            If the layer was given boundaries, or the data holds no numbers.
        """
        self._require_adaptable()
        found = np.sort(checks.real_array(values(data, "data"), "data").astype(np.float32),
                        axis=None)
        if not found.size:
            return
        step = max(found.size * self.epsilon, 1)
        picked = found[int(step - 1) :: int(step)]
        merged = np.concatenate([np.stack([picked, np.full_like(picked, step)]), self.summary], 1)
        self.summary = _condensed(merged[:, merged[0].argsort()], self.epsilon)

    def finalize_state(self) -> None:
        """Make what `update_state` has seen the boundaries, in place of what was known."""
        if self.summary.size:
            self.bin_boundaries = _condensed(
                self.summary, 1.0 / self.num_bins)[0, :-1].tolist()

    @property
    def _depth(self):
        if self.bin_boundaries is None:
            return self.num_bins
        return len(self.bin_boundaries) + 1

    def _boundaries(self):
        if self.bin_boundaries is None:
            raise ValueError(
                f"Layer {self.name!r} has no boundaries yet: give it `bin_boundaries`, or call "
                "`adapt(data)`"
            )
        return np.asarray(self.bin_boundaries, self.dtype)

    def transform(self, inputs):
        boundaries = self._boundaries()
        x = checks.float_like(inputs, "inputs", boundaries.dtype)
        bins = np.searchsorted(boundaries, x, side="right")
        if self.output_mode == "int":
            return bins.astype(np.int32)
        return encode(bins, self.output_mode, self._depth, self.dtype)

    def compute_output_shape(self, input_shape):
        return encoded_shape(input_shape, self.output_mode, self._depth)

    def lower(self, builder, x):
        bins = builder.digitize(x, self._boundaries().tolist(), name=self.name)
        if self.output_mode == "int":
            return bins
        return builder.encode(bins, self._depth, self.output_mode, name=self.name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bin_boundaries": self.bin_boundaries,
                "num_bins": self.num_bins, "epsilon": self.epsilon,
                "output_mode": self.output_mode}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        found = config.pop("bin_boundaries", None)
        if config.get("num_bins") is None:
            return cls(bin_boundaries=found, **config)
        layer = cls(**config)
        layer.bin_boundaries = found
        return layer


def _condensed(sketch, epsilon):
    """The sketch at distances of a share `epsilon` of all weight, where it has more values."""
    if sketch.shape[1] * epsilon < 1:
        return sketch
    shares = epsilon + np.arange(0.0, 1.0, epsilon)
    weight = sketch[1].cumsum()
    found = np.interp(shares, weight / weight[-1], sketch[0])
    weights = np.diff(np.interp(shares, weight / weight[-1], weight), prepend=0)
    return np.stack([found, weights]).astype(np.float32)
