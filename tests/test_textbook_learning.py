"""The numbers of the programs about losses, gradients and training, on each backend."""

from __future__ import annotations

import numpy as np
import pytest

from fusedmlp.examples import (
    backprop,
    backprop_matrices,
    car_buyers,
    deep_chain,
    epochs_and_batches,
    losses,
    representation,
    twenty_lines,
)

pytestmark = pytest.mark.usefixtures("backend")


def test_twenty_lines_are_three(monkeypatch, capsys):
    monkeypatch.setattr(twenty_lines, "STEPS", 25)
    numbers = twenty_lines.compute()
    ours, theirs = numbers["fusedmlp"]["losses"], numbers["NumPy"]["losses"]
    assert ours.shape == theirs.shape == (25,)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    np.testing.assert_allclose(numbers["fusedmlp, float32"]["losses"], theirs, rtol=1e-4)
    assert theirs[-1] < theirs[0] / 3
    assert all(row["seconds"] > 0 for row in numbers.values())
    twenty_lines.report(numbers)
    assert "times as fast" in capsys.readouterr().out


def test_vehicles():
    numbers = losses.compute()["vehicles"]
    raw, scaled = numbers["as measured"], numbers["standardized"]
    # -2/6 sum y x: of the three cars (4, 4, 4), (6, 5.5, 5), (500, 600, 550) and (1, 1, 1)
    np.testing.assert_allclose(raw["gradient"], [-4, -5.5, -550, -1], rtol=1e-13)
    x = (losses.VEHICLES - losses.VEHICLES.mean(axis=0)) / losses.VEHICLES.std(axis=0)
    np.testing.assert_allclose(scaled["gradient"], [*(-x[:3].sum(axis=0) / 3), -1], rtol=1e-12)
    for row in (raw, scaled):
        assert row["losses"][0] == 0.5
        assert (np.diff(row["losses"]) < 0).all()
    assert scaled["losses"][-1] < 1e-3 < 0.05 < raw["losses"][-1]


def test_bits():
    bits = losses.compute()["bits"]
    assert round(bits["H(p, q)"], 2) == 1.42
    assert bits["H(p, q)"] == pytest.approx(-0.6 * np.log2(0.9) - 0.4 * np.log2(0.1), rel=1e-12)
    assert bits["H(q, p)"] == pytest.approx(-0.9 * np.log2(0.6) - 0.1 * np.log2(0.4), rel=1e-12)
    assert bits["H(p)"] == pytest.approx(-0.6 * np.log2(0.6) - 0.4 * np.log2(0.4), rel=1e-12)
    assert bits["H(p)"] < bits["H(p, q)"]
    assert "it is 1.42 bits, the other way around 0.80" in losses.__doc__
    assert round(bits["H(q, p)"], 2) == 0.80


def test_softmax_and_its_jacobian():
    numbers = losses.compute()
    p = numbers["softmax"]
    np.testing.assert_allclose(p, [0.224, 0.672, 0.091, 0.0136], atol=5e-4)
    # to three digits behind the point, the last cut off
    np.testing.assert_array_equal(np.floor(1000 * p[[1, 3]]), [671, 13])
    np.testing.assert_allclose(p, np.exp(losses.LOGITS) / np.exp(losses.LOGITS).sum(), rtol=1e-14)
    np.testing.assert_allclose(numbers["jacobian"], np.diag(p) - np.outer(p, p), rtol=1e-13)
    np.testing.assert_allclose(np.diag(numbers["jacobian"]), p * (1 - p), rtol=1e-13)
    y = np.eye(4)[losses.LABEL]
    np.testing.assert_allclose(numbers["fused"], p - y, rtol=1e-13)
    np.testing.assert_allclose(numbers["chained"], p - y, rtol=1e-13)
    assert numbers["fused loss"] == pytest.approx(-np.log(p[losses.LABEL]), rel=1e-13)
    assert numbers["far"][0] == 2000
    assert numbers["far"][1].tolist() == [[-1, 1]]


