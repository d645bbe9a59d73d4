"""Losses and metrics: formulas, reductions, weights, Keras's numbers, and the same in a plan."""

from __future__ import annotations

import inspect
import json
import math

import keras_peer
import numpy as np
import pytest

from fusedmlp import backend as backends
from fusedmlp import config, losses, metrics, registry
from fusedmlp.plan import Builder

EPSILON = 1e-7


def rng():
    return np.random.default_rng(7)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def one_hot(classes, count):
    return np.eye(count)[classes]


# Loss classes and options, and the formula per sample in plain float64 NumPy, from logits z.


def reference_bce(t, p, smoothing=0.0):
    t = t * (1 - smoothing) + smoothing / 2
    p = np.clip(p, EPSILON, 1 - EPSILON)
    return (-t * np.log(p) - (1 - t) * np.log(1 - p)).mean(axis=-1)


def reference_cce(t, p, smoothing=0.0):
    t = t * (1 - smoothing) + smoothing / t.shape[-1]
    return -(t * np.log(np.clip(p / p.sum(axis=-1, keepdims=True), EPSILON, 1 - EPSILON))).sum(-1)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


N, C = 24, 5
Z = rng().normal(scale=2, size=(N, C))
TARGETS = rng().normal(size=(N, C))
BITS = (TARGETS > 0).astype(float)
CLASSES = rng().integers(0, C, size=N)
SOFT = softmax(TARGETS)
WEIGHTS = rng().uniform(0, 2, size=N)
IGNORED = np.where(np.arange(N) % 4 == 0, -1, CLASSES)

SIGNS = np.where(BITS > 0, 1.0, -1.0)
POSITIVE, RATES = abs(TARGETS), abs(Z) + 0.1
UNIT = Z / np.sqrt((Z**2).sum(-1, keepdims=True))
GROUPS = rng().integers(3, 6, size=N)
ERROR = Z - TARGETS


def normalized(x):
    return x / np.sqrt((x**2).sum(-1, keepdims=True))


def focal_binary(t, p, gamma=2.0, alpha=None, smoothing=0.0):
    t = t * (1 - smoothing) + smoothing / 2
    q = np.clip(p, EPSILON, 1 - EPSILON)
    weight = 1 if alpha is None else t * alpha + (1 - t) * (1 - alpha)
    far = (t * (1 - p) + (1 - t) * p) ** gamma
    return (weight * far * (-t * np.log(q) - (1 - t) * np.log(1 - q))).mean(-1)


def focal_categorical(t, p, alpha=0.25, gamma=2.0, smoothing=0.0):
    t = t * (1 - smoothing) + smoothing / t.shape[-1]
    q = np.clip(p / p.sum(-1, keepdims=True), EPSILON, 1 - EPSILON)
    return -(alpha * t * (1 - q) ** gamma * np.log(q)).sum(-1)


def circle(labels, p, gamma, margin, diagonal):
    d = np.maximum(1 - p @ p.T, 0)
    same = labels[:, None] == labels
    near = same & ~(np.eye(len(p), dtype=bool) & diagonal)
    attract = (np.exp(-gamma * (margin + d) * (margin - d)) * near).sum(-1)
    repel = (np.exp(gamma * np.maximum(1 + margin - d, 0) * (1 - margin - d)) * ~same).sum(-1)
    return np.log1p(attract * repel)


