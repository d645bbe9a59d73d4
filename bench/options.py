"""What the commands of the benchmark have in common: options, and the number of turns."""

from __future__ import annotations

__all__ = ["add", "turns"]

_QUICK_TURNS = 5


def add(parser, cases):
    """Give a parser of `argparse` the options of every command; `cases` says what --only names."""
    parser.add_argument("--only", nargs="+", metavar="NAME",
                        help=f"{cases}, by name or by the part before the comma")
    parser.add_argument("--repeat", type=int, default=15, metavar="N",
                        help="turns of every contender (default 15)")
    parser.add_argument("--quick", action="store_true",
                        help=f"few or small {cases}, {_QUICK_TURNS} turns")
    parser.add_argument("--json", metavar="FILE", help="write every turn to FILE")


def turns(parser, options):
    """How many turns are asked for; the parser ends the program where there are none."""
    if options.repeat < 1:
        parser.error(f"--repeat: expected at least 1. Received: {options.repeat}")
    return min(options.repeat, _QUICK_TURNS) if options.quick else options.repeat
