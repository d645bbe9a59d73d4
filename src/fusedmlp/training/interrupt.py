"""Ctrl-C between two steps instead of within one."""

from __future__ import annotations

# The functions behind those of `signal`, which turn numbers into enums and back: eight
# microseconds around steps that may take one.
import _signal
import threading
from signal import default_int_handler

__all__ = ["BetweenSteps"]


class BetweenSteps:
    """Holds back KeyboardInterrupt until the end of a ``with`` block.

    Steps run within such a block, and so does the bookkeeping that belongs to them, so weights,
    optimizer state and step count always fit together.  A program that handles SIGINT itself, or
    runs in another thread, is left alone.

    >>> import signal
    >>> try:
    ...     with BetweenSteps():
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("the step is completed")
    ... except KeyboardInterrupt:
    ...     print("now it is over")
    the step is completed
    now it is over
    """

    __slots__ = ("_held", "_pending")

    def __enter__(self):
        self._pending = False
        self._held = (
            _signal.getsignal(_signal.SIGINT) is default_int_handler
            and threading.current_thread() is threading.main_thread()
        )
        if self._held:
            _signal.signal(_signal.SIGINT, self._note)

    def _note(self, number, frame):
        self._pending = True

    def __exit__(self, *exception):
        if self._held:
            _signal.signal(_signal.SIGINT, default_int_handler)
            if self._pending:
                raise KeyboardInterrupt
