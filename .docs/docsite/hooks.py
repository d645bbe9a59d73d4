"""What MkDocs calls to get generated pages and pictures, and pages with what they ask for."""

from __future__ import annotations

import sys
from pathlib import Path

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from docsite import pages, pictures


def on_config(config):
    """Put the generated pages into the navigation, in the places of their folders."""
    folders = {"examples/": [{title: [f"examples/{name}.md" for name in group]}
                             for title, group in pages.examples.CHAPTERS.items()],
               "reference/": [f"reference/{module}.md" for module in pages.reference_modules()]}
    config.nav = [
        {title: [inner + "index.md", *folders[inner]] if inner in folders else inner
         for title, inner in entry.items()} if isinstance(entry, dict)
        and isinstance(next(iter(entry.values())), str) else entry for entry in config.nav]
    return config


def on_files(files: Files, config) -> Files:
    """Add what is generated."""
    programs = pages.programs()
    ran = pictures.results(programs) if config.extra["run_examples"] else {}
    for path, text in pages.generated().items():
        name = Path(path).stem
        if path.startswith("examples/") and name in programs:
            result = _result(name, *ran.get(name, ("", None)))
            text = text.replace(f"<!-- result {name} -->\n", result)
        files.append(File.generated(config, path, content=text))
    for name, (_, picture) in ran.items():
        if picture:
            files.append(File.generated(config, f"examples/{name}.png", content=picture))
    for path, text in pictures.graphs().items():
        files.append(File.generated(config, path, content=text))
    for path, source in pages.FILES.items():
        files.append(File.generated(config, path, abs_src_path=str(source)))
    return files


def _result(name: str, printed: str, picture: bytes | None) -> str:
    parts = []
    if picture:
        parts.append(f"![What the program draws]({name}.png){{ .drawn }}\n")
    if printed:
        parts.append(f"## What it prints\n\n```text\n{printed}\n```\n")
    return "\n".join(parts)


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Give a hand-written page what it asks for."""
    return pages.expanded(markdown)
