"""``python -m bench gpu [SUBJECT ...]``: verify, time in turns, print; needs an NVIDIA GPU."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .. import cases, report
from .. import options as common
from ..machine import version
from . import kernels, prediction, products, results, training

SUBJECTS = {"kernels": kernels, "products": products, "training": training,
            "prediction": prediction}
_DISTRIBUTIONS = ("fusedmlp", "numba-cuda", "nvidia-cublas", "torch", "jax", "numpy")


def problem():
    """Why nothing can be measured here, with the remedy; empty where it can."""
    from fusedmlp.kernels import cuda

    if cuda.simulated():
        return ("Numba's simulator is switched on, which measures nothing (unset "
                "NUMBA_ENABLE_CUDASIM)")
    return cuda.missing()


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m bench gpu", description=__doc__,
        epilog="Peers take part where PyTorch or JAX is installed with CUDA.")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT",
                        help=f"some of {', '.join(SUBJECTS)}; all unless given")
    common.add(parser, "cases")
    parser.add_argument("--results", metavar="FILE", nargs="?", const=str(results.PAGE),
                        help=f"write a page of tables to FILE ({results.PAGE.name} beside this)")
    return parser


def chosen(options):
    """Pairs of a subject and the names of its cases.

    Raises
    ------
    ValueError
        For a subject or a case that there is not.
    """
    unknown = [name for name in options.subjects if name not in SUBJECTS]
    if unknown:
        raise ValueError(f"Unknown subject: expected some of {', '.join(SUBJECTS)}. "
                         f"Received: {unknown[0]!r}")
    pairs, met = [], set()
    for name in options.subjects or SUBJECTS:
        subject = SUBJECTS[name]
        names = subject.QUICK if options.quick else subject.NAMES
        if options.only:
            met |= {w for w in options.only for n in subject.NAMES if w in (n, n.split(",")[0])}
            names = [n for n in subject.NAMES
                     if n in options.only or n.split(",")[0] in options.only]
        if names:
            pairs.append((subject, names))
    for wanted in options.only or ():
        if wanted not in met:
            raise ValueError(f"Unknown case. Received: {wanted!r}")
    return pairs


def main(arguments=None):
    """Run subjects; the exit status is 1 without a GPU, or if a result of ours was wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    turns = common.turns(parser, options)
    try:
        pairs = chosen(options)
    except ValueError as error:
        parser.error(str(error))
    reason = problem()
    if reason:
        print(f"python -m bench gpu measures on an NVIDIA GPU: {reason}", file=sys.stderr)
        return 1
    from .card import Card

    card = Card()
    versions = {name: version(name) for name in _DISTRIBUTIONS}
    versions = {name: number for name, number in versions.items() if number != "?"}
    print(card)
    print(", ".join(f"{name} {number}" for name, number in versions.items()))
    parts = []
    for subject, names in pairs:
        rows = [cases.measure(case, turns, card, subject.ALTERNATE)
                for case in subject.cases(names, card, options.quick)]
        parts.append((subject, rows))
        print(f"\n{report.table(rows, subject)}\nwanted: {subject.TARGET}")
    facts = card.describe()
    if options.json:
        text = json.dumps({"subject": "gpu", **facts, "versions": versions, "rows": {
            subject.__name__.rpartition(".")[2]: rows for subject, rows in parts}}, indent=1,
            ensure_ascii=False)
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        Path(options.json).write_text(text + "\n", "utf-8")
    if options.results:
        results.save(options.results, parts, facts, versions)
    return int(any(not row["ours"] for _, rows in parts for row in rows))
