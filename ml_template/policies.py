"""Judges rendered projects by policies that are not theirs: JSON Schemas over what their files say in effect."""

import json
import os
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .render import RECORD

DEFAULTS = Path(__file__).with_name("policies.yml")
BUNDLE = "databricks.yml"
PASSES, FAILS, NOT_APPLICABLE = "passes", "fails", "does not apply"
# Lists of a bundle whose elements are matched by a key when a target overrides them; other lists are joined.
KEYED_LISTS = {"tasks": "task_key", "job_clusters": "job_cluster_key", "parameters": "name", "grants": "principal"}
# Where the champion comes from in dev, staging and prod.
PATTERNS: dict[tuple[str | None, ...], str] = {
    ("trained", "trained", "trained"): "deploy-code",
    ("trained", "received", "received"): "deploy-model",
    ("trained", "trained", "received"): "hybrid",
}
# The keywords of .gitlab-ci.yml that are no jobs.
GITLAB_KEYWORDS = {"default", "include", "stages", "variables", "workflow"}


@dataclass
class Policy:
    """One rule of an organisation.

    Attributes:
        name: by which another file of policies changes it.
        rule: what must hold, in a sentence.
        change: what to do where it does not.
        files: JSON Schema by glob. It begins in the project's folder, and with `/` in front at the root of the
            repository as well.
        required: whether there must be such a file.
    """

    name: str
    rule: str
    change: str
    files: dict[str, Any]
    required: bool = False


@dataclass
class Finding:
    """Something that breaks a policy: `file` and `where` in it, and what is `found` there."""

    file: str
    where: str
    found: str

    def __str__(self) -> str:
        return f"{', '.join(part for part in (self.file, self.where) if part)}: {self.found}"


@dataclass
class Result:
    """What a policy says of a project."""

    policy: str
    result: str
    rule: str
    change: str
    findings: list[Finding] = field(default_factory=list)


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads YAML as JSON Schema needs it: keys are text, also `on`, and a tag such as GitLab's !reference is let be."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}

    def construct_untagged(self, node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return node.value
        return self.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else self.read_map(node)

    def read_map(self, node: Any) -> dict[str, Any]:
        return self.construct_mapping(node)


Loader.add_constructor(None, Loader.construct_untagged)
Loader.add_constructor("tag:yaml.org,2002:map", Loader.read_map)


def load_policies(paths: tuple[Path, ...] = ()) -> list[Policy]:
    """Return the policies of this package, changed and extended by those in `paths`, the later ones last.

    Raises:
        click.ClickException: if a file is none of policies.
    """
    named: dict[str, dict[str, Any]] = {}
    for path in (DEFAULTS, *paths):
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), Loader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise click.ClickException(f"{path} cannot be read: {error}") from None
        if not isinstance(content, dict) or not all(isinstance(policy, dict) for policy in content.values()):
            raise click.ClickException(f"{path} is no file of policies. Write a name, and below it what changes.")
        content.pop("definitions", None)  # only holds YAML anchors
        for name, policy in content.items():
            named[name] = named.get(name, {}) | policy
    policies = []
    for name, keys in named.items():
        try:
            policy = Policy(name, **keys)
            for schema in policy.files.values():
                Draft202012Validator.check_schema(schema)
        except (TypeError, AttributeError):
            raise click.ClickException(
                f"The policy {name} is not complete, or has a key that means nothing. "
                "Write rule, change and files, with a JSON Schema for each glob, and nothing else but required."
            ) from None
        except SchemaError as error:
            raise click.ClickException(
                f"The policy {name} has no valid JSON Schema, at {error.json_path}: {error.message}"
            ) from None
        policies.append(policy)
    return policies


def judge(project: Path, policies: list[Policy]) -> list[Result]:
    """Return what each policy says of the project in this folder."""
    project = project.resolve()
    root = next((folder for folder in (project, *project.parents) if (folder / ".git").exists()), project)
    parsed: dict[Path, Any] = {}
    results = []
    for policy in policies:
        seen, findings = set(), []
        for glob, schema in policy.files.items():
            starts = (project, root) if glob.startswith("/") else (project,)
            paths = [(start, path) for start in starts for path in found_in(start, glob, root)]
            for start, path in paths:
                name = path.relative_to(start).as_posix()
                if not path.is_file() or (path, id(schema)) in seen:
                    continue
                seen.add((path, id(schema)))
                if path not in parsed:
                    parsed[path] = read(path, root)
                if isinstance(parsed[path], UnreadableError):
                    findings.append(Finding(name, "", str(parsed[path])))
                    continue
                for error in Draft202012Validator(schema).iter_errors(parsed[path]):
                    findings.append(Finding(name, where(error), found(error)))
        if policy.required and not seen:
            findings.append(Finding(" or ".join(policy.files), "", "the file is missing"))
        result = FAILS if findings else PASSES if seen else NOT_APPLICABLE
        results.append(Result(policy.name, result, policy.rule, policy.change, findings))
    return results


