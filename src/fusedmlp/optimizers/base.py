"""What all optimizers have in common.

An optimizer is its hyperparameters, the count of its steps and its state arrays (`slots`).  The
update itself is a kernel: `lower` adds the operations of a step to a plan, and `apply` runs a plan
of nothing else for arrays and variables.  This module knows nothing of models.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from fusedmlp.kernels.layout import read, write

from .. import backend, checks, spec
from ..plan import Builder
from ..registry import snake_case
from ..variable import Variable, aligned_zeros, float_dtype
from . import schedules
from .state import Slot, State

__all__ = ["Optimizer", "with_common_arguments"]

_ORDER = np.zeros(1, np.int64)


class LearningRate(float):
    """A learning rate: a float that also can be assigned to, as a variable of Keras can.

    >>> from fusedmlp.optimizers import SGD
    >>> sgd = SGD(0.1)
    >>> sgd.learning_rate.assign(0.05)
    >>> sgd.learning_rate, sgd.learning_rate.numpy()
    (0.05, 0.05)
    """

    _optimizer: Any = None

    @classmethod
    def of(cls, optimizer: Optimizer, value: float) -> LearningRate:
        """The rate of an optimizer, which `assign` changes."""
        rate = cls(value)
        rate._optimizer = optimizer
        return rate

    def assign(self, value) -> None:
        """Set the optimizer's rate; TypeError if it follows a schedule."""
        self._optimizer.learning_rate = float(value)

    def numpy(self) -> float:
        """The number."""
        return float(self)

    def __reduce__(self):
        return float, (float(self),)


