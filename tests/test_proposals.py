"""`ml-template update` on a small template: what becomes of the branch, the record, the description and the errors."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from helpers import RECORD, commit, run

from ml_template import update
from ml_template.__main__ import main
from ml_template.render import Record, clone, render

PROJECT = "{{cookiecutter.project_slug}}"
FIRST = {
    "cookiecutter.json": json.dumps(
        {"project_slug": "churn", "ci_provider": ["github-actions", "none"], "_version": "1.0.0"}
    ),
    "CHANGELOG.md": "# Changelog\n\n## 1.0.0\n\n### Added\n\n- Everything.\n",
    f"{PROJECT}/README.md": "# churn\n\nIt is made by hand.\n\nProvider: {{cookiecutter.ci_provider}}\n",
    f"{PROJECT}/src/train.py": "def train():\n    return 1\n\n\ndef check():\n    return 2\n",
    f"{PROJECT}/src/score.py": "def score():\n    return 1\n\n\ndef explain():\n    return 2\n",
    f"{PROJECT}/story/tell.py": "print('once')\n",
    f"{PROJECT}/old.py": "print('old')\n",
    f"{PROJECT}/pyproject.toml": "[project]\nname = 'churn'\n",
}
SECOND = {
    "cookiecutter.json": json.dumps(
        {
            "project_slug": "churn",
            "ci_provider": ["github-actions", "none"],
            "colour": ["red", "blue"],
            "_version": "1.1.0",
        }
    ),
    "CHANGELOG.md": "# Changelog\n\n## 1.1.0\n\n### Changed\n\n- Training returns\n  three.\n\n"
    "## 1.0.0\n\n### Added\n\n- Everything.\n",
    "docs/upgrading.md": "# Upgrading\n\n## 1.1.0\n\n### Three\n\nType `uv sync`.\n",
    f"{PROJECT}/src/train.py": "def train():\n    return 3\n\n\ndef check():\n    return 2\n",
    f"{PROJECT}/src/scoring.py": FIRST[f"{PROJECT}/src/score.py"],
    f"{PROJECT}/src/score.py": "",
    f"{PROJECT}/src/new.py": "NEW = '{{cookiecutter.colour}}'\n",
    f"{PROJECT}/story/tell.py": "print('twice')\n",
    f"{PROJECT}/story/end.py": "print('end')\n",
    f"{PROJECT}/old.py": "",
}


def write(folder: Path, contents: dict[str, str]) -> str:
    """Write files, remove the empty ones, and commit."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="\n") if content else path.unlink()
    return commit(folder)


def git(folder: Path, *arguments: str) -> str:
    result = run("git", *arguments, cwd=folder)
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template with two versions."""
    folder = tmp_path_factory.mktemp("template")
    write(folder, FIRST)
    git(folder, "tag", "v1.0.0")
    write(folder, SECOND)
    git(folder, "tag", "v1.1.0")
    return folder


@pytest.fixture(scope="module")
def first(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the first version, as it was rendered."""
    folder = tmp_path_factory.mktemp("first")
    return render(clone(str(template), folder / "clone"), "1.0.0", {}, folder / "out")


@pytest.fixture
def project(first: Path, tmp_path: Path) -> Path:
    """A project of the first version, under git."""
    copy = tmp_path / "project"
    write(
        copy,
        {path.relative_to(first).as_posix(): path.read_text("utf-8") for path in first.rglob("*") if path.is_file()},
    )
    git(copy, "config", "user.name", "Ada")
    git(copy, "config", "user.email", "ada@example.com")
    return copy


def made_from(project: Path, template: Path) -> None:
    """Let the project name another repository as its template."""
    replace(Record.of(project), template=str(template)).write(project)
    commit(project)


def propose(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["update", str(project), *arguments])


def content(project: Path, branch: str) -> dict[str, str]:
    names = git(project, "ls-tree", "-r", "--name-only", branch).split()
    return {name: git(project, "show", f"{branch}:{name}") for name in names}


