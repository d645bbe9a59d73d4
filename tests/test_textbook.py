"""The programs of the textbook run, draw, say what is missing, and are all listed."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import sys

import pytest

import fusedmlp as fm
from fusedmlp import examples
from fusedmlp.examples import __main__ as listing
from fusedmlp.examples import show

SHARED = {"__main__", "show"}
FIRST, *TEXTBOOK, LAST = examples.CHAPTERS
QUICKER = {"twenty_lines": {"STEPS": 20}}  # numbers that the pictures don't depend on
PROGRAMS = [name for title in TEXTBOOK for name in examples.CHAPTERS[title]]


def test_all_programs_are_listed(capsys):
    found = {module.name for module in pkgutil.iter_modules(examples.__path__)} - SHARED
    listed = [name for names in examples.CHAPTERS.values() for name in names]
    assert sorted(listed) == sorted(found)
    listing.main()
    lines = capsys.readouterr().out.splitlines()
    for name in listed:
        line, = (line for line in lines if line.startswith(f"  {name} "))
        assert line.endswith(".")


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_fit_on_a_page(name):
    """64 lines, blank ones and what is said of the subject not counted."""
    source = inspect.getsource(importlib.import_module(f"fusedmlp.examples.{name}"))
    said = {line for node in ast.walk(ast.parse(source))
            if isinstance(node, (ast.Module, ast.FunctionDef)) and ast.get_docstring(node)
            for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    lines = [line for number, line in enumerate(source.splitlines(), 1)
             if line.strip() and number not in said]
    assert 20 < len(lines) <= 64


@pytest.mark.parametrize("name", [name if name == PROGRAMS[0] else
                                  pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS])
def test_programs_as_people_run_them(name, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    floatx = fm.config.floatx()
    module = importlib.import_module(f"fusedmlp.examples.{name}")
    for constant, value in QUICKER.get(name, {}).items():
        monkeypatch.setattr(module, constant, value)
    module.main([])
    assert fm.config.floatx() == floatx
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "nan" not in printed.out.lower().split()
    path = tmp_path / f"{name}.png"
    assert printed.out.endswith(f"\nPicture: {path}\n")
    picture = importlib.import_module("matplotlib.image").imread(path)
    assert len({tuple(pixel) for pixel in picture.reshape(-1, picture.shape[-1])[::7]}) > 10
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_without_matplotlib(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    importlib.import_module("fusedmlp.examples.neuron").main(["--output", str(tmp_path / "n.png")])
    printed = capsys.readouterr().out
    assert "w . x + b" in printed
    assert "pip install 'fusedmlp[plot]'" in printed.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_where_the_picture_goes(tmp_path, capsys):
    neuron = importlib.import_module("fusedmlp.examples.neuron")
    with pytest.raises(SystemExit) as stopped:
        neuron.main(["--output", str(tmp_path / "missing" / "n.png")])
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert "folder that exists" in printed.err
    assert printed.out == ""
    with pytest.raises(SystemExit) as stopped:
        neuron.main(["--help"])
    assert stopped.value.code == 0
    assert "python -m fusedmlp.examples.neuron" in capsys.readouterr().out


def test_columns_of_tables(capsys):
    show.table(("name", "x", "n"), [("a", 1.5, 10), ("longer", 1e-7, 5), ("b", 0.0, 7)])
    assert capsys.readouterr().out.splitlines() == [
        "name            x   n", "a          1.5000  10", "longer  1.000e-07   5",
        "b          0.0000   7"]
