"""The numbers of the single-layer classics, each held to scikit-learn's counterpart."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fusedmlp.examples import (
    adaline,
    linear_regression,
    logistic_regression,
    perceptron,
    softmax_regression,
    support_vector_machine,
    xor,
)

pytestmark = pytest.mark.usefixtures("backend")


def test_perceptron():
    pytest.importorskip("sklearn")
    numbers = perceptron.compute()
    np.testing.assert_allclose(numbers["weights"][-1], numbers["scikit-learn"], rtol=1e-12)
    x, t = perceptron.load()
    assert numbers["right"] == len(t) == 100
    assert numbers["mistakes"][-1] == 0 < numbers["mistakes"][0]
    assert sum(numbers["mistakes"]) == len(numbers["weights"]) - 1
    rows = np.column_stack([x, np.ones(len(x))])
    # Rosenblatt's rule: every change is t (x, 1) of a row
    signed = t[:, None] * rows
    for change in np.diff(numbers["weights"], axis=0):
        assert np.abs(signed - change).max(axis=1).min() < 1e-12
    # Novikoff's bound, with the margin of the line that was found
    w = numbers["weights"][-1]
    margin = (signed @ w).min() / np.linalg.norm(w)
    assert margin > 0
    assert sum(numbers["mistakes"]) <= (np.linalg.norm(rows, axis=1).max() / margin) ** 2


def test_adaline():
    pytest.importorskip("sklearn")
    numbers = adaline.compute()
    np.testing.assert_allclose(numbers["runs"]["row by row"][1], numbers["scikit-learn"],
                               rtol=1e-10)
    best = numbers["least squares"]
    slow, good, diverging = (numbers["runs"][f"all rows, rate {factor} / lambda"]
                             for factor in ("0.1", "0.5", "1.05"))
    np.testing.assert_allclose(good[1], best, rtol=1e-6, atol=1e-12)
    assert (np.diff(slow[0]) < 0).all()
    assert (np.diff(diverging[0])[2:] > 0).all()
    # along the direction of lambda an error is multiplied by 1 - 2 * 1.05 in each step
    assert np.linalg.norm(diverging[1] - best) == pytest.approx(
        1.1**adaline.EPOCHS * abs(best[0] - best[1]) / 2**0.5, rel=1e-6)


def test_linear_regression():
    pytest.importorskip("sklearn")
    numbers = linear_regression.compute()
    other = numbers["scikit-learn"]
    np.testing.assert_allclose(numbers["weights"], other["weights"], rtol=1e-8)
    assert numbers["bias"] == pytest.approx(other["bias"], rel=1e-12)
    assert numbers["r2"] == pytest.approx(other["r2"], rel=1e-9)
    assert numbers["losses"][-1] < numbers["losses"][0]


def test_logistic_regression():
    pytest.importorskip("sklearn")
    numbers = logistic_regression.compute()
    other = numbers["scikit-learn"]
    np.testing.assert_allclose(numbers["weights"], other["weights"], atol=1e-5)
    np.testing.assert_allclose(numbers["probabilities"], other["probabilities"], atol=1e-6)
    np.testing.assert_allclose(numbers["probabilities"], 1 / (1 + np.exp(-numbers["logits"])),
                               rtol=1e-12)
    assert numbers["losses"][0] == pytest.approx(np.log(2), rel=1e-12)  # all say 1/2
    assert numbers["accuracy"] > 0.95


def test_support_vector_machine():
    pytest.importorskip("sklearn")
    found = support_vector_machine.compute()
    for ours, theirs in zip(found["row by row"], found["scikit-learn, row by row"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    w, b = found["all rows, falling rate"]
    solved_w, solved_b = found["scikit-learn, SVC"]
    np.testing.assert_allclose(w, solved_w, atol=0.01)
    assert b == pytest.approx(solved_b, abs=0.001)
    x, t = support_vector_machine.load()
    objective = support_vector_machine.objective
    assert objective(x, t, w, b) == pytest.approx(objective(x, t, solved_w, solved_b), rel=1e-4)
    assert objective(x, t, w, b) < objective(x, t, *found["row by row"])


def test_softmax_regression():
    pytest.importorskip("sklearn")
    numbers = softmax_regression.compute(steps=150)
    other = numbers["scikit-learn"]
    np.testing.assert_allclose(numbers["weights"], other["weights"], atol=0.01)
    np.testing.assert_allclose(numbers["probabilities"], other["probabilities"], atol=0.005)
    assert numbers["losses"][0] == pytest.approx(np.log(10), rel=1e-12)
    assert numbers["right"].mean() >= 0.93
    np.testing.assert_allclose(numbers["weights"].sum(axis=1), 0, atol=1e-12)  # shifts cancel


def test_xor():
    numbers = xor.compute()
    assert max(numbers["perceptron"]) < 4
    assert list(numbers["by hand"]) == list(xor.Y)
    np.testing.assert_allclose(numbers["learned"], xor.Y, atol=0.01)
    assert numbers["losses"][-1] < 0.01
    # the last layer alone divides what the hidden units give
    weights, bias = numbers["last"]
    assert list((numbers["hidden"] @ weights + bias)[:, 0] > 0) == list(xor.Y == 1)


def test_without_scikit_learn(monkeypatch, capsys):
    for name in ("sklearn", "sklearn.linear_model"):
        monkeypatch.setitem(sys.modules, name, None)
    numbers = linear_regression.compute(steps=5)
    linear_regression.report(numbers)
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].endswith("pip install 'fusedmlp[sklearn]'")
    assert "bias" in printed
    perceptron.report(perceptron.compute())
    assert "fusedmlp" in capsys.readouterr().out
