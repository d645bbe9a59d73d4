"""Every public name of Keras's modules is here with the same arguments, or listed with a reason.

``keras_api.json`` is a snapshot of Keras's names and arguments (``.tools/make_keras_api.py`` writes
it), so that this needs no Keras.  What is not here, and arguments that are missing, are listed in
``.docs/keras.md`` with the reasons; this reads the list there.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from pathlib import Path

import keras_peer
import pytest

SNAPSHOT = json.loads((Path(__file__).parent / "keras_api.json").read_text("utf-8"))
MODULES = SNAPSHOT["modules"]
NAMES = [(module, name) for module, names in MODULES.items() for name in names]

PAGE = (Path(__file__).parent.parent / ".docs" / "keras.md").read_text("utf-8")


def rows(section):
    """Cells of the rows of the tables in a section of the page, by heading."""
    text = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    heading, found = "", []
    for line in text.splitlines():
        if line.startswith("### "):
            heading = line[4:].strip()
        elif line.startswith("|") and not line.startswith("| ---"):
            found.append((heading, [cell.strip() for cell in line.strip("|").split("|")]))
    return found


def quoted(cell):
    return re.findall(r"`([^`]+)`", cell)


EXCLUDED = {module: {} for module in MODULES}
for _module, (_names, _reason) in rows("Names that are not here"):
    EXCLUDED[_module].update(dict.fromkeys(quoted(_names), _reason))
# Arguments by where they are: "module.name", or "" for everywhere.
DIFFERENT: dict[str, dict[str, str]] = {}
for _, (_names, _where, _reason) in rows("Arguments that are not here"):
    DIFFERENT.setdefault((quoted(_where) or [""])[0], {}).update(
        dict.fromkeys(quoted(_names), _reason))


def item(module, name):
    """The object of that name here, or None; the module "keras" is the package itself."""
    try:
        return getattr(importlib.import_module(
            "fusedmlp" if module == "keras" else f"fusedmlp.{module}"), name)
    except (ImportError, AttributeError):
        return None


@pytest.mark.parametrize("module", MODULES)
def test_every_name_is_here_or_excused(module):
    missing = [name for name in MODULES[module]
               if item(module, name) is None and name not in EXCLUDED[module]]
    assert not missing, f"fusedmlp.{module} has no {', '.join(missing)}"


def test_excuses_are_for_names_of_keras_that_are_missing_and_have_reasons():
    for module, names in EXCLUDED.items():
        assert set(names) <= set(MODULES[module]), (module, set(names) - set(MODULES[module]))
        here = [name for name in names if item(module, name) is not None]
        assert not here, f"fusedmlp.{module} has {', '.join(here)}, which .docs/keras.md denies"
        assert all(names.values())
    assert set(DIFFERENT) - {""} <= {f"{module}.{name}" for module, name in NAMES}


def written(default):
    if inspect.isclass(default) or inspect.isfunction(default):
        return default.__name__
    return repr(default)


def differences(module, name):
    """What of an argument differs, by its name: "missing", its place or its default."""
    expected = MODULES[module][name]
    parameters = inspect.signature(item(module, name)).parameters.values()
    ours = {p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    keywords = any(p.kind is p.VAR_KEYWORD for p in parameters)
    found = {}
    order = [a for a, *_ in expected if a in ours]
    places = {a: i for i, a in enumerate(a for a in ours if a in order)}
    for argument, *default in expected:
        if argument in DIFFERENT[""]:
            continue
        if argument not in ours:
            if not (keywords and argument in ("name", "dtype", "trainable", "kwargs")):
                found[argument] = "missing"
            continue
        if places[argument] != order.index(argument):
            found[argument] = "place"
        given = ours[argument].default
        if default and given is inspect.Parameter.empty:
            found[argument] = f"no default, but {default[0]} in Keras"
        elif default and not same(written(given), default[0]):
            found[argument] = f"default {written(given)}, but {default[0]} in Keras"
    return found


def same(ours, theirs):
    """Whether two defaults say the same: 0 and 0.0, () and [], names and functions."""
    if ours == theirs:
        return True
    try:
        return float(ours) == float(theirs)
    except ValueError:
        return False


CALLABLE = [(m, n) for m, n in NAMES if MODULES[m][n] is not None and n not in EXCLUDED[m]]


@pytest.mark.parametrize(("module", "name"), CALLABLE,
                         ids=[".".join(key) for key in CALLABLE])
def test_arguments_are_those_of_keras(module, name):
    excuses = DIFFERENT.get(f"{module}.{name}", {})
    found = {a: how for a, how in differences(module, name).items() if a not in excuses}
    assert not found, f"fusedmlp.{module}.{name}: {found}"
    assert set(excuses) <= set(differences(module, name)), "an excuse for nothing"


def test_snapshot_is_that_of_keras():
    keras = keras_peer.load()
    if keras.__version__ != SNAPSHOT["version"]:
        pytest.skip(f"Keras is {keras.__version__}, the snapshot {SNAPSHOT['version']}")
    sys.path.insert(0, str(Path(__file__).parent.parent / ".tools"))
    try:
        import make_keras_api
    finally:
        sys.path.pop(0)
    found = make_keras_api.snapshot()["modules"]
    assert {m: sorted(n) for m, n in found.items()} == {m: sorted(n) for m, n in MODULES.items()}
    for module, name in NAMES:
        assert found[module][name] == MODULES[module][name], (module, name)
