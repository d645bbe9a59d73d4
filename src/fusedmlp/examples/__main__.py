"""List the programs: ``python -m fusedmlp.examples``."""

from __future__ import annotations

import importlib

from . import CHAPTERS


def main():
    """Print the name of each program and what it is about."""
    print("Run one with: python -m fusedmlp.examples.NAME")
    for title, names in CHAPTERS.items():
        print(f"\n{title}")
        for name in names:
            module = importlib.import_module(f"{__package__}.{name}")
            print(f"  {name:22} {module.__doc__.splitlines()[0]}")


if __name__ == "__main__":
    main()
