"""``python -m bench.ulp``: errors of the elementwise activations against their stated bounds.

Every function goes through `fusedmlp.ops.activation` on the backend in use and is compared with the
exact result, in units in the last place as its row in `fusedmlp.spec` states them:

    |got - exact| <= ulp * spacing(max(|exact|, floor))

float32 is scanned densely on the row's domain (all of its 2^32 numbers with --exhaustive) against
the NumPy backend in float64, which the tests hold to arbitrary precision; float64 is sampled
against the arbitrary precision itself (`tests/truth.py`, needs mpmath).  The exit status is 1 if a
stated bound is broken.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fusedmlp import backend, config, ops, spec

_TRUTH = Path(__file__).resolve().parent.parent / "tests" / "truth.py"
_CHUNK = 1 << 20
_POINTS = {"float32": 1 << 22, "float64": 1 << 12}
_BITS = {"float32": np.uint32, "float64": np.uint64}
_TIMED = 10_000
_AFTER_LARGEST = 2.0**128
_GOLDEN = (5**0.5 - 1) / 2


class Worst(NamedTuple):
    """The largest error of one function and where it is, or the first that is not a number."""

    ulps: float
    x: float
    got: float
    exact: float


def _parameters(row):
    """Default parameters as the kernel of the row takes them; one with variants takes none."""
    return () if row.variants else tuple(float(value) for _, value in row.params)


def _ordered(bits):
    """Bit patterns in the order of the numbers, and back: negative numbers count downwards."""
    top = bits.dtype.type(1) << bits.dtype.type(8 * bits.itemsize - 1)
    return np.where(bits & top, ~bits, bits | top), np.where(bits & top, bits ^ top, ~bits)


def _numbers(low, high, count, dtype):
    """Arrays of at most _CHUNK numbers: `count` from the domain, or every number if None."""
    unsigned = _BITS[dtype]
    if count is None:
        for start in range(0, 1 << 32, _CHUNK):
            yield np.arange(start, start + _CHUNK, dtype=unsigned).view(dtype)
        return
    ends, _ = _ordered(np.array([low, high], dtype).view(unsigned))
    half = count // 2
    for start in range(0, half, _CHUNK):
        # half of them evenly among the representable numbers, half evenly on the line; multiples
        # of the golden section are even and yet have no short binary fractions
        share = np.arange(start, min(half, start + _CHUNK)) * _GOLDEN % 1.0
        steps = (share * float(ends[1] - ends[0])).astype(unsigned)
        _, bits = _ordered(np.minimum(ends[0] + steps, ends[1]))
        yield bits.view(dtype)
        yield (low + (high - low) * share).astype(dtype)


def _spacing(exact, dtype, floor):
    """Units in the last place of `dtype` at max(|exact|, floor), as float64."""
    info = np.finfo(dtype)
    size = np.clip(np.abs(exact), max(floor, float(info.tiny)), float(info.max))
    return np.ldexp(1.0, np.frexp(size)[1] - 1 - info.nmant)


def _errors_float32(row, x, got):
    exact = np.empty(x.shape, np.float64)
    oracle = backend.load("numpy").activations
    with np.errstate(all="ignore"):  # signalling NaN, differences of infinities
        oracle.activation(row.name, x.astype(np.float64), _as_seen(row, x.dtype), exact)
        # infinity counts as the number after the largest, which is what overflow rounds to
        errors = np.abs(np.clip(got.astype(np.float64), -_AFTER_LARGEST, _AFTER_LARGEST)
                        - np.clip(exact, -_AFTER_LARGEST, _AFTER_LARGEST))
        errors /= _spacing(exact, x.dtype, row.floor)
    missing = np.isnan(exact)
    errors[missing] = np.where(np.isnan(got[missing]), 0.0, np.inf)
    errors[np.isnan(errors)] = np.inf
    return errors, exact


def _errors_float64(row, x, got, truth):
    exact = truth.value(row.name, x, _as_seen(row, x.dtype))
    return truth.ulps(got, exact, row.floor), np.array([float(t) for t in exact])


def _as_seen(row, dtype):
    """Parameters rounded to the arrays' dtype, as the kernel sees them."""
    return tuple(float(dtype.type(value)) for value in _parameters(row))


