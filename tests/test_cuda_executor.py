"""The executor of the "cuda" backend: on a GPU, or in Numba's simulator, held to the oracle.

The simulator runs where it is asked for: ``NUMBA_ENABLE_CUDASIM=1 pytest -m "gpu and not large"``.
It takes a second for a step, so everything here is tiny.
"""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from conftest import ORACLE
from test_executor import executor, network, samples, train
from test_plan_layers import network as layers_network

import fusedmlp as fm
from fusedmlp import backend as backends
from fusedmlp import plan
from fusedmlp.training.compressed import CompressedRows


@pytest.fixture(autouse=True)
def _on_the_device(cuda):
    """Every test here needs it, also those that choose it by themselves."""


@pytest.fixture
def pair(oracle, cuda):
    """The oracle's kernels and those of the device."""
    return oracle, cuda


def close(found, expected, dtype="float32"):
    np.testing.assert_allclose(found, expected, rtol={"float32": 2e-5, "float64": 1e-12}[dtype],
                               atol={"float32": 2e-6, "float64": 1e-13}[dtype])


# -- training ------------------------------------------------------------------------------------


def classifier(seed=3):
    fm.utils.set_random_seed(seed)
    model = fm.Sequential([fm.Input((3,)), fm.layers.Dense(5, activation="relu"),
                           fm.layers.Dropout(0.25), fm.layers.Dense(3)])
    model.compile(fm.optimizers.Adam(0.05), fm.losses.SparseCategoricalCrossentropy(
        from_logits=True), metrics=["accuracy"])
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((10, 3)).astype("float32")
    return model, x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


def trained(*names, epochs=2):
    """A model trained for so many epochs on each of the devices, its losses, and its accuracies."""
    model, x, y = classifier()
    losses, accuracies = [], []
    for name in names:
        with backends.device(name):
            history = model.fit(x, y, batch_size=4, epochs=epochs, verbose=0).history
        losses += history["loss"]
        accuracies += history["accuracy"]
    return model, x, losses, accuracies


def test_training_gives_the_numbers_of_the_oracle():
    """Adam, dropout, softmax-cross-entropy, accuracy; shuffled, with a shorter last batch."""
    before = backends.current()
    try:
        backends.choose(ORACLE)
        expected, x, losses, accuracies = trained("cpu")
        found, _, *numbers = trained("gpu")
        close(numbers[0], losses)
        assert numbers[1] == accuracies
        for a, b in zip(found.get_weights(), expected.get_weights(), strict=True):
            close(a, b)
        with backends.device("gpu"):
            predicted = found.predict(x)
        close(predicted, expected.predict(x))
    finally:
        backends.choose(before)


