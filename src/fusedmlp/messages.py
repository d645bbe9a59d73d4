"""Where what is said to people goes: to standard output, or to a log.

`fusedmlp.config.disable_interactive_logging` sends it to the logger "fusedmlp" of the standard
library, at the level INFO.
"""

from __future__ import annotations

import logging
import sys

from . import config

__all__ = ["say"]


def say(text: str, end: str = "\n") -> None:
    """Say something, a line or (with ``end=""``) what moves on the screen.

    >>> say("Epoch 1: finished")
    Epoch 1: finished
    """
    if not config.is_interactive_logging_enabled():
        if text.strip():
            logging.getLogger("fusedmlp").info(text.strip())
        return
    try:
        sys.stdout.write(text + end)
    except UnicodeEncodeError:  # what the terminal can't show
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write((text + end).encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()
