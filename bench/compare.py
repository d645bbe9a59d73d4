"""Two commits, built apart and measured in turns: did a change help?

Each commit is exported to a temporary folder and installed, not editable, into a virtual
environment of its own; then this folder's benchmarks run in both alternately, without peers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

from . import timing

_ROOT = Path(__file__).resolve().parent.parent


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m bench compare",
        description="Build two commits and run a benchmark in both alternately.",
    )
    parser.add_argument("before", metavar="REV_A")
    parser.add_argument("after", metavar="REV_B")
    parser.add_argument("--rounds", type=int, default=5, metavar="N",
                        help="runs of each commit (default 5)")
    parser.add_argument("benchmark", nargs="+", metavar="SUBJECT ...",
                        help="after --: what to run, for instance: train --only tiny")
    return parser


def _build(revision, folder):
    """Export a commit and install it in a new virtual environment; the interpreter's path."""
    source = Path(folder, "source")
    archive = Path(folder, "source.tar")
    subprocess.run(["git", "-C", str(_ROOT), "archive", "-o", str(archive), revision], check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(source, filter="data")
    venv.create(Path(folder, "venv"), with_pip=True)
    python = Path(folder, "venv", "Scripts" if os.name == "nt" else "bin", "python")
    environment = {**os.environ, "FUSEDMLP_REQUIRE_EXTENSIONS": "1"}
    subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check",
                    str(source)], check=True, env=environment)
    return str(python)


def _run(python, benchmark, target):
    """Run a benchmark of this working tree with an installed commit; its rows by workload."""
    subprocess.run([python, "-m", "bench", *benchmark, "--peers", "none", "--json", str(target)],
                   check=True, cwd=_ROOT, stdout=subprocess.DEVNULL)
    rows = json.loads(Path(target).read_text("utf-8"))["rows"]
    return {(row["workload"], name): row["turns"][name] for row in rows for name in row["ours"]}


def main(arguments):
    """Print, for every workload, the medians of both commits and how many times faster B is."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        pythons = []
        for side, revision in (("a", options.before), ("b", options.after)):
            Path(folder, side).mkdir()
            print(f"building {revision}", flush=True)
            pythons.append(_build(revision, Path(folder, side)))
        turns = ({}, {})
        for number in range(options.rounds):
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                result = _run(pythons[side], options.benchmark, Path(folder, "result.json"))
                for key, values in result.items():
                    turns[side].setdefault(key, []).append(timing.median(values))
            print(f"round {number + 1} of {options.rounds}", flush=True)
    print(f"\nmedian seconds of {options.rounds} alternating runs; "
          "lowest and highest ratio of one round")
    print(f"{'workload':28} {options.before:>14} {options.after:>14}  A / B")
    for key, before in turns[0].items():
        after = turns[1][key]
        ratios = [a / b for a, b in zip(before, after, strict=True)]
        a, b = timing.median(before), timing.median(after)
        print(f"{': '.join(key):28} {a:14.4g} {b:14.4g}  {a / b:.3f}  "
              f"({min(ratios):.3f} to {max(ratios):.3f})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
