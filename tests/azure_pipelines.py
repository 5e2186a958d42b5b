"""Runs Azure Pipelines files on this machine, as far as this template uses them. Any other construct is an error.

It keeps the rules of Azure DevOps that decide what happens: stages and jobs wait for `dependsOn` and obey `condition`,
variables that are no secrets reach scripts in capitals, `bash` runs without `-e`, deployment jobs check nothing out by
themselves, every checkout is a fresh one, and what a job prints as `##vso[…]`, anywhere in a line, sets variables, the
PATH and summaries. It asks for no approvals, takes no locks and enforces no time limits: those are read from the files
instead.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

SECRETS = {"system.accesstoken"}  # never mapped into the environment unless a step asks for it
TOKENS = re.compile(r"\s*(?:'((?:[^']|'')*)'|([A-Za-z_][\w.]*)|([(),\[\]]))")
COMMAND = re.compile(r"##vso\[(?P<name>[\w.]+)\s*(?P<properties>[^\]]*)\](?P<value>.*)")
PARAMETER = re.compile(r"\$\{\{ (?:parameters\.(\w+)|replace\(parameters\.(\w+), '([^']*)', '([^']*)'\)) \}\}")
MACRO = re.compile(r"\$\(([\w.]+)\)")


class UnknownConstructError(ValueError):
    """The pipeline uses something that this interpreter does not know."""


@dataclass
class Result:
    """What one run did."""

    stages: dict[str, str] = field(default_factory=dict)  # Succeeded, Failed or Skipped, by stage
    jobs: dict[str, str] = field(default_factory=dict)  # the same, by `stage.job`
    environments: dict[str, str] = field(default_factory=dict)  # of deployment jobs, by `stage.job`
    summaries: list[str] = field(default_factory=list)
    log: str = ""


@dataclass
class Scope:
    """What an expression can see."""

    variables: dict[str, str]
    succeeded: bool
    failed: bool
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)  # by `stage.job`, of stages that are waited for


def only(mapping: dict[str, Any], *keys: str) -> None:
    """Refuse keys that this interpreter does not know."""
    if unknown := set(mapping) - set(keys):
        raise UnknownConstructError(f"{sorted(unknown)} beside {sorted(set(mapping) & set(keys))}")


def evaluate(expression: str, scope: Scope) -> Any:
    """Return the value of an expression, such as a condition."""
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(expression.rstrip()):
        match = TOKENS.match(expression, position)
        if not match:
            raise UnknownConstructError(expression)
        text, word, mark = match.groups()
        tokens.append(("text", text.replace("''", "'")) if text is not None else ("word", word) if word else (mark, ""))
        position = match.end()

    functions: dict[str, Callable[..., Any]] = {
        "and": lambda *values: all(values),
        "or": lambda *values: any(values),
        "not": lambda value: not value,
        "eq": lambda left, right: str(left).lower() == str(right).lower(),
        "ne": lambda left, right: str(left).lower() != str(right).lower(),
        "startsWith": lambda text, start: text.lower().startswith(start.lower()),
        "succeeded": lambda: scope.succeeded,
        "failed": lambda: scope.failed,
        "always": lambda: True,
    }

    def take(kind: str) -> str:
        if not tokens or tokens[0][0] != kind:
            raise UnknownConstructError(f"{expression}: no {kind}")
        return tokens.pop(0)[1]

    def value() -> Any:
        if tokens and tokens[0][0] == "text":
            return take("text")
        word = take("word")
        if tokens and tokens[0][0] == "[":
            take("[")
            key = take("text")
            take("]")
            if word == "variables":
                return scope.variables.get(key.lower(), "")
            root, _, job = word.removesuffix(".outputs").partition(".")
            if root == "stageDependencies" and word.endswith(".outputs"):
                return scope.outputs[job][key]
        elif tokens and tokens[0][0] == "(" and word in functions:
            take("(")
            arguments = []
            while tokens and tokens[0][0] != ")":
                arguments.append(value())
                if tokens and tokens[0][0] == ",":
                    take(",")
            take(")")
            return functions[word](*arguments)
        raise UnknownConstructError(f"{word} in {expression}")

    found = value()
    if tokens:
        raise UnknownConstructError(expression)
    return found


def fill_in(value: Any, parameters: dict[str, str]) -> Any:
    """Replace `${{ parameters.name }}` and `${{ replace(parameters.name, 'old', 'new') }}` everywhere in `value`."""
    if isinstance(value, dict):
        return {fill_in(key, parameters): fill_in(element, parameters) for key, element in value.items()}
    if isinstance(value, list):
        return [fill_in(element, parameters) for element in value]

    def known(match: re.Match[str]) -> str:
        plain, given, old, new = match.groups()
        return parameters[plain] if plain else parameters[given].replace(old, new)

    filled = PARAMETER.sub(known, value)
    if "${{" in filled:
        raise UnknownConstructError(filled)
    return filled


def read(path: Path) -> Any:
    """Return a parsed file whose values are all text, as Azure DevOps sees them: `on` and `1.10` stay what they are."""
    return yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)


def names(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@dataclass
class Pipeline:
    """One pipeline of a project.

    Args:
        project: the folder that is checked out.
        file: of the pipeline.
        groups: variable groups by name.
        predefined: variables that Azure DevOps sets, such as `Build.SourceBranch`.
        environment: environment variables of the agent.
    """

    project: Path
    file: Path
    groups: dict[str, dict[str, str]]
    predefined: dict[str, str]
    environment: dict[str, str]
    artifacts: dict[str, dict[str, bytes]] = field(default_factory=dict)  # of this run: files by name
    result: Result = field(default_factory=Result)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    stages: dict[str, Callable[[], None]] = field(default_factory=dict)

    def again(self, stage: str) -> Result:
        """Run a stage once more, after a run that has ended, and return what the run came to."""
        self.result.log, self.result.summaries = "", []
        self.stages[stage]()
        return self.result

    def run(self, **given: str) -> Result:
        """Run the pipeline with these parameters, and return what it did."""
        content = read(self.file)
        only(content, "trigger", "pr", "schedules", "pool", "parameters", "variables", "stages", "jobs")
        parameters = {}
        for parameter in content.get("parameters", []):
            only(parameter, "name", "displayName", "type", "default", "values")
            value = given.pop(parameter["name"]) if parameter["name"] in given else parameter["default"]
            if value not in parameter.get("values", [value]):
                raise UnknownConstructError(f"{value} for {parameter['name']}")
            parameters[parameter["name"]] = value
        if given:
            raise UnknownConstructError(f"parameters {sorted(given)}")
        content = fill_in({key: value for key, value in content.items() if key != "parameters"}, parameters)
        stages = content.get("stages") or [{"stage": "__default", "jobs": content["jobs"]}]
        variables = {name.lower(): value for name, value in self.predefined.items()}
        variables |= self.variables(content.get("variables", {}), variables, {})
        before: list[str] = []
        for stage in stages:
            only(stage, "stage", "displayName", "dependsOn", "condition", "lockBehavior", "variables", "jobs")
            self.stages[stage["stage"]] = partial(self.stage, stage, names(stage.get("dependsOn", before)), variables)
            self.stages[stage["stage"]]()
            before = [stage["stage"]]
        return self.result

    def variables(self, declared: Any, seen: dict[str, str], outputs: dict[str, dict[str, str]]) -> dict[str, str]:
        """Return the variables that a `variables:` block declares, by name in lower case."""
        items = (
            [{"name": name, "value": value} for name, value in declared.items()]
            if isinstance(declared, dict)
            else declared
        )
        found: dict[str, str] = {}
        for item in items:
            if "group" in item:
                only(item, "group")
                found |= {name.lower(): value for name, value in self.groups[item["group"]].items()}
                continue
            only(item, "name", "value")
            value = item["value"]
            if value.startswith("$["):
                value = evaluate(value[2:-1], Scope(seen | found, True, False, outputs))
            found[item["name"].lower()] = self.macros(value, seen | found)
        return found

    @staticmethod
    def macros(text: str, variables: dict[str, str]) -> str:
        """Replace `$(name)`. Azure DevOps leaves an unknown one as it is; here it is an error."""

        def known(match: re.Match[str]) -> str:
            if match[1].lower() not in variables:
                raise UnknownConstructError(f"no variable {match[1]}")
            return variables[match[1].lower()]

        return MACRO.sub(known, text)

    def stage(self, stage: dict[str, Any], waits_for: list[str], variables: dict[str, str]) -> None:
        name, results = stage["stage"], self.result.stages
        outcome = [results[other] for other in waits_for]  # a stage that stands below is a KeyError
        outputs = {job: values for job, values in self.outputs.items() if job.split(".")[0] in waits_for}
        scope = Scope(variables, all(one == "Succeeded" for one in outcome), "Failed" in outcome, outputs)
        if not evaluate(stage.get("condition", "succeeded()"), scope):
            results[name] = "Skipped"
            return
        variables = variables | {"system.stagename": name}
        variables |= self.variables(stage.get("variables", {}), variables, {})
        for job in stage["jobs"]:
            for label, matrix in self.matrix(job):
                self.job(name, label, job, variables | matrix, outputs)
        mine = [outcome for job, outcome in self.result.jobs.items() if job.startswith(f"{name}.")]
        results[name] = "Failed" if "Failed" in mine else "Succeeded"

    @staticmethod
    def matrix(job: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the name and the extra variables of each job that one entry of `jobs` makes."""
        name = job.get("job", job.get("deployment"))
        if "job" not in job or "strategy" not in job:
            yield name, {}
            return
        only(job["strategy"], "matrix")
        for leg, values in job["strategy"]["matrix"].items():
            yield f"{name} {leg}", {key.lower(): value for key, value in values.items()}

    def job(
        self, stage: str, label: str, job: dict[str, Any], variables: dict[str, str], before: dict[str, dict[str, str]]
    ) -> None:
        common = ("displayName", "dependsOn", "condition", "timeoutInMinutes", "variables", "strategy")
        key = f"{stage}.{label}"
        if "deployment" in job:
            only(job, "deployment", "environment", *common)
            only(job["strategy"], "runOnce")
            only(job["strategy"]["runOnce"], "deploy")
            only(job["strategy"]["runOnce"]["deploy"], "steps")
            steps = job["strategy"]["runOnce"]["deploy"]["steps"]
        else:
            only(job, "job", "steps", *common)
            steps = job["steps"]
        outcome = [self.result.jobs[f"{stage}.{other}"] for other in names(job.get("dependsOn", []))]
        scope = Scope(variables, all(one == "Succeeded" for one in outcome), "Failed" in outcome, before)
        if not evaluate(job.get("condition", "succeeded()"), scope):
            self.result.jobs[key] = "Skipped"
            return
        variables = variables | self.variables(job.get("variables", {}), variables, before)
        if "deployment" in job:
            self.result.environments[key] = job["environment"]
        # A deployment job puts its own name before that of the step.
        prefix = f"{job['deployment']}." if "deployment" in job else ""
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            own = {"agent.tempdirectory": temporary, "pipeline.workspace": f"{temporary}/workspace"}
            agent = Agent(self, folder, variables | own, not prefix)
            failed = agent.run(list(self.expand(steps, self.file.parent)))
        self.outputs[key] = {prefix + name: value for name, value in agent.outputs.items()}
        self.result.jobs[key] = "Failed" if failed else "Succeeded"

    def expand(self, steps: list[dict[str, Any]], folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the steps with those of the templates among them. A path is seen from the file that names it."""
        for step in steps:
            if "template" not in step:
                yield step
                continue
            only(step, "template", "parameters")
            path = folder / step["template"]
            content = read(path)
            only(content, "parameters", "steps")
            values = {parameter["name"]: parameter.get("default") for parameter in content.get("parameters", [])}
            if unknown := set(step.get("parameters", {})) - set(values):
                raise UnknownConstructError(f"{sorted(unknown)} given to {path.name}")
            values |= step.get("parameters", {})
            yield from self.expand(fill_in(content["steps"], values), path.parent)


@dataclass
class Agent:
    """The machine that runs one job."""

    pipeline: Pipeline
    folder: Path  # thrown away afterwards
    variables: dict[str, str]
    checks_out: bool  # by itself: a deployment job does not
    outputs: dict[str, str] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)

    def run(self, steps: list[dict[str, Any]]) -> bool:
        """Run the steps, and return whether one failed."""
        failed = False
        sources = self.pipeline.project if self.checks_out else self.folder
        for step in steps:
            if "checkout" in step:
                only(step, "checkout", "fetchDepth", "persistCredentials")
                sources = self.pipeline.project
                subprocess.run(["git", "clean", "-ffdxq"], cwd=sources, check=True)
                continue
            if "publish" in step or "download" in step:
                failed = failed or not self.hand_on(step, sources)
                continue
            only(step, "bash", "name", "displayName", "condition", "env", "workingDirectory")
            if evaluate(step.get("condition", "succeeded()"), Scope(self.variables, not failed, failed)):
                failed = not self.script(step, sources) or failed
        return failed

    def hand_on(self, step: dict[str, Any], sources: Path) -> bool:
        """Store a folder as an artifact of the run, or fetch one, and return whether there is such a thing."""
        artifacts, name = self.pipeline.artifacts, step["artifact"]
        if "publish" in step:
            only(step, "publish", "artifact", "displayName")
            files = sorted((sources / step["publish"]).iterdir())
            artifacts[name] = {file.name: file.read_bytes() for file in files}
            return bool(files)
        only(step, "download", "artifact", "displayName")
        if step["download"] != "current":
            raise UnknownConstructError(f"download: {step['download']}")
        folder = Path(self.variables["pipeline.workspace"], name)
        folder.mkdir(parents=True)
        for file, content in artifacts.get(name, {}).items():
            (folder / file).write_bytes(content)
        return name in artifacts

    def script(self, step: dict[str, Any], sources: Path) -> bool:
        """Run one script, obey what it prints, and return whether it succeeded."""
        environment = dict(self.pipeline.environment)
        for name, value in self.variables.items():
            if name not in SECRETS:
                environment[name.upper().replace(".", "_")] = value
        for name, value in step.get("env", {}).items():
            environment[name] = self.pipeline.macros(value, self.variables)
        environment["PATH"] = os.pathsep.join([*reversed(self.path), environment["PATH"]])
        script = self.folder / "script.sh"
        script.write_text(self.pipeline.macros(step["bash"], {}) if MACRO.search(step["bash"]) else step["bash"])
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", str(script)],
            cwd=sources / step.get("workingDirectory", ""),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        self.pipeline.result.log += f"--- {step.get('displayName')}\n{done.stdout}"
        for match in COMMAND.finditer(done.stdout):
            self.obey(step, match["name"], match["properties"], match["value"])
        return done.returncode == 0

    def obey(self, step: dict[str, Any], name: str, text: str, value: str) -> None:
        """Do what a script asked for with `##vso[name text]value`."""
        properties = dict(pair.split("=", 1) for pair in text.split(";") if pair)
        if name == "task.setvariable":
            only(properties, "variable", "isOutput")
            if properties.get("isOutput") == "true":
                self.outputs[f"{step['name']}.{properties['variable']}"] = value
            else:
                self.variables[properties["variable"].lower()] = value
        elif name == "task.prependpath":
            self.path.append(value)
        elif name == "task.uploadsummary":
            self.pipeline.result.summaries.append(Path(value).read_text(encoding="utf-8"))
        elif name != "task.logissue":
            raise UnknownConstructError(f"##vso[{name}]")
