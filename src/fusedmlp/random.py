"""Random numbers as functions of a key, and the global seed from which keys are derived.

A draw is determined by a key of two 64-bit words, (seed, position), that keys NumPy's Philox
4x64-10: an integer seed stands for (seed, 0) and gives the same numbers on every call, a
`SeedGenerator` moves its position on with every draw, and without a seed a global generator does
(`fusedmlp.utils.set_random_seed`).  Numbers are drawn in float64 and rounded, so networks of
different dtype begin with the same values, and they are the same on every backend because no
backend draws them.  Masks for dropout are not drawn here: each backend computes them in place.
"""

from __future__ import annotations

import operator
import secrets
import threading
from typing import Any

import numpy as np

from . import backend, config, tracing

__all__ = [
    "SeedGenerator",
    "beta",
    "binomial",
    "categorical",
    "dropout",
    "gamma",
    "next_seed",
    "normal",
    "permutation",
    "randint",
    "set_global_seed",
    "shuffle",
    "truncated_normal",
    "uniform",
]

_WORD = 2**64 - 1
_SHUFFLE = 1  # last word of the counter in shuffles: keeps them apart from all other draws
_shuffles = threading.local()  # a generator for each thread


def check_seed(seed: Any, name: str = "seed") -> int:
    """`seed` as a Python integer; ValueError if it is none."""
    try:
        if isinstance(seed, (bool, np.bool_)):
            raise TypeError
        return operator.index(seed)
    except TypeError:
        raise ValueError(
            f"Argument `{name}` must be an integer. Received: {name}={seed!r} "
            f"of type {type(seed).__name__}"
        ) from None


class SeedGenerator:
    """A source of keys: every draw that is given it gets the next one.

    Parameters
    ----------
    seed : int, optional
        Where the keys start from; None takes one from the global generator.
    name : str, optional

    Attributes
    ----------
    state : ndarray of uint64, shape (2,)
        The seed and the number of keys handed out.

    Raises
    ------
    ValueError
        If `seed` is no integer.

    >>> generator = SeedGenerator(seed=7)
    >>> first, second = (normal((), seed=generator) for _ in range(2))
    >>> bool(first == second)
    False
    >>> bool(first == normal((), seed=SeedGenerator(seed=7)))
    True
    """

    def __init__(self, seed: int | None = None, name: str | None = None):
        self._initial_seed = None if seed is None else check_seed(seed)
        self.name = name or "seed_generator"
        start = next_seed() if self._initial_seed is None else self._initial_seed
        self.state = np.array([start & _WORD, 0], dtype=np.uint64)

    def next(self, ordered: bool = True) -> np.ndarray:
        """The next key, shape (2,), uint64.

        `ordered` is there for scripts written for Keras: keys never repeat here, so both of its
        values mean the same.
        """
        key = self.state.copy()
        self.state[1] += np.uint64(1)
        return key

    def get_config(self) -> dict[str, Any]:
        return {"seed": self._initial_seed, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        return cls(**config)


_global: SeedGenerator | None = None


def set_global_seed(seed: int) -> None:
    """Start the global generator again from `seed`; ValueError if it is no integer.

    >>> set_global_seed(1)
    >>> first = uniform((2,))
    >>> set_global_seed(1)
    >>> bool((first == uniform((2,))).all())
    True
    """
    global _global
    _global = SeedGenerator(check_seed(seed))


def _global_generator() -> SeedGenerator:
    if _global is None:
        set_global_seed(secrets.randbits(32))
    return _global


def derive_seed(*words: int) -> int:
    """A seed of 63 bits that is a function of the given integers and spreads them well.

    >>> derive_seed(1, 2) == derive_seed(1, 2), derive_seed(1, 2) == derive_seed(2, 1)
    (True, False)
    """
    # 32-bit words at fixed places, behind their number: SeedSequence takes (1,) for (1, 0).
    entropy = [len(words)]
    entropy += [half for word in words for half in (word & 0xFFFFFFFF, word >> 32 & 0xFFFFFFFF)]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def next_seed() -> int:
    """A new integer seed from the global generator.

    What is built in the same order after the same `fusedmlp.utils.set_random_seed` gets the same
    seeds.

    >>> set_global_seed(3)
    >>> first = next_seed()
    >>> set_global_seed(3)
    >>> first == next_seed()
    True
    """
    return derive_seed(*_global_generator().next().tolist())


def generator(seed: int | SeedGenerator | None = None) -> np.random.Generator:
    """NumPy's generator for one draw, keyed by `seed` as this module's functions are.

    Raises
    ------
    ValueError
        If `seed` is neither an integer nor a SeedGenerator nor None.
    """
    if seed is None:
        key = _global_generator().next()
    elif isinstance(seed, SeedGenerator):
        key = seed.next()
    else:
        try:
            key = np.array([check_seed(seed) & _WORD, 0], dtype=np.uint64)
        except ValueError:
            raise ValueError(
                "Argument `seed` must be an integer, a SeedGenerator or None. "
                f"Received: seed={seed!r} of type {type(seed).__name__}"
            ) from None
    return np.random.Generator(np.random.Philox(key=key))


def _shape(shape) -> tuple[int, ...]:
    try:
        result = tuple(operator.index(extent) for extent in shape)
    except TypeError:
        result = (-1,)
    if any(extent < 0 for extent in result):
        raise ValueError(
            "Argument `shape` must be a sequence of integers that are not negative. "
            f"Received: shape={shape!r}"
        )
    return result


def _float_dtype(dtype) -> np.dtype:
    resolved = np.dtype(config.floatx() if dtype is None else dtype)
    if resolved.kind != "f":
        raise ValueError(f"Argument `dtype` must be a floating-point type. Received: {dtype!r}")
    return resolved


def normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None) -> np.ndarray:
    """Draw from the normal distribution.

    Parameters
    ----------
    shape : sequence of int
    mean, stddev : float
    dtype : str, optional
        Floating-point type; None stands for `fusedmlp.config.floatx()`.
    seed : int or SeedGenerator, optional

    Returns
    -------
    ndarray of `shape` and `dtype`

    Raises
    ------
    ValueError
        If the shape, dtype or seed is none of these.

    >>> normal((2, 3), seed=1).shape
    (2, 3)
    """
    tracer = tracing.current()
    if tracer is not None:
        return tracer.draw("normal", shape, seed, mean=mean, stddev=stddev)
    shape, dtype = _shape(shape), _float_dtype(dtype)
    return np.asarray(generator(seed).standard_normal(shape) * stddev + mean, dtype=dtype)


