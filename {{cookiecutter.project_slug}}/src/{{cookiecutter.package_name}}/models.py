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
{%- if cookiecutter.__prod_champion == "received" %}
from contextlib import redirect_stderr
{%- endif %}
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient
from mlflow.utils.rest_utils import get_workspace_client

from .platform import registry{{ ', serving' if cookiecutter.__realtime == 'yes' }}
{%- if cookiecutter.__prod_champion == "received" %}
from .platform.page import number
{%- endif %}
from .problem.metrics import HIGHER_IS_BETTER
{%- if cookiecutter.__prod_champion == "received" %}
from .tasks.receive import find_copy, find_source, tags_of_copy
{%- endif %}

TARGETS = ["dev", "staging", "prod"]
WIDTH = 80  # of what is printed: of a terminal, and of the page of a pipeline
MAIN_METRIC = next(iter(HIGHER_IS_BETTER))
{%- if cookiecutter.__prod_champion == "received" %}
RECEIVED = {"source_model", "source_version", "received_at"}
{%- endif %}


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
{%- if cookiecutter.__prod_champion == "received" %}

    def run(self, job: str, parameters: dict[str, str]) -> None:
        """Run a job of this environment to its end.

        Raises:
            CommandError: if the run fails.
        """
        # In quotes, because the CLI takes a comma in a value for the next parameter.
        quoted = ('"{}={}"'.format(name, value.replace('"', "'")) for name, value in parameters.items())
        pairs = [part for pair in quoted for part in ("--params", pair)]
        databricks("bundle", "run", job, "--target", self.name, *pairs)
{%- endif %}


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
{%- if cookiecutter.__realtime == "yes" %}
    rows["endpoint"] = serving.describe(target.model)
{%- endif %}
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
{%- if cookiecutter.__prod_champion == "received" %}


@registry.explained()
def carry_over(source: Environment, target: Environment, source_version: str) -> str:
    """Bring a version of `source` into `target` through this machine, where the two share no metastore.

    The artifacts are downloaded with the credentials for one workspace, and registered with those for the other.

    Returns:
        The number of the version in `target`; the one that is there already, if it was carried over before.

    Raises:
        RegistryError: as `find_source`.
    """
    client = source.connect()
    version = find_source(client, source.model, source_version)
    with registry.downloaded(source.model, str(version.version)) as files:
        client = target.connect()
        found = find_copy(client, target.model, version)
        if found is not None:
            return str(found.version)
        mlflow.set_experiment(target.resources["experiments"]["experiment"]["name"])
        with mlflow.start_run(run_name=f"receive version {version.version} of {source.model}") as active:
            mlflow.log_artifacts(str(files), "model")
        uri = f"runs:/{active.info.run_id}/model"
        with redirect_stderr(io.StringIO()):  # where MLflow repeats what it returns
            return str(mlflow.register_model(uri, target.model, tags=tags_of_copy(version)).version)


def promote(
    target: Environment,
    version: str,
    approved_by: str = "",
    reason: str = "",
    evidence: str = "",
    source_model: str = "",
    export_from: Environment | None = None,
    parameters: dict[str, str] | None = None,
) -> str:
    """Run the promotion job of `target`, and return one sentence on what serves afterwards.

    Args:
        version: number or alias in the source.
        evidence: what whoever approved was shown of that version.
        source_model: three-part name of the source; empty for the one that databricks.yml names.
        export_from: carry the version over from there through this machine, where the two share no metastore.
        parameters: further parameters of the job.

    Raises:
        CommandError: if `target` does not receive, or the run stops; the log says at which gate.
    """
    if "promotion" not in target.resources["jobs"]:
        raise CommandError(
            f"{target.name} trains its own model and has no promotion job: run its training job instead."
        )
    wanted = {"approved_by": approved_by, "approval_reason": reason, "approved_evidence": evidence}
    wanted |= parameters or {}
    if source_model:
        wanted["source_model"] = source_model
    if export_from:
        wanted["model_version"] = carry_over(export_from, target, version)
    else:
        wanted["source_version"] = version
    target.run("promotion", wanted)
    champion = registry.get(target.connect(), target.model, registry.CHAMPION)
    return f"Version {champion.version} of {target.model} serves in {target.name}."


