"""A project that was made with cruft takes over what changed in the template, and other answers."""

import json
import shutil
from pathlib import Path

import pytest
from helpers import CACHES, ROOT, commit, files, run

CHANGED = {"compute": "classic", "deployment_pattern": "hybrid", "ci_provider": "gitlab-ci"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the template as it is now, with a commit of its own."""
    copy = tmp_path_factory.mktemp("template") / "template"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "build", "golden", *CACHES))
    commit(copy)
    return copy


def create(template: Path, folder: Path, **answers: str) -> Path:
    """Make a project with cruft, under git."""
    folder.mkdir(exist_ok=True)
    result = run("cruft", "create", template, "--no-input", "--extra-context", json.dumps(answers), cwd=folder)
    assert result.returncode == 0, result.stdout
    (project,) = folder.iterdir()
    commit(project)
    return project


def update(project: Path, *options: str) -> None:
    result = run("cruft", "update", "--skip-apply-ask", *options, cwd=project)
    assert result.returncode == 0, result.stdout
    assert not list(project.rglob("*.rej")), result.stdout


def rendered(project: Path) -> dict[str, bytes]:
    """Return the files of a project, without git's and cruft's own."""
    return {name: content for name, content in files(project).items() if not name.startswith((".git/", ".cruft.json"))}


def test_other_answers_make_the_project_that_they_make_anew(template: Path, tmp_path: Path) -> None:
    project = create(template, tmp_path / "first")
    update(project, "--variables-to-update", json.dumps(CHANGED))
    assert rendered(project) == rendered(create(template, tmp_path / "anew", **CHANGED))


def test_a_change_of_the_template_arrives_and_own_changes_stay(template: Path, tmp_path: Path) -> None:
    project = create(template, tmp_path / "project")
    own = project / "src" / "fraud_detection" / "train.py"
    own.write_text(own.read_text(encoding="utf-8") + "\n# ours\n", encoding="utf-8")
    commit(project)
    page = template / "{{cookiecutter.project_slug}}" / "docs" / "operations.md"
    page.write_text(page.read_text(encoding="utf-8").replace("# Operations\n", "# Operating it\n"), encoding="utf-8")
    commit(template)

    update(project)

    assert (project / "docs" / "operations.md").read_text(encoding="utf-8").startswith("# Operating it\n")
    assert own.read_text(encoding="utf-8").endswith("\n# ours\n")
    assert not (project / "_options").exists()


def test_code_in_an_answer_never_runs(template: Path, tmp_path: Path) -> None:
    """Cruft renders each answer that it is given, before any hook sees it."""
    planted = tmp_path / "planted"
    answers = {"project_name": f"{{{{ cycler.__init__.__globals__.os.mkdir('{planted.as_posix()}') }}}}"}
    folder = tmp_path / "project"
    folder.mkdir()
    given = json.dumps(answers)
    commands = [
        (folder, "cruft", "create", str(template), "--no-input", "--extra-context", given),
        (create(template, folder), "cruft", "update", "--skip-apply-ask", "--variables-to-update", given),
    ]
    for where, *command in commands:
        result = run(*command, cwd=where)
        assert result.returncode == 1 and "This answer holds Jinja code" in result.stdout, result.stdout
        assert not planted.exists()