def uniform(shape, minval=0.0, maxval=1.0, dtype=None, seed=None) -> np.ndarray:
    """Draw from the uniform distribution on [minval, maxval).

    Parameters, return value and errors are those of `normal`.

    >>> x = uniform((1000,), -2.0, 2.0, seed=1)
    >>> bool((x >= -2).all() and (x < 2).all())
    True
    """
    tracer = tracing.current()
    if tracer is not None:
        return tracer.draw("uniform", shape, seed, minval=minval, maxval=maxval)
    shape, dtype = _shape(shape), _float_dtype(dtype)
    drawn = generator(seed).random(shape) * (maxval - minval) + minval
    result = np.asarray(drawn, dtype=dtype)
    if maxval > minval:  # rounding may have gone up to the excluded end
        last = np.nextafter(dtype.type(maxval), dtype.type(minval))
        np.minimum(result, last, out=result)
    return result


def truncated_normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None) -> np.ndarray:
    """Draw from the normal distribution, again and again where a draw is off by over 2 `stddev`.

    Parameters, return value and errors are those of `normal`.

    >>> x = truncated_normal((1000,), stddev=0.5, seed=1)
    >>> bool(abs(x).max() <= 1.0)
    True
    """
    tracer = tracing.current()
    if tracer is not None:
        return tracer.draw("truncated_normal", shape, seed, mean=mean, stddev=stddev)
    shape, dtype = _shape(shape), _float_dtype(dtype)
    draw = generator(seed)
    drawn = draw.standard_normal(shape)
    flat = drawn.reshape(-1) if shape else np.atleast_1d(drawn)
    outside = np.flatnonzero(np.abs(flat) > 2.0)
    while outside.size:
        flat[outside] = draw.standard_normal(outside.size)
        outside = outside[np.abs(flat[outside]) > 2.0]
    return np.asarray(flat.reshape(shape) * stddev + mean, dtype=dtype)


