"""Layers that draw at random in training: dropout and noise.

What is drawn is a function of seed, position of the layer, step and element (Philox 4x32-10): the
same on every backend, for any number of threads, and after a resume.
"""

from __future__ import annotations

from math import sqrt

from .. import checks, random
from .layer import Layer

__all__ = ["AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"]


class _Drawing(Layer):
    """A layer that does nothing but in training, where it draws."""

    _supports_masking = True

    _amount = "rate"  # the attribute that says how much

    def __init__(self, seed, noise_shape=None, **kwargs):
        if seed is not None:
            seed = random.check_seed(seed)
        if noise_shape is not None:
            raise ValueError(
                f"Argument `noise_shape` of {type(self).__name__} must be None: each element is "
                f"drawn by itself. Received: {noise_shape!r}"
            )
        super().__init__(**kwargs)
        self.seed = seed

    @property
    def differs_in_training(self):
        return getattr(self, self._amount) > 0

    def get_config(self):
        return {**super().get_config(), self._amount: getattr(self, self._amount),
                "seed": self.seed}


class Dropout(_Drawing):
    """In training, sets each element to 0 with probability `rate` and scales up the others.

    The kept elements are multiplied by ``1 / (1 - rate)``, so sums keep their expectation; in
    prediction and evaluation the layer does nothing.

    Parameters
    ----------
    rate : float
        From 0 up to but not including 1.
    noise_shape : None
        There for scripts written for Keras: each element is drawn by itself.
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
        rate = checks.number(rate, "rate", low=0, below=1)
        super().__init__(seed, noise_shape, **kwargs)
        self.rate = rate

    def lower(self, builder, x):
        return builder.dropout(x, self.rate, self.seed, name=self.name)


class AlphaDropout(_Drawing):
    """Dropout that keeps mean and variance of what `selu` gives out.

    In training, elements that are dropped take the value that selu falls to on the left, and all
    are scaled and shifted so that standardized inputs stay standardized.

    Parameters
    ----------
    rate : float
        From 0 up to but not including 1.
    noise_shape : None
        There for scripts written for Keras: each element is drawn by itself.
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
        rate = checks.number(rate, "rate", low=0, below=1)
        super().__init__(seed, noise_shape, **kwargs)
        self.rate = rate

    def lower(self, builder, x):
        return builder.alpha_dropout(x, self.rate, self.seed, name=self.name)


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
