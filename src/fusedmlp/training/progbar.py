"""A progress bar for loops of one's own, `fusedmlp.utils.Progbar`; `fit` has its own display."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from time import perf_counter

import numpy as np

from .. import checks
from ..messages import say
from .progress import format_logs

__all__ = ["Progbar"]

_DONE, _LEFT = "\x1b[32m", "\x1b[37m"
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


class Progbar:
    """Shows how far a loop has come, and numbers from it.

    Parameters
    ----------
    target : int or None
        Steps there will be; None where that is not known.
    width : int
        Of the bar, in characters.
    verbose : {0, 1, 2}
        Nothing, a bar that moves, or a line at the end.
    interval : float
        Seconds between two changes of the bar.
    stateful_metrics : iterable of str, optional
        Numbers that are shown as they are; of others, averages over the steps are.
    stateless_metrics : iterable of str, optional
        In place of it: numbers whose averages are shown.
    unit_name : str
        What a step is called.

    Raises
    ------
    ValueError, TypeError
        If both kinds of metrics are given, or another argument is none of these.

    References
    ----------
    Keras 3, keras.utils.Progbar.

    Examples
    --------
    >>> bar = Progbar(3, verbose=2)
    >>> for step in range(3):
    ...     bar.update(step + 1, [("loss", 0.5 * step)])                        # doctest: +ELLIPSIS
    3/3 - 0s - .../step - loss: 1.0000
    """

    def __init__(self, target: int | None, width: int = 20, verbose: int = 1,
                 interval: float = 0.05, stateful_metrics: Iterable[str] | None = None,
                 stateless_metrics: Iterable[str] | None = None, unit_name: str = "step"):
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError(
                "Only one of the arguments `stateful_metrics` and `stateless_metrics` can be "
                f"given. Received: {stateful_metrics!r} and {stateless_metrics!r}"
            )
        if verbose not in (0, 1, 2):
            raise ValueError(f"Argument `verbose` must be 0, 1 or 2. Received: {verbose!r}")
        self.target = None if target is None else checks.integer(target, "target", 0)
        self.width = checks.integer(width, "width", 1)
        self.interval = checks.number(interval, "interval", low=0)
        self.verbose, self.unit_name = int(verbose), unit_name
        self.stateful_metrics = self.stateless_metrics = None
        if stateless_metrics is not None:
            self.stateless_metrics = set(stateless_metrics)
        else:
            self.stateful_metrics = set(stateful_metrics or ())
        self._values: dict[str, list] = {}  # sum and count of what is averaged
        self._seen, self._shown, self._width = 0, -np.inf, 0
        self._start = perf_counter()

    def update(self, current: int, values=None, finalize: bool | None = None) -> None:
        """Show that `current` steps have been made.

        Parameters
        ----------
        current : int
        values : list of (str, float), optional
            Numbers of the latest step.
        finalize : bool, optional
            Whether this is the last time; by default, when the target is reached.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        for name, value in values or ():
            averaged = (name in self.stateless_metrics if self.stateful_metrics is None
                        else name not in self.stateful_metrics)
            count = max(current - self._seen, 1)
            if not averaged or finalize or name not in self._values:
                count = count if averaged and not finalize else 1
                self._values[name] = [np.mean(value) * count, count]
            else:
                self._values[name][0] += np.mean(value) * count
                self._values[name][1] += count
        self._seen = current
        now = perf_counter()
        if self.verbose == 1 and (finalize or now - self._shown >= self.interval):
            self._shown = now
            self._draw(current, now - self._start, finalize)
        elif self.verbose == 2 and finalize and self.target:
            seconds = now - self._start
            say(" - ".join([self._count(current), f"{seconds:.0f}s",
                            *self._details(current, seconds)]))

    def add(self, n: int, values=None) -> None:
        """Show that `n` more steps have been made."""
        self.update(self._seen + n, values)

    def _count(self, current):
        if not self.target:
            return f"{current:7d}/Unknown"
        return f"{current:{len(str(self.target))}d}/{self.target}"

    def _details(self, current, seconds):
        """Time per step, and the numbers."""
        each = seconds / max(current, 1)
        for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
            if each * factor >= 1 or unit == "us":
                yield f"{each * factor:.0f}{unit}/{self.unit_name}"
                break
        if self._values:
            yield format_logs({k: total / count for k, (total, count) in self._values.items()})

    def _draw(self, current, seconds, finalize):
        plain = not sys.stdout.isatty() if hasattr(sys.stdout, "isatty") else True
        parts = [self._count(current)]
        if self.target:
            done = min(int(self.width * current / self.target), self.width)
            bars = ("━" * done, "━" * (self.width - done))
            parts.append("".join(bars) if plain else _DONE + bars[0] + _LEFT + bars[1] + _PLAIN)
        left = seconds / max(current, 1) * ((self.target or 0) - current)
        told = _clock(left) if self.target and not finalize else f"{seconds:.0f}s"
        parts.append(told if plain else _BOLD + told + _PLAIN)
        text = " ".join(parts) + " " + " - ".join(self._details(current, seconds))
        padded = text.ljust(self._width)
        self._width = len(text)
        say("\r" + padded, end="\n" if finalize else "")


def _clock(seconds):
    """
    >>> _clock(3.2), _clock(75), _clock(3700)
    ('3s', '1:15', '1:01:40')
    """
    seconds = int(seconds)
    if seconds > 3600:
        return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"
    return f"{seconds // 60}:{seconds % 60:02d}" if seconds > 60 else f"{seconds}s"