def randint(shape, minval, maxval, dtype="int32", seed=None) -> np.ndarray:
    """Draw integers from `minval` up to but not including `maxval`.

    Raises
    ------
    ValueError
        If `dtype` is no integer type, the range is empty, or shape or seed are wrong.

    >>> x = randint((100,), 0, 3, seed=1)
    >>> sorted(set(x.tolist())), x.dtype.name
    ([0, 1, 2], 'int32')
    """
    tracer = tracing.current()
    if tracer is not None:
        return tracer.draw("randint", shape, seed, minval=minval, maxval=maxval, dtype=dtype)
    shape, resolved = _shape(shape), np.dtype(dtype)
    if resolved.kind not in "iu":
        raise ValueError(f"Argument `dtype` must be an integer type. Received: {dtype!r}")
    if not minval < maxval:
        raise ValueError(
            "Argument `maxval` must be larger than `minval`. "
            f"Received: minval={minval!r}, maxval={maxval!r}"
        )
    return np.asarray(generator(seed).integers(minval, maxval, size=shape), dtype=resolved)


def categorical(logits, num_samples, dtype="int32", seed=None) -> np.ndarray:
    """Draw classes with the probabilities ``softmax(logits)``.

    Parameters
    ----------
    logits : array_like, shape (rows, classes)
    num_samples : int
        Draws for each row.
    dtype : str
        Integer type.
    seed : int or SeedGenerator, optional

    Returns
    -------
    ndarray of `dtype`, shape (rows, num_samples)

    Raises
    ------
    ValueError
        If `logits` has another rank, `dtype` is no integer type, or the seed is none.

    References
    ----------
    The largest of logits plus Gumbel noise: Gumbel (1954); Maddison et al. (2014),
    arXiv:1411.0030.

    >>> categorical([[0.0, -1e9], [-1e9, 0.0]], 3, seed=1)
    array([[0, 0, 0],
           [1, 1, 1]], dtype=int32)
    """
    logits, resolved = np.asarray(logits, np.float64), np.dtype(dtype)
    if logits.ndim != 2 or not logits.shape[1]:
        raise ValueError(
            "Argument `logits` must have the shape (rows, classes). "
            f"Received: shape {logits.shape}"
        )
    if resolved.kind not in "iu":
        raise ValueError(f"Argument `dtype` must be an integer type. Received: {dtype!r}")
    (count,) = _shape((num_samples,))
    noise = generator(seed).gumbel(size=(len(logits), count, logits.shape[1]))
    return (logits[:, None] + noise).argmax(axis=-1).astype(resolved)


def binomial(shape, counts, probabilities, dtype=None, seed=None) -> np.ndarray:
    """Draw the number of successes in `counts` trials.

    Parameters
    ----------
    shape : sequence of int
    counts, probabilities : float or array_like
        Of each trial; arrays are broadcast to `shape`.
    dtype, seed
        As in `normal`.

    Returns
    -------
    ndarray of `shape` and `dtype`

    Raises
    ------
    ValueError
        If a count is negative, a probability not from 0 to 1, or shape, dtype or seed are wrong.

    >>> binomial((2,), 10, 1.0, seed=1)
    array([10., 10.], dtype=float32)
    """
    tracer = tracing.current()
    if tracer is not None:
        return tracer.draw("binomial", shape, seed, counts=counts, probabilities=probabilities)
    shape, dtype = _shape(shape), _float_dtype(dtype)
    counts = np.asarray(counts).astype(np.int64)
    return np.asarray(_drawn("binomial", seed, counts, probabilities, shape), dtype=dtype)


def beta(shape, alpha, beta, dtype=None, seed=None) -> np.ndarray:
    """Draw from the beta distribution with the positive parameters `alpha` and `beta`.

    Arguments, return value and errors are those of `gamma`.

    >>> x = beta((1000,), 2.0, 2.0, seed=1)
    >>> bool((x > 0).all() and (x < 1).all())
    True
    """
    tracer = tracing.current()
    if tracer is not None:
        return tracer.draw("beta", shape, seed, alpha=alpha, beta=beta)
    shape, dtype = _shape(shape), _float_dtype(dtype)
    return np.asarray(_drawn("beta", seed, alpha, beta, shape), dtype=dtype)


def gamma(shape, alpha, dtype=None, seed=None) -> np.ndarray:
    """Draw from the gamma distribution with the shape parameter `alpha` and scale 1.

    Parameters
    ----------
    shape : sequence of int
    alpha : float or array_like
        Positive; an array is broadcast to `shape`.
    dtype, seed
        As in `normal`.

    Returns
    -------
    ndarray of `shape` and `dtype`

    Raises
    ------
    ValueError
        If `alpha` is not positive, or shape, dtype or seed are wrong.

    >>> x = gamma((1000,), 3.0, seed=1)
    >>> bool(abs(x.mean() - 3) < 0.3)
    True
    """
    tracer = tracing.current()
    if tracer is not None:
        return tracer.draw("gamma", shape, seed, alpha=alpha)
    shape, dtype = _shape(shape), _float_dtype(dtype)
    if not (np.asarray(alpha) > 0).all():
        raise ValueError(f"Argument `alpha` must be positive. Received: alpha={alpha!r}")
    return np.asarray(_drawn("gamma", seed, alpha, 1.0, shape), dtype=dtype)


