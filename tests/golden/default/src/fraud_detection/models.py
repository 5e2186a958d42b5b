"""`uv run models`: what serves where, releases of model versions, and the way back. For people and for CI."""

import io
import json
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import textwrap
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient
from mlflow.utils.rest_utils import get_workspace_client

from .platform import registry
from .problem.metrics import HIGHER_IS_BETTER

TARGETS = ["dev", "staging", "prod"]
WIDTH = 80  # of what is printed: of a terminal, and of the page of a pipeline
MAIN_METRIC = next(iter(HIGHER_IS_BETTER))


class CommandError(RuntimeError):
    """What was asked for cannot be done; the message says what to do instead."""


@dataclass(frozen=True)
class Environment:
    """One target of the bundle, as it is deployed to its workspace."""

    name: str
    resources: dict[str, Any]
    host: str

    @property
    def model(self) -> str:
        """Three-part name of the registered model."""
        return self.resources["registered_models"]["model"]["id"]

    def connect(self) -> MlflowClient:
        """Point MLflow at this environment, and return a client of its registry."""
        os.environ["DATABRICKS_HOST"] = self.host
        get_workspace_client.cache_clear()  # MLflow would go on talking to the workspace of the target before
        mlflow.set_tracking_uri("databricks")
        return registry.connect()

    def signed_in(self) -> str:
        """Return who works with this environment: a user or a service principal of its workspace."""
        self.connect()
        return registry.signed_in()

    def deployed_commit(self) -> str:
        """Return the git commit of the code that runs here, `-` for whoever cannot see the deployment."""
        from databricks.sdk import WorkspaceClient

        if "id" not in self.resources["jobs"]["inference"]:
            return "-"
        job = WorkspaceClient(host=self.host).jobs.get(int(self.resources["jobs"]["inference"]["id"]))
        tasks = (job.settings.tasks if job.settings else None) or []
        parameters = [task.python_wheel_task.named_parameters or {} for task in tasks if task.python_wheel_task]
        return next((found["git_commit"] for found in parameters if "git_commit" in found), "-")


def databricks(*arguments: str) -> str:
    """Call the Databricks CLI and return what it prints; its progress and errors go to the terminal.

    Raises:
        CommandError: if it is not installed, or fails.
    """
    executable = shutil.which("databricks")
    if executable is None:
        raise CommandError(
            "The Databricks CLI is not on the PATH. Install it, or use the laptop: uv run python -m local models"
        )
    result = subprocess.run([executable, *arguments], stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise CommandError(f"databricks {' '.join(arguments[:3])} failed, see above.")
    return result.stdout


def deployed(name: str) -> Environment:
    """Return the environment `name` with the names that its resources have in its workspace."""
    summary = json.loads(databricks("bundle", "summary", "--target", name, "--output", "json"))
    resources, host = summary["resources"], summary["workspace"]["host"]
    # Only whoever deployed finds the deployment. Everybody else knows the model by its name.
    model, schema = resources["registered_models"]["model"], resources["schemas"]["schema"]
    model.setdefault("id", f"{schema['catalog_name']}.{schema['name']}.{model['name']}")
    return Environment(name, resources, host)


# How an environment is found by its name. The laptop brings its own.
Opener = Callable[[str], Environment]


def describe(target: Environment) -> dict[str, str]:
    """Return what the registry knows of the versions that matter in `target`, by label."""
    client = target.connect()
    versions = {
        alias: registry.find(client, target.model, alias)
        for alias in (registry.CHAMPION, registry.CHALLENGER, registry.PREVIOUS)
    }
    champion, challenger = versions[registry.CHAMPION], versions[registry.CHALLENGER]
    rows = {"code deployed": (target.deployed_commit() or "-")[:12], "model": target.model}
    rows |= {alias: str(version.version) if version else "-" for alias, version in versions.items()}
    if challenger:
        rows[registry.CHALLENGER] += f" ({challenger.tags.get('validation_status', 'PENDING')})"
    tags = champion.tags if champion else {}

    def join(*names: str, between: str) -> str:
        return between.join(tags[name] for name in names) if all(name in tags for name in names) else "-"

    def minute(name: str) -> str:
        return tags.get(name, "-")[:16].replace("T", " ")

    return rows | {
        "trained in": tags.get("environment", "-"),
        "trained at": minute("trained_at"),
        "trained from commit": (tags.get("git_commit") or "-")[:12],
        "training data": join("training_table", "training_table_version", between=" version "),
        "training days": join("training_start", "training_end", between=" to "),
        "training rows": tags.get("training_rows", "-"),
        "received from": join("source_model", "source_version", between=" version "),
        MAIN_METRIC.replace("_", " "): tags.get(MAIN_METRIC, "-"),
        "approved by": tags.get("approved_by", "-"),
        "approved at": minute("approved_at"),
    }


def status(environments: Sequence[Environment]) -> str:
    """Return what serves where: what is short side by side, the rest below it, without what no environment has."""
    found = {
        environment.name: {label: one_line(value) for label, value in describe(environment).items()}
        for environment in environments
    }
    labels = [
        label
        for label in next(iter(found.values()))
        if label == registry.CHAMPION or any(rows[label] != "-" for rows in found.values())
    ]
    if len(found) == 1:
        (rows,) = found.values()
        return table({label: rows[label] for label in labels})
    margin = max(map(len, labels))
    room = (WIDTH - margin) // len(found) - 2
    short = [label for label in labels if all(len(rows[label]) <= room for rows in found.values())]

    def line(label: str, values: Sequence[str]) -> str:
        return f"{label:{margin}}{''.join(f'  {value:{room}}' for value in values)}".rstrip()

    parts = [line("", list(found)), *(line(label, [rows[label] for rows in found.values()]) for label in short)]
    for name, rows in found.items():
        rest = {label: rows[label] for label in labels if label not in short and rows[label] != "-"}
        parts += ["", f"{name}:", table(rest, indent="  ")] if rest else []
    return "\n".join(parts)


def one_line(text: str) -> str:
    """Return a text from a registry without what a terminal or the log of a pipeline takes for a command."""
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return re.sub(r"([#:])(?=\1)", r"\1 ", printable)  # ##vso[…] of Azure DevOps, ::add-mask:: of GitHub


def table(rows: dict[str, str], indent: str = "") -> str:
    """Return labels and values as text: a pair in a line, or the value below its label where it is too long for that.

    No value is cut, and no word of one is divided: what is shown can be copied.
    """
    margin, lines = max(map(len, rows)), []
    below = textwrap.TextWrapper(WIDTH, f"{indent}  ", f"{indent}  ", break_long_words=False, break_on_hyphens=False)
    for label, value in ((label, one_line(value)) for label, value in rows.items()):
        line = f"{indent}{label:{margin}}  {value}"
        lines += [line] if len(line) <= WIDTH else [indent + label, *below.wrap(value)]
    return "\n".join(lines)


def roll_back(target: Environment, by: str, reason: str, take_over: bool = False) -> str:
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
        f"version {before.version} no longer does."
    )