def test_a_model_goes_on_with_another_backend():
    """Its weights, its optimizer's state and its place in the shuffles move along."""
    before = backends.current()
    try:
        backends.choose(ORACLE)
        expected, _, losses, _ = trained("cpu", epochs=3)
        found, _, numbers, _ = trained("gpu", "cpu", "gpu", epochs=1)
        close(numbers, losses)
        for a, b in zip(found.optimizer.slots, expected.optimizer.slots, strict=True):
            close(a, b)
    finally:
        backends.choose(before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_wide_layer_lies_in_panels(pair, dtype):
    nets = [network([35, "tanh", 2], loss="mean_squared_error", optimizer="momentum", batch=3,
                    params=(0.9, 0.0, 0.01), dtype=dtype, columns=3)
            for _ in pair]
    for backend, net in zip(pair, nets, strict=True):
        run = executor(backend, net)
        train(run, samples(net, "dense", 5, dtype=dtype, columns=3), 3, rate=0.1)
        net.totals, net.gradients = run.totals, run.gradients
        net.hidden = run.buffer(net.plan.ops[1].outputs[0])
    expected, found = nets
    close(found.totals, expected.totals, dtype)
    for a, b in zip(found.values, expected.values, strict=True):
        close(a, b, dtype)
    close(found.gradients, expected.gradients, dtype)
    assert found.hidden.shape == (2, 35)
    close(found.hidden, expected.hidden, dtype)


def test_data_that_lies_on_the_device_stays_there(cuda, monkeypatch):
    """It took memory, so that not as much again is free when the next epoch begins."""
    from fusedmlp.kernels.cuda import memory

    net, (x, y) = small(), data(12)
    run = executor(cuda, net)
    sent, original = [], run._sent
    monkeypatch.setattr(run, "_sent", lambda array: sent.append(array) or original(array))
    monkeypatch.setattr(memory, "free", lambda: 0 if sent else 1 << 20)
    run.keep((x, y))
    for _ in range(2):
        assert train(run, (x, y), 2, rate=0.1) == 6
    assert [array is one for array, one in zip(sent, (x, y), strict=True)] == [True, True]
    run.release()
    assert train(run, (x, y), 2, rate=0.1) == 6  # in windows, whose rows are copied
    assert not any(array is one for array in sent[2:] for one in (x, y))


def test_slow_steps_are_handed_out_one_at_a_time(cuda, monkeypatch):
    """Nobody waits for hundreds of them who wants to interrupt a training."""
    from fusedmlp.kernels.cuda import executor as module

    bursts = []
    for patience in (0.0, np.inf):
        monkeypatch.setattr(module, "_PATIENCE", patience)
        run = executor(cuda, small())
        made, original = [], run._steps
        monkeypatch.setattr(run, "_steps", lambda rows, size, first, stop, made=made, make=original:
                            made.append(stop - first) or make(rows, size, first, stop))
        train(run, data(12), 2, rate=0.1)
        bursts.append(made)
    assert bursts == [[1] * 6, [1, 2, 3]]


# -- what a run returns ---------------------------------------------------------------------------


def small(**changes):
    return network([3], loss="mean_squared_error", optimizer="sgd", batch=2, columns=2,
                   dtype="float32", **changes)


def data(n=8):
    return samples(small(), "dense", n, dtype="float32", columns=2)


def test_without_time_a_run_makes_one_step_and_goes_on_later(cuda):
    whole, parts = small(), small()
    run = executor(cuda, whole)
    assert train(run, data(), 2, rate=0.1) == 4
    other, rates, step = executor(cuda, parts), np.full(4, 0.1), 0
    for expected in (1, 2, 3, 4):
        step = other.run(data(), np.arange(8), 2, step, 4, rates, step, 0.0)
        assert step == expected
    assert other.run(data(), np.arange(8), 2, 4, 4, rates, 4, 0.0) == 4
    np.testing.assert_array_equal(parts.arena, whole.arena)
    np.testing.assert_array_equal(other.totals, run.totals)
    other.totals[...] = 0.0
    train(other, data(2), 2)
    assert other.totals[0, 1] == 2


@pytest.mark.parametrize("bad", [0, 2, 4])
def test_a_loss_that_is_not_finite_ends_the_run_right_there(pair, bad):
    x, y = data(12)
    y[2 * bad] = np.inf
    nets = [small() for _ in pair]
    for backend, net in zip(pair, nets, strict=True):
        run = executor(backend, net)
        assert train(run, (x, y), 2, rate=0.1) == bad + 1
        assert run.nonfinite == bad
        net.totals, net.targets = run.totals, run.buffer(net.plan.inputs[1])
    np.testing.assert_array_equal(nets[1].targets, y[2 * bad : 2 * bad + 2])
    np.testing.assert_allclose(nets[1].totals, nets[0].totals, rtol=1e-6)
    np.testing.assert_allclose(nets[1].arena, nets[0].arena, rtol=1e-5)
    net = small()
    run = executor(pair[1], net)
    run.check_finite = False
    assert train(run, (x, y), 2) == 6
    assert run.nonfinite == -1


def test_the_order_is_that_of_the_rows(cuda):
    net = small()
    run, (x, y) = executor(cuda, net), data()
    train(run, (x, y), 2, order=np.array([7, 0, 3, 3, 5, 6, 1]), start=2)
    np.testing.assert_array_equal(run.buffer(net.plan.inputs[0]), x[[1]])
    assert run.totals[0, 1] == 3
    train(run, (x, y), 2, order=np.array([7, 0, 3, 3]), steps=2)
    np.testing.assert_array_equal(run.buffer(net.plan.inputs[0]), x[[3, 3]])


def test_gradients_of_a_plan_that_only_updates_are_the_callers(pair):
    from fusedmlp.plan import Builder

    for backend in pair:
        builder = Builder(1, "float32", training=True)
        kernel = builder.parameter("kernel", (2, 3), 0, 16)
        builder._gradient_like(kernel)
        builder.update("sgd", (0.0,))
        plan = builder.finish([], parameter_size=32, trainable_size=32)
        arena = np.zeros(32, "float32")
        run = backend.executor.Executor(plan, arena, (), 0)
        run.gradients[:3] = [1.0, 2.0, 3.0]
        run.run((), np.arange(1), 1, 0, 1, np.array([0.5]), 0, np.inf)
        np.testing.assert_array_equal(arena[:4], [-0.5, -1.0, -1.5, 0.0])


# -- data on the device ---------------------------------------------------------------------------


def test_data_stays_on_the_device_only_while_it_is_kept(cuda):
    net = small()
    run, arrays = executor(cuda, net), data(2)
    index = net.plan.inputs[0]
    run.keep(arrays)
    train(run, arrays, 2)
    old = arrays[0].copy()
    arrays[0][...] += 1.0
    train(run, arrays, 2)
    np.testing.assert_array_equal(run.buffer(index), old)
    run.release()
    train(run, arrays, 2)
    np.testing.assert_array_equal(run.buffer(index), old + 1.0)
    arrays[0][...] += 1.0
    train(run, arrays, 2)
    np.testing.assert_array_equal(run.buffer(index), old + 2.0)


def test_a_second_fit_sees_what_the_first_did_not(cuda):
    model, x, y = classifier()
    with backends.device("gpu"):
        model.fit(x, y, batch_size=10, verbose=0)
        x[...] = np.nan
        with pytest.warns(RuntimeWarning, match="not finite from step 1 of epoch 1"):
            model.fit(x, y, batch_size=10, verbose=0)


def test_data_that_does_not_fit_comes_in_pieces(cuda):
    whole, pieces = small(), small()
    train(executor(cuda, whole), data(7), 2, rate=0.1, order=np.arange(7)[::-1].copy())
    run = executor(cuda, pieces)
    run.resident_bytes = 2 * 2 * (2 + 3) * 4  # two steps
    run.keep(data(7))
    assert train(run, data(7), 2, rate=0.1, order=np.arange(7)[::-1].copy()) == 4
    np.testing.assert_array_equal(pieces.arena, whole.arena)
    assert run.totals[0, 1] == 7


def test_arrays_on_the_device_are_used_there(cuda):
    from fusedmlp.kernels.cuda.device import cuda as numba_cuda

    here, there = small(), small()
    train(executor(cuda, here), data(4), 2, rate=0.1)
    train(executor(cuda, there), tuple(map(numba_cuda.to_device, data(4))), 2, rate=0.1)
    np.testing.assert_array_equal(there.arena, here.arena)
    net = network([3], batch=2, columns=2, dtype="float32")
    x = data(5)[0]
    out, held = np.empty((5, 3), "float32"), numba_cuda.to_device(np.zeros((5, 3), "float32"))
    run = executor(cuda, net)
    run.forward(x, out)
    run.forward(numba_cuda.to_device(x), held)
    np.testing.assert_array_equal(held.copy_to_host(), out)
    one = np.empty((1, 3), "float32")
    run.forward(x[:1], one)
    np.testing.assert_array_equal(one, out[:1])
    sparse = numba_cuda.to_device(np.zeros((5, 4), "float32"))[:, ::2]
    with pytest.raises(ValueError, match=r"must be C-contiguous\. Received: strides"):
        run.forward(sparse, out)


@pytest.mark.parametrize("labels", ["classes", "dense"])
def test_models_take_arrays_on_the_device(monkeypatch, labels):
    """Features and dense targets stay there, in the right type; classes and weights are looked at.
    """
    from fusedmlp.kernels.cuda import memory
    from fusedmlp.kernels.cuda.device import cuda as numba_cuda

    there = numba_cuda.to_device
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((10, 3)), rng.uniform(0.5, 1.5, 10)
    y = rng.integers(0, 2, 10) if labels == "classes" else rng.standard_normal((10, 2))
    fetched, results = [], []
    host = memory.Resident.host
    monkeypatch.setattr(memory.Resident, "host",
                        lambda held: fetched.append(held.shape) or host(held))
    loss = "mse" if labels == "dense" else fm.losses.SparseCategoricalCrossentropy(True)
    for move in (lambda a: a, there):
        fm.utils.set_random_seed(1)
        model = fm.Sequential([fm.layers.Dense(2)])
        model.compile(fm.optimizers.SGD(0.1), loss)
        with backends.device("gpu"):
            history = model.fit(move(x), move(y), sample_weight=move(w), batch_size=4, epochs=2,
                                validation_split=0.2, verbose=0).history
            results.append([history["loss"], history["val_loss"],
                            model.evaluate(move(x.astype("float32")), move(y), verbose=0),
                            model.predict(move(x)), model.predict(move(x[:1]))])
    for found, expected in zip(*reversed(results), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (10, 3) not in fetched
    assert ((10, 2) in fetched) is False
    assert (10,) in fetched


def test_arrays_on_the_device_are_refused_elsewhere():
    """By name, with what to do, where NumPy can't read them."""
    class Tensor:
        shape, ndim = (2, 3), 2

        def __init__(self):
            self.__cuda_array_interface__ = {}

        def __array__(self, dtype=None, copy=None):
            raise TypeError("implicit conversion is not allowed")

    model = fm.Sequential([fm.Input((3,)), fm.layers.Dense(1)])
    with backends.device("cpu"), pytest.raises(
            ValueError, match=r"Argument `x` .*device\('gpu'\)\)\. Received: Tensor \(implicit"):
        model.predict(Tensor())


def test_products_in_bfloat16_round_their_factors(pair):
    """Two layers, with all three products; sums of rounded numbers, in float32."""
    results = []
    for backend in pair:
        net = network([5, "tanh", 2], loss="mean_squared_error", optimizer="sgd", batch=3,
                      columns=3, dtype="float32", precision="bfloat16")
        run = executor(backend, net)
        train(run, samples(net, "dense", 5, dtype="float32", columns=3), 3, rate=0.1)
        results.append((run.totals, run.gradients, *net.values))
    for found, expected in zip(*reversed(results), strict=True):
        close(found, expected)
    exact = network([5, "tanh", 2], loss="mean_squared_error", optimizer="sgd", batch=3,
                    columns=3, dtype="float32")
    train(executor(pair[1], exact), samples(exact, "dense", 5, dtype="float32", columns=3), 3,
          rate=0.1)
    assert np.abs(exact.values[0] - results[1][2]).max() > 1e-4  # else nothing was rounded


# -- every operation of a plan ---------------------------------------------------------------------


def operations():
    """The operations that `fusedmlp.plan` describes, by what its table calls them."""
    lines = plan.__doc__.splitlines()
    _, first, last = (i for i, line in enumerate(lines) if line.startswith("==="))
    width = lines[first].index(" ")
    return re.findall(r"\w+", " ".join(line[:width] for line in lines[first:last]))


def test_every_operation_has_kernels(pair):
    """None is missing; none is told other attributes than the oracle's."""
    from fusedmlp.kernels.cuda import binding

    oracle, ops = pair[0].executor, operations()
    bound = {name[1:] for name, function in vars(oracle.Executor).items() if callable(function)
             and list(inspect.signature(function).parameters)[:3] == ["self", "inputs", "outputs"]}
    assert set(ops) == bound
    for op in ops:
        wanted = inspect.signature(getattr(oracle.Executor, "_" + op)).parameters
        assert list(wanted)[:4] == ["self", "inputs", "outputs", "rows"], op
        listed = {**binding.OPERATIONS, **binding.OF_SAMPLES}
        function = listed.get(op) or getattr(binding.Binding, "_" + op)
        found = inspect.signature(function).parameters
        assert list(found)[1:3] == ["inputs", "outputs"], op
        assert set(list(wanted)[4:]) <= set(found), op


def two_layers(b, x, p):
    return b.dense(b.activation(b.dense(x, p[0], p[1]), "tanh"), p[2], p[3])


def constrained(b, x, p):
    for number, axis in ((0, 0), (2, 1)):
        b.constrain(p[number], "norm", low=0.2, high=0.5, rate=0.5, epsilon=1e-7, axis=axis)
    b.constrain(p[1], "non_negative")
    b.constrain(p[3], "norm", high=0.1, axis=None)
    return two_layers(b, x, p)


def penalized(b, x, p):
    b.orthogonal_penalty(p[0], 0.3)
    b.orthogonal_penalty(p[2], 0.2, mode="columns")
    h = b.activation(b.dense(x, p[0], p[1]), "tanh")
    b.activity_penalty(h, l1=0.1, l2=0.2)
    return b.dense(h, p[2], p[3])


def normalized(b, x, p):
    b.spectral_norm(p[0], p[1], 2, 1e-7)
    return b.dense(b.dense(x, p[0]), p[2], p[3])


def of_features(b, x, p):
    x = b.column_affine(x, before=(0.5, -1.0, 0.0), scale=2.0, after=0.25)
    counts = b.encode(b.digitize(x, (-0.5, 0.0, 0.75)), 4, "count")
    h = b.concatenate([counts, b.feature_norm(x, p[1], p[2]),
                       b.feature_norm(x, p[1], p[2], invert=True)])
    return b.dense(h, p[0])


def picked(b, x, p):
    h = b.dense(x, p[0], p[1])
    return b.dense(b.take_columns(h, (3, 0, 3, 1), (4,)), p[2], p[3])


def in_python(b, x, p):
    def halved(given, results):
        np.multiply(given[0], 0.5, out=results[0])
        assert not given[0].flags.writeable

    def gradient(dys, inputs, outputs, dxs, dparameters):
        np.multiply(dys[0], 0.5, out=dxs[0])

    h = b.dense(x, p[0], p[1])
    (h,) = b.python(halved, (h,), (4,), name="halved", gradient=gradient)
    return b.dense(b.activation(h, "tanh"), p[2], p[3])


SHAPES = [(3, 4), (4,), (4, 2), (2,)]
PLANS = {  # function, shapes of parameters, numbers of those that are not trained
    "constraints": (constrained, SHAPES, ()),
    "constraints, in panels": (constrained, [(3, 35), (35,), (35, 2), (2,)], ()),
    "penalties": (penalized, [(3, 4), (4,), (4, 2), (2,)], ()),
    "spectral norm": (normalized, [(3, 4), (4,), (4, 2), (2,)], (1,)),
    "features": (of_features, [(10, 2), (3,), (3,)], (1, 2)),
    "columns": (picked, SHAPES, ()),
    "python": (in_python, SHAPES, ()),
}


@pytest.mark.parametrize("name", PLANS)
def test_plans_are_those_of_the_oracle(pair, name):
    build, shapes, frozen = PLANS[name]
    nets = [layers_network(shapes, build, columns=3, batch=3, frozen=frozen,
                           scale={2: np.abs} if name == "features" else None) for _ in pair]
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((5, nets[0].width))
    for backend, net in zip(pair, nets, strict=True):
        run = executor(backend, net)
        assert train(run, (x, y), 3, rate=0.05) == 2
        net.totals, net.gradients = run.totals, run.gradients
    expected, found = nets
    assert {op.op for op in found.plan.ops} > {"gather", "update"}
    close(found.totals, expected.totals, "float64")
    close(found.arena, expected.arena, "float64")
    close(found.gradients, expected.gradients, "float64")


@pytest.mark.parametrize(("kind", "limit"), [("value", 0.05), ("norm", 0.1), ("global_norm", 0.1)])
def test_gradients_are_collected_clipped_and_averaged(pair, kind, limit):
    """An update in every second step; one gradient of the third update is infinite."""
    results = []
    for backend in pair:
        def finished(b):
            b.collect(1, 2)
            b.clip(kind, limit, 2)
            b.update("momentum", (0.9, 0.0, 0.0), every=2)
            b.average(2, 0.75, 2, 2)

        net = layers_network(SHAPES, two_layers, columns=3, batch=2, optimizer=finished, slots=3)
        rng = np.random.default_rng(6)
        x, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
        y[9] = 1e300
        run = executor(backend, net)
        run.check_finite = False
        numbers = [net.arena, *net.slots, run.gradients]
        for first, last in ((0, 3), (3, 4), (4, 6)):
            rates = np.full(6, 0.1)
            run.run((x, y), np.arange(12), 2, first, last, rates, first, np.inf)
            results.append([a.copy() for a in numbers[:-1]] + [run.gradients.copy()])
    half = len(results) // 2
    for expected, found in zip(results[:half], results[half:], strict=True):
        for a, b in zip(found, expected, strict=True):
            close(a, b, "float64")
    assert np.isnan(results[-1][0]).any() == (kind == "global_norm")


def test_sparse_rows_are_multiplied(pair):
    """As the only layer that reads them and beside another, and where only a window fits."""
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.random(7, 6, 0.4, "csr", random_state=1)
    x = CompressedRows.of(matrix, "x", np.dtype("float64"))
    y = np.random.default_rng(2).standard_normal((7, 6))

    def build(b, x, p):
        h = b.activation(b.dense(x, p[0], p[1]), "tanh")
        return b.combine("add", b.dense(h, p[2]), x)

    results = []
    for backend, most in ((pair[0], None), (pair[1], None), (pair[1], 150)):
        net = layers_network([(6, 35), (35,), (35, 6)], build, columns=6, batch=3, sparse=True)
        run = executor(backend, net)
        run.resident_bytes = most
        assert train(run, (x, y), 3, rate=0.05, order=np.arange(7)[::-1].copy()) == 3
        results.append((run.totals, net.arena, run.gradients))
        out = np.empty((7, 6))
        prediction = layers_network([(6, 35), (35,), (35, 6)], build, columns=6, batch=3,
                                    sparse=True, loss=None)
        executor(backend, prediction).forward(x, out)
        results[-1] += (out,)
    for found in results[1:]:
        for a, b in zip(found, results[0], strict=True):
            close(a, b, "float64")


def test_observations_are_those_of_the_oracle(pair):
    """In every second step; of the rows of the records one lies before the run, one behind it."""
    results = []
    for backend in pair:
        net = layers_network(SHAPES, two_layers, columns=3, batch=2, observe=2)
        rng = np.random.default_rng(6)
        data = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
        run = executor(backend, net)
        records = np.full((4, len(net.plan.observations), 4), -1.0)
        run.record(records, 1)
        train(run, data, 2, rate=0.1, iteration=2)
        results.append((records, run.units, net.arena))
    for a, b in zip(*results, strict=True):
        close(b, a, "float64")
    records = results[1][0]
    assert (records[3] == -1.0).all()
    assert (records[:3, 0, 0] > 0.0).all()


def test_a_step_in_python_that_fails_leaves_the_parameters(cuda):
    def fails(given, results):
        raise ZeroDivisionError("on purpose")

    def build(b, x, p):
        (h,) = b.python(fails, (b.dense(x, p[0], p[1]),), (4,), name="fails", gradient=fails)
        return b.dense(h, p[2], p[3])

    net = layers_network(SHAPES, build, columns=3, batch=2)
    before = net.arena.copy()
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        train(executor(cuda, net), (np.ones((2, 3)), np.ones((2, 2))), 2, rate=0.1)
    np.testing.assert_array_equal(net.arena, before)


def test_auto_trains_large_models_here_and_predicts_on_the_cpu(monkeypatch):
    """Large is what the package says; never in the simulator, but for this test."""
    from fusedmlp.kernels import cuda as package

    made, before = [], backends.current()

    def trained():
        model, x, y = classifier()
        model.fit(x, y, batch_size=5, epochs=1, verbose=0)
        return model, x, y

    try:
        backends.choose("auto")
        original = backends.load("cuda").executor.Executor
        monkeypatch.setattr(backends.load("cuda").executor, "Executor",
                            lambda plan, *rest: made.append(plan) or original(plan, *rest))
        monkeypatch.setattr(package, "PAYS", 1)
        if package.simulated():
            trained()
            assert not made
        monkeypatch.setattr(package, "simulated", lambda: False)
        monkeypatch.setattr(package, "missing", str)
        backends.choose(backends.current())
        trained()
        assert not made
        backends.choose("auto")
        model, x, y = trained()
        model.predict(x)
        assert [plan.totals for plan in made] == [("loss", "accuracy")]
        monkeypatch.setattr(package, "PAYS", 10**6)
        model.evaluate(x, y, verbose=0)
        assert len(made) == 1
    finally:
        backends.choose(before)


# -- small networks --------------------------------------------------------------------------------


SMALL = {
    "classes": ([5, "relu", ("dropout", 0.3), 4, "tanh", 3], "categorical_crossentropy",
                {"labels": "classes", "from_logits": True, "metrics": [
                    ("accuracy", "sparse_categorical_hits", False)]}),
    "regression": ([35, "gelu", 2], "mean_squared_error", {"labels": "dense"}),
    "weighted": ([4, "softplus", 2], "mean_squared_error", {"labels": "dense", "weighted": True}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fits", [True, False], ids=["shared", "device"])
@pytest.mark.parametrize("name", SMALL)
def test_many_steps_in_a_launch_are_those_of_the_oracle(pair, name, fits, dtype, monkeypatch):
    from fusedmlp.kernels.cuda import persistent

    if not fits:
        monkeypatch.setattr(persistent, "_SHARED", 0)
    layers, loss, attributes = SMALL[name]
    attributes = {**attributes, "metrics": ()}
    nets = [network(layers, loss=loss, optimizer="adam", batch=4, dtype=dtype, columns=3,
                    **attributes) for _ in pair]
    data = samples(nets[0], attributes["labels"], 10, dtype=dtype, columns=3,
                   weighted=attributes.get("weighted", False))
    for backend, net in zip(pair, nets, strict=True):
        run = executor(backend, net)
        if backend.name == "cuda":
            assert run._program is not None
            assert bool(run._program.shared_bytes) is fits
        assert train(run, data, 4, rate=0.05, order=np.random.default_rng(1).permutation(10)) == 3
        net.totals, net.gradients = run.totals, run.gradients
        net.buffers = [run.buffer(b.index) for b in net.plan.buffers
                       if b.role in ("activation", "gradient", "mask", "labels")]
    expected, found = nets
    close(found.totals, expected.totals, dtype)
    for a, b in zip(found.values, expected.values, strict=True):
        close(a, b, dtype)
    for a, b in zip(found.slots, expected.slots, strict=True):
        close(a, b, dtype)
    close(found.gradients, expected.gradients, dtype)
    for a, b in zip(found.buffers, expected.buffers, strict=True):
        close(a, b, dtype)


def test_many_steps_in_a_launch_end_at_a_bad_loss(pair):
    x, y = data(12)
    y[6] = np.inf
    for persistent in (True, False):
        net = small()
        run = executor(pair[1], net)
        run.persistent = persistent
        assert train(run, (x, y), 2, rate=0.1) == 4
        assert run.nonfinite == 3
        np.testing.assert_array_equal(run.buffer(net.plan.inputs[1]), y[6:8])


def test_a_large_network_makes_each_step_by_itself(cuda):
    wide = network([129, "relu", 3], loss="mean_squared_error", optimizer="sgd", batch=2)
    assert executor(cuda, wide)._program is None
    softmax = network([5, "softmax", 3], loss="mean_squared_error", optimizer="sgd", batch=2)
    assert executor(cuda, softmax)._program is None


# -- operations ------------------------------------------------------------------------------------


NETWORKS = {
    "ignored": ([4, "tanh", 3], "categorical_crossentropy", "classes",
                {"from_logits": True, "ignore_index": 1}),
    "ignored, weighted mean": ([3], "categorical_crossentropy", "classes", {
        "from_logits": True, "ignore_index": 1, "weighted": True, "reduction": "weighted_mean"}),
    "probabilities": ([("dropout", 0.5), 3, "softmax"], "categorical_crossentropy",
                      "probabilities", {"label_smoothing": 0.1}),
    "weighted mean": ([2], "mean_absolute_error", "dense",
                      {"weighted": True, "reduction": "weighted_mean"}),
    "sum": ([3, "prelu", 2], "huber", "dense", {"reduction": "sum", "frozen": (2,)}),
    "penalties": ([3, "tanh", 2], "mean_squared_error", "dense",
                  {"weighted": True, "penalties": [(0, {"l1": 0.3}), (1, {"l2": 0.2}),
                                 (2, {"l1": 0.1, "l2": 3.0, "per_rows": True})]}),
    "one frozen": ([4, "maxout", 2], "mean_squared_error", "dense", {"frozen": (0, 3)}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_operations_are_those_of_the_oracle(pair, name):
    layers, loss, labels, attributes = NETWORKS[name]
    weighted = attributes.get("weighted", False)
    nets = [network(layers, loss=loss, labels=labels, optimizer="momentum", batch=3, columns=2,
                    params=(0.9, 1.0, 0.01), **attributes) for _ in pair]
    arrays = samples(nets[0], labels, 5, columns=2, weighted=weighted)
    for backend, net in zip(pair, nets, strict=True):
        run = executor(backend, net)
        run.persistent = False
        assert train(run, arrays, 3, rate=0.05) == 2
        net.totals, net.gradients = run.totals, run.gradients
    expected, found = nets
    assert expected.totals.any()
    close(found.totals, expected.totals, "float64")
    close(found.arena, expected.arena, "float64")
    close(found.gradients, expected.gradients, "float64")
    for a, b in zip(found.slots, expected.slots, strict=True):
        close(a, b, "float64")


def masked_steps(rng):
    """Steps that are weighted, of which some are zeros and so left out."""
    x = rng.standard_normal((6, 3, 2))
    x[::2, 1] = x[3, :2] = 0.0
    return x, rng.random((6, 3))


OF_STEPS = {  # layers between steps of two numbers and the loss, loss, targets
    "classes, one ignored": (
        lambda: [fm.layers.Masking(), fm.layers.Dense(3),
                 fm.layers.BatchNormalization(momentum=0.6), fm.layers.Dense(2)],
        lambda: fm.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
        lambda rng: rng.integers(0, 2, (6, 3))),
    "weighted mean": (lambda: [fm.layers.Masking(), fm.layers.Dense(2, "tanh")],
                      lambda: fm.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
                      lambda rng: rng.standard_normal((6, 3, 2))),
    "sum": (lambda: [fm.layers.Masking(), fm.layers.Dense(1)],
            lambda: fm.losses.MeanAbsoluteError(reduction="sum"),
            lambda rng: rng.standard_normal((6, 3, 1))),
    "pooled means": (lambda: [fm.layers.Masking(), fm.layers.Dense(3, "relu"),
                              fm.layers.GlobalAveragePooling1D(), fm.layers.Dense(2)],
                     lambda: "mse", lambda rng: rng.standard_normal((6, 2))),
    "pooled, no masks": (
        lambda: [fm.layers.Dense(3, activity_regularizer="l2"), fm.layers.Concatenate(),
                 fm.layers.Dense(2)],
        lambda: "mse", lambda rng: rng.standard_normal((6, 2))),
}


@pytest.mark.filterwarnings("ignore:.*does not support masking")
@pytest.mark.parametrize("name", OF_STEPS)
def test_operations_on_steps_are_those_of_the_oracle(cuda, name):
    """With weights of steps, or of samples where the steps are pooled; the last batch is shorter.
    """
    between, loss, targets = OF_STEPS[name]
    rng = np.random.default_rng(7)
    (x, weights), y = masked_steps(rng), targets(rng)
    weights = weights if name[:6] != "pooled" else weights[:, 0]
    numbers, before = {}, backends.current()
    try:
        backends.choose(ORACLE)
        for device in ("cpu", "gpu"):
            fm.utils.set_random_seed(2)
            h = given = fm.Input((3, 2))
            for layer in between():
                h = layer([fm.layers.GlobalAveragePooling1D()(h),
                           fm.layers.GlobalMaxPooling1D()(h)]
                          if isinstance(layer, fm.layers.Concatenate) else h)
            model = fm.Model(given, h)
            model.compile(fm.optimizers.SGD(0.1), loss(),
                          weighted_metrics=["accuracy" if y.dtype == np.int64 else "mae"])
            with backends.device(device):
                history = model.fit(x, y, batch_size=4, epochs=1, verbose=0, shuffle=False,
                                    sample_weight=weights).history
                numbers[device] = history, model.get_weights(), model.predict(x)
    finally:
        backends.choose(before)
    (found, *arrays), (expected, *wanted) = numbers["gpu"], numbers["cpu"]
    assert found.keys() == expected.keys()
    for key in expected:
        close(found[key], expected[key])
    for a, b in zip([*arrays[0], arrays[1]], [*wanted[0], wanted[1]], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_layers_are_those_of_the_oracle(cuda):
    """Normalization, joins, tables and an optimizer of whole variables, by way of a model."""
    numbers = {}
    before = backends.current()
    try:
        backends.choose(ORACLE)
        for device in ("cpu", "gpu"):
            fm.utils.set_random_seed(2)
            x, which = fm.Input((3,)), fm.Input((2,))
            table = fm.layers.Flatten()(fm.layers.Embedding(4, 2)(which))
            h = fm.layers.BatchNormalization()(fm.layers.Dense(4, use_bias=False)(x))
            h = fm.layers.LayerNormalization()(fm.layers.concatenate([h, table]))
            y = fm.layers.Dense(4)(h)
            model = fm.Model([x, which], fm.layers.Dense(1)(fm.layers.add([y, table])))
            model.compile(fm.optimizers.Adafactor(0.1), "mse")
            rng = np.random.default_rng(4)
            data = [rng.standard_normal((6, 3)), rng.integers(0, 4, (6, 2))]
            with backends.device(device):
                losses = model.fit(data, data[0][:, :1], batch_size=4, epochs=1,
                                   verbose=0).history["loss"]
                numbers[device] = losses, model.get_weights(), model.predict(data)
    finally:
        backends.choose(before)
    close(numbers["gpu"][0], numbers["cpu"][0])
    for a, b in zip(numbers["gpu"][1], numbers["cpu"][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(numbers["gpu"][2], numbers["cpu"][2], rtol=1e-4, atol=1e-4)