class Optimizer:
    """Base class of the optimizers: SGD, Adam and the others, all with these arguments.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        Not negative; a callable takes no arguments.
    weight_decay : float, optional
        Decoupled: before each update parameters shrink by ``learning_rate * weight_decay`` times
        themselves.
    clipnorm : float, optional
        Largest norm of each variable's gradient.
    clipvalue : float, optional
        Largest magnitude of a gradient's element.
    global_clipnorm : float, optional
        Largest norm of all gradients together.  One of the three at most.
    use_ema : bool
        Whether to keep a moving average of the parameters, which takes their place at the end of
        `fit` and where `ema_overwrite_frequency` says so.
    ema_momentum : float
        Weight of the old average in each step.
    ema_overwrite_frequency : int, optional
        Updates after which the average takes the parameters' place.
    loss_scale_factor : float, optional
        What `scale_loss` multiplies a loss by and `apply` divides gradients by.  `fit` leaves both
        out: it computes gradients in float32 or float64, where they cancel.
    gradient_accumulation_steps : int, optional
        Steps whose mean gradient makes one update; at least 2.
    name : str, optional

    Attributes
    ----------
    learning_rate : float
        That of the next step; may be set at any time, unless it follows a schedule.
    iterations : int
        Updates made.
    steps : int
        Gradients seen: as many, times `gradient_accumulation_steps`.  Schedules count them.
    slots : tuple of ndarray
        State arrays, flat, in the order of `slot_names`; empty before `build`.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.
    """

    def __init__(self, learning_rate, weight_decay: float | None = None,
                 clipnorm: float | None = None, clipvalue: float | None = None,
                 global_clipnorm: float | None = None, use_ema: bool = False,
                 ema_momentum: float = 0.99, ema_overwrite_frequency: int | None = None,
                 loss_scale_factor: float | None = None,
                 gradient_accumulation_steps: int | None = None, name: str | None = None):
        self._learning_rate: Any = None
        self.learning_rate = learning_rate
        self.weight_decay = _optional(weight_decay, "weight_decay", low=0.0)
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        if sum(value is not None for value in clips.values()) > 1:
            raise ValueError(
                "Only one of the arguments `clipnorm`, `clipvalue` and `global_clipnorm` may be "
                f"given. Received: {', '.join(f'{key}={clips[key]!r}' for key in clips)}"
            )
        for key, value in clips.items():
            setattr(self, key, _optional(value, key, low=0.0))
        self.use_ema = _flag(use_ema, "use_ema")
        self.ema_momentum = checks.number(ema_momentum, "ema_momentum", 0.0, 1.0)
        self.ema_overwrite_frequency = (
            None if ema_overwrite_frequency is None
            else checks.integer(ema_overwrite_frequency, "ema_overwrite_frequency", 1))
        self.loss_scale_factor = _optional(loss_scale_factor, "loss_scale_factor", low=1e-300)
        self.gradient_accumulation_steps = (
            None if gradient_accumulation_steps is None
            else checks.integer(gradient_accumulation_steps, "gradient_accumulation_steps", 2))
        self.name = name or snake_case(type(self).__name__)
        self.steps = 0
        self._state: State | None = None
        self._variables: list | None = None  # what the state belongs to, as far as it is known
        self._excluded: tuple[tuple, str | None] = ((), None)
        self._alone: _Alone | None = None

    whole_data = False
    """Whether `fit` leaves an epoch to the optimizer's `iterate`, with all data as one batch."""

    _showing = False  # whether a config is for people to read

    def _set_numbers(self, **values):
        """Check hyperparameters by the table and keep them."""
        for name, value in values.items():
            setattr(self, name, checks.number(value, name, **spec.limits(name)))

    # -- learning rate -------------------------------------------------------------------------

    @property
    def learning_rate(self) -> float:
        return LearningRate.of(self, self.learning_rates(self.steps, 1)[0])

    @learning_rate.setter
    def learning_rate(self, value):
        if isinstance(value, dict):
            value = schedules.deserialize(value)
        if not callable(value):
            if isinstance(self._learning_rate, schedules.LearningRateSchedule):
                raise TypeError(
                    "The learning rate follows a schedule, so it can't be set to a number: give "
                    "the optimizer a number to begin with, or set another schedule. "
                    f"Received: {value!r}"
                )
            value = float(checks.number(value, "learning_rate", low=0))
        self._learning_rate = value

    def learning_rates(self, first_step: int, count: int) -> np.ndarray:
        """The rates of `count` steps from the one with index `first_step` on.

        A callable without arguments is called once for all of them.

        Returns
        -------
        ndarray of float64, shape (count,)

        Raises
        ------
        ValueError
            If one is negative or no number.
        """
        given = self._learning_rate
        if isinstance(given, schedules.LearningRateSchedule):
            rates = np.asarray(given.rates(first_step, count), np.float64)
        else:
            rates = np.full(count, given() if callable(given) else given, np.float64)
        if not (rates >= 0.0).all():
            raise ValueError(
                "Argument `learning_rate` must give numbers of at least 0. "
                f"Received: {given!r}, which gives {rates[~(rates >= 0.0)][0]}"
            )
        return rates

    # -- what a step does ----------------------------------------------------------------------

    @property
    def row(self) -> str:
        """Key of `spec.OPTIMIZERS`: the kernel that updates."""
        raise NotImplementedError(f"{type(self).__name__} must define `row`")

    def kernel_params(self) -> tuple[float, ...]:
        """Values of the row's hyperparameters, in its order; None counts as 0."""
        names = (name for name, _ in spec.OPTIMIZERS[self.row].params)
        return tuple(float(getattr(self, name) or 0.0) for name in names)

    def fingerprint(self) -> tuple:
        """All that a plan of this optimizer depends on besides the variables."""
        return (self.row, self.kernel_params(), self._clipping(), self.use_ema, self.ema_momentum,
                self.ema_overwrite_frequency, self.gradient_accumulation_steps, self._excluded)

    def _clipping(self):
        for kind, limit in (("norm", self.clipnorm), ("global_norm", self.global_clipnorm),
                            ("value", self.clipvalue)):
            if limit:
                return kind, limit
        return None

    def _groups(self, variables):
        """What is updated how: (row, its hyperparameters, factor of the rate, slots, variables).

        Slots are numbers of state arrays in the row's order, variables numbers.
        """
        count = len(spec.OPTIMIZERS[self.row].slots)
        yield self.row, self.kernel_params(), 1.0, range(count), range(len(variables))

    def _row_slots(self, variables):
        """The state arrays of the row, as `Slot`."""
        row = spec.OPTIMIZERS[self.row]
        initial = dict(row.initial)
        for name in row.slots:
            begins = initial.get(name, 0.0)
            if begins not in (0.0, "param"):
                begins = getattr(self, begins)
            yield Slot(name, begins, name if name in row.factored else "full")

    def _slots(self, variables):
        yield from self._row_slots(variables)
        if self.use_ema:
            yield Slot("average")
        if self.gradient_accumulation_steps:
            yield Slot("gradient_accumulator")

    def lower(self, builder: Builder, variables: Sequence) -> None:
        """Append the operations of a step to a plan under construction.

        Parameters
        ----------
        builder : Builder
        variables : sequence of Variable
            Those that the optimizer was built for, in that order; they lie in their arena in it.
        """
        state, every = self._state, self.gradient_accumulation_steps or 1
        if state is None:  # a plan to look at
            state = State(self._slots(variables), [_flattened(v.shape) for v in variables],
                          builder.dtype)
        graded = set(builder.graded())
        names = [slot.name for slot in state.slots]
        if every > 1:
            builder.collect(names.index("gradient_accumulator"), every)
        if self._clipping() is not None:
            builder.clip(*self._clipping(), every)
        for row, params, rate, slots, members in self._groups(variables):
            members = [k for k in members if state.places[k].offset in graded]
            if members:
                builder.update(
                    row, params, parameters=[state.places[k].offset for k in members], rate=rate,
                    every=every, exempt=[self._is_excluded(variables[k]) for k in members],
                    slots=[(s, tuple(state.offset(s, k) for k in members)) for s in slots])
        if self.use_ema:
            builder.average(names.index("average"), self.ema_momentum,
                            self.ema_overwrite_frequency or 0, every)
        builder.project()

    def exclude_from_weight_decay(self, var_list: Sequence | None = None,
                                  var_names: Sequence[str] | None = None) -> None:
        """Spare variables the weight decay.

        Parameters
        ----------
        var_list : sequence of Variable or ndarray, optional
        var_names : sequence of str, optional
            Parts of names, or regular expressions that match one.

        Raises
        ------
        ValueError
            If the optimizer is built already.

        >>> from fusedmlp.optimizers import AdamW
        >>> adamw = AdamW()
        >>> adamw.exclude_from_weight_decay(var_names=["bias"])
        """
        if self.built:
            raise ValueError(
                "`exclude_from_weight_decay()` must be called before the optimizer is built, that "
                "is, before its first step"
            )
        if isinstance(var_names, str):
            raise TypeError(
                f"Argument `var_names` must be a list of strings. Received: {var_names!r}")
        pattern = "|".join(sorted(set(var_names))) if var_names else None
        self._excluded = (tuple(id(v) for v in var_list or ()), pattern)
        self._excluded_variables = tuple(var_list or ())  # an id holds while its object lives

    def _is_excluded(self, variable):
        ids, pattern = self._excluded
        name = getattr(variable, "name", "")
        return id(variable) in ids or (pattern is not None
                                       and re.search(pattern, name) is not None)

    # -- state ---------------------------------------------------------------------------------

    @property
    def iterations(self) -> int:
        return self.steps // (self.gradient_accumulation_steps or 1)

    @iterations.setter
    def iterations(self, value):
        self.steps = checks.integer(value, "iterations", 0) * (
            self.gradient_accumulation_steps or 1)

    @property
    def built(self) -> bool:
        """Whether the state arrays are there."""
        return self._state is not None

    @property
    def slots(self) -> tuple[np.ndarray, ...]:
        return () if self._state is None else self._state.arrays

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Names of the state arrays; empty before `build`."""
        return () if self._state is None else tuple(slot.name for slot in self._state.slots)

    @property
    def state(self) -> State | None:
        """The state arrays with their parts by variable; None before `build`."""
        return self._state

    def build(self, variables: Sequence) -> None:
        """Make the state arrays for some variables, and set `iterations` to 0.

        Parameters
        ----------
        variables : sequence of Variable or ndarray
            float32 or float64, all of one dtype, of one or two dimensions.

        Raises
        ------
        ValueError, TypeError
            If they are something else.
        """
        variables = list(variables)
        arrays = self._arrays(variables)
        shapes = [_flattened(array.shape) for array in arrays]
        dtype = arrays[0].dtype.name if arrays else "float32"
        self._state = State(self._slots(variables), shapes, float_dtype(dtype))
        self._state.begin_with([_reshaped(array) for array in arrays])
        self.steps, self._variables, self._alone = 0, variables, None

    def fits(self, variables: Sequence) -> bool:
        """Whether the state is that of these variables, and all that the optimizer needs."""
        state = self._state
        if state is None or len(variables) != len(state.shapes):
            return False
        if self._variables is not None and any(
                a is not b for a, b in zip(self._variables, variables, strict=True)):
            return False
        shapes = [_flattened(np.shape(v) if isinstance(v, np.ndarray) else v.shape)
                  for v in variables]
        return (shapes == state.shapes and all(str(v.dtype) == state.dtype for v in variables)
                and state.slots == tuple(self._slots(variables)))

    def adopt(self, variables: Sequence) -> None:
        """Let the state of a copy, or one that was read from a file, belong to `variables`."""
        self._variables = list(variables)

    @property
    def variables(self) -> list[Variable]:
        """Copies of the count, the learning rate and the state, by variable, as in Keras.

        >>> from fusedmlp.optimizers import SGD
        >>> sgd = SGD(momentum=0.5)
        >>> sgd.build([Variable([1.0, 2.0], name="bias")])
        >>> [v.name for v in sgd.variables]
        ['iteration', 'learning_rate', 'bias_velocity']
        """
        found = [Variable([float(self.steps)], name="iteration", trainable=False)]
        if not isinstance(self._learning_rate, schedules.LearningRateSchedule):
            found.append(Variable([self.learning_rate], name="learning_rate", trainable=False))
        return found + self._state_variables()

    def _state_variables(self):
        found: list[Variable] = []
        if self._state is None:
            return found
        for number, slot in enumerate(self._state.slots):
            for k in self._state.parts(number):
                owner = self._variables[k] if self._variables is not None else None
                path = getattr(owner, "path", f"variable_{k}").replace("/", "_")
                found.append(Variable(self._state.read(number, k), trainable=False,
                                      name=f"{path}_{slot.name}"))
        return found

    def finalize_variable_values(self, var_list: Sequence) -> None:
        """Replace variables by their moving averages, if there are any; `fit` does so at its end.

        Parameters
        ----------
        var_list : sequence of Variable or ndarray
            Those that the optimizer was built for.

        Raises
        ------
        ValueError
            If they are others.
        """
        if not self.use_ema or self._state is None:
            return
        if not self.fits(list(var_list)):
            raise self._others("var_list", var_list)
        number = self.slot_names.index("average")
        for k, variable in enumerate(var_list):
            _assign(variable, self._state.read(number, k))

    def exchange_averages(self, var_list: Sequence, keep: bool = False) -> None:
        """Let variables and their moving averages change places.

        Parameters
        ----------
        var_list : sequence of Variable or ndarray
            Those that the optimizer was built for.
        keep : bool
            Whether the averages get the variables' values and these stay as they are.

        Raises
        ------
        ValueError
            If there are no averages (``use_ema=True``), or the variables are others.
        """
        if not self.use_ema:
            raise ValueError(
                "Moving averages are kept with use_ema=True alone. Received: use_ema=False")
        if self._state is None or not self.iterations:  # they are the variables still
            return
        variables = list(var_list)
        if not self.fits(variables):
            raise self._others("var_list", variables)
        number = self.slot_names.index("average")
        for k, variable in enumerate(variables):
            value = variable.numpy() if isinstance(variable, Variable) else variable.copy()
            if not keep:
                _assign(variable, self._state.read(number, k))
            self._state.write(number, k, value.reshape(self._state.places[k].shape))

    def scale_loss(self, loss):
        """`loss` times `loss_scale_factor`, where there is one."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    # -- updating arrays and variables ---------------------------------------------------------

    def apply(self, grads: Sequence, trainable_variables: Sequence | None = None) -> None:
        """Update arrays or variables in place by their gradients.

        The first call makes the state for them; later ones must pass the same ones in the same
        order, or none.

        Parameters
        ----------
        grads : sequence of array_like or None
            One per variable, of its shape.  A variable whose gradient is None stays as it is.
        trainable_variables : sequence of ndarray or Variable, optional
            float32 or float64, all of one dtype, writeable.

        Raises
        ------
        ValueError, TypeError
            If numbers, shapes or dtypes don't fit; nothing is changed then.

        >>> from fusedmlp.optimizers import SGD
        >>> w = np.array([1.0, 2.0])
        >>> SGD(learning_rate=0.5).apply([[2.0, 2.0]], [w])
        >>> w
        array([0., 1.])
        """
        grads = list(grads)
        if trainable_variables is None:
            if self._variables is None:
                raise ValueError(
                    "Argument `trainable_variables` must be given, unless `build` has been called "
                    "with them. Received: None"
                )
            trainable_variables = self._variables
        variables = list(trainable_variables)
        arrays, grads = self._checked(grads, variables)
        if not arrays:
            return
        if not self.built:
            self.build(variables)
        elif not self.fits(variables):
            raise self._others("trainable_variables", variables)
        if self._variables is None:
            self.adopt(variables)
        missing = tuple(k for k, grad in enumerate(grads) if grad is None)
        if len(missing) == len(grads):
            raise ValueError("Argument `grads` must have at least one gradient. "
                             "Received: None for all variables")
        if missing:
            warnings.warn(f"No gradients for the variables at positions {list(missing)}, which "
                          "stay as they are", stacklevel=2)
        key = (backend.key(), self.fingerprint(), missing)
        if self._alone is None or self._alone.key != key:
            self._alone = _Alone(self, variables, missing, key)
        self._alone.step(self, variables, arrays, grads)
        self.steps += 1

    def apply_gradients(self, grads_and_vars: Iterable) -> int:
        """Like `apply`, for pairs of a gradient and its variable; returns `iterations`."""
        pairs = list(grads_and_vars)
        self.apply([grad for grad, _ in pairs], [variable for _, variable in pairs])
        return self.iterations

    def _others(self, argument, variables):
        shapes = [tuple(np.shape(v) if isinstance(v, np.ndarray) else v.shape) for v in variables]
        return ValueError(
            f"Argument `{argument}` must be those that the optimizer was built for, of shapes "
            f"{self._state.shapes} and dtype {self._state.dtype}, with the same hyperparameters. "
            f"Received: shapes {shapes}"
        )

    def _arrays(self, variables):
        """Their values, known to be arrays that can be updated."""
        arrays = []
        for number, variable in enumerate(variables):
            array = variable.numpy() if isinstance(variable, Variable) else variable
            if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
                raise TypeError(
                    f"Argument `trainable_variables` must hold float32 or float64 arrays or "
                    f"variables. Received: {variable!r} at position {number}"
                )
            if not array.flags.writeable or (arrays and array.dtype != arrays[0].dtype):
                raise ValueError(
                    "Argument `trainable_variables` must hold writeable arrays of one dtype. "
                    f"Received: at position {number} one of dtype {array.dtype}"
                    + ("" if array.flags.writeable else ", read-only")
                )
            arrays.append(array)
        return arrays

    def _checked(self, grads, variables):
        """Values to update and their gradients, all known to fit before anything changes."""
        if len(grads) != len(variables):
            raise ValueError(
                "Arguments `grads` and `trainable_variables` must be equally many. "
                f"Received: {len(grads)} gradients and {len(variables)} variables"
            )
        arrays, found = self._arrays(variables), []
        for number, (grad, array) in enumerate(zip(grads, arrays, strict=True)):
            if grad is not None:
                grad = checks.float_like(grad, "grads", array.dtype)
                if grad.shape != array.shape:
                    raise ValueError(
                        f"Argument `grads` must have the variables' shapes, {array.shape} at "
                        f"position {number}. Received: shape {grad.shape}"
                    )
            found.append(grad)
        return arrays, found

    # -- config --------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal optimizer, without its state."""
        rate = self._learning_rate
        if isinstance(rate, schedules.LearningRateSchedule):
            rate = rate if self._showing else schedules.serialize(rate)
        elif callable(rate):
            rate = float(rate())
        return {
            "name": self.name, "learning_rate": rate, "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm, "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue, "use_ema": self.use_ema,
            "ema_momentum": self.ema_momentum,
            "ema_overwrite_frequency": self.ema_overwrite_frequency,
            "loss_scale_factor": self.loss_scale_factor,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects=None) -> Optimizer:
        config = dict(config)
        if isinstance(config.get("learning_rate"), dict):
            config["learning_rate"] = schedules.deserialize(config["learning_rate"],
                                                            custom_objects)
        return cls(**config)

    # Copies and pickles keep the state, which belongs to the next variables that fit.
    def __getstate__(self):
        return {**self.__dict__, "_variables": None, "_alone": None,
                "_excluded": ((), self._excluded[1]), "_excluded_variables": ()}

    def __repr__(self):
        """The arguments that differ from their defaults."""
        defaults = inspect.signature(type(self)).parameters
        self._showing = True
        try:
            config = self.get_config()
        finally:
            self._showing = False
        shown = ", ".join(
            f"{key}={value!r}" for key, value in config.items()
            if key != "name" and not (key in defaults and defaults[key].default == value))
        return f"{type(self).__name__}({shown})"


