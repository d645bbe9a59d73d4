"""The numbers of the programs about neurons and networks, on each backend."""

from __future__ import annotations

import numpy as np
import pytest
import truth

from fusedmlp.examples import activations, dying_relu, forward_by_hand, matrix_form, neuron
from fusedmlp.examples import two_two_one as small
from fusedmlp.spec import ACTIVATIONS, ELEMENTWISE, resolve_activation

pytestmark = pytest.mark.usefixtures("backend")


def test_neuron():
    given = neuron.compute()
    assert list(given) == list(ELEMENTWISE)
    z = 0.4 * 0.5 + 0.6 * -1.0 + 0.3 * 2.0 + 0.1
    assert given["linear"] == pytest.approx(z, rel=1e-15)
    for name, value in given.items():
        row, params = resolve_activation(name, {})
        exact, = truth.value(row.name, np.array([z]), params)
        assert value == pytest.approx(float(exact), rel=1e-13), name


def test_two_two_one_is_its_formula():
    numbers = small.compute()
    last_place = np.spacing(numbers["formula"])
    assert (np.abs(numbers["model"] - numbers["formula"]) <= 3 * last_place).all()  # two bits
    assert numbers["formula"][0] == pytest.approx(
        small.s(1.2 * small.s(-0.5) - 0.8 * small.s(0.25) + 0.1))
    assert len(set(numbers["model"])) == len(small.INPUTS)


def test_matrix_form():
    numbers = matrix_form.compute()
    np.testing.assert_allclose(numbers["sum"], matrix_form.W[0] + matrix_form.W[2], rtol=1e-15)
    hidden, output = numbers["model"]
    np.testing.assert_allclose(hidden, numbers["hidden"], rtol=1e-15)
    np.testing.assert_allclose(output, numbers["output"], rtol=1e-15)
    assert hidden[0] == pytest.approx(1 / (1 + np.exp(-0.8)), rel=1e-15)
    assert output.shape == (2,)


def test_forward_by_hand():
    numbers = forward_by_hand.compute()
    for hand, model in numbers.values():
        for ours, given in zip(hand, model, strict=True):
            np.testing.assert_allclose(given, ours, rtol=1e-15)
    given = {name: model[-1].item() for name, (_, model) in numbers.items()}
    # 2 tanh 5 - tanh 1, and 2 tanh 3 - tanh 9
    assert given["tanh, x = (2, 3)"] == pytest.approx(1.2382242525694254, rel=1e-15)
    assert given["tanh, x = (-1, 2)"] == pytest.approx(0.99010953783342, rel=1e-14)
    assert forward_by_hand.__doc__.index("1.2382242525694254") < forward_by_hand.__doc__.index(
        "0.99010953783342")  # which of the two is which, is said
    assert given["ReLU, one more layer"] == 364
    assert given["ReLU, other weights"] == 182
    assert [list(layer) for layer in numbers["ReLU, one more layer"][1]] == [
        [26, 0], [0, 52], [364]]
    assert [list(layer) for layer in numbers["ReLU, other weights"][1]] == [
        [26, 0], [0, 26], [182]]


def test_gallery_of_activations():
    curves = activations.compute()
    assert list(curves) == list(ELEMENTWISE)
    x, step = activations.X, activations.X[1] - activations.X[0]
    for name, (values, slopes) in curves.items():
        smooth = np.ones(len(x) - 2, dtype=bool)
        for kink in (*ACTIVATIONS[name].kinks, -3, -1, -0.5, 0, 0.5, 1, 3):
            smooth &= np.abs(x[1:-1] - kink) > 1.5 * step
        central = (values[2:] - values[:-2]) / (2 * step)
        np.testing.assert_allclose(slopes[1:-1][smooth], central[smooth], rtol=1e-3, atol=1e-4,
                                   err_msg=name)


def test_gallery_has_a_row_for_each(capsys):
    activations.report(activations.compute())
    lines = capsys.readouterr().out.splitlines()
    for row in ACTIVATIONS.values():
        numbers, formulas = (line for line in lines if line.split()[:1] == [row.name])
        assert row.range in numbers
        assert numbers.split()[-2:] == [f"{bound:g}" for bound in row.ulp]
        assert row.formula in formulas
        assert row.derivative in formulas


def test_relu_dies_and_leaky_relu_does_not():
    numbers = dying_relu.compute(epochs=60)
    relu, leaky = numbers["relu"], numbers["leaky_relu"]
    assert relu["gradient"] == [0, 0]
    assert set(relu["losses"]) == {relu["losses"][0]}
    assert relu["weights"] == [0.5, -1.5]
    # dL/db at the start: the mean of 2 (0.2 z - y) 0.2 with z = x/2 - 3/2
    x, y = dying_relu.X, dying_relu.Y
    error = 2 * 0.2 * (0.2 * (0.5 * x - 1.5) - y)
    assert leaky["gradient"] == pytest.approx([np.mean(error * x), np.mean(error)], rel=1e-12)
    assert leaky["losses"][-1] < 0.01 < relu["losses"][-1]
