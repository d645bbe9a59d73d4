"""The limits that `fusedmlp.config` sets to how long training, evaluation and prediction go on."""

from __future__ import annotations

import warnings

from .. import config

__all__ = ["LIMITS", "limited_epochs", "limited_steps"]

config.max_epochs()  # has environment variables read
LIMITS = config._limits  # empty where there are none, which is quickly seen


def limited_epochs(epochs: int) -> int:
    """So many epochs, or those that `config.max_epochs` allows, with a warning.

    >>> limited_epochs(3)
    3
    """
    most = config.max_epochs()
    if most is None or most >= epochs:
        return epochs
    warnings.warn(f"Only {most} of {epochs} epochs are made: `config.max_epochs` says so",
                  stacklevel=4)
    return most


def limited_steps(steps: int | None) -> int | None:
    """So many steps, or those that `config.max_steps_per_epoch` allows, with a warning.

    >>> limited_steps(None), limited_steps(3)
    (None, 3)
    """
    most = config.max_steps_per_epoch()
    if most is None or (steps is not None and most >= steps):
        return steps
    warnings.warn(f"At most {most} steps are made: `config.max_steps_per_epoch` says so",
                  stacklevel=4)
    return most