class _Alone:
    """A plan of an optimizer's step and nothing else, with an arena for what it updates."""

    def __init__(self, optimizer, variables, missing, key):
        self.key, state = key, optimizer.state
        self.places = state.places
        builder = Builder(1, state.dtype, training=True)
        for k, place in enumerate(self.places):
            if k not in missing:
                builder.outside_gradient(
                    builder.parameter(f"variable {k}", place.shape, place.offset, place.pitch))
        plan = builder.finish((), optimizer=lambda b: optimizer.lower(b, variables),
                              parameter_size=state.size, trainable_size=state.size)
        self.arena = aligned_zeros(state.size, state.dtype)
        self.executor = backend.executor(plan, self.arena, state.arrays, 0)

    def step(self, optimizer, variables, arrays, grads):
        gradients, scale = self.executor.gradients, optimizer.loss_scale_factor
        for place, array, grad in zip(self.places, arrays, grads, strict=True):
            _write(self.arena, place, array)
            if grad is not None:
                _write(gradients, place, grad if scale is None else grad / scale)
        self.executor.run((), _ORDER, 1, 0, 1, optimizer.learning_rates(optimizer.steps, 1),
                          optimizer.steps, math.inf)
        for place, variable, grad in zip(self.places, variables, grads, strict=True):
            if grad is not None:
                _assign(variable, _read(self.arena, place))


