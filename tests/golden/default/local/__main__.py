"""`uv run python -m local`: the workspaces of this project on a laptop, from single jobs to the whole lifecycle."""

import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from . import access
from .adopt import ROLES

ROOT = Path(__file__).parents[1]


def parse_arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m local", description="The workspaces of this project, on a laptop.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a job of a target")
    run.add_argument("target")
    run.add_argument("job")
    run.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="override a job parameter")
    if (ROOT / "lifecycle").exists():
        commands.add_parser("lifecycle", help="play the model's life from the first training to a rollback")
    adopting = commands.add_parser("adopt", help="make a file or a table of your own the problem of this project")
    adopting.add_argument("table", metavar="FILE_OR_TABLE", help="a CSV or Parquet file, or catalog.schema.table")
    for role, meaning in ROLES.items():
        adopting.add_argument(f"--{role.replace('_', '-')}", metavar="COLUMN", help=meaning)
    adopting.add_argument("--force", action="store_true", help="write without asking, over whatever is there")
    commands.add_parser("status", help="show what serves where")
    commands.add_parser("models", help="what `uv run models` does, on the laptop", add_help=False)
    commands.add_parser("access", help="write who may read and write what into docs/access.md")
    arguments, rest = parser.parse_known_args()
    arguments.rest = rest
    if rest and arguments.command != "models":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if arguments.command == "run" and (wrong := [text for text in arguments.param if "=" not in text]):
        parser.error(f"--param {wrong[0]} has no value: write --param NAME=VALUE")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.command == "access":
        print(f"{access.table(ROOT)}\n\nWritten to {access.update(ROOT).relative_to(ROOT)}.")
        return
    if arguments.command == "adopt":
        from .adopt.command import adopt
        from .adopt.reading import AdoptError

        try:
            adopt(ROOT, arguments.table, {role: getattr(arguments, role) for role in ROLES}, arguments.force)
        except AdoptError as error:
            sys.exit(f"local: {error}")
        except (EOFError, KeyboardInterrupt):
            sys.exit("local: interrupted")
        return
    # Imported late: the help text and a mistyped command should not wait for Spark and MLflow.
    from .bundle import BundleError
    from .jobs import JobError, laptop

    try:
        if arguments.command == "run":
            with laptop(ROOT) as machine:
                parameters = dict(text.split("=", 1) for text in arguments.param)
                machine.run(arguments.target, arguments.job, parameters)
        elif arguments.command == "lifecycle":
            from lifecycle import fresh_state

            fresh_state(ROOT)
            with laptop(ROOT) as machine:  # which imports what tasks need, while this process imports the story
                from lifecycle.pattern import tell
                from lifecycle.story import play

                play(machine, tell)
        else:
            from fraud_detection import models

            from .environment import open_environment

            opened = partial(open_environment, ROOT)
            if arguments.command == "models":
                models.main(arguments.rest, opened, prog="python -m local models")
            else:
                print(models.status([opened(target) for target in models.TARGETS]))
    except (BundleError, JobError, AssertionError) as error:  # the last one is a promise that the lifecycle saw broken
        sys.exit(f"local: {error}")


if __name__ == "__main__":
    main()
