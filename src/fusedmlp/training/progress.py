"""Progress on the screen: a bar where there is `tqdm`, a line per epoch where there is not."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any

from .. import config
from ..messages import say

__all__ = ["Progress", "format_logs", "resolve_verbose"]


def resolve_verbose(verbose) -> int:
    """0 (silent), 1 (bar) or 2 (one line per epoch) from the argument of that name.

    "auto" is 1 on a terminal or in a notebook, and 0 in a pipe or file, where a bar would only
    leave control characters.

    Raises
    ------
    ValueError
        If it is another.

    >>> resolve_verbose(2), resolve_verbose(True)
    (2, 1)
    """
    if isinstance(verbose, str) and verbose == "auto":
        stream = sys.stdout
        notebook = type(stream).__module__.startswith("ipykernel")
        return int(notebook or (hasattr(stream, "isatty") and stream.isatty()))
    if isinstance(verbose, (int, bool)) and verbose in (0, 1, 2):
        return int(verbose)
    raise ValueError(f"Argument `verbose` must be 'auto', 0, 1 or 2. Received: {verbose!r}")


def format_logs(logs: dict[str, float]) -> str:
    """The numbers of `logs` in one line.

    >>> format_logs({"loss": 0.25, "accuracy": 0.0001})
    'loss: 0.2500 - accuracy: 1.0000e-04'
    """
    return " - ".join(
        f"{name}: {value:.4f}" if abs(value) > 1e-3 else f"{name}: {value:.4e}"
        for name, value in logs.items()
    )


def _duration(seconds):
    """
    >>> _duration(2.5), _duration(0.0013), _duration(1.5e-6)
    ('2.5s', '1.3ms', '1.5us')
    """
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g}{unit}"
    return f"{seconds * 1e6:.3g}us"


class Progress:
    """The display of one epoch, evaluation or prediction.

    Parameters
    ----------
    total : int
        Number of steps.
    title : str
        What stands in front, e.g. "Epoch 1/5".
    verbose : {1, 2}
        1 draws a bar that moves, if `tqdm` is installed; 2 writes one line at the end.
    unit : str
        What is counted.
    """

    def __init__(self, total: int, title: str, verbose: int, unit: str = "step"):
        self._total, self._title, self._unit, self._done = total, title, unit, 0
        self._bar: Any = None
        self._start = perf_counter()
        if verbose == 1 and config.is_interactive_logging_enabled():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total, desc=title or None, unit=unit, file=sys.stdout,
                             dynamic_ncols=True)

    def update(self, done: int, logs: dict[str, float] | None = None) -> None:
        """Show that `done` steps have been made."""
        if self._bar is not None:
            if logs:
                self._bar.set_postfix_str(format_logs(logs), refresh=False)
            self._bar.update(done - self._done)
        self._done = done

    def finish(self, done: int, logs: dict[str, float] | None = None) -> None:
        """Show the final numbers and end the line."""
        if self._bar is not None:
            self.update(done, logs)
            self.close()
            return
        seconds = perf_counter() - self._start
        parts = [self._title] if self._title else []
        parts += [f"{done}/{self._total}", _duration(seconds),
                  f"{_duration(seconds / max(done, 1))}/{self._unit}"]
        if logs:
            parts.append(format_logs(logs))
        say(" - ".join(parts))

    def close(self) -> None:
        """End the bar where it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
