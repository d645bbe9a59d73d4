"""Layers that draw at random in training: dropout and noise.

What is drawn is a function of seed, position of the layer, step and element (Philox 4x32-10): the
same on every backend, for any number of threads, and after a resume.
"""

from __future__ import annotations

from math import prod, sqrt

import numpy as np

from .. import checks, random
from .input_spec import InputSpec
from .layer import Layer

__all__ = ["AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D"]


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


class _Drawing(Layer):
    """A layer that does nothing but in training, where it draws."""

    _supports_masking = True

    _amount = "rate"  # the attribute that says how much

    def __init__(self, seed, **kwargs):
        if seed is not None:
            seed = random.check_seed(seed)
        super().__init__(**kwargs)
        self.seed = seed

    @property
    def differs_in_training(self):
        return getattr(self, self._amount) > 0

    def get_config(self):
        return {**super().get_config(), self._amount: getattr(self, self._amount),
                "seed": self.seed}


class _Dropping(_Drawing):
    """What drops elements, or all along an axis together."""

    def __init__(self, rate, noise_shape, seed, **kwargs):
        rate = checks.number(rate, "rate", low=0, below=1)
        super().__init__(seed, **kwargs)
        self.rate, self.noise_shape = rate, _noise_shape(noise_shape)

    def compute_output_shape(self, input_shape):
        if self.noise_shape is not None:
            self._drawn_shape(tuple(input_shape[1:]))
        return tuple(input_shape)

    def _drawn_shape(self, shape):
        """For samples of a shape, that of what is drawn."""
        wanted = self.noise_shape[1:]
        if len(wanted) != len(shape) or any(
                n not in (None, 1, extent) for n, extent in zip(wanted, shape, strict=True)):
            raise ValueError(
                f"Argument `noise_shape` of {self.name!r} must have the rows and then, for each "
                f"axis of its samples, whose shape is {shape}, None, 1 or its length. "
                f"Received: {self.noise_shape!r}"
            )
        return tuple(n or extent for n, extent in zip(wanted, shape, strict=True))

    def _kept(self, builder, x):
        """In training, ``1 / (1 - rate)`` where x is kept and 0 where it is dropped."""
        shape = builder.shape(x)
        drawn = self._drawn_shape(shape)
        count = prod(drawn)
        ones = builder.affine(builder.zeros(x, count), 1.0, 1.0)
        kept = builder.dropout(ones, self.rate, self.seed, name=self.name)
        order = np.broadcast_to(np.arange(count).reshape(drawn), shape)
        return builder.take_columns(kept, order.ravel().tolist(), shape, name=f"{self.name}.kept")

    def get_config(self):
        return {**super().get_config(), "noise_shape": self.noise_shape}


def _noise_shape(shape):
    if shape is None:
        return None
    try:
        found = tuple(None if n is None else checks.integer(n, "noise_shape", 1) for n in shape)
    except (TypeError, ValueError):
        found = ()
    if len(found) < 2 or found[0] == 1 or isinstance(shape, str):
        raise ValueError(
            "Argument `noise_shape` must be None or a tuple of the rows (None, or their number: "
            "each draws by itself) and, for each axis of a sample, None, 1 or its length. "
            f"Received: {shape!r}"
        )
    return found


class Dropout(_Dropping):
    """In training, sets each element to 0 with probability `rate` and scales up the others.

    The kept elements are multiplied by ``1 / (1 - rate)``, so sums keep their expectation; in
    prediction and evaluation the layer does nothing.

    Parameters
    ----------
    rate : float
        From 0 up to but not including 1.
    noise_shape : tuple of int or None, optional
        Where it has 1, all elements along that axis are dropped together: ``(None, 1, columns)``
        drops columns of all steps.  The first number stands for the rows.
    seed : int, optional
        By default the model's.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError
        If `rate` or `seed` is none of these.

    References
    ----------
    Srivastava et al. (2014), JMLR 15; Keras 3, keras.layers.Dropout.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.Dropout(0.5).compute_output_shape((None, 8))
    (None, 8)
    """

    def __init__(self, rate: float, noise_shape=None, seed: int | None = None, **kwargs):
        super().__init__(rate, noise_shape, seed, **kwargs)

    def lower(self, builder, x):
        if self.noise_shape is None or not (builder.training and self.rate):
            return builder.dropout(x, self.rate, self.seed, name=self.name)
        return builder.combine("multiply", x, self._kept(builder, x), name=self.name)


