"""What every model is: layers whose variables lie together in one arena, and a `Trainer`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from .. import random
from ..layers.layer import Layer
from ..plan import Builder
from ..training.execution import Executions
from ..training.trainer import Trainer
from ..variable import Variable, place_together

__all__ = ["Model"]


class Model(Trainer, Layer):
    """Base class of models; `Sequential` is the one to use.

    A model is a layer too, so it can be part of another.

    Attributes
    ----------
    layers : list of Layer
    seed : int
        What shuffles and dropout draw from; taken from the global generator
        (`fusedmlp.utils.set_random_seed`) when the model is made.
    arena : ndarray or None
        The flat array that all variables lie in, those that training updates in front; None until
        something is computed.
    updated_size : int
        Elements of that front part.
    """

    def __init__(self, *, name: str | None = None, trainable: bool = True):
        Layer.__init__(self, name=name, trainable=trainable)
        self.seed = random.next_seed()
        self.arena: np.ndarray | None = None
        self.updated_size = 0
        self._updated: set[int] | None = None  # ids of the variables that training updates
        self._flags: dict[str, bool] = {}  # `trainable` of the layers when that was decided
        Trainer.__init__(self)

    # -- network -------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers, from input to output."""
        raise NotImplementedError(f"{type(self).__name__} must define `layers`")

    def lower_layers(self, builder: Builder, x: int, owners: dict[str, str]) -> int:
        """Emit the operations of all layers, noting in `owners` whose each new buffer is."""
        for layer in self.layers:
            first = len(builder.buffers)
            if isinstance(layer, Model):
                x = layer.lower_layers(builder, x, owners)
                continue
            x = layer.lower(builder, x)
            owners.update((buffer.name, layer.name) for buffer in builder.buffers[first:])
        return x

    def lower(self, builder, x):
        return self.lower_layers(builder, x, {})

    def compute_output_shape(self, input_shape):
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def widths(self) -> list[int]:
        """Columns of the input and of each layer's output; empty before the model is built."""
        raise NotImplementedError(f"{type(self).__name__} must define `widths`")

    @property
    def _parts(self) -> list[Layer]:
        """The layers, with that of the input where there is one."""
        return self.layers

    @property
    def _fixed_dtype(self):
        return next((d for d in (layer._fixed_dtype for layer in self._parts) if d), None)

    def _check_dtype(self, dtype):
        for layer in self._parts:
            layer._check_dtype(dtype)

    def _adopt_dtype(self, dtype):
        super()._adopt_dtype(dtype)
        for layer in self._parts:
            layer._adopt_dtype(dtype)

    @property
    def differs_in_training(self):
        return any(layer.differs_in_training for layer in self.layers)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its place.

        Raises
        ------
        ValueError
            If there is no such layer, or both or neither are given.
        """
        layers = self.layers
        if (name is None) == (index is None):
            raise ValueError(
                "Exactly one of the arguments `name` and `index` must be given. "
                f"Received: name={name!r}, index={index!r}"
            )
        if index is not None:
            if not isinstance(index, int) or not -len(layers) <= index < len(layers):
                raise ValueError(
                    f"Argument `index` must be the place of one of {len(layers)} layers. "
                    f"Received: {index!r}"
                )
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        raise ValueError(
            f"Argument `name` must be one of {', '.join(repr(layer.name) for layer in layers)}. "
            f"Received: {name!r}"
        )

    # -- variables -----------------------------------------------------------------------------

    @property
    def variables(self) -> list[Variable]:
        """All variables, in the order of the layers."""
        return [v for layer in self.layers for v in layer.variables]

    @property
    def trainable_variables(self) -> list[Variable]:
        """The variables that training updates once the model is compiled."""
        if not self._trainable:
            return []
        return [v for layer in self.layers for v in layer.trainable_variables]

    @property
    def trainable(self) -> bool:
        """Whether training updates the model's variables; setting it sets it for all layers."""
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        self._trainable = bool(value)
        for layer in self.layers:
            layer.trainable = value

    def place(self) -> None:
        """Have all variables in one arena; nothing to do if they are."""
        if self.arena is None:
            if self._updated is None:
                self._freeze_trainable()
            arena, size = place_together(self.variables, self._updated, self.dtype, self._moved)
            self.arena, self.updated_size = arena, size

    def updated_variables(self) -> frozenset[int]:
        """Which variables training updates, by identity."""
        return frozenset(self._updated or ())

    def _moved(self):
        self.arena = None
        super()._moved()

    def _freeze_trainable(self):
        """Decide which variables training updates: those that are trainable now."""
        self._flags = self._trainable_flags()
        updated = {id(v) for v in self.trainable_variables} if self.built else None
        if updated != self._updated:
            self._updated = updated
            self._moved()

    def _trainable_flags(self):
        flags = {layer.name: layer.trainable for layer in self.layers}
        return {**flags, "": self._trainable}

    def _changed_trainable(self):
        """Names of the layers whose `trainable` has changed since that was decided; told once."""
        flags, before = self._trainable_flags(), self._flags
        self._flags = flags
        return [name or self.name for name in flags if before.get(name) not in (None, flags[name])]

    # -- showing and saving --------------------------------------------------------------------

    def summary(self, print_fn=None) -> None:
        """Print a table of the layers: output, parameters, and work and traffic for one row.

        Parameters
        ----------
        print_fn : callable, optional
            Called with each line; `print` by default.

        Raises
        ------
        ValueError
            If the model is not built.

        Examples
        --------
        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(3, name="scores")], name="net")
        >>> model.summary()
        Model: net (float32)
        Layer (type)    Output     Params  Flops/row  Bytes/row
        -------------------------------------------------------
        scores (Dense)  (None, 3)      15         24         88
        -------------------------------------------------------
        Total                          15         24         88
        Trainable: 15 parameters (60 B), other: 0
        """
        from ..diagnostics.summary import summary_lines

        for line in summary_lines(self):
            (print_fn or print)(line)

    def save(self, filepath: str | Path, overwrite: bool = True) -> None:
        """Write network, weights and the state of training to a file.

        `fusedmlp.models.load_model` reads it; training that goes on from there gives the bits of
        training that was never interrupted.

        Parameters
        ----------
        filepath : str or Path
        overwrite : bool
            Whether a file that exists may be replaced.

        Raises
        ------
        ValueError
            If the file exists and may not be replaced.
        """
        from ..saving import save_model

        save_model(self, filepath, overwrite=overwrite)

    def save_weights(self, filepath: str | Path, overwrite: bool = True) -> None:
        """Write the weights alone to a file; see `fusedmlp.saving.save_weights`."""
        from ..saving import save_weights

        save_weights(self, filepath, overwrite=overwrite)

    def load_weights(self, filepath: str | Path, skip_mismatch: bool = False,
                     by_name: bool = False) -> None:
        """Overwrite the weights with those of a file; see `fusedmlp.saving.load_weights`."""
        from ..saving import load_weights

        load_weights(self, filepath, skip_mismatch, by_name)

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__name__} must define `get_config`")

    # Copies and pickles take what the model is and leave what it holds ready.
    def __getstate__(self):
        held = ("_executions", "_predicting", "_fast", "_lock", "arena", "_updated", "history",
                "_running", "_restored")
        return {name: value for name, value in self.__dict__.items() if name not in held}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.history = self.arena = self._updated = self._running = self._restored = None
        self._executions = Executions()
        self._lock = threading.RLock()
        self._moved()
