"""All pages as Markdown: the hand-written ones with what they ask for, and the generated ones.

A page asks for something in a line of its own:

- ``<!-- table NAME -->``: a part of `tables`;
- ``<!-- readme HEADING -->``: a section of the README, without its heading and subsections;
- ``<!-- readme HEADING / START -->``: of that section the paragraphs from the one that begins with
  START to the next that begins in bold type, a list between them included;
- ``<!-- file PATH -->``: a Markdown file of the project, without its first heading.

So every fact is written once.  Nothing here needs MkDocs: the tests read the same pages.
"""

from __future__ import annotations

import importlib
import inspect
import posixpath
import re
import textwrap
from pathlib import Path

import fusedmlp as fm
from fusedmlp import examples

from . import tables

SITE = Path(__file__).resolve().parent.parent
ROOT = SITE.parent
HAND_WRITTEN = SITE / "pages"

# Files of the project that README and notes link to, and the pages that show them.
SHOWN = {
    "README.md": "index.md", "bench/README.md": "kernels.md", "bench/NOTES.md": "kernels.md",
    "CHANGELOG.md": "changelog.md", ".docs/keras.md": "keras.md",
    ".docs/digits.png": "pictures/digits.png", "LICENSE": "license.md",
}
FILES = {"pictures/digits.png": SITE / "digits.png"}