def show(target: Environment, version: str) -> dict[str, str]:
    """Return what is known of a version of `target` that may be released or approved, by label.

    Raises:
        RegistryError: if there is no such version, or its gate has not let it pass.
    """
    found = registry.get(target.connect(), target.model, version)
    tags = found.tags
    if tags.get("validation_status") != "PASSED":
        raise registry.RegistryError(
            f"Version {found.version} of {target.model} has validation_status {tags.get('validation_status')}: "
            f"choose one that PASSED. {tags.get('validation_objections', '')}"
        )
    evidence = registry.evidence(found)
    results, compared = (json.loads(tags.get(name, "{}")) for name in ("validation_results", registry.COMPARISON))
    rows = {"model": target.model, "version": str(found.version), "gate": f"PASSED at {tags.get('validated_at')}"}
    for name, value in results["metrics"].items():
        champion = results["champion"].get(name)
        own, between = compared.get("margins", {}).get(name, (None, None))
        rows[name] = number(value) + (f" ± {number(own)}" if own is not None else "")
        if champion is not None:
            difference = f", difference {value - champion:+.4g} ± {number(between)}" if between is not None else ""
            rows[name] += f" (champion {results['champion_version']}: {number(champion)}{difference})"
    if compared:
        rows["weakest segment"] = compared["weakest"] or "none has enough labels"
        page = f"comparison.html in the run {tags['validation_run']}"
        rows["comparison"] = f"{page}, SHA-256 {compared['page_sha256']}"
    rows |= {name.replace("_", " "): tags[name] for name in sorted(registry.LINEAGE | RECEIVED) if name in tags}
    return rows | {"files sha256": tags["files_sha256"], "evidence": evidence}


def approve(target: Environment, version: str, by: str, reason: str, evidence: str = "") -> str:
    """Record an approval on a version of `target`, and return one sentence on it.

    Args:
        by: who decides; empty for whoever is signed in.
        evidence: what was shown of the version. Without it the version is shown here, and the terminal asks.

    Raises:
        CommandError: if `target` trains its own model, nobody agrees, or the version is not what was shown.
        RegistryError: as `show`.
    """
    if "promotion" not in target.resources["jobs"]:
        raise CommandError(f"{target.name} trains its own model: what is approved there is the release of the code.")
    shown = show(target, version)
    if evidence and evidence != shown["evidence"]:
        raise CommandError(
            f"Version {version} of {target.model} is not what was shown to you: its evidence is {shown['evidence']}. "
            f"Look at it again: uv run models show --target {target.name} --version {version}"
        )
    if not evidence:
        if not sys.stdin.isatty():
            raise CommandError("No terminal can show what is approved. Add --evidence, which `models show` prints.")
        print(table(shown))
        if input(f"Type {version} to approve this version: ").strip() != version:
            raise CommandError(f"Version {version} of {target.model} was not approved.")
    client = target.connect()
    candidate = registry.get(client, target.model, version)
    if registry.evidence(candidate) != shown["evidence"]:
        raise CommandError(f"Version {version} of {target.model} changed meanwhile. Run the same command again.")
    registry.approve(client, candidate, by or target.signed_in(), reason)
    return f"Version {version} of {target.model} is approved. Promote it again: it goes on from here."
{%- endif %}


{%- if cookiecutter.__realtime == "yes" %}


def serving_settings(target: Environment) -> serving.Settings:
    """Return what the endpoint of `target` is made of, as the parameters of its task `activate` say."""
    tasks = [task for job in target.resources["jobs"].values() for task in job.get("tasks", [])]
    wheels = [task["python_wheel_task"] for task in tasks if "python_wheel_task" in task]
    given = next(wheel["named_parameters"] for wheel in wheels if wheel["entry_point"] == "activate")
    return serving.Settings(
        given["serving_workload_size"],
        str(given["serving_scale_to_zero"]).lower() == "true",
        given["endpoint_callers_group"],
        float(given["serving_timeout_minutes"]),
        given["serving_tags"],
    )
{%- endif %}


def roll_back(target: Environment, by: str, reason: str, take_over: bool = False) -> str:
    """Make the previous champion of `target` serve again, and return one sentence on what was done.

    Args:
        by: who decides; empty for whoever is signed in.
        take_over: whether every other operation on the model is known to be dead.
    """
    client = target.connect()
    registry.way_back(client, target.model)
    with registry.alone(client, target.model, f"rollback_{secrets.token_hex(4)}", take_over):
{%- if cookiecutter.__realtime == "yes" %}
        _, previous = registry.way_back(client, target.model)
        schema = target.model.rpartition(".")[0]
        serving.release(target.model, str(previous.version), schema, serving_settings(target))
{%- endif %}
        now, before = registry.roll_back(client, target.model, by or target.signed_in(), reason)
    return (
        f"Version {now.version} of {target.model} serves again in {target.name}; "
        f"version {before.version} no longer does."
    )


