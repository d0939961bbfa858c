"""python -m bench [PART] [--quick] [--write]: measure all, or one part; print tables.

Each part starts what it needs: a PostgreSQL, stand-in PBXs, the services that are compared, or, as
root where it is installed, the real Asterisk of tests/pbx/lab. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import textwrap

from bench.part import NAMES, add_arguments, load_part, measure
from bench.report import Result, as_text, write
from bench.stage import LeftOut


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    common.add_argument("--write", action="store_true", help="keep it in bench/RESULTS.md")
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(dest="part", metavar="PART")
    for name in NAMES:
        part = load_part(name)
        own = parts.add_parser(
            name,
            help=part.SUMMARY,
            description=textwrap.dedent(part.__doc__ or ""),
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(own, part)
    return parser


def main() -> int:
    """Measure, print, keep it if that was asked for; 1 where the part that was named cannot be."""
    asked = vars(_parser().parse_args())
    is_quick, is_kept = asked.pop("quick", False), asked.pop("write", False)
    named = asked.pop("part")
    results: list[Result] = []
    left_out = False
    for name in [named] if named else NAMES:
        try:
            result = measure(name, asked, is_quick=is_quick)
        except LeftOut as why:
            left_out = True
            print(f"\n{name} is left out: {why}")
            continue
        results.append(result)
        print(f"\n{name}: {result.summary}\n{result.machine}\n{result.versions}")
        for table in result.tables:
            print(as_text(table))
        if is_kept:
            write([result])  # at once: a later part may fail
    return int(bool(named) and left_out)


if __name__ == "__main__":
    sys.exit(main())
