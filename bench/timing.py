"""Timing on a shared machine: contenders take turns, and medians of turns are compared.

A turn of one contender warms up for `WARM_SECONDS`, then times batches of calls for `TURN_SECONDS`
(at least one call each); its value is the median batch, so that one interruption by another process
does not count.  A call of `LONG_SECONDS` or more is a turn by itself.  Between turns the process
waits until threads that the previous contender left spinning have gone to sleep, so that nobody
pays for another's pool.  Who begins a round rotates.
"""

from __future__ import annotations

import statistics
import time

__all__ = ["LONG_SECONDS", "TURN_SECONDS", "WARM_SECONDS", "alternate", "median", "settle"]

TURN_SECONDS = 0.02
WARM_SECONDS = 0.005
LONG_SECONDS = 0.5
_BATCH_SECONDS = 0.0002
_LONGEST_SETTLE = 0.5
_QUIET = 0.1  # processor seconds per second


def settle():
    """Wait until the process uses no processor while this thread sleeps."""
    limit = time.perf_counter() + _LONGEST_SETTLE
    while time.perf_counter() < limit:
        wall, processor = time.perf_counter(), time.process_time()
        time.sleep(0.004)
        if time.process_time() - processor < _QUIET * (time.perf_counter() - wall):
            return


def _batch(function, calls):
    repeat = range(calls)
    start = time.perf_counter()
    for _ in repeat:
        function()
    return time.perf_counter() - start


def _calls(function):
    """How many calls make a batch long enough for the clock."""
    calls = 1
    if _batch(function, calls) >= LONG_SECONDS:
        return calls
    while min(_batch(function, calls) for _ in range(3)) < _BATCH_SECONDS:
        calls *= 2
    return calls


def _turn(function, calls):
    end = time.perf_counter() + WARM_SECONDS
    while True:
        first = _batch(function, calls)
        if first >= LONG_SECONDS:
            return first / calls
        if time.perf_counter() >= end:
            break
    batches = []
    end = time.perf_counter() + TURN_SECONDS
    while not batches or time.perf_counter() < end:
        batches.append(_batch(function, calls))
    return median(batches) / calls


def alternate(contenders, turns, between=None):
    """Time contenders turn by turn.

    Parameters
    ----------
    contenders : dict of str to callable
    turns : int
        Turns of each.
    between : callable, optional
        Called once per round of turns, for instance to measure the machine.

    Returns
    -------
    dict of str to list of float
        Seconds per call, one number per turn.
    """
    calls = {}
    for name, function in contenders.items():
        settle()
        calls[name] = _calls(function)
    times = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(turns):
        if between is not None:
            settle()
            between()
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            settle()
            times[name].append(_turn(contenders[name], calls[name]))
    return times


def median(values):
    """Median of a list of numbers."""
    return statistics.median(values)
