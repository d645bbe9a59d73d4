"""Layers that scale numbers: `Normalization`, which learns how from data, and `Rescaling`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import checks
from .base import PreprocessingLayer, adapted_batches

__all__ = ["Normalization", "Rescaling"]

_EPSILON = 1e-7  # the least that a standard deviation counts as: Keras's default epsilon


class Normalization(PreprocessingLayer):
    """Shifts and scales features to mean 0 and variance 1: ``(x - mean) / sqrt(variance)``.

    Parameters
    ----------
    axis : int, tuple of int or None
        The axes that have a mean each; None has one of all values.
    mean, variance : float or array_like, optional
        What `adapt` would find out; both or neither.
    invert : bool
        Whether to go back: ``x sqrt(variance) + mean``.
    **kwargs
        As `Layer` takes them.

    Attributes
    ----------
    mean, variance : ndarray
        As they are used.  Where they come from `adapt`, they are weights of the layer, too.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, or shapes don't fit.

    References
    ----------
    Keras 3, keras.layers.Normalization; Chan, Golub and LeVeque (1979) for moments that are joined
    batch by batch.

    Examples
    --------
    >>> layer = Normalization()
    >>> layer.adapt(np.array([[0.0, 7.0], [2.0, 9.0]]))
    >>> layer(np.array([[1.0, 9.0]]))
    array([[0., 1.]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, axis=-1, mean=None, variance=None, invert: bool = False, **kwargs):
        super().__init__(**kwargs)
        if axis is None:
            axis = ()
        elif not isinstance(axis, (tuple, list)):
            axis = (checks.integer(axis, "axis", -32),)
        self.axis = tuple(checks.integer(a, "axis", -32) for a in axis)
        if (mean is None) != (variance is None):
            raise ValueError(
                "Arguments `mean` and `variance` must be given together. "
                f"Received: mean={mean!r}, variance={variance!r}"
            )
        if mean is not None:
            mean = checks.float_like(mean, "mean", np.dtype(np.float64))
            variance = checks.float_like(variance, "variance", np.dtype(np.float64))
            if mean.shape != variance.shape or mean.ndim > len(self.axis):
                raise ValueError(
                    f"Arguments `mean` and `variance` must have one shape, of at most "
                    f"{len(self.axis)} axes. Received: shapes {mean.shape} and {variance.shape}"
                )
        self._given = None if mean is None else (mean, variance)
        self.invert = bool(invert)
        self.reset_state()
        self._keep: tuple[int, ...] = ()
        self._kept_shape: tuple[int, ...] = ()

    def build(self, input_shape):
        ndim = len(input_shape)
        if any(not -ndim <= a < ndim for a in self.axis):
            raise ValueError(
                f"Argument `axis` of {self.name!r} must hold axes of its input, which has {ndim}. "
                f"Received: axis={self.axis}"
            )
        self._keep = tuple(sorted(a % ndim for a in self.axis))
        if any(input_shape[a] is None for a in self._keep):
            raise ValueError(
                f"Argument `axis` of {self.name!r} must hold axes of known length. "
                f"Received: axis={self.axis} for input shape {tuple(input_shape)}"
            )
        self._kept_shape = tuple(input_shape[a] for a in self._keep)
        if self._given is None:
            shape = self._kept_shape or (1,)
            self.adapt_mean = self.add_weight(shape, "zeros", trainable=False, name="mean")
            self.adapt_variance = self.add_weight(shape, "ones", trainable=False, name="variance")
        else:
            for value, name in zip(self._given, ("mean", "variance"), strict=True):
                try:
                    np.broadcast_to(value, self._kept_shape)
                except ValueError:
                    raise ValueError(
                        f"Argument `{name}` of {self.name!r} must fit the shape "
                        f"{self._kept_shape} of the kept axes. Received: shape {value.shape}"
                    ) from None
        self._input_columns = input_shape[-1]
        self.built = True

    def _moments(self):
        """Mean and variance of the shape of the kept axes."""
        pair = self._given or (np.asarray(self.adapt_mean), np.asarray(self.adapt_variance))
        return [np.broadcast_to(np.reshape(v, self._kept_shape) if np.size(v) == np.prod(
            self._kept_shape, dtype=int) else v, self._kept_shape) for v in pair]

    @property
    def mean(self) -> np.ndarray:
        """What is subtracted; AttributeError before it is known."""
        return self._known()[0]

    @property
    def variance(self) -> np.ndarray:
        """The square of what is divided by; AttributeError before it is known."""
        return self._known()[1]

    def _known(self):
        if not self.built:
            raise AttributeError(
                f"Layer {self.name!r} has no mean and variance before `adapt` or `build`"
            )
        return self._moments()

    def adapt(self, data) -> None:
        """Find mean and variance of data, in place of what was known.

        Parameters
        ----------
        data : array_like or batches
            Of the shape of the layer's input.

        Raises
        ------
        ValueError, TypeError
            If the layer was given `mean` and `variance`, or the data does not fit or is empty.
        """
        self._require_adaptable()
        self.reset_state()
        for batch in adapted_batches(data):
            self.update_state(batch)
        self.finalize_state()

    @property
    def _adaptable(self):
        return self._given is None

    def _require_adaptable(self):
        if self._given is not None:
            raise ValueError(
                f"Layer {self.name!r} was given its mean and variance, so it can't be adapted"
            )

    def reset_state(self) -> None:
        """Forget what `update_state` has seen; mean and variance stay."""
        self._seen = (0.0, 0.0, 0.0)  # count, mean, sum of squared distances from the mean

    def update_state(self, data) -> None:
        """Look at a batch, for `finalize_state` to find mean and variance.

        Parameters
        ----------
        data : array_like

        Raises
        ------
        ValueError, TypeError
            If the layer was given `mean` and `variance`, or the data does not fit.
        """
        self._require_adaptable()
        batch = checks.real_array(data, "data").astype(np.float64)
        if not self.built:
            self.build((None, *batch.shape[1:]) if batch.ndim else ())
        self._check_shape(batch.shape)
        others = tuple(a for a in range(batch.ndim) if a not in self._keep)
        n = batch.size / max(1, np.prod(self._kept_shape, dtype=int))
        if not n:
            return
        count, mean, square = self._seen
        centre = batch.mean(axis=others)
        spread = batch.var(axis=others) * n
        delta = centre - mean
        self._seen = (count + n, mean + delta * (n / (count + n)),
                      square + spread + delta**2 * (count * n / (count + n)))

    def finalize_state(self) -> None:
        """Make what `update_state` has seen mean and variance, in place of what was known."""
        count, mean, square = self._seen
        if count:
            self.adapt_mean.assign(np.reshape(mean, self.adapt_mean.shape))
            self.adapt_variance.assign(np.reshape(square / count, self.adapt_variance.shape))

    def _check_shape(self, shape):
        if any(a >= len(shape) for a in self._keep) or self._kept_shape != tuple(
                shape[a] for a in self._keep):
            raise ValueError(
                f"Layer {self.name!r} was built for inputs whose axes {self._keep} have the shape "
                f"{self._kept_shape}. Received: shape {tuple(shape)}"
            )

    def transform(self, inputs):
        x = checks.float_like(inputs, "inputs", np.dtype(self.dtype))
        if not self.built:
            self.build((None, *x.shape[1:]) if x.ndim else ())
        self._check_shape(x.shape)
        shape = [x.shape[a] if a in self._keep else 1 for a in range(x.ndim)]
        mean, variance = (np.reshape(v, shape).astype(x.dtype) for v in self._moments())
        spread = np.maximum(np.sqrt(variance), x.dtype.type(_EPSILON))
        return x * spread + mean if self.invert else (x - mean) / spread

    def compute_output_shape(self, input_shape):
        if self.built:
            self._check_shape(input_shape)
        return tuple(input_shape)

    def lower(self, builder, x):
        if self._keep not in ((), (self._rank() - 1,)):
            raise ValueError(
                f"Argument `axis` of {self.name!r} must be -1 or None within a model. "
                f"Received: axis={self.axis}"
            )
        if self._given is None:
            mean, variance = (self.parameter(builder, v)
                              for v in (self.adapt_mean, self.adapt_variance))
            return builder.feature_norm(x, mean, variance, invert=self.invert, name=self.name)
        mean, variance = (v.reshape(-1).astype(self.dtype).astype(float) for v in self._moments())
        spread = np.maximum(np.sqrt(variance), _EPSILON)
        if self.invert:
            return builder.column_affine(x, scale=spread, after=mean, name=self.name)
        return builder.column_affine(x, before=mean, scale=1.0 / spread, name=self.name)

    def _rank(self):
        return max(self._keep, default=1) + 1

    def get_config(self):
        mean, variance = self._given or (None, None)
        return {**super().get_config(), "axis": list(self.axis) if len(self.axis) != 1
                else self.axis[0], "invert": self.invert,
                "mean": None if mean is None else mean.tolist(),
                "variance": None if variance is None else variance.tolist()}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("axis"), list):
            config["axis"] = tuple(config["axis"]) or None
        return cls(**config)