def test_the_update_is_one_commit_on_a_branch(project: Path, template: Path, tmp_path: Path) -> None:
    own = "def train():\n    return 1\n\n\ndef check():\n    return 20\n"
    scores = FIRST[f"{PROJECT}/src/score.py"].replace("return 2", "return 20")
    start = write(project, {"src/train.py": own, "src/score.py": scores, "src/ours.py": "OURS = 1\n"})
    branch = git(project, "branch", "--show-current").strip()

    result = propose(project, "--description", str(tmp_path / "told.md"))

    assert result.exit_code == 0, result.output
    assert git(project, "rev-parse", "HEAD", branch).split() == [start, start]
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "rev-list", "--parents", "-1", "template-update-1.1.0").split()[1:] == [start]
    after = content(project, "template-update-1.1.0")
    assert after["src/train.py"] == own.replace("return 1", "return 3")
    assert "src/score.py" not in after and after["src/scoring.py"] == scores, "an edit follows a file that moves"
    assert (after["src/ours.py"], after["src/new.py"]) == ("OURS = 1\n", "NEW = 'red'\n")
    assert "old.py" not in after
    told = (tmp_path / "told.md").read_text("utf-8")
    assert git(project, "log", "-1", "--format=%B", "template-update-1.1.0").startswith(
        f"Update from template 1.0.0 ({git(template, 'rev-parse', 'v1.0.0')[:8]}) to 1.1.0 "
    )
    assert told.strip() in git(project, "log", "-1", "--format=%B", "template-update-1.1.0")
    for said in ("### Changed\n\n- Training returns\n  three.", "### Three\n\nType `uv sync`.", "`colour`: `red`"):
        assert said in told, told
    assert "Everything." not in told, "the version that the project has already"

    again = propose(project)
    assert again.exit_code == 1 and "The branch template-update-1.1.0 exists already" in again.output
    git(project, "merge", "--quiet", "template-update-1.1.0")
    record = Record.of(project)
    assert (record.commit, record.version) == (git(template, "rev-parse", "HEAD").strip(), "1.1.0")
    assert record.template == str(template) and record.answers["colour"] == "red"
    assert propose(project).output == "The project is up to date.\n"


def test_what_needs_a_decision_is_marked_and_listed(project: Path) -> None:
    mine = FIRST[f"{PROJECT}/src/train.py"].replace("return 1", "return 4")
    write(project, {"src/train.py": mine, "old.py": "print('ours')\n", "story/tell.py": ""})
    result = propose(project)
    assert result.exit_code == update.UNDECIDED, result.output
    after = content(project, "template-update-1.1.0")
    assert "<<<<<<< project\n    return 4\n=======\n    return 3\n>>>>>>> template" in after["src/train.py"]
    assert after["old.py"] == "print('ours')\n"
    assert not [name for name in after if name.startswith("story/")], "a folder that was deleted stays away"
    description = git(project, "log", "-1", "--format=%b", "template-update-1.1.0")
    conflicts, rest = description.split("## Tests")
    assert "`old.py`: you changed it, and the template no longer has it." in conflicts
    assert "`src/train.py`: both changed it" in conflicts
    assert "`story/tell.py`: you deleted it" in rest and "`story/end.py`: new in the template" in rest


def test_other_answers_are_an_update_as_well(project: Path) -> None:
    write(project, {"README.md": "Ours.\n\n" + (project / "README.md").read_text("utf-8")})
    result = propose(project, "--answer", "ci_provider=none")
    assert result.exit_code == 0, result.output
    branch = "template-switch-ci-provider-none"
    assert content(project, branch)["README.md"] == "Ours.\n\n# churn\n\nIt is made by hand.\n\nProvider: none\n"
    assert git(project, "log", "-1", "--format=%s", branch) == "Switch ci_provider to none\n"
    assert "- `ci_provider`: `github-actions` → `none`" in git(project, "log", "-1", "--format=%b", branch)