def short_enough(text: str) -> str:
    """Return a text that fits into a tag.

    Raises:
        ArgumentTypeError: if it does not.
    """
    if len(text) > registry.LONGEST_TAG:
        raise ArgumentTypeError(f"has {len(text)} characters: write at most {registry.LONGEST_TAG}")
    return text


EXAMPLES = {
    "status": """
  {prog} status
  {prog} status --target dev""",
    "rollback": """
  {prog} rollback --target dev --reason "too many complaints\"""",
}


def parse_arguments(arguments: list[str] | None, prog: str) -> Namespace:
    layout, called = RawDescriptionHelpFormatter, f"uv run {prog}"
    parser = ArgumentParser(
        prog=prog,
        description="What serves where, releases of model versions, and rollback.",
        epilog=f"examples:{''.join(EXAMPLES.values())}".format(prog=called),
        formatter_class=layout,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, what: str) -> ArgumentParser:
        epilog = f"examples:{EXAMPLES[name]}".format(prog=called)
        command = commands.add_parser(name, help=what, description=what, epilog=epilog, formatter_class=layout)
        command.add_argument("--traceback", action="store_true", help="if it fails, show where in the code")
        return command

    show = add("status", "champion, challenger and previous of each environment")
    back = add("rollback", "the previous champion serves again")
    deciding = [back]

    show.add_argument("--target", choices=TARGETS, help="one environment only")
    for command in deciding:
        command.add_argument("--target", choices=TARGETS, required=True)
        command.add_argument("--reason", type=short_enough, default="not given", help="recorded on the version")
        command.add_argument("--by", type=short_enough, default="", help="who decides, if not whoever is signed in")
    back.add_argument("--take-over", action="store_true", help="go ahead although a release or rollback was cut off")
    found = parser.parse_args(arguments)
    return found


def carry_out(arguments: Namespace, opened: Opener) -> str:
    """Do what the command line says, and return what to print."""
    if arguments.command == "status":
        return status([opened(name) for name in ([arguments.target] if arguments.target else TARGETS)])
    target = opened(arguments.target)
    return roll_back(target, arguments.by, arguments.reason, arguments.take_over)


def main(arguments: list[str] | None = None, opened: Opener = deployed, prog: str = "models") -> None:
    """Carry out a command line.

    Args:
        arguments: those of this process if None.
        opened: how environments are found.
    """
    found = parse_arguments(arguments, prog)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", str(sys.stderr.isatty()).lower())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a pipe of Windows may lack characters
    try:
        print(carry_out(found, opened))
    except KeyboardInterrupt:
        raise SystemExit("models: interrupted") from None
    except (CommandError, registry.RegistryError) as error:
        raise SystemExit(f"models: {error}") from None
    except Exception as error:
        if found.traceback:
            raise
        said = f"{type(error).__name__}: {error}".strip()
        raise SystemExit(f"models: {said}\nThis error was not expected. Where in the code: --traceback") from None
