"""Every layer is exported to ONNX, or the error says why not."""

from __future__ import annotations

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import layers as L

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
WHOLE = np.minimum(np.abs(np.floor(2 * X)), 4)
ONE = {  # layers of one input, some on whole numbers
    "Activation": lambda: L.Activation("gelu"),
    "ActivityRegularization": L.ActivityRegularization,
    "AlphaDropout": lambda: L.AlphaDropout(0.1),
    "BatchNormalization": L.BatchNormalization,
    "CategoryEncoding": lambda: L.CategoryEncoding(5, output_mode="count"),
    "Dense": lambda: L.Dense(3, "tanh"),
    "Discretization": lambda: L.Discretization([0.0, 1.0]),
    "Dropout": lambda: L.Dropout(0.1),
    "ELU": L.ELU,
    "EinsumDense": lambda: L.EinsumDense("ab,bc->ac", 3, "relu", "c"),
    "Embedding": lambda: L.Embedding(9, 2),
    "Flatten": L.Flatten,
    "GaussianDropout": lambda: L.GaussianDropout(0.1),
    "GaussianNoise": lambda: L.GaussianNoise(0.1),
    "AveragePooling1D": lambda: L.AveragePooling1D(2, 1, "same"),
    "GlobalAveragePooling1D": lambda: L.GlobalAveragePooling1D(keepdims=True),
    "GlobalMaxPooling1D": L.GlobalMaxPooling1D,
    "GroupNormalization": lambda: L.GroupNormalization(2, beta_initializer="random_uniform"),
    "Identity": L.Identity,
    "Lambda": lambda: L.Lambda(lambda x: 2 * x + 1),
    "LayerNormalization": L.LayerNormalization,
    "LeakyReLU": L.LeakyReLU,
    "Masking": lambda: L.Masking(1.0),
    "MaxPooling1D": lambda: L.MaxPooling1D(2),
    "Maxout": lambda: L.Maxout(2),
    "Normalization": lambda: L.Normalization(mean=1.0, variance=2.0),
    "PReLU": lambda: L.PReLU(alpha_initializer="random_uniform"),
    "Permute": lambda: L.Permute((1,)),
    "RMSNormalization": L.RMSNormalization,
    "ReLU": lambda: L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2),
    "RepeatVector": lambda: L.RepeatVector(2),
    "Rescaling": lambda: L.Rescaling(2.0, 1.0),
    "Reshape": lambda: L.Reshape((2, 2)),
    "Softmax": L.Softmax,
    "SpatialDropout1D": lambda: L.SpatialDropout1D(0.5),
    "SpectralNormalization": lambda: L.SpectralNormalization(L.Dense(3)),
    "TimeDistributed": lambda: L.TimeDistributed(L.Dense(3, activation="relu")),
    "UnitNormalization": L.UnitNormalization,
}
ON_WHOLE = ("CategoryEncoding", "Embedding")
OF_STEPS = ("AveragePooling1D", "GlobalAveragePooling1D", "GlobalMaxPooling1D", "Masking",
            "MaxPooling1D", "SpatialDropout1D", "TimeDistributed")
TWO = ("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract")
ON_DATA = {  # work on the data before it gets to a network
    "HashedCrossing": lambda: L.HashedCrossing(3),
    "Hashing": lambda: L.Hashing(3),
    "IntegerLookup": lambda: L.IntegerLookup(vocabulary=[1, 2]),
    "StringLookup": lambda: L.StringLookup(vocabulary=["a"]),
    "TextVectorization": lambda: L.TextVectorization(vocabulary=["a"], output_mode="count"),
}
ALIASES = {"AvgPool1D", "GlobalAvgPool1D", "GlobalMaxPool1D", "MaxPool1D"}
NO_LAYERS = {"Input", "InputLayer", "InputSpec", "Layer", "Wrapper"}


def run(model, **data):
    session = onnxruntime.InferenceSession(fm.saving.to_onnx(model).SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    return session.run(None, data)[0]


def test_all_layers_are_looked_at():
    public = {name for name in L.__all__ if name[0].isupper()}
    assert public == {*ONE, *TWO, *ON_DATA, *NO_LAYERS, *ALIASES}


@pytest.mark.parametrize("name", ONE)
def test_layers_of_one_input(name):
    x = WHOLE if name in ON_WHOLE else X
    x = x.reshape(3, 2, 4) if name in OF_STEPS else x
    tensor = fm.Input(x.shape[1:], name="x")
    model = fm.Model(tensor, ONE[name]()(tensor))
    np.testing.assert_allclose(run(model, x=x), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TWO)
def test_layers_of_two_inputs(name):
    a, b = fm.Input((4,), name="a"), fm.Input((4,), name="b")
    layer = getattr(L, name)(**({"axes": 1} if name == "Dot" else {}))
    model, other = fm.Model([a, b], layer([a, b])), X[::-1].copy()
    np.testing.assert_allclose(run(model, a=X, b=other), model.predict([X, other], verbose=0),
                               rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ON_DATA)
def test_layers_that_work_on_data_are_named(name):
    words = [fm.Input((1,), dtype="string", name=key) for key in "ab"]
    layer = ON_DATA[name]()
    model = fm.Model(words, L.Dense(1)(layer(words if name == "HashedCrossing" else words[0])))
    with pytest.raises(ValueError, match=f"{layer.name!r} works on data"):
        fm.saving.to_onnx(model)


def test_python_is_named():
    x = fm.Input((4,))
    model = fm.Model(x, L.Lambda(lambda x: np.sort(x, axis=-1), name="sorting")(x))
    with pytest.raises(ValueError, match="'python' at 'sorting'"):
        fm.saving.to_onnx(model)