def found_in(start: Path, glob: str, root: Path) -> list[Path]:
    """Return the paths of a glob. What leads out of the repository is left out: a project names it, and it is ours."""
    return [path for path in sorted(start.glob(glob.lstrip("/"))) if path.resolve().is_relative_to(root)]


def where(error: ValidationError) -> str:
    """Return the place of an error in a file, such as `jobs.prod.steps[2].uses`."""
    return error.json_path.removeprefix("$").removeprefix(".")


def found(error: ValidationError) -> str:
    """Return what is wrong there: the description in the schema, the text that matched, or what the validator says."""
    if isinstance(error.schema, dict) and "description" in error.schema:
        return error.schema["description"]
    if error.validator == "not" and isinstance(error.instance, str) and "pattern" in error.validator_value:
        # Only what matches: the rest may be a secret.
        return textwrap.shorten(re.search(error.validator_value["pattern"], error.instance)[0], 100)  # type: ignore[index]
    if error.validator == "not":
        return "this must not be there"
    return textwrap.shorten(error.instance if error.validator == "pattern" else error.message, 160)


class UnreadableError(Exception):
    """A file is not what its name says."""


def read(path: Path, root: Path) -> Any:
    """Return what a file says in effect, or why it cannot be read. Text that is no YAML, JSON or TOML is one string."""
    try:
        if path.name == BUNDLE:
            return effective_bundle(path.parent, root)
        if path.name == ".gitlab-ci.yml":
            return effective_gitlab(path, root)
        return parse(path)
    except (OSError, ValueError, NotImplementedError, yaml.YAMLError, AttributeError, TypeError, LookupError) as error:
        return UnreadableError(f"the file cannot be read: {textwrap.shorten(str(error), 160)}")


def parse(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix in (".yml", ".yaml"):
        return list(yaml.load_all(text, Loader))[-1]  # the first of two is the `spec` of GitLab
    readers: dict[str, Callable[[str], Any]] = {".json": json.loads, ".toml": tomllib.loads}
    return readers.get(path.suffix, str)(text)


def effective_bundle(project: Path, repository: Path) -> dict[str, Any]:
    """Return what each target of a bundle is, with everything merged and the variables in place.

    The key `deployment_pattern` says what the jobs do, whatever the record of the project says: None if they follow no
    pattern.
    """
    root = parse(project / BUNDLE)
    for pattern in root.pop("include", []):
        for path in found_in(project, pattern, repository):
            root = merge(root, {key: value for key, value in parse(path).items() if key != "definitions"})
    targets = {}
    for name, target in root.pop("targets").items():
        values = {variable: {"default": value} for variable, value in target.get("variables", {}).items()}
        config = merge(merge(root, {**target, "variables": {}}), {"variables": values})
        config["variables"] = {variable: said.get("default") for variable, said in config["variables"].items()}
        targets[name] = resolve(config, config["variables"])
    # What happens to a model in an environment: the tasks say it.
    champions = {}
    for name, target in targets.items():
        tasks = {"train", "receive"} & set(entry_points(target.get("resources", {}).get("jobs", {})))
        champions[name] = {("train",): "trained", ("receive",): "received"}.get(tuple(tasks))
    pattern = PATTERNS.get(tuple(champions.get(name) for name in ("dev", "staging", "prod")))
    return {"targets": targets, "deployment_pattern": pattern}


def merge(base: Any, over: Any, name: str = "") -> Any:
    """Return a part of a bundle with another one laid over it, as the Databricks CLI does."""
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: merge(base[key], over[key], key) if key in base else over[key] for key in over}
    if isinstance(base, list) and isinstance(over, list):
        key = KEYED_LISTS.get(name)
        if key is None:
            return base + over
        by_key = {element[key]: element for element in base}
        return list(merge(by_key, {element[key]: element for element in over}).values())
    return over


def resolve(value: Any, variables: dict[str, Any], within: tuple[str, ...] = ()) -> Any:
    """Return a part of a bundle with `${var.…}` replaced. References that only Databricks knows stay."""
    if isinstance(value, dict):
        return {key: resolve(element, variables, within) for key, element in value.items()}
    if isinstance(value, list):
        return [resolve(element, variables, within) for element in value]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> Any:
        name = match[1]
        known = name in variables and name not in within
        return resolve(variables[name], variables, (*within, name)) if known else match[0]

    reference = re.compile(r"\$\{var\.([\w-]+)\}")
    whole = reference.fullmatch(value)
    return look_up(whole) if whole else reference.sub(lambda match: str(look_up(match)), value)


