"""The command line: ``python -m fusedmlp info | bench``.

It only reads arguments and prints; what it prints comes from `fusedmlp.config`.  The benchmarks lie
in the folder ``bench`` of a source checkout and are not installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from . import config

_BENCH = "bench"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.

    Returns
    -------
    int
        0 on success, 1 if what was asked for is not there, 2 for wrong arguments.

    Examples
    --------
    >>> main(["info"])                                                      # doctest: +ELLIPSIS
    fusedmlp ...
    0
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser, commands = _parser()
    if not arguments:
        parser.print_help()
        return 2
    command = arguments[0]
    if not command.startswith("-") and command not in commands:
        print(
            f"python -m fusedmlp: Unknown command: expected one of {', '.join(commands)}. "
            f"Received: {command!r}", file=sys.stderr)
        return 2
    if command == _BENCH:  # its options are its own
        return _run_bench(arguments[1:])
    return _show_info(parser.parse_args(arguments).json)


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m fusedmlp", description="Multilayer perceptrons on NumPy arrays.")
    parser.add_argument("--version", action="version", version=f"fusedmlp {config.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    info = commands.add_parser(
        "info", help="show versions, backends and why they were rejected, threads, compiler",
        description="Show versions, backends, threads and how the kernels were compiled. "
                    "The exit status is 1 if the backend that was asked for cannot be used.")
    info.add_argument("--json", action="store_true", help="print JSON instead of text")
    commands.add_parser(
        _BENCH, add_help=False, help="measure against peers (in a source checkout)")
    return parser, tuple(commands.choices)


def _show_info(as_json):
    details = config.info()
    if as_json:
        print(json.dumps(details, indent=2))
    else:
        config.show()
    return 1 if "problem" in details else 0


def _run_bench(arguments):
    found = importlib.util.find_spec(_BENCH)
    root = Path(found.origin).parent.parent if found is not None and found.origin else None
    if root is None or not (root / "src" / "fusedmlp").is_dir():
        print(
            "python -m fusedmlp bench: the benchmarks are not installed with the package. "
            "Run the command in the root of a source checkout, where the folder `bench` is.",
            file=sys.stderr,
        )
        return 1
    return importlib.import_module(f"{_BENCH}.__main__").main(arguments)


if __name__ == "__main__":
    sys.exit(main())
