"""Layers: what they build, which shapes they make, what they refuse, and their configs."""

from __future__ import annotations

import copy
import functools
import pickle

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers, spec
from fusedmlp.layers.naming import reset_names
from fusedmlp.plan import layout
from fusedmlp.variable import Variable, place_together

USABLE = [row.name for row in spec.ACTIVATIONS.values() if row.kind != "slope"]


# -- variables -------------------------------------------------------------------------------------


def test_variable_keeps_its_value_when_it_moves():
    v = Variable(np.arange(6.0).reshape(2, 3), name="kernel")
    arena = np.zeros(64)
    v.place(arena, 8, 16)
    np.testing.assert_array_equal(v.value, [[0, 1, 2], [3, 4, 5]])
    assert np.shares_memory(v.value, arena)
    np.testing.assert_array_equal(arena[8:11], [0, 1, 2])
    np.testing.assert_array_equal(arena[24:27], [3, 4, 5])
    v.assign(np.full((2, 3), 7.0))
    assert arena.sum() == 42  # the padding stays 0
    assert (v.offset, v.pitch, v.arena) == (8, 16, arena)


def test_variable_converts_and_copies():
    given = np.ones((2, 2), "float64")
    v = Variable(given)
    assert v.dtype == "float64"
    given[...] = 5
    assert v.numpy().sum() == 4
    v.numpy()[...] = 9
    assert v.numpy().sum() == 4
    assert np.asarray(v, dtype="float32").dtype == np.float32
    assert Variable([1.0, 2.0]).dtype == "float32"
    assert Variable([1, 2]).dtype == "int32"
    assert Variable(np.ones(2, bool)).dtype == "bool"
    assert (np.asarray(v) @ np.ones(2)).tolist() == [2, 2]
    assert len(v) == 2
    assert v[0, 1] == 1
    assert "kernel" in repr(Variable([1.0], name="kernel"))


@pytest.mark.parametrize("value", [np.zeros((0, 2)), ["a"], [1j], None])
def test_variable_refuses(value):
    with pytest.raises(ValueError, match=r"`initializer`.*Received"):
        Variable(value)


def test_assign_refuses_another_shape_and_changes_nothing():
    v = Variable([1.0, 2.0])
    with pytest.raises(ValueError, match=r"`value`.*\(2,\).*Received.*\(3,\)"):
        v.assign([1, 2, 3])
    with pytest.raises(ValueError, match="Received"):
        v.assign(["a", "b"])
    assert v.numpy().tolist() == [1, 2]


def test_place_refuses_an_arena_without_room():
    v = Variable(np.ones((2, 3)), dtype="float32")
    for arena, offset, pitch in [(np.zeros(31, "float32"), 0, 16), (np.zeros(64), 0, 16),
                                 (np.zeros(64, "float32"), 0, 2), (np.zeros(64, "float32"), -1, 8)]:
        with pytest.raises(ValueError, match="room for variable"):
            v.place(arena, offset, pitch)
    assert v.arena is None


def test_variables_to_update_lie_in_front():
    class Owner:
        moved = 0

        def on_move(self):
            self.moved += 1

    first, second = Owner(), Owner()
    variables = [Variable(np.full((2, 3), i, "float32"), name=f"v{i}") for i in range(1, 4)]
    updated = {id(variables[1]), id(variables[2])}
    arena, size = place_together(variables, updated, "float32", first.on_move)
    assert size == layout([(2, 3), (2, 3)], 4)[1]
    assert arena.ctypes.data % 64 == 0
    assert [v.offset < size for v in variables] == [False, True, True]
    assert [v.updated for v in variables] == [False, True, True]
    assert [v.value.min() for v in variables] == [1, 2, 3]
    assert first.moved == 0
    place_together(variables[:1], set(), "float32", second.on_move)
    assert (first.moved, second.moved) == (1, 0)
    assert [v.value.max() for v in variables] == [1, 2, 3]


def test_copies_of_a_variable_stand_alone():
    v = Variable(np.ones((2, 3), "float32"), name="kernel", trainable=False)
    v.path = "dense/kernel"
    v.place(np.zeros(64, "float32"), 0, 16)
    for other in (copy.deepcopy(v), pickle.loads(pickle.dumps(v))):
        assert (other.name, other.path, other.trainable) == ("kernel", "dense/kernel", False)
        assert other.arena is None
        other.assign(np.zeros((2, 3)))
        assert v.value.sum() == 6


# -- Dense -----------------------------------------------------------------------------------------


