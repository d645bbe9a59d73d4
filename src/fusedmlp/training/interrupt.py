"""Ctrl-C between two steps instead of within one."""

from __future__ import annotations

import signal
import threading

__all__ = ["BetweenSteps"]


class BetweenSteps:
    """Holds back KeyboardInterrupt until the end of a ``with`` block.

    Steps run within such a block, and so does the bookkeeping that belongs to them, so weights,
    optimizer state and step count always fit together.  A program that handles SIGINT itself, or
    runs in another thread, is left alone.

    >>> with BetweenSteps():
    ...     signal.raise_signal(signal.SIGINT)
    ...     print("the step is completed")
    Traceback (most recent call last):
    ...
    KeyboardInterrupt
    """

    __slots__ = ("_held", "_pending")

    def __enter__(self):
        self._pending = False
        self._held = (
            signal.getsignal(signal.SIGINT) is signal.default_int_handler
            and threading.current_thread() is threading.main_thread()
        )
        if self._held:
            signal.signal(signal.SIGINT, self._note)

    def _note(self, number, frame):
        self._pending = True

    def __exit__(self, *exception):
        if self._held:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self._pending:
                raise KeyboardInterrupt
