"""The pages of the documentation: their code runs, and nothing that there is is missing from them.

The pages are those that ``.docs/docsite`` makes for MkDocs, which itself is not needed here.
"""

from __future__ import annotations

import html
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fusedmlp as fm
from fusedmlp import spec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".docs"))
from docsite import pages as site  # noqa: E402
from docsite import pictures, tables  # noqa: E402

sys.path.pop(0)

WRITTEN = sorted(path.relative_to(site.HAND_WRITTEN).as_posix()
                 for path in site.HAND_WRITTEN.rglob("*.md"))
NEEDS = {"scikit-learn.md": "sklearn"}

# All blocks of a page in one namespace, in a process of its own: nothing that a page sets outlasts
# it, and automatic names count from the first layer.
RUN = """
import doctest, json, sys
namespace = {"__name__": "page"}
for number, code in enumerate(json.load(sys.stdin)):
    place = f"block {number + 1}"
    if code.startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(code, namespace, place, place, 0)
        if doctest.DocTestRunner().run(test).failed:
            sys.exit(1)
    else:
        exec(compile(code, place, "exec"), namespace)
"""


def blocks(text):
    """The code of a page that is Python."""
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def written():
    pytest.importorskip("sklearn")  # of which the page compares the arguments
    return site.hand_written()


@pytest.fixture(scope="module")
def generated():
    return site.generated()


