"""A project that was made with cruft takes over what changed in the template, and other answers."""

import json
import shutil
from pathlib import Path

import pytest
from helpers import CACHES, ROOT, commit, files, lock, run

from ml_template.update import propose

CHANGED = {"compute": "classic", "deployment_pattern": "hybrid", "ci_provider": "gitlab-ci"}


def copied(folder: Path) -> Path:
    """Return a copy of the template as it is now, in a repository of its own."""
    copy = folder / "template"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "build", "golden", *CACHES))
    commit(copy)
    return copy


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("template"))


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


def change(template: Path) -> None:
    """Commit a change of the template: another heading of docs/operations.md."""
    page = template / "{{cookiecutter.project_slug}}" / "docs" / "operations.md"
    page.write_text(page.read_text(encoding="utf-8").replace("# Operations\n", "# Operating it\n"), encoding="utf-8")
    commit(template)


def test_other_answers_make_the_project_that_they_make_anew(template: Path, tmp_path: Path) -> None:
    project = create(template, tmp_path / "first")
    update(project, "--variables-to-update", json.dumps(CHANGED))
    assert rendered(project) == rendered(create(template, tmp_path / "anew", **CHANGED))


def test_a_change_of_the_template_arrives_and_own_changes_stay(template: Path, tmp_path: Path) -> None:
    project = create(template, tmp_path / "project")
    own = project / "src" / "fraud_detection" / "tasks" / "train.py"
    own.write_text(own.read_text(encoding="utf-8") + "\n# ours\n", encoding="utf-8")
    commit(project)
    change(template)

    update(project)

    assert (project / "docs" / "operations.md").read_text(encoding="utf-8").startswith("# Operating it\n")
    assert own.read_text(encoding="utf-8").endswith("\n# ours\n")
    assert not (project / "_options").exists()


BEFORE_THE_ROOMS = "07901d31027831577e361ae6882c2497673ba6de"
# What a team had changed: path, what stood there, what stands there since.
OWN_EDITS = [
    ("train.py", '"max_iter": 120', '"max_iter": 200'),
    ("features.py", 'NUMERIC = ["amount", ', 'NUMERIC = ["amount", "is_night", '),
    (
        "features.py",
        '        F.dayofweek("event_time")',
        '        (F.hour("event_time") < 6).cast("double").alias("is_night"),\n        F.dayofweek("event_time")',
    ),
    ("config.yml", "average_precision: 0.30", "average_precision: 0.35"),
    ("data.py", "amount BETWEEN 0 AND 100000", "amount BETWEEN 0 AND 50000"),
]
# The same, carried over as docs/upgrading.md says.
CARRIED_OVER = [
    ("problem/model.py", '"max_iter": 120', '"max_iter": 200'),
    ("problem/features.py", 'NUMERIC = ["amount", ', 'NUMERIC = ["amount", "is_night", '),
    (
        "problem/features.py",
        '            "is_weekend": F.',
        '            "is_night": (F.hour("event_time") < 6).cast("double"),\n            "is_weekend": F.',
    ),
    ("problem/config.yml", "average_precision: 0.30", "average_precision: 0.35"),
    ("problem/source.py", "amount BETWEEN 0 AND 100000", "amount BETWEEN 0 AND 50000"),
]


def rewrite(package: Path, edits: list[tuple[str, str, str]]) -> None:
    for name, before, after in edits:
        text = (package / name).read_text(encoding="utf-8")
        assert before in text, (name, before)
        (package / name).write_text(text.replace(before, after), encoding="utf-8")


@pytest.mark.slow
def test_a_project_from_before_the_rooms_moves_into_them(tmp_path: Path) -> None:
    history = tmp_path / "history"
    if run("git", "cat-file", "-e", BEFORE_THE_ROOMS, cwd=ROOT).returncode:
        pytest.skip(f"this clone has no history back to {BEFORE_THE_ROOMS[:7]}")
    assert run("git", "clone", "--quiet", ROOT, history, cwd=tmp_path).returncode == 0
    folder = tmp_path / "project"
    folder.mkdir()
    made = run("cruft", "create", history, "--checkout", BEFORE_THE_ROOMS, "--no-input", cwd=folder)
    assert made.returncode == 0, made.stdout
    (project,) = folder.iterdir()
    package = project / "src" / "fraud_detection"
    rewrite(package, OWN_EDITS)
    (package / "helpers.py").write_text('"""Ours."""\n\nfrom . import tables\n\nREAD = tables.read\n', encoding="utf-8")
    readme = project / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8") + "\n## Contact\n\nAda.\n", encoding="utf-8")
    commit(project)
    for setting in ("user.name", "user.email"):
        run("git", "config", setting, "ada@example.com", cwd=project)

    proposal = propose(project)
    assert proposal is not None
    assert run("git", "switch", "--quiet", proposal.branch, cwd=project).returncode == 0

    assert readme.read_text(encoding="utf-8").endswith("\n## Contact\n\nAda.\n")
    conflicts = {path.removeprefix("src/fraud_detection/"): told for path, told in proposal.conflicts.items()}
    print(conflicts)
    left_behind = {path.name for path in package.glob("*.py")} - {"__init__.py", "models.py"}
    assert left_behind == {"data.py", "features.py", "helpers.py"}  # with the edits that they had

    lock(project)
    rooms = ("uv", "run", "pytest", "-q", "tests/unit/test_rooms.py")
    told = run(*rooms, cwd=project)
    assert told.returncode == 1 and "data, features, helpers: in no room" in told.stdout, told.stdout

    for path in (*project.rglob("*.rej"), package / "data.py", package / "features.py"):
        path.unlink()
    (package / "helpers.py").rename(package / "platform" / "helpers.py")
    fresh = create(history, tmp_path / "fresh")
    for name in ("tasks/train.py", "problem/config.yml"):  # what was edited there has moved away
        shutil.copy(fresh / "src" / "fraud_detection" / name, package / name)
    rewrite(package, CARRIED_OVER)
    checked = run(*rooms, "tests/unit/test_config.py", "tests/problem", "tests/unit/test_data.py", cwd=project)
    assert checked.returncode == 0, checked.stdout


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
