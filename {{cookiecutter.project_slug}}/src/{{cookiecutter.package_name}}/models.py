"""`uv run models`: what serves where, and the way back. For people and CI, against a workspace or the laptop."""

import getpass
import json
import os
import shutil
import subprocess
from argparse import ArgumentParser, Namespace
from pathlib import Path

import mlflow
import pandas as pd

from . import registry

TARGETS = ["dev", "staging", "prod"]


class CommandError(RuntimeError):
    """What was asked for cannot be done; the message says what to do instead."""


def connect(target: str, local: bool) -> str:
    """Point MLflow at the registry of `target`, and return the name of its model.

    Raises:
        CommandError: if the bundle cannot be read.
    """
    if local:
        from local.bundle import load_bundle
        from local.engine import environment

        os.environ.update(environment(Path.cwd()))
        resources = load_bundle(Path.cwd(), target)["resources"]
        return resources["registered_models"]["model"]["id"]

    executable = shutil.which("databricks")
    if executable is None:
        raise CommandError("The Databricks CLI is not on the PATH. Install it, or add --local for the laptop.")
    command = [executable, "bundle", "summary", "--target", target, "--output", "json"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise CommandError(f"databricks bundle summary --target {target} failed:\n{result.stderr.strip()}")
    summary = json.loads(result.stdout)
    model = summary["resources"]["registered_models"]["model"]
    if "id" not in model:
        raise CommandError(f"{target} is not deployed yet. Run: databricks bundle deploy --target {target}")
    os.environ["DATABRICKS_HOST"] = summary["workspace"]["host"]
    mlflow.set_tracking_uri("databricks")
    return model["id"]


def describe(model: str) -> dict[str, str]:
    """Return what the registry knows of the versions of `model` that matter, by label."""
    client = registry.connect()
    aliases = (registry.CHAMPION, registry.CHALLENGER, registry.PREVIOUS)
    versions = {alias: registry.find(client, model, alias) for alias in aliases}
    rows = {"model": model} | {alias: version.version if version else "-" for alias, version in versions.items()}
    champion = versions[registry.CHAMPION]
    tags = champion.tags if champion else {}
    table = f"{tags['training_table']} version {tags['training_table_version']}" if "training_table" in tags else "-"
    return rows | {
        "trained in": tags.get("environment", "-"),
        "trained at": tags.get("trained_at", "-"),
        "training data": table,
        "training days": f"{tags['training_start']} to {tags['training_end']}" if tags else "-",
        "training rows": tags.get("training_rows", "-"),
        "average precision": tags.get("average_precision", "-"),
        "git commit": tags.get("git_commit", "-")[:12],
        "approved by": tags.get("approved_by", "-"),
        "approved at": tags.get("approved_at", "-"),
    }


def status(targets: list[str], local: bool) -> str:
    """Return a table with one column per target."""
    return pd.DataFrame({target: describe(connect(target, local)) for target in targets}).to_string()


def roll_back(target: str, local: bool, reason: str) -> str:
    """Make the previous champion of `target` serve again, and return one sentence on what was done."""
    model = connect(target, local)
    now, before = registry.roll_back(registry.connect(), model, by=getpass.getuser(), reason=reason)
    return f"Version {now.version} of {model} serves again in {target}; version {before.version} does not any more."


def parse_arguments() -> Namespace:
    parser = ArgumentParser(prog="models", description="What serves where, and the way back.")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("status", help="champion, challenger and previous of each environment")
    show.add_argument("--target", choices=TARGETS, help="one environment only")
    back = commands.add_parser("rollback", help="the previous champion serves again")
    back.add_argument("--target", choices=TARGETS, required=True)
    back.add_argument("--reason", default="not given", help="recorded on the version that stops serving")
    for command in (show, back):
        command.add_argument("--local", action="store_true", help="the laptop's registry, not a workspace")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    try:
        if arguments.command == "status":
            print(status([arguments.target] if arguments.target else TARGETS, arguments.local))
        else:
            print(roll_back(arguments.target, arguments.local, arguments.reason))
    except (CommandError, registry.RegistryError) as error:
        raise SystemExit(f"models: {error}") from None
