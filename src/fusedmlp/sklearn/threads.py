"""How many threads a fit or prediction may take, so that parallel ones don't hinder each other.

Results do not depend on the number, only times do.  This module knows nothing of estimators.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import joblib
from joblib.parallel import get_active_backend

from .. import backend

__all__ = ["allowed", "limit"]

_lock = threading.Lock()
_limits: list[int] = []  # of the calls that are running, on any thread
_before = 0  # what was set before the first of them


def allowed(n_jobs: int | None) -> int | None:
    """The most threads that a call may take; None leaves it to the settings of the process.

    Parameters
    ----------
    n_jobs : int or None
        Threads, or from -1 down all processors but ``-1 - n_jobs``.  None stands for all that may
        be used, but for a fair share within a worker of joblib: what joblib grants to libraries
        in a worker process, and one thread in a worker thread.

    Raises
    ------
    ValueError
        If it is 0.

    >>> allowed(2), allowed(None)
    (2, None)
    """
    if n_jobs is not None:
        if n_jobs == 0:
            raise ValueError("Argument `n_jobs` must be None or an integer but 0. Received: 0")
        return n_jobs if n_jobs > 0 else max(1, joblib.cpu_count() + 1 + n_jobs)
    active, _ = get_active_backend()
    if not getattr(active, "nesting_level", 0):
        return None
    if threading.current_thread() is not threading.main_thread():
        return 1
    granted = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(granted)) if granted.isdecimal() else 1


@contextmanager
def limit(n_jobs: int | None) -> Iterator[None]:
    """Within the block, calls of the kernels take no more threads than `allowed` says.

    The setting is one of the process: while several blocks run, the smallest limit holds.

    >>> before = backend.threads()
    >>> with limit(1):
    ...     backend.threads()
    1
    >>> backend.threads() == before
    True
    """
    most = allowed(n_jobs)
    if most is None:
        yield
        return
    _enter(most)
    try:
        yield
    finally:
        _leave(most)


def _enter(most):
    global _before
    with _lock:
        if not _limits:
            _before = backend.threads()
        _limits.append(most)
        _apply()


def _leave(most):
    with _lock:
        _limits.remove(most)
        _apply()


def _apply():
    wanted = min(_limits, default=_before)
    if _limits:
        wanted = min(wanted, _before)
    if wanted != backend.threads():
        backend.set_threads(wanted)


def _after_fork():
    """A forked child has none of the calls that were running."""
    global _lock
    _lock = threading.Lock()
    if _limits:
        _limits.clear()
        backend.set_threads(_before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
