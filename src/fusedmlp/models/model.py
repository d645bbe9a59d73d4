"""What every model is: layers whose variables lie together in one arena, and a `Trainer`.

The network itself is a graph of layers (`Functional`), a stack (`Sequential`), or what a subclass
says by its `call`.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from .. import random, tree
from ..layers.layer import Layer, map_shapes, of_package
from ..layers.tensor import KerasTensor, PlanTensor, columns_of
from ..messages import say
from ..plan import Builder
from ..training.execution import Executions
from ..training.ports import Port
from ..training.trainer import Trainer
from ..variable import Variable, place_together
from .front import Front, opened

__all__ = ["Model"]


def _is_graph(args, kwargs):
    """Whether arguments are the inputs and outputs of a graph, as Keras tells it."""
    return (len(args) == 2 or (len(args) == 1 and "outputs" in kwargs)
            or ("inputs" in kwargs and "outputs" in kwargs))


class Model(Trainer, Layer):
    """A network that can be trained: from symbolic inputs and outputs, or of one's own `call`.

    A model is a layer too, so it can be part of another.

    Parameters
    ----------
    inputs, outputs : symbolic tensor, or list, tuple or dict of such
        What `Input` and calls of layers gave.  They make a model of the layers between them,
        which shares their weights with all other models that they are part of.
    name : str, optional
    trainable : bool

    A subclass may do without inputs and outputs: it makes layers in its ``__init__``, and its
    ``call(inputs)`` (or ``call(inputs, training)``) applies them.  It is built for the first data
    that it is called on, or by `build`.

    Attributes
    ----------
    layers : list of Layer
    inputs, outputs : list of symbolic tensors
        In the order in which data is taken and targets are.
    input_names, output_names : list of str
        Names of the Inputs, and of the layers that give the outputs: keys of dicts of data.
    seed : int
        What shuffles and dropout draw from; taken from the global generator
        (`fusedmlp.utils.set_random_seed`) when the model is made.
    arena : ndarray or None
        The flat array that all variables lie in, those that training updates in front; None until
        something is computed.
    updated_size : int
        Elements of that front part.

    Raises
    ------
    ValueError, TypeError
        If inputs or outputs are no symbolic tensors, or outputs depend on other inputs.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> one, two = fm.Input((3,), name="one"), fm.Input((2,), name="two")
    >>> joined = fm.layers.concatenate([fm.layers.Dense(4, activation="relu")(one), two])
    >>> model = fm.Model([one, two], fm.layers.Dense(1, name="y")(joined))
    >>> model.predict({"one": np.ones((5, 3)), "two": np.zeros((5, 2))}).shape
    (5, 1)

    >>> class Residual(fm.Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.inner = fm.layers.Dense(3, activation="tanh")
    ...     def call(self, x):
    ...         return x + self.inner(x)
    >>> Residual()(np.zeros((2, 3))).shape
    (2, 3)
    """

    _loses_masks = False  # its outputs have the masks that its layers give them

    def __new__(cls, *args, **kwargs):
        if cls is Model and _is_graph(args, kwargs):
            from .functional import Functional

            return super().__new__(Functional, *args, **kwargs)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, *args, name: str | None = None, trainable: bool = True, **kwargs):
        self._graph = None
        if _is_graph(args, kwargs):
            from .graph import Graph

            given = dict(zip(("inputs", "outputs"), args, strict=False))
            inputs = kwargs.pop("inputs", given.get("inputs"))
            outputs = kwargs.pop("outputs", given.get("outputs"))
            args = ()
            graph = Graph(inputs, outputs, name or type(self).__name__)
        else:
            graph = None
        if args:
            raise TypeError(
                f"{type(self).__name__} takes `inputs` and `outputs`, or neither. Received: "
                f"{len(args)} positional argument"
            )
        Layer.__init__(self, name=name, trainable=trainable, **kwargs)
        self.seed = random.next_seed()
        self.arena: np.ndarray | None = None
        self.updated_size = 0
        self._updated: set[int] | None = None  # ids of the variables that training updates
        self._flags: dict[str, bool] = {}  # `trainable` of the layers when that was decided
        self._signature: tuple | None = None  # symbolic inputs and outputs, once it is built
        self._adding: tuple = (None, None)  # the same for what layers of one's own do
        self._front: tuple = (None, None)  # the signature that it is of, and the Front
        Trainer.__init__(self)
        if graph is not None:
            self._take_graph(graph, trainable)

    # -- network -------------------------------------------------------------------------------

    def _take_graph(self, graph, trainable):
        """Be the model of a graph."""
        self._graph = graph
        self._dtype = self._fixed_dtype or self.dtype
        self._check_dtype(self._dtype)
        self._signature = (graph.inputs, graph.outputs)
        self.built = True
        if not trainable:
            self.trainable = False

    @property
    def layers(self) -> list[Layer]:
        """The layers, from input to output; of a subclass in the order of its attributes."""
        return [layer for layer in self._sublayers if layer._is_part]

    _internal = Layer._internal | {"_signature", "_adding", "_flags", "_fast", "_live",
                                   "_latest_logs", "_reported", "_position", "_restored"}

    @layers.setter
    def layers(self, value):
        raise AttributeError(
            f"`layers` of model {self.name!r} can't be set: it lists what the model is made of. "
            "Use another name for the attribute"
        )

    @property
    def _sublayers(self):
        return super()._sublayers if self._graph is None else self._graph.operations

    @of_package
    def call(self, inputs, mask=None):
        """What the network makes of its inputs; a subclass without a graph defines it.

        A mask is that of the inputs, where they have none of their own.
        """
        if self._graph is None:
            raise NotImplementedError(
                f"{type(self).__name__} must define `call(self, inputs)`, or be given `inputs` "
                "and `outputs`"
            )
        values = self._arguments(inputs)
        give_masks(values, mask)
        return tree.pack(self._graph.outputs, self._graph.run(values))

    def _arguments(self, inputs):
        """The tensors of a call, one for each input."""
        tensors = self._graph.flat_inputs
        if isinstance(inputs, dict) and isinstance(self._graph.inputs, (KerasTensor, list, tuple)):
            return [inputs[t._keras_history.operation.name] for t in tensors]
        values = tree.leaves(inputs)
        if len(values) != len(tensors):
            raise ValueError(
                f"Model {self.name!r} must be called on {len(tensors)} tensors. Received: "
                f"{len(values)}"
            )
        for value, tensor in zip(values, tensors, strict=True):
            if value.shape[1:] != tensor.shape[1:]:
                raise ValueError(
                    f"Model {self.name!r} expects the shape {tensor.shape} for input "
                    f"{tensor.name!r}. Received: shape {value.shape}"
                )
        return values

    def __call__(self, *args, **kwargs):
        """The network applied: to symbolic tensors, which gives such, or to data, as `predict`."""
        x = args[0] if args else None
        if type(x) is np.ndarray and len(args) == 1:
            return Trainer.__call__(self, x, **kwargs)
        if any(isinstance(leaf, KerasTensor) for leaf in tree.leaves([list(args), kwargs])):
            return Layer.__call__(self, *args, **kwargs)
        return Trainer.__call__(self, *args, **kwargs)

    def _call_on_arrays(self, args, kwargs):
        return Trainer.__call__(self, *args, **kwargs)

    def call_in_training(self, x):
        """What the network gives for arrays when its layers behave as in training."""
        return Layer._call_on_arrays(self, (x,), {"training": True})

    def build(self, input_shape=None) -> None:
        """Create the weights for inputs of `input_shape`: (None, columns), or a list or dict of it.

        Raises
        ------
        ValueError
            If it is missing, or shapes or dtypes don't fit.
        """
        if self._graph is not None:
            return
        if input_shape is None:
            raise ValueError(
                f"Argument `input_shape` must be given to build {self.name!r}. Received: None"
            )
        self._dtype = self._fixed_dtype or self.dtype
        self._sign(map_shapes(lambda shape: KerasTensor((None, *shape[1:]), self._dtype, "input"),
                              input_shape))

    def _sign(self, inputs):
        """Note what comes in and, by calling the layers, what goes out."""
        self._trace_training((inputs,))
        outputs = self._traced((inputs,), {}, False)
        self._signature, self.built = (inputs, outputs), True
        self._updated = None
        self._moved()

    def build_for(self, inputs) -> None:
        """Build for ports; a subclass has been built when they were asked for."""
        if not self.built:
            self.build(inputs[0].shape)

    def ports(self) -> tuple[list[Port], list[Port]]:
        """Where data goes in and predictions come out; the model must be built."""
        inputs, outputs = self._signature
        front = self.front
        return (_ports(inputs, self.input_names) if front is None else list(front.ports),
                _ports(outputs, self.output_names))

    @property
    def front(self) -> Front | None:
        """What is computed on the data before it gets to a plan; None where nothing is."""
        known, found = self._front
        if known is not self._signature:
            inputs, outputs = self._signature
            found = Front(_ports(inputs, self.input_names), tree.leaves(inputs),
                          opened(self._nodes()), tree.leaves(outputs))
            self._front = self._signature, found
        return found if found is not None and found.needed else None

    @property
    def begins_with_data(self) -> bool:
        """Whether it takes words and the like, and data says the shape that it is built for."""
        return False

    def _nodes(self):
        """The calls of layers that it is made of, parents first; none where it says its `call`."""
        return [] if self._graph is None else self._graph.nodes

    def ports_for(self, shapes) -> tuple[list[Port], list[Port]]:
        """The same for inputs of `shapes`, for which a model of one's own `call` is built."""
        inputs = map_shapes(lambda shape: KerasTensor(shape, self.dtype, "input"), shapes)
        self._build_for((inputs,))
        if self._signature is None:  # a `build` of one's own that leaves it to us
            self._sign(inputs)
        return self.ports()

    @property
    def keyed_outputs(self) -> bool:
        """Whether the outputs are a dict."""
        return self._signature is not None and isinstance(self._signature[1], dict)

    @property
    def plain(self) -> bool:
        """Whether it takes one array with columns and gives one."""
        return self.front is None and all(
            isinstance(part, KerasTensor) and len(part.shape) == 2 for part in self._signature)

    def pack_outputs(self, arrays):
        """Outputs (rows, columns) in the shapes and the structure in which people get them."""
        if self.plain:
            return arrays[0]
        outputs = self._signature[1]
        return tree.pack(outputs, (
            array if len(t.shape) == 2 else array.reshape(len(array), *t.shape[1:])
            for array, t in zip(arrays, tree.leaves(outputs), strict=True)))

    def lower_graph(self, builder: Builder, inputs: list[int]) -> list[PlanTensor]:
        """Emit the operations of the whole network for buffers of the inputs; its outputs."""
        if self.front is not None:
            return self.front.lower(builder, inputs)
        structure = self._signature[0]
        tensors = (PlanTensor(t.shape, builder.dtype, builder, buffer)
                   for t, buffer in zip(tree.leaves(structure), inputs, strict=True))
        return tree.leaves(self._emitted(builder, (tree.pack(structure, tensors),), {}, None))

    @property
    def adds_losses(self) -> str:
        """What layers add to the loss: "nothing", "means" over rows, or what goes "by batch"."""
        return self._known_of_own[0]

    @property
    def mixes_rows(self) -> bool:
        """Whether what it predicts for a row may depend on the other rows of the batch."""
        return self._known_of_own[1]

    @property
    def _known_of_own(self):
        """Both; only layers of one's own and regularizers of outputs can tell, once it is built."""
        known, found = self._adding
        if known is not self._signature:
            found = ("nothing", False)
            if any(node.kwargs.get("training") for node in self._nodes()) or any(
                    layer._foreign or layer.activity_regularizer is not None
                    for layer in all_layers(self)):
                self.place()
                builder = Builder(1, self.dtype)
                builder.arena = self.arena
                for tensor in self.lower_graph(builder, [
                        builder.input(port.columns, port.name) for port in self.ports()[0]]):
                    _ = tensor.buffer  # which has steps that wait emitted
                found = (builder.adds_losses, builder.mixes_rows)
            self._adding = self._signature, found
        return found

    def _known(self, what):
        if self._signature is None:
            raise AttributeError(
                f"Model {self.name!r} has no `{what}` before it is built: give it an Input, or "
                "call `build(input_shape)`"
            )
        return self._signature

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic inputs, in the order in which data is taken."""
        return tree.leaves(self._known("inputs")[0])

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs, in the order in which targets are taken."""
        return tree.leaves(self._known("outputs")[1])

    @property
    def input(self):
        """The symbolic input, or the structure of them."""
        return self._known("input")[0]

    @property
    def output(self):
        """The symbolic output, or the structure of them."""
        return self._known("output")[1]

    @property
    def input_shape(self):
        """(None, columns), or a structure of such; AttributeError before it is known."""
        return tree.map_leaves(lambda t: t.shape, self._known("input_shape")[0])

    @property
    def output_shape(self):
        """(None, columns), or a structure of such; AttributeError before it is known."""
        return tree.map_leaves(lambda t: t.shape, self._known("output_shape")[1])

    @property
    def input_names(self) -> list[str]:
        """Keys of a dict of data: names of the Inputs, or the keys that the model was called by."""
        return _names(self._known("input_names")[0], "input")

    @property
    def output_names(self) -> list[str]:
        """Keys of a dict of targets: names of the layers, or the keys of a dict of outputs."""
        return _names(self._known("output_names")[1], "output")

    def widths(self) -> list[int]:
        """Columns of what a row passes through, as far as it is known; empty before it is built."""
        if self._signature is None:
            return []
        tensors = [*self.inputs, *self.outputs]
        if self._graph is not None:
            tensors += [t for node in self._graph.nodes for t in node.output_tensors]
        return [columns_of(t.shape) for t in tensors] + [v.matrix_shape[1] for v in self.variables]

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

    def place(self) -> None:
        """Have all variables in one arena; nothing to do if they are.

        A model that is not compiled, such as a part of another that serves its features, takes the
        arena that the variables lie in already.
        """
        if self.arena is None:
            if self._updated is None:
                self._freeze_trainable()
            variables = self.variables
            arena = variables[0].arena if variables else None
            if not self.compiled and arena is not None and all(
                    v.arena is arena and v.dtype == self.dtype for v in variables):
                for variable in variables:
                    variable.watch(self._moved)
                self.arena, self.updated_size = arena, 0
                return
            arena, size = place_together(self.variables, self._updated, self.dtype, self._moved)
            self.arena, self.updated_size = arena, size

    def updated_variables(self) -> frozenset[int]:
        """Which variables training updates, by identity."""
        return frozenset(self._updated or ())

    def updated_places(self) -> list[int] | None:
        """Numbers of the variables that training updates; None where that is not decided."""
        if self._updated is None or not self.compiled:
            return None
        return [i for i, v in enumerate(self.variables) if id(v) in self._updated]

    def update_places(self, places: list[int] | None) -> None:
        """Decide which variables training updates, by their numbers; None decides nothing."""
        if places is not None and self.built:
            self._updated = {id(self.variables[i]) for i in places}
            self._moved()

    def trained_variables(self) -> list[Variable]:
        """The variables that training updates, in the order of the arena."""
        if self._updated is None:
            self._freeze_trainable()
        return [v for v in self.variables if id(v) in self._updated]

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

    def summary(self, line_length: int | None = None, positions=None, print_fn=None,
                expand_nested: bool = False, show_trainable: bool = False,
                layer_range=None) -> None:
        """Print a table of the layers: output, parameters, and work and traffic for one row.

        Of a model that is not built only the layers are known.

        Parameters
        ----------
        line_length : int, optional
            Most characters of a line; long names and shapes are cut.
        positions : list of float, optional
            Where each column ends, as shares of `line_length` (80 by default) or in characters.
        print_fn : callable, optional
            Called with each line; `print` by default.
        expand_nested : bool
            Whether the layers within a model within it have lines of their own.
        show_trainable : bool
            Whether to say which layers are trainable.
        layer_range : pair of str, optional
            Names, or regular expressions, of the first and the last layer to show.

        Raises
        ------
        ValueError
            If `layer_range` names no layer.

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

        for line in summary_lines(self, line_length, positions, expand_nested, show_trainable,
                                  layer_range):
            (print_fn or say)(line)

    def explain_plan(self, batch_size: int = 32) -> str:
        """What `plan` returns, in words: each operation, what was fused, what it costs.

        Parameters
        ----------
        batch_size : int
            Most rows in a step.

        Returns
        -------
        str
            Lines to be printed: a training step if the model is compiled with optimizer and loss,
            else a prediction.

        Raises
        ------
        ValueError, TypeError
            If `batch_size` is no positive integer, or the model is not built.

        Examples
        --------
        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(3, "relu", name="scores")],
        ...                       name="net")
        >>> print(model.explain_plan().rsplit("Backend", 1)[0])
        A prediction of 'net': 32 rows, float32, 2 operations
        <BLANKLINE>
        Data: 0 flops, 1.0 KiB
          x  take the rows of the batch from the data (32 x 4)  0 flops  1.0 KiB
        <BLANKLINE>
        Forward: 768 flops, 956 B
          scores.relu  product with scores.kernel + scores.bias, relu (32 x 3)  768 flops  956 B
        <BLANKLINE>
        Fused:
          relu into the product that gives scores.relu
        <BLANKLINE>
        In all 768 flops and 1.9 KiB, 0.4 flops a byte; 4.0 KiB of workspace, 320 B of parameters
        <BLANKLINE>
        """
        from ..diagnostics.explain import explain_lines

        return "\n".join(explain_lines(self, self.plan(batch_size)))

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

    def to_json(self, **kwargs) -> str:
        """The network as JSON, without weights, for `fusedmlp.models.model_from_json`.

        Parameters
        ----------
        **kwargs
            Of `json.dumps`.

        Raises
        ------
        ValueError
            If it holds functions or classes of your own that are not registered.
        """
        import json

        from ..layers import serialize

        return json.dumps(serialize(self), **kwargs)

    def export(self, filepath: str | Path, format: str = "onnx", verbose: bool | None = None,
               input_signature=None, opset_version: int | None = None) -> None:
        """Write the model, as it predicts, to a file for other programs.

        Parameters
        ----------
        filepath : str or Path
        format : {"onnx"}
        verbose : bool, optional
            Whether to print where it was written.
        input_signature : None
            The inputs are the model's own, and the number of rows stays open.
        opset_version : int, optional
            See `fusedmlp.saving.to_onnx`.

        Raises
        ------
        ValueError
            If `format` or `input_signature` is another, or the model can't be exported.
        ImportError
            If onnx is missing.
        """
        from ..saving.onnx_export import OPSET, export_onnx

        if format != "onnx" or input_signature is not None:
            raise ValueError(
                "Arguments `format` and `input_signature` must be 'onnx' and None. "
                f"Received: format={format!r}, input_signature={input_signature!r}"
            )
        export_onnx(self, filepath, OPSET if opset_version is None else opset_version)
        if verbose:
            say(f"Saved {self.name!r} to {str(filepath)!r}")

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects=None) -> Model:
        """A model from what `get_config` returned, with new weights.

        `Model` itself makes a functional or sequential one of a config of such.
        """
        if cls is Model and "layers" in config:
            from .functional import Functional
            from .sequential import Sequential

            kind = Functional if "input_layers" in config else Sequential
            return kind.from_config(config, custom_objects)
        return super().from_config(config)

    # Copies and pickles take what the model is and leave what it holds ready.
    def __getstate__(self):
        held = ("_executions", "_predicting", "_fast", "_lock", "arena", "_updated", "history",
                "_running", "_restored", "_front", "_adding", "_live", "_reported")
        return {name: value for name, value in super().__getstate__().items() if name not in held}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.history = self.arena = self._updated = self._running = self._restored = None
        self._front, self._adding, self._live = (None, None), (None, None), (None, None)
        self._reported = None
        self._executions = Executions()
        self._lock = threading.RLock()
        self._moved()
        if self._graph is not None:
            self._graph.reattach()


def give_masks(values: list, mask) -> None:
    """Have tensors the masks that a call was given for them, as Keras does it."""
    for tensor, one in zip(values, [] if mask is None else tree.leaves(mask), strict=False):
        if one is not None and tensor._keras_mask is None:
            tensor._keras_mask = one


def all_layers(layer):
    """A layer and all that it is made of."""
    yield layer
    for part in layer._sublayers:
        yield from all_layers(part)


def _ports(structure, names):
    return [Port(name, tensor.shape, tensor._keras_mask is not None)
            for name, tensor in zip(names, tree.leaves(structure), strict=True)]


def _names(structure, kind):
    """A name for each leaf, no two the same."""
    if kind == "output" and isinstance(structure, dict) and not any(
            isinstance(part, (dict, list, tuple)) for part in structure.values()):
        return sorted(structure)
    leaves = tree.leaves(structure)
    names: list[str] = []
    for number, tensor in enumerate(leaves, 1):
        operation = tensor._keras_history.operation
        if operation is not None:
            name = operation.name
        elif isinstance(structure, dict):
            name = "_".join(map(str, tree.paths(structure)[number - 1]))
        else:
            name = kind if len(leaves) == 1 else f"{kind}_{number}"
        while name in names:
            name += "_1"
        names.append(name)
    return names
