"""A container of named values, `fusedmlp.utils.Config`, for the settings of a program."""

from __future__ import annotations

import json
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from difflib import get_close_matches
from typing import Any

__all__ = ["Config"]


class Config:
    """A dict whose values are attributes, too, and which can be made unchangeable.

    Parameters
    ----------
    **kwargs
        The first values.

    Raises
    ------
    ValueError
        When it is changed while it is frozen.
    AttributeError
        For a name that is not there; the nearest is named.

    References
    ----------
    Keras 3, keras.utils.Config.

    Examples
    --------
    >>> settings = Config(learning_rate=0.1)
    >>> settings.units = 64
    >>> settings["units"], settings.learning_rate
    (64, 0.1)
    >>> settings.freeze()
    >>> settings.units = 32
    Traceback (most recent call last):
    ...
    ValueError: The config is frozen: 'units' can't be changed before `unfreeze()`
    """

    def __init__(self, **kwargs):
        object.__setattr__(self, "_config", kwargs)
        object.__setattr__(self, "_frozen", False)

    # -- freezing ------------------------------------------------------------------------------

    @property
    def frozen(self) -> bool:
        """Whether it can't be changed."""
        return self._frozen

    def freeze(self) -> None:
        """Let nothing be changed from now on."""
        object.__setattr__(self, "_frozen", True)

    def unfreeze(self) -> None:
        """Let it be changed again."""
        object.__setattr__(self, "_frozen", False)

    def _check(self, *names):
        if self._frozen:
            raise ValueError(
                f"The config is frozen: {', '.join(map(repr, names)) or 'nothing'} can't be "
                "changed before `unfreeze()`"
            )

    # -- as a dict -----------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """A dict with the same values."""
        return dict(self._config)

    def to_json(self) -> str:
        """The values as JSON; TypeError where one is nothing that JSON has."""
        return json.dumps(self._config)

    def keys(self) -> KeysView:
        """The names."""
        return self._config.keys()

    def values(self) -> ValuesView:
        """The values."""
        return self._config.values()

    def items(self) -> ItemsView:
        """Pairs of name and value."""
        return self._config.items()

    def get(self, keyname: str, value: Any = None) -> Any:
        """The value of a name, or another one where there is none."""
        return self._config.get(keyname, value)

    def pop(self, *args) -> Any:
        """Take a value out, as `dict.pop` does."""
        self._check(*args[:1])
        return self._config.pop(*args)

    def update(self, *args, **kwargs) -> None:
        """Take over the values of a dict and of keyword arguments."""
        given = dict(*args, **kwargs)
        self._check(*given)
        self._config.update(given)

    def __getitem__(self, key):
        return self._config[key]

    def __setitem__(self, key, item):
        self._check(key)
        self._config[key] = item

    def __delitem__(self, key):
        self._check(key)
        del self._config[key]

    def __contains__(self, item):
        return item in self._config

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._config))

    def __len__(self):
        return len(self._config)

    # -- as attributes -------------------------------------------------------------------------

    def __setattr__(self, name, value):
        if hasattr(type(self), name):
            raise AttributeError(
                f"{name!r} is a method of Config: set it by `config[{name!r}] = ...`"
            )
        self[name] = value

    def __getattr__(self, name):
        config = self.__dict__.get("_config", {})
        if name in config:
            return config[name]
        near = get_close_matches(name, config, n=1)
        hint = f". Did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"The config has no {name!r}{hint}")

    def __repr__(self):
        return f"<Config {self._config}>"

    def __getstate__(self):
        return dict(self.__dict__)

    def __setstate__(self, state):
        self.__dict__.update(state)