CASES = {  # class, arguments, targets, predictions, losses per sample
    "mse": ("MeanSquaredError", {}, TARGETS, Z, ((Z - TARGETS) ** 2).mean(-1)),
    "mae": ("MeanAbsoluteError", {}, TARGETS, Z, abs(Z - TARGETS).mean(-1)),
    "bce": ("BinaryCrossentropy", {}, BITS, sigmoid(Z), reference_bce(BITS, sigmoid(Z))),
    "bce_logits": ("BinaryCrossentropy", {"from_logits": True}, BITS, Z,
                   reference_bce(BITS, sigmoid(Z))),
    "bce_smooth": ("BinaryCrossentropy", {"label_smoothing": 0.2}, BITS, sigmoid(Z),
                   reference_bce(BITS, sigmoid(Z), 0.2)),
    "bce_logits_smooth": ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.3},
                          BITS, Z, reference_bce(BITS, sigmoid(Z), 0.3)),
    "cce": ("CategoricalCrossentropy", {}, SOFT, softmax(Z), reference_cce(SOFT, softmax(Z))),
    "cce_unscaled": ("CategoricalCrossentropy", {}, SOFT, 3 * softmax(Z),
                     reference_cce(SOFT, softmax(Z))),
    "cce_logits": ("CategoricalCrossentropy", {"from_logits": True}, one_hot(CLASSES, C), Z,
                   reference_cce(one_hot(CLASSES, C), softmax(Z))),
    "cce_smooth": ("CategoricalCrossentropy", {"label_smoothing": 0.1}, one_hot(CLASSES, C),
                   softmax(Z), reference_cce(one_hot(CLASSES, C), softmax(Z), 0.1)),
    "cce_logits_smooth": ("CategoricalCrossentropy",
                          {"from_logits": True, "label_smoothing": 0.1}, SOFT, Z,
                          reference_cce(SOFT, softmax(Z), 0.1)),
    "scce": ("SparseCategoricalCrossentropy", {}, CLASSES, softmax(Z),
             reference_cce(one_hot(CLASSES, C), softmax(Z))),
    "scce_logits": ("SparseCategoricalCrossentropy", {"from_logits": True}, CLASSES, Z,
                    reference_cce(one_hot(CLASSES, C), softmax(Z))),
    "scce_ignore": ("SparseCategoricalCrossentropy", {"ignore_class": -1}, IGNORED, softmax(Z),
                    np.where(IGNORED < 0, 0, reference_cce(one_hot(CLASSES, C), softmax(Z)))),
    "scce_logits_ignore": (
        "SparseCategoricalCrossentropy", {"ignore_class": -1, "from_logits": True}, IGNORED, Z,
        np.where(IGNORED < 0, 0, reference_cce(one_hot(CLASSES, C), softmax(Z)))),
    "mape": ("MeanAbsolutePercentageError", {}, TARGETS, Z,
             100 * abs(ERROR / TARGETS).mean(-1)),
    "msle": ("MeanSquaredLogarithmicError", {}, POSITIVE, RATES,
             ((np.log1p(RATES) - np.log1p(POSITIVE)) ** 2).mean(-1)),
    "log_cosh": ("LogCosh", {}, TARGETS, Z, np.log(np.cosh(ERROR)).mean(-1)),
    "huber": ("Huber", {"delta": 0.7}, TARGETS, Z, np.where(
        abs(ERROR) <= 0.7, ERROR**2 / 2, 0.7 * abs(ERROR) - 0.245).mean(-1)),
    "poisson": ("Poisson", {}, POSITIVE, RATES,
                (RATES - POSITIVE * np.log(RATES + EPSILON)).mean(-1)),
    "kld": ("KLDivergence", {}, SOFT, softmax(Z), (SOFT * np.log(SOFT / softmax(Z))).sum(-1)),
    "cosine": ("CosineSimilarity", {}, TARGETS, Z, -(normalized(TARGETS) * normalized(Z)).sum(-1)),
    "hinge": ("Hinge", {}, SIGNS, Z, np.maximum(1 - SIGNS * Z, 0).mean(-1)),
    "hinge_bits": ("Hinge", {}, BITS, Z, np.maximum(1 - SIGNS * Z, 0).mean(-1)),
    "squared_hinge": ("SquaredHinge", {}, BITS, Z, (np.maximum(1 - SIGNS * Z, 0) ** 2).mean(-1)),
    "categorical_hinge": ("CategoricalHinge", {}, one_hot(CLASSES, C), Z, np.maximum(
        ((1 - one_hot(CLASSES, C)) * Z).max(-1) - Z[np.arange(N), CLASSES] + 1, 0)),
    "focal": ("BinaryFocalCrossentropy", {}, BITS, sigmoid(Z), focal_binary(BITS, sigmoid(Z))),
    "focal_logits": (
        "BinaryFocalCrossentropy",
        {"from_logits": True, "gamma": 1.5, "alpha": 0.3, "apply_class_balancing": True,
         "label_smoothing": 0.1},
        BITS, Z, focal_binary(BITS, sigmoid(Z), 1.5, 0.3, 0.1)),
    "focal_categorical": ("CategoricalFocalCrossentropy", {}, SOFT, softmax(Z),
                          focal_categorical(SOFT, softmax(Z))),
    "focal_categorical_logits": (
        "CategoricalFocalCrossentropy",
        {"from_logits": True, "alpha": 0.5, "gamma": 1.0, "label_smoothing": 0.1},
        SOFT, Z, focal_categorical(SOFT, softmax(Z), 0.5, 1.0, 0.1)),
    "generalized": ("CategoricalGeneralizedCrossEntropy", {"q": 0.3}, CLASSES, softmax(Z),
                    (1 - softmax(Z)[np.arange(N), CLASSES] ** 0.3) / 0.3),
    "dice_rows": ("Dice", {"axis": -1}, BITS, sigmoid(Z), 1 - 2 * (BITS * sigmoid(Z)).sum(-1) / (
        BITS.sum(-1) + sigmoid(Z).sum(-1) + EPSILON)),
    "tversky_rows": (
        "Tversky", {"axis": 1, "alpha": 0.2, "beta": 0.6}, BITS, sigmoid(Z),
        1 - (BITS * sigmoid(Z)).sum(-1) / (
            (BITS * sigmoid(Z)).sum(-1) + 0.2 * (BITS * (1 - sigmoid(Z))).sum(-1)
            + 0.6 * ((1 - BITS) * sigmoid(Z)).sum(-1) + EPSILON)),
    "circle": ("Circle", {"gamma": 3.0, "margin": 0.3}, GROUPS, UNIT,
               circle(GROUPS, UNIT, 3.0, 0.3, True)),
}
OWN = {  # the same for losses that Keras does not have
    "quantile": ("Quantile", {"quantile": 0.8}, TARGETS, Z,
                 np.maximum(-0.8 * ERROR, 0.2 * ERROR).mean(-1)),
    "perceptron": ("Perceptron", {}, BITS, Z, np.maximum(-SIGNS * Z, 0).mean(-1)),
    "gaussian": ("GaussianNegativeLogLikelihood", {"full": True}, TARGETS[:, :2], Z[:, :4],
                 0.5 * (np.log(2 * np.pi) + Z[:, 2:4] + (TARGETS[:, :2] - Z[:, :2]) ** 2
                        * np.exp(-Z[:, 2:4])).mean(-1)),
}
ALL = {**CASES, **OWN}
TWINS = {case for case, (cls, *_) in CASES.items() if hasattr(metrics, cls)}  # losses and metrics
DTYPES = {"float32": 2e-5, "float64": 1e-11}
REDUCTIONS = ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None]


