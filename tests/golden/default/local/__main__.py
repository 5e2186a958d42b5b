"""`uv run python -m local`: run one job, play the whole lifecycle, show what serves where, and who may read what."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from . import access

ROOT = Path(__file__).parents[1]


def parse_arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m local", description="The workspaces of this project, on a laptop.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a job of a target")
    run.add_argument("target")
    run.add_argument("job")
    run.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="override a job parameter")
    commands.add_parser("lifecycle", help="play the model's life from the first training to a rollback")
    commands.add_parser("status", help="show what serves where")
    commands.add_parser("access", help="write who may read and write what into docs/access.md")
    arguments = parser.parse_args()
    if arguments.command == "run" and (wrong := [text for text in arguments.param if "=" not in text]):
        parser.error(f"--param {wrong[0]} has no value: write --param NAME=VALUE")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.command == "access":
        print(f"{access.table(ROOT)}\n\nWritten to {access.update(ROOT).relative_to(ROOT)}.")
        return
    # Imported late: the help text and a mistyped command should not wait for Spark and MLflow.
    from fraud_detection import models

    from .bundle import BundleError
    from .jobs import JobError, laptop
    from .lifecycle import tell
    from .story import BrokenPromiseError, play

    try:
        if arguments.command == "run":
            with laptop(ROOT) as machine:
                parameters = dict(text.split("=", 1) for text in arguments.param)
                machine.run(arguments.target, arguments.job, parameters)
        elif arguments.command == "lifecycle":
            play(ROOT, tell)
        else:
            print(models.status(models.TARGETS, local=True))
    except (BundleError, JobError, BrokenPromiseError) as error:
        sys.exit(f"local: {error}")


if __name__ == "__main__":
    main()