def _load_truth():
    try:
        found = importlib.util.spec_from_file_location("truth", _TRUTH)
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
    except ImportError as error:
        raise SystemExit(f"float64 is measured with mpmath: {error}") from None
    return module


def scan(row, dtype, count, truth=None):
    """The worst error of a row of the table.

    Parameters
    ----------
    row : fusedmlp.spec.Activation
        An elementwise one.
    dtype : {"float32", "float64"}
    count : int or None
        Numbers of the domain; None for every float32.
    truth : module, optional
        `tests/truth.py`, for float64.
    """
    worst = Worst(-1.0, np.nan, np.nan, np.nan)
    named = dict(zip((name for name, _ in row.params), _parameters(row), strict=False))
    for x in _numbers(*row.domain, count, dtype):
        got = ops.activation(x, row.name, **named)
        errors, exact = (_errors_float32(row, x, got) if dtype == "float32"
                         else _errors_float64(row, x, got, truth))
        if not len(errors):
            continue
        at = int(np.argmax(errors))
        if errors[at] > worst.ulps:
            worst = Worst(*(float(v[at]) for v in (errors, x, got, exact)))
    return worst


def nanoseconds(row, dtype, turns=7):
    """Nanoseconds per element of a call with 10,000 elements, the best of some turns."""
    low, high = row.domain
    x = np.random.default_rng(0).uniform(low, high, _TIMED).astype(dtype)
    out = np.empty_like(x)
    times = []
    for _ in range(turns):
        start = time.perf_counter()
        for _ in range(20):
            ops.activation(x, row.name, out=out)
        times.append((time.perf_counter() - start) / 20)
    return min(times) / _TIMED * 1e9


def _parser():
    parser = argparse.ArgumentParser(prog="python -m bench.ulp", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows of the table (default: all)")
    parser.add_argument("--dtype", choices=tuple(_POINTS), help="default: both")
    parser.add_argument("--exhaustive", action="store_true",
                        help="float32: all 2^32 numbers (minutes per function)")
    parser.add_argument("--points", type=int, metavar="N", help="how many numbers of the domain "
                        f"(default {_POINTS['float32']} and {_POINTS['float64']})")
    return parser


def main(arguments=None):
    """Print the table; the exit status is 1 if a stated bound is broken."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in spec.ELEMENTWISE:
            parser.error(spec.nearest(name, spec.ELEMENTWISE, "elementwise activation"))
    if options.points is not None and options.points < 2:
        parser.error(f"--points: expected at least 2. Received: {options.points}")
    if options.exhaustive and options.dtype == "float64":
        parser.error("--exhaustive: expected --dtype float32. Received: float64")
    dtypes = [options.dtype] if options.dtype else list(_POINTS)
    if options.exhaustive:
        dtypes = ["float32"]
    truth = _load_truth() if "float64" in dtypes else None

    print(f"backend {config.backend()}, instruction set {backend.instruction_set()}, "
          f"{config.threads()} threads")
    broken = []
    for dtype in dtypes:
        print(f"\n{dtype:18} {'max ULP':>8} {'stated':>7} {'ns/element':>11}  worst at")
        for name in options.names or spec.ELEMENTWISE:
            row = spec.ACTIVATIONS[name]
            count = None if options.exhaustive else options.points or _POINTS[dtype]
            worst = scan(row, dtype, count, truth)
            bound = row.ulp[dtype == "float64"]
            held = worst.ulps <= bound
            print(f"{name:18} {worst.ulps:8.3f} {bound:7g} {nanoseconds(row, dtype):11.3f}  "
                  f"x = {worst.x!r}: {worst.got!r}, exactly {worst.exact!r}"
                  f"{'' if held else '  BROKEN'}", flush=True)
            if not held:
                broken.append(f"{name} ({dtype})")
    if broken:
        print(f"\nstated bound broken: {', '.join(broken)}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