def counted(case):
    """Which samples count."""
    y = ALL[case][2]
    if case == "circle":
        return CASES[case][4] > 0
    return y >= 0 if ALL[case][1].get("ignore_class") is not None else np.ones(N, bool)


def reduced(case, weights, reduction):
    values = ALL[case][4] * (1 if weights is None else weights)
    if reduction in (None, "none"):
        return values
    if reduction == "sum":
        return values.sum()
    if reduction == "mean_with_sample_weight" and weights is not None:
        return values.sum() / (weights * counted(case)).sum()
    return values.sum() / counted(case).sum()


def function_name(cls):
    return getattr(losses, cls).function.__name__


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_function_forms(backend, case, dtype):
    cls, arguments, y_true, y_pred, expected = ALL[case]
    function = getattr(losses, function_name(cls))
    result = function(y_true, y_pred.astype(dtype), **arguments)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, rtol=DTYPES[dtype], atol=DTYPES[dtype])
    assert getattr(metrics, function.__name__, function) is function


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_reductions(case, reduction, weights):
    cls, arguments, y_true, y_pred, _ = ALL[case]
    loss = getattr(losses, cls)(reduction=reduction, dtype="float64", **arguments)
    result = loss(y_true, y_pred, sample_weight=weights)
    if reduction in (None, "none"):
        assert result.shape == (N,)
    else:
        assert type(result) is float
    np.testing.assert_allclose(result, reduced(case, weights, reduction), rtol=1e-11)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_losses_like_keras(case, reduction, weights):
    keras = keras_peer.load()
    cls, arguments, y_true, y_pred, _ = CASES[case]
    ours = getattr(losses, cls)(reduction=reduction, **arguments)
    theirs = getattr(keras.losses, cls)(reduction=reduction, **arguments)
    y_pred = y_pred.astype("float32")
    np.testing.assert_allclose(ours(y_true, y_pred, weights),
                               np.asarray(theirs(y_true, y_pred, weights)), rtol=2e-5, atol=2e-6)


def public(module):
    return sorted(name for name in dir(module) if (name[0] != "_" and name.islower()) or
                  inspect.isclass(getattr(module, name, None)))


NOT_HERE = {"losses": {"CTC", "ctc"}, "metrics": set()}  # sequences


@pytest.mark.parametrize("module", ["losses", "metrics"])
def test_signatures_like_keras(module):
    """Every public name of the two modules is here, with the same arguments and defaults."""
    keras = keras_peer.load()
    own = {"losses": losses, "metrics": metrics}[module]
    for name in set(public(getattr(keras, module))) - NOT_HERE[module]:
        assert name in own.__all__, name
        if name in ("Loss", "Metric", "get", "serialize", "deserialize", "LossFunctionWrapper",
                    "MeanMetricWrapper"):
            continue
        ours = inspect.signature(getattr(own, name))
        theirs = inspect.signature(getattr(getattr(keras, module), name))
        assert list(ours.parameters) == list(theirs.parameters), name
        for key, parameter in theirs.parameters.items():
            assert ours.parameters[key].default == parameter.default, (name, key)


SHAPES = {  # y_true, y_pred, weights
    "vector": ((6,), (6,), ()),
    "column": ((6, 1), (6, 1), (6,)),
    "labels_flat": ((6,), (6, 1), (6,)),
    "prediction_flat": ((6, 1), (6,), (6,)),
    "three_axes": ((2, 3, 4), (2, 3, 4), (2, 3)),
    "three_and_two": ((2, 3, 1), (2, 3), (2,)),
    "weights_column": ((6, 3), (6, 3), (6, 1)),
    "weights_scalar": ((6, 3), (6, 3), ()),
}


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("cls", ["MeanSquaredError", "BinaryCrossentropy"])
def test_shapes_like_keras(shapes, cls):
    keras = keras_peer.load()
    y_true, y_pred, weights = (rng().uniform(size=s) for s in SHAPES[shapes])
    for weight in (None, weights):
        ours = getattr(losses, cls)()(y_true, y_pred, weight)
        theirs = getattr(keras.losses, cls)()(y_true, y_pred, weight)
        np.testing.assert_allclose(ours, float(theirs), rtol=1e-5)