@pytest.mark.parametrize("path", WRITTEN)
def test_code_of_a_page_runs(path, tmp_path):
    if path in NEEDS:
        pytest.importorskip(NEEDS[path])
    code = blocks(site.expanded((site.HAND_WRITTEN / path).read_text("utf-8")))
    if not code:
        pytest.skip("a page without code")
    done = subprocess.run([sys.executable, "-W", "error", "-c", RUN], input=json.dumps(code),
                          cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_code():
    with_code = [path for path in WRITTEN if "```python" in (site.HAND_WRITTEN / path).read_text()]
    assert len(with_code) >= 8


def test_all_that_pages_ask_for_is_there(written):
    for path, text in written.items():
        assert not re.search(r"^<!-- \w+ ", text, re.MULTILINE), path
        assert text.startswith("# "), path
        assert len(text.split()) > 30, path


@pytest.mark.parametrize(("page", "names"), [
    ("activations.md", list(spec.ACTIVATIONS)),
    ("losses.md", [*spec.LOSSES, *(name for name, item in vars(fm.losses).items()
                                   if inspect.isclass(item) and getattr(item, "row", ""))]),
    ("metrics.md", [*spec.SCORES, *(name for name in fm.metrics.__all__
                                    if inspect.isclass(getattr(fm.metrics, name)))]),
    ("optimizers.md", [*(f"ops.{name}" for name in fm.ops.__all__ if name.endswith("_update")),
                       *(name for name in fm.optimizers.__all__
                         if inspect.isclass(getattr(fm.optimizers, name))),
                       *(name for name in fm.optimizers.schedules.__all__
                         if inspect.isclass(getattr(fm.optimizers.schedules, name)))]),
    ("layers.md", [name for name in fm.layers.__all__
                   if inspect.isclass(getattr(fm.layers, name))]),
    ("callbacks.md", fm.callbacks.__all__),
])
def test_pages_are_complete(page, names, written):
    assert names
    words = set(re.findall(r"[\w.]+", written[page]))
    assert not [name for name in names if name not in words]


def test_every_formula_of_the_tables_is_shown(written):
    for page, rows in (("activations.md", spec.ACTIVATIONS), ("losses.md", spec.LOSSES)):
        text = html.unescape(written[page])
        for row in rows.values():
            assert row.formula in text
            assert row.derivative in text
    text = html.unescape(written["optimizers.md"])
    assert all(line in text for row in spec.OPTIMIZERS.values() for line in row.equations)


def test_every_program_has_its_page(generated):
    listed = generated["examples/index.md"]
    assert site.programs()
    for name in site.programs():
        assert f"({name}.md)" in listed
        page = generated[f"examples/{name}.md"]
        assert f"python -m fusedmlp.examples.{name}" in page
        assert f"<!-- result {name} -->" in page
        assert "## Source" in page


def test_reference_has_every_public_name(generated):
    """Once, in the module that it comes from, or where it is public."""
    described = set()
    for path, text in generated.items():
        if path.startswith("reference/"):
            for full in re.findall(r"^::: fusedmlp\.([\w.]+)$", text, re.MULTILINE):
                module, _, name = full.rpartition(".")
                described.add(getattr(importlib.import_module(f"fusedmlp.{module}"), name))
    for module in (*fm._MODULES, *fm._OPTIONAL):
        namespace = importlib.import_module(f"fusedmlp.{module}")
        items = {name: getattr(namespace, name) for name in namespace.__all__}
        missing = [name for name, item in items.items() if item not in described
                   and (inspect.isclass(item) or inspect.isfunction(item))
                   and getattr(item, "__module__", "").startswith("fusedmlp")]
        assert not missing, (module, missing)


def test_links_lead_to_pages(written, generated):
    """Within the site; an anchor of the reference is a name that the page describes."""
    known = {**written, **generated}
    for path, text in known.items():
        plain = re.sub(r"^(```+).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
        for target, anchor in re.findall(r"\]\(([^)#\s]+)(?:#([^)]*))?\)", plain):
            if target.startswith(("http:", "https:")) or target.endswith((".png", ".svg")):
                continue
            page = (Path(path).parent / target).as_posix()
            assert page in known, (path, target)
            assert not anchor.startswith("fusedmlp.") or f"::: {anchor}\n" in known[page], (
                path, anchor)


def test_navigation_has_every_page():
    text = (site.SITE / "mkdocs.yml").read_text("utf-8")
    assert set(re.findall(r"^ +- (?:\w+: )?([\w-]+\.md)$", text, re.MULTILINE)) == set(WRITTEN)


# -- how pages get what they ask for -------------------------------------------------------------

TEXT = "# Title\n\nTop.\n\n## One\n\nText.\n\n```sh\n# no heading\n```\n\n### Two\n\nEnd.\n"


def test_sections():
    assert site.section(TEXT, "") == "Top."
    assert site.section(TEXT, "One").startswith("Text.")
    assert site.section(TEXT, "One").endswith("# no heading\n```")
    assert site.section(TEXT, "Two") == "End."
    with pytest.raises(KeyError, match="no heading"):
        site.section(TEXT, "no heading")


def test_headings_are_moved_and_code_is_not():
    assert site.raised("# A\n\n## B\n\n```sh\n# c\n```", 2) == "## A\n\n### B\n\n```sh\n# c\n```"


def test_links_to_files_become_links_to_pages():
    assert site.linked("[a](bench/README.md)") == "[a](kernels.md)"
    assert site.linked("[a](README.md)", "bench") == "[a](kernels.md)"
    assert site.linked("[setup.py](setup.py)") == "`setup.py`"
    assert site.linked("![a](.docs/digits.png)") == "![a](pictures/digits.png)"
    assert site.linked("[a](https://example.org/b)") == "[a](https://example.org/b)"


# -- pictures --------------------------------------------------------------------------------------

def test_graphs_are_drawn_in_both_modes():
    pytest.importorskip("matplotlib")
    row = spec.ACTIVATIONS["tanh"]
    svg = pictures.graph(row)
    assert all(svg.count(placeholder) for placeholder in (*pictures.LIGHT,))
    assert set(pictures.LIGHT) == set(pictures.DARK)


@pytest.mark.parametrize("name", spec.ACTIVATIONS)
def test_graphs_show_the_function_and_its_derivative(name):
    """What is drawn as derivative is the slope of what is drawn, but at kinks and jumps."""
    y, slope, _ = pictures.curve(spec.ACTIVATIONS[name])
    assert y.shape == slope.shape == pictures.X.shape
    measured = np.diff(y) / np.diff(pictures.X)
    close = np.abs(measured - (slope[1:] + slope[:-1]) / 2) < 1e-3
    assert close.mean() > 0.98


def test_a_program_is_run_for_its_picture():
    pytest.importorskip("matplotlib")
    printed, picture = pictures.run("neuron")
    assert printed.startswith("w . x + b")
    assert "Picture" not in printed
    assert picture.startswith(b"\x89PNG")


def test_tables_in_markdown():
    assert tables.table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert tables.code("|x| of `y`") == "`|x| of y`"
    assert tables.plain("a < b, `c`") == "a &lt; b, <code>c</code>"
