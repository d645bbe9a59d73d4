"""Docstrings as the site shows them: doctests outside a section "Examples" as code, too."""

from __future__ import annotations

import re

from griffe import Extension

# A blank line, then lines of a doctest and what it prints, up to the next blank line.
_DOCTEST = re.compile(r"(?:^[ ]*>>> .*\n?(?:^[ ]*\S.*\n?)*\n?)+", re.MULTILINE)
_EXAMPLES = re.compile(r"^Examples\n-+\n", re.MULTILINE)


def fenced(text: str) -> str:
    """A docstring with fences around its doctests, but for those of a section "Examples".

    The colons before an indented block, which is code in Markdown anyway, become one.
    """
    text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
    if _EXAMPLES.search(text) or ">>> " not in text:
        return text
    return _DOCTEST.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n\n", text)


class Doctests(Extension):
    """Griffe's extension that puts fences around doctests."""

    def on_object(self, *, obj, **kwargs) -> None:
        """Change the docstring of a function, class or module that was found."""
        if obj.docstring is not None and not obj.is_alias:
            obj.docstring.value = fenced(obj.docstring.value)