@pytest.mark.parametrize("shapes", SHAPES)
def test_shapes(shapes):
    y_true, y_pred, _ = (rng().uniform(size=s) for s in SHAPES[shapes])
    flat = ((y_true.reshape(-1) - y_pred.reshape(-1)) ** 2)
    assert losses.MeanSquaredError(dtype="float64")(y_true, y_pred) == pytest.approx(flat.mean())


def test_axis():
    t = np.moveaxis(SOFT.reshape(4, 6, C), -1, 1)
    p = np.moveaxis(softmax(Z).reshape(4, 6, C), -1, 1)
    expected = CASES["cce"][4].reshape(4, 6)
    np.testing.assert_allclose(losses.categorical_crossentropy(t, p, axis=1), expected, rtol=1e-11)
    np.testing.assert_allclose(
        losses.sparse_categorical_crossentropy(CLASSES.reshape(4, 6), p, axis=1),
        CASES["scce"][4].reshape(4, 6), rtol=1e-11)
    np.testing.assert_allclose(losses.binary_crossentropy(BITS, sigmoid(Z), axis=0),
                               reference_bce(BITS.T, sigmoid(Z).T), rtol=1e-11)


def test_certain_predictions_are_clipped_at_epsilon():
    loss = losses.BinaryCrossentropy(dtype="float64")
    assert loss([[1.0]], [[0.0]]) == pytest.approx(-math.log(1e-7))
    config.set_epsilon(1e-3)
    try:
        assert loss([[1.0]], [[0.0]]) == pytest.approx(-math.log(1e-3))
        assert losses.SparseCategoricalCrossentropy(dtype="float64")([0], [[0.0, 1.0]]) == (
            pytest.approx(-math.log(1e-3)))
    finally:
        config.set_epsilon(1e-7)


def test_large_logits_are_exact():
    assert losses.BinaryCrossentropy(from_logits=True)([[0.0]], [[1000.0]]) == 1000.0
    assert losses.CategoricalCrossentropy(from_logits=True)([[0.0, 1.0]], [[1000.0, 0.0]]) == 1000.0


def test_all_ignored():
    loss = losses.SparseCategoricalCrossentropy(ignore_class=255)
    assert loss([255, 255], [[0.5, 0.5], [0.5, 0.5]]) == 0.0


def test_labels_of_other_types():
    loss = losses.SparseCategoricalCrossentropy(dtype="float64")
    expected = loss(CLASSES, softmax(Z))
    for labels in (CLASSES.astype("uint8"), CLASSES.astype("float32"), CLASSES[:, None],
                   CLASSES.tolist()):
        assert loss(labels, softmax(Z)) == expected


def test_one_class_is_warned_of():
    with pytest.warns(UserWarning, match="one column"):
        losses.categorical_crossentropy([[1.0]], [[0.5]])


