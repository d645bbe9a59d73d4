"""ONNX graphs compute what the models compute, and come back as equal models."""

from __future__ import annotations

import functools
import importlib.util
import io
import sys
import warnings

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import saving, spec
from fusedmlp.saving import onnx_forms

onnx = pytest.importorskip("onnx")
helper = onnx.helper

L = fm.layers
LATEST = onnx.defs.onnx_opset_version()
OPSETS = (13, 17, 18, min(LATEST, 22))
HAS_RUNTIME = importlib.util.find_spec("onnxruntime") is not None
ROUNDINGS = 8  # ONNX Runtime's silu in float32 is 7 of them from the truth, ours 1


@pytest.fixture(autouse=True)
def _weights_drawn_alike():
    fm.utils.set_random_seed(0)


def run(proto, *arrays, runtime=HAS_RUNTIME):
    """The outputs of a graph: by ONNX Runtime where it is there, or by onnx's own evaluator."""
    names = [item.name for item in proto.graph.input]
    feed = dict(zip(names, arrays, strict=True))
    if runtime:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options,
                                               providers=["CPUExecutionProvider"])
        return session.run(None, feed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(proto).run(None, feed)


def agree(proto, model, *arrays, runtime=HAS_RUNTIME, sums=True):
    """The graph gives the model's numbers but for rounding.

    Where terms as large as the data are summed, both are rounded relative to the data, not to what
    cancellation leaves of the sum: measured over 60 drawings, each is equally far from float64.
    """
    size = np.maximum(1, np.max([np.abs(a).max(axis=tuple(range(1, a.ndim))) for a in arrays],
                                axis=0)) if sums else np.ones(len(arrays[0]))
    expected = model.predict(arrays if len(arrays) > 1 else arrays[0], verbose=0)
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    found = run(proto, *arrays, runtime=runtime)
    assert len(found) == len(expected)
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        with np.errstate(all="ignore"):
            scale = np.maximum(size.reshape(-1, *[1] * (want.ndim - 1)), np.abs(want))
            error = np.where(got == want, 0, np.abs(got - want) / scale)
        assert error.max() <= ROUNDINGS * np.finfo(want.dtype).eps


def rows(columns, dtype="float32", n=50):
    x = 4 * np.random.default_rng(0).normal(size=(n, columns))
    x[0], x[1], x[2] = 0, 1e4, -1e4
    x[3] = np.resize([1e30, -1e30, 1, 2, 3, 4], columns)
    return x.astype(dtype)


def varied(row):
    """The row's parameters with other values than by default."""
    if row.name == "maxout":
        return {"pieces": 3}
    return {name: True if default is False else 3.0 if default == np.inf else default / 2 + 0.25
            for name, default in row.params}


CASES = [(row.name, params) for row in spec.ACTIVATIONS.values() if row.kind != "slope"
         for params in ([{}, varied(row)] if row.params else [{}])]


# -- activations -----------------------------------------------------------------------------------


def test_every_activation_has_a_form():
    assert onnx_forms.ACTIVATIONS.keys() == {
        row.name for row in spec.ACTIVATIONS.values() if row.kind != "slope"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "params"), CASES,
                         ids=[f"{n}{'-params' if p else ''}" for n, p in CASES])
def test_activations(name, params, dtype):
    function = functools.partial(fm.activations.get(name), **params)
    model = fm.Sequential([fm.Input((6,), dtype=dtype), L.Activation(function)])
    row, values = fm.activations.resolve(function)
    for opset in OPSETS:
        proto = saving.to_onnx(model, opset)
        assert proto.opset_import[0].version == opset
        agree(proto, model, rows(6, dtype), sums=False)
        again = saving.from_onnx(proto)
        if name == "linear":
            assert not again.layers
            continue
        (layer,) = again.layers
        found = fm.activations.resolve(layer.activation)
        if row == "clipped_relu" and not params:  # which is relu then
            row, values = "relu", ()
        assert found[0] == row
        assert found[1] == pytest.approx(values)


