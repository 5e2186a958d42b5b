"""`ml-template fleet`: what it says of many projects, and what becomes of their updates, on a small template."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers import RECORD, need
from test_proposals import FIRST, SECOND, git, write

from ml_template import fleet, render
from ml_template.__main__ import main

CONFLICT = {"src/train.py": "def train():\n    return 2\n"}
OWN = {"README.md": "# churn\n\nOurs.\n", "src/score.py": "", "src/ours.py": "OURS = 1\n", ".gitignore": "*.log\n"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template with two versions, and repositories with projects of the first one: a folder, and remotes."""
    folder = tmp_path_factory.mktemp("fleet")
    template = folder / "template"
    template.mkdir()
    write(template, FIRST)
    git(template, "tag", "v1.0.0")
    clone = render.clone(str(template), folder / "clone")
    # Nothing names the folder of the fixture: each test has a copy.
    project = render.render(clone, "v1.0.0", {"ci_provider": "none"}, folder / "first")
    write(template, SECOND)
    git(template, "tag", "v1.1.0")
    for name, contents in {"plain": {}, "own": OWN, "conflict": CONFLICT}.items():
        shutil.copytree(project, folder / name)
        write(folder / name, contents)
    for name in ("churn", "fraud"):
        shutil.copytree(project, folder / "both" / "projects" / name)
    write(folder / "both", {"projects/fraud/README.md": "# fraud\n"})
    for name in ("own", "conflict", "both"):
        git(folder / name, "clone", "--quiet", "--bare", ".", str(folder / f"{name}.git"))
    return folder


