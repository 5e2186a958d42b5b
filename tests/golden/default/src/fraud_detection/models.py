"""`uv run models`: what serves where, releases of model versions, and the way back. For people and for CI."""

import json
import os
import secrets
import shutil
import subprocess
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.tracking import MlflowClient
from mlflow.utils.rest_utils import get_workspace_client

from . import registry

TARGETS = ["dev", "staging", "prod"]


class CommandError(RuntimeError):
    """What was asked for cannot be done; the message says what to do instead."""


@dataclass(frozen=True)
class Target:
    """One environment of the bundle, in a workspace or on the laptop."""

    name: str
    local: bool
    resources: dict[str, Any]
    host: str

    @property
    def model(self) -> str:
        """Three-part name of the registered model."""
        return self.resources["registered_models"]["model"]["id"]

    def connect(self) -> MlflowClient:
        """Point MLflow at this environment, and return a client of its registry."""
        if self.local:
            from local.engine import environment

            os.environ.update(environment(Path.cwd()))
        else:
            os.environ["DATABRICKS_HOST"] = self.host
            get_workspace_client.cache_clear()  # MLflow would go on talking to the workspace of the target before
            mlflow.set_tracking_uri("databricks")
        return registry.connect()

    def signed_in(self) -> str:
        """Return who works with this environment: a user or a service principal of its workspace, or of the laptop."""
        self.connect()
        return registry.signed_in()


def databricks(*arguments: str) -> str:
    """Call the Databricks CLI and return what it prints; its progress and errors go to the terminal.

    Raises:
        CommandError: if it is not installed, or fails.
    """
    executable = shutil.which("databricks")
    if executable is None:
        raise CommandError("The Databricks CLI is not on the PATH. Install it, or add --local for the laptop.")
    result = subprocess.run([executable, *arguments], stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise CommandError(f"databricks {' '.join(arguments[:3])} failed, see above.")
    return result.stdout


def open_target(name: str, local: bool) -> Target:
    """Return the environment `name` with the names that its resources have there."""
    if local:
        from local.bundle import load_bundle

        bundle = load_bundle(Path.cwd(), name)
        return Target(name, local, bundle["resources"], bundle["workspace"]["host"])
    summary = json.loads(databricks("bundle", "summary", "--target", name, "--output", "json"))
    resources, host = summary["resources"], summary["workspace"]["host"]
    # Only who deployed finds the deployment. Everybody else knows the model by its name.
    model, schema = resources["registered_models"]["model"], resources["schemas"]["schema"]
    model.setdefault("id", f"{schema['catalog_name']}.{schema['name']}.{model['name']}")
    return Target(name, local, resources, host)


def deployed_commit(target: Target) -> str:
    """Return the git commit of the code that runs in `target`, `-` for who cannot see the deployment."""
    if target.local:
        from local.engine import deployed_commits

        return deployed_commits(Path.cwd()).get(target.name, "-")
    from databricks.sdk import WorkspaceClient

    if "id" not in target.resources["jobs"]["inference"]:
        return "-"
    job = WorkspaceClient(host=target.host).jobs.get(int(target.resources["jobs"]["inference"]["id"]))
    tasks = (job.settings.tasks if job.settings else None) or []
    parameters = [task.python_wheel_task.named_parameters or {} for task in tasks if task.python_wheel_task]
    return next((found["git_commit"] for found in parameters if "git_commit" in found), "-")


def describe(target: Target) -> dict[str, str]:
    """Return what the registry knows of the versions that matter in `target`, by label."""
    client = target.connect()
    versions = {
        alias: registry.find(client, target.model, alias)
        for alias in (registry.CHAMPION, registry.CHALLENGER, registry.PREVIOUS)
    }
    champion, challenger = versions[registry.CHAMPION], versions[registry.CHALLENGER]
    rows = {"code deployed": (deployed_commit(target) or "-")[:12], "model": target.model}
    rows |= {alias: str(version.version) if version else "-" for alias, version in versions.items()}
    if challenger:
        rows[registry.CHALLENGER] += f" ({challenger.tags.get('validation_status', 'PENDING')})"
    tags = champion.tags if champion else {}

    def join(*names: str, between: str) -> str:
        return between.join(tags[name] for name in names) if all(name in tags for name in names) else "-"

    return rows | {
        "trained in": tags.get("environment", "-"),
        "trained at": tags.get("trained_at", "-"),
        "trained from commit": (tags.get("git_commit") or "-")[:12],
        "training data": join("training_table", "training_table_version", between=" version "),
        "training days": join("training_start", "training_end", between=" to "),
        "training rows": tags.get("training_rows", "-"),
        "received from": join("source_model", "source_version", between=" version "),
        "average precision": tags.get("average_precision", "-"),
        "approved by": tags.get("approved_by", "-"),
        "approved at": tags.get("approved_at", "-"),
    }


def status(targets: list[str], local: bool) -> str:
    """Return a table with one column per target."""
    rows = {name: describe(open_target(name, local)) for name in targets}
    return pd.DataFrame(rows).map(one_line).to_string()


def one_line(text: str) -> str:
    """Return a text from a registry without what a terminal or the log of a pipeline takes for a command."""
    return "".join(character if character.isprintable() else "?" for character in text).replace("##", "# #")


def roll_back(target: Target, by: str, reason: str, take_over: bool = False) -> str:
    """Make the previous champion of `target` serve again, and return one sentence on what was done.

    Args:
        by: who decides; empty for whoever is signed in.
        take_over: whether every other operation on the model is known to be dead.
    """
    client = target.connect()
    registry.way_back(client, target.model)
    with registry.alone(client, target.model, f"rollback_{secrets.token_hex(4)}", take_over):
        now, before = registry.roll_back(client, target.model, by or target.signed_in(), reason)
    return (
        f"Version {now.version} of {target.model} serves again in {target.name}; "
        f"version {before.version} does not any more."
    )


def short_enough(text: str) -> str:
    """Return a text that fits into a tag.

    Raises:
        ArgumentTypeError: if it does not.
    """
    if len(text) > registry.LONGEST_TAG:
        raise ArgumentTypeError(f"has {len(text)} characters: write at most {registry.LONGEST_TAG}")
    return text


def parse_arguments() -> Namespace:
    parser = ArgumentParser(prog="models", description="What serves where, releases of model versions, and rollback.")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("status", help="champion, challenger and previous of each environment")
    back = commands.add_parser("rollback", help="the previous champion serves again")
    asking, deciding = [show], [back]

    show.add_argument("--target", choices=TARGETS, help="one environment only")
    for command in deciding:
        command.add_argument("--target", choices=TARGETS, required=True)
        command.add_argument("--reason", type=short_enough, default="not given", help="recorded on the version")
        command.add_argument("--by", type=short_enough, default="", help="who decides, if not whoever is signed in")
    back.add_argument("--take-over", action="store_true", help="go ahead of a release or rollback that was cut off")
    for command in (*asking, *deciding):
        command.add_argument("--local", action="store_true", help="the laptop, not a workspace")
    arguments = parser.parse_args()
    return arguments


def carry_out(arguments: Namespace) -> str:
    """Do what the command line says, and return what to print."""
    if arguments.command == "status":
        return status([arguments.target] if arguments.target else TARGETS, arguments.local)
    target = open_target(arguments.target, arguments.local)
    return roll_back(target, arguments.by, arguments.reason, arguments.take_over)


def main() -> None:
    arguments = parse_arguments()
    try:
        print(carry_out(arguments))
    except (CommandError, registry.RegistryError) as error:
        raise SystemExit(f"models: {error}") from None