def _read(flat, place):
    return read(flat[place.offset : place.offset + place.size], place.rows, place.shape[-1])


def _write(flat, place, value):
    write(flat[place.offset : place.offset + place.size],
          value.reshape(place.rows, place.shape[-1]))


def _assign(variable, value):
    value = value.reshape(variable.shape)
    if isinstance(variable, Variable):
        variable.assign(value)
    else:
        variable[...] = value


def _flattened(shape):
    """A shape of one or two dimensions with the same elements and the same last dimension."""
    shape = tuple(shape)
    if len(shape) in (1, 2):
        return shape
    return (math.prod(shape[:-1]), shape[-1]) if shape else (1,)


def _reshaped(array):
    return array.reshape(_flattened(array.shape))


def _optional(value, name, **limits):
    return None if value is None else checks.number(value, name, **limits)


def _flag(value, name):
    if value not in (True, False):
        raise ValueError(f"Argument `{name}` must be True or False. Received: {value!r}")
    return bool(value)


_COMMON = [parameter for name, parameter in inspect.signature(Optimizer.__init__).parameters.items()
           if name not in ("self", "learning_rate")]


def with_common_arguments(init: Callable) -> Callable:
    """Give ``__init__(self, ..., **common)`` the arguments that all optimizers share, in order.

    They follow the positional arguments of `init`, whose keyword-only ones follow them; those that
    `init` has itself stay where it has them.
    """
    own = [p for name, p in inspect.signature(init).parameters.items() if name != "common"]
    names = {p.name for p in own}
    first = [p for p in own if p.kind is p.POSITIONAL_OR_KEYWORD]
    last = [p.replace(kind=p.POSITIONAL_OR_KEYWORD) for p in own if p.kind is p.KEYWORD_ONLY]
    signature = inspect.Signature([*first, *(p for p in _COMMON if p.name not in names), *last])

    @functools.wraps(init)
    def __init__(self, *args, **kwargs):
        if kwargs.pop("decay", None) is not None:  # Keras 2
            warnings.warn("Argument `decay` is no longer there and is ignored", stacklevel=2)
        unknown = [key for key in kwargs if key not in signature.parameters]
        if unknown:
            raise ValueError(
                spec.nearest(unknown[0], list(signature.parameters)[1:],
                             f"argument of {type(self).__name__}"))
        init(self, **{key: value for key, value in signature.bind(self, *args, **kwargs)
                      .arguments.items() if key != "self"})

    __init__.__signature__ = signature
    return __init__
