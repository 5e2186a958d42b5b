"""What stands in a project for editors and coding assistants is true: commands, paths, jobs and versions."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from conftest import Bake
from helpers import CHOICES, TARGETS, every_combination, files, load_bundle

# What commands make, and the repository does not hold.
MADE = {"uv.lock", ".local/", ".cruft.json"}
BUNDLE = {"deploy", "run"}


def code(page: str) -> tuple[list[str], list[str]]:
    """Return the commands of a Markdown text, and what else it sets as code."""
    blocks = re.findall(r"^```shell\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL))
    commands = [text for text in inline if text.startswith(("uv ", "databricks "))]
    return lines + commands, [text for text in inline if text not in commands]


def names_nothing(project: Path, text: str) -> bool:
    """Tell whether a text is neither a file or folder, nor a word of the bundle or the package."""
    if "/" in text or "." in text:
        return text not in MADE and not (project / text).exists() and not list(project.glob(f"src/*/{text}"))
    places = [*project.glob("src/**/*.py"), *project.glob("resources/*.yml"), project / "databricks.yml"]
    return not any(re.search(rf"\b{re.escape(text)}\b", path.read_text(encoding="utf-8")) for path in places)


def cannot_run(project: Path, command: str) -> bool:
    """Tell whether a command calls a program, a subcommand, a target, a job or a file that there is not."""
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    tools = {re.split(r"[<>=]", package)[0] for package in metadata["dependency-groups"]["dev"]}
    match shlex.split(command):
        case ["uv", "sync" | "lock"]:
            return False
        case ["databricks", "bundle", subcommand]:
            return subcommand not in BUNDLE
        case ["uv", "run", "python", "-m", "local", "run", target, job]:
            return target not in TARGETS or job not in load_bundle(project, target)["resources"]["jobs"]
        case ["uv", "run", "python", "-m", module, subcommand, *targets] if set(targets) <= set(TARGETS):
            source = project / module / "__main__.py"
        case ["uv", "run", script, subcommand] if script in metadata["project"]["scripts"]:
            (source,) = project.glob(f"src/*/{script}.py")
        case ["uv", "run", tool, *arguments]:
            paths = [argument for argument in arguments if "/" in argument]
            return tool not in tools or any(names_nothing(project, path) for path in paths)
        case _:
            return True
    offered = r'add_parser\(\s*"{0}"|choices=\[[^]]*"{0}"'.format(re.escape(subcommand))
    return not source.is_file() or not re.search(offered, source.read_text(encoding="utf-8"))


def untrue(project: Path, page: str) -> list[str]:
    """Return what a page sets as code, and the project does not have."""
    commands, others = code(page)
    return [text for text in commands if cannot_run(project, text)] + [
        text for text in others if names_nothing(project, text)
    ]


@every_combination
def test_assistants_are_told_what_there_is(answers: dict[str, str], bake: Bake) -> None:
    project = bake(**answers)
    page = (project / "AGENTS.md").read_text(encoding="utf-8")
    commands, others = code(page)
    assert len(commands) >= 15 and len(others) >= 30 and len(page.splitlines()) <= 80
    assert not untrue(project, page)
    # What no other combination has: where models are received there is more to leave alone.
    receives = (project / "resources" / "promotion.job.yml").exists()
    assert ("uv run models approve" in commands) == receives
    assert ("uv run python -m local query dev" in commands) == (answers.get("inference", "batch") != "batch")


@pytest.mark.parametrize(
    "text",
    [
        *("src/elsewhere/", "docs/elsewhere.md", "compute_nothing", "uv run elsewhere", "uv run pytest tests/else.py"),
        *("uv run python -m local elsewhere", "uv run python -m local run dev promotion", "uv run models approve"),
        *("uv run python -m local run test training", "databricks bundle elsewhere", "uv run python -m else apply"),
    ],
)
def test_what_a_page_makes_up_is_found(text: str, bake: Bake) -> None:
    assert untrue(bake(), f"Type `{text}`, or `uv sync`.\n\n```shell\nuv run pytest  # all\n```\n") == [text]


def test_the_editor_recommends_what_its_settings_need(bake: Bake) -> None:
    folder = bake() / ".vscode"
    settings, extensions = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("settings.json", "extensions.json")
    )
    recommended = extensions["recommendations"]
    assert settings["[python]"]["editor.defaultFormatter"] in recommended
    sections = {"ruff": "charliermarsh.ruff", "mypy-type-checker": "ms-python.mypy-type-checker"}
    sections["python"] = "ms-python.python"
    used = {sections[name.partition(".")[0]] for name in settings if not name.startswith("[")}
    assert used <= set(recommended) and recommended == sorted(recommended)
    ruff = tomllib.loads((folder.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert settings["[python]"]["editor.rulers"] == [ruff["line-length"]]


@pytest.mark.parametrize("provider", [provider for provider in CHOICES["ci_provider"] if provider != "none"])
def test_the_container_has_the_versions_of_the_pipelines(provider: str, bake: Bake) -> None:
    content = {name: data.decode() for name, data in files(bake(ci_provider=provider)).items()}
    container = content.pop(".devcontainer/Dockerfile")
    images = dict(re.findall(r"^FROM ghcr\.io/[\w-]+/(\w+):v?([\d.]+) AS", container, re.MULTILINE))
    pipelines = "\n".join(text for name, text in content.items() if name.startswith((".git", "azure-pipelines")))
    cli = re.findall(r'^ *(?:DATABRICKS_CLI_|CLI_)?VERSION: "?([\d.]+)', pipelines, re.MULTILINE)
    assert images == {"uv": re.findall(r"^uv==(\S+)", pipelines, re.MULTILINE)[0], "cli": cli[0]}


def test_reviewers_are_asked_the_same_everywhere(bake: Bake) -> None:
    paths = {
        "github-actions": ".github/pull_request_template.md",
        "azure-devops": ".azuredevops/pull_request_template.md",
        "gitlab-ci": ".gitlab/merge_request_templates/Default.md",
    }
    pages = {(bake(ci_provider=ci) / path).read_text(encoding="utf-8") for ci, path in paths.items()}
    (page,) = pages  # projects that share a repository have it once, whatever their patterns are
    for ci in paths:
        assert not [text for text in code(page)[1] if text not in MADE and names_nothing(bake(ci_provider=ci), text)]