def entry_points(value: Any) -> Iterator[str]:
    """Yield the entry point of every task of a wheel."""
    if isinstance(value, dict):
        if isinstance(value.get("python_wheel_task"), dict):
            yield str(value["python_wheel_task"].get("entry_point"))
        value = list(value.values())
    if isinstance(value, list):
        for element in value:
            yield from entry_points(element)


def effective_gitlab(path: Path, root: Path) -> dict[str, Any]:
    """Return a GitLab configuration with its local includes and with `extends` in place. A `script` is a list.

    Args:
        path: of the configuration.
        root: of its repository, where local includes begin.
    """
    content = parse(path)
    includes = content.get("include", [])
    content["include"] = includes = includes if isinstance(includes, list) else [includes]
    for include in includes:
        local = include.get("local", "") if isinstance(include, dict) else include
        if local and "://" not in local:
            for part in found_in(root, local, root):
                content = lay_over(parse(part), content)

    def extended(name: str, within: tuple[str, ...] = ()) -> dict[str, Any]:
        job = dict(content[name])
        parents = job.pop("extends", [])
        base: dict[str, Any] = {}
        for parent in [parents] if isinstance(parents, str) else parents:
            if parent in content and parent not in within:
                base = lay_over(base, extended(parent, (*within, name)))
        return lay_over(base, job)

    jobs = [name for name, job in content.items() if isinstance(job, dict) and name not in GITLAB_KEYWORDS]
    content |= {name: extended(name) for name in jobs}
    for name in jobs:
        if "script" in content[name]:
            script = content[name]["script"]
            content[name]["script"] = [str(line) for line in (script if isinstance(script, list) else [script])]
    return content


def lay_over(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return a map of GitLab laid over another one: maps are merged, anything else is replaced."""
    both = {
        key: lay_over(base[key], over[key])
        for key in base.keys() & over.keys()
        if isinstance(base[key], dict) and isinstance(over[key], dict)
    }
    return base | over | both


def projects_in(folder: Path) -> list[Path]:
    """Return the folders of a repository that hold a project: a record or a bundle. There may be several."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "node_modules")
        if {RECORD, BUNDLE} & set(files):
            found.append(Path(parent))
    return found


policies_option = click.option(
    "--policies",
    "paths",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file that changes or adds policies. May be given several times.",
)


@click.command()
@click.argument(
    "folders", metavar="PROJECT...", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@policies_option
@click.option("--json", "written", type=click.File("w", encoding="utf-8", lazy=True), help="Write the results as JSON.")
def policies(folders: tuple[Path, ...], paths: tuple[Path, ...], written: Any) -> None:
    """Judge projects by the policies of the organisation.

    PROJECT is a folder that holds a project, or several: the current folder by default. The exit code is 1 if one of
    them breaks a policy.
    """
    rules = load_policies(paths)
    judged = {}
    for folder in folders or (Path(),):
        for project in projects_in(folder) or [folder]:
            judged[str(project)] = judge(project, rules)
    if written:
        json.dump({project: [asdict(result) for result in results] for project, results in judged.items()}, written)
    if not written or written.name != "-":
        show(judged)
    if any(broken(results) for results in judged.values()):
        sys.exit(1)


def broken(results: list[Result]) -> list[str]:
    """Return the names of the policies that a project breaks."""
    return [result.policy for result in results if result.result == FAILS]


def folding_table(*columns: str) -> Table:
    """Return an empty table whose long words go on in the next line."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def show(judged: dict[str, list[Result]]) -> None:
    """Print what the policies say: all of them of one project, of several those that they break, and what to change."""
    console = Console(highlight=False)
    if len(judged) == 1:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("policy", "result", "rule"):
            table.add_column(column, no_wrap=column != "rule")
        for result in next(iter(judged.values())):
            table.add_row(result.policy, result.result, result.rule, style="red" if result.result == FAILS else None)
    else:
        table = folding_table("project", "breaks")
        for project, results in judged.items():
            table.add_row(project, ", ".join(broken(results)) or "nothing", style="red" if broken(results) else None)
    console.print(table)
    for project, results in judged.items():
        for result in results:
            if result.findings:
                console.print(f"\n{project}: {result.policy}", style="bold", markup=False)
            for one in result.findings:
                console.print(Padding(Text(str(one), style="red"), (0, 2)))
            if result.findings:
                console.print(Padding(Text(result.change), (0, 2)))
