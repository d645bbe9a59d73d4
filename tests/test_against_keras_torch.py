"""The same network, trained here and in Keras or PyTorch from the same weights in the same order.

Losses and metrics agree to float tolerance over several epochs, and so do the final weights; what
`fit` reports (names, order, means, effects of weights and splits) is Keras's.
"""

from __future__ import annotations

import numpy as np
import pytest
from keras_peer import load as load_keras

import fusedmlp as fm

pytestmark = pytest.mark.usefixtures("backend")

ROWS, COLUMNS, CLASSES = 90, 7, 4


@pytest.fixture
def keras():
    return load_keras()


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def problem(kind):
    """Inputs and targets: "classes", "one_hot", "binary" or "values"."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(ROWS, COLUMNS)).astype("float32")
    scores = x @ rng.normal(size=(COLUMNS, CLASSES)) + rng.normal(size=(ROWS, CLASSES))
    classes = scores.argmax(axis=1)
    return x, {
        "classes": classes,
        "one_hot": fm.utils.to_categorical(classes, CLASSES).astype("float32"),
        "binary": (scores[:, 0] > 0).astype("float32"),
        "values": scores[:, :2].astype("float32"),
    }[kind]


def stack(library, widths, activations):
    """A Sequential of `library`, which is fusedmlp or Keras, with weights that depend on widths."""
    model = library.Sequential([library.layers.Input((COLUMNS,))] + [
        library.layers.Dense(width, activation=activation)
        for width, activation in zip(widths, activations, strict=True)
    ])
    rng = np.random.default_rng(9)  # without near ties, which would decide an accuracy
    model.set_weights([rng.normal(scale=0.4, size=w.shape).astype("float32")
                       for w in model.get_weights()])
    return model


OPTIMIZERS = {
    "sgd": lambda o: o.SGD(0.05),
    "momentum": lambda o: o.SGD(0.02, momentum=0.9),
    "nesterov": lambda o: o.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda o: o.Adam(0.01),
    "adamw": lambda o: o.AdamW(0.01, weight_decay=0.05),
}
CASES = {
    "softmax": ("classes", (9, CLASSES), ("relu", "softmax"), "sparse_categorical_crossentropy"),
    "one_hot": ("one_hot", (9, CLASSES), ("tanh", "softmax"), "categorical_crossentropy"),
    "unfused": ("one_hot", (9, CLASSES), ("tanh", "sigmoid"), "categorical_crossentropy"),
    "sigmoid": ("binary", (9, 1), ("silu", "sigmoid"), "binary_crossentropy"),
    "binary_unfused": ("binary", (9, 1), ("elu", "hard_sigmoid"), "binary_crossentropy"),
    "mse": ("values", (9, 6, 2), ("gelu", "softplus", "linear"), "mse"),
    "mae": ("values", (9, 2), ("selu", None), "mae"),
    "crossentropy": ("classes", (9, CLASSES), ("mish", "softmax"), "crossentropy"),
}


def both(keras, case, optimizer="adam", **compile_arguments):
    """Targets and the two models, compiled alike."""
    kind, widths, activations, loss = CASES[case]
    x, y = problem(kind)
    models = []
    for library in (fm, keras):
        model = stack(library, widths, activations)
        model.compile(optimizer=OPTIMIZERS[optimizer](library.optimizers), loss=loss,
                      **compile_arguments)
        models.append(model)
    return x, y, *models


def fit_alike(x, y, ours, theirs, **arguments):
    """Train both without shuffling; the histories and weights must agree."""
    arguments = {"epochs": 3, "batch_size": 16, "shuffle": False, "verbose": 0, **arguments}
    mine = ours.fit(x, y, **arguments)
    reference = theirs.fit(x, y, **arguments)
    assert set(mine.history) == set(reference.history)
    assert mine.epoch == reference.epoch
    for name, values in reference.history.items():
        np.testing.assert_allclose(mine.history[name], values, rtol=3e-5, atol=2e-6, err_msg=name)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    return mine


@pytest.mark.parametrize("case", CASES)
def test_losses_follow_keras(keras, case):
    x, y, ours, theirs = both(keras, case)
    history = fit_alike(x, y, ours, theirs)
    assert history.history["loss"][-1] < history.history["loss"][0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_follow_keras(keras, optimizer):
    fit_alike(*both(keras, "softmax", optimizer))


@pytest.mark.parametrize("case", ["softmax", "one_hot", "sigmoid"])
def test_accuracy_is_that_of_the_targets_shape(keras, case):
    x, y, ours, theirs = both(keras, case, metrics=["accuracy"])
    fit_alike(x, y, ours, theirs)
    np.testing.assert_allclose(ours.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0),
                               rtol=3e-5)


def test_metrics_of_values(keras):
    x, y, ours, theirs = both(keras, "mse", metrics=["mae", "mean_squared_error",
                                                     "root_mean_squared_error"])
    fit_alike(x, y, ours, theirs)
    mine = ours.evaluate(x, y, verbose=0, return_dict=True, batch_size=32)
    reference = theirs.evaluate(x, y, verbose=0, return_dict=True)
    assert set(mine) == set(reference)
    for name, value in reference.items():
        assert mine[name] == pytest.approx(value, rel=3e-5)


def test_sample_weights_weigh_the_loss_and_only_weighted_metrics(keras):
    x, y, ours, theirs = both(keras, "softmax", metrics=["accuracy"],
                              weighted_metrics=["accuracy", "sparse_categorical_crossentropy"])
    weight = np.random.default_rng(7).uniform(0, 3, ROWS).astype("float32")
    history = fit_alike(x, y, ours, theirs, sample_weight=weight)
    assert list(history.history) == ["loss", "accuracy", "weighted_accuracy",
                                     "sparse_categorical_crossentropy"]
    assert history.history["accuracy"] != history.history["weighted_accuracy"]
    mine = ours.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    for name, value in theirs.evaluate(x, y, sample_weight=weight, verbose=0,
                                       return_dict=True).items():
        assert mine[name] == pytest.approx(value, rel=3e-5)


@pytest.mark.parametrize("case", ["softmax", "one_hot", "sigmoid"])
def test_class_weights(keras, case):
    fit_alike(*both(keras, case, weighted_metrics=["accuracy"]), class_weight={0: 3.0, 1: 0.25})


def test_loss_weights_scale_loss_and_gradient(keras):
    fit_alike(*both(keras, "mse", "sgd", loss_weights=0.25))


def test_sum_reduction_depends_on_the_batch(keras):
    kind, widths, activations, _ = CASES["softmax"]
    x, y = problem(kind)
    models = []
    for library in (fm, keras):
        model = stack(library, widths, activations)
        model.compile(optimizer=library.optimizers.SGD(0.001),
                      loss=library.losses.SparseCategoricalCrossentropy(reduction="sum"))
        models.append(model)
    fit_alike(x, y, *models, validation_split=0.2)
    mine, theirs = (m.evaluate(x, y, batch_size=10, verbose=0) for m in models)
    assert mine == pytest.approx(theirs, rel=3e-5)


def test_logits_and_label_smoothing(keras):
    x, y = problem("one_hot")
    models = []
    for library in (fm, keras):
        model = stack(library, (9, CLASSES), ("relu", None))
        model.compile(optimizer="adam", metrics=["accuracy"],
                      loss=library.losses.CategoricalCrossentropy(from_logits=True,
                                                                  label_smoothing=0.1))
        models.append(model)
    fit_alike(x, y, *models)


def test_validation_split_takes_the_last_rows(keras):
    x, y, ours, theirs = both(keras, "softmax", metrics=["accuracy"])
    history = fit_alike(x, y, ours, theirs, validation_split=0.3,
                        sample_weight=np.linspace(0.5, 2, ROWS).astype("float32"))
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]


def test_validation_data_frequency_and_batch_size(keras):
    x, y, ours, theirs = both(keras, "softmax", metrics=["accuracy"])
    weight = np.linspace(0.5, 2, 40).astype("float32")
    history = fit_alike(x, y, ours, theirs, validation_data=(x[:40], y[:40], weight),
                        epochs=4, validation_freq=2, validation_batch_size=7,
                        validation_steps=3)
    assert len(history.history["val_loss"]) == 2


def test_steps_per_epoch_continue_in_the_data(keras):
    x, y, ours, theirs = both(keras, "softmax")
    fit_alike(x, y, ours, theirs, epochs=4, steps_per_epoch=3)  # 6 steps make a pass


def test_initial_epoch_and_default_batch_size(keras):
    x, y, ours, theirs = both(keras, "softmax")
    history = fit_alike(x, y, ours, theirs, epochs=5, initial_epoch=2, batch_size=None)
    assert history.epoch == [2, 3, 4]


def test_batch_methods_return_what_keras_returns(keras):
    x, y, ours, theirs = both(keras, "softmax", metrics=["accuracy"])
    weight = np.linspace(0.5, 2, 30).astype("float32")
    for model_arguments in ({}, {"sample_weight": weight}, {"class_weight": {1: 2.0}}):
        mine = ours.train_on_batch(x[:30], y[:30], **model_arguments)
        reference = theirs.train_on_batch(x[:30], y[:30], **model_arguments)
        np.testing.assert_allclose(mine, reference, rtol=3e-5)
    mine = ours.test_on_batch(x[:30], y[:30], return_dict=True)
    reference = theirs.test_on_batch(x[:30], y[:30], return_dict=True)
    assert mine == pytest.approx(reference, rel=3e-5)
    np.testing.assert_allclose(ours.predict_on_batch(x[:3]), theirs.predict_on_batch(x[:3]),
                               rtol=3e-4, atol=1e-6)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x, verbose=0), rtol=3e-4, atol=1e-6)


def test_names_of_metrics_that_occur_twice(keras):
    x, y, ours, theirs = both(keras, "mse", metrics=["mae", "mae"], weighted_metrics=["mae"])
    fit_alike(x, y, ours, theirs, epochs=1, sample_weight=np.linspace(0, 2, ROWS))


@pytest.mark.parametrize("mode", ["min", "auto"])
def test_early_stopping_stops_where_keras_stops(keras, mode):
    x, y, ours, theirs = both(keras, "softmax", "nesterov")
    stops = [library.callbacks.EarlyStopping(monitor="val_loss", patience=2, mode=mode,
                                             min_delta=1e-3, restore_best_weights=True)
             for library in (fm, keras)]
    epochs = []
    for model, stop in zip((ours, theirs), stops, strict=True):
        history = model.fit(x, y, epochs=80, batch_size=16, shuffle=False, verbose=0,
                            validation_split=0.3, callbacks=[stop])
        epochs.append(history.epoch)
    assert epochs[0] == epochs[1]
    assert len(epochs[0]) < 80
    assert (stops[0].best_epoch, stops[0].stopped_epoch, stops[0].wait) == (
        stops[1].best_epoch, stops[1].stopped_epoch, stops[1].wait)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_callbacks_are_called_when_keras_calls_them(keras):
    x, y, ours, theirs = both(keras, "softmax", metrics=["accuracy"])
    moments = [n for n in dir(fm.callbacks.Callback) if n.startswith("on_")]
    calls = {}

    def recorder(library, record):
        def method(name):
            def call(self, *args, logs=None):
                logs = args[-1] if args and not isinstance(args[-1], int) else logs
                record.append((name, *[a for a in args if isinstance(a, int)],
                               sorted(logs or {})))
            return call

        wanted = [n for n in moments if "_batch_" in n or "epoch" in n or "train" in n
                  or "test" in n]
        return type("Recorder", (library.callbacks.Callback,),
                    {n: method(n) for n in wanted if not n.startswith("on_batch")})()

    for library, model in ((fm, ours), (keras, theirs)):
        record = calls[library.__name__] = []
        model.fit(x[:40], y[:40], epochs=2, batch_size=16, shuffle=False, verbose=0,
                  validation_split=0.25, callbacks=[recorder(library, record)])
    assert calls["fusedmlp"] == calls["keras"]


def test_training_follows_pytorch(torch):
    """A 7-9-4 network with Adam; PyTorch's epsilon is added after the correction of v."""
    x, y = problem("classes")
    ours = stack(fm, (9, CLASSES), ("tanh", "softmax"))
    ours.compile(optimizer=fm.optimizers.SGD(0.05, momentum=0.9),
                 loss="sparse_categorical_crossentropy")
    weights = [torch.tensor(w, requires_grad=True) for w in ours.get_weights()]
    optimizer = torch.optim.SGD(weights, lr=0.05, momentum=0.9)
    losses = []
    for _ in range(4):
        total = 0.0
        for start in range(0, ROWS, 16):
            xb, yb = torch.tensor(x[start:start + 16]), torch.tensor(y[start:start + 16])
            logits = torch.tanh(xb @ weights[0] + weights[1]) @ weights[2] + weights[3]
            loss = torch.nn.functional.cross_entropy(logits, yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(xb)
        losses.append(total / ROWS)
    history = ours.fit(x, y, epochs=4, batch_size=16, shuffle=False, verbose=0)
    np.testing.assert_allclose(history.history["loss"], losses, rtol=3e-5)
    for a, b in zip(ours.get_weights(), weights, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-4, atol=1e-5)
