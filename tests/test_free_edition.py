"""`docs/free-edition.md`: its command makes a project whose three environments fit into one workspace and catalog."""

import re
import shlex
import uuid
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake
from helpers import COOKIECUTTER, QUESTIONS, ROOT, TARGETS, commit, every_pattern, load_bundle, lock, need, run, sync
from real_cli import expected_jobs, hosted_answers, hosts, in_workspace, needs_cli
from test_cli import Workspace, calm

PAGE = (ROOT / "docs" / "free-edition.md").read_text(encoding="utf-8")


def answers_of_the_page() -> dict[str, str]:
    (command,) = re.findall(r"^uvx cookiecutter .*$", PAGE, re.MULTILINE)
    *beginning, option = shlex.split(command)[:4]
    assert (beginning, option) == (["uvx", "cookiecutter", COOKIECUTTER["__repository"]], "--no-input")
    answers = dict(word.split("=", maxsplit=1) for word in shlex.split(command)[4:])
    assert answers.keys() <= QUESTIONS.keys()
    return answers


def at_once(bundle: dict[str, Any], job: str) -> int:
    """Return how many tasks a job runs at the same time, those of the jobs that it starts among them."""
    tasks = {task["task_key"]: task for task in bundle["resources"]["jobs"][job]["tasks"]}

    def depth(key: str) -> int:
        return 1 + max((depth(need["task_key"]) for need in tasks[key].get("depends_on", [])), default=0)

    running: dict[int, int] = {}
    for key, task in tasks.items():
        started = at_once(bundle, task["run_job_task"]["job_id"]) if "run_job_task" in task else 0
        running[depth(key)] = running.get(depth(key), 0) + 1 + started
    return max(running.values())


@every_pattern
def test_three_environments_fit_into_one_workspace(pattern: str, bake: Bake) -> None:
    project = bake(**answers_of_the_page(), deployment_pattern=pattern)
    bundles = {target: load_bundle(project, target) for target in TARGETS}
    assert len({bundle["workspace"]["host"] for bundle in bundles.values()}) == 1
    schemas = [bundle["resources"]["schemas"]["schema"]["id"] for bundle in bundles.values()]
    assert schemas == [f"workspace.fraud_{target}" for target in TARGETS]
    assert "five tasks at a time in the whole account. A job needs four at most" in PAGE
    assert max(at_once(bundle, job) for bundle in bundles.values() for job in bundle["resources"]["jobs"]) <= 4
    for bundle in bundles.values():
        assert not re.search("job_cluster|new_cluster|existing_cluster", str(bundle["resources"]))


@every_pattern
def test_the_page_names_every_group_that_is_given_rights(pattern: str, bake: Bake) -> None:
    """A deployment fails while one of them does not exist."""
    project = bake(**answers_of_the_page(), deployment_pattern=pattern)
    text = str([load_bundle(project, target)["resources"] for target in TARGETS])
    groups = set(re.findall(r"'(?:principal|group_name)': '([^']+)'", text))
    (said,) = re.findall(r"^1\. \*\*Two groups\.\*\* .*$", PAGE, re.MULTILINE)
    assert groups == set(re.findall(r"`([^`]+)`", said))


@pytest.mark.slow
@needs_cli
@every_pattern
def test_the_cli_validates_every_target(pattern: str, bake_anew: Bake, tmp_path: Path) -> None:
    project = bake_anew(**answers_of_the_page() | hosts(), deployment_pattern=pattern)
    (project / "uv.lock").touch()  # the page lets `uv sync` write it before
    for target in TARGETS:
        workspace = Workspace(project, target, tmp_path, f"token-{uuid.uuid4().hex}")
        assert f"Target: {target}" in calm(workspace.databricks("bundle", "validate", "--strict"))


@pytest.mark.slow
@needs_cli
def test_one_person_deploys_all_of_them_side_by_side(bake_anew: Bake, tmp_path: Path) -> None:
    project = bake_anew(**answers_of_the_page() | hosted_answers())
    commit(project)
    lock(project)
    workspaces = [Workspace(project, target, tmp_path, f"token-of-{project.name}") for target in TARGETS]
    for workspace in workspaces:
        calm(workspace.databricks("bundle", "deploy"))
    for workspace in workspaces:
        assert "0 to add, 0 to change, 0 to delete" in calm(workspace.databricks("bundle", "plan"))
    jobs, _ = in_workspace(project.name, workspaces[0].token)
    assert jobs.keys() == expected_jobs("deploy-code", *TARGETS)


@pytest.mark.slow
def test_environments_that_share_a_catalog_pass_their_own_tests(bake_anew: Bake) -> None:
    need("uv")
    # What decides about packages is as in the default project, whose packages other tests have set up as well.
    project = bake_anew(**answers_of_the_page() | {"cloud": "azure", "ci_provider": "github-actions"})
    sync(project)
    result = run("uv", "run", "pytest", "tests/unit/test_pattern.py", "tests/unit/test_access.py", cwd=project)
    assert result.returncode == 0, result.stdout