def test_a_project_in_a_folder_of_a_repository(project: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    copied = {name: (project / name).read_text("utf-8") for name in git(project, "ls-files").split()}
    write(repository, {f"models/churn/{name}": text for name, text in copied.items()} | {"src/train.py": "other\n"})
    git(repository, "config", "user.name", "Ada")
    git(repository, "config", "user.email", "ada@example.com")
    result = propose(repository / "models" / "churn")
    assert result.exit_code == 0, result.output
    after = content(repository, "template-update-models-churn-1.1.0")
    assert after["src/train.py"] == "other\n"
    assert after["models/churn/src/train.py"] == SECOND[f"{PROJECT}/src/train.py"]
    assert {name.split("/")[0] for name in after} == {"models", "src"}


def test_a_project_follows_the_branch_that_it_was_made_from(template: Path, tmp_path: Path) -> None:
    copy = clone(str(template), tmp_path / "clone")
    branch = git(template, "branch", "--show-current").strip()
    record = Record(template=str(template), commit=None, answers={})
    followed = {name: update.followed(copy, replace(record, checkout=name)) for name in (branch, "v1.0.0", None)}
    assert followed == {branch: branch, "v1.0.0": None, None: None}


def test_what_does_not_reach_the_project_is_no_update(project: Path, template: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    git(tmp_path, "clone", "--quiet", "--branch", "v1.0.0", str(template), str(newer))
    git(newer, "switch", "--quiet", "--create", "main")
    write(newer, {"README.md": "Of the template.\n"})
    made_from(project, newer)
    assert propose(project).output == "The project is up to date.\n"


def test_new_questions_are_asked(project: Path) -> None:
    asked = []

    def ask(question: str, choices: list[str], default: str) -> str:
        asked.append((question, choices, default))
        return "blue"

    record = json.loads((project / RECORD).read_bytes())
    answers = record["context"]["cookiecutter"]
    record["context"]["cookiecutter"] = dict(reversed(answers.items()))  # as another tool may have written it
    write(project, {RECORD: json.dumps(record | {"skip": ["notes"]}, indent=2)})

    update.propose(project, ask=ask)

    now = json.loads(content(project, "template-update-1.1.0")[RECORD])
    assert list(now["context"]["cookiecutter"])[:3] == ["ci_provider", "project_slug", "colour"]
    assert now["skip"] == ["notes"], "it is cruft's"
    assert asked == [("colour", ["red", "blue"], "red")]
    assert content(project, "template-update-1.1.0")["src/new.py"] == "NEW = 'blue'\n"


def test_the_lock_file_follows_and_the_tests_run(
    project: Path, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = tmp_path / "newer"
    git(tmp_path, "clone", "--quiet", str(template), str(newer))
    write(newer, {f"{PROJECT}/pyproject.toml": "[project]\nname = 'churn'\nversion = '2'\n"})
    made_from(project, newer)
    write(project, {"uv.lock": "old\n"})
    calls = []

    def uv(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        calls.append(arguments)
        assert "version" in (folder / "pyproject.toml").read_text("utf-8")
        if arguments == ("lock",):
            (folder / "uv.lock").write_text("new\n", encoding="utf-8", newline="\n")
            return subprocess.CompletedProcess(arguments, 0, "")
        assert (folder / "uv.lock").read_text("utf-8") == "new\n"
        return subprocess.CompletedProcess(arguments, 1, "E  it broke\n1 failed in 2 s\n")

    monkeypatch.setattr(update, "run_uv", uv)
    result = propose(project, "--test")
    assert result.exit_code == update.UNDECIDED, result.output
    assert calls == [("lock",), ("run", "pytest", "-q")]
    (branch,) = git(project, "for-each-ref", "--format=%(refname:short)", "refs/heads/template-update-*").split()
    assert content(project, branch)["uv.lock"] == "new\n"
    assert "fails:\n\n    E  it broke\n    1 failed in 2 s" in git(project, "log", "-1", "--format=%b", branch)


def test_nothing_is_left_of_an_update_that_is_killed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refs = git(project, "for-each-ref")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(update, "locked", killed)
    assert propose(project).exit_code == 1
    assert git(project, "for-each-ref") == refs and git(project, "status", "--porcelain") == ""
    assert git(project, "worktree", "list").count("\n") == 1


REFUSED = {
    "a change that is not committed": ([], {"README.md": "ours\n"}, "changes that are not committed"),
    "no such question": (
        ["--answer", "shape=round"],
        {},
        "There is no question shape. The questions are: project_slug",
    ),
    "no such answer": (["--answer", "ci_provider=jenkins"], {}, "Type one of: github-actions, none"),
    "no answer at all": (["--answer", "ci_provider"], {}, "Type --answer QUESTION=ANSWER"),
    "no such version": (["--to", "7.0.0"], {}, "no version, branch or commit 7.0.0. Its versions are: v1.1.0, v1.0.0"),
    "a record that is none": ([], {RECORD: "{}"}, "is not a record of a rendering"),
    "no record": ([], {RECORD: ""}, "so nothing says which template made it"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_work_is_refused(project: Path, reason: str) -> None:
    arguments, changes, message = REFUSED[reason]
    for name, text in changes.items():
        (project / name).write_text(text, encoding="utf-8") if text else (project / name).unlink()
    refs = git(project, "for-each-ref")
    result = propose(project, *arguments)
    assert result.exit_code in (1, 2) and message in " ".join(result.output.split()), result.output
    assert git(project, "for-each-ref") == refs


def test_a_record_without_a_commit_or_a_template_that_is_gone(project: Path) -> None:
    record = Record.of(project)
    record.commit = None
    record.write(project)
    with pytest.raises(click.ClickException, match="names no commit"):
        update.propose(project)
    record.commit, record.template = "a" * 40, str(project / "gone")
    record.write(project)
    commit(project)
    with pytest.raises(click.ClickException, match="write the address of its repository as `template`"):
        update.propose(project)


@pytest.mark.parametrize("provider", ["github-actions", "gitlab-ci", "azure-devops", "none"])
def test_a_pull_request_takes_the_commands_that_a_person_types(provider: str) -> None:
    proposal = update.Proposal("template-update-1.1.0", "Update", "a line\n" * 1000, {}, None)
    commands = update.pull_request(provider, proposal)
    assert commands[0][:5] == ["git", "push", "--set-upstream", "origin", "template-update-1.1.0"]
    if provider == "azure-devops":  # which takes 4,000 characters
        description = "\n".join(commands[1][commands[1].index("--description") + 1 :])
        assert len(description) <= 4000 and "commit on template-update-1.1.0" in description