def test_dtype():
    assert losses.MeanSquaredError().dtype == "float32"
    config.set_floatx("float64")
    try:
        assert losses.MeanSquaredError().dtype == "float64"
    finally:
        config.set_floatx("float32")
    third = losses.MeanAbsoluteError(reduction=None, dtype="float64")([[0.0]], [[1 / 3]])
    assert third.tolist() == [1 / 3]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: losses.MeanSquaredError(reduction="avg"), ValueError, "`reduction`.*'avg'"),
        (lambda: losses.MeanSquaredError(dtype="int32"), ValueError, "`dtype`"),
        (lambda: losses.BinaryCrossentropy(label_smoothing=1.5), ValueError, "`label_smoothing`"),
        (lambda: losses.BinaryCrossentropy(label_smoothing="a"), TypeError, "`label_smoothing`"),
        (lambda: losses.BinaryCrossentropy(from_logits="yes"), ValueError, "`from_logits`"),
        (lambda: losses.SparseCategoricalCrossentropy(ignore_class=0.5), TypeError, "`ignore_"),
        (lambda: losses.MeanSquaredError()([[1.0, 2.0]], [[1.0]]), ValueError,
         r"`y_true` and `y_pred`.*\(1, 2\).*\(1, 1\)"),
        (lambda: losses.MeanSquaredError()([["a"]], [[1.0]]), TypeError, "`y_true`"),
        (lambda: losses.MeanSquaredError()([[1.0]], [[1j]]), TypeError, "`y_pred`"),
        (lambda: losses.MeanSquaredError()([[1.0]], [[1.0]], [1.0, 2.0]), ValueError,
         "`sample_weight`"),
        (lambda: losses.MeanSquaredError()(np.ones((0, 2)), np.ones((0, 2))), ValueError,
         "at least one sample"),
        (lambda: losses.SparseCategoricalCrossentropy()([3], [[0.5, 0.5]]), ValueError,
         "from 0 to 1.*Received: 3"),
        (lambda: losses.SparseCategoricalCrossentropy()([-1], [[0.5, 0.5]]), ValueError, "-1"),
        (lambda: losses.SparseCategoricalCrossentropy()([0.5], [[0.5, 0.5]]), ValueError, "whole"),
        (lambda: losses.SparseCategoricalCrossentropy()([[0, 1]], [[0.5, 0.5]]), ValueError,
         "`y_true`"),
        (lambda: losses.categorical_crossentropy([[1.0, 0]], [[1.0, 0]], axis=2), ValueError,
         "`axis`"),
        (lambda: losses.get("mean_square_error"), ValueError, "nearest: 'mean_squared_error'"),
        (lambda: losses.get(3), TypeError, "Received: 3"),
        (lambda: losses.Loss()([[1.0]], [[1.0]]), NotImplementedError, "call"),
        (lambda: metrics.get("acuracy"), ValueError, "nearest: 'accuracy'"),
        (lambda: metrics.get([]), TypeError, r"Received: \[\]"),
        (lambda: metrics.resolve(None, (1,), (1, 2)), ValueError, "`metrics`"),
        (lambda: metrics.Mean(dtype="int8"), ValueError, "`dtype`"),
        (lambda: metrics.Mean()([1.0, 2.0], [1.0, 2.0, 3.0]), ValueError, "`sample_weight`"),
        (lambda: metrics.BinaryAccuracy(threshold="a"), TypeError, "`threshold`"),
        (lambda: metrics.Accuracy()([1, 2], [1, 2, 3]), ValueError, "same shape"),
        (lambda: metrics.CategoricalAccuracy()([[1, 0]], [[1, 0, 0]]), ValueError, "same shape"),
        (lambda: metrics.SparseCategoricalAccuracy()([[1, 0]], [[1, 0]]), ValueError, "`y_true`"),
        (lambda: metrics.Metric().update_state(1), NotImplementedError, "update_state"),
        (lambda: metrics.Metric().result(), NotImplementedError, "result"),
        (lambda: losses.hubber, AttributeError, "nearest: 'huber'"),
        (lambda: metrics.AOC, AttributeError, "no attribute 'AOC'"),
        (lambda: losses.Huber(delta=-1.0), ValueError, "`delta`.*-1"),
        (lambda: losses.Quantile(1.5), ValueError, "`quantile`.*1.5"),
        (lambda: losses.BinaryFocalCrossentropy(gamma=-1), ValueError, "`gamma`"),
        (lambda: losses.CategoricalGeneralizedCrossEntropy(q=0.0), ValueError, "`q`"),
        (lambda: losses.CategoricalGeneralizedCrossEntropy(q=1.0), ValueError, "`q`"),
        (lambda: losses.circle([0], [[1.0]], ref_labels=[0]), ValueError, "`ref_labels`"),
        (lambda: losses.Circle()([0.5, 1.0], [[1.0], [1.0]]), ValueError, "whole"),
        (lambda: losses.GaussianNegativeLogLikelihood()([[1.0]], [[1.0, 2.0, 3.0]]), ValueError,
         "`y_pred`"),
        (lambda: losses.dice([[1.0]], [[1.0]], axis=2), ValueError, "`axis`"),
        (lambda: losses.categorical_focal_crossentropy([[1.0, 0]], [[1.0, 0]], alpha=[1.0]),
         ValueError, "`alpha`"),
        (lambda: metrics.Precision(thresholds=1.5), ValueError, "`thresholds`"),
        (lambda: metrics.Precision(top_k=0), ValueError, "`top_k`"),
        (lambda: metrics.Precision(class_id=3)([[0, 1]], [[0, 1.0]]), ValueError, "`class_id`"),
        (lambda: metrics.Precision()([0, 1], [0, 1, 1.0]), ValueError, "same shape"),
        (lambda: metrics.Precision()([0, 1], [0, 1.0], [1.0, 1, 1]), ValueError, "`sample_w"),
        (lambda: metrics.AUC(curve="PPR"), ValueError, "`curve`.*'PPR'"),
        (lambda: metrics.AUC(summation_method="mean"), ValueError, "`summation_method`"),
        (lambda: metrics.AUC(num_thresholds=1), ValueError, "`num_thresholds`"),
        (lambda: metrics.AUC(num_labels=3), ValueError, "`num_labels`"),
        (lambda: metrics.AUC(multi_label=True)([0, 1], [0, 1.0]), ValueError, "`y_pred`"),
        (lambda: metrics.SensitivityAtSpecificity(1.5), ValueError, "`specificity`"),
        (lambda: metrics.FBetaScore(average="mean"), ValueError, "`average`"),
        (lambda: metrics.FBetaScore(beta=0.0), ValueError, "`beta`"),
        (lambda: metrics.F1Score(threshold=0.0), ValueError, "`threshold`"),
        (lambda: metrics.F1Score()([0, 1], [0, 1.0]), ValueError, "`y_true` and `y_pred`"),
        (lambda: metrics.IoU(2, [2]), ValueError, "`target_class_ids`"),
        (lambda: metrics.MeanIoU(2)([0, 1], [0, 1, 1]), ValueError, "as many"),
        (lambda: metrics.R2Score("mean"), ValueError, "`class_aggregation`"),
        (lambda: metrics.R2Score()([1.0], [1.0]), ValueError, "`y_true` and `y_pred`"),
        (lambda: metrics.TopKCategoricalAccuracy(k=0), ValueError, "`k`"),
    ],
)
def test_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


# -- names and configs -----------------------------------------------------------------------------