{%- if cookiecutter.__prod_champion == "received" %}


def version_number(text: str) -> str:
    """Return the number of a version.

    Raises:
        ArgumentTypeError: if it is an alias, which may name another version a minute later.
    """
    if not text.isdigit():
        raise ArgumentTypeError(f"{text!r} is not a number: `models status` shows the number of each alias")
    return text
{%- endif %}


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
{%- if cookiecutter.__prod_champion == "received" %}
    "promote": """
  {prog} promote --target prod
  {prog} promote --target prod --version 7""",
    "approve": """
  {prog} approve --target prod --version 7 --reason "reviewed\"""",
    "show": """
  {prog} show --target prod --version 7""",
{%- endif %}
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
{%- if cookiecutter.__prod_champion == "received" %}
    release = add("promote", "an environment receives a version of the environment before it")
    agree = add("approve", "let a version that waits in an environment serve there")
    deciding += [release, agree]
    tell = add("show", "what is released or approved: a version with the results of its gate")
{%- endif %}

    show.add_argument("--target", choices=TARGETS, help="one environment only")
    for command in deciding:
        command.add_argument("--target", choices=TARGETS, required=True)
        command.add_argument("--reason", type=short_enough, default="not given", help="recorded on the version")
        command.add_argument("--by", type=short_enough, default="", help="who decides, if not whoever is signed in")
    back.add_argument("--take-over", action="store_true", help="go ahead although a release or rollback was cut off")
{%- if cookiecutter.__prod_champion == "received" %}
    release.add_argument("--version", default=registry.CHAMPION, help="number or alias there (default: champion)")
    release.add_argument("--source", choices=TARGETS, help="receive the model that you deployed there")
    release.add_argument("--source-model", default="", help="three-part name (default: source_model in databricks.yml)")
    release.add_argument("--approve", action="store_true", help="record the approval of what --evidence stands for")
    release.add_argument("--evidence", default="", metavar="SHA256", help="what `models show` printed of the version")
    release.add_argument("--export", action="store_true", help="for environments that share no metastore")
    release.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="further job parameters")
    agree.add_argument("--version", required=True, type=version_number, metavar="NUMBER", help="the one to approve")
    agree.add_argument("--evidence", default="", metavar="SHA256", help="what you were shown already")
    tell.add_argument("--target", choices=TARGETS, required=True)
    tell.add_argument("--version", default=registry.CHAMPION, help="number or alias there (default: champion)")
    tell.add_argument("--field", choices=["version", "evidence"], help="print this one only")
{%- endif %}
    found = parser.parse_args(arguments)
{%- if cookiecutter.__prod_champion == "received" %}
    approves = found.command == "promote" and found.approve
    if approves and not (found.evidence and found.version.isdigit()):
        release.error("--approve needs --version with a number, and --evidence: uv run models show prints both")
{%- endif %}
    return found


def carry_out(arguments: Namespace, opened: Opener) -> str:
    """Do what the command line says, and return what to print."""
    if arguments.command == "status":
        return status([opened(name) for name in ([arguments.target] if arguments.target else TARGETS)])
    target = opened(arguments.target)
{%- if cookiecutter.__prod_champion == "received" %}
    if arguments.command == "show":
        shown = show(target, arguments.version)
        return shown[arguments.field] if arguments.field else table(shown)
    if arguments.command == "approve":
        return approve(target, arguments.version, arguments.by, arguments.reason, arguments.evidence)
    if arguments.command == "promote":
        before = arguments.source or TARGETS[max(TARGETS.index(target.name) - 1, 0)]
        source = opened(before) if arguments.source or arguments.export else None
        return promote(
            target,
            arguments.version,
            (arguments.by or target.signed_in()) if arguments.approve else "",
            arguments.reason if arguments.approve else "",
            arguments.evidence if arguments.approve else "",
            arguments.source_model or (source.model if source else ""),
            source if arguments.export else None,
            dict(text.split("=", 1) for text in arguments.param),
        )
{%- endif %}
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
    except (CommandError, registry.RegistryError{{ ', serving.ServingError' if cookiecutter.__realtime == 'yes' }}) as error:
        raise SystemExit(f"models: {error}") from None
    except Exception as error:
        if found.traceback:
            raise
        said = f"{type(error).__name__}: {error}".strip()
        raise SystemExit(f"models: {said}\nThis error was not expected. Where in the code: --traceback") from None
