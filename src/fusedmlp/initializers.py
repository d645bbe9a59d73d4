"""What parameters begin with: Keras 3's initializers for dense networks.

An initializer is called with a shape and returns an array.  Those that draw have a seed: with the
same one they give the same values at every call, on every backend; without one they take a seed
from the global generator when they are made, so that `fusedmlp.utils.set_random_seed` decides it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import checks, config, random, spec
from .registry import Registry

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomInitializer",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "Values",
    "VarianceScaling",
    "Zeros",
    "compute_fans",
    "constant",
    "deserialize",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]

# Standard deviation of the standard normal distribution cut off at -2 and 2:
# sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)).
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer:
    """Base class.  A subclass defines ``__call__(shape, dtype=None)`` and ``get_config()``.

    >>> class Third(Initializer):
    ...     def __call__(self, shape, dtype=None):
    ...         return np.full(shape, 1 / 3, dtype or "float32")
    >>> Third()((2,))
    array([0.33333334, 0.33333334], dtype=float32)
    """

    def __call__(self, shape, dtype: str | None = None) -> np.ndarray:
        raise NotImplementedError(
            f"{type(self).__name__} must define `__call__(self, shape, dtype=None)`"
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal initializer."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        return cls(**config)

    def clone(self) -> Initializer:
        """A new initializer with the same arguments."""
        return type(self).from_config(self.get_config())

    def __repr__(self):
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class Constant(Initializer):
    """All elements equal `value`, a number, or an array that is repeated over the shape.

    >>> Constant([1.0, 2.0])((2, 2)).tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    >>> Constant(2.5)((3,))
    array([2.5, 2.5, 2.5], dtype=float32)
    """

    def __init__(self, value: float | np.ndarray = 0.0):
        self.value = (checks.float_array(value, "value") if np.ndim(value)
                      else checks.number(value, "value"))

    def __call__(self, shape, dtype=None):
        try:
            return np.full(shape, self.value, dtype=dtype or config.floatx())
        except ValueError:
            raise ValueError(
                f"Argument `value` of Constant must fit the shape {tuple(shape)}. "
                f"Received: shape {np.shape(self.value)}"
            ) from None

    def get_config(self):
        return {"value": self.value.tolist() if np.ndim(self.value) else self.value}


class Zeros(Initializer):
    """All elements 0.

    >>> Zeros()((2,))
    array([0., 0.], dtype=float32)
    """

    def __call__(self, shape, dtype=None):
        return np.zeros(shape, dtype=dtype or config.floatx())


class Ones(Initializer):
    """All elements 1.

    >>> Ones()((2,))
    array([1., 1.], dtype=float32)
    """

    def __call__(self, shape, dtype=None):
        return np.ones(shape, dtype=dtype or config.floatx())


class Identity(Initializer):
    """The identity matrix times `gain`; only for two-dimensional shapes.

    >>> Identity(2.0)((2, 3))
    array([[2., 0., 0.],
           [0., 2., 0.]], dtype=float32)
    """

    def __init__(self, gain: float = 1.0):
        self.gain = checks.number(gain, "gain")

    def __call__(self, shape, dtype=None):
        if len(shape) != 2:
            raise ValueError(
                "Argument `shape` of Identity must have two dimensions. "
                f"Received: shape={tuple(shape)}"
            )
        return (self.gain * np.eye(*shape)).astype(dtype or config.floatx())

    def get_config(self):
        return {"gain": self.gain}


class Values(Initializer):
    """Given values, for their own shape alone; what an array stands for as an initializer.

    Parameters
    ----------
    values : array_like of numbers

    Raises
    ------
    ValueError
        If it is asked for another shape.

    >>> Values([1.0, 2.0])((2,))
    array([1., 2.], dtype=float32)
    """

    def __init__(self, values):
        self.values = np.array(values)
        if self.values.dtype.kind not in "fiub":
            raise TypeError(
                f"Argument `values` must hold numbers. Received: dtype {self.values.dtype}"
            )

    def __call__(self, shape, dtype=None):
        if tuple(shape) != self.values.shape:
            raise ValueError(
                f"Argument `shape` must be that of the given values, {self.values.shape}. "
                f"Received: shape={tuple(shape)}"
            )
        return self.values.astype(dtype or config.floatx())

    def get_config(self):
        return {"values": self.values.tolist()}


class RandomInitializer(Initializer):
    """Base class of those that draw.

    Parameters
    ----------
    seed : int or SeedGenerator, optional
        With an integer every call gives the same values; with a generator each call new ones;
        None takes an integer from the global generator.

    Raises
    ------
    ValueError
        If `seed` is none of these.

    >>> isinstance(RandomNormal(seed=1), RandomInitializer)
    True
    """

    def __init__(self, seed=None):
        if isinstance(seed, Mapping):
            seed = random.SeedGenerator.from_config(dict(seed["config"]))
        self._initial_seed = seed
        if seed is None:
            seed = random.next_seed()
        elif not isinstance(seed, random.SeedGenerator):
            self._initial_seed = seed = random.check_seed(seed)
        self.seed = seed

    def get_config(self):
        seed = self._initial_seed
        if isinstance(seed, random.SeedGenerator):
            seed = {"class_name": "SeedGenerator", "config": seed.get_config()}
        return {"seed": seed}


class _Normal(RandomInitializer):
    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed=None):
        self.mean = checks.number(mean, "mean")
        self.stddev = checks.number(stddev, "stddev")
        super().__init__(seed)

    def get_config(self):
        return {"mean": self.mean, "stddev": self.stddev, **super().get_config()}


class RandomNormal(_Normal):
    """Normally distributed elements.

    >>> RandomNormal(stddev=0.05, seed=1)((2, 3)).shape
    (2, 3)
    """

    def __call__(self, shape, dtype=None):
        return random.normal(shape, self.mean, self.stddev, dtype, self.seed)


class TruncatedNormal(_Normal):
    """Normally distributed elements, drawn again where they lie more than 2 `stddev` off.

    >>> bool(abs(TruncatedNormal(stddev=1.0, seed=1)((100, 100))).max() <= 2.0)
    True
    """

    def __call__(self, shape, dtype=None):
        return random.truncated_normal(shape, self.mean, self.stddev, dtype, self.seed)


class RandomUniform(RandomInitializer):
    """Elements uniformly distributed on [minval, maxval).

    >>> bool(abs(RandomUniform(-0.1, 0.1, seed=1)((100,))).max() <= 0.1)
    True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed=None):
        self.minval = checks.number(minval, "minval")
        self.maxval = checks.number(maxval, "maxval")
        super().__init__(seed)

    def __call__(self, shape, dtype=None):
        return random.uniform(shape, self.minval, self.maxval, dtype, self.seed)

    def get_config(self):
        return {"minval": self.minval, "maxval": self.maxval, **super().get_config()}


