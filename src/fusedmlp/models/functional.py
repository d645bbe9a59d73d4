"""Models of a graph of layers, and their configs."""

from __future__ import annotations

from typing import Any

from .. import layers as layers_module
from .. import tree
from ..layers.tensor import KerasTensor
from .model import Model

__all__ = ["Functional"]


class Functional(Model):
    """What `Model(inputs, outputs)` makes: the layers on the way from inputs to outputs.

    References
    ----------
    Keras 3, keras.Model.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> x = fm.Input((4,))
    >>> model = fm.Model(x, fm.layers.Dense(3, name="y")(x))
    >>> type(model).__name__, model.output_names
    ('Functional', ['y'])
    """

    def get_config(self) -> dict[str, Any]:
        """The configs of the layers and of the calls between them, without weights."""
        graph = self._graph
        kept = {id(node): number for operation in graph.operations for number, node in
                enumerate(n for n in operation._inbound_nodes if _is_among(n, graph.nodes))}

        def place(tensor):
            operation, index, output = tensor._keras_history
            return [operation.name, kept[id(operation._inbound_nodes[index])], output]

        def described(leaf):
            if isinstance(leaf, KerasTensor):
                return {"class_name": "__keras_tensor__", "config": {
                    "shape": list(leaf.shape), "dtype": leaf.dtype, "keras_history": place(leaf)}}
            return leaf

        layers = []
        for operation in graph.operations:
            nodes = [n for n in operation._inbound_nodes if id(n) in kept and not n.is_input]
            layers.append({
                **layers_module.serialize(operation),
                "name": operation.name,
                "inbound_nodes": [{"args": list(tree.map_leaves(described, node.args)),
                                   "kwargs": tree.map_leaves(described, node.kwargs)}
                                  for node in nodes],
            })
        return {
            "name": self.name,
            "trainable": self._trainable,
            "layers": layers,
            "input_layers": tree.map_leaves(place, graph.inputs),
            "output_layers": tree.map_leaves(place, graph.outputs),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects=None) -> Functional:
        """A model from what `get_config` returned; its weights are new.

        Raises
        ------
        ValueError
            If calls refer to outputs that no layer gives.
        """
        made, waiting = {}, []
        for described in config["layers"]:
            layer = layers_module.deserialize(described, custom_objects)
            made[described["name"]] = layer
            # a model of a graph is not called to begin with; neither is anything else but an Input
            waiting += [(layer, number, node)
                        for number, node in enumerate(described["inbound_nodes"])]
        before = dict.fromkeys(made, 0)
        calls = {name: list(layer._inbound_nodes) for name, layer in made.items()}

        def tensor(place):
            name, index, output = place
            return calls[name][index].output_tensors[output]

        while waiting:
            later = []
            for layer, number, node in waiting:
                if number == before[layer.name]:
                    try:
                        args = _revived(node["args"], tensor)
                        kwargs = _revived(node["kwargs"], tensor)
                    except IndexError:  # a call that has not been made yet
                        later.append((layer, number, node))
                        continue
                    layer(*args, **kwargs)
                    calls[layer.name].append(layer._inbound_nodes[-1])
                    before[layer.name] += 1
                else:
                    later.append((layer, number, node))
            if len(later) == len(waiting):
                raise ValueError(
                    "A config of a model must have calls that can be made one after another. "
                    f"Received: calls of {', '.join(sorted({w[0].name for w in later}))} that "
                    "refer to outputs that no call gives"
                )
            waiting = later
        return cls(_map_places(tensor, config["input_layers"]),
                   _map_places(tensor, config["output_layers"]),
                   name=config.get("name"), trainable=config.get("trainable", True))

    def __repr__(self):
        return f"<Functional name={self.name}, built={self.built}>"


def _is_among(node, nodes):
    return any(node is other for other in nodes)


def _revived(described, tensor):
    """Arguments of a call, with the tensors that descriptions stand for."""
    if isinstance(described, dict):
        if described.get("class_name") == "__keras_tensor__":
            return tensor(described["config"]["keras_history"])
        return {key: _revived(part, tensor) for key, part in described.items()}
    if isinstance(described, (list, tuple)):
        return type(described)(_revived(part, tensor) for part in described)
    return described


def _map_places(tensor, places):
    """Tensors in the structure of their places, of which each is [name, call, output]."""
    if isinstance(places, dict):
        return {key: _map_places(tensor, part) for key, part in places.items()}
    if len(places) == 3 and isinstance(places[0], str):
        return tensor(places)
    return type(places)(_map_places(tensor, part) for part in places)