def test_dense_builds_kernel_and_bias():
    layer = layers.Dense(3, kernel_initializer="ones", bias_initializer=fm.initializers.Constant(2))
    assert not layer.built
    with pytest.raises(AttributeError, match="no kernel before it is built"):
        _ = layer.kernel
    with pytest.raises(ValueError, match="before it is built"):
        layer.count_params()
    layer.build((None, 4))
    assert layer.built
    assert layer.kernel.shape == (4, 3)
    assert layer.bias.numpy().tolist() == [2, 2, 2]
    assert [v.path for v in layer.weights] == [f"{layer.name}/kernel", f"{layer.name}/bias"]
    assert layer.count_params() == 15
    assert layer.compute_output_shape((None, 4)) == (None, 3)
    with pytest.raises(ValueError, match=r"built for inputs of shape \(None, 4\).*Received"):
        layer.compute_output_shape((None, 5))


def test_dense_without_bias():
    layer = layers.Dense(3, use_bias=False)
    layer.build((None, 4))
    assert layer.bias is None
    assert len(layer.weights) == 1


@pytest.mark.parametrize("units", [0, -1, 2.5, "3", None])
def test_dense_refuses_units(units):
    with pytest.raises((ValueError, TypeError), match="`units` must be an integer"):
        layers.Dense(units)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"'relu'.*Received: 'rleu'"):
        layers.Dense(3, activation="rleu")
    with pytest.raises(ValueError, match=r"glorot_uniform.*Received"):
        layers.Dense(3, kernel_initializer="glorot_unifrm")
    with pytest.raises(TypeError, match=r"Dense.*'use_bias'.*Received: 'use_bia'"):
        layers.Dense(3, use_bia=True)
    with pytest.raises(TypeError, match=r"Dropout.*keyword argument.*Received: 'noise'"):
        layers.Dropout(0.1, noise=1)


def test_initializer_of_another_shape():
    layer = layers.Dense(3, kernel_initializer=lambda shape, dtype=None: np.ones((1, 1)))
    with pytest.raises(ValueError, match=r"`initializer` of 'kernel'.*\(4, 3\).*Received"):
        layer.build((None, 4))


def test_prelu_is_a_layer_and_no_activation():
    with pytest.raises(ValueError, match="prelu"):
        layers.Dense(3, activation="prelu")


def test_odd_width_for_an_activation_of_halves():
    with pytest.raises(ValueError, match=r"'glu'.*multiple of 2.*Received: 5"):
        layers.Dense(5, activation="glu")
    with pytest.raises(ValueError, match=r"'maxout'.*multiple of 3.*Received: 4"):
        layers.Activation(functools.partial(fm.activations.maxout, pieces=3)).compute_output_shape(
            (None, 4))


