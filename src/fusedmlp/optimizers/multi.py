"""Several optimizers in one: which of them updates a variable is said by its path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import numpy as np

from ..variable import Variable
from . import schedules
from .base import Optimizer
from .state import Slot

__all__ = ["MultiOptimizer", "OptimizerMap"]


class OptimizerMap(MutableMapping):
    """Optimizers by the paths of variables.

    Parameters
    ----------
    default_optimizer : Optimizer
        For variables that no other is for.
    optimizer_map : dict of str to Optimizer, optional
        By paths, such as "dense/kernel", or regular expressions that match one as a whole.

    Raises
    ------
    TypeError, ValueError
        If something is no optimizer, a key is there already, or several match a path.

    References
    ----------
    Keras 3, keras.optimizers.OptimizerMap.

    Examples
    --------
    >>> from fusedmlp.optimizers import SGD, Adam
    >>> rules = OptimizerMap(SGD(), {"encoder/.*": Adam()})
    >>> rules["encoder/kernel"].name, rules["head/kernel"].name
    ('adam', 'sgd')
    """

    def __init__(self, default_optimizer: Optimizer, optimizer_map: dict | None = None):
        if not isinstance(default_optimizer, Optimizer):
            raise TypeError(
                "Argument `default_optimizer` must be an optimizer. "
                f"Received: {default_optimizer!r}"
            )
        if optimizer_map is not None and not isinstance(optimizer_map, dict):
            raise TypeError(
                f"Argument `optimizer_map` must be a dict. Received: {optimizer_map!r}"
            )
        self._default, self._map = default_optimizer, {}
        for key, optimizer in (optimizer_map or {}).items():
            self[key] = optimizer

    @property
    def default_optimizer(self) -> Optimizer:
        """That for variables that no other is for."""
        return self._default

    def __getitem__(self, key):
        if key in self._map:
            return self._map[key]
        found = [pattern for pattern in self._map if re.fullmatch(pattern, key)]
        if len(found) > 1:
            raise ValueError(
                f"One key of an OptimizerMap must match {key!r}. "
                f"Received: {', '.join(map(repr, found))}"
            )
        return self._map[found[0]] if found else self._default

    def __setitem__(self, key, optimizer):
        if not isinstance(key, str):
            raise ValueError(f"A key of an OptimizerMap must be a string. Received: {key!r}")
        if key in self._map:
            raise ValueError(f"The OptimizerMap has the key {key!r} already")
        _check_inner(optimizer, f"key {key!r}")
        self._map[key] = optimizer

    def __delitem__(self, key):
        del self._map[key]

    def __len__(self):
        return len(self._map)

    def __iter__(self) -> Iterator[str]:
        return iter(self._map)

    def __call__(self, variable) -> Optimizer:
        """The optimizer of a variable."""
        return self[getattr(variable, "path", "")]

    def get_config(self) -> dict[str, Any]:
        """Plain data from which `from_config` makes an equal one."""
        from . import serialize

        return {"default_optimizer": serialize(self._default),
                "optimizer_map": {key: serialize(one) for key, one in self._map.items()}}

    @classmethod
    def from_config(cls, config, custom_objects=None) -> OptimizerMap:
        """One from what `get_config` returned."""
        from . import deserialize

        return cls(deserialize(config["default_optimizer"], custom_objects),
                   {key: deserialize(one, custom_objects)
                    for key, one in config["optimizer_map"].items()})


class MultiOptimizer(Optimizer):
    """Updates each variable by an optimizer of its own, all in the one pass of a step.

    The optimizers keep their hyperparameters, learning rates included, which may be set at any
    time; what each has learned of the gradients belongs to this one.

    Parameters
    ----------
    optimizer_map : OptimizerMap or callable
        Gives the optimizer of a variable.
    loss_scale_factor : float, optional
        In place of those of the optimizers.
    name : str, optional

    Attributes
    ----------
    optimizers : list of Optimizer
        Each once; those that a function returns are known once the optimizer is built.

    Raises
    ------
    ValueError, TypeError
        If something is no optimizer, or one that needs steps of its own: another MultiOptimizer,
        LBFGS, one with moving averages, accumulated gradients or ``global_clipnorm``; or if
        clipping differs, or schedules do: rates are numbers, or one schedule is that of all.

    References
    ----------
    Keras 3, keras.optimizers.MultiOptimizer.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(8, name="body"),
    ...                        fm.layers.Dense(1, name="head")])
    >>> slow, fast = fm.optimizers.Adam(1e-4), fm.optimizers.SGD(0.1)
    >>> rules = fm.optimizers.OptimizerMap(fast, {"body/.*": slow})
    >>> model.compile(fm.optimizers.MultiOptimizer(rules), "mse")
    >>> _ = model.fit(np.ones((8, 4)), np.ones(8), verbose=0)
    >>> slow.iterations
    1
    """

    def __init__(self, optimizer_map: OptimizerMap | Callable, loss_scale_factor=None,
                 name: str | None = None):
        if not callable(optimizer_map):
            raise TypeError(
                "Argument `optimizer_map` must be an OptimizerMap or a function of a variable. "
                f"Received: {optimizer_map!r}"
            )
        self.optimizers: list[Optimizer] = []
        self._chosen: dict[int, tuple] = {}
        super().__init__(0.0, loss_scale_factor=loss_scale_factor, name=name)
        self.optimizer_map = optimizer_map
        self._collect()

    def _collect(self):
        """Know the optimizers that a map holds."""
        if isinstance(self.optimizer_map, OptimizerMap):
            for optimizer in (*self.optimizer_map.values(), self.optimizer_map.default_optimizer):
                _check_inner(optimizer, "the map")
                if not any(optimizer is other for other in self.optimizers):
                    self.optimizers.append(optimizer)

    def _index(self, variable) -> int:
        """Which of the optimizers is that of a variable; asked once."""
        if id(variable) not in self._chosen:
            found = self.optimizer_map(variable)
            _check_inner(found, f"variable {getattr(variable, 'path', '')!r}")
            places = [i for i, other in enumerate(self.optimizers) if other is found]
            if not places:
                places = [len(self.optimizers)]
                self.optimizers.append(found)
                found.steps = self.steps
            self._chosen[id(variable)] = (variable, places[0])
        return self._chosen[id(variable)][1]

    def _members(self, variables):
        """Each optimizer with the numbers of its variables, where it has any."""
        chosen = [self._index(variable) for variable in variables]
        for i, optimizer in enumerate(self.optimizers):
            members = [k for k, one in enumerate(chosen) if one == i]
            if members:
                yield i, optimizer, members

    # -- what differs by variable --------------------------------------------------------------

    @property
    def learning_rate(self):
        """AttributeError: each of the `optimizers` has its own."""
        raise AttributeError(
            "A MultiOptimizer has no learning rate: that of each of its `optimizers` can be read "
            "and set"
        )

    @learning_rate.setter
    def learning_rate(self, value):
        if hasattr(self, "optimizer_map"):
            self.learning_rate  # noqa: B018 - which says why not
        self._learning_rate = value

    def _schedule(self):
        """The schedule of all; None where rates are numbers."""
        found = [one._learning_rate for one in self.optimizers]
        scheduled = [r for r in found if isinstance(r, schedules.LearningRateSchedule)]
        if not scheduled:
            return None
        if any(rate is not scheduled[0] for rate in found):
            raise ValueError(
                "The learning rates of a MultiOptimizer's optimizers must be numbers, or one and "
                "the same schedule. Received: " + ", ".join(
                    repr(rate) if callable(rate) else f"{rate:g}" for rate in found)
            )
        return scheduled[0]

    def learning_rates(self, first_step: int, count: int) -> np.ndarray:
        """The rates of the schedule that all share; else ones, which their rates are factors of."""
        schedule = self._schedule()
        if schedule is None:
            return np.ones(count)
        return np.asarray(schedule.rates(first_step, count), np.float64)

    def _factor(self, optimizer):
        return 1.0 if self._schedule() is not None else float(optimizer.learning_rate)

    @property
    def steps(self) -> int:
        """Gradients seen, by all of the optimizers."""
        return self._steps

    @steps.setter
    def steps(self, value):
        self._steps = value
        for optimizer in self.optimizers:
            optimizer.steps = value

    @property
    def row(self) -> str:
        return "multi"

    def kernel_params(self):
        return ()

    def _clipping(self):
        found = {one._clipping() for one in self.optimizers}
        if len(found) > 1:
            raise ValueError(
                "The optimizers of a MultiOptimizer must clip gradients alike. "
                f"Received: {', '.join(sorted(map(str, found)))}"
            )
        return next(iter(found), None)

    def fingerprint(self):
        inner = tuple((one.fingerprint(), self._factor(one)) for one in self.optimizers)
        return (*super().fingerprint(), inner)

    def _row_slots(self, variables):
        for i, optimizer, members in self._members(variables):
            for slot in optimizer._row_slots([variables[k] for k in members]):
                own = range(len(members)) if slot.members is None else slot.members
                yield Slot(f"{slot.name}_{i}", slot.initial, slot.kind,
                           tuple(members[j] for j in own))

    def _groups(self, variables):
        first = 0
        for _, optimizer, members in self._members(variables):
            own = [variables[k] for k in members]
            factor = self._factor(optimizer)
            for row, params, rate, slots, part in optimizer._groups(own):
                yield (row, params, rate * factor, [first + s for s in slots],
                       [members[j] for j in part])
            first += len(list(optimizer._row_slots(own)))

    def _is_excluded(self, variable):
        return super()._is_excluded(variable) or self.optimizers[
            self._index(variable)]._is_excluded(variable)

    @property
    def variables(self) -> list[Variable]:
        """Copies of the count, the learning rates and the state, by variable."""
        found = [Variable([float(self.steps)], name="iteration", trainable=False)]
        found += [Variable([float(one.learning_rate)], name=f"{one.name}_learning_rate",
                           trainable=False) for one in self.optimizers]
        return found + self._state_variables()

    # -- config --------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal optimizer, without its state.

        Raises
        ------
        ValueError
            If optimizers come from a function.
        """
        if not isinstance(self.optimizer_map, OptimizerMap):
            raise ValueError(
                "A MultiOptimizer can be described by a config if `optimizer_map` is an "
                f"OptimizerMap. Received: {self.optimizer_map!r}"
            )
        return {"optimizer_map": self.optimizer_map.get_config(),
                "loss_scale_factor": self.loss_scale_factor, "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if isinstance(config["optimizer_map"], dict):
            config["optimizer_map"] = OptimizerMap.from_config(config["optimizer_map"],
                                                               custom_objects)
        return cls(**config)

    def __getstate__(self):
        return {**super().__getstate__(), "_chosen": {}}

    def __repr__(self):
        return f"MultiOptimizer({self.optimizers!r})"


def _check_inner(optimizer, where):
    """ValueError unless it is an optimizer that others can stand beside."""
    if not isinstance(optimizer, Optimizer):
        raise ValueError(
            f"What an OptimizerMap holds must be an optimizer. Received: {optimizer!r} for {where}"
        )
    alone = (isinstance(optimizer, MultiOptimizer) or optimizer.whole_data
             or type(optimizer).lower is not Optimizer.lower)
    for wrong, what in (
        (alone, type(optimizer).__name__), (optimizer.use_ema, "use_ema=True"),
        (optimizer.gradient_accumulation_steps, "gradient_accumulation_steps"),
        (optimizer.global_clipnorm, "global_clipnorm"),
    ):
        if wrong:
            raise ValueError(
                "An optimizer of a MultiOptimizer must be one whose update concerns its variables "
                f"alone, step by step. Received: {what} for {where}"
            )