def compute_fans(shape, input_axes=None, output_axes=None) -> tuple[int, int]:
    """How many inputs and outputs a parameter of `shape` connects.

    A matrix (d, m) has fans d and m; a vector has its length twice; of more axes the last two
    count, each times all the others, unless `input_axes` and `output_axes` name them.

    >>> compute_fans((64, 10)), compute_fans((5,)), compute_fans((2, 3, 4))
    ((64, 10), (5, 5), (6, 8))
    """
    shape = tuple(shape)
    if (input_axes is None) != (output_axes is None):
        raise ValueError(
            "Arguments `input_axes` and `output_axes` must be given together. "
            f"Received: input_axes={input_axes!r}, output_axes={output_axes!r}"
        )
    if input_axes is not None:
        return (math.prod(shape[axis] for axis in input_axes),
                math.prod(shape[axis] for axis in output_axes))
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    others = math.prod(shape[:-2])
    return shape[-2] * others, shape[-1] * others


class VarianceScaling(RandomInitializer):
    """Elements of variance scale / n, with n the fan-in, fan-out or their mean.

    Parameters
    ----------
    scale : float
        Positive.
    mode : {"fan_in", "fan_out", "fan_avg"}
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
        "normal" stands for the first.  The truncated one is widened so that its variance is the
        stated one; the uniform one has limits of plus and minus sqrt(3 scale / n).
    seed : int or SeedGenerator, optional
    input_axes, output_axes : sequence of int, optional
        Axes of the inputs and of the outputs, where they aren't the last but one and the last.

    Raises
    ------
    ValueError
        If an argument is none of these.

    References
    ----------
    Glorot and Bengio (2010), AISTATS; He et al. (2015), arXiv:1502.01852; LeCun et al. (1998),
    Efficient BackProp.

    >>> kernel = VarianceScaling(2.0, "fan_in", "untruncated_normal", seed=1)((500, 300))
    >>> round(float(kernel.var() * 500), 1)
    2.0
    """

    MODES = ("fan_in", "fan_out", "fan_avg")
    DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")

    def __init__(self, scale: float = 1.0, mode: str = "fan_in",
                 distribution: str = "truncated_normal", seed=None, input_axes=None,
                 output_axes=None):
        self.scale = checks.number(scale, "scale")
        if self.scale <= 0:
            raise ValueError(f"Argument `scale` must be above 0. Received: {scale!r}")
        if mode not in self.MODES:
            raise ValueError(spec.nearest(mode, self.MODES, "`mode`"))
        lowered = distribution.lower() if isinstance(distribution, str) else distribution
        lowered = "truncated_normal" if lowered == "normal" else lowered
        if lowered not in self.DISTRIBUTIONS:
            raise ValueError(spec.nearest(distribution, self.DISTRIBUTIONS, "`distribution`"))
        self.mode, self.distribution = mode, lowered
        self.input_axes, self.output_axes = input_axes, output_axes
        super().__init__(seed)

    def __call__(self, shape, dtype=None):
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return random.uniform(shape, -limit, limit, dtype, self.seed)
        stddev = math.sqrt(variance)
        if self.distribution == "untruncated_normal":
            return random.normal(shape, 0.0, stddev, dtype, self.seed)
        return random.truncated_normal(shape, 0.0, stddev / _TRUNCATED_STDDEV, dtype, self.seed)

    def get_config(self):
        return {
            "scale": self.scale, "mode": self.mode, "distribution": self.distribution,
            **super().get_config(),
            "input_axes": self.input_axes, "output_axes": self.output_axes,
        }


