"""Every loss and metric in models: gradients, backends, threads, Keras's numbers, bad targets."""

from __future__ import annotations

import inspect
import warnings

import keras_peer
import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import losses, metrics

ROWS, COLUMNS, OUT = 24, 5, 4


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


X = draw(0, ROWS, COLUMNS)
WEIGHTS = np.random.default_rng(1).uniform(0.2, 2.0, ROWS)
NUMBERS = draw(2, ROWS, OUT)
BITS = (draw(3, ROWS, OUT) > 0).astype(float)
CLASSES = np.random.default_rng(4).integers(0, OUT, ROWS)
ONE_HOT = np.eye(OUT)[CLASSES]

CASES = {  # loss, activation of the output, targets
    "mse": (losses.MeanSquaredError, {}, "linear", NUMBERS),
    "mae": (losses.MeanAbsoluteError, {}, "linear", NUMBERS),
    "mape": (losses.MeanAbsolutePercentageError, {}, "linear", NUMBERS),
    "msle": (losses.MeanSquaredLogarithmicError, {}, "softplus", abs(NUMBERS)),
    "log_cosh": (losses.LogCosh, {}, "linear", NUMBERS),
    "huber": (losses.Huber, {"delta": 2.0}, "linear", NUMBERS),
    "quantile": (losses.Quantile, {"quantile": 0.9}, "linear", NUMBERS),
    "poisson": (losses.Poisson, {}, "softplus", abs(NUMBERS)),
    "cosine": (losses.CosineSimilarity, {}, "tanh", NUMBERS),
    "gaussian": (losses.GaussianNegativeLogLikelihood, {}, "linear", NUMBERS[:, :2]),
    "hinge": (losses.Hinge, {}, "linear", BITS),
    "squared_hinge": (losses.SquaredHinge, {}, "linear", 2 * BITS - 1),
    "categorical_hinge": (losses.CategoricalHinge, {}, "linear", ONE_HOT),
    "perceptron": (losses.Perceptron, {}, "linear", BITS),
    "kld": (losses.KLDivergence, {}, "softmax", ONE_HOT * 0.7 + 0.075),
    "bce": (losses.BinaryCrossentropy, {"label_smoothing": 0.1}, "sigmoid", BITS),
    "focal": (losses.BinaryFocalCrossentropy, {"gamma": 1.5, "apply_class_balancing": True},
              "sigmoid", BITS),
    "focal_logits": (losses.BinaryFocalCrossentropy, {"from_logits": True}, "linear", BITS),
    "focal_unfused": (losses.BinaryFocalCrossentropy, {}, "hard_sigmoid", BITS),
    "cce": (losses.CategoricalCrossentropy, {}, "softmax", ONE_HOT),
    "scce": (losses.SparseCategoricalCrossentropy, {"ignore_class": 1}, "softmax", CLASSES),
    "categorical_focal": (losses.CategoricalFocalCrossentropy, {"gamma": 1.5}, "softmax", ONE_HOT),
    "categorical_focal_logits": (losses.CategoricalFocalCrossentropy, {"from_logits": True},
                                 "linear", ONE_HOT),
    "categorical_focal_unfused": (losses.CategoricalFocalCrossentropy, {}, "softplus", ONE_HOT),
    "generalized": (losses.CategoricalGeneralizedCrossEntropy, {}, "softmax", CLASSES),
    "generalized_unfused": (losses.CategoricalGeneralizedCrossEntropy, {"q": 0.8}, "sigmoid",
                            CLASSES),
    "dice": (losses.Dice, {}, "sigmoid", BITS),
    "dice_columns": (losses.Dice, {"axis": 0}, "sigmoid", BITS),
    "dice_rows": (losses.Dice, {"axis": -1}, "sigmoid", BITS),
    "tversky": (losses.Tversky, {"alpha": 0.3, "beta": 0.8}, "sigmoid", BITS),
    "tversky_rows": (losses.Tversky, {"axis": 1}, "softmax", ONE_HOT),
    "circle": (losses.Circle, {"gamma": 2.0, "margin": 0.3}, "tanh", CLASSES * 100 - 7),
}
REDUCTIONS = ("sum_over_batch_size", "sum", "mean_with_sample_weight")


