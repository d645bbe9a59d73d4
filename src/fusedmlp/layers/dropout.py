"""Dropout."""

from __future__ import annotations

from .. import checks, random
from .layer import Layer

__all__ = ["Dropout"]


class Dropout(Layer):
    """In training, sets each element to 0 with probability `rate` and scales up the others.

    The kept elements are multiplied by ``1 / (1 - rate)``, so sums keep their expectation; in
    prediction and evaluation the layer does nothing.  Which elements are dropped is a function of
    seed, position of the layer, step and element (Philox 4x32-10): the same on every backend, for
    any number of threads, and after a resume.

    Parameters
    ----------
    rate : float
        From 0 up to but not including 1.
    seed : int, optional
        By default the model's.
    **kwargs
        `name`, `dtype`, `trainable`, `input_shape` and `input_dim`, as `Layer` takes them.

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

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        rate = checks.number(rate, "rate", low=0, below=1)
        if seed is not None:
            seed = random.check_seed(seed)
        super().__init__(**kwargs)
        self.rate = rate
        self.seed = seed

    @property
    def differs_in_training(self):
        return self.rate > 0

    def lower(self, builder, x):
        return builder.dropout(x, self.rate, self.seed, name=self.name)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
