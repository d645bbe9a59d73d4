"""``python -m bench SUBJECT``: verify, time alternately, print."""

from __future__ import annotations

import argparse
import difflib
import sys

from . import (
    cases,
    compare,
    elementwise,
    import_time,
    optimizer,
    options,
    peers,
    predict,
    report,
    sklearn,
    train,
    xent,
)
from .gpu import command as gpu
from .machine import Machine

SUBJECTS = {
    "train": train, "predict": predict, "elementwise": elementwise, "xent": xent,
    "optimizer": optimizer, "import": import_time, "sklearn": sklearn,
}


_QUIET = 0.05
_DISTURBED = ": libraries that wait for threads in a loop suffer most; run again on a quiet machine"
_SHOWN = ("backend", "instruction_set", "threads", "floatx")


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__,
        epilog="python -m bench compare REV_A REV_B -- SUBJECT ... measures two commits; "
               "python -m bench gpu [SUBJECT ...] measures on an NVIDIA GPU.",
    )
    parser.add_argument("subject", choices=SUBJECTS)
    options.add(parser, "workloads")
    parser.add_argument("--peers", nargs="+", metavar="NAME",
                        help="only these peers (see bench/peers), or none")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table as well")
    parser.add_argument("--png", metavar="FILE", help="draw a chart (needs matplotlib)")
    return parser


def _chosen(subject, only):
    """Workload names that --only asks for."""
    names = []
    for wanted in only:
        found = [n for n in subject.NAMES if wanted in (n, n.split(",")[0])]
        if not found:
            close = difflib.get_close_matches(wanted, subject.NAMES, n=3, cutoff=0.3)
            raise ValueError(f"Unknown workload: expected some of {'; '.join(subject.NAMES)} "
                             f"(nearest: {'; '.join(close) or 'none'}). Received: {wanted!r}")
        names += found
    return names


def main(arguments=None):
    """Run one subject; the exit status is 1 if this library's own result was wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["compare"]:
        return compare.main(arguments[1:])
    if arguments[:1] == ["gpu"]:
        return gpu.main(arguments[1:])
    parser = _parser()
    given = parser.parse_args(arguments)
    subject = SUBJECTS[given.subject]
    turns = options.turns(parser, given)
    turns = min(turns, getattr(subject, "MOST_TURNS", turns))
    try:
        default = subject.QUICK if given.quick else subject.NAMES
        names = _chosen(subject, given.only) if given.only else default
        adapters, missing = peers.load(given.peers)
    except ValueError as error:
        parser.error(str(error))
    if "fused" in missing:
        print(f"fusedmlp cannot be imported: {missing['fused']}", file=sys.stderr)
        return 1

    machine = Machine()
    versions = peers.versions(adapters)
    print(machine)
    settings = peers.settings(adapters)
    print(", ".join(f"{name} {number}" for name, number in versions.items()))
    for name, facts in settings.items():
        print(f"{name}: {', '.join(f'{k} {facts[k]}' for k in _SHOWN if k in facts)}")
    for name, reason in missing.items():
        print(f"{name}: {reason}")
    rows = []
    for case in subject.cases(names, adapters):
        row = cases.measure(case, turns, machine)
        getattr(subject, "finish", lambda row: None)(row)
        rows.append(row)
        if sys.stdout.isatty():
            print(f"  {case.name} done", file=sys.stderr)
    machine.measure()
    print()
    print(report.table(rows, subject))
    others = machine.others()
    if others is not None:
        print(f"other processes used {others:.0%} of the machine during the run"
              + (_DISTURBED if others > _QUIET else ""))
    if given.markdown:
        print(f"\n{report.markdown(rows, subject)}")
    if given.json:
        report.save(given.json, given.subject, rows, machine=machine.describe(),
                    versions=versions, settings=settings, missing=missing)
    if given.png:
        report.chart(given.png, rows, subject)
    return int(any(not row["ours"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
