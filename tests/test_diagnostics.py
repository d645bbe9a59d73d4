"""What is observed in training against plain NumPy, and each verdict provoked by a network ill so.

The truth of the statistics is a chain of layers computed here, forwards and backwards, in float64;
the compiled executors are held to the oracle's in float32, and to the same bits for any number of
threads.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import plan, spec
from fusedmlp.diagnostics import GradientFlow, Thresholds, gradient_flow
from fusedmlp.diagnostics.report import flat_on_both_sides
from fusedmlp.kernels.layout import write
from fusedmlp.kernels.reference.random import dropout_mask
from fusedmlp.training.observing import no_slope

RATE = 0.05

# -- the truth -------------------------------------------------------------------------------------

FUNCTIONS = {
    "linear": (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)),
                lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
}


def rms(a):
    return np.sqrt(np.mean(np.square(a)))


def truth(layers, weights, x, y, seed):
    """Numbers of one step of a chain with mean squared error, by layer and by parameter.

    Layers are ("dense", name, activation), ("dropout", name, rate) and ("bn", name); one whose name
    comes again has the same weights.
    """
    outputs, caches, seen, stream = {}, [], {}, 0
    for kind, name, *more in layers:
        seen[name] = seen.get(name, 0) + 1
        key = name if seen[name] == 1 else f"{name} ({seen[name]})"
        if kind == "dense":
            w, b = weights[name]
            z = x @ w + b
            value, slope = FUNCTIONS[more[0]]
            caches.append((kind, name, key, x, slope(z)))
            x = value(z)
        elif kind == "dropout":
            mask = np.empty_like(x)
            dropout_mask(more[0], seed, stream, 0, mask)
            stream += 1
            caches.append((kind, name, key, mask, None))
            x = x * mask
        else:
            gamma, beta = weights[name][:2]
            mean, inv = x.mean(axis=0), 1 / np.sqrt(x.var(axis=0) + 1e-3)
            xhat = (x - mean) * inv
            caches.append((kind, name, key, xhat, inv))
            x = xhat * gamma + beta
        outputs[key] = x
    dy = 2 * (x - y) / x.size
    gradients, errors, slopes = {}, {}, {}
    for kind, name, key, saved, second in reversed(caches):
        if kind == "dense":
            slopes[key] = second
            dy = dy * second
            errors[key] = dy
            grads = [saved.T @ dy, dy.sum(axis=0)]
            dy = dy @ weights[name][0].T
        elif kind == "dropout":
            dy = dy * saved
            continue
        else:
            grads = [(dy * saved).sum(axis=0), dy.sum(axis=0)]
            dxhat = dy * weights[name][0]
            dy = second * (dxhat - dxhat.mean(axis=0) - saved * (dxhat * saved).mean(axis=0))
        if name in gradients:
            grads = [a + b for a, b in zip(gradients[name], grads, strict=True)]
        gradients[name] = grads
    return outputs, errors, slopes, gradients


def build(layers, columns):
    """The chain as a model; names that come again are one layer."""
    made = {}
    given = x = fm.Input((columns,), dtype="float64")
    for kind, name, *more in layers:
        if name not in made:
            make = {"dense": fm.layers.Dense, "dropout": fm.layers.Dropout,
                    "bn": fm.layers.BatchNormalization}[kind]
            made[name] = make(*([6] if kind == "dense" else []), *more, name=name, dtype="float64")
        x = made[name](x)
    return fm.Model(given, x)


CHAINS = {
    "stack": [("dense", "a", "tanh"), ("dense", "b", "relu"), ("dense", "c", "linear")],
    "dropout": [("dense", "a", "sigmoid"), ("dropout", "drop", 0.4), ("dense", "b", "relu"),
                ("dropout", "more", 0.2), ("dense", "c", "linear")],
    "batch norm": [("dense", "a", "linear"), ("bn", "norm"), ("dense", "b", "relu"),
                   ("bn", "second"), ("dense", "c", "linear")],
    "shared": [("dense", "twice", "relu"), ("dense", "b", "tanh"), ("dense", "twice", "relu"),
               ("dense", "twice", "relu"), ("dense", "c", "linear")],
}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", CHAINS)
def test_statistics_are_those_of_numpy(backend, name, momentum):
    layers = CHAINS[name]
    fm.utils.set_random_seed(7)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 6)), rng.normal(size=(40, 6))
    model = build(layers, 6)
    model.compile(fm.optimizers.SGD(RATE, momentum=momentum), "mse")
    weights = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    outputs, errors, slopes, gradients = truth(layers, weights, x, y, model.seed)
    flow = GradientFlow(every=1)
    model.fit(x, y, batch_size=40, shuffle=False, verbose=0, callbacks=[flow])
    report = flow.report
    assert report.steps.tolist() == [1]
    assert report.rows == 40
    assert report.layers == list(outputs)

    for key, value in outputs.items():
        np.testing.assert_allclose(report.activation_rms[key], [rms(value)], rtol=1e-12)
    assert set(report.error_rms) == set(errors)
    for key, value in errors.items():
        np.testing.assert_allclose(report.error_rms[key], [rms(value)], rtol=1e-9)
    counted = {**report.dead, **report.saturated}
    kinds = {layer[1]: layer[2] for layer in layers if layer[0] == "dense"}
    assert set(counted) == {key for key in slopes if kinds[key.split()[0]] != "linear"}
    for key in counted:
        flat = np.abs(slopes[key]) <= no_slope(kinds[key.split()[0]])
        if key in report.saturated:
            np.testing.assert_allclose(report.saturated[key], [flat.mean()], rtol=1e-12)
        else:
            assert 0 < flat.mean() < 1
            np.testing.assert_allclose(report.dead[key], [flat.all(axis=0).mean()])
            np.testing.assert_array_equal(report.dead_units[key], flat.all(axis=0))

    for layer, found in gradients.items():
        names = ("gamma", "beta") if layer in ("norm", "second") else ("kernel", "bias")
        for part, gradient, before in zip(names, found, weights[layer], strict=False):
            key = f"{layer}.{part}"
            after = dict(zip(names, model.get_layer(layer).get_weights(), strict=False))[part]
            np.testing.assert_allclose(report.weight_norm[key], [np.linalg.norm(before)],
                                       rtol=1e-12)
            np.testing.assert_allclose(report.gradient_norm[key], [np.linalg.norm(gradient)],
                                       rtol=1e-9, atol=1e-15)
            np.testing.assert_allclose(report.update_norm[key], [np.linalg.norm(after - before)],
                                       rtol=1e-6, atol=1e-15)
            assert report.layer_of[key] == layer


def test_what_is_frozen_has_no_gradient_to_report(backend):
    model = build(CHAINS["stack"], 6)
    model.get_layer("b").trainable = False
    model.compile("sgd", "mse")
    report = gradient_flow(model, np.ones((8, 6)), np.zeros((8, 6)))
    assert set(report.weight_norm) == {"a.kernel", "a.bias", "c.kernel", "c.bias"}
    assert set(report.error_rms) == {"a", "c"}
    assert set(report.activation_rms) == set("abc")


# -- executors -------------------------------------------------------------------------------------


def observed_plan(activation, dtype="float32", widths=(70, 33), batch=24, columns=19, every=2):
    """A plan that observes, with parameters drawn for it."""
    shapes, width = [], columns
    for units in widths:
        shapes += [(width, units), (units,)]
        width = units
    places, size = plan.layout(shapes, np.dtype(dtype).itemsize)
    builder = plan.Builder(batch, dtype, training=True)
    x, labels = builder.input(columns), builder.input(width, "t", "labels")
    parameters = [builder.parameter(f"p{k}", shape, *place)
                  for k, (shape, place) in enumerate(zip(shapes, places, strict=True))]
    for kernel, bias in zip(parameters[::2], parameters[1::2], strict=True):
        x = builder.dense(x, kernel, bias, f"layer{kernel}")
        params = tuple(float(v) for _, v in spec.ACTIVATIONS[activation].params)
        x = builder.activation(x, activation, () if spec.ACTIVATIONS[activation].variants
                               else params)
        builder.layer_output(x, f"layer{kernel}")
    builder.loss("mean_squared_error", x, labels)
    result = builder.finish([x], optimizer="adam",
                            optimizer_params=tuple(v for _, v in spec.OPTIMIZERS["adam"].params),
                            parameter_size=size, trainable_size=size, observe=every,
                            below=no_slope)
    arena, rng = np.zeros(size, dtype), np.random.default_rng(1)
    for shape, (offset, step) in zip(shapes, places, strict=True):
        rows, cols = shape if len(shape) == 2 else (1, shape[0])
        write(arena[offset : offset + rows * step], rng.normal(size=(rows, cols)).astype(dtype)
              / rows ** 0.5)
    return result, arena


def observe(kernels, lowered, arena, rows=61):
    """Records and counts of an epoch whose last step is short."""
    arena, rng = arena.copy(), np.random.default_rng(2)
    x = rng.normal(size=(rows, lowered.buffers[lowered.inputs[0]].columns)).astype(lowered.dtype)
    t = rng.normal(size=(rows, lowered.buffers[lowered.inputs[1]].columns)).astype(lowered.dtype)
    row = spec.OPTIMIZERS["adam"]
    slots = tuple(np.zeros_like(arena) for _ in row.slots)
    executor = kernels.Executor(lowered, arena, slots, 5)
    executor.check_finite = False
    size = lowered.batch_size
    steps = 2 * -(-rows // size)
    order = np.concatenate([np.arange(rows), np.arange(rows)])[: steps * size]
    records = np.full((steps // 2, len(lowered.observations), 4), np.nan)
    executor.record(records, 0)
    rates = np.full(steps, 1e-3)
    half = executor.run((x, t), order, size, 0, 2, rates, 0, 1e9)
    steps = -(-len(order) // size)
    executor.run((x, t), order, size, half, steps, rates, half, 1e9)
    return records[: steps // 2], executor.units.copy()


ACTIVATIONS = [name for name in spec.ELEMENTWISE if name != "linear"]


def _executor_of(kernels):
    return type("K", (), {"Executor": staticmethod(kernels.executor.Executor)})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_executors_observe_what_the_oracle_does(oracle, other, activation):
    lowered, arena = observed_plan(activation)
    want, counts = observe(_executor_of(oracle), lowered, arena)
    got, units = observe(_executor_of(other), lowered, arena)
    assert np.isfinite(want[:, :, 3]).all()
    assert want.shape[0] >= 2
    np.testing.assert_allclose(got[:, :, 0], want[:, :, 0], rtol=2e-4, atol=1e-12)
    np.testing.assert_allclose(got[:, :, 1], want[:, :, 1], rtol=2e-3, atol=1e-12)
    parameters = [o.kind == "parameter" for o in lowered.observations]
    np.testing.assert_allclose(got[:, parameters, 2], want[:, parameters, 2], rtol=2e-3,
                               atol=1e-12)
    # a slope may lie on the other side of the limit by its rounding
    np.testing.assert_allclose(got[:, ~np.array(parameters), 2:], want[:, ~np.array(parameters),
                                                                      2:], atol=2)
    np.testing.assert_allclose(units, counts, atol=2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_records_have_the_same_bits_for_any_number_of_threads(other, use_threads, dtype):
    lowered, arena = observed_plan("gelu", dtype, widths=(150, 90, 33), columns=130)
    found = []
    for threads in (1, 2, 5):
        use_threads(threads)
        found.append(observe(_executor_of(other), lowered, arena))
    for records, units in found[1:]:
        np.testing.assert_array_equal(records, found[0][0])
        np.testing.assert_array_equal(units, found[0][1])


def test_records_are_written_where_they_belong_and_nowhere_else(backend):
    lowered, arena = observed_plan("tanh", every=3)
    rng = np.random.default_rng(2)
    x, t = rng.normal(size=(48, 19)).astype("f4"), rng.normal(size=(48, 33)).astype("f4")
    slots = tuple(np.zeros_like(arena) for _ in spec.OPTIMIZERS["adam"].slots)
    executor = backend.executor.Executor(lowered, arena, slots, 5)
    order, rates = np.arange(48).repeat(10), np.full(20, 0.1)
    records = np.full((2, len(lowered.observations), 4), -1.0)
    executor.record(records, 2)  # updates number 9 and 12
    executor.run((x, t), order, 24, 0, 8, rates, 0, 1e9)
    assert (records == -1.0).all()
    assert not executor.units.any()
    executor.run((x, t), order, 24, 8, 10, rates, 8, 1e9)
    assert (records[0] != -1.0).any(axis=1).all()
    assert (records[1] == -1.0).all()
    executor.run((x, t), order, 24, 10, 16, rates, 10, 1e9)
    assert (records[1] != -1.0).any(axis=1).all()
    executor.record(None, 0)
    before = records.copy()
    executor.run((x, t), order, 24, 0, 20, rates, 0, 1e9)
    np.testing.assert_array_equal(records, before)


def test_a_plan_that_does_not_observe_has_no_such_operation():
    model = build(CHAINS["batch norm"], 6)
    model.compile("adam", "mse")
    assert not any(op.op.startswith("observe") for op in model.plan().ops)
    assert model.plan().observations == ()
    assert model.plan().units == 0


# -- training --------------------------------------------------------------------------------------


def classifier(activation="relu", depth=2, optimizer="adam", **arguments):
    fm.utils.set_random_seed(3)
    model = fm.Sequential([
        fm.Input((20,)),
        *(fm.layers.Dense(32, activation, name=f"hidden_{k}", **arguments) for k in range(depth)),
        fm.layers.Dense(4, "softmax", name="classes"),
    ])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(512, 20)).astype("float32")
    return x, (x @ rng.normal(size=(20, 4))).argmax(axis=1)


@pytest.mark.parametrize("every", [1, 7])
def test_training_has_the_same_bits_with_and_without(backend, data, every):
    plain, watched = classifier("gelu"), classifier("gelu")
    flow = GradientFlow(every)
    plain.fit(*data, epochs=3, verbose=0)
    watched.fit(*data, epochs=3, verbose=0, callbacks=[flow])
    for a, b in zip(plain.get_weights(), watched.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert plain.history.history == watched.history.history
    assert flow.report.steps.tolist() == list(range(every, 49, every))


def test_steps_one_by_one_and_generators_are_observed_alike(backend, data):
    class Batches(fm.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            """Makes `fit` come back after each step."""

    def batches():
        for at in range(0, 512, 32):
            yield data[0][at : at + 32], data[1][at : at + 32]

    flows = [GradientFlow(5) for _ in range(3)]
    classifier().fit(*data, shuffle=False, verbose=0, callbacks=[flows[0]])
    classifier().fit(*data, shuffle=False, verbose=0, callbacks=[flows[1], Batches()])
    classifier().fit(batches(), verbose=0, callbacks=[flows[2]])
    reports = [flow.report.to_dict() for flow in flows]
    assert reports[0]["steps"] == [5, 10, 15]
    assert reports[0] == reports[1] == reports[2]


def test_callbacks_with_different_intervals_each_get_their_own(data):
    flows = [GradientFlow(4), GradientFlow(6)]
    classifier().fit(*data, verbose=0, callbacks=flows)
    assert [flow.report.steps.tolist() for flow in flows] == [[4, 8, 12, 16], [6, 12]]


def test_reports_of_single_epochs(data):
    flow = GradientFlow(8)
    classifier().fit(*data, epochs=3, verbose=0, callbacks=[flow])
    assert flow.report_of(1).steps.tolist() == [24, 32]
    assert flow.report_of([0, 2]).steps.tolist() == [8, 16, 40, 48]
    with pytest.raises(ValueError, match="Received: epochs=3"):
        flow.report_of(3)
    with pytest.raises(ValueError, match="0 epochs"):
        assert GradientFlow().report


def test_each_training_counts_its_own_units(backend, data):
    model = classifier()
    first, second = GradientFlow(4), GradientFlow(4)
    model.fit(*data, epochs=2, verbose=0, callbacks=[first])
    for layer in ("hidden_0", "hidden_1"):  # no unit fires any more
        kernel, bias = model.get_layer(layer).get_weights()
        model.get_layer(layer).set_weights([kernel, bias - 100])
    model.fit(*data, epochs=2, verbose=0, callbacks=[second])
    assert not first.report.dead_units["hidden_0"].any()
    assert second.report.dead_units["hidden_0"].all()


def test_gradients_that_are_accumulated_are_observed_where_they_update(backend, data):
    model = classifier(optimizer=fm.optimizers.SGD(0.1, gradient_accumulation_steps=3))
    flow = GradientFlow(2)
    model.fit(*data, verbose=0, callbacks=[flow])
    assert flow.report.steps.tolist() == [2, 4]
    assert all((norm > 0).all() for norm in flow.report.update_norm.values())
    report = gradient_flow(model, *data, steps=4)
    assert report.steps.tolist() == [6, 7, 8, 9]
    assert all((norm > 0).all() for norm in report.update_norm.values())
    with pytest.raises(ValueError, match="takes 3 gradients"):
        gradient_flow(model, data[0][:5], data[1][:5])


def test_a_trial_leaves_the_model_as_it_was(backend, data):
    def trained(look):
        fm.utils.set_random_seed(3)
        model = fm.Sequential([
            fm.Input((20,)), fm.layers.Dense(16, "relu"), fm.layers.BatchNormalization(),
            fm.layers.Dropout(0.3), fm.layers.Dense(4, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        for _ in range(2):
            if look:
                before = model.get_weights()
                first, again = (gradient_flow(model, *data).to_dict() for _ in range(2))
                assert first == again
                assert all(map(np.array_equal, before, model.get_weights()))
            model.fit(*data, verbose=0)
        return model

    plain, looked = trained(False), trained(True)
    assert plain.history.history == looked.history.history
    assert all(map(np.array_equal, plain.get_weights(), looked.get_weights()))
    assert looked.optimizer.iterations == 32


def test_reports_of_other_kinds_of_data(backend):
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(64, 10)) * (rng.random((64, 10)) < 0.3)
    model = fm.Sequential([fm.Input((10,)), fm.layers.Dense(5, "relu", name="a"),
                           fm.layers.Dense(1, name="b")])
    model.compile("sgd", "mse")
    y = dense.sum(axis=1)
    want = gradient_flow(model, dense, y)
    got = gradient_flow(model, sparse.csr_matrix(dense), y)
    assert got.layers == want.layers
    for key in ("a", "b"):
        np.testing.assert_allclose(got.activation_rms[key], want.activation_rms[key], rtol=1e-5)
        np.testing.assert_allclose(got.error_rms[key], want.error_rms[key], rtol=1e-4)


# -- verdicts --------------------------------------------------------------------------------------


def problems(report):
    return [finding.problem for finding in report.findings]


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "gelu", "silu", "leaky_relu",
                                        "selu", "softsign", "relu6", "hard_tanh"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_healthy_network_has_no_findings(backend, data, activation, optimizer):
    flow = GradientFlow(2)
    model = classifier(activation, 3, optimizer)
    assert problems(gradient_flow(model, *data)) == []
    model.fit(*data, epochs=5, verbose=0, callbacks=[flow])
    assert flow.report.healthy
    assert problems(flow.report) == []
    assert str(flow.report).endswith("Nothing wrong was found.")


@pytest.mark.parametrize("layers", [
    ["Dense 64", "BatchNormalization", "Activation relu"] * 2,
    ["Dense 64", "LayerNormalization", "Activation gelu"] * 4,
    ["Dense 128", "Activation relu", "Dropout 0.5"] * 2,
    ["Dense 4", "Activation relu"],
    ["Dense 64", "Activation sigmoid"],
    ["Dense 3"],
    []], ids=["batch norm", "layer norm", "dropout", "narrow", "sigmoid", "bottleneck", "logistic"])
def test_healthy_networks_of_other_kinds(data, layers):
    fm.utils.set_random_seed(4)
    made = []
    for layer in layers:
        kind, *value = layer.split()
        value = [int(v) if v.isdigit() else v if v.isalpha() else float(v) for v in value]
        made.append(getattr(fm.layers, kind)(*value))
    model = fm.Sequential([fm.Input((20,)), *made, fm.layers.Dense(4, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    flow = GradientFlow(5)
    assert problems(gradient_flow(model, *data)) == []
    model.fit(*data, epochs=10, verbose=0, callbacks=[flow])
    assert problems(flow.report) == []


def test_vanishing(backend, data):
    report = gradient_flow(classifier("sigmoid", 10), *data)
    (finding,) = report.findings
    assert finding.problem == "vanishing"
    assert finding.layers[0] == "hidden_0"
    assert finding.values[0] < 1e-5
    assert "'hidden_0'" in finding.text
    assert "hidden_9" not in finding.layers
    assert "VANISHING (hidden_0" in str(report)


def test_exploding_through_depth(backend, data):
    start = fm.initializers.RandomNormal(stddev=3.0, seed=1)
    model = classifier("relu", 6, fm.optimizers.SGD(1e-30), kernel_initializer=start)
    found = {f.problem: f for f in gradient_flow(model, *data).findings}
    assert found["exploding"].layers[0] == "hidden_0"
    assert found["exploding"].values[0] > 1e3


def test_exploding_in_time(backend):
    x = np.linspace(-1, 1, 64)[:, None]
    model = fm.Sequential([fm.Input((1,)), fm.layers.Dense(1, name="only")])
    model.compile(fm.optimizers.SGD(5.0), "mse")
    found = {f.problem: f for f in gradient_flow(model, x, 3 * x).findings}
    assert found == {}
    report = gradient_flow(model, np.tile(x, (20, 1)), np.tile(3 * x, (20, 1)), batch_size=64,
                           steps=20)
    found = {f.problem: f for f in report.findings}
    assert found["exploding"].layers == ("only",)
    assert "diverges" in found["exploding"].text


def test_not_finite(backend, data):
    with np.errstate(all="ignore"):
        report = gradient_flow(classifier("linear", 3, fm.optimizers.SGD(1e6)), *data, steps=16)
    assert report.findings[0].problem == "not finite"
    x = data[0].copy()
    x[40, 3] = np.nan
    report = gradient_flow(classifier(), x, data[1])
    assert report.findings[0].layers[0] == "hidden_0"
    assert report.findings[0].values[0] == 2


def test_dead(backend, data):
    model = classifier("relu", 2)
    kernel, bias = model.get_layer("hidden_1").get_weights()
    bias[:20] = -50.0
    model.get_layer("hidden_1").set_weights([kernel, bias])
    report = gradient_flow(model, *data)
    (finding,) = report.findings
    assert (finding.problem, finding.layers) == ("dead", ("hidden_1",))
    np.testing.assert_array_equal(np.flatnonzero(report.dead_units["hidden_1"]), np.arange(20))
    assert "20 of the 32 units" in finding.text
    assert gradient_flow(model, *data, thresholds=Thresholds(dead=0.7)).healthy


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "hard_sigmoid"])
def test_saturated(backend, data, activation):
    model = classifier(activation, 2)
    assert "saturated" not in problems(gradient_flow(model, *data))
    report = gradient_flow(model, 100 * data[0], data[1])
    found = {f.problem: f for f in report.findings}
    assert found["saturated"].layers == ("hidden_0",)
    assert found["saturated"].values[0] > 0.8


@pytest.mark.parametrize(("optimizer", "problem"), [
    (fm.optimizers.Adam, "learning rate too high"), (fm.optimizers.SGD, "learning rate too high"),
    (fm.optimizers.Adam, "learning rate too low"), (fm.optimizers.SGD, "learning rate too low")])
def test_learning_rate(backend, data, optimizer, problem):
    rate = {"learning rate too high": 0.3 if optimizer is fm.optimizers.Adam else 30.0,
            "learning rate too low": 1e-7}[problem]
    report = gradient_flow(classifier("tanh", 2, optimizer(rate)), *data, steps=3)
    assert problem in problems(report)
    other = {"learning rate too high", "learning rate too low"} - {problem}
    assert not other.intersection(problems(report))


def test_an_output_that_is_sure_is_not_saturated(backend):
    x = np.linspace(-50, 50, 64)[:, None]
    model = fm.Sequential([fm.Input((1,)),
                           fm.layers.Dense(1, "sigmoid", kernel_initializer="ones", name="out")])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy", "auc"])
    report = gradient_flow(model, x, x[:, 0] > 0)
    assert report.saturated == {}
    assert "saturated" not in problems(report)
    model.compile("sgd", "mse")
    report = gradient_flow(model, x, x[:, 0] > 0)
    assert "saturated" in problems(report)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_is_flat_on_both_sides_is_what_has_a_bounded_range(name):
    row = spec.ACTIVATIONS[name]
    params = tuple(value for _, value in row.params)
    if row.variants:
        params = ()
    steps = row.range.startswith("{")  # have no slope anywhere
    bounded = "inf" not in row.range and not steps and name != "relu6"
    assert flat_on_both_sides(name, params) == bounded


# -- what is shown, and errors -----------------------------------------------------------------


def test_the_report_as_table_and_as_plain_data(data):
    report = gradient_flow(classifier(), *data)
    lines = str(report).splitlines()
    assert lines[0].split()[0] == "Layer"
    assert [line.split()[0] for line in lines[2:5]] == [
        "hidden_0", "hidden_1", "classes"]
    again = json.loads(json.dumps(report.to_dict()))
    assert again["rows"] == 320
    assert len(again["gradient_norm"]["classes.bias"]) == 10
    assert report.kernel_of("classes") == "classes.kernel"
    assert report.kernel_of("no") is None
    assert "3 layers, 10 steps: healthy" in repr(report)


def test_the_callback_prints_its_report(data, capsys):
    classifier().fit(*data, verbose=0, callbacks=[GradientFlow(8, verbose=1)])
    assert "Nothing wrong was found." in capsys.readouterr().out
    flow = GradientFlow(1000)
    classifier().fit(*data, verbose=0, callbacks=[flow])
    assert str(flow.report).startswith("No step was observed")
    assert "every=1000" in str(flow.report)
    assert flow.report.healthy


def test_arguments_are_checked(data):
    model = classifier()
    with pytest.raises(ValueError, match="`every`"):
        GradientFlow(0)
    with pytest.raises(TypeError, match="`thresholds` must be a Thresholds"):
        GradientFlow(thresholds=0.5)
    for name in ("batch_size", "steps"):
        with pytest.raises(ValueError, match=f"`{name}`"):
            gradient_flow(model, *data, **{name: 0})
    with pytest.raises(ValueError, match="`y`"):
        gradient_flow(model, data[0], data[1][:3])
    with pytest.raises(TypeError, match="`model` must be a model"):
        gradient_flow(data[0], model)
    with pytest.raises(ValueError, match=r"compile\(\)"):
        gradient_flow(fm.Sequential([fm.Input((20,)), fm.layers.Dense(4)]), *data)
    whole = classifier(optimizer=fm.optimizers.LBFGS())
    with pytest.raises(ValueError, match="LBFGS"):
        gradient_flow(whole, *data)
    with pytest.raises(ValueError, match="LBFGS"):
        whole.fit(*data, verbose=0, callbacks=[GradientFlow()])

    class Inside(fm.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            gradient_flow(model, *data)

    with pytest.raises(RuntimeError, match="while `fit\\(\\)` is running"):
        model.fit(*data, verbose=0, callbacks=[Inside()])
