"""Small networks whose last products fall into parts: the bits, and which networks those are."""

from __future__ import annotations

import numpy as np
import pytest
from test_executor import defaults, executor, gradients, network, samples, train

DTYPES = ("float32", "float64")
BATCH, ROWS, COLUMNS = 48, 115, 20  # the last batch has 19 rows
HITS = [("hits", "categorical_hits", True)]
PENALTIES = [(0, {"l1": 1e-3}), (2, {"l2": 1e-2, "per_rows": True})]

# layers, loss, labels, optimizer, and what else the network has
PARTED = {
    "classes": ([70, "relu", 3, "softmax"], "categorical_crossentropy", "classes", "adam", {}),
    "weights, hits": ([70, "tanh", 10, "softmax"], "categorical_crossentropy", "classes",
                      "adam", {"weighted": True, "metrics": HITS, "penalties": PENALTIES}),
    "probabilities": ([100, "gelu", 4, "softmax"], "categorical_crossentropy", "probabilities",
                      "momentum", {"label_smoothing": 0.1}),
    "regression": ([100, "linear", 16], "mean_squared_error", "dense", "rmsprop",
                   {"weighted": True,
                    "metrics": [("mae", "mean_absolute_error", True)]}),
    "one output": ([80, "relu", 1, "sigmoid"], "binary_crossentropy", "dense", "nadam",
                   {"metrics": [("hits", "binary_hits", False)]}),
    "tanh at the end": ([66, "silu", 3, "tanh"], "mean_squared_error", "dense", "sgd", {}),
    "relu at the end": ([66, "relu", 3, "relu"], "mean_squared_error", "dense", "sgd", {}),
    "three products": ([70, "relu", 70, "tanh", 3, "softmax"], "categorical_crossentropy",
                       "classes", "adam", {"penalties": PENALTIES}),
    "dropout below": ([40, "tanh", ("dropout", 0.3), 70, "relu", 3], "mean_absolute_error",
                      "dense", "lamb", {}),
}
WHOLE = {
    "dropout behind": [70, "relu", ("dropout", 0.3), 3],
    "learned slopes": [70, "prelu", 3],
    "one panel": [16, "relu", 3],
    "many outputs": [70, "relu", 33],
    "one product": [33],
    "too small": [33, "relu", 1],
    "too large": [3000, "relu", 3],
}


def trained(backend, name, dtype, batch=BATCH):
    """What is left of three epochs: parameters, state, totals, gradients, buffers by name."""
    layers, loss, labels, optimizer, more = PARTED[name]
    net = network(layers, loss=loss, labels=labels, optimizer=optimizer, dtype=dtype, batch=batch,
                  columns=COLUMNS, params=defaults(optimizer), **more)
    data = samples(net, labels, ROWS, weighted=more.get("weighted", False), dtype=dtype,
                   columns=COLUMNS)
    run = executor(backend, net)
    for epoch in range(3):
        order = np.random.default_rng(epoch).permutation(ROWS)
        train(run, data, batch, order=order, rate=0.01, iteration=3 * epoch)
    buffers = [run.buffer(b.index) for b in net.plan.buffers if b.offset is None]
    return run, [net.arena, *net.slots, run.totals, *gradients(run, net), *buffers]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "batch"), [*((name, BATCH) for name in PARTED), ("classes", 64)])
def test_parts_have_the_same_bits_for_any_number_of_threads(other, oracle, use_threads, name,
                                                            batch, dtype):
    results = []
    for count in (1, 2, 3, 5):
        use_threads(count)
        run, found = trained(other, name, dtype, batch)
        assert run.parted
        assert run.threads_used == count
        results.append(found)
    for again in results[1:]:
        for a, b in zip(results[0], again, strict=True):
            np.testing.assert_array_equal(a, b)
    rounding = 2e-11 if dtype == "float64" else 5e-3  # steps of Adam where gradients vanish
    for ours, true in zip(results[0], trained(oracle, name, dtype, batch)[1], strict=True):
        np.testing.assert_allclose(ours, true, rtol=rounding,
                                   atol=rounding * max(np.abs(true).max(initial=0.0), 1e-3))


@pytest.mark.parametrize("name", WHOLE)
def test_other_networks_stay_whole(other, use_threads, name):
    net = network(WHOLE[name], loss="mean_squared_error", optimizer="adam", dtype="float32",
                  batch=BATCH, columns=COLUMNS)
    assert not executor(other, net).parted


def test_groups_of_rows_where_more_products_follow_one_another(other, use_threads):
    for name, batch, parted in (("classes", 64, True), ("three products", 63, True),
                                ("three products", 64, False)):
        net = network(PARTED[name][0], loss="mean_squared_error", optimizer="adam",
                      dtype="float32", batch=batch, columns=COLUMNS)
        assert executor(other, net).parted == parted


def test_what_is_parted_does_not_depend_on_threads(other, use_threads):
    layers, loss, labels, optimizer, _ = PARTED["classes"]
    for count in (1, 2, 3):
        use_threads(count)
        net = network(layers, loss=loss, labels=labels, optimizer=optimizer, batch=BATCH,
                      columns=COLUMNS)
        assert executor(other, net).parted