_ASK = re.compile(r"^<!-- (table|readme|file) (.+?) -->$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def outside_code(pattern: str, replace, text: str, flags: int = 0) -> str:
    """`re.sub` that leaves fenced code as it is."""
    pieces, end = [], 0
    for fence in _FENCE.finditer(text):
        pieces += [re.sub(pattern, replace, text[end:fence.start()], flags=flags), fence[0]]
        end = fence.end()
    return "".join(pieces) + re.sub(pattern, replace, text[end:], flags=flags)


def _headings(text: str):
    """Level, title, start and end of each heading of a Markdown text, none within code."""
    blank = _FENCE.sub(lambda fence: re.sub("[^\n]", " ", fence[0]), text)
    return [(len(found[1]), found[2].strip(), found.start(), found.end())
            for found in re.finditer(r"^(#+) (.+)$", blank, re.MULTILINE)]


def section(text: str, title: str) -> str:
    """A section of a Markdown text without its heading and its subsections.

    An empty title stands for what follows the title of the whole.  KeyError if there is no such
    section.
    """
    found = _headings(text)
    for i, (level, name, _, end) in enumerate(found):
        if name == title or (not title and level == 1):
            stop = found[i + 1][2] if i + 1 < len(found) else len(text)
            return text[end:stop].strip()
    raise KeyError(f"no section {title!r}")


def paragraphs(text: str, start: str) -> str:
    """The paragraphs from the one that begins with `start` to the next in bold type."""
    blocks = re.split(r"\n\n(?=\*\*)", text)
    block, = [block for block in blocks if block.startswith(start)]
    return block


def raised(text: str, level: int) -> str:
    """The text with its highest headings at a level."""
    found = _headings(text)
    shift = level - min((deep for deep, *_ in found), default=level)
    if shift:
        text = outside_code(r"^(#+)(?= )", lambda marks: "#" * (len(marks[1]) + shift), text,
                            re.MULTILINE)
    return text


def linked(text: str, folder: str = "") -> str:
    """Links to files of the project lead to the pages that show them, or become plain names."""
    def replace(found):
        label, target = found[1], found[2]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path in SHOWN:
            return f"[{label}]({SHOWN[path]})"
        return label if target != label else f"`{label}`"

    return outside_code(r"(?<!!)\[([^\]]+)\]\(([\w./-]+)\)", replace, outside_code(
        r"(!\[[^\]]*\])\(([\w./-]+)\)",
        lambda found: f"{found[1]}({SHOWN[posixpath.normpath(posixpath.join(folder, found[2]))]})",
        text))


def _asked(found) -> str:
    kind, what = found[1], found[2]
    if kind == "table":
        return tables.PARTS[what]()
    if kind == "file":
        text = (ROOT / what).read_text("utf-8")
        text = text.split("\n", 1)[1] if text.startswith("# ") else text
        return linked(raised(text.strip(), 2), posixpath.dirname(what))
    title, _, start = what.partition(" / ")
    text = section((ROOT / "README.md").read_text("utf-8"), title if title != "(top)" else "")
    if start:
        text = paragraphs(text, start)
    text = re.sub(r"^<!-- .* -->(\n|$)", "", text, flags=re.MULTILINE)  # the README's own markers
    return linked(raised(text, 2))


def expanded(text: str) -> str:
    """A page with what it asks for."""
    return _ASK.sub(_asked, text)


# -- programs ------------------------------------------------------------------------------------

def programs() -> dict[str, str]:
    """The chapter of every program, by its name."""
    return {name: title for title, group in examples.CHAPTERS.items() for name in group}


def _module(name: str):
    return importlib.import_module(f"fusedmlp.examples.{name}")


def example_index() -> str:
    """The list of programs."""
    lines = ["# Programs", "", summary_of_examples(), ""]
    for title, group in examples.CHAPTERS.items():
        lines += [f"## {title}", "", tables.table(("program", "what it is about"), (
            (f"[`{name}`]({name}.md)", _module(name).__doc__.splitlines()[0]) for name in group)),
            ""]
    return "\n".join(lines)


def summary_of_examples() -> str:
    """What the index says of the programs."""
    return ("Each program takes one subject, prints its numbers and, where there is something to "
            "see, draws its picture. They come with the package: `python -m fusedmlp.examples` "
            "lists them, `python -m fusedmlp.examples.neuron` runs one.")


def example(name: str) -> str:
    """The page of a program: what it is about, what it prints and draws, its source."""
    module = _module(name)
    title, _, rest = inspect.cleandoc(module.__doc__).partition("\n")
    command = f"python -m fusedmlp.examples.{name}"
    rest = re.sub(rf"^::\n\n +{re.escape(command)}\n", "", rest, flags=re.MULTILINE)
    rest = re.sub(r"::$", ":", rest, flags=re.MULTILINE)
    source = inspect.getsource(module)
    return "\n".join([
        f"# {name.replace('_', ' ').capitalize()}", "", title, "", rest.strip(), "",
        "```sh", command, "```", "",
        f"<!-- result {name} -->", "",
        "## Source", "", "``` { .python }", source.rstrip(), "```", ""])


# -- reference -----------------------------------------------------------------------------------

def _elsewhere(item, name: str) -> bool:
    """Whether an object is a public name of the module of the package that it comes from."""
    package, _, rest = item.__module__.partition(".")
    home = rest.split(".")[0]
    return package != "fusedmlp" or (
        home in fm._MODULES and name in getattr(getattr(fm, home), "__all__", ()))


def reference_modules() -> dict[str, list[str]]:
    """Names that the reference describes, by public module.

    Another name for the same object is left out, and what only belongs to another module.
    """
    found = {}
    names = [*fm._MODULES, *fm._OPTIONAL, "optimizers.schedules", "diagnostics"]
    for module in dict.fromkeys(names):
        namespace = importlib.import_module(f"fusedmlp.{module}")
        entries = []
        for name in getattr(namespace, "__all__", ()):
            item = getattr(namespace, name)
            if ((inspect.isclass(item) or inspect.isfunction(item))
                    and getattr(item, "__name__", name) == name
                    and (f"{item.__module__}.".startswith(f"fusedmlp.{module}.")
                         or not _elsewhere(item, name))):
                entries.append(name)
        if entries:
            found[module] = sorted(entries, key=str.lower)
    return dict(sorted(found.items()))


def reference_index() -> str:
    """The list of public modules, and the names of the package itself."""
    rows = []
    for module, entries in reference_modules().items():
        text = tables.summary(importlib.import_module(f"fusedmlp.{module}"))
        rows.append((f"[`fusedmlp.{module}`]({module}.md)", text, str(len(entries))))
    direct = ", ".join(f"`{name}`" for name in fm.__all__ if inspect.isclass(getattr(fm, name)))
    return "\n".join([
        "# Reference", "",
        f"The package itself has {direct} and the modules below, which are loaded when they are "
        "first used.", "", tables.table(("module", "what it is for", "names"), rows), ""])


# What a class has from others and people look for under its own name.
_INHERITED = {"models": ("Model",)}


def reference(module: str) -> str:
    """The page of a public module, which mkdocstrings fills."""
    lines = [f"# fusedmlp.{module}", "",
             tables.summary(importlib.import_module(f"fusedmlp.{module}")), ""]
    for name in reference_modules()[module]:
        lines += [f"::: fusedmlp.{module}.{name}", "    options:", "      show_root_heading: true",
                  "      show_root_toc_entry: true"]
        if name in _INHERITED.get(module, ()):
            lines += ["      inherited_members: true"]
        lines += [""]
    return "\n".join(lines)


def license_page() -> str:
    """The license."""
    text = (ROOT / "LICENSE").read_text("utf-8").strip()
    return f"# License\n\n{textwrap.dedent(text)}\n"


def generated() -> dict[str, str]:
    """The pages that nobody writes, by their path."""
    found = {"examples/index.md": example_index(), "reference/index.md": reference_index(),
             "license.md": license_page()}
    found |= {f"examples/{name}.md": example(name) for name in programs()}
    found |= {f"reference/{module}.md": reference(module) for module in reference_modules()}
    return found


def hand_written() -> dict[str, str]:
    """The pages that people write, with what they ask for, by their path."""
    return {path.relative_to(HAND_WRITTEN).as_posix(): expanded(path.read_text("utf-8"))
            for path in sorted(HAND_WRITTEN.rglob("*.md"))}


def pages() -> dict[str, str]:
    """All pages, by their path."""
    return hand_written() | generated()
