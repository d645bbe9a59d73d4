"""`explain_plan` says what the plan holds: every operation, its cost, and what was fused."""

from __future__ import annotations

import re

import pytest

import fusedmlp as fm
from fusedmlp.diagnostics.explain import fused


def network(**compiled):
    model = fm.Sequential([
        fm.Input((64,)), fm.layers.Dense(100, "relu", name="hidden"),
        fm.layers.Dense(50, "gelu", name="second"), fm.layers.Dropout(0.2),
        fm.layers.Dense(10, "softmax", name="digit")], name="net")
    if compiled:
        model.compile(**compiled)
    return model


COMPILED = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy",
            "metrics": ["accuracy"]}


def numbers(text):
    return [int(found.replace(",", "")) for found in re.findall(r"([\d,]+) flops", text)]


@pytest.mark.parametrize("compiled", [{}, COMPILED], ids=["prediction", "training"])
def test_every_operation_is_there_with_its_cost(backend, compiled):
    model = network(**compiled)
    plan, text = model.plan(48), model.explain_plan(48)
    lines = [line for line in text.split("\nFused:")[0].splitlines() if line.startswith("  ")]
    assert len(lines) == len(plan.ops)
    assert sorted(numbers("\n".join(lines))) == sorted(map(plan.flops, plan.ops))
    assert f"In all {sum(map(plan.flops, plan.ops)):,} flops" in text
    titles = re.findall(r"^(\w[\w ]+): ([\d,]+) flops", text, re.MULTILINE)
    assert sum(int(n.replace(",", "")) for _, n in titles) == sum(map(plan.flops, plan.ops))
    want = ["Data", "Forward"] + ["Loss and metrics", "Backward", "Update"] * bool(compiled)
    assert [title for title, _ in titles] == want
    what = "A step of training" if compiled else "A prediction"
    assert text.startswith(f"{what} of 'net': 48 rows, float32, {len(plan.ops)} operations")
    assert f"Backend {fm.config.backend()!r}: " in text


def test_what_was_fused():
    assert fused(network().plan()) == [
        "relu into the product that gives hidden.relu",
        "gelu into the product that gives second.gelu"]
    found = fused(network(**COMPILED).plan())
    assert found[2] == ("softmax into its loss softmax_cross_entropy, with the gradient and the "
                        "hits of the accuracy")
    assert "the derivative of relu into the product that gives dhidden.relu" in found
    alone = fm.Sequential([fm.Input((4,)), fm.layers.Dense(2)])
    assert fused(alone.plan()) == []
    assert "Fused:\n  nothing" in alone.explain_plan()


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`batch_size`"):
        network().explain_plan(0)
    with pytest.raises(ValueError, match="built"):
        fm.Sequential([fm.layers.Dense(2)]).explain_plan()