def reductions_of(case):
    """What a plan has for the loss, with and without sample weights."""
    cls, arguments, *_ = CASES[case]
    for reduction in REDUCTIONS:
        for weighted in (False, True):
            whole = cls in (losses.Dice, losses.Tversky) and arguments.get("axis") not in (-1, 1)
            if weighted and arguments.get("axis") == 0:
                continue
            if weighted and reduction == "mean_with_sample_weight" and (
                    whole or cls is losses.Circle):
                continue
            yield reduction, weighted


def model_for(case, reduction="sum_over_batch_size", optimizer=None, dtype="float64", seed=5,
              **compiled):
    cls, arguments, activation, _ = CASES[case]
    fm.utils.set_random_seed(seed)
    model = fm.Sequential([
        fm.Input((COLUMNS,), dtype=dtype),
        fm.layers.Dense(6, activation="tanh"),
        fm.layers.Dense(OUT, activation=activation),
    ])
    model.compile(optimizer or fm.optimizers.SGD(0.05), cls(reduction=reduction, **arguments),
                  **compiled)
    return model


# -- gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_a_step_follows_the_finite_differences_of_the_loss(backend, case):
    y, x, w = CASES[case][3][:9], X[:9], WEIGHTS[:9]
    for reduction, weighted in reductions_of(case):
        weights = {"sample_weight": w} if weighted else {}
        model = model_for(case, reduction, fm.optimizers.SGD(1.0))
        before = model.get_weights()
        told = model.train_on_batch(x, y, **weights)
        steps = [old - new for old, new in zip(before, model.get_weights(), strict=True)]
        model.set_weights(before)
        assert told == pytest.approx(model.test_on_batch(x, y, **weights), rel=1e-12)
        h = 1e-5
        for number, old in enumerate(before):
            for index in list(np.ndindex(old.shape))[::3]:
                ends = []
                for sign in (1.0, -1.0):
                    moved = [a.copy() for a in before]
                    moved[number][index] += sign * h
                    model.set_weights(moved)
                    ends.append(model.test_on_batch(x, y, **weights))
                slope = (ends[0] - ends[1]) / (2 * h)
                assert abs(steps[number][index] - slope) < 2e-6 * (1 + abs(slope))


@pytest.mark.parametrize("case", CASES)
def test_the_loss_of_a_batch_is_that_of_the_object(backend, case):
    cls, arguments, _, y = CASES[case]
    for reduction, weighted in reductions_of(case):
        w = WEIGHTS if weighted else None
        model = model_for(case, reduction)
        alone = cls(reduction=reduction, dtype="float64", **arguments)
        expected = alone(y, model.predict(X), w)
        assert model.test_on_batch(X, y, w) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_evaluate_gives_keras_s_mean_over_batches(backend, case):
    """Of batches of the size asked for where the loss depends on it."""
    y = CASES[case][3]
    model = model_for(case)
    parts = [slice(0, 10), slice(10, 20), slice(20, 24)]
    sizes = np.array([10, 10, 4])
    told = [model.test_on_batch(X[part], y[part]) for part in parts]
    found = model.evaluate(X, y, batch_size=10)
    if case == "scce":  # a mean over what is not ignored, block by block
        return
    assert found == pytest.approx(np.average(told, weights=sizes), rel=1e-9)


# -- backends and threads --------------------------------------------------------------------------


def trained(case, dtype="float64", epochs=4, batch_size=7):
    model = model_for(case, optimizer=fm.optimizers.Adam(0.02), dtype=dtype)
    history = model.fit(X, CASES[case][3], batch_size=batch_size, epochs=epochs, verbose=0)
    return history.history["loss"], model.get_weights()


@pytest.fixture
def in_use(other):
    """A backend with threads, chosen for the whole library."""
    before = fm.config.backend()
    fm.config.set_backend(other.name)
    yield other
    fm.config.set_backend(before)


@pytest.fixture(scope="module")
def by_the_oracle():
    """Training runs of the NumPy backend, made once."""
    before, runs = fm.config.backend(), {}
    fm.config.set_backend("numpy")
    try:
        for case in CASES:
            runs[case] = trained(case)
    finally:
        fm.config.set_backend(before)
    return runs