class _FixedScaling(VarianceScaling):
    """A variance scaling that has a name; subclasses say which."""

    FIXED: tuple = ()

    def __init__(self, seed=None, input_axes=None, output_axes=None):
        super().__init__(*self.FIXED, seed, input_axes, output_axes)

    def get_config(self):
        config = super().get_config()
        return {key: config[key] for key in ("seed", "input_axes", "output_axes")}


class GlorotUniform(_FixedScaling):
    """Uniform between plus and minus sqrt(6 / (fan_in + fan_out)).

    References
    ----------
    Glorot and Bengio (2010), AISTATS.

    >>> bool(abs(GlorotUniform(seed=1)((40, 20))).max() <= 0.1**0.5)
    True
    """

    FIXED = (1.0, "fan_avg", "uniform")


class GlorotNormal(_FixedScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out).

    References
    ----------
    Glorot and Bengio (2010), AISTATS.

    >>> round(float(GlorotNormal(seed=1)((300, 500)).var() * 400), 1)
    1.0
    """

    FIXED = (1.0, "fan_avg", "truncated_normal")


class HeNormal(_FixedScaling):
    """Truncated normal of variance 2 / fan_in.

    References
    ----------
    He et al. (2015), arXiv:1502.01852.

    >>> round(float(HeNormal(seed=1)((300, 500)).var() * 300), 1)
    2.0
    """

    FIXED = (2.0, "fan_in", "truncated_normal")


class HeUniform(_FixedScaling):
    """Uniform between plus and minus sqrt(6 / fan_in).

    References
    ----------
    He et al. (2015), arXiv:1502.01852.

    >>> bool(abs(HeUniform(seed=1)((60, 20))).max() <= 0.1**0.5)
    True
    """

    FIXED = (2.0, "fan_in", "uniform")


class LecunNormal(_FixedScaling):
    """Truncated normal of variance 1 / fan_in; the partner of the activation selu.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515.

    >>> round(float(LecunNormal(seed=1)((300, 500)).var() * 300), 1)
    1.0
    """

    FIXED = (1.0, "fan_in", "truncated_normal")


class LecunUniform(_FixedScaling):
    """Uniform between plus and minus sqrt(3 / fan_in).

    References
    ----------
    LeCun et al. (1998), Efficient BackProp.

    >>> bool(abs(LecunUniform(seed=1)((30, 20))).max() <= 0.1**0.5)
    True
    """

    FIXED = (1.0, "fan_in", "uniform")


class Orthogonal(RandomInitializer):
    """Orthonormal columns, or rows where there are fewer of them, times `gain`.

    The matrix comes from the QR decomposition of normally distributed numbers, with the signs of
    R's diagonal moved into Q, which makes it uniformly distributed (Mezzadri 2007,
    arXiv:math-ph/0609050).  All axes but the last count as rows.

    Raises
    ------
    ValueError
        If the shape has fewer than two dimensions.

    References
    ----------
    Saxe et al. (2014), arXiv:1312.6120.

    >>> q = Orthogonal(seed=1)((5, 3), "float64")
    >>> bool(abs(q.T @ q - np.eye(3)).max() < 1e-14)
    True
    """

    def __init__(self, gain: float = 1.0, seed=None):
        self.gain = checks.number(gain, "gain")
        super().__init__(seed)

    def __call__(self, shape, dtype=None):
        if len(shape) < 2:
            raise ValueError(
                "Argument `shape` of Orthogonal must have at least two dimensions. "
                f"Received: shape={tuple(shape)}"
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        drawn = random.normal((max(rows, columns), min(rows, columns)), dtype="float64",
                              seed=self.seed)
        q, r = np.linalg.qr(drawn)
        q *= np.sign(np.diag(r))
        if rows < columns:
            q = q.T
        result = self.gain * q.reshape(shape)
        return np.ascontiguousarray(result, dtype=dtype or config.floatx())

    def get_config(self):
        return {"gain": self.gain, **super().get_config()}


constant = Constant
zeros = Zeros
ones = Ones
identity = Identity
random_normal = RandomNormal
random_uniform = RandomUniform
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
glorot_normal = GlorotNormal
glorot_uniform = GlorotUniform
he_normal = HeNormal
he_uniform = HeUniform
lecun_normal = LecunNormal
lecun_uniform = LecunUniform
orthogonal = Orthogonal
IdentityInitializer = Identity
OrthogonalInitializer = Orthogonal

_REGISTRY = Registry(
    "initializer",
    Initializer,
    (Constant, Zeros, Ones, Identity, RandomNormal, RandomUniform, TruncatedNormal,
     VarianceScaling, GlorotNormal, GlorotUniform, HeNormal, HeUniform, LecunNormal, LecunUniform,
     Orthogonal, Values),
    {"zero": Zeros, "one": Ones, "normal": RandomNormal, "uniform": RandomUniform,
     "IdentityInitializer": Identity, "OrthogonalInitializer": Orthogonal},
)


def serialize(initializer: Initializer) -> dict[str, Any]:
    """The config dict of an initializer.

    >>> serialize(HeNormal(seed=3))["class_name"]
    'HeNormal'
    """
    return _REGISTRY.serialize(initializer)


def deserialize(config, custom_objects: Mapping | None = None) -> Initializer:
    """An initializer from its config dict; ValueError if the name is unknown.

    >>> deserialize({"class_name": "Constant", "config": {"value": 2.0}})
    Constant(value=2.0)
    """
    return _REGISTRY.deserialize(config, custom_objects)


def get(identifier) -> Initializer | Callable | None:
    """An initializer from a name, a config dict, a class, an instance or a callable.

    An array stands for an initializer that gives its values, for its own shape alone.

    Parameters
    ----------
    identifier : str, dict, Initializer, callable, ndarray or None

    Raises
    ------
    ValueError, TypeError
        If the name is unknown (the nearest known ones are named) or the identifier none of these.

    >>> get("he_normal") is not None, get("zeros"), get(None)
    (True, Zeros(), None)
    """
    if isinstance(identifier, np.ndarray):
        return Values(identifier)
    return _REGISTRY.get(identifier)