NAMES = {
    "MeanSquaredError": ["mse", "MSE", "mean_squared_error"],
    "MeanAbsoluteError": ["mae", "MAE", "mean_absolute_error"],
    "BinaryCrossentropy": ["bce", "BCE", "binary_crossentropy"],
    "CategoricalCrossentropy": ["categorical_crossentropy"],
    "SparseCategoricalCrossentropy": ["sparse_categorical_crossentropy"],
    "MeanAbsolutePercentageError": ["mape", "MAPE"],
    "MeanSquaredLogarithmicError": ["msle", "MSLE"],
    "KLDivergence": ["kld", "KLD", "kl_divergence"],
    "Poisson": ["poisson"],
    "Hinge": ["hinge"],
}


@pytest.mark.parametrize("cls", NAMES)
@pytest.mark.parametrize("module", [losses, metrics])
def test_names(module, cls):
    expected = getattr(module, cls)
    function = getattr(module, function_name(cls))
    for identifier in [*NAMES[cls], cls, expected, expected(), function, {"class_name": cls},
                       {"class_name": NAMES[cls][0], "config": {"name": "own"}}]:
        assert type(module.get(identifier)) is expected
    assert module.get({"class_name": cls, "config": {"name": "own"}}).name == "own"
    assert module.get(None) is None


@pytest.mark.parametrize("cls", ["Huber", "LogCosh", "Dice", "Circle", "Quantile",
                                 "GaussianNegativeLogLikelihood", "BinaryFocalCrossentropy"])
def test_names_of_losses_alone(cls):
    function = getattr(losses, function_name(cls))
    for identifier in (cls, registry.snake_case(cls), function.__name__, function):
        assert type(losses.get(identifier)) is getattr(losses, cls)
        assert metrics.get(identifier).row == function.__name__


def test_a_loss_of_its_own_stays_its_own():
    class Mine(losses.Huber):
        pass

    assert inspect.signature(Mine) == inspect.signature(losses.Huber)
    assert Mine(0.5).row == "huber"


@pytest.mark.parametrize(("module", "case"), [
    (module, case) for case in ALL for module in (losses, metrics)
    if module is losses or case in TWINS])
def test_config(module, case):
    cls, arguments, y_true, y_pred, _ = ALL[case]
    item = getattr(module, cls)(name="own", dtype="float64", **arguments)
    described = json.loads(json.dumps(module.serialize(item)))
    again = module.deserialize(described)
    assert type(again) is type(item)
    assert again.get_config() == item.get_config()
    assert again(y_true, y_pred) == item(y_true, y_pred)
    assert "own" in repr(item)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "loss", "metric"),
    [
        ((8,), (8, 1), "BinaryCrossentropy", "BinaryAccuracy"),
        ((8, 1), (8, 1), "BinaryCrossentropy", "BinaryAccuracy"),
        ((8,), (8, 3), "SparseCategoricalCrossentropy", "SparseCategoricalAccuracy"),
        ((8, 1), (8, 3), "SparseCategoricalCrossentropy", "SparseCategoricalAccuracy"),
        ((8, 3), (8, 3), "CategoricalCrossentropy", "CategoricalAccuracy"),
    ],
)
def test_resolving_by_shape(y_true, y_pred, loss, metric):
    assert type(losses.resolve("crossentropy", y_true, y_pred)).__name__ == loss
    assert type(losses.resolve("CE", y_true, y_pred)).__name__ == loss
    for name in ("accuracy", "acc", "Accuracy"):
        found = metrics.resolve(name, y_true, y_pred)
        assert type(found).__name__ == metric
        assert found.name == name
    assert losses.resolve("mse", y_true, y_pred).name == "mean_squared_error"
    assert metrics.resolve("mse", y_true, y_pred).name == "mse"
    assert metrics.resolve(metrics.MeanSquaredError(), y_true, y_pred).name == "mean_squared_error"


def test_own_loss_and_metric():
    def worst(y_true, y_pred, factor=1.0):
        return factor * abs(y_true - y_pred).max(axis=-1)

    loss = losses.LossFunctionWrapper(worst, factor=2.0)
    assert loss([[0.0, 1.0]], [[1.0, 4.0]]) == 6.0
    assert losses.get(worst)([[0.0, 1.0]], [[1.0, 4.0]]) == 3.0
    assert metrics.get(worst)([[0.0, 1.0]], [[1.0, 4.0]]) == 3.0
    assert metrics.get(worst).name == losses.get(worst).name == "worst"
    with pytest.raises(ValueError, match="register"):
        losses.serialize(losses.LossFunctionWrapper(lambda y_true, y_pred: y_true - y_pred))
    with registry.custom_object_scope({"worst": worst}):
        again = losses.deserialize(losses.serialize(loss))
        assert again([[0.0, 1.0]], [[1.0, 4.0]]) == 6.0
        assert losses.get("worst")([[0.0]], [[3.0]]) == 3.0
        metric = metrics.deserialize(metrics.serialize(metrics.get("worst")))
        assert metric([[0.0]], [[3.0]]) == 3.0
    builder = Builder(4)
    with pytest.raises(TypeError, match="worst"):
        loss.lower(builder, builder.input(2), builder.input(2))
    with pytest.raises(TypeError, match="worst"):
        metrics.get(worst).lower(builder, builder.input(2), builder.input(2))
    assert not metrics.get(worst).in_plan


