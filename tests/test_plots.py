"""The pictures of fusedmlp.diagnostics: drawn without a display, with what belongs into them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import diagnostics

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")


@pytest.fixture
def ax():
    figure = matplotlib.figure.Figure()
    axes = figure.add_subplot()
    yield axes
    figure.canvas.draw()  # what was drawn can be rendered


@pytest.fixture(autouse=True)
def _closed():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture(scope="module")
def trained():
    fm.utils.set_random_seed(2)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(16, "tanh", name="a"),
                           fm.layers.Dense(8, "relu", name="b"),
                           fm.layers.Dense(1, "sigmoid", name="c")])
    model.compile(fm.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    flow = diagnostics.GradientFlow(2)
    history = model.fit(x, y, epochs=4, validation_split=0.2, validation_freq=2, verbose=0,
                        callbacks=[flow])
    return model, x, y, history, flow


def test_history(trained, ax):
    history = trained[3]
    assert diagnostics.plot_history(history, ax=ax) is ax
    labels = [line.get_label() for line in ax.lines]
    assert labels == ["loss", "val_loss", "accuracy", "val_accuracy"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), history.history["loss"])
    assert ax.lines[1].get_xdata().tolist() == [2, 4]
    assert ax.lines[1].get_color() == ax.lines[0].get_color()


def test_history_of_chosen_metrics(trained):
    axes = diagnostics.plot_history(trained[3].history, "accuracy")
    assert [line.get_label() for line in axes.lines] == ["accuracy", "val_accuracy"]
    with pytest.raises(ValueError, match="accuracy"):
        diagnostics.plot_history(trained[3], "acuracy")
    for nothing in ({}, {"loss": []}):
        with pytest.raises(ValueError, match="`history`"):
            diagnostics.plot_history(nothing)
    for other in (None, 3, trained[0].loss):
        with pytest.raises(TypeError, match="`history` must be what `fit` returned"):
            diagnostics.plot_history(other)


def test_history_of_one_epoch_can_be_seen():
    axes = diagnostics.plot_history({"loss": [0.5], "val_loss": [0.6]})
    assert [line.get_marker() for line in axes.lines] == ["o", "o"]


@pytest.mark.parametrize(("kind", "labels", "scale"), [
    ("gradient_norm", ["a.kernel", "b.kernel", "c.kernel"], "log"),
    ("update_ratio", ["a.kernel", "b.kernel", "c.kernel"], "log"),
    ("activation_rms", ["a", "b", "c"], "log"), ("error_rms", ["a", "b", "c"], "log"),
    ("dead", ["b"], "linear"), ("saturated", ["a"], "linear")])
def test_gradient_flow(trained, ax, kind, labels, scale):
    flow = trained[4]
    diagnostics.plot_gradient_flow(flow, kind, ax=ax)
    assert [line.get_label() for line in ax.lines] == labels
    assert ax.get_yscale() == scale
    for line in ax.lines:
        np.testing.assert_array_equal(line.get_xdata(), flow.report.steps)
        np.testing.assert_array_equal(line.get_ydata(),
                                      getattr(flow.report, kind)[line.get_label()])


def test_gradient_flow_of_something_else(trained):
    with pytest.raises(TypeError, match="GradientFlowReport"):
        diagnostics.plot_gradient_flow({"a": 1})
    with pytest.raises(ValueError, match="update_ratio"):
        diagnostics.plot_gradient_flow(trained[4], "update_ration")
    model, x, y, *_ = trained
    flow = diagnostics.GradientFlow(10_000)
    model.fit(x, y, verbose=0, callbacks=[flow])
    with pytest.raises(ValueError, match="every=10000"):
        diagnostics.plot_gradient_flow(flow)


def test_weights(trained, ax):
    model = trained[0]
    diagnostics.plot_weights(model, "b", ax=ax)
    kernel = model.get_layer("b").get_weights()[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), kernel)
    low, high = ax.images[0].get_clim()
    assert -low == high == pytest.approx(np.abs(kernel).max())
    assert ax.get_title() == "b.kernel"
    for layer in (2, -1, "c", model.layers[2]):
        assert diagnostics.plot_weights(model, layer).get_title() == "c.kernel"
    for layer in (3, "d", fm.layers.Dense(2)):
        with pytest.raises(ValueError, match="`layer` must be one of 'a', 'b', 'c'"):
            diagnostics.plot_weights(model, layer)
    with pytest.raises(TypeError, match="`model`"):
        diagnostics.plot_weights(kernel)
    with pytest.raises(ValueError, match="`layer`"):
        diagnostics.plot_weights(fm.Sequential([fm.Input((2,)), fm.layers.Dropout(0.5)]))


def test_decision_boundary_of_two_classes(trained, ax):
    model, x, y, *_ = trained
    diagnostics.plot_decision_boundary(model, x, y, resolution=20, ax=ax)
    field = np.asarray(ax.images[0].get_array())
    assert field.shape == (20, 20)
    low, high, bottom, top = ax.images[0].get_extent()
    corner = model.predict(np.array([[low, bottom], [high, bottom], [low, top]]))[:, 0]
    np.testing.assert_allclose(field[[0, 0, -1], [0, -1, 0]], corner, rtol=1e-5)
    points = ax.collections[-1]
    np.testing.assert_allclose(points.get_offsets(), x)
    np.testing.assert_array_equal(points.get_array(), y)


def test_decision_boundary_of_several_classes_and_of_estimators(trained, ax):
    x = trained[1]
    y = np.digitize(x[:, 0], [-0.5, 0.5])
    model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    diagnostics.plot_decision_boundary(model, x, y, resolution=10, ax=ax)
    assert set(np.unique(ax.images[0].get_array())) <= {0, 1, 2}

    class Signs:
        def predict(self, points):
            return np.where(points[:, 0] > 0, "right", "left")

    axes = diagnostics.plot_decision_boundary(Signs(), x, np.where(x[:, 0] > 0, "right", "left"))
    assert set(np.unique(axes.images[0].get_array())) == {0, 1}


def test_decision_boundary_checks_its_arguments(trained):
    with pytest.raises(ValueError, match=r"shape \(rows, 2\)"):
        diagnostics.plot_decision_boundary(trained[0], np.ones((3, 3)))
    with pytest.raises(ValueError, match="`resolution`"):
        diagnostics.plot_decision_boundary(trained[0], np.ones((3, 2)), resolution=1)
    with pytest.raises(ValueError, match=r"`y` must have a class for each of 3 rows.*\(2,\)"):
        diagnostics.plot_decision_boundary(trained[0], np.ones((3, 2)), [0, 1])
    with pytest.raises(ValueError, match="`x` must be finite"):
        diagnostics.plot_decision_boundary(trained[0], [[0, 1], [np.nan, 1]])
    with pytest.raises(TypeError, match="with `predict`"):
        diagnostics.plot_decision_boundary(None, np.ones((3, 2)))


def test_activation(ax):
    diagnostics.plot_activation("leaky_relu", -2, 2, negative_slope=0.25, ax=ax)
    value, slope = ax.lines[-2:]
    x = value.get_xdata()
    np.testing.assert_allclose(value.get_ydata(), np.where(x > 0, x, 0.25 * x))
    np.testing.assert_allclose(slope.get_ydata(), np.where(x > 0, 1, 0.25))
    for name, wrong in (("softmax", {}), ("relu", {"low": 3.0, "high": -3.0}), ("reluu", {})):
        with pytest.raises(ValueError, match=r"relu|Received"):
            diagnostics.plot_activation(name, **wrong)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"fusedmlp\[plot\]"):
        diagnostics.plot_activation("relu")
