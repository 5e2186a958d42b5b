"""Stands in for `jq` with the library of it that comes from PyPI, so that no machine needs the program.

It knows the options that pipelines use, and refuses any other.
"""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path

import jq


def main() -> None:
    parser = ArgumentParser(prog="jq", allow_abbrev=False)
    parser.add_argument("--raw-output", action="store_true")
    parser.add_argument("--null-input", action="store_true")
    parser.add_argument("--arg", nargs=2, action="append", default=[])
    parser.add_argument("--rawfile", nargs=2, action="append", default=[])
    parser.add_argument("filter")
    given = parser.parse_args()
    values = dict(given.arg) | {name: Path(file).read_text(encoding="utf-8") for name, file in given.rawfile}
    program = jq.compile(given.filter, args=values)
    for found in program.input_value(None) if given.null_input else program.input_text(sys.stdin.read()):
        print(found if given.raw_output and isinstance(found, str) else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