# -- metrics ---------------------------------------------------------------------------------------

HITS = (Z.argmax(-1) == CLASSES).astype(float)
METRICS = {  # class, arguments, targets, predictions, values per sample
    **{case: CASES[case] for case in CASES if case in TWINS},
    "top_k": ("TopKCategoricalAccuracy", {"k": 2}, one_hot(CLASSES, C), Z,
              (np.argsort(-Z)[:, :2] == CLASSES[:, None]).any(-1)),
    "sparse_top_k": ("SparseTopKCategoricalAccuracy", {"k": 3}, CLASSES, Z,
                     (np.argsort(-Z)[:, :3] == CLASSES[:, None]).any(-1)),
    "sorted_ids": ("SparseTopKCategoricalAccuracy", {"k": 3, "from_sorted_ids": True}, CLASSES,
                   np.argsort(-Z).astype(float),
                   (np.argsort(-Z)[:, :3] == CLASSES[:, None]).any(-1)),
    "pearson": ("PearsonCorrelation", {}, TARGETS, Z, np.array(
        [np.corrcoef(a, b)[0, 1] for a, b in zip(TARGETS, Z, strict=True)])),
    "concordance": ("ConcordanceCorrelation", {}, TARGETS, Z, np.array(
        [2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean())**2 + 1e-7)
         for a, b in zip(TARGETS, Z, strict=True)])),
    "log_cosh_error": ("LogCoshError", {}, TARGETS, Z, np.log(np.cosh(ERROR)).mean(-1)),
    "accuracy": ("Accuracy", {}, np.round(TARGETS), np.round(Z),
                 (np.round(TARGETS) == np.round(Z)).mean(-1)),
    "binary": ("BinaryAccuracy", {}, BITS, sigmoid(Z), ((sigmoid(Z) > 0.5) == BITS).mean(-1)),
    "binary_threshold": ("BinaryAccuracy", {"threshold": 0.8}, BITS, sigmoid(Z),
                         ((sigmoid(Z) > 0.8) == BITS).mean(-1)),
    "categorical": ("CategoricalAccuracy", {}, one_hot(CLASSES, C), Z, HITS),
    "categorical_soft": ("CategoricalAccuracy", {}, SOFT, Z,
                         (SOFT.argmax(-1) == Z.argmax(-1)).astype(float)),
    "sparse": ("SparseCategoricalAccuracy", {}, CLASSES, Z, HITS),
    "rmse": ("RootMeanSquaredError", {}, TARGETS, Z, ((Z - TARGETS) ** 2).mean(-1)),
}
PARTS = (slice(0, 10), slice(10, 11), slice(11, N))


def metric_value(name, weights):
    """With weights a sample whose class is ignored doesn't count; without it counts as 0."""
    values = -METRICS[name][4] if name == "cosine" else METRICS[name][4]
    if weights is not None and name in CASES:
        weights = weights * counted(name)
    result = np.average(values, weights=weights)
    return math.sqrt(result) if name == "rmse" else result


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_metrics(name, weights):
    cls, arguments, y_true, y_pred, _ = METRICS[name]
    metric = getattr(metrics, cls)(dtype="float64", **arguments)
    assert metric.result() == 0.0
    assert metric.in_plan
    for part in PARTS:
        metric.update_state(y_true[part], y_pred[part], None if weights is None else weights[part])
    result = metric.result()
    assert type(result) is float
    assert result == pytest.approx(metric_value(name, weights), rel=1e-11)
    metric.reset_state()
    assert metric.result() == 0.0
    assert metric(y_true, y_pred, weights) == pytest.approx(result, rel=1e-11)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_metrics_like_keras(name, weights):
    keras = keras_peer.load()
    cls, arguments, y_true, y_pred, _ = METRICS[name]
    ours, theirs = getattr(metrics, cls)(**arguments), getattr(keras.metrics, cls)(**arguments)
    assert ours.name == theirs.name
    assert ours.direction == theirs._direction
    y_pred = y_pred.astype("float32")
    for part in PARTS:
        weight = None if weights is None else weights[part]
        ours.update_state(y_true[part], y_pred[part], weight)
        theirs.update_state(y_true[part], y_pred[part], weight)
    assert ours.result() == pytest.approx(float(theirs.result()), rel=2e-5)


@pytest.mark.parametrize("cls", ["Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "Mean",
                                 "SparseCategoricalAccuracy", "RootMeanSquaredError"])
def test_metric_signatures_like_keras(cls):
    keras = keras_peer.load()
    ours = inspect.signature(getattr(metrics, cls)).parameters
    theirs = inspect.signature(getattr(keras.metrics, cls)).parameters
    assert list(ours) == list(theirs)
    assert [p.default for p in ours.values()] == [p.default for p in theirs.values()]


