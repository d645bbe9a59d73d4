"""What the README shows runs, and its printed plan is the one that comes out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"
TEXT = README.read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)

# Runs in a process of its own: automatic names count from the first layer of a process.
RUN = """
import doctest, sys
code, = sys.argv[1:]
if code.startswith(">>>"):
    test = doctest.DocTestParser().get_doctest(code, {}, "README.md", "README.md", 0)
    sys.exit(doctest.DocTestRunner().run(test).failed)
exec(compile(code, "README.md", "exec"), {})
"""


def test_there_are_blocks():
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_runs(number, tmp_path):
    block = BLOCKS[number]
    done = subprocess.run([sys.executable, "-W", "error", "-c", RUN, block], cwd=tmp_path,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_that_it_names_exist():
    links = re.findall(r"\]\(([\w./-]+)\)", TEXT)
    named = re.findall(r"`((?:tests|src|kernels|bench)/[\w./]+)`", TEXT)
    assert links
    assert named
    for name in {*links, *named}:
        assert (README.parent / name).exists(), name


def test_commands_stand_between_their_markers():
    for marker in ("run", "test"):
        found = re.findall(rf"<!-- {marker} command -->\n```sh\n(.+)\n```\n<!-- end -->", TEXT)
        assert len(found) == 1
        assert found[0].startswith("pip install '.")


def test_environment_variables_are_those_that_are_read():
    """Every variable in the sources stands in the table, and none that nobody reads."""
    listed = set(re.findall(r"`(FUSEDMLP_[A-Z_]+)", TEXT))
    root = README.parent
    sources = [root / "setup.py", *(root / "src").rglob("*.py"), *(root / "kernels").rglob("*.py"),
               *(root / "kernels").rglob("*.pyx"), root / "tests" / "conftest.py"]
    read = set()
    for path in sources:
        read.update(re.findall(r"""["'`](FUSEDMLP_[A-Z]+(?:_[A-Z]+)*)""", path.read_text("utf-8")))
    assert listed == read