@pytest.mark.parametrize("case", CASES)
def test_training_agrees_between_backends(backend, by_the_oracle, case):
    told, weights = trained(case)
    expected, wanted = by_the_oracle[case]
    np.testing.assert_allclose(told, expected, rtol=1e-8)
    for a, b in zip(weights, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)
    assert told[-1] < told[0]


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_for_any_number_of_threads(in_use, use_threads, case):
    runs = []
    for count in (1, 2):
        use_threads(count)
        runs.append(trained(case, "float32", 2))
    assert runs[0][0] == runs[1][0]
    for a, b in zip(runs[0][1], runs[1][1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("loss", ["huber", "kld", "logcosh", "pinball", "gaussian_nll", "circle",
                                  "categorical_generalized_cross_entropy"])
def test_names_in_compile(backend, loss):
    model = fm.Sequential([fm.Input((COLUMNS,)), fm.layers.Dense(OUT, activation="softmax")])
    model.compile("sgd", loss)
    y = {"gaussian_nll": NUMBERS[:, :2], "kld": ONE_HOT, "circle": CLASSES,
         "categorical_generalized_cross_entropy": CLASSES}.get(loss, NUMBERS)
    assert np.isfinite(model.fit(X, y, epochs=1, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("size", [1e4, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("activation", "loss", "y"), [
    ("sigmoid", "binary_crossentropy", [[0.0, 1.0]]),
    ("sigmoid", "binary_focal_crossentropy", [[0.0, 1.0]]),
    ("softmax", "categorical_crossentropy", [[0.0, 1.0]]),
    ("softmax", "sparse_categorical_crossentropy", [1]),
    ("softmax", "categorical_focal_crossentropy", [[0.0, 1.0]]),
    ("softmax", "categorical_generalized_cross_entropy", [1]),
    ("softmax", "kl_divergence", [[0.0, 1.0]]),
])
def test_huge_logits_train(backend, activation, loss, y, dtype, size):
    model = fm.Sequential([
        fm.Input((1,), dtype=dtype), fm.layers.Dense(2, activation=activation)])
    for kernel in ([[size, -size]], [[-size, size]]):
        model.compile(fm.optimizers.SGD(1e-3), loss)
        model.set_weights([np.array(kernel), np.zeros(2)])
        assert np.isfinite(model.train_on_batch(np.ones((1, 1)), np.array(y)))
        assert all(np.isfinite(w).all() for w in model.get_weights())


# -- metrics ---------------------------------------------------------------------------------------

PROBABILITIES = {  # metrics of outputs from 0 to 1 and targets 0 and 1
    "precision": (metrics.Precision, {}),
    "precision_thresholds": (metrics.Precision, {"thresholds": [0.7, 0.3, 0.5]}),
    "precision_top_k": (metrics.Precision, {"top_k": 2}),
    "precision_class": (metrics.Precision, {"class_id": 1}),
    "recall": (metrics.Recall, {"thresholds": 0.4}),
    "tp": (metrics.TruePositives, {}),
    "tn": (metrics.TrueNegatives, {"thresholds": [0.2, 0.5]}),
    "fp": (metrics.FalsePositives, {}),
    "fn": (metrics.FalseNegatives, {}),
    "auc": (metrics.AUC, {}),
    "auc_pr": (metrics.AUC, {"curve": "PR", "num_thresholds": 51}),
    "auc_prgain": (metrics.AUC, {"curve": "PRGAIN", "num_thresholds": 20}),
    "auc_minoring": (metrics.AUC, {"summation_method": "minoring"}),
    "auc_majoring": (metrics.AUC, {"curve": "PR", "summation_method": "majoring"}),
    "auc_thresholds": (metrics.AUC, {"thresholds": [0.1, 0.35, 0.7]}),
    "auc_labels": (metrics.AUC, {"multi_label": True}),
    "auc_label_weights": (metrics.AUC, {"multi_label": True, "num_labels": OUT,
                                        "label_weights": [1.0, 0.0, 2.0, 0.5]}),
    "auc_weighted_columns": (metrics.AUC, {"label_weights": [1.0, 0.0, 2.0, 0.5]}),
    "sensitivity": (metrics.SensitivityAtSpecificity, {"specificity": 0.4}),
    "specificity": (metrics.SpecificityAtSensitivity, {"sensitivity": 0.6, "num_thresholds": 7}),
    "precision_at_recall": (metrics.PrecisionAtRecall, {"recall": 0.5, "num_thresholds": 1}),
    "recall_at_precision": (metrics.RecallAtPrecision, {"precision": 0.5, "class_id": 2}),
    "fbeta": (metrics.FBetaScore, {"beta": 2.0, "threshold": 0.5}),
    "fbeta_largest": (metrics.FBetaScore, {"average": "weighted"}),
    "f1": (metrics.F1Score, {"average": "macro", "threshold": 0.4}),
    "f1_micro": (metrics.F1Score, {"average": "micro"}),
    "binary_iou": (metrics.BinaryIoU, {"threshold": 0.4}),
    "one_hot_iou": (metrics.OneHotIoU, {"num_classes": OUT, "target_class_ids": [0, 2]}),
    "one_hot_mean_iou": (metrics.OneHotMeanIoU, {"num_classes": OUT, "ignore_class": 1,
                                                 "dtype": "float32"}),
    "r2": (metrics.R2Score, {}),
    "r2_columns": (metrics.R2Score, {"class_aggregation": None}),
    "r2_adjusted": (metrics.R2Score, {"class_aggregation": "variance_weighted_average",
                                      "num_regressors": 3}),
    "accuracy": (metrics.BinaryAccuracy, {"threshold": 0.3}),
    "top_k": (metrics.TopKCategoricalAccuracy, {"k": 2}),
    "pearson": (metrics.PearsonCorrelation, {}),
    "concordance": (metrics.ConcordanceCorrelation, {}),
    "cosine": (metrics.CosineSimilarity, {}),
    "poisson": (metrics.Poisson, {}),
    "hinge": (metrics.Hinge, {}),
    "log_cosh": (metrics.LogCoshError, {}),
    "rmse": (metrics.RootMeanSquaredError, {}),
}


def metric_model(chosen, dtype="float64", **compiled):
    fm.utils.set_random_seed(7)
    model = fm.Sequential([fm.Input((COLUMNS,), dtype=dtype),
                           fm.layers.Dense(OUT, activation="sigmoid")])
    model.compile(fm.optimizers.SGD(0.1), "mse", **{key: [cls(**arguments) for cls, arguments
                                                          in chosen] for key in compiled})
    return model


@pytest.mark.parametrize("name", PROBABILITIES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_metrics_of_evaluate(backend, name, weighted):
    """In the epoch and alone, the same."""
    cls, arguments = PROBABILITIES[name]
    argument = "weighted_metrics" if weighted else "metrics"
    model = metric_model([(cls, arguments)], **{argument: True})
    w = WEIGHTS if weighted else None
    assert model.metrics[0].in_plan
    found = model.evaluate(X, BITS, batch_size=7, sample_weight=w)[1]
    alone = cls(**{"dtype": "float64", **arguments} if "iou" not in name else arguments)
    for part in (slice(0, 11), slice(11, None)):
        alone.update_state(BITS[part], model.predict(X[part]), None if w is None else w[part])
    np.testing.assert_allclose(found, alone.result(), rtol=1e-6 if "iou" in name else 1e-9)
    assert np.shape(found) == np.shape(alone.result())
    np.testing.assert_array_equal(model.metrics[0].result(), found)
    again = fm.metrics.deserialize(fm.metrics.serialize(alone))
    assert again.get_config() == alone.get_config()
    alone.reset_state()
    assert np.all(np.nan_to_num(alone.result()) == 0.0)


@pytest.mark.parametrize("name", PROBABILITIES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_metrics_like_keras(name, weighted):
    keras = keras_peer.load()
    cls, arguments = PROBABILITIES[name]
    ours, theirs = cls(**arguments), getattr(keras.metrics, cls.__name__)(**arguments)
    if cls not in (metrics.Precision, metrics.AUC, metrics.Recall):
        assert ours.name.rstrip("_0123456789") == theirs.name.rstrip("_0123456789")
    assert ours.direction == getattr(theirs, "_direction", None)
    p = 1 / (1 + np.exp(-draw(9, ROWS, OUT))).astype("float32")
    for part in (slice(0, 12), slice(12, None)):  # JAX compiles for each number of rows
        w = None
        if weighted:
            w = np.round(WEIGHTS[part] * 2) if "iou" in name else WEIGHTS[part]
        ours.update_state(BITS[part], p[part], w)
        if weighted and name == "binary_iou":  # Keras takes a weight for each element of these
            w = np.repeat(w, OUT).reshape(-1, OUT)
        theirs.update_state(BITS[part].astype("float32"), p[part],
                            None if w is None else w.astype("int32" if "iou" in name and
                                                             "dtype" not in arguments
                                                             else "float32"))
    np.testing.assert_allclose(np.asarray(ours.result()), np.asarray(theirs.result()), rtol=3e-5,
                               atol=1e-6)


@pytest.mark.parametrize(("cls", "arguments"), [
    (metrics.MeanIoU, {"num_classes": OUT, "sparse_y_pred": False}),
    (metrics.IoU, {"num_classes": OUT, "target_class_ids": [0, 1, 2, 3], "sparse_y_pred": False,
                   "ignore_class": 3}),
])
def test_iou_of_classes_beside_scores(backend, cls, arguments):
    fm.utils.set_random_seed(7)
    model = fm.Sequential([fm.Input((COLUMNS,)), fm.layers.Dense(OUT, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[cls(**arguments)])
    found = model.evaluate(X, CLASSES)[1]
    assert found == pytest.approx(cls(**arguments)(CLASSES, model.predict(X)), rel=1e-12)
    assert 0.0 < found < 1.0


def test_accuracy_of_equal_numbers(backend):
    model = fm.Sequential([fm.Input((OUT,)), fm.layers.Dense(
        OUT, kernel_initializer="ones", activation="binary_step")])
    model.compile("sgd", "mse", metrics=[metrics.Accuracy()])
    found = model.evaluate(NUMBERS, BITS)[1]
    assert found == pytest.approx((model.predict(NUMBERS) == BITS).mean(), rel=1e-6)


def test_every_metric_of_keras_is_tested():
    tested = {cls for cls, _ in PROBABILITIES.values()} | {
        metrics.MeanIoU, metrics.IoU, metrics.Accuracy, metrics.CategoricalAccuracy,
        metrics.SparseCategoricalAccuracy, metrics.SparseTopKCategoricalAccuracy, metrics.Mean,
        metrics.Sum, metrics.MeanMetricWrapper, metrics.LossMetric}
    here = {getattr(metrics, name) for name in metrics.__all__}
    left = {cls for cls in here - tested if inspect.isclass(cls)
            and issubclass(cls, metrics.Metric) and cls is not metrics.Metric}
    assert all(issubclass(cls, metrics.LossMetric) for cls in left)  # see test_losses_metrics.py


def test_totals_are_the_same_bits_for_any_number_of_threads(in_use, use_threads):
    model = metric_model(PROBABILITIES.values(), "float32", metrics=True)
    runs = []
    for count in (1, 2):
        use_threads(count)
        runs.append(model.evaluate(X, BITS, batch_size=8))
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_metrics_of_several_sums_in_fit(backend):
    """Beside others, in training and validation, by Keras's names."""
    model = metric_model([(metrics.AUC, {}), (metrics.F1Score, {}), (metrics.Precision, {}),
                          (metrics.MeanAbsoluteError, {})], metrics=True)
    history = model.fit(X, BITS, epochs=3, validation_split=0.25, verbose=0).history
    assert set(history) == {
        "auc", "f1_score", "loss", "mean_absolute_error", "precision", "val_auc", "val_f1_score",
        "val_loss", "val_mean_absolute_error", "val_precision"}
    assert np.shape(history["f1_score"]) == (3, OUT)
    p, held = model.predict(X[18:]), BITS[18:]
    assert history["val_auc"][-1] == pytest.approx(metrics.AUC(dtype="float64")(held, p))
    assert history["val_precision"][-1] == pytest.approx(metrics.Precision()(held, p))


def test_variables_of_an_own_metric():
    class Largest(metrics.Metric):
        def __init__(self, name="largest"):
            super().__init__(name=name)
            self.best = self.add_weight(shape=(2,), initializer="ones", name="best")
            self.seen = self.add_variable((), name="seen")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.best.assign(np.maximum(self.best, np.max(y_pred, axis=0)))
            self.seen.assign_add(len(y_pred))

        def result(self):
            return self.best / self.seen

    metric = Largest()
    assert [v.name for v in metric.variables] == ["best", "seen"]
    assert metric.best.numpy().tolist() == [1.0, 1.0]
    metric.update_state(None, np.array([[4.0, 0.0], [2.0, 3.0]]))
    assert metric.result().tolist() == [2.0, 1.5]
    metric.seen.assign_sub(1.0)
    assert metric.result().tolist() == [4.0, 3.0]
    assert float(metric.seen) == 1.0
    assert metric.best[0] == 4.0
    metric.reset_state()
    assert metric.best.numpy().tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"'best' must have shape \(2,\)"):
        metric.best.assign([1.0, 2.0, 3.0])


# -- targets and arguments -------------------------------------------------------------------------


def compiled(loss, activation="linear", out=OUT, **more):
    model = fm.Sequential([fm.Input((COLUMNS,)), fm.layers.Dense(out, activation=activation)])
    model.compile("sgd", loss, **more)
    return model


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: compiled("hubber"), ValueError, "`loss` of `compile`.*'huber'"),
    (lambda: compiled("mse", metrics=["precison"]), ValueError,
     "`metrics` of `compile`.*'precision'"),
    (lambda: compiled("mse", weighted_metrics=["ruc"]), ValueError, "`weighted_metrics` of `comp"),
    (lambda: compiled("mse", metrics=["bce"]).fit(X, NUMBERS, verbose=0), ValueError,
     "from 0 to 1 for metric 'bce'"),
    (lambda: compiled("mse", metrics=[metrics.KLDivergence()]).evaluate(X, NUMBERS), ValueError,
     "from 0 to 1 for metric 'kl_divergence'"),
    (lambda: compiled("dice", "sigmoid").fit(X, NUMBERS, verbose=0), ValueError,
     "from 0 to 1 for loss 'dice'"),
    (lambda: compiled("poisson").fit(X, NUMBERS[:, :2], verbose=0), ValueError,
     r"shape \(rows, 4\).*loss 'poisson'"),
    (lambda: compiled("gaussian_nll").fit(X, NUMBERS, verbose=0), ValueError,
     r"shape \(rows, 2\), half of the prediction"),
    (lambda: compiled("gaussian_nll", out=3).fit(X, NUMBERS, verbose=0), ValueError,
     "even number of columns"),
    (lambda: compiled("circle").fit(X, NUMBERS[:, 0], verbose=0), ValueError, "whole numbers"),
    (lambda: compiled(losses.Dice(axis=0)).fit(X, BITS, sample_weight=WEIGHTS, verbose=0),
     ValueError, "`sample_weight` must be None.*axis=0"),
    (lambda: compiled(losses.Dice(axis=3)).fit(X, BITS, verbose=0), ValueError, "`axis` of Dice"),
    (lambda: compiled(losses.CategoricalFocalCrossentropy(alpha=[1, 2, 3, 4])).fit(
        X, ONE_HOT, verbose=0), ValueError, "`alpha`.*class_weight"),
    (lambda: compiled(losses.Circle(reduction="mean_with_sample_weight")).fit(
        X, CLASSES, sample_weight=WEIGHTS, verbose=0), ValueError, "`reduction` of Circle"),
    (lambda: compiled("mse", metrics=[metrics.Precision(class_id=9)]).fit(X, BITS, verbose=0),
     ValueError, "`class_id`.*below 4"),
    (lambda: compiled("mse", metrics=[metrics.AUC(label_weights=[1.0])]).fit(X, BITS, verbose=0),
     ValueError, "`label_weights`.*4 weights"),
])
def test_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_signs_are_taken_where_targets_are_bits(backend):
    """Beside a metric that wants the bits."""
    model = compiled("hinge", metrics=[metrics.BinaryAccuracy(threshold=0.0)])
    signs = model.evaluate(X, 2 * BITS - 1)[0]
    loss, accuracy = model.evaluate(X, BITS)
    assert loss == signs
    assert accuracy == pytest.approx(((model.predict(X) > 0) == BITS).mean())


# -- Keras -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [case for case, (cls, *_) in CASES.items() if cls not in (
    losses.Quantile, losses.Perceptron, losses.GaussianNegativeLogLikelihood)])
def test_training_like_keras(case):
    """The same losses of the epochs and the same weights, without and with sample weights."""
    keras = keras_peer.load()
    cls, arguments, activation, y = CASES[case]
    # The gradient of a percentage is 100 / |target|: steps of 0.05 leave the loss 8 times larger
    # after 9 steps, and roundings, ours as Keras's, 1000 times.
    rate = 1e-3 if cls is losses.MeanAbsolutePercentageError else 0.05
    theirs = keras.Sequential([
        keras.Input((COLUMNS,)), keras.layers.Dense(6, activation="tanh"),
        keras.layers.Dense(OUT, activation=activation)])
    theirs.compile(keras.optimizers.SGD(rate), getattr(keras.losses, cls.__name__)(**arguments))
    x, target = X.astype("float32"), y if y.ndim == 1 else y.astype("float32")
    takes_weights = arguments.get("axis") != 0 and cls is not losses.Circle
    for weighted in (False, True) if takes_weights else (False,):
        w = WEIGHTS.astype("float32") if weighted else None
        ours = model_for(case, optimizer=fm.optimizers.SGD(rate), dtype="float32")
        theirs.set_weights(ours.get_weights())
        # Weights of 1 are none, and Keras does not compile twice for them.
        expected = theirs.fit(
            x, target, sample_weight=np.ones_like(WEIGHTS, "float32") if takes_weights and
            w is None else w, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"]
        found = ours.fit(X, y, sample_weight=w, batch_size=8, epochs=3, shuffle=False,
                         verbose=0).history["loss"]
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)


def test_logs_like_keras():
    """Names and numbers of all metrics at once."""
    keras = keras_peer.load()
    chosen = [(cls, arguments) for name, (cls, arguments) in PROBABILITIES.items()
              if "iou" not in name]
    if keras.backend.backend() == "jax":  # it cannot trace `if self.num_regressors > ...`
        chosen = [pair for pair in chosen if "num_regressors" not in pair[1]]
    ours = metric_model(chosen, "float32", metrics=True)
    keras.utils.clear_session()  # which numbers names from 0 again
    theirs = keras.Sequential([keras.Input((COLUMNS,)),
                               keras.layers.Dense(OUT, activation="sigmoid")])
    theirs.set_weights(ours.get_weights())
    theirs.compile("sgd", "mse", metrics=[
        getattr(keras.metrics, cls.__name__)(**arguments) for cls, arguments in chosen])
    found = ours.evaluate(X, BITS, batch_size=8, verbose=0, return_dict=True)
    expected = theirs.evaluate(X.astype("float32"), BITS.astype("float32"), batch_size=8, verbose=0,
                               return_dict=True)
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], np.asarray(value), rtol=1e-4, atol=1e-6,
                                   err_msg=name)