@pytest.mark.parametrize("shape", [(), (6,), (6, 2), (3, 2, 4)])
def test_mean_like_keras(shape):
    keras = keras_peer.load()
    values = rng().normal(size=shape)
    for weights in (None, 2.0, *(rng().uniform(size=shape[:k]) for k in range(1, len(shape) + 1))):
        ours, theirs = metrics.Mean(), keras.metrics.Mean()
        assert ours(values, weights) == pytest.approx(float(theirs(values, weights)), rel=1e-5)


def test_mean():
    mean = metrics.Mean()
    assert mean([1.0, 2.0, 6.0]) == 3.0
    assert mean([[3.0, 5.0]], [2.0]) == pytest.approx((9 + 8) / 5)
    assert mean(7.0) == pytest.approx(24 / 6)


def test_first_of_equal_scores_counts():
    assert metrics.SparseCategoricalAccuracy()([0, 1], [[0.5, 0.5], [0.5, 0.5]]) == 0.5
    assert metrics.BinaryAccuracy()([[0], [1]], [[0.5], [0.5]]) == 0.5


# -- in a plan -------------------------------------------------------------------------------------


def run(item, y_true, y_pred, weights, dtype, batch=10, is_metric=False):
    """Sum and count that a plan's run over all samples adds up, batch by batch."""
    builder = Builder(batch, dtype)
    prediction = builder.input(y_pred.shape[1])
    kind, y_true = item.labels, np.asarray(y_true)
    whole = kind in ("classes", "groups")
    labels = (builder.input(1, "y", "labels", "int64") if whole
              else builder.input(y_true.shape[1], "t", "labels"))
    if kind == "signs":
        y_true = losses.functions.as_signs(y_true)
    weight = None if weights is None else builder.input(1, "w", "weight")
    data = [y_pred.astype(dtype), y_true.astype("int64" if whole else dtype)]
    if weights is not None:
        data.append(weights.astype(dtype))
    if is_metric:
        item.lower(builder, prediction, labels, weight)
    else:
        item.lower(builder, prediction, labels, weight, gradient=False)
    plan = builder.finish((prediction,))
    executor = backends.executor(plan, np.zeros(0, dtype))
    steps = -(-len(y_pred) // batch)
    data = tuple(np.ascontiguousarray(array) for array in data)
    assert executor.run(data, np.arange(len(y_pred)), batch, 0, steps, np.zeros(steps), 0,
                        60.0) == steps
    if is_metric:
        item.load(executor.totals, y_pred.shape[1])
        return item.result()
    ((total, count),) = executor.totals.tolist()
    return total, count


@pytest.mark.parametrize("case", [c for c in ALL if "ignore" not in c and c != "circle"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_loss_in_a_plan(backend, case, dtype, weights):
    cls, arguments, y_true, y_pred, _ = ALL[case]
    total, count = run(getattr(losses, cls)(**arguments), y_true, y_pred, weights, dtype)
    assert total / count == pytest.approx(reduced(case, weights, "mean"), rel=DTYPES[dtype])


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_metric_in_a_plan(backend, name, dtype, weights):
    cls, arguments, y_true, y_pred, _ = METRICS[name]
    metric = getattr(metrics, cls)(**arguments)
    if weights is not None and "ignore" in name:
        builder = Builder(4)
        with pytest.raises(ValueError, match="`ignore_class`"):
            metric.lower(builder, builder.input(C), builder.input(1), builder.input(1))
        return
    found = run(metric, y_true, y_pred, weights, dtype, is_metric=True)
    assert found == pytest.approx(metric_value(name, weights), rel=DTYPES[dtype])


def test_sum_in_a_plan(backend):
    """As Keras reports it: the mean over batches of each batch's sum, weighted by rows."""
    _, _, y_true, y_pred, values = CASES["mse"]
    total, count = run(losses.MeanSquaredError(reduction="sum"), y_true, y_pred, None, "float64")
    batches = [values[:10], values[10:20], values[20:]]
    expected = sum(b.sum() * b.size for b in batches) / N
    assert total / count == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("reduction", ["none", None])
def test_reductions_that_a_plan_has_not(reduction):
    builder = Builder(4)
    x = builder.input(3)
    with pytest.raises(ValueError, match=r"`reduction`.*in training"):
        losses.MeanSquaredError(reduction=reduction).lower(builder, x, builder.input(3))


def test_axis_in_a_plan():
    builder = Builder(4)
    x, t = builder.input(3), builder.input(3)
    losses.CategoricalCrossentropy(axis=1).lower(builder, x, t)
    with pytest.raises(ValueError, match=r"`axis`.*Received: axis=0"):
        losses.CategoricalCrossentropy(axis=0).lower(builder, x, t)


def test_epsilon_in_a_plan(backend):
    config.set_epsilon(1e-2)
    try:
        total, _ = run(losses.SparseCategoricalCrossentropy(), [0], np.array([[0.0, 1.0]]), None,
                       "float64")
        metric = run(metrics.BinaryCrossentropy(), [[1.0]], np.array([[0.0]]), None, "float64",
                     is_metric=True)
    finally:
        config.set_epsilon(1e-7)
    assert total == pytest.approx(-math.log(1e-2))
    assert metric == pytest.approx(-math.log(1e-2))
