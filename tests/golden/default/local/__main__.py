"""`uv run python -m local`: the workspaces of this project on a laptop, from single jobs to the whole lifecycle."""

import io
import os
import sys
import traceback
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from functools import partial
from pathlib import Path

from . import access
from .adopt import ROLES
from .bundle import find_job, load_bundle
from .engine import QUIET, STATE
from .reasons import is_own, reason
from .terminal import waiting

ROOT = Path(__file__).parents[1]
ERROR_LOG = f"{STATE}/error.log"
EXAMPLES = {
    "run": """
  uv run python -m local run dev sample_data
  uv run python -m local run dev training --param days=60""",
    "adopt": """
  uv run python -m local adopt orders.csv
  uv run python -m local adopt orders.csv --key id --time sold_at --label paid""",
    "status": """
  uv run python -m local status""",
    "access": """
  uv run python -m local access""",
}
if (ROOT / "lifecycle").exists():
    EXAMPLES["lifecycle"] = """
  uv run python -m local lifecycle"""
    EXAMPLES["exercise"] = """
  uv run python -m local exercise
  uv run python -m local exercise gate"""


def parse_arguments(arguments: list[str] | None = None) -> Namespace:
    parser = ArgumentParser(
        prog="python -m local",
        description="The workspaces of this project, on a laptop.",
        epilog="examples:" + "".join(EXAMPLES.values()) + "\n  uv run python -m local models status --target dev",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.set_defaults(traceback=False)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, what: str) -> ArgumentParser:
        epilog, layout = f"examples:{EXAMPLES[name]}", RawDescriptionHelpFormatter
        command = commands.add_parser(name, help=what, description=what, epilog=epilog, formatter_class=layout)
        command.add_argument("--traceback", action="store_true", help="if it fails, show where in the code")
        return command

    run = add("run", "run a job of a target")
    run.add_argument("target")
    run.add_argument("job")
    run.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="override a job parameter")
    if "lifecycle" in EXAMPLES:
        add("lifecycle", "play the model's life from the first training to a rollback")
        solving = add("exercise", "say which exercises of docs/exercises.md are solved")
        solving.add_argument("name", nargs="?", default="", help="judge one of them, or `begin` with an empty laptop")
    adopting = add("adopt", "make a file or a table of your own the problem of this project")
    adopting.add_argument("table", metavar="FILE_OR_TABLE", help="a CSV or Parquet file, or catalog.schema.table")
    for role, meaning in ROLES.items():
        adopting.add_argument(f"--{role.replace('_', '-')}", metavar="COLUMN", help=meaning)
    adopting.add_argument("--force", action="store_true", help="write without asking, over whatever is there")
    add("status", "show what serves where")
    commands.add_parser("models", help="what `uv run models` does, on the laptop", add_help=False)
    add("access", "write who may read and write what into docs/access.md")
    found, rest = parser.parse_known_args(arguments)
    found.rest = rest
    if rest and found.command != "models":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if found.command == "run" and (wrong := [text for text in found.param if "=" not in text]):
        run.error(f"--param {wrong[0]} has no value: write --param NAME=VALUE")
    return found


def carry_out(arguments: Namespace) -> None:
    """Do what the command line says.

    What names a target or a job is checked, and refused, before Spark and MLflow are imported.
    """
    if arguments.command == "access":
        print(f"Written to {access.update(ROOT).relative_to(ROOT)}. See what has changed: git diff")
        return
    if arguments.command == "adopt":
        from .adopt.command import adopt

        adopt(ROOT, arguments.table, {role: getattr(arguments, role) for role in ROLES}, arguments.force)
        return
    if arguments.command == "run":
        parameters = dict(text.split("=", 1) for text in arguments.param)
        find_job(load_bundle(ROOT, arguments.target), arguments.job, parameters)
        from .jobs import laptop

        with laptop(ROOT) as machine:
            machine.run(arguments.target, arguments.job, parameters)
    elif arguments.command == "lifecycle":
        from .jobs import laptop
        from lifecycle import fresh_state

        fresh_state(ROOT)
        with laptop(ROOT) as machine:  # which imports what tasks need, while this process imports the story
            from lifecycle.pattern import tell
            from lifecycle.story import play

            play(machine, tell)
    elif arguments.command == "exercise":
        from lifecycle.exercises import exercise

        with waiting("the exercises are judged"):
            found = exercise(ROOT, arguments.name)
        print(found)
    else:
        with waiting("MLflow starts"):
            from fraud_detection import models

            from .environment import open_environment

        opened = partial(open_environment, ROOT)
        if arguments.command == "models":
            models.main(arguments.rest, opened, prog="python -m local models")
        else:
            print(models.status([opened(target) for target in models.TARGETS]))


def main() -> None:
    arguments = parse_arguments()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a pipe of Windows may lack characters
    try:
        carry_out(arguments)
    except (EOFError, KeyboardInterrupt):
        sys.exit("local: interrupted")
    except Exception as error:
        log = getattr(error, "log", None)  # of the task that failed
        where = log.read_text(encoding="utf-8", errors="replace") if log else traceback.format_exc()
        if arguments.traceback:
            print(where, file=sys.stderr)
        if is_own(error):
            sys.exit(f"local: {error}")
        (ROOT / STATE).mkdir(exist_ok=True)
        (ROOT / ERROR_LOG).write_text(where, encoding="utf-8")
        sys.exit(f"local: {reason(error)}\nThis error was not expected. Where in the code: --traceback, or {ERROR_LOG}")


if __name__ == "__main__":
    main()