@pytest.mark.parametrize("name", onnx_forms.ACTIVATIONS)
def test_forms_of_one_function_are_equal(name):
    """The alternatives, which import reads, compute what the first one computes."""
    row = spec.ACTIVATIONS[name]
    params = varied(row) if "clipped" not in name else {
        "negative_slope": 0.0, "max_value": 3.0, "threshold": 0.0}
    dtype = "float64"
    x = rows(6, dtype)[4:]
    results = []
    for form in onnx_forms.ACTIVATIONS[name]:
        writer = onnx_forms.GraphWriter(LATEST, dtype)
        names = {**params, "x": writer.unique("x"), "columns": 6, "half": 3,
                 "ranks": np.arange(1, 7, dtype=dtype)}
        y = writer.write(form, names, "y")
        kind = onnx.TensorProto.DOUBLE
        graph = helper.make_graph(
            writer.nodes, "g", [helper.make_tensor_value_info("x", kind, (None, 6))],
            [helper.make_tensor_value_info(y, kind, (None, None))],
            list(writer.initializers.values()))
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", LATEST)])
        onnx.checker.check_model(proto)
        results.append(run(proto, x, runtime=False)[0])
        ways = list(onnx_forms.GraphReader(graph, LATEST).match(form, y))
        assert ways
        assert all(way["x"] == "x" for way in ways[:1])
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-5, atol=1e-6)


def test_what_is_nearly_an_activation_is_none():
    near = ["x * Sigmoid(x * 2.0)", "0.5 * x * (1.0 + Erf(x * 0.7))", "Clip(x, -1.0, 2.0)",
            "x - Tanh(x) * 2.0", "Softmax(x, axis=0)", "Gelu(x, approximate='other')"]
    for form in near:
        writer = onnx_forms.GraphWriter(LATEST, "float32")
        y = writer.write(form, {"x": "x"}, "y")
        graph = helper.make_graph(writer.nodes, "g", [], [], list(writer.initializers.values()))
        assert onnx_forms.GraphReader(graph, LATEST).activation(y) is None, form


# -- networks --------------------------------------------------------------------------------------


def network(dtype="float32"):
    model = fm.Sequential([
        fm.Input((5,), dtype=dtype, name="measured"),
        L.Dense(8, activation="glu", name="gated"),
        L.Dropout(0.3),
        L.Dense(6, activation=functools.partial(fm.activations.maxout, pieces=3)),
        L.Activation("mish"),
        L.Dense(4, activation="relu", use_bias=False),
        L.Dense(3, activation="softmax", name="scores"),
    ], name="net")
    model.set_weights([np.random.default_rng(i).normal(size=v.shape)
                       for i, v in enumerate(model.variables)])
    return model


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_networks(backend, tmp_path, dtype, opset):
    model = network(dtype)
    model.export(tmp_path / "m.onnx", opset_version=opset)
    proto = onnx.load(tmp_path / "m.onnx")
    x = rows(5, dtype)[4:]
    for n in (1, 7, 46):
        agree(proto, model, x[:n])
    again = saving.import_onnx(tmp_path / "m.onnx")
    assert again.name == "net"
    assert again.dtype == dtype
    assert isinstance(again, fm.Sequential)
    assert [type(layer) for layer in again.layers] == [
        type(layer) for layer in model.layers if not isinstance(layer, L.Dropout)]
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_what_a_graph_looks_like():
    model = fm.Sequential([fm.Input((4,)), L.Dense(3, activation="relu", name="hidden"),
                           L.Dropout(0.5), L.Dense(2, name="out")], name="net")
    proto = saving.to_onnx(model)
    assert proto.producer_name == "fusedmlp"
    assert proto.producer_version == fm.__version__
    assert [node.op_type for node in proto.graph.node] == ["Gemm", "Relu", "Gemm"]
    assert {item.name for item in proto.graph.initializer} == {
        "hidden/kernel", "hidden/bias", "out/kernel", "out/bias"}
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    assert (dims[0].dim_param, dims[1].dim_value) == ("rows", 4)
    assert [item.name for item in proto.graph.output] == ["out"]
    assert [item.name for item in proto.graph.input] == [model.input_names[0]]


