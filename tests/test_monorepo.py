"""Several projects in one repository: the pipelines of each run for its own folder, and as those of a project alone."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from helpers import RECORD, commit, files, run
from on_azure import put_in_azure
from on_github import put_on_github, request_from, workflows
from on_gitlab import MERGE_REQUEST, put_on_gitlab
from product import render
from release_contract import CHECKS
from stand_in import normal

from ml_template.__main__ import main
from ml_template.place import put
from ml_template.render import git
from ml_template.update import placed

PROJECTS = ("fraud", "fraud-v2")  # one name begins with the other


def repository(folder: Path, **answers: str) -> Path:
    """Return a repository of two projects."""
    folder.mkdir()
    assert run("git", "init", "--quiet", cwd=folder).returncode == 0
    for slug in PROJECTS:
        (folder / "projects").mkdir(exist_ok=True)
        given = answers | {"project_slug": slug, "projects_folder": "projects"}
        project = render(given, folder / "projects")
        record = {"template": "t", "commit": None, "context": {"cookiecutter": given}}
        (project / RECORD).write_text(json.dumps(record), encoding="utf-8")
        put(project)
    return folder


@pytest.fixture(scope="module")
def on_github(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("github") / "repository", deployment_pattern="deploy-code")


@pytest.fixture(scope="module")
def on_gitlab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("gitlab") / "repository", ci_provider="gitlab-ci")


@pytest.fixture(scope="module")
def in_azure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("azure") / "repository", ci_provider="azure-devops")


def change(repository: Path, name: str) -> None:
    (repository / name).write_text("changed\n", encoding="utf-8")
    commit(repository)


# Placing


def test_each_workflow_belongs_to_one_project(on_github: Path) -> None:
    parsed = workflows(on_github)
    names = ("operate", "pull-request", "release-code", "release-prod", "template-update")
    assert parsed.keys() == {f"{slug}-{name}" for slug in PROJECTS for name in names}
    for name, workflow in parsed.items():
        assert workflow["name"] == name
        slug = max((slug for slug in PROJECTS if name.startswith(f"{slug}-")), key=len)
        assert workflow["defaults"]["run"]["working-directory"] == f"projects/{slug}"
        others = {other for other in PROJECTS if other != slug}
        text = (on_github / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
        assert not [other for other in others if f"{other}/" in text]
        for job in workflow["jobs"].values():
            target = job.get("environment", f"{slug}-")
            assert target.startswith(f"{slug}-"), "an identity of its own"
    code = parsed["fraud-release-code"]["on"]["push"]
    assert (code["tags"], code["paths"][0]) == (["fraud/v*"], "projects/fraud/**")
    # Nothing that GitHub knows by its name has two meanings.
    jobs = [(job["name"]) for name in parsed for job in parsed[name]["jobs"].values() if "pull-request" in name]
    required = {job for job in jobs if job.endswith("Checked")}
    assert required == {"fraud-Checked", "fraud-v2-Checked"}
    groups = [workflow["concurrency"]["group"] for workflow in parsed.values()]
    assert len(set(groups)) == len(groups)


def test_placing_again_changes_nothing_and_removes_what_is_gone(on_github: Path, tmp_path: Path) -> None:
    copy = tmp_path / "repository"
    shutil.copytree(on_github, copy)
    before = files(copy / ".github")
    assert [put(copy / "projects" / slug) for slug in PROJECTS] == [[], []]
    assert files(copy / ".github") == before
    (copy / "projects" / "fraud" / ".github" / "workflows" / "operate.yml").unlink()
    result = CliRunner().invoke(main, ["place", str(copy / "projects" / "fraud")])
    assert result.output == ".github/workflows/fraud-operate.yml\n"
    assert before.keys() - files(copy / ".github").keys() == {"workflows/fraud-operate.yml"}


def test_each_provider_finds_what_reviewers_are_asked(on_github: Path, on_gitlab: Path, in_azure: Path) -> None:
    assert (on_github / ".github" / "pull_request_template.md").is_file()
    assert (on_gitlab / ".gitlab" / "merge_request_templates" / "Default.md").is_file()
    assert (in_azure / ".azuredevops" / "pull_request_template.md").is_file()


def test_an_update_brings_the_copies_along(on_github: Path, tmp_path: Path) -> None:
    copy = tmp_path / "repository"
    shutil.copytree(on_github, copy)
    commit(copy)
    project = copy / "projects" / "fraud"
    ours = git(copy, "rev-parse", "HEAD:projects/fraud/").stdout.strip()
    (project / ".github" / "workflows" / "operate.yml").unlink()
    (project / ".github" / "workflows" / "release-code.yml").write_text("name: another\n", encoding="utf-8")
    git(copy, "add", "--all", "projects", check=True)
    changed = git(copy, "write-tree", "--prefix=projects/fraud/", check=True).stdout.strip()
    git(copy, "reset", "--quiet", "--hard", check=True)

    whole = placed(copy, "projects/fraud/", ours, changed, "fraud")
    listed = git(copy, "diff-tree", "-r", "--name-status", "HEAD", whole, check=True).stdout.split()
    assert dict(zip(listed[1::2], listed[::2], strict=True)) == {
        ".github/workflows/fraud-operate.yml": "D",
        ".github/workflows/fraud-release-code.yml": "M",
        "projects/fraud/.github/workflows/operate.yml": "D",
        "projects/fraud/.github/workflows/release-code.yml": "M",
    }
    assert git(copy, "show", f"{whole}:.github/workflows/fraud-release-code.yml").stdout == "name: another\n"


def test_a_project_of_another_place_is_not_placed(on_github: Path, tmp_path: Path) -> None:
    copy = tmp_path / "repository"
    shutil.copytree(on_github, copy)
    (copy / "projects" / "fraud").rename(copy / "fraud")
    with pytest.raises(click.ClickException, match=r"was made for the folder projects/fraud of .*\. Move it there\."):
        put(copy / "fraud")
    record: dict[str, Any] = json.loads((copy / "fraud" / RECORD).read_bytes())
    record["context"]["cookiecutter"]["projects_folder"] = ""
    (copy / "fraud" / RECORD).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(click.ClickException, match="type first: ml-template update --answer projects_folder="):
        put(copy / "fraud")


# Running


def test_github_runs_what_a_request_changes(on_github: Path, tmp_path: Path) -> None:
    github = put_on_github(on_github, tmp_path, folder="projects/fraud")
    change(github.project, "projects/fraud-v2/README.md")
    result = github.run("fraud-pull-request", pull_request=request_from())
    assert result.succeeded, result.log
    assert not github.lines("uv run") and github.commands() == []

    change(github.project, "projects/fraud/README.md")
    result = github.run("fraud-pull-request", pull_request=request_from())
    assert result.succeeded, result.log
    assert github.lines("uv sync", "uv run") == CHECKS
    assert normal("databricks bundle plan --target prod") in github.commands()


def test_github_releases_one_project(on_github: Path, tmp_path: Path) -> None:
    github = put_on_github(on_github, tmp_path, folder="projects/fraud")
    assert run("git", "tag", "fraud/v1.2.3", cwd=github.project).returncode == 0
    result = github.run("fraud-release-code", ref="refs/tags/fraud/v1.2.3")
    assert result.succeeded, result.log
    assert github.commands()[-1] == normal("databricks bundle run integration_test --target staging")
    head = run("git", "rev-parse", "HEAD", cwd=github.project).stdout.strip()
    ended = {"event": "push", "head_branch": "fraud/v1.2.3", "head_sha": head, "conclusion": "success", "id": 76}
    ended |= {"head_repository": {"full_name": "example/fraud"}, "actor": {"login": "ada"}, "html_url": "https://x.y"}
    github.approved(("grace", "fraud-prod", "approved"))
    github.answer(
        "/environments/fraud-prod", json.dumps({"protection_rules": [{"id": 1, "type": "required_reviewers"}]})
    )
    result = github.run("fraud-release-prod", workflow_run=ended)
    assert result.succeeded, result.log
    assert normal("databricks bundle deploy --target prod") in github.commands()
    # The tag of the other one is none of its.
    result = github.run("fraud-release-prod", workflow_run=ended | {"head_branch": "fraud-v2/v1.2.3"})
    assert github.commands() == []


def test_azure_releases_one_project(in_azure: Path, tmp_path: Path) -> None:
    azure = put_in_azure(in_azure, tmp_path, folder="projects/fraud", unit="fraud-")
    azure.predefined = {"Build.SourceBranch": "refs/tags/fraud/v1.2.3", "Build.SourceBranchName": "v1.2.3"}
    result = azure.run("release-code")
    assert set(result.stages.values()) == {"Succeeded"}, result.log
    assert result.environments == {"staging.staging": "fraud-staging", "prod.prod": "fraud-prod"}
    assert normal("databricks bundle deploy --target prod") in azure.commands()
    azure.predefined = {"Build.SourceBranch": "refs/tags/fraud-v2/v1.2.3", "Build.SourceBranchName": "v1.2.3"}
    assert azure.run("release-code").stages["prod"] == "Skipped"
    result = azure.run("pull-request")
    assert set(result.jobs.values()) == {"Succeeded"}, result.log


def test_gitlab_runs_the_pipeline_of_one_project(on_gitlab: Path, tmp_path: Path) -> None:
    file = "projects/fraud/.gitlab-ci.yml"
    gitlab = put_on_gitlab(on_gitlab, tmp_path, folder="projects/fraud", file=file)
    ran = gitlab.run(**MERGE_REQUEST | {"CI_PIPELINE_SOURCE": "parent_pipeline", "CI_MERGE_REQUEST_IID": "7"})
    assert ran.succeeded, ran.said
    assert gitlab.lines("uv sync", "uv run") == CHECKS
    ran = gitlab.run("prod", CI_COMMIT_TAG="fraud/v1.2.3")
    assert ran.succeeded, ran.said
    assert normal("databricks bundle deploy --target prod") in ran.commands


def test_gitlab_starts_the_projects_that_change(on_gitlab: Path, tmp_path: Path) -> None:
    gitlab = put_on_gitlab(on_gitlab, tmp_path, folder="projects/fraud")
    change(gitlab.project, "projects/fraud-v2/README.md")
    ran = gitlab.run(**MERGE_REQUEST)
    assert ran.succeeded, ran.said
    assert set(re.findall(r"PASS +(\S+)", ran.said)) == {"repository", "fraud-v2"}