# -- Python in place of kernels --------------------------------------------------------------------


def test_what_a_subclass_overrides_is_used(backend):
    """A plan's operation computes what the class of the library does, not what a subclass does."""
    class Halved(losses.MeanSquaredError):
        def call(self, y_true, y_pred):
            return super().call(y_true, y_pred) / 2

    class Strict(metrics.BinaryAccuracy):
        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(y_true, np.round(y_pred, 1), sample_weight)

    class Doubled(metrics.AUC):
        def result(self):
            return 2 * super().result()

    model = metric_model([], metrics=True)
    model.compile("sgd", Halved(), metrics=[Strict(name="strict"), Doubled(name="doubled"),
                                            metrics.AUC(name="auc"), "mse"])
    logs = model.evaluate(X, BITS, return_dict=True)
    p = model.predict(X)
    assert logs["loss"] == pytest.approx(logs["mse"] / 2)
    assert logs["strict"] == pytest.approx(((np.round(p, 1) > 0.5) == BITS).mean())
    assert logs["doubled"] == 2 * logs["auc"]
    assert np.isfinite(model.fit(X, BITS, epochs=1, verbose=0).history["loss"]).all()


def test_correlations_along_the_batch(backend):
    """Keras's argument `axis`: what no kernel does is done in Python."""
    model = metric_model([(metrics.PearsonCorrelation, {"axis": 0})], metrics=True)
    assert not model.metrics[0].in_plan
    found = model.evaluate(X, BITS, batch_size=ROWS)[1]
    expected = [np.corrcoef(BITS[:, j], model.predict(X)[:, j])[0, 1] for j in range(OUT)]
    assert found == pytest.approx(np.mean(expected), rel=1e-6)


# -- scikit-learn's interface ----------------------------------------------------------------------


def test_signs_of_estimators():
    sklearn = pytest.importorskip("fusedmlp.sklearn")
    estimator = sklearn.MLPClassifier(loss="hinge", hidden_layer_sizes=(8,), max_iter=60,
                                      output_activation="identity", random_state=1,
                                      learning_rate_init=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it could go on
        estimator.fit(X, X[:, 0] > 0)
    assert (estimator.predict(X) == (X[:, 0] > 0)).mean() > 0.9
    with pytest.raises(ValueError, match="'loss'"):
        sklearn.MLPRegressor(loss="circle").fit(X, NUMBERS)