class Rescaling(PreprocessingLayer):
    """Multiplies and shifts: ``x * scale + offset``.

    Parameters
    ----------
    scale, offset : float or array_like
        One number, or one for each column.
    **kwargs
        As `Layer` takes them.

    Raises
    ------
    ValueError, TypeError
        If an argument holds no numbers, or has more axes than one.

    References
    ----------
    Keras 3, keras.layers.Rescaling.

    Examples
    --------
    >>> Rescaling(1 / 256, offset=-0.5)(np.array([[0, 64, 256]]))
    array([[-0.5 , -0.25,  0.5 ]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, scale, offset=0.0, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("scale", scale), ("offset", offset)):
            if checks.float_like(value, name, np.dtype(np.float64)).ndim > 1:
                raise ValueError(
                    f"Argument `{name}` must be a number, or one for each column. "
                    f"Received: shape {np.shape(value)}"
                )
        self.scale, self.offset = scale, offset

    def transform(self, inputs):
        x = checks.float_like(inputs, "inputs", np.dtype(self.dtype))
        return x * np.asarray(self.scale, x.dtype) + np.asarray(self.offset, x.dtype)

    def compute_output_shape(self, input_shape):
        for name in ("scale", "offset"):
            size = np.size(getattr(self, name))
            if np.ndim(getattr(self, name)) and size not in (1, input_shape[-1]):
                raise ValueError(
                    f"Argument `{name}` of {self.name!r} must have as many elements as its input "
                    f"has columns, {input_shape[-1]}. Received: {size}"
                )
        return tuple(input_shape)

    def lower(self, builder, x):
        if np.size(self.scale) == np.size(self.offset) == 1:
            return builder.affine(x, float(np.ravel(self.scale)[0]),
                                  float(np.ravel(self.offset)[0]), self.name)
        return builder.column_affine(x, scale=np.ravel(self.scale), after=np.ravel(self.offset),
                                     name=self.name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": np.asarray(self.scale).tolist(),
                "offset": np.asarray(self.offset).tolist()}