class SpatialDropout1D(Dropout):
    """In training, drops columns of all steps of a sample of shape (steps, columns) together.

    Parameters
    ----------
    rate : float
        From 0 up to but not including 1.
    seed : int, optional
        By default the model's.
    name, dtype : optional
        As `Layer` takes them.

    Raises
    ------
    ValueError
        If `rate` or `seed` is none of these, or inputs have another number of axes.

    References
    ----------
    Tompson et al. (2014), arXiv:1411.4280; Keras 3, keras.layers.SpatialDropout1D.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> y = fm.layers.SpatialDropout1D(0.5)(np.ones((4, 3, 2)), training=True)
    >>> bool((y[:, :1] == y).all())
    True
    """

    def __init__(self, rate: float, seed: int | None = None, name: str | None = None, dtype=None,
                 **kwargs):
        super().__init__(rate, (None, 1, None), seed, name=name, dtype=dtype, **kwargs)
        self.input_spec = InputSpec(ndim=3)

    def get_config(self):
        config = super().get_config()
        del config["noise_shape"]
        return config


class AlphaDropout(_Dropping):
    """Dropout that keeps mean and variance of what `selu` gives out.

    In training, elements that are dropped take the value that selu falls to on the left, and all
    are scaled and shifted so that standardized inputs stay standardized.

    Parameters
    ----------
    rate : float
        From 0 up to but not including 1.
    noise_shape : tuple of int or None, optional
        Where it has 1, all elements along that axis are dropped together: ``(None, 1, columns)``
        drops columns of all steps.  The first number stands for the rows.
    seed : int, optional
        By default the model's.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError
        If `rate` or `seed` is none of these.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515; Keras 3, keras.layers.AlphaDropout.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.AlphaDropout(0.1)([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    def __init__(self, rate: float, noise_shape=None, seed: int | None = None, **kwargs):
        super().__init__(rate, noise_shape, seed, **kwargs)

    def lower(self, builder, x):
        if self.noise_shape is None or not (builder.training and self.rate):
            return builder.alpha_dropout(x, self.rate, self.seed, name=self.name)
        low = -_SELU_SCALE * _SELU_ALPHA
        a = ((1.0 - self.rate) * (1.0 + self.rate * low**2)) ** -0.5
        # a (x kept + low (1 - kept)) - a low rate, with kept being 0 or 1
        kept = builder.affine(self._kept(builder, x), 1.0 - self.rate)
        above = builder.combine("multiply", builder.affine(x, 1.0, -low), kept)
        return builder.affine(above, a, a * low * (1.0 - self.rate), name=self.name)


class GaussianDropout(_Drawing):
    """In training, multiplies by numbers around 1 of variance ``rate / (1 - rate)``.

    The numbers are drawn from the normal distribution.  They are those of `GaussianNoise`'s
    generator: the same on every backend up to rounding.

    Parameters
    ----------
    rate : float
        From 0 up to but not including 1.
    seed : int, optional
        By default the model's.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError
        If `rate` or `seed` is none of these.

    References
    ----------
    Srivastava et al. (2014), JMLR 15; Keras 3, keras.layers.GaussianDropout.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.GaussianDropout(0.1)([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        rate = checks.number(rate, "rate", low=0, below=1)
        super().__init__(seed, **kwargs)
        self.rate = rate

    def lower(self, builder, x):
        stddev = sqrt(self.rate / (1.0 - self.rate))
        return builder.gaussian_dropout(x, stddev, self.seed, name=self.name)


class GaussianNoise(_Drawing):
    """In training, adds numbers drawn from the normal distribution around 0.

    They are the quantiles of the normal distribution at the 32-bit words of the counter-based
    generator (Wichura's algorithm AS 241), so they are the same on every backend up to rounding.

    Parameters
    ----------
    stddev : float
        From 0 to 1.
    seed : int, optional
        By default the model's.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError
        If `stddev` or `seed` is none of these.

    References
    ----------
    Keras 3, keras.layers.GaussianNoise.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.GaussianNoise(0.1)([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    _amount = "stddev"

    def __init__(self, stddev: float, seed: int | None = None, **kwargs):
        stddev = checks.number(stddev, "stddev", low=0, high=1)
        super().__init__(seed, **kwargs)
        self.stddev = stddev

    def lower(self, builder, x):
        return builder.gaussian_noise(x, self.stddev, self.seed, name=self.name)