@pytest.mark.parametrize("name", USABLE)
@pytest.mark.parametrize("as_layer", [False, True])
def test_every_activation_computes_what_its_function_does(backend, name, as_layer):
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    kernel = np.random.default_rng(1).normal(size=(3, 6)).astype("float32")
    if as_layer:
        stack = [layers.Dense(6, use_bias=False), layers.Activation(name)]
    else:
        stack = [layers.Dense(6, name, use_bias=False)]
    model = fm.Sequential([layers.Input((3,)), *stack])
    model.set_weights([kernel])
    expected = getattr(fm.activations, name)(x @ kernel)
    assert model.output_shape == (None, expected.shape[1])
    np.testing.assert_allclose(model.predict(x), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("identifier", [
    {"class_name": "relu", "config": {"max_value": 1.0}},
    functools.partial(fm.activations.relu, max_value=1.0),
])
def test_activation_with_parameters(backend, identifier):
    layer = layers.Activation(identifier)
    model = fm.Sequential([layers.Input((2,)), layer])
    assert model.predict(np.array([[-1.0, 3.0]], "float32")).tolist() == [[0, 1]]
    other = layers.Activation.from_config(layer.get_config())
    assert other._row == layer._row == ("clipped_relu", (0.0, 1.0, 0.0))


# -- the other layers ------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan"), "0.5", None])
def test_dropout_refuses(rate):
    with pytest.raises((ValueError, TypeError), match=r"`rate`.*Received"):
        layers.Dropout(rate)


@pytest.mark.parametrize("arguments", [
    {}, {"shape": (3,), "batch_shape": (None, 3)}, {"shape": ()}, {"shape": (0,)},
    {"shape": (2, 0)}, {"shape": 3}, {"shape": (None,)}, {"batch_shape": (3,)},
    {"shape": (3,), "batch_size": 0}, {"shape": (3,), "dtype": "complex64"},
    {"shape": (3,), "sparse": True}, {"shape": (3,), "dtype": "float16"},
])
def test_input_refuses(arguments):
    with pytest.raises((ValueError, TypeError), match="Received"):
        layers.Input(**arguments)


def test_input_shapes():
    assert layers.Input((3,), 8).shape == (8, 3)
    assert layers.Input(batch_shape=(None, 3)).shape == (None, 3)
    assert layers.Input((4, 3)).shape == (None, 4, 3)
    assert layers.Input((3,), dtype="int32").dtype == "int32"
    assert layers.InputLayer((3,), 8).batch_shape == (8, 3)
    assert layers.Input([3], dtype=np.float64).dtype == "float64"


# -- what all layers share -------------------------------------------------------------------------


def test_names_count_as_in_keras():
    reset_names()
    assert [layers.Dense(1).name for _ in range(3)] == ["dense", "dense_1", "dense_2"]
    assert layers.Dropout(0.1).name == "dropout"
    assert fm.Sequential().name == "sequential"
    assert layers.Dense(1, name="mine").name == "mine"
    for name in ("", "a/b", 3):
        with pytest.raises(ValueError, match="`name`"):
            layers.Dense(1, name=name)


def test_set_weights_is_all_or_nothing():
    layer = layers.Dense(2, kernel_initializer="ones")
    layer.build((None, 3))
    with pytest.raises(ValueError, match=r"`weights` must hold 2 arrays.*Received: 1"):
        layer.set_weights([np.zeros((3, 2))])
    with pytest.raises(ValueError, match=r"\(2,\).*Received.*\(3,\)"):
        layer.set_weights([np.zeros((3, 2)), np.zeros(3)])
    assert layer.kernel.numpy().sum() == 6
    layer.set_weights([np.zeros((3, 2)), [1, 2]])
    assert [w.tolist() for w in layer.get_weights()] == [[[0, 0]] * 3, [1, 2]]


def test_trainable():
    layer = layers.Dense(2, trainable=False)
    layer.build((None, 3))
    assert layer.trainable_variables == []
    assert len(layer.non_trainable_weights) == 2
    layer.trainable = True
    assert len(layer.trainable_weights) == 2
    layer.bias.trainable = False
    assert layer.trainable_variables == [layer.kernel]


@pytest.mark.parametrize("layer", [
    layers.Dense(3, "leaky_relu", False, "he_normal", dtype="float64", input_shape=(4,)),
    layers.Dense(4, "glu", kernel_initializer=fm.initializers.HeUniform(seed=3), name="gate"),
    layers.Activation("gelu", trainable=False),
    layers.Dropout(0.25, seed=7),
    layers.InputLayer((4,), 5, "float64"),
])
def test_configs_make_equal_layers(layer):
    config = layers.serialize(layer)
    other = layers.deserialize(config)
    assert type(other) is type(layer)
    assert layers.serialize(other) == config
    assert other.name == layer.name
    pickle.dumps(config)


def test_deserialize_refuses_unknown_classes():
    with pytest.raises(ValueError, match=r"nearest.*'Dense'.*Received: 'Dens'"):
        layers.deserialize({"class_name": "Dens", "config": {}})


def test_input_dim_and_input_shape():
    assert layers.Dense(2, input_dim=4)._input_shape_arg == (4,)
    with pytest.raises(ValueError, match="can't be given together"):
        layers.Dense(2, input_dim=4, input_shape=(4,))
    with pytest.raises(ValueError, match="`input_shape`"):
        layers.Dense(2, input_shape=4)


class Scale(layers.Layer):
    """A layer of one's own: a dense layer with a diagonal that is not trained."""

    def build(self, input_shape):
        columns = input_shape[1]
        self.kernel = self.add_weight((columns, columns), fm.initializers.Identity(3.0),
                                      trainable=False, name="scale")
        super().build(input_shape)

    def lower(self, builder, x):
        return builder.dense(x, self.parameter(builder, self.kernel), name=self.name)


def test_a_layer_of_ones_own(backend):
    model = fm.Sequential([layers.Input((2,)), Scale()])
    assert model.predict(np.array([[1.0, 2.0]])).tolist() == [[3, 6]]
    assert model.output_shape == (None, 2)
    with pytest.raises(ValueError, match=r"`dtype` must be that of layer"):
        model.layers[0].add_weight((2,), dtype="float64")


def test_a_layer_that_does_not_say_how_it_is_lowered():
    class Nothing(layers.Layer):
        pass

    model = fm.Sequential([layers.Input((2,)), Nothing()])
    with pytest.raises(TypeError, match=r"Nothing must define `call.*`lower"):
        model.predict(np.ones((1, 2)))


def test_shapes_that_are_none():
    for shape in [(4,), (None, None, 4), (None, 0), "ab", None, (0, 4)]:
        with pytest.raises(ValueError, match=r"input shape.*Received"):
            layers.Dense(2).build(shape)