def test_functional_models(backend):
    a, b = fm.Input((4,), name="a"), fm.Input((3,), name="b")
    shared = L.Dense(5, activation="tanh", name="shared")
    one, two = shared(a), L.Dense(5, name="two")(b)
    joined = L.Concatenate()([one, two, L.Maximum()([one, two])])
    ratio = L.Add()([one, 2 * two + 1, one]) / (L.Multiply()([two, two]) + 3.0)
    out = L.Dense(2, activation="softmax", name="out")(L.Subtract()([one, ratio]))
    other = L.Dense(1, name="other")(joined) - L.Dot(axes=1)([one, two])
    mean = L.Average()([one, two, shared(L.Dense(4, name="four")(two))])
    model = fm.Model([a, b], [out, other, mean, L.Minimum()([one, other])], name="net")
    proto = saving.to_onnx(model)
    assert [item.name for item in proto.graph.input] == ["a", "b"]
    assert [item.name for item in proto.graph.output] == model.output_names
    data = [rows(4)[4:], rows(3)[4:]]
    agree(proto, model, *data)
    again = saving.from_onnx(proto)
    assert again.input_names == ["a", "b"]
    agree(proto, again, *data)


def test_outputs_that_are_inputs_or_the_same():
    x = fm.Input((3,), name="x")
    y = L.Dense(2, name="y")(x)
    model = fm.Model(x, [y, x, y])
    proto = saving.to_onnx(model)
    agree(proto, model, rows(3)[4:])
    assert len({item.name for item in proto.graph.output}) == 3


def test_models_in_models():
    inner = fm.Sequential([fm.Input((4,)), L.Dense(3, activation="tanh", name="d")], name="inner")
    model = fm.Sequential([fm.Input((2,)), L.Dense(4, name="d"), inner, L.Dense(1)])
    proto = saving.to_onnx(model)
    agree(proto, model, rows(2))
    agree(proto, saving.from_onnx(proto), rows(2))


def test_weights_are_those_of_now(tmp_path):
    model = network()
    model.predict(rows(5), verbose=0)
    model.set_weights([w / 2 for w in model.get_weights()])
    agree(saving.to_onnx(model), model, rows(5)[4:])
    model.compile("sgd", "mse")
    model.fit(rows(5)[4:] / 10, np.zeros((46, 3)), verbose=0)
    agree(saving.to_onnx(model), model, rows(5)[4:])


# -- graphs of others ------------------------------------------------------------------------------


def graph(nodes, columns=3, out=2, opset=17, constants=None, kind=onnx.TensorProto.FLOAT,
          inputs=None):
    values = inputs or [helper.make_tensor_value_info("x", kind, ("n", columns))]
    made = helper.make_graph(
        nodes, "g", values, [helper.make_tensor_value_info("y", kind, ("n", out))],
        [onnx.numpy_helper.from_array(np.asarray(a), name)
         for name, a in (constants or {}).items()])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


W = np.arange(6, dtype="float32").reshape(3, 2) / 4
B = np.float32([1, -1])


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], {"w": W, "b": B}),
        ([helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)], {"w": W.T.copy(), "b": B}),
        ([helper.make_node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=2.0)],
         {"w": W, "b": B}),
        ([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], {"w": W, "b": B[None]}),
        ([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], {"w": W, "b": B[:1]}),
        ([helper.make_node("Gemm", ["x", "w"], ["y"])], {"w": W}),
        ([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": W}),
        ([helper.make_node("MatMul", ["x", "w"], ["p"]),
          helper.make_node("Add", ["p", "b"], ["y"])], {"w": W, "b": B}),
        ([helper.make_node("MatMul", ["x", "w"], ["p"]),
          helper.make_node("Add", ["b", "p"], ["y"])], {"w": W, "b": B}),
        ([helper.make_node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(W)),
          helper.make_node("Identity", ["x"], ["x1"]),
          helper.make_node("Dropout", ["x1"], ["x2", "mask"]),
          helper.make_node("Flatten", ["x2"], ["x3"]),
          helper.make_node("MatMul", ["x3", "w"], ["y"])], {}),
    ],
)
def test_dense_layers_of_others(nodes, constants):
    proto = graph(nodes, constants=constants)
    model = saving.from_onnx(proto)
    assert [type(layer) for layer in model.layers] == [L.Dense]
    agree(proto, model, rows(3)[4:])


