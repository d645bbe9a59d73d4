"""The example learns what it promises, says so, and fails where it doesn't."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import fusedmlp as fm
from fusedmlp.examples import digits


@pytest.fixture(autouse=True)
def same_backend_after():
    before = fm.config.backend()
    yield
    assert fm.config.backend() == before


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fusedmlp.examples.digits", *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, **environment}, check=False, timeout=300,
    )


@pytest.mark.slow
def test_as_a_person_runs_it(tmp_path):
    picture = tmp_path / "curves.png"
    result = run("--output", picture)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    right, total, percent = re.search(
        r"Read (\d+) of (\d+) held-out digits right: ([\d.]+)%", result.stdout).groups()
    assert int(total) == 450
    assert int(right) / 450 >= 0.97
    assert float(percent) == pytest.approx(100 * int(right) / 450, abs=0.01)
    assert f"backend {fm.config.backend()}" in result.stdout
    assert re.search(r"Trained 60 epochs in [\d.]+ s, with validation: [\d.]+ ms per epoch, "
                     r"[\d,]+ samples per second", result.stdout)
    times = dict(re.findall(r"^  (\w+) +([\d.]+) ms per epoch +[\d,]+ samples per second +"
                            r"last loss [\d.]+$", result.stdout, re.M))
    assert set(times) == {fm.config.backend(), "numpy"}
    if len(times) == 2:
        ratio = float(re.search(r"is ([\d.]+) times as fast as numpy", result.stdout)[1])
        expected = float(times["numpy"]) / float(times[fm.config.backend()])
        assert ratio == pytest.approx(expected, rel=0.02, abs=0.06)
    if digits.has_matplotlib():
        assert str(picture) in result.stdout
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_with_numpy_alone_and_few_epochs(tmp_path):
    result = run("--epochs", 2, "--batch-size", 200, "--seed", 5, "--output", tmp_path / "p.png",
                 FUSEDMLP_BACKEND="numpy")
    assert result.returncode == 0
    assert result.stderr == ""
    right = re.search(r"Read (\d+) of 450 held-out digits right", result.stdout)[1]
    assert int(right) < 0.97 * 450
    assert "backend numpy" in result.stdout
    assert re.search(r"no other to compare it with:\n(.*\n)*?  cython ", result.stdout)


def test_too_little_learned_is_an_error_unless_epochs_were_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(digits, "has_matplotlib", lambda: False)
    monkeypatch.setattr(digits, "EPOCHS", 2)
    few = ["--batch-size", "500", "--output", str(tmp_path / "p.png")]
    for arguments, status in ((few, 1), ([*few, "--epochs", "3"], 1), ([*few, "--epochs", "1"], 0)):
        assert digits.main(arguments) == status
        assert ("at least 97% were expected" in capsys.readouterr().err) == (status == 1)


def test_both_backends_do_the_same_work(backend):
    (x, y), _ = digits.load()
    options = digits.parse(["--epochs", "2", "--batch-size", "100"])
    seconds, loss = digits.seconds_per_epoch(fm.config.backend(), x, y, options)
    assert seconds > 0
    _, reference = digits.seconds_per_epoch("numpy", x, y, options)
    assert loss == pytest.approx(reference, rel=1e-4)
    assert fm.config.backend() == backend.name


def test_the_seed_decides_the_network():
    first, second, other = (digits.network(seed).get_weights()[0] for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


def test_without_matplotlib(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    picture = tmp_path / "p.png"
    assert digits.main(["--epochs", "1", "--batch-size", "500", "--output", str(picture)]) == 0
    assert "pip install 'fusedmlp[plot]'" in capsys.readouterr().out
    assert not picture.exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--epochs", "0"], "at least 1"),
        (["--batch-size", "-1"], "at least 1"),
        (["--epochs", "many"], "invalid int"),
        (["--seed", "-1"], "--seed"),
        (["--output", "/no/such/folder/x.png"], "folder that exists"),
        (["--speed"], "--speed"),
    ],
)
def test_wrong_options(arguments, text, capsys):
    with pytest.raises(SystemExit) as stopped:
        digits.main(arguments)
    assert stopped.value.code == 2
    assert text in capsys.readouterr().err