def _drawn(name, seed, first, second, shape):
    draw = getattr(generator(seed), name)
    try:
        return draw(first, second, size=shape)
    except ValueError as error:
        raise ValueError(
            f"Arguments of `{name}` must be in the range of its parameters and fit the shape "
            f"{shape}. Received: {first!r} and {second!r} ({error})"
        ) from None


def dropout(inputs, rate, noise_shape=None, seed=None) -> np.ndarray:
    """Set elements to 0 with probability `rate` and divide the others by ``1 - rate``.

    Parameters
    ----------
    inputs : array_like of floats
    rate : float
        From 0 and below 1.
    noise_shape : sequence of int, optional
        Shape of the mask, broadcast to that of `inputs`.
    seed : int or SeedGenerator, optional

    Returns
    -------
    ndarray of the shape of `inputs`

    Raises
    ------
    ValueError
        If `rate` or `noise_shape` don't fit.

    >>> dropout([1.0, 2.0], 0.0, seed=1)
    array([1., 2.], dtype=float32)
    """
    if tracing.current() is not None and hasattr(inputs, "_keras_history"):
        return tracing.current().dropout(inputs, rate, noise_shape, seed)
    x = np.asarray(inputs)
    if x.dtype.kind != "f" or not isinstance(inputs, np.ndarray):
        x = x.astype(config.floatx())
    if not 0 <= rate < 1:
        raise ValueError(f"Argument `rate` must be from 0 and below 1. Received: rate={rate!r}")
    shape = x.shape if noise_shape is None else tuple(
        extent if wanted is None else wanted
        for extent, wanted in zip(x.shape, noise_shape, strict=True))
    kept = generator(seed).random(shape) >= rate
    return np.where(kept, x / x.dtype.type(1 - rate), x.dtype.type(0))


def shuffle(x, axis=0, seed=None) -> np.ndarray:
    """A copy of `x` with its slices along `axis` in random order.

    >>> shuffle([1, 2, 3], seed=1).shape
    (3,)
    """
    x = np.asarray(x)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"Argument `axis` must be an axis of `x`, which has {x.ndim}. Received: axis={axis!r}"
        )
    return generator(seed).permutation(x, axis=axis)


def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits `count` samples: a function of (seed, epoch) alone.

    Returns
    -------
    ndarray of int64, shape (count,)

    >>> a, b = permutation(100, seed=1, epoch=4), permutation(100, seed=1, epoch=4)
    >>> bool((a == b).all()), bool((a == permutation(100, seed=1, epoch=5)).all())
    (True, False)
    """
    quick = backend.kernels().quick_permutation(count, seed, epoch, _SHUFFLE)
    if quick is not None:
        return quick
    generator = getattr(_shuffles, "generator", None)
    if generator is None:
        generator = _shuffles.generator = np.random.Generator(np.random.Philox(key=0))
    # Setting the state takes a tenth of the time of making a generator, and epochs are short.
    generator.bit_generator.state = {
        "bit_generator": "Philox",
        "state": {"counter": np.array([0, 0, 0, _SHUFFLE], dtype=np.uint64),
                  "key": np.array([seed & _WORD, epoch & _WORD], dtype=np.uint64)},
        "buffer": np.zeros(4, dtype=np.uint64), "buffer_pos": 4, "has_uint32": 0, "uinteger": 0,
    }
    return generator.permutation(count).astype(np.int64, copy=False)


def legacy_permutation(count: int, random_state: np.random.RandomState) -> np.ndarray:
    """What ``random_state.shuffle`` makes of ``arange(count)``, drawing as it does.

    Returns
    -------
    ndarray of int64, shape (count,)

    >>> expected = np.arange(5)
    >>> np.random.RandomState(1).shuffle(expected)
    >>> bool((legacy_permutation(5, np.random.RandomState(1)) == expected).all())
    True
    """
    generator = getattr(random_state, "_bit_generator", None)
    quick = None
    if generator is not None:
        quick = backend.kernels().quick_shuffle(count, generator)
    if quick is not None:
        return quick
    order = np.arange(count, dtype=np.int64)
    random_state.shuffle(order)
    return order
