"""The examples in the docstrings run, and all that people are to use has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import fusedmlp
import fusedmlp.kernels
from fusedmlp import backend as backends
from fusedmlp import config, registry


def module_names():
    """All modules of the package that can be imported here, but the compiled ones."""
    found = ["fusedmlp"]
    for package in (fusedmlp, fusedmlp.kernels):
        found += [module.name for module in
                  pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    rejected = backends.rejected()
    skipped = tuple(f"{row.module}." for row in backends._BACKENDS.values()
                    if row.compiled or row.name in rejected)
    return sorted({name for name in found if not f"{name}.".startswith(skipped)})


MODULES = module_names()


@pytest.fixture(autouse=True)
def _settings_as_before():
    name, threads, floatx = config.backend(), config.threads(), config.floatx()
    custom, options = dict(registry.get_custom_objects()), np.get_printoptions()
    yield
    assert config.floatx() == floatx
    assert registry.get_custom_objects() == custom
    assert np.get_printoptions() == options
    config.set_backend(name)
    config.set_threads(threads)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where an example may write
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def public_objects():
    """Functions and classes that people reach through the public modules, by full name."""
    found = {"fusedmlp.version": fusedmlp.version}
    for module in fusedmlp._MODULES:
        namespace = getattr(fusedmlp, module)
        for attribute in namespace.__all__:
            item = getattr(namespace, attribute)
            if inspect.isfunction(item) or inspect.isclass(item):
                found[f"fusedmlp.{module}.{attribute}"] = item
    return found


PUBLIC = public_objects()


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example(name):
    item = PUBLIC[name]
    texts = [inspect.getdoc(item) or ""]
    if inspect.isclass(item):
        texts += [inspect.getdoc(member) or "" for member in vars(item).values()
                  if inspect.isroutine(member) or isinstance(member, (classmethod, property))]
    assert texts[0], f"{name} has no docstring"
    assert any(doctest.DocTestParser().get_examples(text) for text in texts), (
        f"{name} has no example")


def test_modules_and_names_are_found():
    assert {"fusedmlp", "fusedmlp.ops", "fusedmlp.kernels.reference.dense"} <= set(MODULES)
    assert {"fusedmlp.ops.dense", "fusedmlp.layers.Dense", "fusedmlp.config.show"} <= set(PUBLIC)
