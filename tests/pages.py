"""What the pages of a project set as code: commands and files, and whether the project has them."""

import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from helpers import TARGETS, load_bundle

from ml_template.__main__ import main as ml_template

# What commands, pipelines and readers make, and the repository does not hold.
MADE = {"uv.lock", ".cruft.json", *(f".local/{name}" for name in ("", "adopted/source.parquet", "runs/", "error.log"))}
MADE_LATER = {"bindings.json", "release.json", "request.json", "sbom.json"}
OF_THE_TEMPLATE = {"docs/switching.md"}
JOBS_OF_PIPELINES = {"build", "bundle", "prod", "staging"}
SUFFIXES = r"\.(cfg|csv|ini|json|md|parquet|py|sh|toml|ya?ml)"


def code(page: str) -> tuple[list[str], list[str]]:
    """Return the commands of a Markdown text, and what else it sets as code."""
    blocks = re.findall(r"^ *```shell\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", page, flags=re.MULTILINE | re.DOTALL))
    commands = [text for text in inline if text.startswith(("uv ", "uvx ", "databricks "))]
    return lines + commands, [text for text in inline if text not in commands]


def names_nothing(project: Path, text: str) -> bool:
    """Tell whether a text is neither a file or folder, nor a word of the bundle or the package."""
    if "/" in text or "." in text:
        return text not in MADE and not (project / text).exists() and not list(project.glob(f"src/*/{text}"))
    places = [*project.glob("src/**/*.py"), *project.glob("resources/*.yml"), project / "databricks.yml"]
    return not any(re.search(rf"\b{re.escape(text)}\b", path.read_text(encoding="utf-8")) for path in places)


def is_missing_file(project: Path, text: str) -> bool:
    """Tell whether a text looks like a file or a folder of the project, and is none, wherever that might be."""
    looks_like_one = re.fullmatch(rf"[\w.-]+(/[\w.-]+)*({SUFFIXES}|/)", text)
    elsewhere = MADE | MADE_LATER | OF_THE_TEMPLATE
    return bool(looks_like_one) and text not in elsewhere and not list(project.glob(f"**/{text}"))


@cache
def bundle_of(project: Path, target: str) -> dict[str, Any]:
    return load_bundle(project, target)


def options(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--")]


def knows(source: Path, subcommand: str, words: list[str]) -> bool:
    """Tell whether a program of the project has a subcommand, and all options; which of them take which is not seen."""
    if not source.is_file():
        return False
    text = "\n".join(path.read_text(encoding="utf-8") for path in (source, *source.parent.glob("*/__init__.py")))
    text += (source.parent / "provider.py").read_text(encoding="utf-8") if source.parent.name == "environments" else ""
    offered = rf'\badd(?:_parser)?\(\s*"{re.escape(subcommand)}"|choices=\[[^]]*"{re.escape(subcommand)}"'
    named = ("[-_]".join(option.removeprefix("--").split("-")) for option in options(words))
    return bool(re.search(offered, text)) and all(re.search(rf'"(--)?{name}"', text) for name in named)


def job_is_wrong(project: Path, target: str, job: str, pairs: list[str]) -> bool:
    """Tell whether a target has no such job, or the job no such parameter."""
    jobs = bundle_of(project, target)["resources"]["jobs"] if target in TARGETS else {}
    if job not in jobs:
        return True
    known = {parameter["name"] for parameter in jobs[job].get("parameters", [])}
    return not {pair.partition("=")[0] for pair in pairs} <= known


def after(words: list[str], *names: str) -> list[str]:
    """Return what stands behind these options, split at commas."""
    found = [words[place + 1] for place, word in enumerate(words[:-1]) if word in names]
    return [part for text in found for part in text.split(",")]


def false_code(project: Path, page: str) -> list[str]:
    """Return the commands, the files, and the jobs and tasks on a page that the project does not have."""
    commands, others = code(page)
    jobs = [job for target in TARGETS for job in bundle_of(project, target)["resources"]["jobs"].items()]
    known = {key for key, _ in jobs} | {task["task_key"] for _, job in jobs for task in job["tasks"]}
    named = re.findall(r"\b(?:job|task)s? `([a-z_]+)`", page)
    return [
        *(text for text in commands if cannot_run(project, text)),
        *(text for text in others if is_missing_file(project, text)),
        *(text for text in named if text not in known | JOBS_OF_PIPELINES),
    ]


def cannot_run(project: Path, command: str) -> bool:
    """Tell whether a command calls a program, a subcommand, an option, a target, a job or a file that there is not."""
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    tools = {re.split(r"[<>=]", package)[0] for package in metadata["dependency-groups"]["dev"]}
    words = [word for word in shlex.split(command) if word != "…"]
    targets = after(words, "--target", "--source")
    if set(targets) - set(TARGETS):
        return True
    match words:
        case ["uv", "sync" | "lock" | "add" | "auth", *_] | ["uv", "--version" | "run"]:
            return False
        case ["databricks", "bundle", "run"] | ["databricks", "bundle", "run", "--target", _]:
            return False
        case ["databricks", "bundle", "run", job, *rest]:
            return job_is_wrong(project, (targets or ["dev"])[0], job, after(rest, "--params"))
        case ["databricks", "bundle", subcommand, *_]:
            return subcommand not in {
                "deploy",
                "deployment",
                "destroy",
                "generate",
                "open",
                "plan",
                "summary",
                "validate",
            }
        case ["uvx", "--from", address, "ml-template", subcommand, *rest]:
            offered = {name for option in ml_template.commands[subcommand].params for name in option.opts}
            return not address.startswith("git+") or not set(options(rest)) <= offered
        case ["uv", "run", "python", "-m", "local", "run", target, *rest]:
            return bool(rest) and job_is_wrong(project, target, rest[0], after(rest, "--param"))
        case ["uv", "run", "python", "-m", "local", "models", *rest]:
            return cannot_run(project, shlex.join(["uv", "run", "models", *rest]))
        case ["uv", "run", "python", "-m", module, subcommand, *rest]:
            return not knows(project / module / "__main__.py", subcommand, rest)
        case ["uv", "run", script, *rest] if script in metadata["project"]["scripts"]:
            (source,) = project.glob(f"src/*/{script}.py")
            return bool(rest) and not knows(source, rest[0], rest[1:])
        case ["uv", "run", tool, *arguments]:
            paths = [argument for argument in arguments if "/" in argument]
            there = tool in tools or tool in ("mlflow", "python") or (project / tool).is_file()
            return not there or any(is_missing_file(project, path) for path in paths)
        case ["uv" | "uvx", *_]:
            return True
        case _:
            return False
