"""Projects with a history: made by an earlier version, edited and updated; and switched to each other answer."""

import shutil
from itertools import permutations
from pathlib import Path

import pytest
from conftest import Bake
from helpers import CACHES, CHOICES, ROOT, commit, files, run

from ml_template.render import Record, clone, render
from ml_template.update import files_of, merge, propose, tree_of

BEFORE_THE_COMMANDS = "557dafd546bff25abe3bbf8fd234b0e956705162"
TAGS = run("git", "tag", "--list", "v*", cwd=ROOT).stdout.split()
SWITCHES = [
    (question, *pair)
    for question in ("deployment_pattern", "ci_provider", "compute", "inference", "problem")
    for pair in permutations(CHOICES[question], 2)
] + [("sql_warehouse", *pair) for pair in permutations(("", "Shared Warehouse"), 2)]


def git(folder: Path, *arguments: str) -> str:
    result = run("git", *arguments, cwd=folder)
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the history of this one, and the files as they are now as its newest commit."""
    folder = tmp_path_factory.mktemp("history") / "template"
    git(ROOT, "clone", "--quiet", ".", str(folder))
    git(folder, "rm", "-r", "--quiet", ".")
    skipped = shutil.ignore_patterns(".git", ".venv", "build", "golden", *CACHES)
    shutil.copytree(ROOT, folder, ignore=skipped, dirs_exist_ok=True)
    commit(folder)
    return folder


def rewrite(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text, path
    path.write_text(text.replace(before, after), encoding="utf-8", newline="\n")


def edit(project: Path) -> None:
    """Change a project as its users do."""
    package = project / "src" / "fraud_detection"
    rewrite(package / "problem" / "features.py", 'NUMERIC = ["amount", ', 'NUMERIC = ["amount", "is_night", ')
    rewrite(
        package / "problem" / "features.py",
        '            "is_weekend": F.',
        '            "is_night": (F.hour("event_time") < 6).cast("double"),\n            "is_weekend": F.',
    )
    # Another name of a table. In `features` the template changed the next line.
    for name in ("train", "validate", "monitor"):
        rewrite(package / "tasks" / f"{name}.py", "{schema}.features", "{schema}.card_features")
    shutil.rmtree(project / "lifecycle")
    rewrite(project / "pyproject.toml", '"local", "lifecycle", ', '"local", ')
    workflow = project / ".github" / "workflows" / "pull-request.yml"
    rewrite(
        workflow, "      - name: Lint\n", "      - name: Licences\n        run: uv run licences\n      - name: Lint\n"
    )
    (project / "tests" / "unit" / "test_ours.py").write_text("def test_ours():\n    pass\n", encoding="utf-8")


@pytest.mark.parametrize("version", [BEFORE_THE_COMMANDS, *TAGS])
def test_edits_survive_an_update(version: str, template: Path, tmp_path: Path) -> None:
    if run("git", "cat-file", "-e", version, cwd=template).returncode:
        pytest.skip(f"this clone has no history back to {version[:7]}")
    copy = clone(str(template), tmp_path / "clone")
    project = render(copy, version, {}, tmp_path / "project")
    edit(project)
    commit(project)
    git(project, "config", "user.name", "Ada")
    git(project, "config", "user.email", "ada@example.com")

    proposal = propose(project, template=copy)

    assert proposal is not None and not proposal.conflicts, proposal
    git(project, "switch", "--quiet", proposal.branch)
    assert Record.of(project).commit == git(template, "rev-parse", "HEAD").strip()
    anew = render(copy, "HEAD", {}, tmp_path / "anew")
    edit(anew)
    after, wanted = (
        {name: text for name, text in files(folder).items() if ".git/" not in name} for folder in (project, anew)
    )
    assert after.keys() == wanted.keys()
    assert {name for name in wanted if after[name] != wanted[name]} == set()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "--quiet")
    return folder


def tree(repository: Path, folder: Path) -> str:
    return tree_of(repository, folder, {"GIT_DIR": str(repository / ".git")})


def own(project: Path, folder: Path) -> Path:
    """Return a copy of a project with edits that any answer leaves room for."""
    copy = folder / "own"
    shutil.copytree(project, copy)
    rewrite(copy / "src" / "fraud_detection" / "tasks" / "features.py", "import ", "import  ")
    (copy / "src" / "fraud_detection" / "problem" / "ours.py").write_text("OURS = 1\n", encoding="utf-8")
    with (copy / "README.md").open("a", encoding="utf-8", newline="\n") as file:
        file.write("\n## Contact\n\nAda.\n")
    return copy


@pytest.mark.parametrize("question, before, after", SWITCHES)
def test_a_switch_makes_the_project_that_the_answer_makes(
    question: str, before: str, after: str, bake: Bake, repository: Path, tmp_path: Path
) -> None:
    default = CHOICES.get(question, [""])[0]
    old, new = (bake(**{} if answer == default else {question: answer}) for answer in (before, after))
    made = merge(repository, tree(repository, own(old, tmp_path / "old")), old, new)
    assert not made.conflicts and not made.left_out
    assert made.tree == tree(repository, own(new, tmp_path / "new"))


def test_an_edited_file_of_the_old_answer_is_kept_and_reported(bake: Bake, repository: Path, tmp_path: Path) -> None:
    ours = own(bake(), tmp_path)
    rewrite(ours / ".github" / "workflows" / "operate.yml", "name: operate", "name: run things")
    made = merge(repository, tree(repository, ours), bake(), bake(ci_provider="gitlab-ci"))
    assert made.conflicts.keys() == {".github/workflows/operate.yml"}
    left = {name for name in files_of(repository, made.tree) if name.startswith(".github/")}
    assert left == made.conflicts.keys()
