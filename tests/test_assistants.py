"""What stands in a project for editors and coding assistants is true: commands, paths, jobs and versions."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from conftest import Bake
from helpers import CHOICES, every_combination, files
from pages import MADE, cannot_run, code, names_nothing


def untrue(project: Path, page: str) -> list[str]:
    """Return what a page sets as code, and the project does not have."""
    commands, others = code(page)
    foreign = (text for text in commands if not text.startswith(("uv ", "databricks bundle ")))
    return [*foreign, *(text for text in commands if cannot_run(project, text))] + [
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
    assert ("tests/unit/test_dashboard.py" in others) == ("sql_warehouse" in answers)
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
    sections |= {"python": "ms-python.python", "jupyter": "ms-toolsai.jupyter"}
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