def test_all_unknown_nodes_are_named():
    proto = graph([
        helper.make_node("Sin", ["x"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Ceil", ["c"], ["y"]),
    ], constants={"w": W})
    with pytest.raises(ValueError, match=r"Received: Ceil that makes 'y'; Sin 'first'$"):
        saving.from_onnx(proto)


@pytest.mark.parametrize(
    ("nodes", "constants", "text"),
    [
        ([helper.make_node("MatMul", ["w", "x"], ["y"])], {"w": W}, "MatMul that makes 'y'"),
        ([helper.make_node("Gemm", ["x", "w"], ["y"], transA=1)], {"w": W}, "Gemm"),
        ([helper.make_node("Relu", ["nowhere"], ["y"])], {}, "'nowhere', which nothing makes"),
        ([helper.make_node("Relu", ["w"], ["y"])], {"w": W}, "Relu that makes 'y'"),
        ([helper.make_node("Mul", ["x", "w"], ["y"])], {"w": W}, "Mul that makes 'y'"),
        ([helper.make_node("Gelu", ["x"], ["y"], domain="com.example")], {}, "Gelu that makes"),
    ],
)
def test_graphs_that_are_refused(nodes, constants, text):
    with pytest.raises(ValueError, match=text):
        saving.from_onnx(graph(nodes, constants=constants))


@pytest.mark.parametrize(
    ("kind", "shape", "text"),
    [
        (onnx.TensorProto.INT64, ("n", 3), r"'x' of shape \('n', 3\) and element type 7"),
        (onnx.TensorProto.FLOAT, ("n", "m"), r"'x' of shape \('n', 'm'\)"),
        (onnx.TensorProto.FLOAT, ("n", 3, 4), r"'x' of shape \('n', 3, 4\)"),
    ],
)
def test_inputs_that_are_refused(kind, shape, text):
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    with pytest.raises(ValueError, match=text):
        saving.from_onnx(graph([helper.make_node("Relu", ["x"], ["y"])], inputs=inputs))


def test_files_that_are_none(tmp_path):
    for content in (b"", b"hello", b"PK\3\4", bytes(50)):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=r"`filepath` must be an ONNX file.*m\.onnx"):
            saving.import_onnx(tmp_path / "m.onnx")
    with pytest.raises(FileNotFoundError, match="none"):
        saving.import_onnx(tmp_path / "none")
    with pytest.raises(ValueError, match="opset 6"):
        saving.from_onnx(graph([helper.make_node("Relu", ["x"], ["y"])], opset=6))


def test_weights_beside_the_file(tmp_path):
    model = network()
    proto = saving.to_onnx(model)
    onnx.save_model(proto, str(tmp_path / "m.onnx"), save_as_external_data=True,
                    location="numbers", size_threshold=0)
    again = saving.import_onnx(tmp_path / "m.onnx")
    x = rows(5)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize("opset", [13, 20])
def test_graphs_of_torch(opset):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    theirs = nn.Sequential(
        nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 7), nn.SiLU(), nn.Linear(7, 8), nn.GLU(),
        nn.Linear(4, 4), nn.Hardswish(), nn.Mish(), nn.Softplus(), nn.ELU(0.5), nn.LogSigmoid(),
        nn.Softshrink(0.3), nn.Hardshrink(0.2), nn.Hardtanh(), nn.Tanhshrink(), nn.Dropout(),
        nn.GELU(approximate="tanh"), nn.CELU(0.5), nn.LeakyReLU(), nn.ReLU6(), nn.Hardsigmoid(),
        nn.Softsign(), nn.Tanh(), nn.SELU(), nn.Flatten(), nn.LogSoftmax(-1),
    ).eval()
    x = torch.from_numpy(rows(5)[4:])
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(theirs, (x,), file, opset_version=opset, dynamo=False,
                          input_names=["x"], dynamic_axes={"x": {0: "n"}})
    proto = onnx.load_from_string(file.getvalue())
    model = saving.from_onnx(proto)
    assert [fm.activations.resolve(layer.activation)[0] for layer in model.layers] == [
        "gelu", "silu", "glu", "hard_silu", "mish", "softplus", "elu", "log_sigmoid",
        "soft_shrink", "hard_shrink", "hard_tanh", "tanh_shrink", "gelu_tanh", "celu",
        "leaky_relu", "relu6", "hard_sigmoid", "softsign", "tanh", "selu", "log_softmax"]
    np.testing.assert_allclose(model.predict(x.numpy(), verbose=0), theirs(x).detach().numpy(),
                               atol=1e-5)


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda p: saving.to_onnx(fm.Sequential([L.Dense(2)])), ValueError, "must be built"),
        (lambda p: saving.to_onnx("net"), TypeError, r"`model`.*'net'"),
        (lambda p: saving.to_onnx(network(), 12), ValueError, r"`opset`.*12"),
        (lambda p: saving.to_onnx(network(), 999), ValueError, rf"13 to {LATEST}.*999"),
        (lambda p: saving.to_onnx(network(), "17"), (TypeError, ValueError), "`opset`"),
        (lambda p: saving.export_onnx(network(), p / "no" / "m.onnx"), FileNotFoundError, "folder"),
        (lambda p: network().export(p / "m", format="tf_saved_model"), ValueError, "`format`"),
        (lambda p: network().export(p / "m", input_signature=[1]), ValueError, "signature"),
    ],
)
def test_refused(tmp_path, call, error, text):
    with pytest.raises(error, match=text):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for call in (lambda: network().export(tmp_path / "m.onnx"),
                 lambda: saving.import_onnx(tmp_path / "m.onnx")):
        with pytest.raises(ImportError, match=r"'onnx': pip install 'fusedmlp\[onnx\]'"):
            call()