@pytest.fixture
def repositories(made: Path, tmp_path: Path) -> Path:
    """A folder with repositories of the test's own."""
    for name in ("template", "plain", "own.git", "conflict.git", "both.git"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def command(repositories: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs `ml-template fleet` there, with a list of repositories."""
    monkeypatch.chdir(repositories)
    # The records name the template of the fixture.
    known = {"user.name": "Ada", "user.email": "ada@example.com"}
    known[f"url.{repositories / 'template'}.insteadOf"] = str(made / "template")
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(known)))
    for number, (key, value) in enumerate(known.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)

    def run(name: str, entries: list[str], *options: str) -> Result:
        arguments = ["fleet", name, "-", "--jobs", "2", "--work", "work", *options]
        return CliRunner().invoke(main, arguments, input="\n".join(entries) + "\n", env={"COLUMNS": "80"})

    return run


def results(result: Result) -> dict[str, dict[str, Any]]:
    """Return what was written as JSON, by the place of the project."""
    return {f"{one['repository'].rsplit('/')[-1]}:{one['folder']}": one for one in json.loads(result.stdout)}


def addresses(folder: Path) -> list[str]:
    """Return a folder, and addresses of remotes."""
    return ["plain", *((folder / f"{name}.git").as_uri() for name in ("own", "conflict", "both"))]


def test_the_status_of_every_project(repositories: Path, command: Callable[..., Result]) -> None:
    entries = [*addresses(repositories), "nowhere", "template"]
    found = results(command("status", entries, "--json", "-"))
    assert list(found) == [
        *("plain:.", "own.git:.", "conflict.git:.", "both.git:projects/churn", "both.git:projects/fraud"),
        *("nowhere:.", "template:."),
    ]
    plain = found["plain:."]
    assert (plain["version"], plain["behind"], plain["versions_behind"]) == ("1.0.0", 1, 1)
    assert plain["answers"] == {"project_slug": "churn", "ci_provider": "none"}
    assert plain["commit"] == git(repositories / "template", "rev-parse", "v1.0.0").strip()
    assert plain["newest"] == git(repositories / "template", "rev-parse", "v1.1.0").strip()
    drift = {name: [one["changed"], one["deleted"], one["added"]] for name, one in found.items()}
    assert drift["plain:."] == [[], [], []]
    assert drift["own.git:."] == [["README.md"], ["src/score.py"], [".gitignore", "src/ours.py"]]
    assert drift["both.git:projects/churn"] == [[], [], []]
    assert drift["both.git:projects/fraud"] == [["README.md"], [], []]
    assert "production-mode" in plain["breaks"] and "record" not in plain["breaks"]
    assert "There is no folder" in found["nowhere:."]["error"]
    assert "holds no project" in found["template:."]["error"]

    result = command("status", entries)
    assert result.exit_code == 1
    assert max(map(len, result.output.splitlines())) <= 80
    assert re.search(r"^own +1\.0\.0 .* ~1 -1 \+2 +1 version ", result.output, re.M), result.output
    assert re.search(r"7 projects: 5 behind.* 2\s+not read", result.output, re.S)

    write(repositories / "template", {"databricks.yml": "targets: {}\n"})
    (lost,) = results(command("status", ["template"], "--json", "-")).values()
    assert lost["error"].startswith(f"It has no {RECORD}") and "record" in lost["breaks"]

    result = command("status", ["plain", "own.git"], "--verbose")
    assert result.exit_code == 0 and "\n  ~ README.md" in result.output and "\n  - src/score.py" in result.output
    assert "databricks.yml: the file is missing" in result.output
    older = results(command("status", ["plain"], "--to", "1.0.0", "--json", "-"))["plain:."]
    assert (older["behind"], older["versions_behind"]) == (0, 0)

    git(repositories, "init", "--quiet", "empty")
    assert "It has no commit" in command("status", ["empty"]).output


def test_a_fleet_is_updated_and_not_twice(repositories: Path, command: Callable[..., Result]) -> None:
    entries = addresses(repositories)

    def branches() -> dict[str, str]:
        return {
            name: git(repositories / name, "for-each-ref", "--format=%(refname:short)", "refs/heads/template-*").strip()
            for name in ("plain", "own.git", "conflict.git", "both.git")
        }

    before = branches()
    result = command("update", entries, "--dry-run")
    assert result.exit_code == 3 and "would be made, with conflicts" in re.sub(r"\s+", " ", result.output), (
        result.output
    )
    assert branches() == before == dict.fromkeys(before, "")

    # Somebody ends the first run after one project; one cannot be pushed to, and one is not there.
    assert command("update", entries[:1]).exit_code == 0
    hook = repositories / "own.git" / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho we are closed >&2\nexit 1\n")
    hook.chmod(0o755)
    result = command("update", [*entries, "nowhere"], "--json", "-")
    made = results(result)
    assert result.exit_code == 1
    assert {name: one["outcome"] for name, one in made.items()} == {
        "plain:.": "made before",
        "own.git:.": "failed",
        "conflict.git:.": "made, with conflicts",
        "both.git:projects/churn": "made",
        "both.git:projects/fraud": "made",
        "nowhere:.": "failed",
    }
    assert "we are closed" in made["own.git:."]["told"]
    assert list(made["conflict.git:."]["conflicts"]) == ["src/train.py"]
    hook.unlink()

    result = command("update", entries, "--json", "-")
    outcomes = {name: one["outcome"] for name, one in results(result).items()}
    assert outcomes.pop("own.git:.").startswith("made") and set(outcomes.values()) == {"made before"}
    assert branches() == {
        "plain": "template-update-1.1.0",
        "own.git": "template-update-1.1.0",
        "conflict.git": "template-update-1.1.0",
        "both.git": "template-update-projects-churn-1.1.0\ntemplate-update-projects-fraud-1.1.0",
    }
    git(repositories / "plain", "switch", "--quiet", "template-update-1.1.0")
    assert "return 3" in (repositories / "plain" / "src" / "train.py").read_text(encoding="utf-8")
    churn = git(repositories / "both.git", "diff", "--name-only", "HEAD...template-update-projects-churn-1.1.0").split()
    assert f"projects/churn/{RECORD}" in churn and all(name.startswith("projects/churn/") for name in churn)

    found = results(command("status", entries, "--json", "-"))
    assert found["plain:."]["behind"] == 0 and found["plain:."]["updates"] == {}, "its branch is checked out"
    newest = found["plain:."]["newest"]
    waits = [one["updates"] for one in found.values() if one["updates"]]
    assert len(waits) == 4 and {newest: "template-update-projects-fraud-1.1.0"} in waits
    assert "up to date" in command("update", ["plain"]).output


def test_what_is_rendered_alike_is_rendered_once(
    repositories: Path, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []
    renders = render.render

    def counted(clone: Path, commit: str, *rest: Any) -> Path:
        rendered.append(commit)
        return renders(clone, commit, *rest)

    monkeypatch.setattr(fleet.render, "render", counted)
    command("status", addresses(repositories))
    assert len(rendered) == 1, "five projects have the same answers"
    command("update", addresses(repositories), "--dry-run")
    assert len(rendered) == 2, "and the new version"
    command("update", addresses(repositories))
    assert len(rendered) == len(set(rendered)) == 2


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("a\n\n  b  # ours\n# c\nhttps://example.com/d.git#e\n", ["a", "b", "https://example.com/d.git#e"]),
        ("# ours\n- a\n- 'b c'\n- a\n", ["a", "b c"]),
    ],
)
def test_a_list_is_lines_or_yaml(tmp_path: Path, text: str, entries: list[str]) -> None:
    (tmp_path / "list").write_text(text)
    with (tmp_path / "list").open() as file:
        assert fleet.listed(file) == entries


def test_a_list_that_is_none_is_refused(command: Callable[..., Result]) -> None:
    for entries in ([""], ["# nothing"], ["- {a: b}"]):
        result = command("status", entries)
        assert result.exit_code == 1 and "Write one folder or address" in result.output


def test_a_pull_request_is_opened_by_the_provider(
    repositories: Path, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    need("bash", unix="stand-ins for programs")
    record = json.loads((repositories / "plain" / RECORD).read_bytes())
    record["context"]["cookiecutter"]["ci_provider"] = "github-actions"
    write(repositories / "plain", {RECORD: json.dumps(record)})
    programs = repositories / "bin"
    programs.mkdir()
    (programs / "gh").write_text(f'#!/bin/sh\necho "$@" >> {programs}/calls\necho not logged in\nexit 1\n')
    (programs / "gh").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    result = command("update", ["plain"], "--pull-request", "--json", "-")
    (made,) = results(result).values()
    assert result.exit_code == 1 and made["told"] == "gh pr create failed: not logged in"
    assert (programs / "calls").read_text().startswith("pr create --head template-update-1.1.0 ")


def test_no_code_runs_of_a_template_that_is_not_allowed(repositories: Path, command: Callable[..., Result]) -> None:
    other = repositories / "other"
    shutil.copytree(repositories / "template", other)
    ran = repositories / "ran"
    write(other, {"hooks/pre_gen_project.py": f"open({str(ran)!r}, 'w')\n"})
    record = json.loads((repositories / "plain" / RECORD).read_bytes())
    allowed = {"properties": {"template": {"const": record["template"]}}}
    (repositories / "own.yml").write_text(json.dumps({"record": {"files": {RECORD: allowed}}}))
    record |= {"template": str(other), "commit": git(other, "rev-parse", "HEAD").strip()}
    write(repositories / "plain", {RECORD: json.dumps(record)})
    for name in ("status", "update"):
        result = command(name, ["plain", "own.git"], "--policies", "own.yml", "--json", "-")
        plain, own = results(result).values()
        assert "breaks the policy record" in plain.get("told", "") + (plain.get("error") or "")
        assert "breaks the policy" not in own.get("told", "") + (own.get("error") or "")
        assert result.exit_code == 1 and not ran.exists()
    assert command("status", ["plain"]).exit_code == 0 and ran.exists(), "the default policies name no template"
