"""Finding objects by identifier: a name, a config dict, a class, an instance.

One `Registry` per kind of object (initializers, losses, metrics, optimizers); users add their own
classes and functions with `register_keras_serializable` or within a `custom_object_scope`.  This
module knows nothing of what the objects do.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from . import spec

__all__ = [
    "Registry",
    "custom_object_scope",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "register_keras_serializable",
    "snake_case",
]

_CUSTOM: dict[str, Any] = {}


def snake_case(name: str) -> str:
    """`CamelCase` as `snake_case`, split where Keras splits it: files of weights hold such names.

    >>> snake_case("GlorotUniform"), snake_case("PReLU"), snake_case("RMSNormalization")
    ('glorot_uniform', 'p_re_lu', 'rms_normalization')
    """
    return re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", name).lower()


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable:
    """Decorator that makes a class or function known to configs and saved files.

    Parameters
    ----------
    package : str
        Prefix that keeps names of different packages apart; the object is found both with it
        (``package>name``) and without.
    name : str, optional
        Name to use instead of the object's own.

    Raises
    ------
    ValueError
        If a class has no ``get_config``, without which it can't be saved.

    >>> @register_keras_serializable()
    ... class Half:
    ...     def get_config(self):
    ...         return {}
    >>> get_custom_objects()["Custom>Half"] is Half
    True
    >>> _ = get_custom_objects().pop("Custom>Half"), get_custom_objects().pop("Half")
    """

    def register(item):
        if inspect.isclass(item) and not hasattr(item, "get_config"):
            raise ValueError(
                "A class can be registered only if it has a method `get_config`. "
                f"Received: {item!r}"
            )
        own = name or item.__name__
        _CUSTOM[f"{package}>{own}"] = _CUSTOM[own] = item
        return item

    return register


def get_custom_objects() -> dict[str, Any]:
    """The dict of registered objects by name; changing it registers and removes objects.

    >>> get_custom_objects()["half"] = lambda x: x / 2
    >>> get_custom_objects().pop("half")(3.0)
    1.5
    """
    return _CUSTOM


def get_registered_name(obj: Any) -> str:
    """The name under which an object is registered, else its own.

    >>> get_registered_name(dict)
    'dict'
    """
    found = [name for name, known in _CUSTOM.items() if known is obj]
    return max(found, key=lambda name: ">" in name) if found else obj.__name__


def get_registered_object(name: str, custom_objects: Mapping | None = None,
                          module_objects: Mapping | None = None) -> Any:
    """The object that is registered under a name; None if there is none.

    Parameters
    ----------
    name : str
    custom_objects, module_objects : mapping, optional
        Further names, before and after the registered ones.

    >>> get_registered_object("half", {"half": 0.5})
    0.5
    """
    for table in (_CUSTOM, custom_objects or {}, module_objects or {}):
        if name in table:
            return table[name]
    return None


@contextlib.contextmanager
def custom_object_scope(custom_objects: Mapping[str, Any]) -> Iterator[None]:
    """Make objects known under the given names for the time of a ``with`` block.

    >>> with custom_object_scope({"half": lambda x: x / 2}):
    ...     "half" in get_custom_objects()
    True
    >>> "half" in get_custom_objects()
    False
    """
    before = dict(_CUSTOM)
    _CUSTOM.update(custom_objects)
    try:
        yield
    finally:
        _CUSTOM.clear()
        _CUSTOM.update(before)


class Registry:
    """The known classes of one kind.

    Parameters
    ----------
    kind : str
        What the objects are called in messages.
    base : type
        Class that instances belong to.
    classes : iterable of type
        Found under their own name and its snake_case form.
    aliases : mapping of str to type, optional
        Further names.

    Attributes
    ----------
    all : list of Registry
        Those of all kinds, of the class.
    """

    all: ClassVar[list[Registry]] = []

    def __init__(self, kind, base, classes, aliases=None):
        Registry.all.append(self)
        self.kind, self.base = kind, base
        self.names = {}
        for cls in classes:
            self.names[cls.__name__] = self.names[snake_case(cls.__name__)] = cls
        self.names.update(aliases or {})

    def find(self, name, custom_objects=None):
        """The class or function called `name`; ValueError with the nearest names otherwise."""
        for table in (custom_objects or {}, _CUSTOM, self.names):
            if name in table:
                return table[name]
        raise ValueError(spec.nearest(name, {**self.names, **_CUSTOM}, self.kind))

    def knows(self, name) -> bool:
        """Whether `find` finds something called `name`."""
        return name in _CUSTOM or name in self.names

    def serialize(self, obj) -> dict[str, Any] | str:
        """The config dict of an instance, from which `deserialize` makes an equal one.

        A function is described by its name; it can be found again if it is known by it.
        """
        if isinstance(obj, self.base):
            return {"class_name": self._name_of(type(obj)), "config": obj.get_config()}
        if inspect.isfunction(obj):
            return self._name_of(obj)
        raise TypeError(
            f"Argument `{self.kind}` must be an instance of {self.base.__name__}. "
            f"Received: {obj!r} of type {type(obj).__name__}"
        )

    def _name_of(self, item):
        """The name under which `find` gives `item` back.

        That of a class or function of one's own which is not registered is its own: who reads it
        gives `custom_objects`.
        """
        for table in (self.names, _CUSTOM):
            for name, known in table.items():
                if known is item:
                    return name
        own = getattr(item, "__name__", "")
        if own.isidentifier() and not self.knows(own):
            return own
        raise ValueError(
            f"A {self.kind} of your own without a name, or with one that is taken, must be "
            "registered with fusedmlp.saving.register_keras_serializable before it can be "
            f"described by a config. Received: {item!r}"
        )

    def deserialize(self, config, custom_objects=None):
        """An object from its config dict or name.

        Raises
        ------
        ValueError
            If the dict lacks "class_name" or the name is unknown.
        """
        if isinstance(config, str):
            found = self.find(config, custom_objects)
            return found() if inspect.isclass(found) else found
        if not isinstance(config, Mapping) or not isinstance(config.get("class_name"), str):
            raise ValueError(
                f"A config of {self.kind} must be a dict with a 'class_name' and a 'config'. "
                f"Received: {config!r}"
            )
        found = self.find(config["class_name"], custom_objects)
        inner = config.get("config") or {}
        return found.from_config(dict(inner)) if inspect.isclass(found) else found

    def get(self, identifier):
        """An instance from a name, a config dict, a class or an instance; None stays None.

        Raises
        ------
        ValueError, TypeError
            If the name is unknown, or the identifier none of these.
        """
        if identifier is None or isinstance(identifier, self.base):
            return identifier
        if isinstance(identifier, (str, Mapping)):
            return self.deserialize(identifier)
        if inspect.isclass(identifier) and issubclass(identifier, self.base):
            return identifier()
        if callable(identifier) and not inspect.isclass(identifier):
            return identifier
        raise TypeError(
            f"Could not interpret the {self.kind}: expected a name, a config dict, an instance of "
            f"{self.base.__name__} or None. Received: {identifier!r}"
        )