def test_verbose(tmp_path, capsys):
    network().export(str(tmp_path / "m.onnx"), verbose=True)
    assert "m.onnx" in capsys.readouterr().out
    with pytest.raises(ValueError, match="`overwrite`"):
        saving.export_onnx(network(), tmp_path / "m.onnx", overwrite=False)


def test_every_operation_of_a_prediction_has_a_form():
    """Operations with an adjoint are those that layers emit; what is absent says why here."""
    from fusedmlp.plan.adjoints import ADJOINTS
    from fusedmlp.saving import onnx_export

    only_in_training = {"dropout", "alpha_dropout", "gaussian_dropout", "gaussian_noise",
                        "standardize"}
    there = {"activation", *onnx_forms.OPERATIONS, *onnx_export._SPECIAL, *only_in_training}
    in_python = {"python"}  # refused by name
    of_sparse_data = {"sparse_dense", "densify"}  # a graph takes dense rows
    assert not ADJOINTS.keys() - there - in_python - of_sparse_data


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["rescaling", "normalization", "inverse", "discretization",
                                  "one hot", "multi hot", "count"])
def test_preprocessing(name, dtype):
    x = rows(3, dtype)
    whole = np.floor(np.abs(x) * 3) - 1  # also out of range
    layer, data = {
        "rescaling": (lambda: L.Rescaling([0.5, 2.0, 1.0], offset=-1.0), x),
        "normalization": (lambda: L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 0.0, 4.0]),
                          x),
        "inverse": (lambda: L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 9.0, 4.0],
                                            invert=True), x),
        "discretization": (lambda: L.Discretization(bin_boundaries=[-1.0, 0.0, 0.5]), x),
        "one hot": (lambda: L.CategoryEncoding(4, output_mode="one_hot"), whole[:, :1]),
        "multi hot": (lambda: L.CategoryEncoding(4, output_mode="multi_hot"), whole),
        "count": (lambda: L.CategoryEncoding(4, output_mode="count"), whole),
    }[name]
    model = fm.Sequential([fm.Input((data.shape[1],), dtype=dtype), layer(),
                           L.Dense(2, dtype=dtype)])
    agree(saving.to_onnx(model), model, np.ascontiguousarray(data))


def test_weights_in_arithmetic():
    class Own(L.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(3,), initializer="normal", name="w")

        def call(self, x):
            return L.concatenate([x * self.w, x - self.w, self.w + 0.0 * x, x / (self.w + x)])

    x = fm.Input((3,))
    model = fm.Model(x, Own()(x))
    agree(saving.to_onnx(model), model, rows(3))


def test_python_has_no_form(tmp_path):
    class Sine(L.Layer):
        def call(self, x):
            return np.sin(x)

    model = fm.Sequential([fm.Input((3,)), L.Dense(2), Sine(name="sine")])
    with pytest.raises(ValueError, match=r"ONNX form.*Received: 'python' at 'sine"):
        model.export(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