def test_chain_rule():
    for depth, row in backprop.compute().items():
        assert len(row["factors"]) == 2 * depth + 2
        assert row["gradients"][0] == pytest.approx(row["product"], rel=1e-12)
        assert row["difference"] == pytest.approx(row["product"], rel=1e-8)
        # by the last weight: 2 (p - y) a_n
        *_, last, p = row["units"]
        assert row["gradients"][-2] == pytest.approx(2 * (p - backprop.Y) * last, rel=1e-12)


def test_chain_rule_in_matrices():
    for row in backprop_matrices.compute().values():
        assert row["matrices"] < 1e-14
        off = row["differences"]
        assert off.min() < 1e-9
        # of second order: a tenth of the step, a hundredth of the error
        assert off[0] / off[1] == pytest.approx(100, rel=0.2)
        assert off[1] / off[2] == pytest.approx(100, rel=0.05)
        assert off[-1] > 10 * off.min()  # rounding


def test_deep_chain():
    numbers = deep_chain.compute()
    first = {setting: {name: norms[0] for name, norms in row.items()}
             for setting, row in numbers.items()}
    small, large, made, normalized = first.values()
    assert all(norms[-1] == 1 for row in numbers.values() for norms in row.values())
    assert max(small.values()) < 0.05  # all vanish, the sigmoid at least by (1/2)^9 (1/4)^9
    assert small["sigmoid"] < (1 / 8) ** 8
    assert min(large[name] for name in ("relu", "elu", "selu")) > 100  # explode
    for row in (made, normalized):
        assert row["sigmoid"] < 1e-3
        assert all(0.1 < value < 10 for name, value in row.items() if name != "sigmoid")


def test_epochs_and_batches(monkeypatch):
    monkeypatch.setattr(epochs_and_batches, "ROWS", 640)
    monkeypatch.setattr(epochs_and_batches, "BATCHES", (8, 32, 128, 640))
    monkeypatch.setattr(epochs_and_batches, "EPOCHS", 4)
    numbers = epochs_and_batches.compute()
    for b, row in numbers.items():
        assert row["steps"] == -(-640 // b)
        assert row["apart"] < 1e-14  # the mean over all batches is the gradient of all rows
        # 640 / b batches: the fewer, the further their mean square may be off
        assert row["noise"] == pytest.approx(row["expected"], rel=0.4, abs=1e-25)
    last = [row["losses"][-1] for row in numbers.values()]
    assert last == sorted(last)


def test_car_buyers():
    numbers = car_buyers.compute()
    errors = numbers["errors"]
    assert (np.abs(numbers["weights"] - car_buyers.TRUE_WEIGHTS) < 3 * errors[:4]).all()
    assert abs(numbers["bias"] - car_buyers.TRUE_BIAS) < 3 * errors[4]
    # the minimum: the residuals are orthogonal to every column
    x, y = car_buyers.people()
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    p = 1 / (1 + np.exp(-(scaled @ numbers["weights"] + numbers["bias"])))
    assert np.abs(scaled.T @ (p - y) / len(y)).max() < 1e-5
    # both tell the same order, the weights by unit another one
    order = list(np.argsort(-np.abs(numbers["weights"])))
    assert order == list(np.argsort(numbers["costs"])[::-1]) == [0, 2, 1, 3]
    assert np.abs(numbers["by unit"]).argmin() == 0
    assert numbers["costs"][3] < 0.01 < min(numbers["costs"][:3])


def test_representation():
    numbers = representation.compute(epochs=15)
    layers = numbers["layers"]
    assert list(layers) == list(representation.LAYERS)
    shares = [row["between"] for row in layers.values()]
    assert all(0 < share < 1 for share in shares)
    assert shares == sorted(shares)
    assert layers["output"]["nearest"] > layers["pixels"]["nearest"] + 0.03
    assert numbers["accuracy"] > 0.92
    for row in layers.values():
        assert row["plane"].shape == (450, 2)
        first, second = row["plane"].var(axis=0)
        assert first >= second


def test_share_of_variance():
    x = np.arange(20.0)[:, None]
    y = np.repeat(np.arange(10), 2)  # pairs (0, 1), (2, 3), ...
    within, total = 0.25, np.var(np.arange(20.0))
    assert representation.between(x, y) == pytest.approx(1 - within / total, rel=1e-12)
    assert representation.nearest(x, y, x, y) == 1
    assert representation.nearest(x, y, x, 9 - y) == 0
